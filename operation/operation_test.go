package operation_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/operation"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/tenant/tenanttest"
)

type args struct {
	Items int64 `json:"items"`
}

var count = operation.Define[args]("test.count")

// bundle is one test's database, its queue and an actor in an organisation.
type bundle struct {
	t     *testing.T
	db    *tenant.DB
	work  *tenant.DB
	queue *jobs.Queue
	scope tenant.Scope
}

func newBundle(t *testing.T) *bundle {
	t.Helper()
	d := tenanttest.New(t)
	b := &bundle{t: t, db: d.Open(t), work: d.OpenWorker(t)}
	q, err := jobs.NewQueue(b.db, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	b.queue = q
	b.scope = tenant.ForSystem(id.New())
	b.scope.Actor = tenant.Actor{Kind: tenant.User, ID: id.New()}
	return b
}

func (b *bundle) start(items int64) (o operation.Operation) {
	b.t.Helper()
	err := b.db.Write(b.t.Context(), b.scope, func(tx *tenant.Tx) (err error) {
		o, err = count.Start(b.t.Context(), b.queue, tx, args{items})
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return o
}

// workers runs the definition until the returned function stops it, letting
// running work go on for as long as its context lasts.
func (b *bundle) workers(fn func(context.Context, *operation.Progress, args) (operation.Result, error)) (stop func(context.Context)) {
	b.t.Helper()
	w, err := jobs.NewWorkers(b.work, []jobs.Definition{operation.Work(count, fn)}, 4, slog.New(slog.DiscardHandler))
	if err != nil {
		b.t.Fatal(err)
	}
	if err := w.Start(context.Background()); err != nil {
		b.t.Fatal(err)
	}
	var stopped atomic.Bool
	stop = func(ctx context.Context) {
		if !stopped.Swap(true) {
			_ = w.Stop(ctx)
		}
	}
	b.t.Cleanup(func() { stop(context.Background()) })
	return stop
}

func (b *bundle) get(o operation.Operation) operation.Operation {
	b.t.Helper()
	got, err := operation.Get(context.Background(), b.db.View(b.scope), b.scope, o.ID, false)
	if err != nil {
		b.t.Fatal(err)
	}
	return got
}

// until waits for the operation to satisfy the condition.
func (b *bundle) until(o operation.Operation, ok func(operation.Operation) bool) operation.Operation {
	b.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(30 * time.Second)
	for {
		got := b.get(o)
		if ok(got) {
			return got
		}
		select {
		case <-tick.C:
		case <-limit:
			b.t.Fatalf("the operation stays at %+v", got)
		}
	}
}

func final(o operation.Operation) bool { return o.IsFinal() }

// counting counts to the number of items, one report per item.
func counting(ctx context.Context, p *operation.Progress, a args) (operation.Result, error) {
	var at int64
	if _, err := p.Resume(&at); err != nil {
		return operation.Result{}, err
	}
	for at < a.Items {
		at++
		if err := p.Set(ctx, at, a.Items, at); err != nil {
			return operation.Result{}, err
		}
	}
	return operation.Result{Message: "counted"}, nil
}

func TestOperationRunsToItsEnd(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	o := b.start(5)
	if o.Status != "queued" || o.FinishedAt != nil {
		t.Fatalf("a new operation is %+v", o)
	}
	b.workers(counting)
	got := b.until(o, final)
	if got.Status != "done" || got.Done != 5 || *got.Total != 5 || *got.Message != "counted" || got.ResultURL != nil {
		t.Fatalf("finished as %+v", got)
	}
}

func TestOperationFailsWithTheFault(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	o := b.start(1)
	b.workers(func(context.Context, *operation.Progress, args) (operation.Result, error) {
		return operation.Result{}, fault.Invalidf("/x", "no such thing")
	})
	if got := b.until(o, final); got.Status != "failed" || *got.Message != "The input is not valid: no such thing." {
		t.Fatalf("finished as %+v", got)
	}
}

// A worker that dies in the middle leaves a running operation; the next one
// goes on from the last report instead of beginning again.
func TestStoppedWorkGoesOnFromItsCheckpoint(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	o := b.start(10)
	stop := b.workers(func(ctx context.Context, p *operation.Progress, a args) (operation.Result, error) {
		if err := p.Set(ctx, 4, a.Items, int64(4)); err != nil {
			return operation.Result{}, err
		}
		<-ctx.Done()
		return operation.Result{}, ctx.Err()
	})
	b.until(o, func(o operation.Operation) bool { return o.Done == 4 })
	dead, cancel := context.WithCancel(context.Background())
	cancel()
	stop(dead)
	if got := b.get(o); got.Status != "running" {
		t.Fatalf("after its worker stopped the operation is %+v", got)
	}
	var from atomic.Int64
	b.workers(func(ctx context.Context, p *operation.Progress, a args) (operation.Result, error) {
		var at int64
		if _, err := p.Resume(&at); err != nil {
			return operation.Result{}, err
		}
		from.Store(at)
		return counting(ctx, p, a)
	})
	if got := b.until(o, final); got.Status != "done" || got.Done != 10 || from.Load() != 4 {
		t.Fatalf("finished as %+v after going on from %d", got, from.Load())
	}
}

// Work that runs into its slice's end gives its job back and is called again.
func TestLongWorkGoesSliceBySlice(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	o := b.start(6)
	var calls atomic.Int64
	b.workers(func(ctx context.Context, p *operation.Progress, a args) (operation.Result, error) {
		calls.Add(1)
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		return counting(short, p, a)
	})
	if got := b.until(o, final); got.Status != "done" || calls.Load() < 6 {
		t.Fatalf("finished as %+v in %d slices, not in one for each report", got, calls.Load())
	}
}

func TestCancelledWorkStops(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	o := b.start(1)
	stopped := make(chan error, 1)
	b.workers(func(ctx context.Context, p *operation.Progress, _ args) (operation.Result, error) {
		for n := int64(1); ; n++ {
			if err := p.Set(ctx, n, -1, n); err != nil {
				stopped <- err
				return operation.Result{}, err
			}
		}
	})
	b.until(o, func(o operation.Operation) bool { return o.Done > 0 })
	cancel := func(ctx context.Context) (got operation.Operation, err error) {
		err = b.db.Write(ctx, b.scope, func(tx *tenant.Tx) error {
			got, err = operation.Cancel(ctx, tx, o.ID, false)
			return err
		})
		return got, err
	}
	if got, err := cancel(t.Context()); err != nil || got.Status != "cancelled" {
		t.Fatalf("cancelled: %+v, %v", got, err)
	}
	<-stopped
	if _, err := cancel(t.Context()); !errors.Is(err, tenant.ErrNoRows) {
		t.Fatalf("a second cancellation: %v", err)
	}
	if got := b.get(o); got.Status != "cancelled" || got.FinishedAt == nil {
		t.Fatalf("in the end it is %+v", got)
	}
}

// Cancellations that race with each other and with the end have one winner.
func TestOneEndWins(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	o := b.start(3)
	b.workers(counting)
	var won atomic.Int64
	g, ctx := errgroup.WithContext(t.Context())
	for range 20 {
		g.Go(func() error {
			err := b.db.Write(ctx, b.scope, func(tx *tenant.Tx) error {
				_, err := operation.Cancel(ctx, tx, o.ID, false)
				return err
			})
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, tenant.ErrNoRows) {
				return err
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	got := b.until(o, final)
	if n := won.Load(); (got.Status == "cancelled") != (n == 1) || n > 1 {
		t.Fatalf("%d cancellations won, the operation is %s", n, got.Status)
	}
}

func TestOthersOperationsAreNotFound(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	o := b.start(1)
	other := b.scope
	other.Actor.ID = id.New()
	if _, err := operation.Get(t.Context(), b.db.View(other), other, o.ID, false); !errors.Is(err, tenant.ErrNoRows) {
		t.Fatalf("another actor got %v", err)
	}
	if _, err := operation.Get(t.Context(), b.db.View(other), other, o.ID, true); err != nil {
		t.Fatalf("one who sees everyone's got %v", err)
	}
	foreign := tenant.ForSystem(id.New())
	if _, err := operation.Get(t.Context(), b.db.View(foreign), foreign, o.ID, true); !errors.Is(err, tenant.ErrNoRows) {
		t.Fatalf("another organisation got %v", err)
	}
}
