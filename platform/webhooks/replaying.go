package webhooks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/operation"
	"github.com/guildhall-dev/guildhall/tenant"
)

// replayOperation sends events again. Where it stands is in webhook_replays and
// moves in the transaction that queues a slice, so that a slice is queued once
// even if the process dies right after.
var replayOperation = operation.Define[replayArgs]("webhook_endpoint.replay")

type replayArgs struct {
	Replay id.ID `json:"replay_id"`
}

func (f *Feature) replayJobs() []jobs.Definition {
	return []jobs.Definition{operation.Work(replayOperation, f.replay), makePartitions(), f.forget()}
}

const (
	replayCols   = `id, endpoint_id, since, until, statuses, event_types, rate, first_day, through, last_sequence, queued, expected, next_due_at`
	lockReplay   = `select ` + replayCols + ` from webhook_replays where tenant_id = $1 and id = $2 for update`
	selectReplay = `select ` + replayCols + ` from webhook_replays where tenant_id = $1 and id = $2`
	expectReplay = `update webhook_replays set expected = $3 where tenant_id = $1 and id = $2`
	moveReplay   = `update webhook_replays set through = $3, queued = $4, next_due_at = $5 where tenant_id = $1 and id = $2`

	selectRule = `select id, version, event_types, filter, include_private, enabled, disabled_reason, ordering, schema_date
		from webhook_endpoints where tenant_id = $1 and id = $2 and deleted_at is null`

	// How many deliveries are due and not sent, or wait for their turn, up to $3 of
	// each.
	countDue = `select (select count(*) from (
			select from webhook_queue q where q.tenant_id = $1 and q.endpoint_id = $2 and q.due_at <= now() limit $3) due)
		+ (select count(*) from (
			select from webhook_queue q where q.tenant_id = $1 and q.endpoint_id = $2 and q.due_at = 'infinity' limit $3) turn)`

	lockToCatchUp = selectEndpoint + ` for no key update`

	// Only while nothing that came later is held back.
	caughtUp = `with e as (
			update webhook_endpoints p set catch_up_since = null, version = version + 1, updated_at = now()
			where p.tenant_id = $1 and p.id = $2 and p.enabled and p.deleted_at is null and p.catch_up_since >= $3
			and not exists (select from webhook_deliveries d where d.tenant_id = $1 and d.endpoint_id = $2 and d.day >= $5 and d.sequence > $4 and d.status = 'paused')
			returning ` + endpointCols + `
		), s as (
			insert into webhook_settings ` + copyVersion + `
		)
		select ` + endpointCols + ` from e`
)

const (
	replaySlice   = 500   // deliveries that one transaction queues
	replayBacklog = 5_000 // deliveries that an endpoint has due or in line before a replay waits for them
	replayAhead   = 10 * time.Second
)

// replay queues slice after slice. It keeps a few thousand deliveries ahead of
// the sender and no more, so that cancelling it has an effect and what happens
// meanwhile does not wait behind all of it.
func (f *Feature) replay(ctx context.Context, p *operation.Progress, a replayArgs) (operation.Result, error) {
	if err := f.expect(ctx, p, a.Replay); err != nil {
		return operation.Result{}, err
	}
	for {
		s, err := f.queueSlice(ctx, p.DB, p.Scope, a.Replay)
		if err != nil {
			return operation.Result{}, err
		}
		if err := p.Set(ctx, s.Queued, s.total(), s.Through); err != nil {
			return operation.Result{}, err
		}
		if s.done {
			return operation.Result{Message: fmt.Sprintf("%d deliveries were queued.", s.Queued)}, nil
		}
		if s.wait > 0 {
			return operation.Result{}, jobs.Later(s.wait)
		}
	}
}

// step is where a replay stands after a slice.
type step struct {
	replayPlan
	done bool
	wait time.Duration // before the next slice
}

// total is how many deliveries there are to queue; -1 if that is not known.
func (s step) total() int64 {
	switch {
	case s.done:
		return s.Queued
	case s.Expected != nil:
		return max(*s.Expected, s.Queued)
	}
	return -1
}

