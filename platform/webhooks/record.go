package webhooks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	// Sent with commit, where a crash of the database may forget the last moment:
	// it then knows less of what was sent, and sends it again under the same id.
	withoutWaiting = `select set_config('synchronous_commit', 'off', true)`

	lockDispatch = `select true from webhook_dispatch where tenant_id = $1 and endpoint_id = $2 for update`

	// One statement for each attempt, by primary keys alone, and all of them in
	// one message: joined as a set they depend on what the planner knows of
	// tables that fill and empty within minutes, which is little.
	//
	// An attempt counts only while the queue says that so many were made: a drain
	// that lost its lease finds that another was there, and changes nothing. And it
	// is kept only beside its delivery: once that is dropped with its day, there is
	// no place for it, and an error would hold up all others of the batch.
	recordLast = `with q as (
			delete from webhook_queue q where q.tenant_id = $1 and q.delivery_id = $2 and q.made = $4 and $6::timestamptz is null
			returning q.delivery_id
		), ` + recordRest

	recordRetry = `with q as (
			update webhook_queue q set due_at = $6, made = q.made + 1, step = q.step + 1
			where q.tenant_id = $1 and q.delivery_id = $2 and q.made = $4
			returning q.delivery_id
		), ` + recordRest

	recordRest = `d as (
			update webhook_deliveries d set status = $5, reason = nullif($7, ''), attempts = $4 + 1, next_attempt_at = $6,
				last_attempt_at = $8, last_status_code = $10
			where d.tenant_id = $1 and d.day = $3 and d.id = $2 and exists (select from q)
			returning 1
		)
		insert into webhook_attempts (tenant_id, day, delivery_id, number, settings_version, started_at, duration_ms, url, request_headers,
			status_code, response_headers, response_body, response_truncated, error)
		select $1, $3, $2, $4 + 1, $15, $8, $9, $16, $11, $10, $12, $13, $14, nullif($7, '') from d`

	// What is not sent at all was not attempted either.
	recordWithheld = `with q as (
			delete from webhook_queue q where q.tenant_id = $1 and q.delivery_id = $2 and q.made = $4 returning q.delivery_id
		)
		update webhook_deliveries d set status = 'filtered', reason = $5, next_attempt_at = null
		where d.tenant_id = $1 and d.day = $3 and d.id = $2 and exists (select from q)`

	// The settings of now, which nobody changes until the batch is recorded. It
	// does not wait for those who add to the queue.
	shareSettings = `select version, ordering from webhook_endpoints where tenant_id = $1 and id = $2 for share`

	// What was sent before the endpoint became ordered, and is to be sent once more,
	// waits for those before it.
	demote = `update webhook_queue q set due_at = 'infinity'
		where q.tenant_id = $1 and q.endpoint_id = $2 and q.subject = any($3::text[]) and q.due_at <> 'infinity' and exists (
			select from webhook_queue b where b.tenant_id = q.tenant_id and b.endpoint_id = q.endpoint_id and b.subject = q.subject and b.position < q.position)`

	// The next of a subject takes its turn. One look at the index, however many
	// wait; all others of the endpoint wait for the lock under which this runs.
	promote = `update webhook_queue q set due_at = now() where q.tenant_id = $1 and q.due_at = 'infinity' and q.delivery_id = (
		select b.delivery_id from webhook_queue b where b.tenant_id = $1 and b.endpoint_id = $2 and b.subject = $3 order by b.position limit 1)`

	// What was learnt of an endpoint counts only for the settings it was learnt
	// under: a change may have made it forget. What is due already goes to the back
	// of the line: were an old backlog served first for as long as there is one, who
	// shares the organisation's drains would wait for the end of it.
	releaseLease = `with e as (
			select e.version = $14 as same, e.enabled and e.deleted_at is null and o.deleted_at is null as live,
				case when $15::boolean then least(greatest(2 * d.retry_seconds, 30), 300) else 0 end as wait
			from webhook_endpoints e join organizations o on o.tenant_id = e.tenant_id
			join webhook_dispatch d on d.tenant_id = e.tenant_id and d.endpoint_id = e.id
			where e.tenant_id = $1 and e.id = $2
		)
		update webhook_dispatch d set lease_until = null, in_flight_limit = $4, next_send_at = $5,
			window_started_at = case when e.same then $6 else d.window_started_at end,
			window_delivered = case when e.same then $7 else d.window_delivered end,
			window_failed = case when e.same then $8 else d.window_failed end,
			open_until = case when e.same then $9 else d.open_until end,
			probe_seconds = case when e.same then $10 else d.probe_seconds end,
			failing_since = case when e.same then $11 else d.failing_since end,
			last_delivered_at = $12, last_failed_at = $13,
			retry_seconds = e.wait, retry_at = case when e.wait > 0 then now() + make_interval(secs => e.wait) end,
			due_at = case when e.live then greatest(now() + make_interval(secs => e.wait), case when e.same then $9 else d.open_until end,
					coalesce((select min(q.due_at) from webhook_queue q where q.tenant_id = $1 and q.endpoint_id = $2), 'infinity'))
				else 'infinity' end
		from e where d.tenant_id = $1 and d.endpoint_id = $2 and d.fence = $3`
)

