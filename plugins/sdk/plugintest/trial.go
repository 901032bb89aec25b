package plugintest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/guildhall-dev/guildhall/plugins/sdk"
	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
)

// trial is a conformance run of a plugin that runs.
type trial struct {
	*Report
	p        *process
	m        *bundle.Manifest
	host     *Host
	settings json.RawMessage
}

// ask makes one request, and returns how long it took. The process has to be
// there afterwards.
func (t *trial) ask(r request, send func(context.Context, pluginpb.PluginClient, *pluginpb.Call) error) (time.Duration, error) {
	began := time.Now()
	err := t.host.ask(r, send)
	took := time.Since(began)
	if err != nil && codeOf(err) != codes.Unavailable {
		return took, err
	}
	patience := time.Second // until it is seen that it ended
	if err == nil {
		patience = 0
	}
	select {
	case <-t.p.running.Done():
		return took, fmt.Errorf("it ended: %w", t.p.running.Err())
	case <-time.After(patience):
		return took, err
	}
}

// broken reports whether a call came to what no plugin should do: not to be
// confused with an error in answer to what is odd.
func broken(err error) bool {
	var e *CallError
	return err != nil && (!errors.As(err, &e) ||
		slices.Contains([]codes.Code{codes.Unimplemented, codes.DeadlineExceeded, codes.Canceled, codes.Unavailable, codes.Internal}, e.Code))
}

// judge says of a point of the manifest whether it is served. An error in answer
// to what is odd is fine; no answer at all is not.
func (t *trial) judge(name string, took time.Duration, err error, words string) {
	var e *CallError
	switch {
	case err == nil:
		t.say(true, name, "%s within %s", words, took.Round(time.Millisecond))
	case !errors.As(err, &e):
		t.say(false, name, "%v", err)
	case e.Code == codes.Unimplemented:
		t.say(false, name, "the manifest has it, and the plugin answers UNIMPLEMENTED: %s", e.Reason)
	case e.Code == codes.DeadlineExceeded || e.Code == codes.Canceled:
		t.say(false, name, "no answer within its deadline")
	case broken(err):
		t.say(false, name, "%s: %s", e.Code, e.Reason)
	default:
		t.say(true, name, "answers with an error within %s: %s", took.Round(time.Millisecond), e.Reason)
	}
}

// points tries each point of the manifest.
func (t *trial) points() {
	for _, h := range t.m.Hooks {
		t.hook(h)
	}
	if len(t.m.Events) > 0 {
		t.events()
	}
	for _, a := range t.m.Actions {
		took, err := t.ask(request{point: "action", deadline: actDeadline, actor: person()}, func(ctx context.Context, p pluginpb.PluginClient, c *pluginpb.Call) error {
			_, err := p.Act(ctx, &pluginpb.ActRequest{Call: c, Action: a.Name, Input: sampleOf(a.Input)})
			return err
		})
		t.judge("action "+a.Name, took, err, "answers")
	}
	for _, s := range t.m.Provides {
		took, err := t.ask(request{point: "service", deadline: provideDeadline, actor: system()}, func(ctx context.Context, p pluginpb.PluginClient, c *pluginpb.Call) error {
			_, err := p.Provide(ctx, &pluginpb.ProvideRequest{Call: c, Point: s.Point, Name: s.Name, Input: []byte("{}")})
			return err
		})
		t.judge("service "+s.Point+"/"+s.Name, took, err, "answers")
	}
	for _, i := range t.m.Inbound {
		words := ""
		took, err := t.ask(request{point: "inbound", deadline: receiveDeadline, actor: system()}, func(ctx context.Context, p pluginpb.PluginClient, c *pluginpb.Call) error {
			a, err := p.Receive(ctx, &pluginpb.ReceiveRequest{Call: c, Name: i.Name, Method: "POST", Body: []byte("{}")})
			words = fmt.Sprintf("answers a request that nobody signed with %d", a.GetStatus())
			return err
		})
		t.judge("inbound "+i.Name, took, err, words)
	}
	for _, s := range t.m.Schedules {
		took, err := t.ask(request{point: "schedule", deadline: taskDeadline, actor: system()}, func(ctx context.Context, p pluginpb.PluginClient, c *pluginpb.Call) error {
			_, err := p.RunSchedule(ctx, &pluginpb.RunScheduleRequest{Call: c, Name: s.Name, Due: timestamppb.Now()})
			return err
		})
		t.judge("schedule "+s.Name, took, err, "runs")
	}
}

