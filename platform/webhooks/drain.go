package webhooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"time"

	"golang.org/x/time/rate"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	slice       = 5 * time.Second  // after this the endpoint goes back in line
	renewEvery  = 10 * time.Second // a third of the lease
	flushAfter  = 4 * time.Millisecond
	flushAtMost = 100
	// Events of a steady stream come a moment apart, and to give the endpoint back
	// and take it again costs more than to wait for the next. What another process
	// fans out rings no bell here, so it also looks by itself.
	lingerFor   = 15 * time.Millisecond
	lingerTimes = 4
	lookEvery   = 500 * time.Millisecond // while others are still under way

	heldAtMost = 500 // sent and not recorded: the database is the slower side
)

const (
	selectState = `select in_flight_limit, next_send_at, window_started_at, window_delivered, window_failed, open_until, probe_seconds,
		failing_since, last_delivered_at, last_failed_at from webhook_dispatch
		where tenant_id = $1 and endpoint_id = $2 and fence = $3`

	selectVersion = `select version from webhook_endpoints where tenant_id = $1 and id = $2`

	renewLease = `update webhook_dispatch set lease_until = clock_timestamp() + make_interval(secs => $4)
		where tenant_id = $1 and endpoint_id = $2 and fence = $3 returning true`

	// A paused endpoint gives nothing; the version tells that settings changed. With
	// clock_timestamp() the index would give all that is queued.
	selectQueued = `select q.delivery_id, q.day, q.event_id, q.event_day, q.subject, q.made, q.step, q.example, e.version
		from webhook_queue q join webhook_endpoints e on e.tenant_id = q.tenant_id and e.id = q.endpoint_id
		where q.tenant_id = $1 and q.endpoint_id = $2 and q.due_at <= now() and q.delivery_id <> all($3::uuid[])
		and e.enabled and e.deleted_at is null
		order by q.due_at, q.position limit $4`

	// With whether today's visibility of its projects makes each one private.
	selectQueuedEvents = `select ` + event.Cols + `, ` + event.IsPrivate + ` as private from event_log e` + event.WithProjects + `
		where e.tenant_id = $1 and e.day = any($2::date[]) and e.id = any($3::uuid[])`

	// The days stand as a parameter of their own, so that partitions are pruned
	// before the statement starts.
	selectEvents = `select ` + event.Cols + ` from event_log e where e.tenant_id = $1 and e.day = any($2::date[]) and e.id = any($3::uuid[])`
)

// waitingRow is a row of the queue.
type waitingRow struct {
	Delivery id.ID           `db:"delivery_id"`
	Day      time.Time       `db:"day"`
	Event    id.ID           `db:"event_id"`
	EventDay time.Time       `db:"event_day"`
	Subject  string          `db:"subject"`
	Made     int             `db:"made"`
	Step     int             `db:"step"`
	Example  json.RawMessage `db:"example"`
	Version  int64           `db:"version"` // of the endpoint's settings
}

// item is a delivery on its way through a drain.
type item struct {
	waitingRow
	message  message
	outcome  outcome
	target   *target // as it was when it was sent
	withheld string  // why it is not sent at all, or ""
}

// queuedEvent is an event and whether it is private today.
type queuedEvent struct {
	event.Event
	Private bool `db:"private"`
}

const withheldPrivate = "It happened in a project that is private, and the endpoint does not include those."

// state is what webhook_dispatch holds of an endpoint.
type state struct {
	InFlightLimit int        `db:"in_flight_limit"`
	NextSendAt    *time.Time `db:"next_send_at"`
	health
}

// draining is one endpoint being served. All of it belongs to the goroutine of
// run; senders and the recorder talk to it by channels.
type draining struct {
	f     *Feature
	db    *tenant.DB
	scope tenant.Scope
	claimed
	t     *target // never changed: what is being sent keeps its own
	state state

	buffer    []*item         // fetched, not sent yet
	held      map[id.ID]*item // fetched and not recorded yet
	inFlight  int
	results   chan *item
	done      []*item // to be recorded
	recording []*item
	disable   string // why the endpoint is to be disabled, or ""
	doneAt    time.Time
	recorded  chan recorded // one recording at a time
	busy      bool          // recording

	limiter *rate.Limiter
	until   time.Time // when this drain yields
	leased  time.Time // until when the endpoint is certainly ours
	stop    bool      // send no more
	linger  int       // how often to look again when nothing is due
	dry     time.Time // when a look found no more than it took
	bell    chan struct{}
	checked time.Time // when the version was last known to be the current one
}

