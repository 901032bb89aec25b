package plugins

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	actDeadline     = 25 * time.Second
	provideDeadline = 15 * time.Second
	receiveDeadline = 10 * time.Second
	checkDeadline   = 3 * time.Second
)

// Act runs an action that somebody chose.
func (h *Host) Act(ctx context.Context, i *Installation, by tenant.Actor, in *pluginpb.ActRequest) (out *pluginpb.ActResponse, err error) {
	err = h.call(ctx, i, callOptions{point: "action:" + in.Action, deadline: actDeadline, actor: by}, func(ctx context.Context, p pluginpb.PluginClient, c *pluginpb.Call) (err error) {
		in.Call = c
		out, err = p.Act(ctx, in)
		return err
	})
	return out, err
}

// Receive hands a foreign request to the plugin.
func (h *Host) Receive(ctx context.Context, i *Installation, in *pluginpb.ReceiveRequest) (out *pluginpb.ReceiveResponse, err error) {
	err = h.call(ctx, i, callOptions{point: "inbound:" + in.Name, deadline: receiveDeadline, actor: tenant.Actor{Kind: tenant.System}}, func(ctx context.Context, p pluginpb.PluginClient, c *pluginpb.Call) (err error) {
		in.Call = c
		out, err = p.Receive(ctx, in)
		return err
	})
	return out, err
}

const selectManifest = `select manifest from plugin_versions where plugin_id = $1 and version = $2`

// CheckSettings asks a version of the plugin about settings before they are
// saved. What it calls meanwhile is allowed by what the installation was granted
// already and runs with: one that does not run can call nothing but the log. One
// without a version is not installed yet; its id is the one that it will have. A
// plugin that serves no check accepts what its schema accepts.
func (h *Host) CheckSettings(ctx context.Context, i *Installation, version string, settings json.RawMessage) ([]fault.Field, error) {
	probe := *i
	probe.Version, probe.Previous, probe.clear, probe.trial = version, nil, settings, i.Version == ""
	a, err := h.load(ctx, i.Organization)
	if err != nil {
		return nil, err
	}
	if now := a.find(i.ID); now != nil {
		probe.Grants, probe.granted, probe.Epoch, probe.SettingsVersion = now.Grants, now.granted, now.Epoch, now.SettingsVersion
	}
	raw, err := tenant.Value[json.RawMessage](ctx, h.DB.Global(), selectManifest, i.PluginID, version)
	if err != nil {
		return nil, fmt.Errorf("plugins: the manifest of %s %s: %w", i.PluginID, version, err)
	}
	if probe.manifest, err = h.manifestOf(i.PluginID, version, raw); err != nil {
		return nil, err
	}
	if probe.trial {
		start, cancel := context.WithTimeout(ctx, warmTime)
		defer cancel()
		if err := h.pool.warm(start, &probe); err != nil {
			return nil, err
		}
	}
	var out *pluginpb.CheckSettingsResponse
	err = h.call(ctx, &probe, callOptions{point: "settings", deadline: checkDeadline, readOnly: true, check: true, actor: callerOf(ctx)}, func(ctx context.Context, p pluginpb.PluginClient, c *pluginpb.Call) (err error) {
		out, err = p.CheckSettings(ctx, &pluginpb.CheckSettingsRequest{Call: c})
		return err
	})
	var e *CallError
	switch {
	case errors.As(err, &e) && status.Code(e.cause) == codes.Unimplemented:
		return nil, nil
	case errors.As(err, &e) && e.Final:
		return []fault.Field{{Pointer: "/settings", Message: e.Reason}}, nil
	}
	if err != nil {
		return nil, err
	}
	var bad []fault.Field
	for _, e := range out.Errors {
		bad = append(bad, fault.Field{Pointer: "/settings" + plain(e.Pointer, 200), Message: plain(e.Message, 500)})
	}
	return bad, nil
}

// Service is a point at which a plugin does something for a feature: In and Out
// are JSON on the wire.
type Service[In, Out any] struct {
	*Point
	out shape
}

// DefineService declares a service, "notification.send". Plugins provide it
// under names of their own.
func DefineService[In, Out any](name, doc string) Service[In, Out] {
	return Service[In, Out]{
		Point: &Point{Name: name, Kind: KindService, Doc: doc, Input: reflect.TypeFor[In](), Output: reflect.TypeFor[Out]()},
		out:   shapeOf(reflect.TypeFor[Out]()),
	}
}

// Provider is one offer of a service in an organisation.
type Provider struct {
	*Installation
	Name  string
	Title string
}

// Providers lists who provides the service in the organisation.
func (s Service[In, Out]) Providers(ctx context.Context, h *Host, organization id.ID) ([]Provider, error) {
	a, err := h.load(ctx, organization)
	if err != nil {
		return nil, err
	}
	var out []Provider
	for _, i := range a.all {
		for _, p := range i.manifest.Provides {
			if p.Point == s.Name && i.Granted(bundle.AskProvide+":"+p.Point+"/"+p.Name) {
				out = append(out, Provider{i, p.Name, p.Title})
			}
		}
	}
	return out, nil
}

// Refused is a plugin's word that it cannot be done, and that trying again will
// not help.
type Refused struct{ Text string }

func (r *Refused) Error() string { return r.Text }

// Call asks a provider. The error is a *Refused or a *CallError.
func (s Service[In, Out]) Call(ctx context.Context, h *Host, p Provider, by tenant.Actor, in In) (out Out, err error) {
	raw, err := json.Marshal(in)
	if err != nil {
		return out, fmt.Errorf("plugins: input of %s: %w", s.Name, err)
	}
	var res *pluginpb.ProvideResponse
	err = h.call(ctx, p.Installation, callOptions{point: s.Name + "/" + p.Name, deadline: provideDeadline, actor: by}, func(ctx context.Context, c pluginpb.PluginClient, call *pluginpb.Call) (err error) {
		if res, err = c.Provide(ctx, &pluginpb.ProvideRequest{Call: call, Point: s.Name, Name: p.Name, Input: raw}); err != nil || res.Refusal != "" {
			return err
		}
		if bad := s.out.decode(res.Output, &out); bad != nil {
			return fmt.Errorf("its output for %s %w", s.Name, bad)
		}
		return nil
	})
	if err == nil && res.Refusal != "" {
		err = &Refused{plain(res.Refusal, 500)}
	}
	return out, err
}
