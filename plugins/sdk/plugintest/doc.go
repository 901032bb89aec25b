// Package plugintest runs a plugin in a Go test the way Guildhall runs it: as a
// process of its own, that is asked over gRPC and calls a host back.
//
//	func TestGreets(t *testing.T) {
//		h := plugintest.Run(t, plugintest.Options{
//			Settings: map[string]any{"word": "hello"},
//			API: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { … }),
//		})
//		done, err := h.Hear(h.Event("task.created", "t1", map[string]any{"title": "Paint"}, nil))
//		…
//		if h.Values()["greeted"] != "1" { … }
//	}
//
// The host is a real one, kept in memory: it holds every call against a grant
// that ends with its request, against what the manifest asks and the test
// grants, and against the limits of the contract. Hooks and CheckSettings only
// read. What needs the rest of Guildhall is left to the test: API requests go to
// Options.API, which is a handler, a Recorder in front of a running Guildhall, or
// the Replay of what that wrote; requests of the plugin to the world reach test
// servers on loopback addresses and nothing else. Which permission an API request
// needs only Guildhall knows: here, one that is granted none at all is refused.
// Rate limits are not applied.
//
// Nothing happens by itself: tests tell of events with Hear, run due tasks with
// RunTasks and schedules with RunSchedule. Conform asks what every plugin has to
// get right; it is what "guildhall plugin check" runs.
//
// On Windows plugins cannot be run.
package plugintest
