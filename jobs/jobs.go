// Package jobs is typed background work on River. A job is enqueued in the
// transaction of the change that needs it, so it exists if and only if the
// change does. It carries its organisation and runs in its scope; it takes ids,
// never objects or secrets; it may run more than once and must not mind.
package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Definition is a kind of job with its work attached.
type Definition struct {
	Kind    string
	Queue   string        // "" = default
	Timeout time.Duration // 0 = 1 minute
	Every   time.Duration // > 0: also enqueued by the clock, for the instance
	Workers int           // how many of the queue's jobs run at once in a process; 0 = as many as in the default queue
	Here    int           // how many more of what Soon is asked for run at once in the process that asks
	// Apart has each time that Soon is asked for done by itself. Otherwise work that
	// is asked for while the same is under way is done once more after it, so it
	// waits for whatever that turned to.
	Apart bool
	tick  func(ctx context.Context, db *tenant.DB, q *Queue) (int, error)
	work  func(ctx context.Context, db *tenant.DB, organization id.ID, args []byte, job Info) error
}

// Info is what a job may know of its own run.
type Info struct {
	ID      int64 // 0 without a row in the queue
	Attempt int
}

func (i Info) name() string {
	if i.ID == 0 { // it came by Soon
		return "job-" + id.New().String()
	}
	return fmt.Sprintf("job-%d", i.ID)
}

// Kind is a kind of job that can be enqueued: args of type A.
type Kind[A any] struct {
	Name  string
	Queue string
}

// Define names a kind. The name is stable: jobs of an older binary carry it.
func Define[A any](name string) Kind[A] { return Kind[A]{Name: name} }

// Work attaches what a job of an organisation does. It gets the door, not a
// transaction: it may call out between two of them.
func Work[A any](k Kind[A], fn func(ctx context.Context, db *tenant.DB, s tenant.Scope, args A) error) Definition {
	return Definition{Kind: k.Name, Queue: k.Queue, work: func(ctx context.Context, db *tenant.DB, org id.ID, raw []byte, job Info) error {
		var a A
		if err := json.Unmarshal(raw, &a); err != nil {
			return river.JobCancel(fmt.Errorf("jobs: arguments of %s: %w", k.Name, err))
		}
		s := tenant.ForSystem(org)
		s.Operation, s.RequestID = k.Name, job.name()
		return fn(context.WithValue(ctx, attemptKey{}, job.Attempt), db, s, a)
	}}
}

type attemptKey struct{}

// Attempt is the number of the present run of a job: 1 for the first one.
func Attempt(ctx context.Context) int {
	n, _ := ctx.Value(attemptKey{}).(int)
	return max(n, 1)
}

// Clock is a job of the instance that runs every so often on one replica.
func Clock(kind string, every time.Duration, fn func(ctx context.Context, db *tenant.DB) error) Definition {
	return Definition{Kind: kind, Every: every, work: func(ctx context.Context, db *tenant.DB, _ id.ID, _ []byte, _ Info) error {
		return fn(ctx, db)
	}}
}

// Tick is upkeep that every worker process does by itself every so often, for
// what must go on within a second of a crash, while River still elects a new
// leader. Fn returns how much it found to do.
func Tick(name string, every time.Duration, fn func(ctx context.Context, db *tenant.DB, q *Queue) (int, error)) Definition {
	return Definition{Kind: name, Every: every, tick: fn}
}

// Cancel marks an error that no retry will mend.
func Cancel(err error) error { return river.JobCancel(err) }

// envelope is what River stores: one argument type for all kinds.
type envelope struct {
	kind         string
	Organization id.ID           `json:"organization_id"`
	Args         json.RawMessage `json:"args,omitempty"`
}

// Kind implements river.JobArgs.
func (e envelope) Kind() string { return e.kind }

// Enqueue adds a job to the transaction.
func (k Kind[A]) Enqueue(ctx context.Context, q *Queue, tx *tenant.Tx, args A) error {
	return k.EnqueueAt(ctx, q, tx, args, time.Time{})
}

// EnqueueAt adds a job that is not to run before the time.
func (k Kind[A]) EnqueueAt(ctx context.Context, q *Queue, tx *tenant.Tx, args A, at time.Time) error {
	return k.enqueue(ctx, q, tenant.Raw(tx), tx.Scope().Organization, args, at)
}

