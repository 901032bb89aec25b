// Command sample is the plugin of the tests of plugintest.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/plugins/sdk"
)

type settings struct {
	Word string `json:"word"`
	URL  string `json:"url"`
}

type titled struct {
	Title string `json:"title"`
}

func main() {
	sdk.Serve(sdk.Plugin{
		Hear:          hear,
		Hooks:         map[string]sdk.Hook{"task.will_create": decide},
		Actions:       map[string]func(context.Context, *sdk.Call, *sdk.Action) (sdk.Result, error){"do": do},
		Provides:      map[string]sdk.Provider{"notification.send/sample": sdk.Provide(send)},
		Inbound:       map[string]func(context.Context, *sdk.Call, *sdk.Request) (*sdk.Response, error){"echo": echo},
		Schedules:     map[string]func(context.Context, *sdk.Call, time.Time) error{"often": often},
		Tasks:         map[string]func(context.Context, *sdk.Call, *sdk.Task) error{"later": later},
		CheckSettings: check,
	})
}

func hear(ctx context.Context, c *sdk.Call, e sdk.Event) error {
	var t titled
	if err := e.Decode(&t); err != nil {
		return err
	}
	if t.Title == "not now" {
		return errors.New("as told")
	}
	_, err := c.Values().SetIf(ctx, "heard/"+e.ID, []byte(t.Title), 0)
	return err
}

func decide(ctx context.Context, c *sdk.Call, change sdk.Change) (sdk.Decision, error) {
	var t titled
	if err := change.Decode(&t); err != nil {
		return sdk.Decision{}, sdk.Final(err)
	}
	switch t.Title {
	case "write":
		_, err := c.Values().Set(ctx, "written", nil)
		return sdk.Refuse(fmt.Sprint(errors.Is(err, sdk.ErrDenied))), nil
	case "change":
		err := c.API(ctx, http.MethodPost, "/v1/projects", map[string]string{"name": "x"}, nil)
		return sdk.Refuse(fmt.Sprint(errors.Is(err, sdk.ErrDenied))), nil
	case "amend":
		return sdk.Amend(map[string]any{"title": "amended"}), nil
	}
	return sdk.Allow(), nil
}

// do does one thing with the host and tells what came of it.
func do(ctx context.Context, c *sdk.Call, a *sdk.Action) (sdk.Result, error) {
	var in struct {
		What string `json:"what"`
	}
	if err := a.Decode(&in); err != nil {
		return sdk.Result{}, err
	}
	out, err := fmt.Sprint(c.Actor, a.Subject), error(nil)
	verb, rest, _ := strings.Cut(in.What, " ")
	switch verb {
	case "get":
		var answer json.RawMessage
		err = c.API(ctx, http.MethodGet, rest, nil, &answer)
		out = string(answer)
	case "post":
		err = c.API(ctx, http.MethodPost, rest, map[string]any{"title": "Paint", "labels": []string{"a"}}, nil, sdk.Once("k1"), sdk.IfMatch(`"2"`))
	case "fetch":
		var r *http.Response
		if r, err = c.HTTP().Get(rest); err == nil {
			var body []byte
			body, err = io.ReadAll(r.Body)
			out = fmt.Sprint(r.StatusCode, " ", len(body))
		}
	case "emit":
		out, err = c.Emit(ctx, "noticed", map[string]any{"text": rest}, sdk.Once("k"))
	case "emit-badly":
		_, err = c.Emit(ctx, "noticed", map[string]any{})
	case "later":
		err = c.Enqueue(ctx, "later", rest, time.Now().Add(time.Hour))
	case "keep":
		_, err = c.Values().Set(ctx, "kept", []byte(rest))
	case "secret":
		if err = c.Secrets().Set(ctx, "token", []byte(rest)); err == nil {
			var back []byte
			back, err = c.Secrets().Get(ctx, "token")
			out = string(back)
		}
	case "log":
		c.Log().WarnContext(ctx, rest, "n", 1)
	}
	if err != nil {
		return sdk.Result{Refusal: err.Error()}, nil
	}
	return sdk.Result{Message: "done", Output: out}, nil
}

func send(_ context.Context, _ *sdk.Call, n struct {
	To string `json:"to"`
}) (map[string]string, error) {
	if n.To == "" {
		return nil, sdk.Finalf("there is nobody to send it to")
	}
	return map[string]string{"external_id": "to " + n.To}, nil
}

func echo(_ context.Context, _ *sdk.Call, r *sdk.Request) (*sdk.Response, error) {
	return &sdk.Response{Status: 202, Header: http.Header{"X-Was": r.Header["X-Is"]}, Body: r.Body}, nil
}

func often(ctx context.Context, c *sdk.Call, _ time.Time) error {
	return c.Enqueue(ctx, "later", "from the schedule", time.Time{})
}

func later(ctx context.Context, c *sdk.Call, t *sdk.Task) error {
	var what string
	if err := t.Decode(&what); err != nil {
		return sdk.Final(err)
	}
	if what == "twice" && t.Attempt == 1 {
		return errors.New("not yet")
	}
	_, err := c.Values().Set(ctx, "done", []byte(what))
	return err
}

func check(_ context.Context, c *sdk.Call) ([]sdk.SettingsError, error) {
	var s settings
	if err := c.Settings(&s); err != nil {
		return nil, err
	}
	if s.Word == "wrong" {
		return []sdk.SettingsError{{Pointer: "/word", Message: "is wrong"}}, nil
	}
	return nil, nil
}
