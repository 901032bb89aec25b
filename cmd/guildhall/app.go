package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/commerce/orders"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/config"
	"github.com/guildhall-dev/guildhall/internal/mail"
	"github.com/guildhall-dev/guildhall/internal/outbound"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/internal/seal"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/module"
	"github.com/guildhall-dev/guildhall/plugins"
	"github.com/guildhall-dev/guildhall/tenant"
)

// app is the product put together: what serve and work run, and what the tests
// drive.
type app struct {
	cfg       config.Config
	log       *slog.Logger
	db        *tenant.DB // serve
	workDB    *tenant.DB // work; nil in serve
	queue     *jobs.Queue
	authority *authz.Authority
	features  features
	router    *api.Router
	listeners []event.Listener
	jobs      []jobs.Definition
	relay     *event.Relay // nil in serve
	workers   *jobs.Workers
	wake      chan struct{}
	notReady  atomic.Pointer[string]
	readiness lately
}

// role is which parts run.
type role struct{ serve, work bool }

// options are what tests set otherwise.
type options struct {
	strictEvents bool
	mail         mail.Sender
	maxConns     int
	restart      plugins.Restart
	drain        time.Duration // of plugins
	providers    []orders.Provider
}

// newApp opens the pools and puts the features together; it starts nothing.
func newApp(ctx context.Context, cfg config.Config, d *database, r role, log *slog.Logger, o options) (_ *app, err error) {
	a := &app{cfg: cfg, log: log, wake: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	a.setNotReady("starting")
	if a.db, err = tenant.Open(ctx, tenant.Options{URL: d.appURL, Name: "guildhall serve", OnWake: a.onWake, MaxConns: o.maxConns}); err != nil {
		return nil, err
	}
	if a.queue, err = jobs.NewQueue(a.db, log); err != nil {
		return nil, err
	}
	keys, err := seal.Open(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	sender := o.mail
	if sender == nil {
		if sender, err = mail.New(cfg.SMTPURL, cfg.MailFrom, mailFolder(cfg)); err != nil {
			return nil, err
		}
	}
	allow, err := config.Prefixes(cfg.OutboundAllow)
	if err != nil {
		return nil, err
	}
	confine, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program, which starts plugins: %w", err)
	}
	caller := outbound.New(outbound.Options{Allow: allow, UserAgent: "Guildhall/" + version})
	if err := a.assemble(deps{DB: a.db, Queue: a.queue, Keys: keys, Mail: sender, Outbound: caller, PublicURL: cfg.PublicURL, Log: log, WebhookRetentionDays: cfg.WebhookRetentionDays(), Confine: confine, FirstPluginUID: cfg.FirstPluginUID(), Restart: o.restart, Drain: o.drain, Providers: o.providers}, o); err != nil {
		return nil, err
	}
	if r.work {
		if err := a.prepareWork(ctx, d); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// assemble turns the list of features into one catalogue, one router, one list
// of listeners and one of jobs.
func (a *app) assemble(d deps, o options) (err error) {
	d.Catalogue = sync.OnceValues(a.catalogue)
	if a.features, err = newFeatures(d); err != nil {
		return err
	}
	a.authority = a.features.authority
	var perms []authz.Permission
	for _, m := range a.features.modules {
		perms = append(perms, m.Permissions...)
		a.listeners = append(a.listeners, m.Listeners...)
		a.jobs = append(a.jobs, m.Jobs...)
	}
	catalogue, err := authz.NewCatalogue(perms)
	if err != nil {
		return err
	}
	a.authority.Use(catalogue)
	proxies, err := config.Prefixes(a.cfg.TrustedProxies)
	if err != nil {
		return err
	}
	limits := api.Limits{}
	if a.cfg.RateLimitEnabled() {
		limits = api.DefaultLimits()
	}
	a.router = api.NewRouter(&api.Kernel{
		DB: a.db, Catalogue: catalogue, Identify: a.features.identify, IdentifyShopper: a.features.shoppers, Log: a.log, Limits: limits, Version: version,
		Cursors: page.NewCodec(d.Keys.Derive("list cursors", 32)), TrustedProxies: proxies, StrictEvents: o.strictEvents,
	})
	for _, m := range a.features.modules {
		if m.Operations != nil {
			m.Operations(a.router.Tagged(m.Name))
		}
	}
	a.features.plugins.Use(a.handler(), catalogue, a.features.integrations)
	a.jobs = append(a.jobs, event.ListenJob(a.listeners), event.NudgeJob(a.listeners))
	a.mountPages()
	return a.router.Err()
}

func (a *app) prepareWork(ctx context.Context, d *database) (err error) {
	a.workDB, err = tenant.Open(ctx, tenant.Options{URL: d.workerURL, Name: "guildhall work", OnWake: a.onWake})
	if err != nil {
		return err
	}
	if a.workers, err = jobs.NewWorkers(a.workDB, a.jobs, 20, a.log); err != nil {
		return err
	}
	a.queue.Near(a.workers)
	a.relay = event.NewRelay(a.workDB, a.workers.Queue, a.listeners, a.log)
	return nil
}

// onWake runs after each commit with events: the relay of this process, or a
// notification for that of another.
func (a *app) onWake() {
	if a.relay != nil {
		a.relay.Wake()
		return
	}
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// work runs the relay, the workers and the clocks until ctx ends, then lets
// running jobs finish.
func (a *app) work(ctx context.Context) error {
	if _, err := tenant.Value[int](ctx, a.workDB.Global(), `select ensure_event_partitions(14)`); err != nil {
		return fmt.Errorf("make the partitions of the event log: %w", err)
	}
	if err := a.workers.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("start the workers: %w", err)
	}
	a.relay.Run(ctx)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 9*time.Second)
	defer cancel()
	return a.workers.Stop(stop)
}

// background runs what serve needs beside HTTP.
func (a *app) background(ctx context.Context) {
	if a.relay == nil {
		go event.Notifier(ctx, a.db, a.wake, a.log)
	}
	for _, m := range a.features.modules {
		if m.Start != nil {
			go a.runModule(ctx, m)
		}
	}
}

func (a *app) runModule(ctx context.Context, m module.Module) {
	if err := m.Start(ctx); err != nil && ctx.Err() == nil {
		a.log.ErrorContext(ctx, "a feature stopped", "feature", m.Name, "error", err)
	}
}

// points are the places at which plugins extend the features.
func (f *features) points() (out []*plugins.Point) {
	for _, m := range f.modules {
		out = append(out, m.Points...)
	}
	return out
}

// handler is the HTTP surface.
func (a *app) handler() http.Handler { return a.router.Handler() }

func (a *app) setNotReady(why string) { a.notReady.Store(&why) }
func (a *app) setReady()              { a.notReady.Store(nil) }

// close stops the plugins and closes the pools.
func (a *app) close() {
	if a.features.plugins != nil {
		a.features.plugins.Close()
	}
	if a.workDB != nil {
		a.workDB.Close()
	}
	if a.db != nil {
		a.db.Close()
	}
}
