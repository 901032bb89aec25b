package webhooks

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	// The update locks the row until commit: what enqueues and what finishes a
	// drain or a subject's head take turns on it. Of several rows in the order in
	// which all lock them.
	// Nobody is sent where a drain is at work, or on its way.
	wakeEndpoints = `with now_due as (
			select d.endpoint_id, (d.lease_until is null or d.lease_until <= clock_timestamp())
				and (d.nudged_at is null or d.nudged_at < now() - interval '3 seconds') as alone, e.enabled and e.deleted_at is null as live
			from webhook_dispatch d join webhook_endpoints e on e.tenant_id = d.tenant_id and e.id = d.endpoint_id
			where d.tenant_id = $1 and d.endpoint_id = any($2::uuid[])
			order by d.endpoint_id for update of d
		)
		update webhook_dispatch d
		set due_at = least(d.due_at, greatest(now(), d.open_until, d.retry_at)), nudged_at = case when n.alone then now() else d.nudged_at end
		from now_due n where d.tenant_id = $1 and d.endpoint_id = n.endpoint_id and n.live
		returning d.endpoint_id, n.alone`

	// Where the endpoint is ordered by subject, only the first of a subject is
	// ever due; the others wait at infinity until it is their turn. One that was
	// deleted since its rules were read gets nothing: who deletes it takes the lock
	// that wakeEndpoints holds, and then empties its queue.
	insertQueue = `insert into webhook_queue (tenant_id, endpoint_id, delivery_id, day, event_id, event_day, subject, made, example, due_at)
		select $1, u.endpoint_id, u.delivery_id, u.day, u.event_id, u.event_day, u.subject, u.made, u.example,
			case when e.ordering = 'by_subject' and (u.turn > 1 or exists (select from webhook_queue q
				where q.tenant_id = $1 and q.endpoint_id = u.endpoint_id and q.subject = u.subject and q.delivery_id <> u.delivery_id
					and q.position < coalesce((select o.position from webhook_queue o where o.tenant_id = $1 and o.delivery_id = u.delivery_id), q.position + 1)))
				then 'infinity' else u.due_at end
		from (
			select v.*, row_number() over (partition by v.endpoint_id, v.subject order by v.n) as turn
			from unnest($2::uuid[], $3::uuid[], $4::date[], $5::uuid[], $6::date[], $7::text[], $8::int[], $9::jsonb[], $10::timestamptz[])
				with ordinality as v (endpoint_id, delivery_id, day, event_id, event_day, subject, made, example, due_at, n)
		) u
		join webhook_endpoints e on e.tenant_id = $1 and e.id = u.endpoint_id and e.deleted_at is null
		order by u.n
		on conflict on constraint webhook_queue_pkey do update set due_at = excluded.due_at, step = 0
			where webhook_queue.due_at <> 'infinity' and excluded.due_at <> 'infinity'`

	reordered = `case when e.ordering = 'by_subject' and exists (
			select from webhook_queue b where b.tenant_id = q.tenant_id and b.endpoint_id = q.endpoint_id and b.subject = q.subject and b.position < q.position
		) then 'infinity' when q.due_at = 'infinity' then now() else q.due_at end`

	reorderQueue = `update webhook_queue q set due_at = ` + reordered + `
		from webhook_endpoints e
		where q.tenant_id = $1 and q.endpoint_id = $2 and e.tenant_id = q.tenant_id and e.id = q.endpoint_id
		and q.due_at is distinct from ` + reordered

	nudge = `select n from nudge_webhook_endpoints($1, $2) n`
	claim = `select tenant_id, endpoint_id, fence from claim_webhook_endpoint($1, $2, $3, $4)`
)

const (
	// Nearly all of them only wait for answers, and waiting costs little: there are
	// more than many organisations with slow receivers take.
	drains         = 232              // jobs at work at once in a process
	drainsHere     = 24               // and without a job, where the process was awake already
	drainsOfTenant = 12               // of one organisation, everywhere
	lease          = 30 * time.Second // a killed drain's endpoint waits so long
	nudgedAtMost   = 48               // jobs that one tick sends
)

// free is how many more drains find a place here for certain. Those without a job
// are counted too: they are few, and what they have no room for comes as a job.
func (f *Feature) free() int { return max(0, drains-f.serving.count()) }

// share is how many drains an organisation may have before it gets another from
// a process in which so many are free. The fewer there are, the less has who
// has some already, so that one without any finds a free one.
func share(free int) int { return max(1, min(drainsOfTenant, free/2)) }

// drainArgs says for which endpoint it was sent: it serves that one first, and
// then those that wait.
type drainArgs struct {
	Endpoint id.ID `json:"endpoint_id"`
}

// drain lets one worker serve endpoints, whosever they are, until none is due.
// Each is done by itself: one that turned to a slow endpoint is not on its way
// to the one it was sent for.
var drain = jobs.Kind[drainArgs]{Name: "webhooks.drain", Queue: "webhooks"}

func (f *Feature) jobs() []jobs.Definition {
	work := jobs.Work(drain, func(ctx context.Context, db *tenant.DB, s tenant.Scope, a drainArgs) error {
		if err := f.drainDue(ctx, db, s.Organization, a.Endpoint); err != nil {
			// Tried again by the nudge, when the endpoint is due again: were each of its
			// jobs tried again by itself too, they would become ever more.
			return jobs.Cancel(err)
		}
		return nil
	})
	work.Workers, work.Here, work.Apart, work.Timeout = drains, drainsHere, true, 2*time.Minute
	return []jobs.Definition{work, jobs.Tick("webhooks.nudge", 500*time.Millisecond, f.nudge), f.repair()}
}