// EnqueueGlobal adds a job outside any organisation.
func (k Kind[A]) EnqueueGlobal(ctx context.Context, q *Queue, tx *tenant.GlobalTx, args A) error {
	return k.enqueue(ctx, q, tenant.Raw(tx), id.Nil, args, time.Time{})
}

// EnqueueFor adds one job to each organisation.
func (k Kind[A]) EnqueueFor(ctx context.Context, q *Queue, tx *tenant.GlobalTx, orgs []id.ID, args []A) error {
	return k.enqueueMany(ctx, q, tenant.Raw(tx), orgs, args)
}

func (k Kind[A]) enqueueMany(ctx context.Context, q *Queue, tx pgx.Tx, orgs []id.ID, args []A) error {
	params := make([]river.InsertManyParams, len(orgs))
	for i, org := range orgs {
		raw, err := json.Marshal(args[i])
		if err != nil {
			return fmt.Errorf("jobs: encode %s: %w", k.Name, err)
		}
		params[i] = river.InsertManyParams{Args: envelope{k.Name, org, raw}, InsertOpts: k.opts(time.Time{})}
	}
	if len(params) == 0 {
		return nil
	}
	if _, err := q.client.InsertManyFastTx(ctx, tx, params); err != nil {
		return fmt.Errorf("jobs: enqueue %d of %s: %w", len(params), k.Name, err)
	}
	return nil
}

func (k Kind[A]) opts(at time.Time) *river.InsertOpts {
	return &river.InsertOpts{Queue: k.Queue, ScheduledAt: at}
}

func (k Kind[A]) enqueue(ctx context.Context, q *Queue, tx pgx.Tx, org id.ID, args A, at time.Time) error {
	raw, err := json.Marshal(args)
	if err != nil {
		return fmt.Errorf("jobs: encode %s: %w", k.Name, err)
	}
	if _, err := q.client.InsertTx(ctx, tx, envelope{k.Name, org, raw}, k.opts(at)); err != nil {
		return fmt.Errorf("jobs: enqueue %s: %w", k.Name, err)
	}
	return nil
}

// Queue is River: insert-only in serve, with workers in work.
type Queue struct {
	client *river.Client[pgx.Tx]
	near   *Workers // of this process; nil where there are none
}

const schema = "river"

// jobTimeout is how long a job may run unless its definition says more.
const jobTimeout = time.Minute

// softStop is how long running jobs have to finish before they are cancelled.
const (
	softStop = 8 * time.Second
	hardStop = 2 * time.Second // and then to end
)

// NewQueue returns the insert-only side; db is the pool of serve.
func NewQueue(db *tenant.DB, log *slog.Logger) (*Queue, error) {
	c, err := river.NewClient(riverpgxv5.New(db.Pool()), &river.Config{Schema: schema, Logger: quiet(log)})
	if err != nil {
		return nil, fmt.Errorf("jobs.NewQueue: %w", err)
	}
	return &Queue{client: c}, nil
}

// Workers runs the definitions. It must be given the pool of work.
type Workers struct {
	*Queue
	db    *tenant.DB
	defs  map[string]Definition
	ticks []Definition
	log   *slog.Logger
	here  map[string]*rooms  // by kind
	still context.CancelFunc // ends the ticks
}

