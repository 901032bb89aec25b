package plugins

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/outbound"
	"github.com/guildhall-dev/guildhall/internal/seal"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Deps is what the host stands on.
type Deps struct {
	DB       *tenant.DB // of serve
	Queue    *jobs.Queue
	Keys     *seal.Keyring
	Outbound *outbound.Client
	Log      *slog.Logger
	// Confine is the program that limits a plugin's process before it runs; see
	// launch.Main. Empty runs plugins without limits, which only tests do.
	Confine string
	// FirstUID is the first of the accounts of the first plugin where the host runs as root.
	FirstUID int
	// Drain is how long a process stays that no organisation needs any more; 0 = 10 s.
	Drain time.Duration
	// Restart is how processes are supervised.
	Restart Restart
}

// Reports hears what the host finds out about installations; the feature that
// owns them implements it.
type Reports interface {
	// Quarantine stops an installation that does harm, with the reason.
	Quarantine(ctx context.Context, organization, installation id.ID, version, reason string) error
	// QuarantineAll stops every installation of a version that cannot run at all.
	QuarantineAll(ctx context.Context, plugin, version, reason string) error
	// RollBack returns an installation to the version before, which runs already.
	RollBack(ctx context.Context, organization, installation id.ID, version, reason string) error
}

// ErrNoReturn is what RollBack says where there is no version to return to.
var ErrNoReturn = errors.New("there is no version to return to that may run")

// Host runs plugins. It is safe for concurrent use.
type Host struct {
	Deps
	reports   Reports
	catalogue *authz.Catalogue
	handler   http.Handler
	manifests *otter.Cache[[sha256.Size]byte, *bundle.Manifest]
	actives   *otter.Cache[id.ID, *active]
	limits    *otter.Cache[id.ID, *allowance]
	stats     *otter.Cache[statKey, *stat]
	grants    grants
	accounts  accounts
	places    places
	starts    chan struct{} // places for those that start
	// catalogued is a digest of what may run, as it was last seen; each look makes a
	// new one where it differs.
	catalogued atomic.Pointer[[sha256.Size]byte]
	pool       *pool
}

// New returns a host that runs nothing yet.
func New(d Deps) *Host {
	if d.Drain == 0 {
		d.Drain = 10 * time.Second
	}
	d.Restart.complete()
	h := &Host{
		Deps:      d,
		manifests: otter.Must(&otter.Options[[sha256.Size]byte, *bundle.Manifest]{MaximumSize: 1000}),
		actives:   otter.Must(&otter.Options[id.ID, *active]{MaximumSize: 20_000}),
		limits:    otter.Must(&otter.Options[id.ID, *allowance]{MaximumSize: 20_000}),
		stats:     otter.Must(&otter.Options[statKey, *stat]{MaximumSize: 20_000}),
		grants:    grants{issued: map[string]*grant{}},
		accounts:  accounts{of: map[int]bool{}},
		places:    places{taken: map[string]int{}},
		starts:    make(chan struct{}, startsAtOnce),
	}
	h.pool = newPool(h)
	return h
}

// Use gives the host what is made after the features: the API that plugins
// call, the permissions, and who hears its reports.
func (h *Host) Use(handler http.Handler, catalogue *authz.Catalogue, reports Reports) {
	h.handler, h.catalogue, h.reports = handler, catalogue, reports
}

// callOptions say how a plugin is called.
type callOptions struct {
	point    string
	deadline time.Duration
	actor    tenant.Actor
	readOnly bool // the grant only reads
	check    bool // it is about settings that are not saved yet
	brittle  bool // people wait: after failures in a row it is not tried for a while
}

// CallError is why a plugin did not do what it was asked.
type CallError struct {
	Plugin string
	Point  string
	Reason string // in words
	// Final says that trying again will not help.
	Final bool
	cause error
}

func (e *CallError) Error() string {
	return fmt.Sprintf("plugin %s at %s: %s", e.Plugin, e.Point, e.Reason)
}
func (e *CallError) Unwrap() error { return e.cause }

// call leases a running process of the installation's version, issues a grant
// that lasts as long as the call, and calls. Its error is a *CallError.
func (h *Host) call(ctx context.Context, i *Installation, o callOptions, fn func(context.Context, pluginpb.PluginClient, *pluginpb.Call) error) error {
	st := h.statOf(i, o.point)
	if o.brittle && st.resting(time.Now()) {
		return &CallError{Plugin: i.PluginID, Point: o.point, Reason: "it failed several times in a row and is not asked for a while"}
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, o.deadline)
	defer cancel()
	err := h.callOn(ctx, i, o, began.Add(o.deadline), fn)
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		return err // who asked is gone: no fault of the plugin
	}
	h.note(ctx, st, i, o, time.Since(began), err)
	return err
}

func (h *Host) callOn(ctx context.Context, i *Installation, o callOptions, until time.Time, fn func(context.Context, pluginpb.PluginClient, *pluginpb.Call) error) error {
	l, err := h.pool.lease(ctx, i)
	if err != nil {
		return &CallError{Plugin: i.PluginID, Point: o.point, Reason: err.Error(), cause: err}
	}
	defer l.done()
	token, end := h.grants.issue(&grant{
		Installation: i, running: l.slot, actor: o.actor, readOnly: o.readOnly, check: o.check, until: until,
		request: api.RequestID(ctx), source: api.SourceAddress(ctx),
	})
	defer end()
	c := &pluginpb.Call{
		OrganizationId: i.Organization.String(), InstallationId: i.ID.String(), ActorKind: string(o.actor.Kind),
		Grant: token, Settings: i.clear, SettingsVersion: i.SettingsVersion,
	}
	if !o.actor.ID.IsZero() {
		c.ActorId = o.actor.ID.String()
	}
	return l.explain(o.point, fn(ctx, l.client, c))
}

// explain turns the error of a call into words.
func (l *lease) explain(point string, err error) error {
	if err == nil {
		return nil
	}
	e := &CallError{Plugin: l.plugin, Point: point, cause: err}
	s := status.Convert(err)
	l.failed(s.Code())
	switch s.Code() {
	case codes.DeadlineExceeded:
		e.Reason = "it did not answer in time"
	case codes.Unavailable:
		e.Reason = "its process ended during the call"
		if why := l.ended(); why != "" {
			e.Reason += ": " + why
		}
	case codes.Unimplemented:
		e.Reason, e.Final = "it does not serve what its manifest says", true
	case codes.FailedPrecondition, codes.InvalidArgument:
		e.Reason, e.Final = plain(s.Message(), 500), true
	default:
		e.Reason = plain(s.Message(), 500)
	}
	return e
}

const warmTime = 8 * time.Second

// Warm starts a version, or finds it running, and waits until it answers; an
// upgrade asks for it before anybody is moved.
func (h *Host) Warm(ctx context.Context, plugin, version string) error {
	ctx, cancel := context.WithTimeout(ctx, warmTime)
	defer cancel()
	return h.pool.warm(ctx, &Installation{PluginID: plugin, Version: version})
}
