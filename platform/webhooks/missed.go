package webhooks

import (
	"context"
	"slices"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

// What an endpoint did not match is not stored: it is the numbers, from the
// first event that its settings were applied to up to the last one that was
// heard, without those that have a delivery.
const (
	// The oldest partition counts too: what was dropped under a shorter retention
	// than today's is no longer known.
	selectSpan = `select coalesce((select min(s.first_sequence) from webhook_settings s where s.tenant_id = $1 and s.endpoint_id = $2), g.heard_sequence + 1) as first,
			g.heard_sequence as heard, k.oldest
		from webhook_endpoints p
		left join lateral (select coalesce((select w.heard_sequence from webhook_progress w where w.tenant_id = $1), 0) as heard_sequence) g on true
		left join lateral (select coalesce(to_date(min(right(c.relname, 8)), 'YYYYMMDD'), date '2000-01-01') as oldest
			from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = 'webhook_deliveries'::regclass) k on true
		where p.tenant_id = $1 and p.id = $2 and p.deleted_at is null`

	// The least number of what happened at a time or later. Ids and numbers are
	// given in nearly the same order: a transaction's events have ids from when it
	// ran and numbers from when it was committed. So the few minutes around the
	// time are looked at whole, and if nothing happened in them, what came next.
	firstSince = `select coalesce((
			select min(e.sequence) from event_log e
			where e.tenant_id = $1 and e.day between $3 and $4 and e.id >= $5 and e.id < $6 and e.occurred_at >= $2 and e.sequence > 0
		), (
			select min(n.sequence) from (select e.sequence from event_log e
				where e.tenant_id = $1 and e.day >= $4 and e.id >= $6 and e.sequence > 0 order by e.id limit 1000) n
		))`

	// The greatest number of what happened before a time, likewise.
	lastBefore = `select coalesce((
			select max(e.sequence) from event_log e
			where e.tenant_id = $1 and e.day between $3 and $4 and e.id >= $5 and e.id < $6 and e.occurred_at < $2 and e.sequence > 0
		), (
			select max(n.sequence) from (select e.sequence from event_log e
				where e.tenant_id = $1 and e.day <= $3 and e.id < $5 and e.sequence > 0 order by e.id desc limit 1000) n
		))`

	// The two sides of what was missed are read apart and matched here: joined,
	// they cost what the planner makes of two partitioned tables.
	selectNumbersHad = `select coalesce(array_agg(d.sequence), '{}') from webhook_deliveries d
		where d.tenant_id = $1 and d.endpoint_id = $2 and d.day between $3 and $4 and d.sequence > $5 and d.sequence <= $6`

	countNumbersHad = `select count(*) from webhook_deliveries d
		where d.tenant_id = $1 and d.endpoint_id = $2 and d.day between $3 and $4 and d.sequence > $5 and d.sequence <= $6`

	// $6 patterns of types, $7 and $8 the times
	selectNumbersLogged = `select e.id, e.type, e.sequence, e.occurred_at from event_log e
		where e.tenant_id = $1 and e.day between $2 and $3 and e.sequence > $4 and e.sequence <= $5
		and (cardinality($6::text[]) = 0 or e.type like any($6))
		and ($7::timestamptz is null or e.occurred_at >= $7) and ($8::timestamptz is null or e.occurred_at < $8)
		order by e.sequence desc`

	selectApplied = `select s.first_sequence, s.event_types from webhook_settings s
		where s.tenant_id = $1 and s.endpoint_id = $2 and s.first_sequence is not null order by s.version desc`
)

// span is the part of the log of which it is known what became of it at an
// endpoint: the numbers from First to Heard, where events since Oldest count.
type span struct {
	First  int64     `db:"first"`
	Heard  int64     `db:"heard"`
	Oldest time.Time `db:"oldest"` // day
}

// spanOf returns the span of a live endpoint, from the time on if there is one.
// Nothing in it is First = Heard + 1.
func (f *Feature) spanOf(ctx context.Context, v tenant.View, endpoint id.ID, since time.Time) (span, error) {
	org := v.Scope().Organization
	s, err := tenant.One[span](ctx, v, selectSpan, org, endpoint)
	if err != nil {
		return s, tenant.NotFound(err, "webhook endpoint")
	}
	// An event's delivery is of its day or a later one, give or take a clock.
	kept := s.Oldest.AddDate(0, 0, 1)
	if d := today().AddDate(0, 0, 1-f.RetentionDays); d.After(kept) {
		kept = d
	}
	if since.Before(kept) {
		since = kept
	}
	first, err := numberAt(ctx, v, org, firstSince, since)
	switch {
	case err != nil:
		return s, err
	case first == nil:
		s.First = s.Heard + 1
	default:
		s.First = min(max(s.First, *first), s.Heard+1)
	}
	return s, nil
}

// transactionAtMost is for how long a transaction may have run, and how far
// clocks may be apart.
const transactionAtMost = 2 * time.Minute

// numberAt runs firstSince or lastBefore; nil is that there is no such event.
func numberAt(ctx context.Context, q tenant.Querier, org id.ID, sql string, at time.Time) (*int64, error) {
	low, high := floor(at.Add(-transactionAtMost)), floor(at.Add(transactionAtMost))
	return tenant.Value[*int64](ctx, q, sql, org, at, event.Day(low), event.Day(high), low, high)
}

// missed is an event without a delivery.
type missed struct {
	ID         id.ID     `db:"id"`
	Type       string    `db:"type"`
	Sequence   int64     `db:"sequence"`
	OccurredAt time.Time `db:"occurred_at"`
}

// applied are the types that an endpoint had from a number on.
type applied struct {
	FirstSequence int64    `db:"first_sequence"`
	EventTypes    []string `db:"event_types"`
}

// explain shows an event as a delivery that never was; settings are newest
// first.
func (m missed) explain(endpoint id.ID, settings []applied) Delivery {
	why := "The endpoint's event_types did not name it."
	for _, s := range settings {
		if s.FirstSequence <= m.Sequence {
			if matches(s.EventTypes, m.Type) {
				why = "It happened in a private project, and the endpoint did not include those."
			}
			break
		}
	}
	return Delivery{EndpointID: endpoint, EventID: m.ID, EventType: m.Type, Sequence: &m.Sequence, Status: noMatch, Reason: &why, CreatedAt: m.OccurredAt}
}

// Bounds of what one answer looks through: an endpoint that matches nearly all
// must not make it walk the whole log.
const (
	missedWindow  = 20_000 // numbers
	missedWindows = 5
	missedAtMost  = missedWindow * missedWindows
)

func (f *Feature) listMissed(ctx context.Context, v tenant.View, in *listDeliveriesInput) (page.Page[Delivery], error) {
	none, org := page.Page[Delivery]{}, v.Scope().Organization
	s, err := f.spanOf(ctx, v, in.EndpointID, in.Since)
	if err != nil {
		return none, err
	}
	end := s.Heard
	if !in.Until.IsZero() {
		last, err := numberAt(ctx, v, org, lastBefore, in.Until)
		if err != nil {
			return none, err
		}
		if end = 0; last != nil {
			end = min(s.Heard, *last)
		}
	}
	from := end
	if _, err := in.Position(ctx, &from); err != nil {
		return none, err
	}
	found, low, err := f.collectMissed(ctx, v, in, s.First, from)
	if err != nil {
		return none, err
	}
	settings, err := tenant.List[applied](ctx, v, selectApplied, org, in.EndpointID)
	if err != nil {
		return none, err
	}
	rows := make([]Delivery, len(found))
	for i, m := range found {
		rows[i] = m.explain(in.EndpointID, settings)
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(d Delivery) any { return *d.Sequence - 1 })
	if err == nil && out.NextCursor == nil && low >= s.First {
		var next string
		next, err = api.NextCursor(ctx, low)
		out.NextCursor = &next
	}
	if err == nil && in.WantTotal() {
		out.Total, err = f.countMissed(ctx, v, in, s.First, end)
	}
	return out, err
}

// collectMissed reads limit+1 events from a number downwards, window by window;
// low is the number from which on nothing was looked at. A page by its number
// is looked for no further than any other.
func (f *Feature) collectMissed(ctx context.Context, v tenant.View, in *listDeliveriesInput, first, from int64) (rows []missed, low int64, err error) {
	rows, low = []missed{}, from
	skip := in.Offset()
	for n := 0; low >= first && len(rows) <= in.Limit && n < missedWindows; n++ {
		high := low
		low = max(first-1, high-missedWindow)
		found, err := f.missedIn(ctx, v, in, low, high)
		if err != nil {
			return nil, 0, err
		}
		skipped := min(skip, len(found))
		skip -= skipped
		rows = append(rows, found[skipped:]...)
	}
	return rows[:min(len(rows), in.Limit+1)], low, nil
}

// countMissed returns nil where there is too much to count.
func (f *Feature) countMissed(ctx context.Context, v tenant.View, in *listDeliveriesInput, first, end int64) (*int64, error) {
	if len(in.Type) == 0 && in.Since.IsZero() && in.Until.IsZero() {
		if end-first >= countedAtMost {
			return nil, nil
		}
		had, err := tenant.Value[int64](ctx, v, countNumbersHad, f.numbersArgs(v, in.EndpointID, first-1, end)...)
		n := max(0, end-first+1-had)
		return &n, err
	}
	if end-first >= missedAtMost {
		return nil, nil
	}
	n := int64(0)
	for high := end; high >= first; high = max(first-1, high-missedWindow) {
		found, err := f.missedIn(ctx, v, in, max(first-1, high-missedWindow), high)
		if err != nil {
			return nil, err
		}
		n += int64(len(found))
	}
	return &n, nil
}

// missedIn returns the events above low and up to high that have no delivery,
// newest first.
func (f *Feature) missedIn(ctx context.Context, v tenant.View, in *listDeliveriesInput, low, high int64) ([]missed, error) {
	numbers, err := tenant.Value[[]int64](ctx, v, selectNumbersHad, f.numbersArgs(v, in.EndpointID, low, high)...)
	if err != nil {
		return nil, err
	}
	had := make(map[int64]bool, len(numbers))
	for _, n := range numbers {
		had[n] = true
	}
	if int64(len(had)) == high-low {
		return nil, nil
	}
	all, err := tenant.List[missed](ctx, v, selectNumbersLogged, v.Scope().Organization,
		today().AddDate(0, 0, -f.RetentionDays), today().AddDate(0, 0, 1), low, high,
		likes(in.Type), orNull(in.Since), orNull(in.Until))
	return slices.DeleteFunc(all, func(m missed) bool { return had[m.Sequence] }), err
}

func (f *Feature) numbersArgs(v tenant.View, endpoint id.ID, low, high int64) []any {
	return []any{v.Scope().Organization, endpoint, today().AddDate(0, 0, -f.RetentionDays-1), today().AddDate(0, 0, 1), low, high}
}

// floor is the least id of a time; no id is older than the clock of computers.
func floor(t time.Time) id.ID {
	if t.UnixMilli() < 0 {
		return id.Nil
	}
	return id.Floor(t)
}

func orNull[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
