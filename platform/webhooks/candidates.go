package webhooks

import (
	"context"
	"slices"
	"time"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// What a replay sends is found in two ways: by the deliveries in its statuses,
// or, if events without a delivery belong to it, by the log. Log and deliveries
// are read apart and matched here, so that the cost of a step does not hang on
// how the planner would join two partitioned tables.
const (
	selectHeld = `select d.id, d.sequence, d.status, d.event_id, d.created_at from webhook_deliveries d
		where d.tenant_id = $1 and d.endpoint_id = $2 and d.day between $3 and $4 and d.sequence > $5 and d.sequence <= $6
		and d.status = any($7::text[]) and (cardinality($8::text[]) = 0 or d.event_type like any($8))
		order by d.sequence limit $9`

	loggedCols = `select e.id, e.type, e.sequence, e.occurred_at, e.subject_type, e.subject_id, ` + event.IsPrivate + ` as private
		from event_log e` + event.WithProjects

	selectLoggedByID = loggedCols + ` where e.tenant_id = $1 and e.day = any($2::date[]) and e.id = any($3::uuid[])`

	selectLoggedByNumber = loggedCols + `
		where e.tenant_id = $1 and e.day between $2 and $3 and e.sequence > $4 and e.sequence <= $5
		and (cardinality($6::text[]) = 0 or e.type like any($6))
		order by e.sequence`
)

// held is a delivery as a replay looks at it.
type held struct {
	ID        id.ID     `db:"id"`
	Sequence  int64     `db:"sequence"`
	Status    string    `db:"status"`
	EventID   id.ID     `db:"event_id"`
	CreatedAt time.Time `db:"created_at"`
}

// logged is an event as a replay looks at it.
type logged struct {
	ID          id.ID     `db:"id"`
	Type        string    `db:"type"`
	Sequence    int64     `db:"sequence"`
	OccurredAt  time.Time `db:"occurred_at"`
	SubjectType string    `db:"subject_type"`
	SubjectID   *id.ID    `db:"subject_id"`
	Private     bool      `db:"private"`
}

// candidate is an event and what became of it.
type candidate struct {
	logged
	Delivery *id.ID // nil without one
	Status   string
}

// leftOut reports whether the endpoint's settings, not its receiver, kept the
// event from being delivered.
func (c candidate) leftOut() bool { return c.Status == noMatch || c.Status == "filtered" }

// covers reports whether an event belongs to the replay's time. A delivery that
// was held back since belongs to it though its event may be older.
func (p replayPlan) covers(e logged, h *held) bool {
	if p.Until != nil && !e.OccurredAt.Before(*p.Until) {
		return false
	}
	return !e.OccurredAt.Before(p.Since) || h != nil && h.Status == "paused" && !h.CreatedAt.Before(p.Since.Add(-transactionAtMost))
}

// Bounds of one look: numbers through deliveries, which an index holds by
// status, and looks in a row that find nothing.
const (
	heldWindow = 50_000
	emptyLooks = 20
)

// candidates returns the next events of the replay, about most of them, and the
// number up to which that is all.
func (f *Feature) candidates(ctx context.Context, tx *tenant.Tx, p replayPlan, most int) (found []candidate, through int64, err error) {
	look := f.byDeliveries
	if slices.Contains(p.Statuses, noMatch) {
		look = f.byLog
	}
	for range emptyLooks {
		if p.Through >= p.Last || len(found) > 0 {
			break
		}
		if found, p.Through, err = look(ctx, tx, p, most); err != nil {
			return nil, 0, err
		}
	}
	return found, p.Through, nil
}

// firstDay is the first day that can hold deliveries of the replay's events.
func (f *Feature) firstDay(p replayPlan) time.Time {
	first := today().AddDate(0, 0, -f.RetentionDays-1)
	if p.FirstDay.After(first) {
		return p.FirstDay.AddDate(0, 0, -1)
	}
	return first
}

func (f *Feature) byDeliveries(ctx context.Context, tx *tenant.Tx, p replayPlan, most int) ([]candidate, int64, error) {
	org, end := tx.Scope().Organization, min(p.Through+heldWindow, p.Last)
	rows, err := tenant.List[held](ctx, tx, selectHeld, org, p.EndpointID, f.firstDay(p), today().AddDate(0, 0, 1),
		p.Through, end, p.Statuses, p.EventTypes, most)
	if err != nil || len(rows) == 0 {
		return nil, end, err
	}
	if len(rows) == most {
		end = rows[most-1].Sequence
	}
	ids, days := make([]id.ID, len(rows)), map[time.Time]bool{}
	for i, h := range rows {
		ids[i], days[event.Day(h.EventID)] = h.EventID, true
	}
	events, err := tenant.List[logged](ctx, tx, selectLoggedByID, org, keys(days), ids)
	if err != nil {
		return nil, end, err
	}
	byID := make(map[id.ID]logged, len(events))
	for _, e := range events {
		byID[e.ID] = e
	}
	var found []candidate
	for _, h := range rows {
		if e, there := byID[h.EventID]; there && p.covers(e, &h) {
			found = append(found, candidate{e, &h.ID, h.Status})
		}
	}
	return found, end, nil
}

func (f *Feature) byLog(ctx context.Context, tx *tenant.Tx, p replayPlan, most int) ([]candidate, int64, error) {
	org, end, last := tx.Scope().Organization, min(p.Through+int64(most), p.Last), today().AddDate(0, 0, 1)
	events, err := tenant.List[logged](ctx, tx, selectLoggedByNumber, org, p.FirstDay, last, p.Through, end, p.EventTypes)
	if err != nil || len(events) == 0 {
		return nil, end, err
	}
	rows, err := tenant.List[held](ctx, tx, selectHeld, org, p.EndpointID, f.firstDay(p), last, p.Through, end, allStatuses(), []string{}, most)
	if err != nil {
		return nil, end, err
	}
	deliveries := make(map[int64]*held, len(rows))
	for _, h := range rows {
		deliveries[h.Sequence] = &h
	}
	var found []candidate
	for _, e := range events {
		c, h := candidate{logged: e, Status: noMatch}, deliveries[e.Sequence]
		if h != nil {
			c.Delivery, c.Status = &h.ID, h.Status
		}
		if slices.Contains(p.Statuses, c.Status) && p.covers(e, h) {
			found = append(found, c)
		}
	}
	return found, end, nil
}

func allStatuses() []string {
	return []string{"pending", "delivered", "failed", "exhausted", "filtered", "paused"}
}

// sendable leaves out what the endpoint may not or would not get today.
func (f *Feature) sendable(ctx context.Context, tx *tenant.Tx, r rule, all []candidate) (out []candidate, err error) {
	var ask []id.ID
	for _, c := range all {
		if r.Filter != "" && c.leftOut() && matches(r.EventTypes, c.Type) {
			ask = append(ask, c.ID)
		}
	}
	passing, err := f.passing(ctx, tx, r, ask)
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		stopped := c.leftOut() && (!matches(r.EventTypes, c.Type) || r.Filter != "" && !passing[c.ID])
		if !stopped && (!c.Private || r.IncludePrivate) {
			out = append(out, c)
		}
	}
	return out, nil
}

