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

	// How many deliveries are due and not sent, up to $3.
	countDue = `select count(*) from (
		select from webhook_queue q where q.tenant_id = $1 and q.endpoint_id = $2 and q.due_at <= now() limit $3) due`

	// Events with what became of them, in the order of their numbers. $3 and $4
	// are the days of events, $5 the first of deliveries, $6 and $7 the numbers,
	// $8 patterns of types, $9 statuses, $10 and $11 the times. A delivery that
	// was held back since belongs to it though its event may be older.
	selectCandidates = `with e as materialized (
			select e.id, e.type, e.sequence, e.subject_type, e.subject_id, e.occurred_at,
				e.project_id is not null and p.visibility is distinct from 'open'
				or e.previous_project_id is not null and o.visibility is distinct from 'open' as private
			from event_log e
			left join projects p on p.tenant_id = e.tenant_id and p.id = e.project_id
			left join projects o on o.tenant_id = e.tenant_id and o.id = e.previous_project_id
			where e.tenant_id = $1 and e.day between $3 and $4 and e.sequence > $6 and e.sequence <= $7
			and (cardinality($8::text[]) = 0 or e.type like any($8)) and ($11::timestamptz is null or e.occurred_at < $11)
		), d as materialized (
			select d.id, d.sequence, d.status, d.created_at from webhook_deliveries d
			where d.tenant_id = $1 and d.endpoint_id = $2 and d.day between $5 and $4 and d.sequence > $6 and d.sequence <= $7
		)
		select e.id as event_id, e.type, e.sequence, jsonb_build_object('type', e.subject_type, 'id', e.subject_id) as subject, e.private,
			d.id as delivery_id, coalesce(d.status, 'no_match') as status
		from e left join d on d.sequence = e.sequence
		where coalesce(d.status, 'no_match') = any($9::text[])
		and (e.occurred_at >= $10 or d.status = 'paused' and d.created_at >= $10::timestamptz - interval '2 minutes')
		order by e.sequence limit $12`

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
	replaySlice    = 500   // deliveries that one transaction queues
	replayWindow   = 5_000 // numbers that one transaction looks through
	replayBacklog  = 5_000 // due deliveries of an endpoint before a replay waits for them
	replayAhead    = 10 * time.Second
	countedSlice   = 10_000
	countedWindow  = 50_000
	countedNumbers = 2_000_000 // a dry run looks through so many numbers at most
	countedFilters = 100_000   // and asks the filter so often at most
)