// recorded is how a recording went; version is that of the endpoint's settings
// at its time, 0 if it is not known.
type recorded struct {
	version int64
	err     error
}

// drainOne serves a claimed endpoint for a while and gives it back.
func (f *Feature) drainOne(ctx context.Context, db *tenant.DB, c claimed) error {
	d := &draining{f: f, db: db, claimed: c, scope: tenant.ForSystem(c.Organization), held: map[id.ID]*item{},
		results: make(chan *item, 128), recorded: make(chan recorded, 1)}
	d.scope.Operation = drain.Name
	d.bell = f.serving.begin(c.Endpoint)
	defer f.serving.end(c.Endpoint, d.bell)
	now := time.Now()
	d.until, d.leased = now.Add(slice), now.Add(lease)
	v := db.View(d.scope)
	var err error
	if d.state, err = tenant.One[state](ctx, v, selectState, c.Organization, c.Endpoint, c.Fence); err != nil {
		if errors.Is(err, tenant.ErrNoRows) { // claimed by another after a long pause
			return nil
		}
		return fmt.Errorf("webhooks.drain of endpoint %s: %w", c.Endpoint, err)
	}
	err = d.serve(ctx)
	if errors.Is(err, tenant.ErrNoRows) { // deleted, before or meanwhile
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("webhooks.drain of endpoint %s: %w", c.Endpoint, err)
	}
	// Also after an error and at shutdown, so that nobody waits for the lease to
	// run out.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(err, d.release(last, err != nil && ctx.Err() == nil))
}

// serve makes an error of a panic, so that the endpoint is given back.
func (d *draining) serve(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("it panicked: %v\n%s", v, debug.Stack())
		}
	}()
	if err := d.loadTarget(ctx); err != nil {
		return err
	}
	return d.run(ctx)
}

func (d *draining) loadTarget(ctx context.Context) error {
	t, err := d.f.loadTarget(ctx, d.db.View(d.scope), d.Organization, d.claimed.Endpoint)
	if err != nil {
		return err
	}
	before := d.t
	d.t, d.checked = &t, time.Now()
	if before != nil && equal(before.RateLimit, t.RateLimit) {
		return nil
	}
	d.limiter = nil
	if r := t.RateLimit; r != nil {
		d.limiter = rate.NewLimiter(rate.Limit(*r), max(1, *r/20))
		if at := d.state.NextSendAt; at != nil && at.After(time.Now()) {
			d.limiter.ReserveN(time.Now(), d.limiter.Burst())
		}
	}
	return nil
}

// reload follows a change of the settings. What was fetched under the old ones
// and is not sent yet is fetched again; what is known of the endpoint's health
// is what the change left of it.
func (d *draining) reload(ctx context.Context) error {
	for _, i := range d.buffer {
		delete(d.held, i.Delivery)
	}
	d.buffer, d.dry, d.disable = nil, time.Time{}, ""
	if err := d.loadTarget(ctx); err != nil {
		return err
	}
	now, err := tenant.One[state](ctx, d.db.View(d.scope), selectState, d.Organization, d.claimed.Endpoint, d.Fence)
	if errors.Is(err, tenant.ErrNoRows) {
		return errLeaseLost
	}
	if err != nil {
		return err
	}
	now.LastDeliveredAt, now.LastFailedAt = d.state.LastDeliveredAt, d.state.LastFailedAt
	d.state.health = now.health
	return nil
}

// check notices a change of the settings while there is something to send that
// was fetched a moment ago.
func (d *draining) check(ctx context.Context) error {
	if time.Since(d.checked) < lookEvery {
		return nil
	}
	version, err := tenant.Value[int64](ctx, d.db.View(d.scope), selectVersion, d.Organization, d.claimed.Endpoint)
	if err != nil {
		return err
	}
	if d.checked = time.Now(); version != d.t.Version {
		return d.reload(ctx)
	}
	return nil
}

var errLeaseLost = errors.New("the lease went to another drain")

