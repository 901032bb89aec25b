package event_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"

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
	mu        sync.Mutex
	heard     []event.Event
	fail      func([]event.Event) error
}

func newBench(t *testing.T) *bench {
	t.Helper()
	d := tenanttest.New(t)
	b := &bench{app: d.Open(t), work: d.OpenWorker(t)}
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
	var err error
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
	if n, err := tenant.Value[int64](ctx, b.work.Global(), `select count(*) from overdue_listeners(100)`); err != nil || n != 0 {
		t.Errorf("%d listeners are overdue: %v", n, err)
	}
}
