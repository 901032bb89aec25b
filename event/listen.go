package event

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	lockListener = `select pg_try_advisory_xact_lock(hashtextextended($1::text || ' ' || $2, 7301))`

	// The oldest batches, up to a number of events but one at least, and their
	// events; nothing where somebody else holds the lock. What he committed since
	// this statement began is gone and so not taken a second time.
	takeBatches = `with mine as materialized (` + lockListener + ` as got),
		oldest as (select position, event_ids from event_batches where tenant_id = $3 and listener = $2 order by position limit 50),
		due as (select position, row_number() over w as n, sum(cardinality(event_ids)) over w as events from oldest window w as (order by position)),
		taken as (
			delete from event_batches b using due, mine
			where mine.got and b.tenant_id = $3 and b.listener = $2 and b.position = due.position and (due.n = 1 or due.events <= $4)
			returning b.position, b.event_ids, b.days
		)
		select ` + Cols + ` from taken t
		cross join unnest(t.event_ids, t.days) with ordinality as b (id, day, n)
		join event_log e on e.tenant_id = $3 and e.day = b.day and e.id = b.id
		order by t.position, b.n`

	// Waits for a relay that is at work: it may have counted on the job that is
	// about to end.
	awaitRelay  = `select pg_advisory_xact_lock_shared(7301, 1)`
	moreBatches = `select exists (select from event_batches where tenant_id = $1 and listener = $2)`

	overdueListeners = `select tenant_id, listener from overdue_listeners($1, $2)`
)

// ListenJob is the job that lets listeners hear their batches.
func ListenJob(listeners []Listener) jobs.Definition {
	byName := make(map[string]Listener, len(listeners))
	for _, l := range listeners {
		byName[l.Name] = l
	}
	work := jobs.Work(listen, func(ctx context.Context, db *tenant.DB, s tenant.Scope, a listenArgs) error {
		l, ok := byName[a.Listener]
		if !ok {
			// A listener of a newer or an older binary: its batches stay, and a
			// replica that knows it sends itself a job.
			return jobs.Cancel(fmt.Errorf("event: no listener %q in this binary", a.Listener))
		}
		for began := time.Now(); time.Since(began) < listenFor; {
			more, err := hearSafely(ctx, db, s, l)
			if err != nil {
				// Tried again by the nudge: were each of its jobs tried again by
				// itself too, they would become ever more.
				return jobs.Cancel(err)
			}
			if !more {
				return nil
			}
		}
		return jobs.Again()
	})
	work.Here = hereAtOnce
	return work
}

// hearSafely makes an error of a listener's panic, which River would try again
// by itself.
func hearSafely(ctx context.Context, db *tenant.DB, s tenant.Scope, l Listener) (more bool, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("event: the listener %s panicked: %v\n%s", l.Name, v, debug.Stack())
		}
	}()
	return hearSome(ctx, db, s, l)
}

const (
	listenFor  = 40 * time.Second // one job works through a backlog, well within its time
	hereAtOnce = 4                // listeners that hear in the relay's process, without a job
)

// NudgeJob sends jobs to the listeners whose batches wait although nobody is on
// the way: a process died, or the listener failed. The intervals grow up to five
// minutes. A job too many finds the listener locked and ends.
func NudgeJob(listeners []Listener) jobs.Definition {
	known := make([]string, len(listeners))
	for i, l := range listeners {
		known[i] = l.Name
	}
	return jobs.Tick("event.nudge", time.Second, func(ctx context.Context, db *tenant.DB, q *jobs.Queue) (int, error) {
		var n int
		err := db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) error {
			late, err := tenant.List[overdue](ctx, tx, overdueListeners, 100, known)
			if err != nil {
				return fmt.Errorf("event.NudgeJob: %w", err)
			}
			orgs, args := make([]id.ID, len(late)), make([]listenArgs, len(late))
			for i, o := range late {
				orgs[i], args[i] = o.Organization, listenArgs{o.Listener}
			}
			n = len(late)
			return listen.EnqueueFor(ctx, q, tx, orgs, args)
		})
		return n, err
	})
}

type overdue struct {
	Organization id.ID  `db:"tenant_id"`
	Listener     string `db:"listener"`
}

// hearSome lets the listener hear its oldest batches. The lock keeps a second
// job for the same listener from overtaking.
func hearSome(ctx context.Context, db *tenant.DB, s tenant.Scope, l Listener) (more bool, err error) {
	org := s.Organization
	err = db.Write(ctx, s, func(tx *tenant.Tx) error {
		events, err := tenant.List[Event](ctx, tx, takeBatches, org.String(), l.Name, org, relayBatch)
		if err != nil {
			return err
		}
		if more = len(events) > 0; more {
			return l.Hear(ctx, tx, events)
		}
		mine, err := tenant.Value[bool](ctx, tx, lockListener, org.String(), l.Name)
		if err != nil || !mine { // who holds it looks again before it ends
			return err
		}
		if _, err := tenant.Exec(ctx, tx, awaitRelay); err != nil {
			return err
		}
		more, err = tenant.Value[bool](ctx, tx, moreBatches, org, l.Name)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("listener %s: %w", l.Name, err)
	}
	return more, nil
}