func equal[T comparable](a, b *T) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// limit is how many attempts may be under way at once.
func (d *draining) limit() int {
	n, _ := d.state.allows(min(d.state.InFlightLimit, d.t.inFlight()), time.Now())
	return n
}

// run sends what is due until nothing is, or until the slice is over, and
// records what came of it.
func (d *draining) run(ctx context.Context) error {
	renew := time.NewTicker(renewEvery)
	defer renew.Stop()
	var failed error
	for {
		var wait time.Duration
		if failed == nil && ctx.Err() == nil && !d.stop {
			if wait, failed = d.feed(ctx); failed != nil {
				d.stop = true
			}
		}
		d.record(ctx)
		if over := failed != nil || d.stop || ctx.Err() != nil || d.limit() == 0 || time.Now().After(d.until); d.inFlight == 0 && !d.busy && len(d.done) == 0 && (over || len(d.buffer) == 0) {
			if over || d.linger == 0 {
				return failed
			}
			d.linger--
			d.dry, wait = time.Time{}, lingerFor
		}
		select {
		case i := <-d.results:
			d.take(ctx, i)
		case r := <-d.recorded:
			d.busy = false
			if d.t.Ordering == "by_subject" { // others took their turn
				d.dry = time.Time{}
			}
			for _, i := range d.recording {
				delete(d.held, i.Delivery)
			}
			if r.err == nil && r.version != 0 && r.version != d.t.Version && failed == nil && ctx.Err() == nil {
				r.err = d.reload(ctx)
			}
			if r.err != nil {
				failed, d.stop = r.err, true
			}
		case <-renew.C:
			if err := d.renew(ctx); err != nil {
				failed, d.stop = err, true
			}
		case <-d.bell: // there is more in the queue, or the settings changed
			d.dry, d.checked = time.Time{}, time.Time{}
		case <-time.After(d.nextTick(wait)):
		}
	}
}

// feed fetches and launches; wait is how long the rate limit holds the next
// one back.
func (d *draining) feed(ctx context.Context) (wait time.Duration, err error) {
	for d.inFlight < d.limit() && len(d.held) < heldAtMost && time.Now().Before(d.until) && time.Now().Before(d.leased.Add(-time.Second)) {
		if len(d.buffer) == 0 {
			if time.Since(d.dry) < lookEvery {
				return 0, nil
			}
			if err := d.fetch(ctx); err != nil || len(d.buffer) == 0 {
				return 0, err
			}
		} else if err := d.check(ctx); err != nil {
			return 0, err
		} else if len(d.buffer) == 0 {
			continue
		}
		if d.limiter != nil {
			r := d.limiter.Reserve()
			if wait := r.Delay(); wait > 0 {
				r.Cancel()
				return wait, nil
			}
		}
		next := d.buffer[0]
		d.buffer = d.buffer[1:]
		next.target = d.t
		d.inFlight++
		go func() {
			next.outcome = d.f.send(ctx, *next.target, next.message, next.Made+1)
			d.results <- next
		}()
	}
	return 0, nil
}

// fetch reads what is due and not held, and turns it into messages.
func (d *draining) fetch(ctx context.Context) error {
	held := make([]id.ID, 0, len(d.held))
	for i := range d.held {
		held = append(held, i)
	}
	v := d.db.View(d.scope)
	most := min(2*d.limit()+4, flushAtMost)
	rows, err := tenant.List[waitingRow](ctx, v, selectQueued, d.Organization, d.claimed.Endpoint, held, most)
	if len(rows) < most {
		d.dry = time.Now()
	}
	if err != nil || len(rows) == 0 {
		return err
	}
	if d.checked = time.Now(); rows[0].Version != d.t.Version {
		if err := d.reload(ctx); err != nil {
			return err
		}
	}
	events, err := d.events(ctx, v, rows)
	if err != nil {
		return err
	}
	d.linger = lingerTimes
	for _, row := range rows {
		i := &item{waitingRow: row, target: d.t}
		d.held[i.Delivery] = i
		e, ok := events[i.Event]
		if e.Private && !d.t.IncludePrivate { // since it was queued, the one or the other has changed
			i.withheld = withheldPrivate
			d.finished(i)
			continue
		}
		if i.Example != nil {
			if err := json.Unmarshal(i.Example, &e.Event); err != nil {
				return fmt.Errorf("the test event of delivery %s: %w", i.Delivery, err)
			}
			ok = true
		}
		if i.message, err = d.message(e.Event, ok); err == nil {
			i.message.Example = i.Example != nil
		}
		if err != nil { // nothing that another attempt would mend
			i.outcome = outcome{Started: time.Now(), Error: err.Error()}
			i.Step = math.MaxInt32
			d.finished(i)
			continue
		}
		d.buffer = append(d.buffer, i)
	}
	return nil
}

