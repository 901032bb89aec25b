package plugins

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Hook is a point that is asked before a change: about a subject of type S, with
// the draft of type D of what would be stored.
type Hook[S, D any] struct {
	*Point
	draft shape
}

// DefineHook declares a hook, "task.will_create". A plugin may refuse the
// change, or amend the named fields of the draft.
func DefineHook[S, D any](name, doc string, amendable ...string) Hook[S, D] {
	return Hook[S, D]{
		Point: &Point{Name: name, Kind: KindHook, Doc: doc, Amendable: amendable, Input: reflect.TypeFor[D](), Context: reflect.TypeFor[S]()},
		draft: shapeOf(reflect.TypeFor[D]()),
	}
}

// Change is one thing that is about to change.
type Change[S, D any] struct {
	Subject S
	Draft   D
	Private bool // of a private project: only plugins that were granted these are asked
}

// Verdict is what plugins say of a change: a refusal, which is a fault for the
// caller, or the draft to go on with.
type Verdict[D any] struct {
	Refusal error
	Draft   D
	Amended []string // which fields of the draft plugins changed
}

// Asked lists the errors of an operation about which plugins are asked, beside
// its own.
func Asked(errors ...string) []string {
	return append(errors, "422 plugin_refused", "503 plugin_unavailable")
}

// Wanted reports whether any plugin of the caller's organisation asked for the
// hook. Without one, nothing needs to be prepared.
func (h Hook[S, D]) Wanted(ctx context.Context, host *Host) (bool, error) {
	subs, err := host.subscribers(ctx, h.Name)
	return len(subs) > 0, err
}

