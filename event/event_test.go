package event_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/tenant/tenanttest"
)

type thing struct {
	ID      id.ID  `json:"id"`
	Name    string `json:"name"`
	Version int    `json:"version"`
}

func (t thing) EventSubject() event.Subject { return event.Subject{ID: t.ID} }

var (
	made    = event.Define[thing]("thing.made", "A thing was made.")
	changed = event.Define[thing]("thing.changed", "A thing was changed.")
	secret  = event.DefineInternal[thing]("thing.looked_at", "Somebody looked.")
)

type bench struct {
	app, work *tenant.DB
	relay     *event.Relay
	workers   *jobs.Workers
	super     *pgxpool.Pool
	mu        sync.Mutex
	heard     []event.Event
	fail      func([]event.Event) error
}

func newBench(t *testing.T) *bench {
	t.Helper()
	d := tenanttest.New(t)
	b := &bench{app: d.Open(t), work: d.OpenWorker(t)}
	super, err := pgxpool.New(t.Context(), d.SuperURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(super.Close)
	b.super = super
	log := slog.New(slog.DiscardHandler)
	listeners := []event.Listener{{Name: "test.all", Types: []string{"*"}, Hear: func(_ context.Context, _ *tenant.Tx, evs []event.Event) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.fail != nil {
			if err := b.fail(evs); err != nil {
				return err
			}
		}
		b.heard = append(b.heard, evs...)
		return nil
	}}}
	if b.workers, err = jobs.NewWorkers(b.work, []jobs.Definition{event.ListenJob(listeners)}, 5, log); err != nil {
		t.Fatal(err)
	}
	b.relay = event.NewRelay(b.work, b.workers.Queue, listeners, log)
	return b
}

