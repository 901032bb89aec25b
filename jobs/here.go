package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Soon has the work done right after commit by this process if it has room for
// it, and by a job otherwise; the first of some may go one way and the rest the
// other. A job takes tens of milliseconds to be fetched, and many round trips.
//
// Work that this process took is lost with the process, and is not tried again
// when it fails. So Soon is only for work that a tick finds again by itself.
func (k Kind[A]) Soon(ctx context.Context, q *Queue, tx *tenant.Tx, args []A) error {
	orgs := make([]id.ID, len(args))
	for i := range orgs {
		orgs[i] = tx.Scope().Organization
	}
	return k.soon(ctx, q, tenant.Raw(tx), tx.After, orgs, args)
}

// SoonFor is Soon for one organisation each; the relay uses it.
func (k Kind[A]) SoonFor(ctx context.Context, q *Queue, tx *tenant.GlobalTx, orgs []id.ID, args []A) error {
	return k.soon(ctx, q, tenant.Raw(tx), tx.After, orgs, args)
}

func (k Kind[A]) soon(ctx context.Context, q *Queue, tx pgx.Tx, after func(func()), orgs []id.ID, args []A) error {
	n := 0
	if q.near != nil && q.near.here[k.Name] != nil {
		r := q.near.here[k.Name]
		n = min(r.free(), len(args))
		for i := range n {
			raw, err := json.Marshal(args[i])
			if err != nil {
				return fmt.Errorf("jobs: encode %s: %w", k.Name, err)
			}
			after(func() { r.do(errand{organization: orgs[i], args: string(raw)}) })
		}
	}
	return k.enqueueMany(ctx, q, tx, orgs[n:], args[n:])
}

// Near lets the workers of the same process do what Soon is asked for with q.
func (q *Queue) Near(w *Workers) { q.near = w }

// errand is work of one kind, told from other by what it is about.
type errand struct {
	organization id.ID
	args         string
	turn         uint64 // 0 unless each is done by itself
}

// rooms is where a process does one kind of work without River.
type rooms struct {
	def Definition
	db  *tenant.DB
	log *slog.Logger

	mu      sync.Mutex
	ctx     context.Context // nil while closed
	cancel  context.CancelFunc
	busy    map[errand]bool // at work; true to do it once more, since it was asked for meanwhile
	waiting []errand        // there was room when they were asked for, and none after the commit
	turns   uint64
	done    sync.WaitGroup
}

func newRooms(d Definition, db *tenant.DB, log *slog.Logger) *rooms {
	return &rooms{def: d, db: db, log: log, busy: map[errand]bool{}}
}

func (r *rooms) start(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ctx, r.cancel = context.WithCancel(ctx)
}

// stop takes no more and lets what is at work finish, for as long as jobs may.
func (r *rooms) stop() {
	r.mu.Lock()
	cancel := r.cancel
	r.ctx, r.waiting = nil, nil
	r.mu.Unlock()
	if cancel == nil { // it was never started
		return
	}
	defer cancel()
	done := make(chan struct{})
	go func() { r.done.Wait(); close(done) }()
	select {
	case <-done:
		return
	case <-time.After(softStop):
	}
	cancel()
	select {
	case <-done:
	case <-time.After(hardStop):
	}
}

func (r *rooms) free() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx == nil {
		return 0
	}
	return max(0, r.def.Here-len(r.busy)-len(r.waiting))
}

func (r *rooms) do(e errand) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.def.Apart {
		r.turns++
		e.turn = r.turns
	}
	if _, busy := r.busy[e]; busy {
		r.busy[e] = true
		return
	}
	switch {
	case r.ctx == nil:
	case slices.Contains(r.waiting, e):
	case len(r.busy) == r.def.Here:
		r.waiting = append(r.waiting, e)
	default:
		r.begin(e)
	}
}

// begin is called under the lock.
func (r *rooms) begin(e errand) {
	r.busy[e] = false
	ctx := r.ctx
	r.done.Go(func() {
		for {
			again := r.run(ctx, e)
			r.mu.Lock()
			if (again || r.busy[e]) && r.ctx != nil {
				r.busy[e] = false
				r.mu.Unlock()
				continue
			}
			delete(r.busy, e)
			if len(r.waiting) > 0 {
				next := r.waiting[0]
				r.waiting = r.waiting[1:]
				r.begin(next)
			}
			r.mu.Unlock()
			return
		}
	})
}

// run does the work once and reports whether it asks to be done again.
func (r *rooms) run(ctx context.Context, e errand) (again bool) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(r.def.Timeout, jobTimeout))
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			r.log.ErrorContext(ctx, "job panicked", "kind", r.def.Kind, "panic", v, "trace", string(debug.Stack()))
		}
	}()
	err := r.def.work(ctx, r.db, e.organization, []byte(e.args), Info{Attempt: 1})
	var snooze *river.JobSnoozeError
	if errors.As(err, &snooze) {
		return true
	}
	if err != nil && ctx.Err() == nil {
		r.log.WarnContext(ctx, "job failed", "kind", r.def.Kind, "error", err)
	}
	return false
}
