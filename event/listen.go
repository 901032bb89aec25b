package event

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	lockListener = `select pg_try_advisory_xact_lock(hashtextextended($1::text || ' ' || $2, 7301))`
	takeBatch    = `delete from event_batches where tenant_id = $1 and listener = $2 and position = (
		select min(position) from event_batches where tenant_id = $1 and listener = $2)
		returning event_ids, days`

	// Waits for a relay that is at work: it may have counted on the job that is
	// about to end.
	awaitRelay  = `select pg_advisory_xact_lock_shared(7301, 1)`
	moreBatches = `select exists (select from event_batches where tenant_id = $1 and listener = $2)`

	overdueListeners = `select tenant_id, listener from overdue_listeners($1, $2)`

	selectBatch = `select ` + Cols + ` from event_log e
		join unnest($2::uuid[], $3::date[]) with ordinality as b (id, day, n) on b.day = e.day and b.id = e.id
		where e.tenant_id = $1 order by b.n`
)

type batch struct {
	IDs  []id.ID     `db:"event_ids"`
	Days []time.Time `db:"days"`
}

// ListenJob is the job that lets listeners hear their batches.
func ListenJob(listeners []Listener) jobs.Definition {
	byName := make(map[string]Listener, len(listeners))
	for _, l := range listeners {
		byName[l.Name] = l
	}
	return jobs.Work(listen, func(ctx context.Context, db *tenant.DB, s tenant.Scope, a listenArgs) error {
		l, ok := byName[a.Listener]
		if !ok {
			// A listener of a newer or an older binary: its batches stay, and a
			// replica that knows it sends itself a job.
			return jobs.Cancel(fmt.Errorf("event: no listener %q in this binary", a.Listener))
		}
		for began := time.Now(); time.Since(began) < listenFor; {
			more, err := hearOne(ctx, db, s, l)
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
}

// listenFor is how long one job works through a backlog, well within its time.
const listenFor = 40 * time.Second

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

// hearOne lets the listener hear its oldest batch. The lock keeps a second job
// for the same listener from overtaking.
func hearOne(ctx context.Context, db *tenant.DB, s tenant.Scope, l Listener) (more bool, err error) {
	err = db.Write(ctx, s, func(tx *tenant.Tx) error {
		mine, err := tenant.Value[bool](ctx, tx, lockListener, s.Organization.String(), l.Name)
		if err != nil {
			return err
		}
		if !mine { // who holds it looks again before it ends
			more = false
			return nil
		}
		b, err := tenant.One[batch](ctx, tx, takeBatch, s.Organization, l.Name)
		if errors.Is(err, tenant.ErrNoRows) {
			if _, err := tenant.Exec(ctx, tx, awaitRelay); err != nil {
				return err
			}
			more, err = tenant.Value[bool](ctx, tx, moreBatches, s.Organization, l.Name)
			return err
		}
		if err != nil {
			return err
		}
		events, err := tenant.List[Event](ctx, tx, selectBatch, s.Organization, b.IDs, b.Days)
		if err != nil {
			return err
		}
		more = true
		return l.Hear(ctx, tx, events)
	})
	if err != nil {
		return false, fmt.Errorf("listener %s: %w", l.Name, err)
	}
	return more, nil
}
