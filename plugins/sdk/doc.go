// Package sdk is what the author of a plugin writes against, in Go.
//
// A plugin is a program with a manifest. Guildhall starts it, and asks it what
// the manifest says it is for: to hear events, to decide on changes before they
// happen, to run actions, to provide a service such as a notification channel, to
// receive webhooks, to run on a schedule. One process serves every organisation
// that installed the plugin, so nothing of one may be kept for another; whatever
// a handler needs to know of its organisation comes with its Call, and whatever
// is to last goes into Call.Values.
//
//	package main
//
//	import (
//		"context"
//		"strings"
//
//		"github.com/guildhall-dev/guildhall/plugins/sdk"
//	)
//
//	type settings struct {
//		Words []string `json:"words"`
//	}
//
//	type task struct {
//		Title string `json:"title"`
//	}
//
//	func main() {
//		sdk.Serve(sdk.Plugin{
//			Hooks: map[string]sdk.Hook{"task.will_create": guard},
//		})
//	}
//
//	func guard(_ context.Context, c *sdk.Call, change sdk.Change) (sdk.Decision, error) {
//		var s settings
//		if err := c.Settings(&s); err != nil {
//			return sdk.Decision{}, err
//		}
//		var draft task
//		if err := change.Decode(&draft); err != nil {
//			return sdk.Decision{}, err
//		}
//		for _, w := range s.Words {
//			if strings.Contains(draft.Title, w) {
//				return sdk.Refuse("The word " + w + " is not used here."), nil
//			}
//		}
//		return sdk.Allow(), nil
//	}
//
// # Errors
//
// An error means "not now": Guildhall tries again later, where it tries again at
// all (events, schedules, tasks, notifications). Final(err) means that trying
// again will not help. A handler that panics is recovered, its stack is printed
// to stderr, and the request fails; the process goes on for others.
//
// # Calls of the host
//
// Every method of Call that takes a context speaks to Guildhall, with the rights
// that the organisation granted, and only until the handler returns. The context
// that a handler gets ends when Guildhall stops waiting for it; pass it on.
//
// The package imports nothing of Guildhall but the generated contract, pluginpb.
package sdk
