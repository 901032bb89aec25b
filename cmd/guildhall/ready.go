package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/guildhall-dev/guildhall/tenant"
)

// ready says why the instance should get no traffic, or nil.
func (a *app) ready(ctx context.Context) error {
	if why := a.notReady.Load(); why != nil {
		return errors.New(*why)
	}
	return a.readiness.ask(readyLife, func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyWait)
		defer cancel()
		return a.databaseReady(ctx)
	})
}

const (
	readyLife = time.Second     // how long an answer is good
	readyWait = 5 * time.Second // how long the database has for it
)

// lately keeps the last answer to a question that anybody may ask and that costs
// something. While one asks, the others wait for his answer.
type lately struct {
	mu    sync.Mutex
	asked time.Time
	err   error
}

func (l *lately) ask(life time.Duration, question func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asked.IsZero() || time.Since(l.asked) >= life {
		l.err = question()
		l.asked = time.Now()
	}
	return l.err
}

// databaseReady asks the database.
func (a *app) databaseReady(ctx context.Context) error {
	type state struct {
		Waiting int     `db:"waiting"`
		Oldest  float64 `db:"oldest_seconds"`
		Ahead   int     `db:"ahead"`
		Version int64   `db:"version"`
	}
	s, err := tenant.One[state](ctx, a.db.Global(), selectReadiness)
	switch {
	case err != nil:
		a.log.WarnContext(ctx, "not ready", "error", err)
		return errors.New("the database does not answer")
	case s.Version < latestMigration(): // a newer one is safe: migrations come before the deploy
		return fmt.Errorf("the database is at migration %d, this binary needs %d: run guildhall migrate up", s.Version, latestMigration())
	case s.Oldest > 60:
		return fmt.Errorf("the event relay is %.0f seconds behind: is guildhall work running?", s.Oldest)
	case s.Ahead < 2:
		return errors.New("the event log has no partitions for the coming days: is guildhall work running?")
	}
	return nil
}

const selectReadiness = `select p.waiting, p.oldest_seconds, event_partitions_ahead() as ahead,
	(select max(version_id) from goose_db_version where is_applied) as version from pending_events() p`
