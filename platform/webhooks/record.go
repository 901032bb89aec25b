package webhooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	lockDispatch = `select true from webhook_dispatch where tenant_id = $1 and endpoint_id = $2 for update`

	// The ids stand in each condition as well as in the joins: however little the
	// planner knows of tables that fill and empty, it goes by these keys.
	//
	// An attempt counts only while the queue says that so many were made: a drain
	// that lost its lease finds that another was there, and changes nothing.
	recordAttempts = `with r as (
			select * from unnest($3::uuid[], $4::date[], $5::int[], $6::text[], $7::timestamptz[], $8::timestamptz[], $9::int[],
				$10::int[], $11::jsonb[], $12::jsonb[], $13::bytea[], $14::boolean[], $15::text[])
			as u (id, day, made, status, next_due, started_at, duration_ms, status_code, request_headers, response_headers, response_body, truncated, error)
		), gone as (
			delete from webhook_queue q using r
			where q.tenant_id = $1 and q.endpoint_id = $2 and q.delivery_id = any($3) and q.delivery_id = r.id and q.made = r.made and r.next_due is null
			returning q.delivery_id
		), later as (
			update webhook_queue q set due_at = r.next_due, made = q.made + 1, step = q.step + 1 from r
			where q.tenant_id = $1 and q.endpoint_id = $2 and q.delivery_id = any($3) and q.delivery_id = r.id and q.made = r.made and r.next_due is not null
			returning q.delivery_id
		), counted as (
			select r.* from r where r.id in (select g.delivery_id from gone g union all select l.delivery_id from later l)
		), moved as (
			update webhook_deliveries d set status = c.status, reason = nullif(c.error, ''), attempts = c.made + 1, next_attempt_at = c.next_due,
				last_attempt_at = c.started_at, last_status_code = c.status_code
			from counted c where d.tenant_id = $1 and d.day = any($16::date[]) and d.id = any($3) and d.day = c.day and d.id = c.id
		)
		insert into webhook_attempts (tenant_id, day, delivery_id, number, settings_version, started_at, duration_ms, url, request_headers,
			status_code, response_headers, response_body, response_truncated, error)
		select $1, c.day, c.id, c.made + 1, $17, c.started_at, c.duration_ms, $18, c.request_headers,
			c.status_code, c.response_headers, c.response_body, c.truncated, nullif(c.error, '')
		from counted c`

	// The next of each subject takes its turn.
	promote = `update webhook_queue q set due_at = now()
		from (select b.subject, min(b.position) as position from webhook_queue b
			where b.tenant_id = $1 and b.endpoint_id = $2 and b.subject = any($3::text[]) group by b.subject) n
		where q.tenant_id = $1 and q.endpoint_id = $2 and q.subject = any($3) and q.subject = n.subject and q.position = n.position and q.due_at = 'infinity'`

	releaseLease = `update webhook_dispatch d set lease_until = null, in_flight_limit = $4, next_send_at = $5,
			window_started_at = $6, window_delivered = $7, window_failed = $8, open_until = $9, probe_seconds = $10,
			failing_since = $11, last_delivered_at = $12, last_failed_at = $13,
			due_at = case when exists (select from webhook_endpoints e where e.tenant_id = $1 and e.id = $2 and e.enabled and e.deleted_at is null)
				then greatest($9, coalesce((select min(q.due_at) from webhook_queue q where q.tenant_id = $1 and q.endpoint_id = $2), 'infinity'))
				else 'infinity' end
		where d.tenant_id = $1 and d.endpoint_id = $2 and d.fence = $3`
)

