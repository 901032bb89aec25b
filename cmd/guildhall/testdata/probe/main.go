// Command probe is the plugin of the tests: what it does is said by titles,
// settings and inputs.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/guildhall-dev/guildhall/plugins/sdk"
)

type settings struct {
	Secret  string `json:"secret"`
	Refuse  string `json:"refuse"`
	Trouble string `json:"trouble"` // what the hook does instead of answering
	Start   string `json:"-"`
}

type draft struct {
	Name   string   `json:"name"` // of a label
	Title  string   `json:"title"`
	Body   string   `json:"body"`
	Labels []string `json:"labels"`
}

// broken is a trouble that a build of the probe has by itself.
var broken string

func main() {
	if len(os.Args) > 1 {
		os.Exit(3)
	}
	sdk.Serve(sdk.Plugin{
		Hear: hear,
		Hooks: map[string]sdk.Hook{
			"task.will_create": decide, "task.will_change": decide, "comment.will_create": decide, "comment.will_change": decide,
			"label.will_change": decide,
		},
		Actions:       map[string]func(context.Context, *sdk.Call, *sdk.Action) (sdk.Result, error){"call": call, "keep": keep},
		Provides:      map[string]sdk.Provider{"notification.send/probe": sdk.Provide(send)},
		Inbound:       map[string]func(context.Context, *sdk.Call, *sdk.Request) (*sdk.Response, error){"echo": echo},
		Schedules:     map[string]func(context.Context, *sdk.Call, time.Time) error{"often": tick},
		Tasks:         map[string]func(context.Context, *sdk.Call, *sdk.Task) error{"later": later},
		CheckSettings: check,
	})
}

func decide(ctx context.Context, c *sdk.Call, ch sdk.Change) (sdk.Decision, error) {
	var s settings
	var d draft
	if err := c.Settings(&s); err != nil {
		return sdk.Decision{}, err
	}
	if err := ch.Decode(&d); err != nil {
		return sdk.Decision{}, err
	}
	text := d.Name + d.Title + d.Body
	if err := trouble(ctx, cmp.Or(s.Trouble, broken)); err != nil {
		return sdk.Decision{}, err
	}
	switch {
	case s.Refuse != "" && strings.Contains(text, s.Refuse):
		return sdk.Refuse("The word " + s.Refuse + " is not used here."), nil
	case strings.HasPrefix(d.Name, "tidy: "):
		return sdk.Amend(map[string]any{"name": strings.TrimPrefix(d.Name, "tidy: ")}), nil
	case strings.HasPrefix(d.Title, "label: "):
		return sdk.Amend(map[string]any{"title": strings.TrimPrefix(d.Title, "label: "), "labels": append(d.Labels, "probed")}), nil
	case strings.HasPrefix(d.Title, "number: "):
		return sdk.Amend(map[string]any{"number": 7}), nil
	case strings.HasPrefix(d.Title, "write: "):
		err := c.API(ctx, http.MethodPost, "/v1/projects", map[string]any{"name": "From a hook"}, nil)
		return sdk.Refuse(fmt.Sprint("wrote: ", err)), nil
	}
	return sdk.Allow(), nil
}

// trouble is what a plugin may do wrong.
func trouble(ctx context.Context, kind string) error {
	switch kind {
	case "hang":
		<-ctx.Done()
		time.Sleep(time.Hour)
	case "panic":
		panic("as told")
	case "die":
		go panic("as told, where nothing recovers it")
		time.Sleep(time.Second)
	case "exit":
		os.Exit(3)
	case "error":
		return fmt.Errorf("as told")
	case "eat":
		var all [][]byte
		for range 4 << 10 {
			b := make([]byte, 1<<20)
			for i := range b {
				b[i] = 1
			}
			all = append(all, b)
		}
		return fmt.Errorf("%d MiB and no end", len(all))
	case "spin":
		for range 4 {
			go func() {
				for {
				}
			}()
		}
	case "fork":
		for {
			if _, err := syscall.ForkExec("/proc/self/exe", []string{"probe"}, &syscall.ProcAttr{Env: os.Environ()}); err != nil {
				time.Sleep(time.Millisecond)
			}
		}
	case "print":
		line := strings.Repeat("x", 1000) + "\n"
		for range 1 << 20 {
			fmt.Print(line)
		}
	}
	return nil
}

func hear(ctx context.Context, c *sdk.Call, e sdk.Event) error {
	var s settings
	if err := c.Settings(&s); err != nil {
		return err
	}
	var d draft
	_ = e.Decode(&d)
	key := "heard/" + e.ID
	v, err := c.Values().Get(ctx, key)
	times := 0
	if err == nil {
		_ = v.Decode(&times)
	}
	times++
	raw, _ := json.Marshal(times)
	if _, err := c.Values().Set(ctx, key, raw); err != nil {
		return err
	}
	switch {
	case strings.Contains(d.Title, "final"):
		return sdk.Finalf("never")
	case strings.Contains(d.Title, "later") && times == 1:
		return fmt.Errorf("not yet")
	case strings.Contains(d.Title, "kill") && times == 1:
		// The first process of a namespace cannot kill itself: the test does it.
		if _, err := c.Values().Set(ctx, "kill", []byte("me")); err != nil {
			return err
		}
		<-ctx.Done()
		return fmt.Errorf("nobody killed it")
	}
	// The order in which events are done, for each subject.
	_, err = c.Values().Set(ctx, fmt.Sprintf("done/%s/%s", e.Subject.ID, e.ID), []byte(e.Type))
	return err
}

