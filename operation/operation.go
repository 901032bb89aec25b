// Package operation is long work as a resource: a caller gets an operation
// back, watches its progress and may cancel it, while a job does the work.
//
//	queued ──> running ──> done | failed
//	   └──────────┴──────> cancelled
//
// Every change of state is one conditional update, so a cancellation and an
// end that come at the same time have one winner. The work runs in slices well
// below the time limit of a job and stores where it stands with each report of
// progress: what a killed process left behind is taken up there.
package operation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Operation is long work as its caller sees it.
type Operation struct {
	ID         id.ID      `db:"id" json:"id" ref:"operation"`
	Kind       string     `db:"kind" json:"kind" maxLength:"100" pattern:"^[a-z_]+(\\.[a-z_]+)*$" example:"audit_log.check" doc:"What is being done."`
	Status     string     `db:"status" json:"status" enum:"queued,running,done,failed,cancelled" doc:"The last three are final."`
	Done       int64      `db:"done" json:"done" minimum:"0" maximum:"9007199254740991" doc:"How many items are through."`
	Total      *int64     `db:"total" json:"total" nullable:"true" minimum:"0" maximum:"9007199254740991" doc:"How many items there are; null while that is not known."`
	ResultURL  *string    `db:"result_url" json:"result_url,omitempty" format:"uri-reference" maxLength:"2048" example:"/v1/files/0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07" doc:"Where the result is to be had, if it is more than the message."`
	ErrorsURL  *string    `db:"errors_url" json:"errors_url,omitempty" format:"uri-reference" maxLength:"2048" example:"/v1/files/0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07" doc:"Where the items that failed are listed."`
	Message    *string    `db:"message" json:"message,omitempty" maxLength:"2000" example:"1204 events, numbers 1 to 1204, no gap." doc:"The outcome in words."`
	CreatedAt  time.Time  `db:"created_at" json:"created_at"`
	FinishedAt *time.Time `db:"finished_at" json:"finished_at" nullable:"true" doc:"When it reached a final status."`
}

// Location is where the operation is watched.
func (o Operation) Location() string { return "/v1/operations/" + o.ID.String() }

const cols = `id, kind, status, done, total, result_url, errors_url, message, created_at, finished_at`

const (
	insertOperation = `insert into operations (tenant_id, id, kind, created_by_kind, created_by_id) values ($1, $2, $3, $4, $5) returning ` + cols

	// $3 also finds the operations of others
	selectOperation = `select ` + cols + ` from operations
		where tenant_id = $1 and id = $2 and ($3 or (created_by_kind = $4 and created_by_id = $5))`

	cancelOperation = `update operations set status = 'cancelled', finished_at = now()
		where tenant_id = $1 and id = $2 and ($3 or (created_by_kind = $4 and created_by_id = $5)) and status in ('queued', 'running')
		returning ` + cols

	purgeOperations = `select purge_operations($1, $2)`
)

// Kind is a kind of operation with arguments of type A.
type Kind[A any] struct {
	name string
	job  jobs.Kind[task[A]]
}

type task[A any] struct {
	Operation id.ID `json:"operation_id"`
	Args      A     `json:"args"`
}

// Define names a kind: "audit_log.check". The name is stable, since operations
// of an older binary carry it.
func Define[A any](name string) Kind[A] {
	return Kind[A]{name: name, job: jobs.Define[task[A]]("operation." + name)}
}

// Start makes the operation and its job in the transaction. Args hold ids and
// plain values, no secrets.
func (k Kind[A]) Start(ctx context.Context, q *jobs.Queue, tx *tenant.Tx, args A) (Operation, error) {
	s := tx.Scope()
	var by *id.ID
	if !s.Actor.ID.IsZero() {
		by = &s.Actor.ID
	}
	o, err := tenant.One[Operation](ctx, tx, insertOperation, s.Organization, id.New(), k.name, string(s.Actor.Kind), by)
	if err != nil {
		return o, fmt.Errorf("operation.Start(%s): %w", k.name, err)
	}
	return o, k.job.Enqueue(ctx, q, tx, task[A]{o.ID, args})
}

// Get returns an operation that the actor started, or with everyones any of
// the organisation; else tenant.ErrNoRows.
func Get(ctx context.Context, q tenant.Querier, s tenant.Scope, operation id.ID, everyones bool) (Operation, error) {
	return tenant.One[Operation](ctx, q, selectOperation, s.Organization, operation, everyones, string(s.Actor.Kind), s.Actor.ID)
}

// Cancel ends an operation that Get would return, unless it is final already:
// then tenant.ErrNoRows. The work stops at its next report of progress; what it
// did until then stays.
func Cancel(ctx context.Context, tx *tenant.Tx, operation id.ID, everyones bool) (Operation, error) {
	s := tx.Scope()
	return tenant.One[Operation](ctx, tx, cancelOperation, s.Organization, operation, everyones, string(s.Actor.Kind), s.Actor.ID)
}

// keepDays is how long a finished operation can be read.
const keepDays = 30

// Purge is the job of the instance that forgets operations 30 days after they
// ended.
func Purge() jobs.Definition {
	return jobs.Clock("operation.purge", 24*time.Hour, func(ctx context.Context, db *tenant.DB) error {
		const batch = 10_000
		for ctx.Err() == nil {
			n, err := tenant.Value[int64](ctx, db.Global(), purgeOperations, keepDays, batch)
			if err != nil {
				return fmt.Errorf("operation.Purge: %w", err)
			}
			if n < batch {
				return nil
			}
		}
		return ctx.Err()
	})
}

// IsFinal reports whether nothing more will happen to the operation.
func (o Operation) IsFinal() bool { return o.FinishedAt != nil }

var (
	errCancelled = errors.New("operation: cancelled")
	errSlice     = errors.New("operation: this slice is over")
)