// record writes what came of a batch in one transaction, and disables the
// endpoint in it where an answer or five days of failures asked for that.
func (f *Feature) record(ctx context.Context, db *tenant.DB, s tenant.Scope, t target, batch []*item, disable string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	rows := columns(t, batch, rand.Float64)
	err := db.Write(ctx, s, func(tx *tenant.Tx) error {
		if t.Ordering == "by_subject" || disable != "" {
			// Who adds to the queue holds this lock too, so that none is added
			// behind a head that goes at the same moment.
			if _, err := tenant.Value[bool](ctx, tx, lockDispatch, t.Organization, t.ID); err != nil && !errors.Is(err, tenant.ErrNoRows) {
				return err
			}
		}
		if _, err := tenant.Exec(ctx, tx, recordAttempts, rows.args(t)...); err != nil {
			return err
		}
		if t.Ordering == "by_subject" {
			tx.Queue(promote, t.Organization, t.ID, rows.subjects)
		}
		if disable != "" {
			return f.disable(ctx, tx, t.ID, disable)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("record %d attempts: %w", len(batch), err)
	}
	return nil
}

// release gives the endpoint back with what was learnt of it; it is due again
// when the first of its queue is, but not before the breaker's next probe.
func (d *draining) release(ctx context.Context) error {
	h, s := d.state.health, d.state
	var next *time.Time
	if d.limiter != nil {
		if tokens := d.limiter.Tokens(); tokens < 1 {
			at := time.Now().Add(time.Duration((1 - tokens) / float64(d.limiter.Limit()) * float64(time.Second)))
			next = &at
		}
	}
	return d.db.Write(ctx, d.scope, func(tx *tenant.Tx) error {
		if _, err := tenant.Value[bool](ctx, tx, lockDispatch, d.Organization, d.claimed.Endpoint); err != nil {
			if errors.Is(err, tenant.ErrNoRows) {
				return nil
			}
			return err
		}
		_, err := tenant.Exec(ctx, tx, releaseLease, d.Organization, d.claimed.Endpoint, d.Fence, max(1, s.InFlightLimit), next,
			h.WindowStartedAt, h.WindowDelivered, h.WindowFailed, h.OpenUntil, h.ProbeSeconds, h.FailingSince, h.LastDeliveredAt, h.LastFailedAt)
		return err
	})
}

// attempts is a batch, column by column.
type attempts struct {
	ids                             []id.ID
	days                            []time.Time
	made, durations                 []int
	statuses, errors, subjects      []string
	next                            []*time.Time
	started                         []time.Time
	codes                           []*int
	requestHeaders, responseHeaders [][]byte
	bodies                          [][]byte
	truncated                       []bool
	distinctDays                    map[time.Time]bool
}

// columns also decides what comes next for each delivery. Random gives numbers
// from 0 up to 1.
func columns(t target, batch []*item, random func() float64) attempts {
	a := attempts{distinctDays: map[time.Time]bool{}}
	for _, i := range batch {
		o := i.outcome
		status, at := "delivered", (*time.Time)(nil)
		if !o.Delivered {
			status = "exhausted"
			if wait, more := nextAttempt(t.RetrySchedule, i.Step, o.RetryAfter, random()); more {
				due := time.Now().Add(wait)
				status, at = "failed", &due
			}
		}
		a.ids, a.days, a.made = append(a.ids, i.Delivery), append(a.days, i.Day), append(a.made, i.Made)
		a.statuses, a.next, a.started = append(a.statuses, status), append(a.next, at), append(a.started, o.Started)
		a.durations, a.errors = append(a.durations, int(o.Duration.Milliseconds())), append(a.errors, cut(clean(o.Error), 1000))
		var code *int
		if o.StatusCode != 0 {
			code = &o.StatusCode
		}
		a.codes = append(a.codes, code)
		a.requestHeaders, a.responseHeaders = append(a.requestHeaders, headerJSON(o.RequestHeader)), append(a.responseHeaders, headerJSON(o.ResponseHeader))
		a.bodies, a.truncated = append(a.bodies, o.ResponseBody), append(a.truncated, o.Truncated)
		a.subjects = append(a.subjects, i.Subject)
		a.distinctDays[i.Day] = true
	}
	return a
}

func (a attempts) args(t target) []any {
	return []any{t.Organization, t.ID, a.ids, a.days, a.made, a.statuses, a.next, a.started, a.durations, a.codes,
		a.requestHeaders, a.responseHeaders, a.bodies, a.truncated, a.errors, keys(a.distinctDays), t.Version, t.URL}
}

// headerJSON is a header as jsonb takes it: text without NUL, one value a name.
func headerJSON(h http.Header) []byte {
	flat := make(map[string]string, len(h))
	for name, values := range h {
		flat[strings.ToLower(clean(name))] = clean(strings.Join(values, ", "))
	}
	raw, err := json.Marshal(flat)
	if err != nil {
		return []byte("{}") // unreachable: strings always encode
	}
	return raw
}

// clean makes text of what a stranger sent: valid UTF-8 without NUL.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
