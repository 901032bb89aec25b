// Package pluginpb is the Go code of plugins/proto, written by make generate:
// the messages and services between Guildhall and its plugins.
package pluginpb