// message writes the event in the version that the endpoint is pinned to.
func (d *draining) message(e event.Event, found bool) (message, error) {
	if !found {
		return message{}, errors.New("the event is no longer in the log")
	}
	e, err := d.f.asOf(d.t.SchemaDate, e)
	if err != nil {
		return message{}, err
	}
	return d.t.compose(e, d.f.PublicURL)
}

func (d *draining) events(ctx context.Context, v tenant.View, rows []waitingRow) (map[id.ID]queuedEvent, error) {
	days, ids := map[time.Time]bool{}, make([]id.ID, 0, len(rows))
	for _, i := range rows {
		if i.Example == nil {
			days[i.EventDay] = true
			ids = append(ids, i.Event)
		}
	}
	found := make(map[id.ID]queuedEvent, len(ids))
	if len(ids) == 0 {
		return found, nil
	}
	events, err := tenant.List[queuedEvent](ctx, v, selectQueuedEvents, d.Organization, keys(days), ids)
	for _, e := range events {
		found[e.ID] = e
	}
	return found, err
}

// take notes an outcome: it counts for the endpoint's health at once, and is
// recorded with the next batch.
func (d *draining) take(ctx context.Context, i *item) {
	d.inFlight--
	if ctx.Err() != nil && !i.outcome.Delivered {
		delete(d.held, i.Delivery) // cut off by our own end: as if it had not been sent
		return
	}
	d.finished(i)
	if i.target.Version != d.t.Version {
		return // it says nothing of what the endpoint is now
	}
	var failing bool
	d.state.InFlightLimit = adapt(d.state.InFlightLimit, i.outcome, d.t.inFlight())
	d.state.health, failing = d.state.after(i.outcome)
	switch {
	case i.outcome.Gone:
		d.disable = "gone"
	case failing:
		d.disable = "failing"
	}
	d.stop = d.stop || d.disable != ""
}

func (d *draining) finished(i *item) {
	if len(d.done) == 0 {
		d.doneAt = time.Now()
	}
	d.done = append(d.done, i)
}

// nextTick bounds the wait for something to happen.
func (d *draining) nextTick(wait time.Duration) time.Duration {
	if wait == 0 {
		wait = lookEvery
	}
	if len(d.done) > 0 && !d.busy {
		wait = min(wait, max(flushAfter-time.Since(d.doneAt), time.Microsecond))
	}
	return wait
}

// record starts to write what is done, if it is time to: a batch is full, a
// moment has passed, or nothing else is under way.
func (d *draining) record(ctx context.Context) {
	if d.busy || len(d.done) == 0 {
		return
	}
	if d.inFlight > 0 && len(d.done) < flushAtMost && time.Since(d.doneAt) < flushAfter {
		return
	}
	batch := d.done[:min(len(d.done), 2*flushAtMost)]
	d.done, d.recording, d.busy = d.done[len(batch):], batch, true
	t, disable := d.t, d.disable
	ctx = context.WithoutCancel(ctx) // what was sent is recorded, also at shutdown
	go func() {
		version, err := d.f.record(ctx, d.db, d.scope, t, batch, disable)
		d.recorded <- recorded{version, err}
	}()
}

func (d *draining) renew(ctx context.Context) error {
	now := time.Now()
	err := d.db.Write(ctx, d.scope, func(tx *tenant.Tx) error {
		_, err := tenant.Value[bool](ctx, tx, renewLease, d.Organization, d.claimed.Endpoint, d.Fence, int(lease.Seconds()))
		return err
	})
	if errors.Is(err, tenant.ErrNoRows) {
		return errLeaseLost
	}
	d.leased = now.Add(lease)
	return err
}
