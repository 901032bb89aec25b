// Package plugins is the host of plugins: it starts and supervises their
// processes, asks them at the points that features declare, and answers what
// they ask in return. A feature declares a point in a line of its own and calls
// it; who extends it is no concern of the feature.
//
//	hook     DefineHook: asked before a change; may refuse it or amend it
//	service  DefineService: asked to do something, such as sending a message
//	events   a listener hears the organisation's log, in order per subject
//	inbound, actions, schedules, tasks: called by platform/integrations
//
// One process runs each version of a plugin, for all organisations that
// installed it. Every request to it names one of them and carries a grant, which
// is what the plugin's own calls are allowed by: it ends with the request, means
// that organisation, and permits what the organisation granted. Nothing else
// leads from a plugin into the database.
//
//	Host.call ── lease on a running process ── grant ── gRPC ── plugin
//	                                             └── hostServer ── api operations as the plugin
package plugins
