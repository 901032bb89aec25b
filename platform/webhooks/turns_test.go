package webhooks

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/jackc/pgx/v5"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/seal"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/tenant/tenanttest"
)

// line is a feature on a database with an organisation, where queues are made
// by hand.
type line struct {
	*testing.T
	f     *Feature
	db    *tenant.DB
	super *pgxpool.Pool
	org   id.ID
}

func newLine(t *testing.T) *line {
	t.Helper()
	d := tenanttest.New(t)
	l := &line{T: t, org: id.New()}
	db, err := tenant.Open(t.Context(), tenant.Options{URL: d.WorkerURL, MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	l.db = db
	super, err := pgxpool.New(t.Context(), d.SuperURL+"&search_path=guildhall&pool_max_conns=1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(super.Close)
	l.super = super
	queue, err := jobs.NewQueue(l.db, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := seal.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if l.f, err = New(Deps{Queue: queue, Keys: keys, RetentionDays: 30}); err != nil {
		t.Fatal(err)
	}
	l.exec(`insert into organizations (tenant_id, slug, name) values ($1, 'hall', 'Hall')`, l.org)
	return l
}

func (l *line) exec(sql string, args ...any) {
	l.Helper()
	if _, err := l.super.Exec(context.Background(), sql, args...); err != nil {
		l.Fatalf("%s: %v", sql, err)
	}
}

func (l *line) number(sql string, args ...any) (n int64) {
	l.Helper()
	if err := l.super.QueryRow(context.Background(), sql, args...).Scan(&n); err != nil {
		l.Fatalf("%s: %v", sql, err)
	}
	return n
}

func (l *line) write(fn func(tx *tenant.Tx) error) {
	l.Helper()
	if err := l.db.Write(context.Background(), tenant.ForSystem(l.org), fn); err != nil {
		l.Fatal(err)
	}
}

func (l *line) endpoint(ordering string) id.ID {
	l.Helper()
	e := id.New()
	l.exec(`insert into webhook_endpoints (tenant_id, id, url, ordering, schema_date, created_by_kind) values ($1, $2, 'https://example.com', $3, current_date, 'system')`, l.org, e, ordering)
	l.exec(`insert into webhook_dispatch (tenant_id, endpoint_id) values ($1, $2)`, l.org, e)
	return e
}

// queue puts n deliveries of a subject into the queue of an endpoint, all due at
// the same time, in words of Postgres; an empty subject gives each one of its own.
func (l *line) queue(endpoint id.ID, n int, subject, due string) {
	l.Helper()
	l.exec(`insert into webhook_queue (tenant_id, endpoint_id, delivery_id, day, event_id, event_day, subject, due_at)
		select $1, $2, gen_random_uuid(), current_date, gen_random_uuid(), current_date, coalesce(nullif($4, ''), i::text), $5::text::timestamptz from generate_series(1, $3::int) i`,
		l.org, endpoint, n, subject, due)
}

// touching is how many rows of a table fn reads, and changes, on the one
// connection of the feature.
func (l *line) touching(table string, fn func()) (read, changed int64) {
	l.Helper()
	counts := func() (read, changed int64) {
		l.exec(`select pg_stat_force_next_flush()`)
		l.write(func(tx *tenant.Tx) error {
			_, err := tenant.Exec(l.Context(), tx, `select pg_stat_force_next_flush()`)
			return err
		})
		if err := l.super.QueryRow(l.Context(), `select seq_tup_read + coalesce(idx_tup_fetch, 0), n_tup_upd + n_tup_del
			from pg_stat_user_tables where relid = $1::text::regclass`, table).Scan(&read, &changed); err != nil {
			l.Fatal(err)
		}
		return read, changed
	}
	readBefore, changedBefore := counts()
	fn()
	read, changed = counts()
	return read - readBefore, changed - changedBefore
}

// Among many endpoints a claim reads those that are due, whatever the planner
// knows of them; so does a nudge.
func TestClaimReadsWhatIsDue(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	l.exec(`with e as (
			insert into webhook_endpoints (tenant_id, id, url, schema_date, created_by_kind)
			select gen_random_uuid(), gen_random_uuid(), 'https://example.com', current_date, 'system' from generate_series(1, 5000) returning tenant_id, id
		) insert into webhook_dispatch (tenant_id, endpoint_id) select tenant_id, id from e`)
	for _, known := range []bool{false, true} {
		if known {
			l.exec(`analyze webhook_dispatch`)
		}
		l.exec(`update webhook_dispatch set due_at = now() - interval '1 minute' where (tenant_id, endpoint_id) in (select tenant_id, endpoint_id from webhook_dispatch where due_at = 'infinity' limit 10)`)
		for i := range 10 { // past the first plans, which know the time
			read, _ := l.touching("webhook_dispatch", func() { l.claim() })
			if read > 200 {
				t.Errorf("claim %d read %d rows", i, read)
			}
		}
		l.exec(`update webhook_dispatch set lease_until = null, due_at = now() - interval '1 minute' where lease_until is not null`)
		read, _ := l.touching("webhook_dispatch", func() {
			err := l.db.GlobalWrite(t.Context(), func(tx *tenant.GlobalTx) error {
				_, err := tenant.Values[id.ID](t.Context(), tx, nudge, 48, 12)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		})
		if read > 200 {
			t.Errorf("a nudge read %d rows", read)
		}
		l.exec(`update webhook_dispatch set due_at = 'infinity', nudged_at = null`)
	}
}

// What waits for its turn costs a drain nothing that looks for what is due.
func TestFetchReadsWhatIsDue(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	e := l.endpoint("by_subject")
	l.queue(e, 10, "", "yesterday")
	l.queue(e, 5000, "task:busy", "infinity")
	var rows []waitingRow
	read, _ := l.touching("webhook_queue", func() {
		l.write(func(tx *tenant.Tx) (err error) {
			rows, err = tenant.List[waitingRow](t.Context(), tx, selectQueued, l.org, e, []id.ID{}, 24)
			return err
		})
	})
	if len(rows) != 10 || read > 50 {
		t.Errorf("read %d rows to find %d", read, len(rows))
	}
}

// The next of a subject is found by its index, however many wait behind it.
func TestNextOfABusySubject(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	e := l.endpoint("by_subject")
	l.queue(e, 1, "task:busy", "yesterday")
	l.queue(e, 2000, "task:busy", "infinity")
	l.queue(e, 20, "task:other", "infinity")
	var head id.ID
	if err := l.super.QueryRow(t.Context(), `select delivery_id from webhook_queue order by position limit 1`).Scan(&head); err != nil {
		t.Fatal(err)
	}
	day := event.Day(id.New())
	l.exec(`insert into webhook_deliveries (tenant_id, day, id, endpoint_id, event_id, event_type, settings_version, status) values ($1, $2, $3, $4, $3, 'task.created', 1, 'pending')`, l.org, day, head, e)
	sent := &target{Endpoint: Endpoint{ID: e, Ordering: "by_subject", Version: 1}, Organization: l.org}
	batch := []*item{{waitingRow: waitingRow{Delivery: head, Day: day, Subject: "task:busy"}, target: sent,
		outcome: outcome{Delivered: true, StatusCode: 204, Started: time.Now()}}}
	read, _ := l.touching("webhook_queue", func() {
		if _, err := l.f.record(t.Context(), l.db, tenant.ForSystem(l.org), sent, batch, ""); err != nil {
			t.Error(err)
		}
	})
	if read > 50 {
		t.Errorf("read %d rows to find the next one", read)
	}
	if n := l.number(`select count(*) from webhook_queue where due_at <> 'infinity' and position = (select min(position) from webhook_queue)`); n != 1 {
		t.Error("the next one did not get its turn")
	}
	if n := l.number(`select count(*) from webhook_queue where due_at <> 'infinity'`); n != 1 {
		t.Errorf("%d got their turn", n)
	}
}

// Where few may be served at once, an endpoint with a backlog goes to the back
// of the line after its turn.
func TestEndpointsTakeTurns(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	names, served := map[id.ID]string{}, ""
	for _, name := range []string{"a", "b", "c"} {
		e := l.endpoint("none")
		names[e] = name
		l.queue(e, 5, "", "yesterday")
		l.exec(`update webhook_dispatch set due_at = case $2 when 'c' then now() else timestamptz 'yesterday' + make_interval(secs => ascii($2)) end where endpoint_id = $1`, e, name)
	}
	for range 6 {
		c := l.claim()
		served += names[c.Endpoint]
		if err := l.draining(c).release(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
	if served != "abcabc" {
		t.Errorf("served %s", served)
	}
	l.exec(`delete from webhook_queue`)
	for range 3 {
		if err := l.draining(l.claim()).release(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
	if n := l.number(`select count(*) from webhook_dispatch where due_at = 'infinity'`); n != 3 {
		t.Errorf("%d endpoints without a queue sleep, want 3", n)
	}
}

func (l *line) claim() claimed {
	l.Helper()
	due, err := tenant.List[claimRow](l.Context(), l.db.Global(), claim, 30, 12, id.Nil, id.Nil)
	if err != nil || len(due) != 1 || due[0].Endpoint == nil {
		l.Fatalf("claim: %v, %v", due, err)
	}
	return claimed{*due[0].Organization, *due[0].Endpoint, *due[0].Fence}
}

func (l *line) draining(c claimed) *draining {
	return &draining{f: l.f, db: l.db, claimed: c, scope: tenant.ForSystem(c.Organization), state: state{InFlightLimit: 4}}
}

// Replays wait for what waits for its turn too.
func TestReplayWaitsForAnOrderedQueue(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	e := l.endpoint("by_subject")
	wait := func() (d time.Duration) {
		l.write(func(tx *tenant.Tx) (err error) {
			d, err = replayPlan{EndpointID: e}.waits(t.Context(), tx)
			return err
		})
		return d
	}
	l.queue(e, 10, "", "now")
	l.queue(e, replayBacklog-11, "task:busy", "infinity")
	l.queue(e, 100, "", "tomorrow") // a retry holds up nothing
	if d := wait(); d != 0 {
		t.Errorf("it waits %s for one less than the backlog", d)
	}
	l.queue(e, 1, "task:busy", "infinity")
	if d := wait(); d == 0 {
		t.Error("it does not wait")
	}
}

// A change of the ordering writes the rows whose turn it changes.
func TestReorderWritesWhatChanges(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	e := l.endpoint("by_subject")
	l.queue(e, 1000, "", "yesterday")
	l.queue(e, 3, "task:busy", "yesterday")
	for _, ordering := range []string{"by_subject", "none"} {
		l.exec(`update webhook_endpoints set ordering = $2 where id = $1`, e, ordering)
		_, changed := l.touching("webhook_queue", func() {
			l.write(func(tx *tenant.Tx) error {
				_, err := tenant.Exec(t.Context(), tx, reorderQueue, l.org, e)
				return err
			})
		})
		if changed != 2 {
			t.Errorf("%s: %d rows were written, want 2", ordering, changed)
		}
		want := map[string]int64{"by_subject": 2, "none": 0}[ordering]
		if n := l.number(`select count(*) from webhook_queue where due_at = 'infinity'`); n != want {
			t.Errorf("%s: %d wait, want %d", ordering, n, want)
		}
	}
}

// An endpoint that cannot be served waits before the next try, longer each time,
// whatever else is queued for it meanwhile, and no job is tried again by itself.
func TestDrainThatFailsWaits(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	e := l.endpoint("none")
	l.exec(`insert into webhook_secrets (tenant_id, endpoint_id, id, secret) values ($1, $2, $2, 'not sealed')`, l.org, e)
	l.queue(e, 1, "", "yesterday")
	wait := func() int64 {
		return l.number(`select round(extract(epoch from due_at - now()))::bigint from webhook_dispatch`)
	}
	for _, want := range []int64{30, 60, 120, 240, 300, 300} {
		l.exec(`update webhook_dispatch set due_at = now()`)
		err := l.f.drainDue(t.Context(), l.db, l.org, e)
		if err == nil || l.number(`select count(*) from webhook_dispatch where lease_until is not null`) != 0 {
			t.Fatalf("the drain gave %v", err)
		}
		l.write(func(tx *tenant.Tx) error { return l.f.wake(t.Context(), tx, []id.ID{e}) })
		if got := wait(); got < want-5 || got > want {
			t.Errorf("it is due in %d s, want %d", got, want)
		}
	}
	workers, err := jobs.NewWorkers(l.db, l.f.jobs()[:1], 1, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l.exec(`update webhook_dispatch set due_at = now()`)
	l.write(func(tx *tenant.Tx) error { return drain.Enqueue(t.Context(), l.f.Queue, tx, drainArgs{e}) })
	if _, err := workers.RunDue(t.Context()); err == nil || !strings.Contains(err.Error(), jobs.Cancel(errors.New("")).Error()) {
		t.Errorf("the job gave %v, want that it is cancelled", err)
	}
	l.exec(`delete from webhook_secrets`)
	l.exec(`update webhook_dispatch set due_at = now()`)
	if err := l.draining(l.claim()).release(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if got := wait(); got > 0 || l.number(`select count(*) from webhook_dispatch where retry_at is null and retry_seconds = 0`) != 1 {
		t.Errorf("after one that went well it is due in %d s", got)
	}
}

// What a replay queued while its day was dropped stops nobody: no attempt is
// recorded of it, and it goes with the day.
func TestReplayOfADayThatIsDropped(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	e, gone := l.endpoint("none"), id.New()
	const day = `(now() at time zone 'UTC')::date - 40`
	l.exec(`do $$ begin execute format('create table webhook_deliveries_%s partition of webhook_deliveries for values from (%L) to (%L)', to_char(` + day + `, 'YYYYMMDD'), ` + day + `, ` + day + ` + 1); end $$`)
	l.exec(`insert into webhook_deliveries (tenant_id, day, id, endpoint_id, event_id, event_type, settings_version, status) values ($1, `+day+`, $2, $3, $2, 'task.created', 1, 'failed')`, l.org, gone, e)
	replay, err := l.super.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{`update webhook_deliveries set status = 'pending' where tenant_id = $1 and id = $2 and endpoint_id = $3`,
		`insert into webhook_queue (tenant_id, endpoint_id, delivery_id, day, event_id, event_day, subject, due_at) values ($1, $3, $2, ` + day + `, $2, ` + day + `, 'x', now())`} {
		if _, err := replay.Exec(t.Context(), sql, l.org, gone, e); err != nil {
			t.Fatal(err)
		}
	}
	dropped := make(chan error, 1)
	go func() { dropped <- l.f.dropDays(t.Context(), l.db) }()
	l.waits(replay, `select exists (select from pg_locks where not granted and mode = 'AccessExclusiveLock' and database = (select oid from pg_database where datname = current_database()))`)
	if err := replay.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-dropped; err != nil {
		t.Fatal(err)
	}
	if n := l.number(`select count(*) from webhook_queue`); n != 0 {
		t.Errorf("%d are left in the queue", n)
	}
	// A drain that fetched it before.
	l.exec(`insert into webhook_queue (tenant_id, endpoint_id, delivery_id, day, event_id, event_day, subject, due_at) values ($1, $3, $2, `+day+`, $2, `+day+`, 'x', now())`, l.org, gone, e)
	sent := &target{Endpoint: Endpoint{ID: e, Ordering: "none", Version: 1}, Organization: l.org}
	for made, o := range []outcome{{Error: "refused"}, {Delivered: true, StatusCode: 204}} {
		o.Started = time.Now()
		one := &item{waitingRow: waitingRow{Delivery: gone, Day: event.Day(id.New()).AddDate(0, 0, -40), Made: made}, target: sent, outcome: o}
		if _, err := l.f.record(t.Context(), l.db, tenant.ForSystem(l.org), sent, []*item{one}, ""); err != nil {
			t.Errorf("attempt %d: %v", made+1, err)
		}
	}
	if n := l.number(`select (select count(*) from webhook_queue) + (select count(*) from webhook_attempts)`); n != 0 {
		t.Errorf("%d rows of it are left", n)
	}
}

// An event that was held against the rules of an endpoint which is deleted
// before it is queued leaves nothing in the queue.
func TestNothingIsQueuedForADeletedEndpoint(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	e, kept := l.endpoint("none"), l.endpoint("none")
	deletion, err := l.super.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{lockDispatch, `update webhook_endpoints set deleted_at = now() where tenant_id = $1 and id = $2`} {
		if _, err := deletion.Exec(t.Context(), sql, l.org, e); err != nil {
			t.Fatal(err)
		}
	}
	added := make(chan error, 1)
	go func() {
		added <- l.db.Write(context.Background(), tenant.ForSystem(l.org), func(tx *tenant.Tx) error {
			return l.f.enqueue(context.Background(), tx, []queued{{Endpoint: e, Delivery: id.New(), Event: id.New(), Subject: "x"}, {Endpoint: kept, Delivery: id.New(), Event: id.New(), Subject: "x"}})
		})
	}()
	l.waits(deletion, `select exists (select from pg_locks where not granted and pid in (select pid from pg_stat_activity where datname = current_database()))`)
	if err := deletion.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-added; err != nil {
		t.Fatal(err)
	}
	if n := l.number(`select count(*) from webhook_queue where endpoint_id = $1`, e); n != 0 {
		t.Errorf("%d are queued for the endpoint that was deleted", n)
	}
	if n := l.number(`select count(*) from webhook_queue where endpoint_id = $1`, kept); n != 1 {
		t.Errorf("%d are queued for the other", n)
	}
}

// waits returns once the question, asked on a transaction that others wait for, is
// answered with true; it fails the test if that takes half a minute.
func (l *line) waits(q pgx.Tx, question string) {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for waits := false; !waits; <-tick.C {
		if err := q.QueryRow(ctx, question).Scan(&waits); err != nil {
			l.Fatalf("nobody waits: %v", err)
		}
	}
}