// oddDrafts are what a hook may be asked about, at the rim of it. The strange ones
// no host sends: the plugin may fall over them, as long as that is caught.
func oddDrafts() (odd, strange []string) {
	odd = []string{
		`{}`, `{"title":"","description":"","body":"","labels":[]}`,
		`{"title":"` + strings.Repeat("Ä", 500) + `","description":"` + strings.Repeat(`\n`, 50_000) + `","body":"x"}`,
		`{"title":"\u0000\ufeff\u202e","body":"\u0000","labels":["\u202e"],"unknown":{"a":[null]}}`,
	}
	return odd, []string{`null`, `[]`, `7`, `{"title":7,"labels":"x","body":[]}`, `{"title":null,"labels":[null,{}]}`}
}

func (t *trial) hook(h bundle.Hook) {
	var slowest time.Duration
	odd, strange := oddDrafts()
	caught := 0
	for n, draft := range slices.Concat(odd, strange) {
		took, err := t.ask(request{point: "hook", deadline: h.Deadline(), readOnly: true, actor: person()}, func(ctx context.Context, p pluginpb.PluginClient, c *pluginpb.Call) error {
			a, err := p.Decide(ctx, &pluginpb.DecideRequest{Call: c, Hook: h.Hook, Items: []*pluginpb.DecideItem{{Subject: []byte("{}"), Draft: []byte(draft)}}})
			if err != nil {
				return err
			}
			return oddDecisions(a.GetDecisions())
		})
		slowest = max(slowest, took)
		var e *CallError
		switch {
		case n >= len(odd) && errors.As(err, &e) && e.Code == codes.Internal:
			caught++
		case broken(err):
			t.judge(fmt.Sprintf("hook %s, asked about %.40s", h.Hook, draft), took, err, "")
			return
		}
	}
	t.say(true, "hook "+h.Hook, "answers %d odd drafts, each within %s of the %s that it may take; falls over %d more that no host sends, and catches that",
		len(odd)+len(strange), slowest.Round(time.Millisecond), h.Deadline(), caught)
}

// oddDecisions says what is wrong with the answer about one draft.
func oddDecisions(all []*pluginpb.Decision) error {
	if len(all) != 1 {
		return fmt.Errorf("it answers with %d decisions about one draft", len(all))
	}
	for _, d := range all {
		var fields map[string]any
		if amend := d.GetAmend(); len(amend) > 0 && json.Unmarshal(amend, &fields) != nil {
			return fmt.Errorf("it amends with %.60q, which is no JSON object", amend)
		}
	}
	return nil
}

func (t *trial) events() {
	r := &pluginpb.HearRequest{}
	for i, asked := range t.m.Events {
		kind := strings.ReplaceAll(asked, "*", "happened")
		if !strings.Contains(kind, ".") {
			kind = "task." + kind
		}
		about, _, _ := strings.Cut(kind, ".")
		raw, err := json.Marshal(sdk.Event{
			ID: uuid(3, i+1), Type: kind, Sequence: int64(i + 1), Subject: sdk.Reference{Type: about, ID: uuid(6, 1)},
			OrganizationID: t.host.OrganizationID, Timestamp: time.Now(), SchemaVersion: 1, Data: json.RawMessage(`{}`), Previous: json.RawMessage(`null`),
		})
		if err == nil {
			r.Events = append(r.Events, raw)
		}
	}
	words := ""
	took, err := t.ask(request{point: "events", deadline: hearDeadline, actor: system()}, func(ctx context.Context, p pluginpb.PluginClient, c *pluginpb.Call) error {
		r.Call = c
		a, err := p.Hear(ctx, r)
		words = fmt.Sprintf("hears %d events without data, has done %d", len(r.Events), a.GetDone())
		if err == nil && (a.GetDone() < 0 || int(a.GetDone()) > len(r.Events)) {
			return fmt.Errorf("it says that %d of %d events are done", a.GetDone(), len(r.Events))
		}
		return err
	})
	t.judge("events", took, err, words)
}