// expect counts once what there is to do, where that is not too much.
func (f *Feature) expect(ctx context.Context, p *operation.Progress, replay id.ID) error {
	return p.DB.Write(ctx, p.Scope, func(tx *tenant.Tx) error {
		org := tx.Scope().Organization
		plan, err := tenant.One[replayPlan](ctx, tx, selectReplay, org, replay)
		if err != nil || plan.Expected != nil || plan.Queued > 0 {
			return tenant.NotFound(err, "replay")
		}
		r, err := tenant.One[rule](ctx, tx, selectRule, org, plan.EndpointID)
		if err != nil {
			return tenant.NotFound(err, "webhook endpoint")
		}
		count, complete, err := f.countReplay(ctx, tx, r, plan)
		if err == nil && complete {
			tx.Queue(expectReplay, org, replay, count)
		}
		return err
	})
}

// queueSlice queues the next deliveries, unless it is better to wait.
func (f *Feature) queueSlice(ctx context.Context, db *tenant.DB, scope tenant.Scope, replay id.ID) (s step, err error) {
	err = db.Write(ctx, scope, func(tx *tenant.Tx) (err error) {
		s = step{}
		if s.replayPlan, err = tenant.One[replayPlan](ctx, tx, lockReplay, scope.Organization, replay); err != nil {
			return tenant.NotFound(err, "replay")
		}
		// One replay of an endpoint at a time, so that two do not both find an
		// event without a delivery.
		if _, err = tenant.Value[bool](ctx, tx, lockDispatch, scope.Organization, s.EndpointID); err != nil && !errors.Is(err, tenant.ErrNoRows) {
			return err
		}
		if s.Through >= s.Last {
			s.done = true
			return f.catchUp(ctx, tx, s.replayPlan)
		}
		r, err := tenant.One[rule](ctx, tx, selectRule, scope.Organization, s.EndpointID)
		if err != nil {
			return tenant.NotFound(err, "webhook endpoint")
		}
		if !r.Enabled {
			return fault.Conflictf("webhook_endpoint_disabled", "The endpoint was disabled after %d deliveries. Enable it and replay again.", s.Queued)
		}
		if s.wait, err = s.waits(ctx, tx); err != nil || s.wait > 0 {
			return err
		}
		return f.queueNext(ctx, tx, r, &s.replayPlan)
	})
	return s, err
}

func (f *Feature) queueNext(ctx context.Context, tx *tenant.Tx, r rule, p *replayPlan) error {
	c, through, err := f.candidates(ctx, tx, *p, p.slice())
	if err != nil {
		return err
	}
	if c, err = f.sendable(ctx, tx, r, c); err != nil {
		return err
	}
	if err := f.queueCandidates(ctx, tx, r, p, c); err != nil {
		return err
	}
	p.Through = through
	tx.Queue(moveReplay, tx.Scope().Organization, p.ID, p.Through, p.Queued, p.NextDueAt)
	return nil
}

// slice is how many deliveries one transaction queues.
func (p replayPlan) slice() int {
	if p.Rate != nil {
		return min(replaySlice, *p.Rate*int(replayAhead/time.Second))
	}
	return replaySlice
}

// waits tells how long the next slice has to wait: under a rate until what is
// queued is nearly sent, else until the sender has come near.
func (p replayPlan) waits(ctx context.Context, tx *tenant.Tx) (time.Duration, error) {
	if p.Rate != nil {
		if p.NextDueAt == nil {
			return 0, nil
		}
		return max(0, p.NextDueAt.Sub(tx.Now())-replayAhead), nil
	}
	due, err := tenant.Value[int64](ctx, tx, countDue, tx.Scope().Organization, p.EndpointID, replayBacklog)
	if due < replayBacklog {
		return 0, err
	}
	return time.Second, err
}

