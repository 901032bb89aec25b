package sdk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/plugins/sdk"
)

type settings struct {
	Words []string `json:"words"`
	Token string   `json:"token"`
}

type draft struct {
	Title string `json:"title"`
}

type message struct {
	To   string `json:"to"`
	Text string `json:"text"`
}

type receipt struct {
	ID string `json:"id"`
}

// everything is a plugin that uses all of the SDK.
func everything() sdk.Plugin {
	return sdk.Plugin{
		Hear:  hear,
		Hooks: map[string]sdk.Hook{"task.will_create": decide},
		Actions: map[string]func(context.Context, *sdk.Call, *sdk.Action) (sdk.Result, error){
			"values": values, "secrets": secrets, "api": api, "fetch": fetch, "denied": denied,
			"panic": func(context.Context, *sdk.Call, *sdk.Action) (sdk.Result, error) { panic("boom") },
			"refuse": func(context.Context, *sdk.Call, *sdk.Action) (sdk.Result, error) {
				return sdk.Result{Refusal: "Not on Sundays \xff."}, nil
			},
		},
		Provides: map[string]sdk.Provider{"notification.send/sms": sdk.Provide(send)},
		Inbound:  map[string]func(context.Context, *sdk.Call, *sdk.Request) (*sdk.Response, error){"hook": receive},
		Schedules: map[string]func(context.Context, *sdk.Call, time.Time) error{
			"nightly": func(ctx context.Context, c *sdk.Call, due time.Time) error {
				return c.Enqueue(ctx, "tidy", map[string]time.Time{"due": due}, due.Add(time.Hour))
			},
		},
		Tasks: map[string]func(context.Context, *sdk.Call, *sdk.Task) error{
			"tidy": func(_ context.Context, _ *sdk.Call, t *sdk.Task) error {
				var p map[string]string
				if err := t.Decode(&p); err != nil {
					return sdk.Final(err)
				}
				return fmt.Errorf("try %d of %s failed", t.Attempt, p["what"])
			},
		},
		CheckSettings: func(_ context.Context, c *sdk.Call) ([]sdk.SettingsError, error) {
			var s settings
			if err := c.Settings(&s); err != nil || s.Token != "" {
				return nil, err
			}
			return []sdk.SettingsError{{Pointer: "/token", Message: "is missing"}}, nil
		},
	}
}

func hear(ctx context.Context, c *sdk.Call, e sdk.Event) error {
	var d draft
	if err := e.Decode(&d); err != nil {
		return err
	}
	switch d.Title {
	case "later":
		return errors.New("the other side is away")
	case "never":
		return sdk.Finalf("nobody wants %s", e.ID)
	case "panic":
		panic("in an event")
	}
	c.Log().With("sequence", e.Sequence).WithGroup("task").Info("heard", "title", d.Title, "renamed", e.Changed("title"))
	_, err := c.Emit(ctx, "heard", map[string]string{"title": d.Title}, sdk.Once(e.ID))
	return err
}

func decide(_ context.Context, c *sdk.Call, change sdk.Change) (sdk.Decision, error) {
	var s settings
	var d, project draft
	if err := errors.Join(c.Settings(&s), change.Decode(&d), change.DecodeSubject(&project)); err != nil {
		return sdk.Decision{}, err
	}
	for _, w := range s.Words {
		if strings.Contains(d.Title, w) {
			return sdk.Refuse("The word " + w + " is not used in " + project.Title + "."), nil
		}
	}
	if d.Title != strings.TrimSpace(d.Title) {
		return sdk.Amend(map[string]any{"title": strings.TrimSpace(d.Title)}), nil
	}
	return sdk.Allow(), nil
}