// passing says which events the filter lets through, in the time that it has
// for a batch of them; what it does not come to stays as it is, and a replay
// after the filter was mended takes it up. It holds a few events at a time, since one
// may be large.
func (f *Feature) passing(ctx context.Context, tx *tenant.Tx, r rule, ids []id.ID) (map[id.ID]bool, error) {
	r.Enabled = true // a dry run counts for a paused endpoint too
	out := map[id.ID]bool{}
	var b *budget
	for n, some := range slices.Collect(slices.Chunk(ids, 100)) {
		if n%(replaySlice/100) == 0 {
			b = newBudget([]rule{r}, min(replaySlice, len(ids)-100*n))
		}
		days := map[time.Time]bool{}
		for _, i := range some {
			days[event.Day(i)] = true
		}
		events, err := tenant.List[event.Event](ctx, tx, selectEvents, tx.Scope().Organization, keys(days), some)
		if err != nil {
			return nil, err
		}
		for _, e := range events {
			status, _ := f.judgeInTime(ctx, r, &lazily{event: e}, b)
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			out[e.ID] = status == "pending"
		}
	}
	return out, nil
}

const (
	countedSlice = 5_000
	countedFor   = 10 * time.Second
)

// countReplay counts what a replay would queue, with the very rules by which it
// queues; complete is false if there was so much that it gave up.
func (f *Feature) countReplay(ctx context.Context, tx *tenant.Tx, r rule, p replayPlan) (n int64, complete bool, err error) {
	for began := time.Now(); p.Through < p.Last; {
		if time.Since(began) > countedFor {
			return n, false, nil
		}
		c, through, err := f.candidates(ctx, tx, p, countedSlice)
		if err != nil {
			return n, false, err
		}
		if c, err = f.sendable(ctx, tx, r, c); err != nil {
			return n, false, err
		}
		n, p.Through = n+int64(len(c)), through
	}
	return n, true, nil
}