type callInput struct {
	Method string          `json:"method"`
	Path   string          `json:"path"`
	Body   json.RawMessage `json:"body"`
	URL    string          `json:"url"`
	Emit   string          `json:"emit"`
	Key    string          `json:"key"`
	Value  string          `json:"value"`
	Keys   string          `json:"keys"`
	Secret string          `json:"secret"`
	Later  string          `json:"later"`
	Count  int             `json:"count"`
	Keep   bool            `json:"keep"`  // the call itself, for later
	Stale  bool            `json:"stale"` // every host call, by the call that was kept
}

// kept is a call that is over, of whichever organisation this process served.
var kept atomic.Pointer[sdk.Call]

// replay makes every host call by a call that is over.
func replay(ctx context.Context, c *sdk.Call) map[string]string {
	_, got := c.Values().Get(ctx, "colour")
	_, set := c.Values().Set(ctx, "colour", []byte("stolen"))
	_, secret := c.Secrets().Get(ctx, "token")
	_, emitted := c.Emit(ctx, "noticed", map[string]any{"text": "stolen"})
	var listed error
	for _, err := range c.Values().List(ctx, "") {
		listed = err
	}
	_, fetched := c.HTTP().Get("https://probe.example.test/")
	out := map[string]string{}
	for what, err := range map[string]error{
		"request": c.API(ctx, http.MethodGet, "/v1/projects", nil, nil), "get value": got, "set value": set, "delete value": c.Values().Delete(ctx, "colour"),
		"list values": listed, "get secret": secret, "set secret": c.Secrets().Set(ctx, "token", []byte("stolen")), "delete secret": c.Secrets().Delete(ctx, "token"),
		"emit": emitted, "enqueue": c.Enqueue(ctx, "later", "stolen", time.Time{}), "fetch": fetched,
	} {
		out[what] = fmt.Sprint(err)
	}
	return out
}

// call makes the host call that the input names and tells what came of it.
func call(ctx context.Context, c *sdk.Call, a *sdk.Action) (sdk.Result, error) {
	var in callInput
	if err := a.Decode(&in); err != nil {
		return sdk.Result{}, err
	}
	out := map[string]any{"organization": c.OrganizationID, "actor": c.Actor}
	var err error
	switch {
	case in.Keep:
		kept.Store(c)
	case in.Stale:
		out["stale"] = replay(context.WithoutCancel(ctx), kept.Load())
	case in.Path != "":
		var answer json.RawMessage
		var body any
		if len(in.Body) > 0 {
			body = in.Body
		}
		for range max(in.Count, 1) {
			err = c.API(ctx, in.Method, in.Path, body, &answer)
		}
		out["answer"] = answer
	case in.URL != "":
		var res *http.Response
		if res, err = c.HTTP().Get(in.URL); err == nil {
			out["status"] = res.StatusCode
			_ = res.Body.Close()
		}
	case in.Emit != "":
		out["event"], err = c.Emit(ctx, in.Emit, map[string]any{"text": in.Value}, sdk.Once(in.Key))
	case in.Keys != "":
		keys := []string{}
		for k, kerr := range c.Values().List(ctx, in.Keys) {
			if err = kerr; err != nil {
				break
			}
			keys = append(keys, k)
		}
		out["keys"] = keys
	case in.Key != "" && in.Value != "":
		out["version"], err = c.Values().Set(ctx, in.Key, []byte(in.Value))
	case in.Key != "":
		var v sdk.Value
		v, err = c.Values().Get(ctx, in.Key)
		out["value"] = string(v.Bytes)
	case in.Secret != "":
		if err = c.Secrets().Set(ctx, "token", []byte(in.Secret)); err == nil {
			var got []byte
			got, err = c.Secrets().Get(ctx, "token")
			out["value"] = string(got)
		}
	case in.Later != "":
		err = c.Enqueue(ctx, "later", in.Later, time.Time{})
	default:
		env := os.Environ()
		_, fileErr := os.ReadFile("/etc/shadow")
		out["environment"], out["uid"], out["shadow"] = env, os.Getuid(), fmt.Sprint(fileErr)
	}
	if err != nil {
		out["error"] = err.Error()
	}
	return sdk.Result{Message: "done", Output: out}, nil
}

func keep(context.Context, *sdk.Call, *sdk.Action) (sdk.Result, error) {
	return sdk.Result{Refusal: "Not today."}, nil
}

type notification struct {
	To   string `json:"to"`
	Text string `json:"text"`
}

func send(ctx context.Context, c *sdk.Call, n notification) (map[string]string, error) {
	if n.To == "nobody" {
		return nil, sdk.Finalf("there is nobody of that name")
	}
	return map[string]string{"external_id": "sent to " + n.To}, nil
}

func echo(_ context.Context, c *sdk.Call, r *sdk.Request) (*sdk.Response, error) {
	if r.Header.Get("X-Trouble") != "" {
		return nil, trouble(context.Background(), r.Header.Get("X-Trouble"))
	}
	h := http.Header{}
	h.Set("Content-Type", "application/json")
	return &sdk.Response{Status: 202, Header: h, Body: append([]byte(c.OrganizationID+" "), r.Body...)}, nil
}

func tick(ctx context.Context, c *sdk.Call, due time.Time) error {
	_, err := c.Values().Set(ctx, "ticked", []byte(due.UTC().Format(time.RFC3339)))
	return err
}

func later(ctx context.Context, c *sdk.Call, t *sdk.Task) error {
	_, err := c.Values().Set(ctx, "later", t.Payload)
	return err
}

func check(_ context.Context, c *sdk.Call) ([]sdk.SettingsError, error) {
	var s settings
	if err := c.Settings(&s); err != nil {
		return nil, err
	}
	if s.Secret == "wrong" {
		return []sdk.SettingsError{{Pointer: "/secret", Message: "is not accepted by anybody"}}, nil
	}
	return nil, nil
}