// settingsNow are what a recording must know of the endpoint as it is now: the
// drain may hold older ones.
type settingsNow struct {
	Version  int64  `db:"version"`
	Ordering string `db:"ordering"`
}

// errOrdered is that the lock of an ordered queue is needed before all others.
var errOrdered = errors.New("the endpoint is ordered by subject meanwhile")

// record writes what came of a batch in one transaction, and disables the
// endpoint in it where an answer or five days of failures asked for that. It
// returns the version of the settings.
func (f *Feature) record(ctx context.Context, db *tenant.DB, s tenant.Scope, t *target, batch []*item, disable string) (version int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	slices.SortFunc(batch, func(a, b *item) int { return bytes.Compare(a.Delivery[:], b.Delivery[:]) }) // locks in one order
	ordered := t.Ordering == "by_subject" || disable != ""
	for {
		err = db.Write(ctx, s, func(tx *tenant.Tx) error {
			version, err = f.recordIn(ctx, tx, t, batch, ordered, disable)
			return err
		})
		if !errors.Is(err, errOrdered) {
			break
		}
		ordered = true
	}
	if err != nil {
		return 0, fmt.Errorf("record %d attempts: %w", len(batch), err)
	}
	return version, nil
}

// recordIn takes first the lock that who adds to an ordered queue holds too, so
// that none is added behind a head that goes at the same moment.
func (f *Feature) recordIn(ctx context.Context, tx *tenant.Tx, t *target, batch []*item, ordered bool, disable string) (int64, error) {
	if ordered {
		if _, err := tenant.Value[bool](ctx, tx, lockDispatch, t.Organization, t.ID); err != nil && !errors.Is(err, tenant.ErrNoRows) {
			return 0, err
		}
	}
	now, err := tenant.One[settingsNow](ctx, tx, shareSettings, t.Organization, t.ID)
	if err != nil && !errors.Is(err, tenant.ErrNoRows) {
		return 0, err
	}
	if now.Ordering == "by_subject" && !ordered {
		return 0, errOrdered
	}
	subjects, unordered := map[string]bool{}, map[string]bool{}
	for _, i := range batch {
		i.target.queueRecord(tx, i, rand.Float64())
		subjects[i.Subject] = true
		if i.target.Ordering != "by_subject" {
			unordered[i.Subject] = true
		}
	}
	if now.Ordering == "by_subject" {
		if len(unordered) > 0 {
			tx.Queue(demote, t.Organization, t.ID, keys(unordered))
		}
		for subject := range subjects {
			tx.Queue(promote, t.Organization, t.ID, subject)
		}
	}
	if disable != "" && now.Version == t.Version { // not where somebody has just changed it: what failed may be mended
		return now.Version, f.disable(ctx, tx, t.ID, disable)
	}
	tx.Queue(withoutWaiting)
	return now.Version, nil
}

// queueRecord writes what came of one attempt and when the next one is.
func (t *target) queueRecord(tx *tenant.Tx, i *item, chance float64) {
	if i.withheld != "" {
		tx.Queue(recordWithheld, t.Organization, i.Delivery, i.Day, i.Made, i.withheld)
		return
	}
	o, sql, status := i.outcome, recordLast, "delivered"
	var next *time.Time
	if !o.Delivered {
		status = "exhausted"
		if wait, more := nextAttempt(t.RetrySchedule, i.Step, o.RetryAfter, chance); more {
			at := time.Now().Add(wait)
			sql, status, next = recordRetry, "failed", &at
		}
	}
	var code *int
	if o.StatusCode != 0 {
		code = &o.StatusCode
	}
	tx.Queue(sql, t.Organization, i.Delivery, i.Day, i.Made, status, next, cut(clean(o.Error), 1000), o.Started, int(o.Duration.Milliseconds()),
		code, headerJSON(o.RequestHeader), headerJSON(o.ResponseHeader), o.ResponseBody, o.Truncated, t.Version, t.URL)
}

// release gives the endpoint back with what was learnt of it; it is due again
// when the first of its queue is, but not before the breaker's next probe. After
// a drain that failed it waits, each time for longer up to five minutes: what
// failed here fails again most likely.
func (d *draining) release(ctx context.Context, failed bool) error {
	h, s := d.state.health, d.state
	var version int64 // 0 where the endpoint is deleted
	if d.t != nil {
		version = d.t.Version
	}
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
			h.WindowStartedAt, h.WindowDelivered, h.WindowFailed, h.OpenUntil, h.ProbeSeconds, h.FailingSince, h.LastDeliveredAt, h.LastFailedAt, version, failed)
		tx.Queue(withoutWaiting)
		return err
	})
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
