package plugintest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/guildhall-dev/guildhall/plugins/sdk"
	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
)

// How long Guildhall waits for a plugin.
const (
	hearDeadline    = 20 * time.Second
	actDeadline     = 25 * time.Second
	provideDeadline = 15 * time.Second
	receiveDeadline = 10 * time.Second
	checkDeadline   = 3 * time.Second
	taskDeadline    = 50 * time.Second
)

// CallError is why a plugin did not do what it was asked.
type CallError struct {
	Point  string // "hook task.will_create"
	Code   codes.Code
	Reason string // in the plugin's words
	Final  bool   // trying again will not help
}

func (e *CallError) Error() string { return fmt.Sprintf("%s: %s: %s", e.Point, e.Code, e.Reason) }

// Refused is a provider's word that it cannot be done, and that trying again will
// not help.
type Refused struct{ Text string }

func (r *Refused) Error() string { return r.Text }

// grant is what the plugin's own calls are allowed by while it serves a request.
type grant struct {
	*Host
	readOnly bool
	until    time.Time
}

// request is one thing to ask of the plugin.
type request struct {
	point    string
	deadline time.Duration
	readOnly bool
	actor    sdk.Reference
	settings json.RawMessage // in place of the installation's
}

// ask sends a request with a grant that ends with it.
func (h *Host) ask(r request, send func(context.Context, pluginpb.PluginClient, *pluginpb.Call) error) error {
	token := rand.Text()
	until := time.Now().Add(r.deadline)
	h.p.mu.Lock()
	h.p.grants[token] = &grant{Host: h, readOnly: r.readOnly, until: until}
	h.p.mu.Unlock()
	defer func() {
		h.p.mu.Lock()
		delete(h.p.grants, token)
		h.p.mu.Unlock()
	}()
	h.mu.Lock()
	c := &pluginpb.Call{
		OrganizationId: h.OrganizationID, InstallationId: h.InstallationID, ActorKind: r.actor.Type, ActorId: r.actor.ID,
		Grant: token, Settings: slices.Clone(h.settings), SettingsVersion: h.settingsVersion,
	}
	h.mu.Unlock()
	if r.settings != nil {
		c.Settings, c.SettingsVersion = r.settings, c.SettingsVersion+1
	}
	ctx, cancel := context.WithDeadline(context.Background(), until)
	defer cancel()
	err := send(ctx, h.p.running.Plugin(), c)
	s, said := status.FromError(err)
	if err == nil || !said {
		return err // not of the connection: it is about what was answered
	}
	return &CallError{Point: r.point, Code: s.Code(), Reason: s.Message(),
		Final: slices.Contains([]codes.Code{codes.FailedPrecondition, codes.InvalidArgument, codes.Unimplemented}, s.Code())}
}

func person() sdk.Reference { return sdk.Reference{Type: "user", ID: uuid(4, 1)} }
func system() sdk.Reference { return sdk.Reference{Type: "system"} }

// mustHave fails the test where the product would never ask, since the
// organisation did not grant it.
func (h *Host) mustHave(key string) {
	h.t.Helper()
	if !h.has(key) {
		h.t.Fatalf("plugintest: %s is not granted or the manifest does not ask for it: Guildhall would not call the plugin", key)
	}
}

// Hear tells of events. It returns how many of them, from the first on, are done;
// the error says why the rest is to come again later. Without one, the plugin had
// no time for the rest.
func (h *Host) Hear(events ...sdk.Event) (done int, err error) {
	h.t.Helper()
	r := &pluginpb.HearRequest{}
	for _, e := range events {
		if !slices.ContainsFunc(h.p.manifest.Events, func(asked string) bool {
			return bundle.EventMatches(asked, e.Type) && h.has(bundle.AskEvent+":"+asked)
		}) {
			h.t.Fatalf("plugintest: the manifest does not ask for %s, or it is not granted: Guildhall would not tell of it", e.Type)
		}
		r.Events = append(r.Events, encoded(h.t, e))
	}
	err = h.ask(request{point: "events", deadline: hearDeadline, actor: system()}, func(ctx context.Context, p pluginpb.PluginClient, c *pluginpb.Call) error {
		r.Call = c
		a, err := p.Hear(ctx, r)
		done = int(a.GetDone())
		if err == nil && (done < 0 || done > len(events)) {
			err = fmt.Errorf("it says that %d of %d events are done", done, len(events))
		}
		if err == nil && done < len(events) && (done == 0 || a.GetError() != "") {
			err = status.Error(codes.Unknown, a.GetError())
		}
		return err
	})
	return done, err
}

// Decision is what a hook said of one draft.
type Decision struct {
	Refusal string
	Amend   map[string]any // fields of the draft, with their new values
}

// Decide asks a hook about a draft, within the deadline of the manifest.
func (h *Host) Decide(hook string, subject, draft any) (d Decision, err error) {
	h.t.Helper()
	h.mustHave(bundle.AskHook + ":" + hook)
	i := slices.IndexFunc(h.p.manifest.Hooks, func(m bundle.Hook) bool { return m.Hook == hook })
	r := &pluginpb.DecideRequest{Hook: hook, Items: []*pluginpb.DecideItem{{Subject: encoded(h.t, subject), Draft: encoded(h.t, draft)}}}
	err = h.ask(request{point: "hook " + hook, deadline: h.p.manifest.Hooks[i].Deadline(), readOnly: true, actor: person()},
		func(ctx context.Context, p pluginpb.PluginClient, c *pluginpb.Call) error {
			r.Call = c
			a, err := p.Decide(ctx, r)
			switch {
			case err != nil:
				return err
			case len(a.GetDecisions()) != 1:
				return fmt.Errorf("it answers with %d decisions about one draft", len(a.GetDecisions()))
			}
			d.Refusal = a.GetDecisions()[0].GetRefusal()
			if amend := a.GetDecisions()[0].GetAmend(); len(amend) > 0 {
				return json.Unmarshal(amend, &d.Amend)
			}
			return nil
		})
	return d, err
}