// queueCandidates makes deliveries of them, or makes their deliveries pending
// again, and puts them into the queue in their order.
func (f *Feature) queueCandidates(ctx context.Context, tx *tenant.Tx, r rule, p *replayPlan, all []candidate) error {
	due := p.spread(tx.Now(), len(all))
	attempts, err := f.reopen(ctx, tx, p, all, due)
	if err != nil {
		return err
	}
	var made decided
	var send []queued
	for i, c := range all {
		e := event.Event{ID: c.ID, Type: c.Type, Sequence: &c.Sequence, Subject: event.SubjectRef{Type: c.SubjectType, ID: c.SubjectID}}
		q := queued{Endpoint: p.EndpointID, Event: c.ID, Subject: subjectKey(e), Due: due[i]}
		if c.Delivery == nil {
			q.Delivery = id.New()
			made.add(q.Delivery, r, e, "pending", "")
		} else if n, ok := attempts[*c.Delivery]; ok {
			q.Delivery, q.Made = *c.Delivery, n
		} else {
			continue // it was delivered meanwhile
		}
		send = append(send, q)
	}
	p.Queued += int64(len(send))
	if len(made.ids) > 0 {
		tx.Queue(insertDeliveries, tx.Scope().Organization, made.days, made.ids, made.endpoints, made.events, made.types, made.sequences, made.versions, made.statuses, made.reasons)
	}
	return f.enqueue(ctx, tx, send)
}

// spread gives each delivery its time.
func (p *replayPlan) spread(now time.Time, n int) []time.Time {
	due := make([]time.Time, n)
	if p.Rate == nil {
		for i := range due {
			due[i] = now
		}
		return due
	}
	at := now
	if p.NextDueAt != nil && p.NextDueAt.After(now) {
		at = *p.NextDueAt
	}
	for i := range due {
		due[i] = at
		at = at.Add(time.Second / time.Duration(*p.Rate))
	}
	p.NextDueAt = &at
	return due
}

// reopen makes deliveries pending that are still in a status of the replay, and
// returns how many attempts were made at each.
func (f *Feature) reopen(ctx context.Context, tx *tenant.Tx, p *replayPlan, all []candidate, due []time.Time) (map[id.ID]int, error) {
	var ids, waiting []id.ID
	var days, times []time.Time
	for i, c := range all {
		if c.Delivery == nil {
			continue
		}
		ids, days, times = append(ids, *c.Delivery), append(days, event.Day(*c.Delivery)), append(times, due[i])
		if c.Status == "failed" {
			waiting = append(waiting, *c.Delivery)
		}
	}
	attempts := map[id.ID]int{}
	if len(ids) == 0 {
		return attempts, nil
	}
	org := tx.Scope().Organization
	if len(waiting) > 0 {
		if _, err := tenant.Values[id.ID](ctx, tx, lockQueued, org, p.EndpointID, waiting); err != nil {
			return nil, err
		}
	}
	rows, err := tenant.List[reopenedDelivery](ctx, tx, reopenDeliveries, org, days, ids, p.Statuses, times)
	for _, r := range rows {
		attempts[r.ID] = r.Attempts
	}
	return attempts, err
}

// catchUp forgets from where to catch up, if this replay did.
func (f *Feature) catchUp(ctx context.Context, tx *tenant.Tx, p replayPlan) error {
	if !slices.Contains(p.Statuses, "paused") || len(p.EventTypes) > 0 || p.Until != nil {
		return nil
	}
	org := tx.Scope().Organization
	before, err := tenant.One[Endpoint](ctx, tx, lockToCatchUp, org, p.EndpointID)
	var after Endpoint
	if err == nil {
		after, err = tenant.One[Endpoint](ctx, tx, caughtUp, org, p.EndpointID, p.Since, p.Last, today().AddDate(0, 0, -f.RetentionDays-1))
	}
	if errors.Is(err, tenant.ErrNoRows) { // deleted, or there is more to catch up
		return nil
	}
	if err != nil {
		return err
	}
	return EndpointUpdated.EmitChange(ctx, tx, before.told(), after.told())
}