// strangers asks for what the plugin does not have.
func (t *trial) strangers() {
	const stranger = "no_such_thing"
	for _, s := range []struct {
		what string
		send func(context.Context, pluginpb.PluginClient, *pluginpb.Call) error
	}{
		{"hook", func(ctx context.Context, p pluginpb.PluginClient, c *pluginpb.Call) error {
			_, err := p.Decide(ctx, &pluginpb.DecideRequest{Call: c, Hook: "thing.will_" + stranger, Items: []*pluginpb.DecideItem{{Draft: []byte("{}")}}})
			return err
		}},
		{"action", func(ctx context.Context, p pluginpb.PluginClient, c *pluginpb.Call) error {
			_, err := p.Act(ctx, &pluginpb.ActRequest{Call: c, Action: stranger, Input: []byte("{}")})
			return err
		}},
		{"service", func(ctx context.Context, p pluginpb.PluginClient, c *pluginpb.Call) error {
			_, err := p.Provide(ctx, &pluginpb.ProvideRequest{Call: c, Point: "thing.send", Name: stranger, Input: []byte("{}")})
			return err
		}},
		{"task", func(ctx context.Context, p pluginpb.PluginClient, c *pluginpb.Call) error {
			_, err := p.RunTask(ctx, &pluginpb.RunTaskRequest{Call: c, Name: stranger, Payload: []byte("{}"), Attempt: 1})
			return err
		}},
	} {
		_, err := t.ask(request{point: s.what, deadline: checkDeadline, readOnly: true, actor: system()}, s.send)
		name := "unknown " + s.what
		switch c := codeOf(err); {
		case err == nil:
			t.say(false, name, "answers as if it had it; it should answer UNIMPLEMENTED")
		case slices.Contains([]codes.Code{codes.Unimplemented, codes.InvalidArgument, codes.FailedPrecondition}, c):
			t.say(true, name, "refuses with %s", c)
		default:
			t.say(false, name, "answers with %v; it should answer UNIMPLEMENTED", err)
		}
	}
	took, err := t.ask(request{point: "settings", deadline: checkDeadline, readOnly: true, actor: person()}, func(ctx context.Context, p pluginpb.PluginClient, c *pluginpb.Call) error {
		_, err := p.CheckSettings(ctx, &pluginpb.CheckSettingsRequest{Call: c})
		return err
	})
	if codeOf(err) == codes.Unimplemented && err != nil {
		t.say(true, "settings", "leaves them to the manifest's schema")
		return
	}
	t.judge("settings", took, err, "checks them")
}

// late has requests end before they begin: the plugin has to live on.
func (t *trial) late() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for range 20 {
		_, _ = t.p.running.Plugin().CheckSettings(ctx, &pluginpb.CheckSettingsRequest{Call: &pluginpb.Call{Settings: t.settings}})
	}
	ctx, cancel = context.WithTimeout(context.Background(), checkDeadline)
	defer cancel()
	if err := t.p.running.Ping(ctx); err != nil {
		t.say(false, "given up", "after requests that nobody waits for: %v", err)
		return
	}
	t.p.mu.Lock()
	late := len(t.p.denied)
	t.p.mu.Unlock()
	t.say(true, "given up", "lives on after requests that nobody waits for; %d host calls came after their request was over", late)
}
