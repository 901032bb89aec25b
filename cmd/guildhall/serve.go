package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/guildhall-dev/guildhall/internal/config"
	"github.com/guildhall-dev/guildhall/internal/obs"
)

func roleCommand(s *shell, name, short string) *cobra.Command {
	return &cobra.Command{Use: name, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		cfg, err := s.config()
		if err != nil {
			return err
		}
		return s.runRole(cmd.Context(), cfg, role{serve: name != "work", work: name != "serve"})
	}}
}

// runRole runs until ctx ends, then stops in order: no new traffic, requests
// finish, jobs finish or are handed back, pools, database.
func (s *shell) runRole(ctx context.Context, cfg config.Config, r role) (err error) {
	log := obs.New(s.err, cfg.LogFormat, cfg.LogLevel)
	if err := cfg.Print(s.err); err != nil {
		return err
	}
	progress := func(what string) { fmt.Fprintln(s.err, "guildhall:", what) }
	d, err := openDatabase(ctx, cfg, log, progress)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if _, err := d.migrate(ctx, log); err != nil {
		return err
	}
	var ln net.Listener
	if r.serve {
		if ln, err = net.Listen("tcp", cfg.Addr); err != nil {
			return fmt.Errorf("listen on GUILDHALL_ADDR: %w", err)
		}
		defer ln.Close()
		cfg = cfg.WithAddr(ln.Addr().String())
	}
	a, err := newApp(ctx, cfg, d, r, log, options{})
	if err != nil {
		return err
	}
	defer a.close()
	if err := s.firstStart(ctx, a, cfg); err != nil {
		return err
	}
	return a.run(ctx, ln, d, progress)
}

// run serves and works until ctx ends or a part fails.
func (a *app) run(ctx context.Context, ln net.Listener, d *database, progress func(string)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	worked := make(chan error, 1)
	workCtx, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	if a.workers != nil {
		go func() {
			err := a.work(workCtx)
			if err != nil {
				cancel(err)
			}
			worked <- err
		}()
	} else {
		worked <- nil
	}
	if d.private != nil {
		go func() {
			select {
			case <-ctx.Done():
			case <-d.private.Done():
				cancel(fmt.Errorf("the private Postgres ended: %w", d.private.Err()))
			}
		}()
	}
	var srv *http.Server
	if ln != nil {
		srv = a.serveHTTP(ctx, ln, cancel)
		a.background(ctx)
		a.setReady()
		progress("ready on http://" + ln.Addr().String())
	} else {
		progress("workers run")
	}
	<-ctx.Done()
	a.setNotReady("shutting down")
	progress("stopping: requests and jobs finish first")
	if srv != nil {
		stop, done := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second) // the phases of a stop add up to less than 30 s
		defer done()
		if err := srv.Shutdown(stop); err != nil {
			a.log.Warn("requests were cut off", "error", err)
			_ = srv.Close()
		}
	}
	stopWork()
	err := <-worked
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		err = errors.Join(cause, err)
	}
	return err
}

func (a *app) serveHTTP(ctx context.Context, ln net.Listener, cancel context.CancelCauseFunc) *http.Server {
	srv := &http.Server{
		Handler: a.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog:    slog.NewLogLogger(a.log.Handler(), slog.LevelWarn),
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	go func() {
		if err := srv.Serve(ln); err != nil && !errors.Is(err, http.ErrServerClosed) {
			cancel(fmt.Errorf("serve: %w", err))
		}
	}()
	return srv
}