// Ask asks every plugin that wants to be asked, one after the other, each about
// the drafts as the one before left them. It returns a verdict for each change.
// Call it before the transaction, in what api.Write takes as before.
func (h Hook[S, D]) Ask(ctx context.Context, host *Host, changes []Change[S, D]) ([]Verdict[D], error) {
	subs, err := host.subscribers(ctx, h.Name)
	if err != nil {
		return nil, err
	}
	out := make([]Verdict[D], len(changes))
	for i, c := range changes {
		out[i].Draft = c.Draft
	}
	for _, s := range subs {
		if err := h.askOne(ctx, host, s, changes, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// mostAsked bounds one message to a plugin, in bytes.
const mostAsked = 1 << 20

// askOne asks one plugin about what nobody refused yet, in messages that are not
// too large: a bulk change may be about very much text.
func (h Hook[S, D]) askOne(ctx context.Context, host *Host, s subscriber, changes []Change[S, D], out []Verdict[D]) error {
	var asked []int
	var items []*pluginpb.DecideItem
	size := 0
	flush := func() error {
		if len(asked) == 0 {
			return nil
		}
		decisions, err := host.decide(ctx, s, &pluginpb.DecideRequest{Hook: h.Name, Items: items})
		if err != nil {
			return err // not the plugin's doing
		}
		for n, d := range decisions {
			h.take(ctx, host, s, d, &out[asked[n]])
		}
		asked, items, size = nil, nil, 0
		return nil
	}
	for i := range out {
		if out[i].Refusal != nil || changes[i].Private && !s.Granted(bundle.AskPrivateProjects) {
			continue
		}
		subject, err := json.Marshal(changes[i].Subject)
		if err != nil {
			return fmt.Errorf("plugins: subject of %s: %w", h.Name, err)
		}
		draft, err := json.Marshal(out[i].Draft)
		if err != nil {
			return fmt.Errorf("plugins: draft of %s: %w", h.Name, err)
		}
		if size += len(subject) + len(draft); size > mostAsked {
			if err := flush(); err != nil {
				return err
			}
			size = len(subject) + len(draft)
		}
		asked = append(asked, i)
		items = append(items, &pluginpb.DecideItem{Subject: subject, Draft: draft})
	}
	return flush()
}

// take makes a verdict of what the plugin said of one change.
func (h Hook[S, D]) take(ctx context.Context, host *Host, s subscriber, d decision, v *Verdict[D]) {
	switch {
	case d.failed != nil:
		v.Refusal = d.failed
	case d.refusal != "":
		v.Refusal = fault.New(fault.Invalid, "plugin_refused", "%s", d.refusal).With("plugin", s.PluginID)
	case len(d.amend) > 0:
		if bad := h.amend(v, d.amend); bad != nil {
			host.badAmendment(ctx, s, h.Name, bad)
			if !s.allowsOnFailure() {
				v.Refusal = s.unavailable()
			}
		}
	}
}

// amend applies a merge patch (RFC 7396) of top-level fields to the draft. A
// patch that is not acceptable changes nothing.
func (h Hook[S, D]) amend(v *Verdict[D], patch []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(patch, &fields); err != nil {
		return fmt.Errorf("amend is not a JSON object: %w", err)
	}
	raw, err := json.Marshal(v.Draft)
	if err != nil {
		return err
	}
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(raw, &doc); err != nil {
		return err
	}
	var named []string
	for name, value := range fields {
		if !slices.Contains(h.Amendable, name) {
			return fmt.Errorf("amend names %s; this hook lets be amended: %s", name, strings.Join(h.Amendable, ", "))
		}
		if bytes.Equal(doc[name], value) {
			continue
		}
		doc[name] = value
		named = append(named, name)
	}
	if raw, err = json.Marshal(doc); err != nil {
		return err
	}
	var next D
	if err := h.draft.decode(raw, &next); err != nil {
		return fmt.Errorf("the amended draft %w", err)
	}
	v.Draft = next
	for _, n := range named {
		if !slices.Contains(v.Amended, n) {
			v.Amended = append(v.Amended, n)
		}
	}
	return nil
}

// decision is what one plugin said of one change.
type decision struct {
	refusal string
	amend   []byte
	failed  error // the fault to answer with, where the hook refuses on failure
}

// decide asks the plugin; if it does not answer as it should, the decisions are
// what the organisation agreed to for that case.
func (h *Host) decide(ctx context.Context, s subscriber, req *pluginpb.DecideRequest) ([]decision, error) {
	out := make([]decision, len(req.Items))
	if s.stopped {
		for i := range out {
			out[i].failed = s.unavailable()
		}
		return out, nil
	}
	var res *pluginpb.DecideResponse
	err := h.call(ctx, s.Installation, callOptions{point: req.Hook, deadline: s.hook.Deadline(), readOnly: true, actor: callerOf(ctx), brittle: true},
		func(ctx context.Context, p pluginpb.PluginClient, c *pluginpb.Call) (err error) {
			req.Call = c
			if res, err = p.Decide(ctx, req); err == nil && len(res.Decisions) != len(req.Items) {
				err = errors.New("the plugin answered with another number of decisions than it was asked for")
			}
			return err
		})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		if !s.allowsOnFailure() {
			for i := range out {
				out[i].failed = s.unavailable()
			}
		}
		return out, nil
	}
	for i, d := range res.Decisions {
		out[i] = decision{refusal: plain(d.Refusal, 500), amend: d.Amend}
	}
	return out, nil
}

// badAmendment tells the operator and the plugin's author of it.
func (h *Host) badAmendment(ctx context.Context, s subscriber, hook string, err error) {
	h.Log.WarnContext(ctx, "a plugin's amendment was not accepted", "plugin", s.PluginID, "version", s.Version, "hook", hook, "error", err)
}

func callerOf(ctx context.Context) tenant.Actor {
	if c := api.CallerOf(ctx); c != nil {
		return c.Scope.Actor
	}
	return tenant.Actor{}
}

// unavailable is the answer where a hook refuses on failure.
func (s subscriber) unavailable() error {
	name := s.PluginID
	if s.manifest != nil {
		name = s.manifest.Name
	}
	return fault.New(fault.Unavailable, "plugin_unavailable",
		"The plugin %s has to agree to this and does not answer. Try again shortly; an admin can suspend the plugin.", name).With("plugin", s.PluginID)
}