// values returns what it saw, step by step.
func values(ctx context.Context, c *sdk.Call, a *sdk.Action) (sdk.Result, error) {
	v := c.Values()
	_, missing := v.Get(ctx, "count")
	first, err := v.SetIf(ctx, "count", []byte("1"), 0)
	if err != nil {
		return sdk.Result{}, err
	}
	_, changed := v.SetIf(ctx, "count", []byte("7"), 0)
	if _, err = v.Set(ctx, "count", []byte("2")); err != nil {
		return sdk.Result{}, err
	}
	got, err := v.Get(ctx, "count")
	if err != nil {
		return sdk.Result{}, err
	}
	var n int
	if err := got.Decode(&n); err != nil {
		return sdk.Result{}, err
	}
	for i := range 250 {
		if _, err := v.Set(ctx, fmt.Sprintf("many/%03d", i), nil); err != nil {
			return sdk.Result{}, err
		}
	}
	keys := 0
	for _, err := range v.List(ctx, "many/") {
		if err != nil {
			return sdk.Result{}, err
		}
		keys++
	}
	if err := v.Delete(ctx, "count"); err != nil {
		return sdk.Result{}, err
	}
	return sdk.Result{Message: a.Name + " of " + a.Subject.Type, Output: []any{
		errors.Is(missing, sdk.ErrNotFound), errors.Is(changed, sdk.ErrChanged), first, got.Version, n, keys,
	}}, nil
}

func secrets(ctx context.Context, c *sdk.Call, _ *sdk.Action) (sdk.Result, error) {
	s := c.Secrets()
	_, missing := s.Get(ctx, "token")
	if err := s.Set(ctx, "token", []byte("s3cret")); err != nil {
		return sdk.Result{}, err
	}
	got, err := s.Get(ctx, "token")
	if err != nil {
		return sdk.Result{}, err
	}
	return sdk.Result{Output: []any{errors.Is(missing, sdk.ErrNotFound), string(got)}}, s.Delete(ctx, "token")
}

func api(ctx context.Context, c *sdk.Call, a *sdk.Action) (sdk.Result, error) {
	var in, made draft
	if err := a.Decode(&in); err != nil {
		return sdk.Result{}, err
	}
	var etag string
	err := c.API(ctx, http.MethodPost, "/v1/tasks", in, &made, sdk.Once("k1"), sdk.IfMatch(`"3"`), sdk.ETag(&etag))
	if p, ok := sdk.IsProblem(err); ok {
		return sdk.Result{Refusal: fmt.Sprintf("%d %s %s", p.Status, p.Code, p.Errors[0].Pointer)}, nil
	}
	return sdk.Result{Output: []string{made.Title, etag}}, err
}

func fetch(ctx context.Context, c *sdk.Call, _ *sdk.Action) (sdk.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://api.example/messages", bytes.NewReader([]byte("hello")))
	if err != nil {
		return sdk.Result{}, err
	}
	r.Header.Set("X-Token", "t")
	a, err := c.HTTP().Do(r)
	if err != nil {
		return sdk.Result{}, err
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	return sdk.Result{Output: []any{a.StatusCode, a.Header.Get("Location"), string(body), errors.Is(err, sdk.ErrTruncated)}}, nil
}

func denied(ctx context.Context, c *sdk.Call, _ *sdk.Action) (sdk.Result, error) {
	_, err := c.Values().Get(ctx, "forbidden")
	if !errors.Is(err, sdk.ErrDenied) {
		return sdk.Result{}, fmt.Errorf("it was not denied: %w", err)
	}
	return sdk.Result{}, sdk.Final(err)
}

func send(_ context.Context, _ *sdk.Call, m message) (receipt, error) {
	if m.To == "" {
		return receipt{}, sdk.Finalf("there is no number")
	}
	return receipt{ID: "sent-" + m.To}, nil
}

func receive(_ context.Context, _ *sdk.Call, r *sdk.Request) (*sdk.Response, error) {
	if r.Header.Get("X-Signature") != "good" {
		return &sdk.Response{Status: http.StatusUnauthorized}, nil
	}
	var d draft
	if err := r.Decode(&d); err != nil {
		return nil, err
	}
	return &sdk.Response{Header: http.Header{"X-Seen": {r.Query.Get("id")}}, Body: []byte(r.Method + " " + d.Title)}, nil
}
