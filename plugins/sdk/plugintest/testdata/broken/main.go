// Command broken is a plugin that does all wrong.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/guildhall-dev/guildhall/plugins/sdk"
)

func main() {
	sdk.Serve(sdk.Plugin{
		Hooks: map[string]sdk.Hook{
			"task.will_create": func(context.Context, *sdk.Call, sdk.Change) (sdk.Decision, error) { panic("as ever") },
			"task.will_change": func(context.Context, *sdk.Call, sdk.Change) (sdk.Decision, error) { select {} },
		},
		Actions: map[string]func(context.Context, *sdk.Call, *sdk.Action) (sdk.Result, error){
			"flood": func(context.Context, *sdk.Call, *sdk.Action) (sdk.Result, error) {
				for range 500 {
					fmt.Println(strings.Repeat("x", 1000))
				}
				return sdk.Result{}, nil
			},
		},
		Inbound: map[string]func(context.Context, *sdk.Call, *sdk.Request) (*sdk.Response, error){
			"exit": func(context.Context, *sdk.Call, *sdk.Request) (*sdk.Response, error) { os.Exit(3); return nil, nil },
		},
	})
}
