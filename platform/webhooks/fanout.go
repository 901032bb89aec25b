package webhooks

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/date"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	selectRules = `select id, version, event_types, filter, include_private, enabled, disabled_reason, ordering, schema_date
		from webhook_endpoints where tenant_id = $1 and deleted_at is null order by id`

	noteHeard = `insert into webhook_progress (tenant_id, heard_sequence) values ($1, $2)
		on conflict (tenant_id) do update set heard_sequence = greatest(webhook_progress.heard_sequence, excluded.heard_sequence)`

	noteFirst = `update webhook_settings s set first_sequence = $4
		from unnest($2::uuid[], $3::bigint[]) as u (endpoint_id, version)
		where s.tenant_id = $1 and s.endpoint_id = u.endpoint_id and s.version = u.version and s.first_sequence is null`

	insertDeliveries = `insert into webhook_deliveries (tenant_id, day, id, endpoint_id, event_id, event_type, sequence, settings_version, status, reason, next_attempt_at)
		select $1, u.day, u.id, u.endpoint_id, u.event_id, u.event_type, u.sequence, u.version, u.status, nullif(u.reason, ''),
			case when u.status = 'pending' then now() end
		from unnest($2::date[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::bigint[], $8::bigint[], $9::text[], $10::text[])
			as u (day, id, endpoint_id, event_id, event_type, sequence, version, status, reason)`
)

// rule is what decides over an event at an endpoint.
type rule struct {
	ID             id.ID     `db:"id"`
	Version        int64     `db:"version"`
	EventTypes     []string  `db:"event_types"`
	Filter         string    `db:"filter"`
	IncludePrivate bool      `db:"include_private"`
	Enabled        bool      `db:"enabled"`
	DisabledReason *string   `db:"disabled_reason"`
	Ordering       string    `db:"ordering"`
	SchemaDate     date.Date `db:"schema_date"`
}

// fanOut decides what becomes of each event at each endpoint. It is the
// feature's listener: the organisation's batches come one after the other, each
// in a transaction of its own.
func (f *Feature) fanOut(ctx context.Context, tx *tenant.Tx, events []event.Event) error {
	org := tx.Scope().Organization
	rules, err := tenant.List[rule](ctx, tx, selectRules, org)
	if err != nil {
		return err
	}
	if len(rules) > 0 {
		if err := f.deliver(ctx, tx, rules, events); err != nil {
			return fmt.Errorf("webhooks.fanOut: %w", err)
		}
	}
	tx.Queue(noteHeard, org, *events[len(events)-1].Sequence)
	return nil
}

func (f *Feature) deliver(ctx context.Context, tx *tenant.Tx, rules []rule, events []event.Event) error {
	org := tx.Scope().Organization
	private, err := event.Private(ctx, tx, org, events)
	if err != nil {
		return err
	}
	var made decided
	var send []queued
	b := newBudget(rules, len(events))
	for _, e := range events {
		seen := &lazily{event: e}
		for _, r := range rules {
			if !matches(r.EventTypes, e.Type) || private[e.ID] && !r.IncludePrivate {
				continue // no match: follows from the settings and is not stored
			}
			status, reason := f.judgeInTime(ctx, r, seen, b)
			if err := ctx.Err(); err != nil { // the filter did not come to an end
				return err
			}
			delivery := id.New()
			made.add(delivery, r, e, status, reason)
			if status == "pending" {
				send = append(send, queued{Endpoint: r.ID, Delivery: delivery, Event: e.ID, Subject: subjectKey(e)})
			}
		}
	}
	var endpoints []id.ID
	var versions []int64
	for _, r := range rules {
		endpoints, versions = append(endpoints, r.ID), append(versions, r.Version)
	}
	tx.Queue(noteFirst, org, endpoints, versions, *events[0].Sequence)
	if len(made.ids) > 0 {
		tx.Queue(insertDeliveries, org, made.days, made.ids, made.endpoints, made.events, made.types, made.sequences, made.versions, made.statuses, made.reasons)
	}
	return f.enqueue(ctx, tx, send)
}

// judge says what becomes of an event that the endpoint's types match, and how
// many steps its filter took.
func (f *Feature) judge(ctx context.Context, r rule, e *lazily) (status, reason string, steps int) {
	if r.Filter != "" {
		var ok bool
		var err error
		ok, steps, err = f.passes(ctx, r.Filter, e)
		switch {
		case err != nil: // stops only this endpoint
			return "filtered", "The filter failed: " + cut(err.Error(), 400), steps
		case !ok:
			return "filtered", "The filter is false: " + cut(r.Filter, 400), steps
		}
	}
	if !r.Enabled {
		why := "manual"
		if r.DisabledReason != nil {
			why = *r.DisabledReason
		}
		return "paused", pausedBecause[why], steps
	}
	return "pending", "", steps
}

func (f *Feature) passes(ctx context.Context, filter string, e *lazily) (ok bool, steps int, err error) {
	c, err := f.conditions.Get(filter)
	if err != nil {
		return false, 0, err
	}
	fields, err := e.fields()
	if err != nil {
		return false, 0, err
	}
	return c.Measure(ctx, fields)
}

var pausedBecause = map[string]string{
	"manual":  "The endpoint was paused.",
	"gone":    "The endpoint was disabled: it had answered 410 Gone.",
	"failing": "The endpoint was disabled: it had failed for five days.",
}

// matches reports whether an endpoint with these types wants the type.
func matches(types []string, name string) bool {
	if len(types) == 0 {
		return true
	}
	for _, t := range types {
		if prefix, ok := strings.CutSuffix(t, "*"); t == name || ok && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// lazily is an event that becomes a map when a filter first looks at it.
type lazily struct {
	event event.Event
	seen  map[string]any
}

func (l *lazily) fields() (map[string]any, error) {
	if l.seen != nil {
		return l.seen, nil
	}
	raw, err := json.Marshal(l.event)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	err = dec.Decode(&l.seen)
	return l.seen, err
}

// decided are the rows of one batch, column by column.
type decided struct {
	days                     []time.Time
	ids, endpoints, events   []id.ID
	types, statuses, reasons []string
	sequences, versions      []int64
}

func (d *decided) add(delivery id.ID, r rule, e event.Event, status, reason string) {
	d.days, d.ids = append(d.days, event.Day(delivery)), append(d.ids, delivery)
	d.endpoints, d.events, d.types = append(d.endpoints, r.ID), append(d.events, e.ID), append(d.types, e.Type)
	d.sequences, d.versions = append(d.sequences, *e.Sequence), append(d.versions, r.Version)
	d.statuses, d.reasons = append(d.statuses, status), append(d.reasons, reason)
}

// subjectKey names what an event is about; deliveries of one key wait for each
// other where the endpoint is ordered by subject.
func subjectKey(e event.Event) string {
	if e.Subject.ID == nil {
		return e.Subject.Type
	}
	return e.Subject.Type + ":" + e.Subject.ID.String()
}

func keys[K comparable](m map[K]bool) []K {
	out := make([]K, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return out
}

// cut shortens s to at most n bytes without breaking a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