// Acted is what came of an action.
type Acted struct {
	Message string
	Output  json.RawMessage
	Refusal string
}

// Act runs an action, on a thing or by itself. The input has to fit the
// manifest's schema.
func (h *Host) Act(action string, input any, on ...sdk.Reference) (out Acted, err error) {
	h.t.Helper()
	h.mustHave(bundle.AskAction + ":" + action)
	raw := json.RawMessage("{}")
	if input != nil {
		raw = encoded(h.t, input)
	}
	if bad := h.p.manifest.CheckInput(action, raw); len(bad) > 0 {
		h.t.Fatalf("plugintest: the input of %s does not fit the manifest: %s: %s", action, bad[0].Pointer, bad[0].Message)
	}
	r := &pluginpb.ActRequest{Action: action, Input: raw}
	if len(on) > 0 {
		r.SubjectType, r.SubjectId = on[0].Type, on[0].ID
	}
	err = h.ask(request{point: "action " + action, deadline: actDeadline, actor: person()}, func(ctx context.Context, p pluginpb.PluginClient, c *pluginpb.Call) error {
		r.Call = c
		a, err := p.Act(ctx, r)
		out = Acted{a.GetMessage(), a.GetOutput(), a.GetRefusal()}
		return err
	})
	return out, err
}

// Provide asks for a service by its point and name, "notification.send/sms", and
// decodes what comes of it into out, unless that is nil. The error is a *Refused
// or a *CallError.
func (h *Host) Provide(service string, input, out any) error {
	h.t.Helper()
	h.mustHave(bundle.AskProvide + ":" + service)
	point, name := split(service)
	r := &pluginpb.ProvideRequest{Point: point, Name: name, Input: encoded(h.t, input)}
	refusal := ""
	err := h.ask(request{point: service, deadline: provideDeadline, actor: system()}, func(ctx context.Context, p pluginpb.PluginClient, c *pluginpb.Call) error {
		r.Call = c
		a, err := p.Provide(ctx, r)
		refusal = a.GetRefusal()
		if err == nil && refusal == "" && out != nil {
			err = json.Unmarshal(a.GetOutput(), out)
		}
		return err
	})
	if err == nil && refusal != "" {
		err = &Refused{refusal}
	}
	return err
}

// Receive sends a foreign service's request to an inbound address.
func (h *Host) Receive(name string, header http.Header, body []byte) (out *sdk.Response, err error) {
	h.t.Helper()
	h.mustHave(bundle.AskInbound + ":" + name)
	r := &pluginpb.ReceiveRequest{Name: name, Method: http.MethodPost, Headers: toHeaders(header), Body: body}
	err = h.ask(request{point: "inbound " + name, deadline: receiveDeadline, actor: system()}, func(ctx context.Context, p pluginpb.PluginClient, c *pluginpb.Call) error {
		r.Call = c
		a, err := p.Receive(ctx, r)
		if err == nil && (a.GetStatus() < 200 || a.GetStatus() > 599) {
			err = fmt.Errorf("it answers with status %d", a.GetStatus())
		}
		out = &sdk.Response{Status: int(a.GetStatus()), Header: fromHeaders(a.GetHeaders()), Body: a.GetBody()}
		return err
	})
	return out, err
}

// RunSchedule runs a schedule that is due now.
func (h *Host) RunSchedule(name string) error {
	h.t.Helper()
	h.mustHave(bundle.AskSchedule + ":" + name)
	return h.ask(request{point: "schedule " + name, deadline: taskDeadline, actor: system()}, func(ctx context.Context, p pluginpb.PluginClient, c *pluginpb.Call) error {
		_, err := p.RunSchedule(ctx, &pluginpb.RunScheduleRequest{Call: c, Name: name, Due: timestamppb.Now()})
		return err
	})
}

// CheckSettings returns what is wrong with settings: by the manifest's schema, or
// else in the plugin's words.
func (h *Host) CheckSettings(settings any) (bad []sdk.SettingsError, err error) {
	h.t.Helper()
	raw := encoded(h.t, settings)
	for _, f := range h.p.manifest.CheckSettings(raw) {
		bad = append(bad, sdk.SettingsError{Pointer: f.Pointer, Message: f.Message})
	}
	if len(bad) > 0 {
		return bad, nil
	}
	err = h.ask(request{point: "settings", deadline: checkDeadline, readOnly: true, actor: person(), settings: raw}, func(ctx context.Context, p pluginpb.PluginClient, c *pluginpb.Call) error {
		a, err := p.CheckSettings(ctx, &pluginpb.CheckSettingsRequest{Call: c})
		for _, e := range a.GetErrors() {
			bad = append(bad, sdk.SettingsError{Pointer: e.GetPointer(), Message: e.GetMessage()})
		}
		return err
	})
	var e *CallError
	if errors.As(err, &e) && e.Final { // it checks nothing
		return nil, nil
	}
	return bad, err
}