// NewWorkers prepares River with its limits: a job runs for a minute at most
// unless its definition says more, and one that a killed process left behind
// runs again after two.
func NewWorkers(db *tenant.DB, defs []Definition, concurrency int, log *slog.Logger) (*Workers, error) {
	workers := river.NewWorkers()
	var periodic []*river.PeriodicJob
	byKind := make(map[string]Definition, len(defs))
	queues := map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: concurrency}}
	var ticks []Definition
	here := map[string]*rooms{}
	for _, d := range defs {
		if d.tick != nil {
			ticks = append(ticks, d)
			continue
		}
		byKind[d.Kind] = d
		river.AddWorkerArgs(workers, envelope{kind: d.Kind}, &worker{def: d, db: db})
		if d.Here > 0 {
			here[d.Kind] = newRooms(d, db, log)
		}
		if d.Queue != "" {
			queues[d.Queue] = river.QueueConfig{MaxWorkers: cmp.Or(d.Workers, concurrency)}
		}
		if d.Every > 0 {
			periodic = append(periodic, river.NewPeriodicJob(river.PeriodicInterval(d.Every), func() (river.JobArgs, *river.InsertOpts) {
				return envelope{kind: d.Kind}, &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true, ByPeriod: max(d.Every/2, time.Second)}}
			}, &river.PeriodicJobOpts{RunOnStart: true}))
		}
	}
	c, err := river.NewClient(riverpgxv5.New(db.Pool()), &river.Config{
		Schema: schema, Logger: quiet(log), Queues: queues, Workers: workers, PeriodicJobs: periodic,
		JobTimeout: jobTimeout, RescueStuckJobsAfter: 2 * time.Minute,
		FetchPollInterval: 500 * time.Millisecond, FetchCooldown: 20 * time.Millisecond,
		ErrorHandler: &errorLog{log}, SoftStopTimeout: softStop,
	})
	if err != nil {
		return nil, fmt.Errorf("jobs.NewWorkers: %w", err)
	}
	w := &Workers{Queue: &Queue{client: c}, db: db, defs: byKind, ticks: ticks, here: here, log: log}
	w.Queue.near = w
	return w, nil
}

// Start begins to work; it returns at once.
func (w *Workers) Start(ctx context.Context) error {
	if err := w.client.Start(ctx); err != nil {
		return err
	}
	for _, r := range w.here {
		r.start(ctx)
	}
	ctx, w.still = context.WithCancel(ctx)
	for _, d := range w.ticks {
		go w.tick(ctx, d)
	}
	return nil
}

func (w *Workers) tick(ctx context.Context, d Definition) {
	every := time.NewTicker(d.Every)
	defer every.Stop()
	for {
		if _, err := d.tick(ctx, w.db, w.Queue); err != nil && ctx.Err() == nil {
			w.log.WarnContext(ctx, "upkeep failed and will be tried again", "kind", d.Kind, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
	}
}

// Stop lets running jobs finish until ctx ends, then cancels them; what was
// cancelled is taken up again later.
func (w *Workers) Stop(ctx context.Context) error {
	if w.still != nil {
		w.still()
	}
	var here sync.WaitGroup
	for _, r := range w.here {
		here.Go(r.stop)
	}
	defer here.Wait()
	if err := w.client.Stop(ctx); err == nil || !errors.Is(err, ctx.Err()) {
		return err
	}
	hard, cancel := context.WithTimeout(context.WithoutCancel(ctx), hardStop)
	defer cancel()
	return w.client.StopAndCancel(hard)
}

type worker struct {
	river.WorkerDefaults[envelope]
	def Definition
	db  *tenant.DB
}

// Work implements river.Worker.
func (w *worker) Work(ctx context.Context, job *river.Job[envelope]) error {
	return w.def.work(ctx, w.db, job.Args.Organization, job.Args.Args, Info{ID: job.ID, Attempt: job.Attempt})
}

// Timeout implements river.Worker.
func (w *worker) Timeout(*river.Job[envelope]) time.Duration { return w.def.Timeout }

type errorLog struct{ log *slog.Logger }

func (e *errorLog) HandleError(ctx context.Context, job *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	if ctx.Err() == nil {
		e.log.WarnContext(ctx, "job failed", "kind", job.Kind, "job_id", job.ID, "attempt", job.Attempt, "error", err)
	}
	return nil
}

func (e *errorLog) HandlePanic(ctx context.Context, job *rivertype.JobRow, v any, trace string) *river.ErrorHandlerResult {
	e.log.ErrorContext(ctx, "job panicked", "kind", job.Kind, "job_id", job.ID, "panic", v, "trace", trace)
	return nil
}

// quiet keeps River's own news to what an operator can act on.
func quiet(log *slog.Logger) *slog.Logger {
	return slog.New(warnOnly{log.Handler()})
}

type warnOnly struct{ slog.Handler }

func (h warnOnly) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && h.Handler.Enabled(ctx, l)
}
func (h warnOnly) WithAttrs(a []slog.Attr) slog.Handler { return warnOnly{h.Handler.WithAttrs(a)} }
func (h warnOnly) WithGroup(n string) slog.Handler      { return warnOnly{h.Handler.WithGroup(n)} }