// queued is a delivery that is to be sent.
type queued struct {
	Endpoint id.ID
	Delivery id.ID
	Event    id.ID
	Subject  string
	Made     int       // attempts before
	Due      time.Time // zero is now
	Example  []byte    // a test event, which is in no log
}

// enqueue puts deliveries into the queue in this order and wakes their
// endpoints. One that is queued already becomes due, unless its subject has
// others before it.
func (f *Feature) enqueue(ctx context.Context, tx *tenant.Tx, rows []queued) error {
	if len(rows) == 0 {
		return nil
	}
	n := len(rows)
	endpoints, deliveries, events := make([]id.ID, n), make([]id.ID, n), make([]id.ID, n)
	days, eventDays, due := make([]time.Time, n), make([]time.Time, n), make([]time.Time, n)
	subjects, made, examples := make([]string, n), make([]int, n), make([][]byte, n)
	for i, q := range rows {
		endpoints[i], deliveries[i], events[i] = q.Endpoint, q.Delivery, q.Event
		days[i], eventDays[i], due[i] = event.Day(q.Delivery), event.Day(q.Event), q.Due
		subjects[i], made[i], examples[i] = q.Subject, q.Made, q.Example
		if q.Due.IsZero() {
			due[i] = tx.Now()
		}
	}
	woken := map[id.ID]bool{}
	for _, e := range endpoints {
		woken[e] = true
	}
	if err := f.wake(ctx, tx, keys(woken)); err != nil {
		return err
	}
	tx.Queue(insertQueue, tx.Scope().Organization, endpoints, deliveries, days, events, eventDays, subjects, made, examples, due)
	return nil
}

// woken is an endpoint that became due.
type woken struct {
	Endpoint id.ID `db:"endpoint_id"`
	Alone    bool  `db:"alone"` // nobody serves it or is on the way
}

// wake makes the endpoints due, sends a worker to each that nobody serves, and
// lets the drains of this process look at once.
func (f *Feature) wake(ctx context.Context, tx *tenant.Tx, endpoints []id.ID) error {
	due, err := tenant.List[woken](ctx, tx, wakeEndpoints, tx.Scope().Organization, endpoints)
	if err != nil {
		return fmt.Errorf("webhooks.wake: %w", err)
	}
	var alone []drainArgs
	for _, w := range due {
		if w.Alone {
			alone = append(alone, drainArgs{w.Endpoint})
			continue
		}
		tx.After(func() { f.serving.wake(w.Endpoint) })
	}
	return drain.Soon(ctx, f.Queue, tx, alone)
}

// serving are the endpoints that this process drains, each with its bell.
type serving struct {
	mu    sync.Mutex
	bells map[id.ID]chan struct{}
}

func (s *serving) begin(endpoint id.ID) (bell chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	bell = make(chan struct{}, 1)
	s.bells[endpoint] = bell
	return bell
}

// end forgets the bell, unless another drain has the endpoint already.
func (s *serving) end(endpoint id.ID, bell chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bells[endpoint] == bell {
		delete(s.bells, endpoint)
	}
}

func (s *serving) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.bells)
}

func (s *serving) wake(endpoint id.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.bells[endpoint] <- struct{}{}:
	default: // it rang already, or another process drains it
	}
}

// reorder puts the queue of an endpoint right after its ordering changed in
// this transaction.
func (f *Feature) reorder(ctx context.Context, tx *tenant.Tx, endpoint id.ID) error {
	if err := f.wake(ctx, tx, []id.ID{endpoint}); err != nil {
		return err
	}
	_, err := tenant.Exec(ctx, tx, reorderQueue, tx.Scope().Organization, endpoint)
	return err
}

// nudge sends workers to the endpoints that became due by the clock, or whose
// drain died: no more than find a place and would get it, for who was sent and
// finds none is missed only after seconds.
func (f *Feature) nudge(ctx context.Context, db *tenant.DB, q *jobs.Queue) (int, error) {
	free := f.free()
	if free == 0 {
		return 0, nil
	}
	var n int
	err := db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) error {
		orgs, err := tenant.Values[id.ID](ctx, tx, nudge, min(nudgedAtMost, free), share(free))
		if err != nil {
			return fmt.Errorf("webhooks.nudge: %w", err)
		}
		n = len(orgs)
		return drain.EnqueueFor(ctx, q, tx, orgs, make([]drainArgs, n))
	})
	return n, err
}

// claimed is an endpoint under lease; fence tells this lease from later ones.
type claimed struct {
	Organization id.ID
	Endpoint     id.ID
	Fence        int64
}

// claimRow is an answer to who asks for an endpoint; nulls mean to ask again.
type claimRow struct {
	Organization *id.ID `db:"tenant_id"`
	Endpoint     *id.ID `db:"endpoint_id"`
	Fence        *int64 `db:"fence"`
}

// drainDue serves what is due, first the endpoint that it was sent for, if any.
func (f *Feature) drainDue(ctx context.Context, db *tenant.DB, org, endpoint id.ID) error {
	wait := time.Millisecond
	for began := time.Now(); time.Since(began) < time.Minute && ctx.Err() == nil; {
		due, err := tenant.List[claimRow](ctx, db.Global(), claim, int(lease.Seconds()), share(f.free()), org, endpoint)
		switch {
		case err != nil:
			return fmt.Errorf("webhooks.drain: claim: %w", err)
		case len(due) == 0:
			return nil
		case due[0].Endpoint == nil:
			wait = min(2*wait, 50*time.Millisecond)
			time.Sleep(wait) // an event is being fanned out to it
			continue
		}
		wait, endpoint = time.Millisecond, id.Nil
		if err := f.drainOne(ctx, db, claimed{*due[0].Organization, *due[0].Endpoint, *due[0].Fence}); err != nil {
			return err
		}
	}
	return ctx.Err()
}
