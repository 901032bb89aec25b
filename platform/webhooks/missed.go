package webhooks

import (
	"context"
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

	// $3 and $4 the days, $5 and $6 the numbers, $7 patterns of types, $8 and $9
	// the times
	missedWhere = `e.tenant_id = $1 and e.day between $3 and $4 and e.sequence > $5 and e.sequence <= $6
		and (cardinality($7::text[]) = 0 or e.type like any($7))
		and ($8::timestamptz is null or e.occurred_at >= $8) and ($9::timestamptz is null or e.occurred_at < $9)
		and not exists (select from webhook_deliveries d where d.tenant_id = $1 and d.endpoint_id = $2 and d.day between $3::date - 1 and $4
			and d.sequence > $5 and d.sequence <= $6 and d.sequence = e.sequence)`

	listMissed = `select null::uuid as id, $2::uuid as endpoint_id, e.id as event_id, e.type as event_type, e.sequence, 'no_match' as status,
			null::text as reason, 0 as attempts, null::timestamptz as next_attempt_at, null::timestamptz as last_attempt_at,
			null::integer as last_status_code, e.occurred_at as created_at,
			coalesce((select s.event_types from webhook_settings s where s.tenant_id = $1 and s.endpoint_id = $2 and s.first_sequence <= e.sequence
				order by s.version desc limit 1), '{}') as event_types
		from event_log e where ` + missedWhere + ` order by e.sequence desc limit $10 offset $11`

	countMissed = `select count(*) from event_log e where ` + missedWhere
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

// missed is an event without a delivery and the types that left it out.
type missed struct {
	Delivery
	EventTypes []string `db:"event_types"`
}

func (m missed) explained() Delivery {
	why := "The endpoint's event_types did not name it."
	if matches(m.EventTypes, m.EventType) {
		why = "It happened in a private project, and the endpoint did not include those."
	}
	m.Reason = &why
	return m.Delivery
}

// Bounds of what one answer looks through: an endpoint that matches nearly all
// must not make it walk the whole log.
const (
	missedWindow  = 20_000 // numbers a statement
	missedWindows = 10
)

func (f *Feature) listMissed(ctx context.Context, v tenant.View, in *listDeliveriesInput) (page.Page[Delivery], error) {
	none := page.Page[Delivery]{}
	s, err := f.spanOf(ctx, v, in.EndpointID, in.Since)
	if err != nil {
		return none, err
	}
	end := s.Heard
	if !in.Until.IsZero() {
		last, err := numberAt(ctx, v, v.Scope().Organization, lastBefore, in.Until)
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
	rows, low, err := f.collectMissed(ctx, v, in, s, from)
	if err != nil {
		return none, err
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(d Delivery) any { return *d.Sequence - 1 })
	if err == nil && out.NextCursor == nil && low >= s.First {
		var next string
		next, err = api.NextCursor(ctx, low)
		out.NextCursor = &next
	}
	if err == nil && in.WantTotal() {
		out.Total = new(int64)
		*out.Total, err = tenant.Value[int64](ctx, v, countMissed, f.missedArgs(v, in, s.First-1, end)...)
	}
	return out, err
}

// collectMissed reads limit+1 rows from a number downwards, window by window;
// low is the number below which nothing was looked at.
func (f *Feature) collectMissed(ctx context.Context, v tenant.View, in *listDeliveriesInput, s span, from int64) (rows []Delivery, low int64, err error) {
	rows, low = []Delivery{}, from
	step := int64(missedWindow)
	if in.Offset() > 0 { // rows that are skipped may be anywhere
		step = from
	}
	for range missedWindows {
		if low < s.First || len(rows) > in.Limit {
			break
		}
		high := low
		low = max(s.First-1, high-step)
		args := append(f.missedArgs(v, in, low, high), in.Limit+1-len(rows), in.Offset())
		found, err := tenant.List[missed](ctx, v, listMissed, args...)
		if err != nil {
			return nil, 0, err
		}
		for _, m := range found {
			rows = append(rows, m.explained())
		}
	}
	return rows, low, nil
}

func (f *Feature) missedArgs(v tenant.View, in *listDeliveriesInput, low, high int64) []any {
	return []any{v.Scope().Organization, in.EndpointID, today().AddDate(0, 0, -f.RetentionDays), today().AddDate(0, 0, 1), low, high,
		likes(in.Type), orNull(in.Since), orNull(in.Until)}
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