// replay queues slice after slice. It keeps a few thousand deliveries ahead of
// the sender and no more, so that cancelling it has an effect and what happens
// meanwhile does not wait behind all of it.
func (f *Feature) replay(ctx context.Context, p *operation.Progress, a replayArgs) (operation.Result, error) {
	if err := f.expect(ctx, p, a.Replay); err != nil {
		return operation.Result{}, err
	}
	for {
		plan, wait, err := f.queueSlice(ctx, p.DB, p.Scope, a.Replay)
		if err != nil {
			return operation.Result{}, err
		}
		total := int64(-1)
		if plan.Expected != nil {
			total = max(*plan.Expected, plan.Queued)
		}
		if plan.Through >= plan.Last {
			total = plan.Queued
		}
		if err := p.Set(ctx, plan.Queued, total, plan.Through); err != nil {
			return operation.Result{}, err
		}
		if plan.Through >= plan.Last {
			return operation.Result{Message: fmt.Sprintf("%d deliveries were queued.", plan.Queued)}, nil
		}
		if wait > 0 {
			return operation.Result{}, jobs.Later(wait)
		}
	}
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
func (f *Feature) queueSlice(ctx context.Context, db *tenant.DB, s tenant.Scope, replay id.ID) (p replayPlan, wait time.Duration, err error) {
	err = db.Write(ctx, s, func(tx *tenant.Tx) (err error) {
		org := s.Organization
		if p, err = tenant.One[replayPlan](ctx, tx, lockReplay, org, replay); err != nil {
			return tenant.NotFound(err, "replay")
		}
		// One replay of an endpoint at a time, so that two do not both find an
		// event without a delivery.
		if _, err = tenant.Value[bool](ctx, tx, lockDispatch, org, p.EndpointID); err != nil && !errors.Is(err, tenant.ErrNoRows) {
			return err
		}
		r, err := tenant.One[rule](ctx, tx, selectRule, org, p.EndpointID)
		if err != nil {
			return tenant.NotFound(err, "webhook endpoint")
		}
		if !r.Enabled {
			return fault.Conflictf("webhook_endpoint_disabled", "The endpoint was disabled after %d deliveries. Enable it and replay again.", p.Queued)
		}
		if wait, err = p.waits(ctx, tx); err != nil || wait > 0 {
			return err
		}
		c, through, err := f.candidates(ctx, tx, p, replaySlice, replayWindow)
		if err != nil {
			return err
		}
		if c, _, err = f.sendable(ctx, tx, r, c); err != nil {
			return err
		}
		if err := f.queueCandidates(ctx, tx, r, &p, c); err != nil {
			return err
		}
		p.Through = through
		tx.Queue(moveReplay, org, p.ID, p.Through, p.Queued, p.NextDueAt)
		if p.Through < p.Last {
			return nil
		}
		return f.catchUp(ctx, tx, p)
	})
	return p, wait, err
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

// candidate is an event and what became of it.
type candidate struct {
	EventID    id.ID            `db:"event_id"`
	Type       string           `db:"type"`
	Sequence   int64            `db:"sequence"`
	Subject    event.SubjectRef `db:"subject"`
	Private    bool             `db:"private"`
	DeliveryID *id.ID           `db:"delivery_id"`
	Status     string           `db:"status"`
}

// candidates returns the next events of the replay, and the number up to which
// that is all of them.
func (f *Feature) candidates(ctx context.Context, tx *tenant.Tx, p replayPlan, most int, window int64) ([]candidate, int64, error) {
	if p.Through >= p.Last {
		return nil, p.Last, nil
	}
	end, now := min(p.Through+window, p.Last), event.Day(id.New())
	first := now.AddDate(0, 0, -f.RetentionDays-1)
	if p.FirstDay.After(first) {
		first = p.FirstDay.AddDate(0, 0, -1)
	}
	c, err := tenant.List[candidate](ctx, tx, selectCandidates, tx.Scope().Organization, p.EndpointID, p.FirstDay, now.AddDate(0, 0, 1), first,
		p.Through, end, p.EventTypes, p.Statuses, p.Since, p.Until, most)
	if len(c) == most {
		end = c[most-1].Sequence
	}
	return c, end, err
}

// sendable leaves out what the endpoint may not or would not get today, and
// tells how often it asked the filter.
func (f *Feature) sendable(ctx context.Context, tx *tenant.Tx, r rule, all []candidate) (out []candidate, asked int, err error) {
	var ask []id.ID
	for _, c := range all {
		if r.Filter != "" && c.leftOut() && matches(r.EventTypes, c.Type) {
			ask = append(ask, c.EventID)
		}
	}
	whole, err := eventsOf(ctx, tx, ask)
	if err != nil {
		return nil, 0, err
	}
	on := r
	on.Enabled = true // a dry run counts for a paused endpoint too
	for _, c := range all {
		if c.Private && !r.IncludePrivate || c.leftOut() && !matches(r.EventTypes, c.Type) {
			continue
		}
		if c.leftOut() && r.Filter != "" {
			e, there := whole[c.EventID]
			if !there {
				continue
			}
			if status, _ := f.judge(on, &lazily{event: e}); status != "pending" {
				continue
			}
		}
		out = append(out, c)
	}
	return out, len(ask), nil
}

// leftOut reports whether the endpoint's settings, not its receiver, kept the
// event from being delivered.
func (c candidate) leftOut() bool { return c.Status == noMatch || c.Status == "filtered" }

func eventsOf(ctx context.Context, tx *tenant.Tx, ids []id.ID) (map[id.ID]event.Event, error) {
	found := make(map[id.ID]event.Event, len(ids))
	if len(ids) == 0 {
		return found, nil
	}
	days := map[time.Time]bool{}
	for _, i := range ids {
		days[event.Day(i)] = true
	}
	events, err := tenant.List[event.Event](ctx, tx, selectEvents, tx.Scope().Organization, keys(days), ids)
	for _, e := range events {
		found[e.ID] = e
	}
	return found, err
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
		e := event.Event{ID: c.EventID, Type: c.Type, Sequence: &c.Sequence, Subject: c.Subject}
		q := queued{Endpoint: p.EndpointID, Event: c.EventID, Subject: subjectKey(e), Due: due[i]}
		if c.DeliveryID == nil {
			q.Delivery = id.New()
			made.add(q.Delivery, r, e, "pending", "")
		} else if n, ok := attempts[*c.DeliveryID]; ok {
			q.Delivery, q.Made = *c.DeliveryID, n
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
		if c.DeliveryID == nil {
			continue
		}
		ids, days, times = append(ids, *c.DeliveryID), append(days, event.Day(*c.DeliveryID)), append(times, due[i])
		if c.Status == "failed" {
			waiting = append(waiting, *c.DeliveryID)
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
	before, err := tenant.One[Endpoint](ctx, tx, selectEndpoint, org, p.EndpointID)
	if err != nil {
		return err
	}
	after, err := tenant.One[Endpoint](ctx, tx, caughtUp, org, p.EndpointID, p.Since, p.Last, today().AddDate(0, 0, -f.RetentionDays-1))
	if errors.Is(err, tenant.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return EndpointUpdated.EmitChange(ctx, tx, before, after)
}

// countReplay counts what a replay would queue, with the very rules by which it
// queues; complete is false if it gave up before the end.
func (f *Feature) countReplay(ctx context.Context, tx *tenant.Tx, r rule, p replayPlan) (n int64, complete bool, err error) {
	asked := 0
	for end := p.Through + countedNumbers; p.Through < p.Last; {
		if p.Through >= end || asked >= countedFilters {
			return n, false, nil
		}
		c, through, err := f.candidates(ctx, tx, p, countedSlice, countedWindow)
		if err != nil {
			return n, false, err
		}
		kept, more, err := f.sendable(ctx, tx, r, c)
		if err != nil {
			return n, false, err
		}
		n, asked, p.Through = n+int64(len(kept)), asked+more, through
	}
	return n, true, nil
}