func (b *bench) organization(t *testing.T) tenant.Scope {
	t.Helper()
	s := tenant.ForSystem(id.New())
	err := b.app.Write(context.Background(), s, func(tx *tenant.Tx) error {
		_, err := tenant.Exec(context.Background(), tx, `insert into organizations (tenant_id, slug, name) values ($1, $2, 'O')`, s.Organization, "o-"+s.Organization.String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (b *bench) settle(t *testing.T) {
	t.Helper()
	for {
		n, err := b.relay.Once(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		ran, err := b.workers.RunDue(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if n+ran == 0 {
			return
		}
	}
}

type numbered struct {
	Sequence *int64 `db:"sequence"`
	Type     string `db:"type"`
	Previous []byte `db:"previous"`
}

func (b *bench) log(t *testing.T, s tenant.Scope) []numbered {
	t.Helper()
	rows, err := tenant.List[numbered](context.Background(), b.app.View(s), `select sequence, type, previous from event_log order by sequence nulls last, id`)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestEmitIsPartOfTheTransaction(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s, ctx := b.organization(t), context.Background()
	x := thing{ID: id.New(), Name: "x", Version: 1}
	boom := fmt.Errorf("boom")
	if err := b.app.Write(ctx, s, func(tx *tenant.Tx) error {
		if err := made.Emit(ctx, tx, x); err != nil {
			return err
		}
		return boom
	}); err != boom { //nolint:errorlint // the very error must come back
		t.Fatal(err)
	}
	if err := b.app.Write(ctx, s, func(tx *tenant.Tx) error {
		y := x
		y.Name, y.Version = "y", 2
		if err := secret.Emit(ctx, tx, x); err != nil {
			return err
		}
		if err := changed.EmitChange(ctx, tx, x, x); err != nil { // nothing changed: nothing happened
			return err
		}
		return changed.EmitChange(ctx, tx, x, y)
	}); err != nil {
		t.Fatal(err)
	}
	b.settle(t)
	log := b.log(t, s)
	if len(log) != 2 || log[0].Type != "thing.changed" || *log[0].Sequence != 1 || string(log[0].Previous) != `{"name": "x"}` || log[1].Sequence != nil {
		t.Fatalf("the log holds %+v", log)
	}
	if len(b.heard) != 1 || b.heard[0].Type != "thing.changed" || *b.heard[0].Sequence != 1 {
		t.Fatalf("the listener heard %+v", b.heard)
	}
}

// Writers in several organisations commit at once while two relays run: each
// organisation's public events are numbered 1..n, and the listener hears each
// once, in the order of the numbers.
func TestSequenceHasNoGapUnderConcurrency(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := context.Background()
	const writers, each = 8, 25
	orgs := []tenant.Scope{b.organization(t), b.organization(t), b.organization(t)}
	var g errgroup.Group
	for w := range writers {
		g.Go(func() error {
			for i := range each {
				s := orgs[(w+i)%len(orgs)]
				if err := b.app.Write(ctx, s, func(tx *tenant.Tx) error {
					if i%5 == 0 {
						if err := secret.Emit(ctx, tx, thing{ID: id.New()}); err != nil {
							return err
						}
					}
					return made.Emit(ctx, tx, thing{ID: id.New(), Version: i})
				}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	done := make(chan struct{})
	var relays errgroup.Group
	for range 2 {
		relays.Go(func() error {
			for {
				if _, err := b.relay.Once(ctx); err != nil {
					return err
				}
				select {
				case <-done:
					return nil
				default:
				}
			}
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	close(done)
	if err := relays.Wait(); err != nil {
		t.Fatal(err)
	}
	b.settle(t)
	total := 0
	for _, s := range orgs {
		var want int64
		for _, row := range b.log(t, s) {
			if row.Sequence == nil {
				continue
			}
			if want++; *row.Sequence != want {
				t.Fatalf("sequence %d where %d was due", *row.Sequence, want)
			}
		}
		total += int(want)
		var last int64
		for _, e := range b.heard {
			if e.OrganizationID == s.Organization {
				if *e.Sequence != last+1 {
					t.Fatalf("heard %d after %d", *e.Sequence, last)
				}
				last = *e.Sequence
			}
		}
		if last != want {
			t.Fatalf("heard %d of %d", last, want)
		}
	}
	if total != writers*each {
		t.Fatalf("%d events, want %d", total, writers*each)
	}
}

func TestFailingListenerKeepsItsPlace(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s, ctx := b.organization(t), context.Background()
	emit := func(name string) {
		if err := b.app.Write(ctx, s, func(tx *tenant.Tx) error { return made.Emit(ctx, tx, thing{ID: id.New(), Name: name}) }); err != nil {
			t.Fatal(err)
		}
		if _, err := b.relay.Once(ctx); err != nil {
			t.Fatal(err)
		}
	}
	b.fail = func([]event.Event) error { return fmt.Errorf("not now") }
	emit("first")
	if _, err := b.workers.RunDue(ctx); err == nil {
		t.Fatal("the failure was swallowed")
	}
	b.fail = nil
	emit("second") // its job finds the first batch still there
	b.settle(t)
	var seqs []int64
	for _, e := range b.heard {
		seqs = append(seqs, *e.Sequence)
	}
	if !slices.Equal(seqs, []int64{1, 2}) {
		t.Fatalf("heard %v", seqs)
	}
}

// Each overdue listener is nudged at growing intervals, only by who knows it,
// and none hides the others.
func TestOverdueListenersAreNudgedNowAndThen(t *testing.T) {
	t.Parallel()
	b, ctx := newBench(t), context.Background()
	overdue := func(most int, known ...string) (n int) {
		t.Helper()
		err := b.work.GlobalWrite(ctx, func(tx *tenant.GlobalTx) error {
			all, err := tenant.Values[string](ctx, tx, `select listener from overdue_listeners($1, $2)`, most, known)
			n = len(all)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	const organizations = 7
	for range organizations {
		if err := b.app.Write(ctx, b.organization(t), func(tx *tenant.Tx) error { return made.Emit(ctx, tx, thing{ID: id.New()}) }); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.relay.Once(ctx); err != nil {
		t.Fatal(err)
	}
	if n := overdue(100, "test.all"); n != 0 {
		t.Errorf("%d are overdue at once", n)
	}
	b.age(t, 10)
	if n := overdue(100, "test.other"); n != 0 {
		t.Errorf("%d of another binary's are nudged", n)
	}
	if first, second, third := overdue(5, "test.all"), overdue(5, "test.all"), overdue(5, "test.all"); first != 5 || second != 2 || third != 0 {
		t.Errorf("%d, %d and %d are nudged, five at a time, want 5, 2 and 0", first, second, third)
	}
	nudges, day := 0, 24*60*60
	for second := 0; second < day; second += 60 {
		b.age(t, 60)
		nudges += overdue(100, "test.all")
	}
	if least, most := organizations*day/400, organizations*(day/300+10); nudges < least || nudges > most {
		t.Errorf("%d nudges of %d listeners on a day, want %d to %d", nudges, organizations, least, most)
	}
}

// age makes what waits older by some seconds.
func (b *bench) age(t *testing.T, seconds int) {
	t.Helper()
	if _, err := b.super.Exec(context.Background(), `update guildhall.event_batches set created_at = created_at - make_interval(secs => $1),
		nudged_at = nudged_at - make_interval(secs => $1)`, seconds); err != nil {
		t.Fatal(err)
	}
}

// A job that fails, or whose listener is not here, ends: the nudge sends others.
func TestListenJobsDoNotPileUp(t *testing.T) {
	t.Parallel()
	b, ctx := newBench(t), context.Background()
	b.fail = func([]event.Event) error { return fmt.Errorf("boom") }
	other := []event.Listener{{Name: "test.elsewhere", Types: []string{"*"}}, {Name: "test.all", Types: []string{"*"}}}
	relay := event.NewRelay(b.work, b.workers.Queue, other, slog.New(slog.DiscardHandler))
	if err := b.app.Write(ctx, b.organization(t), func(tx *tenant.Tx) error { return made.Emit(ctx, tx, thing{ID: id.New()}) }); err != nil {
		t.Fatal(err)
	}
	if _, err := relay.Once(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.workers.Start(ctx); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(30 * time.Second); ; {
		var tried, ended int
		if err := b.super.QueryRow(ctx, `select count(*) filter (where attempt > 0), count(*) filter (where state = 'cancelled')
			from river.river_job where kind = 'event.listen'`).Scan(&tried, &ended); err != nil {
			t.Fatal(err)
		}
		if ended == 2 {
			break
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("of %d jobs that were tried, %d ended", tried, ended)
		}
	}
	if err := b.workers.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	var batches int
	if err := b.super.QueryRow(ctx, `select count(*) from guildhall.event_batches`).Scan(&batches); err != nil || batches != 2 {
		t.Errorf("%d batches wait, want both: %v", batches, err)
	}
}

// A process that is at work hears without jobs, and sends jobs only for those
// that it has no room for.
func TestRelayAtWorkNeedsNoJobs(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := context.Background()
	begun, goOn := make(chan struct{}, 100), make(chan struct{})
	release := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(release)
	hear := func(context.Context, *tenant.Tx, []event.Event) error {
		begun <- struct{}{}
		<-goOn
		return nil
	}
	listeners := []event.Listener{{Name: "test.all", Types: []string{"*"}, Hear: hear}}
	workers, err := jobs.NewWorkers(b.work, []jobs.Definition{event.ListenJob(listeners)}, 5, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	relay := event.NewRelay(b.work, workers.Queue, listeners, slog.New(slog.DiscardHandler))
	if err := workers.Start(ctx); err != nil {
		t.Fatal(err)
	}
	emitted := func(organizations int) (jobs int64) {
		for range organizations {
			if err := b.app.Write(ctx, b.organization(t), func(tx *tenant.Tx) error { return made.Emit(ctx, tx, thing{ID: id.New()}) }); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := relay.Once(ctx); err != nil {
			t.Fatal(err)
		}
		jobs, err := tenant.Value[int64](ctx, b.work.Global(), `select count(*) from river.river_job where kind = 'event.listen'`)
		if err != nil {
			t.Fatal(err)
		}
		return jobs
	}
	if n := emitted(4); n != 0 {
		t.Errorf("%d jobs for 4 listeners", n)
	}
	for range 4 {
		<-begun
	}
	if n := emitted(2); n != 2 {
		t.Errorf("%d jobs for 2 listeners that find no room", n)
	}
	for range 2 {
		<-begun // by River
	}
	release()
	if err := workers.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if n := emitted(1); n != 3 {
		t.Errorf("%d jobs, want one more of a process that has stopped", n)
	}
	if n, err := tenant.Value[int64](ctx, b.work.Global(), `select count(*) from overdue_listeners(100, '{test.all}')`); err != nil || n != 0 {
		t.Errorf("%d listeners are overdue: %v", n, err)
	}
}
