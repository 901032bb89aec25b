package operation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	beginOperation = `update operations set status = 'running', attempts = attempts + 1
		where tenant_id = $1 and id = $2 and status in ('queued', 'running') returning attempts, checkpoint`

	reportOperation = `update operations set done = $3, total = $4, checkpoint = $5, attempts = 0
		where tenant_id = $1 and id = $2 and status = 'running'`

	finishOperation = `update operations set status = $3, result_url = $4, errors_url = $5, message = $6, checkpoint = null, finished_at = now()
		where tenant_id = $1 and id = $2 and status = 'running'`
)

const (
	// reserve is how much of a job's time is left when a slice ends.
	reserve = 20 * time.Second
	// maxAttempts is how often work may stop without having reported progress.
	maxAttempts = 6
)

// Result is what came of an operation; every part is optional.
type Result struct {
	ResultURL string
	ErrorsURL string
	Message   string
}

// Progress is what the work holds while it runs: the door to the data of its
// organisation, and where it stands.
type Progress struct {
	DB    *tenant.DB
	Scope tenant.Scope // of the system, in the operation's organisation

	operation  id.ID
	checkpoint []byte
}

// Work attaches what an operation of the kind does. The work goes in steps and
// calls Set after each; the step after the last Set may run again. A fault ends
// the operation as failed with the fault's message; any other error is a defect
// or a passing trouble, and the work is tried again from its last checkpoint.
func Work[A any](k Kind[A], fn func(ctx context.Context, p *Progress, args A) (Result, error)) jobs.Definition {
	return jobs.Work(k.job, func(ctx context.Context, db *tenant.DB, s tenant.Scope, t task[A]) error {
		p, err := begin(ctx, db, s, t.Operation)
		if p == nil || err != nil {
			return err
		}
		result, err := fn(ctx, p, t.Args)
		if err := p.end(ctx, result, err); err != nil {
			return fmt.Errorf("operation %s %s: %w", k.name, t.Operation, err)
		}
		return nil
	})
}

// begin returns nil if there is nothing to do: cancelled, finished or given up.
func begin(ctx context.Context, db *tenant.DB, s tenant.Scope, operation id.ID) (*Progress, error) {
	type state struct {
		Attempts   int    `db:"attempts"`
		Checkpoint []byte `db:"checkpoint"`
	}
	p := &Progress{DB: db, Scope: s, operation: operation}
	var st state
	err := db.Write(ctx, s, func(tx *tenant.Tx) (err error) {
		st, err = tenant.One[state](ctx, tx, beginOperation, s.Organization, operation)
		return err
	})
	switch {
	case errors.Is(err, tenant.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("operation.begin(%s): %w", operation, err)
	case st.Attempts > maxAttempts:
		return nil, p.finish(ctx, "failed", Result{Message: fmt.Sprintf("Given up after %d attempts without progress.", maxAttempts)})
	}
	p.checkpoint = st.Checkpoint
	return p, nil
}

// Resume reads the point of the last Set into point and reports whether there
// was one.
func (p *Progress) Resume(point any) (bool, error) {
	if p.checkpoint == nil {
		return false, nil
	}
	if err := json.Unmarshal(p.checkpoint, point); err != nil {
		return false, fmt.Errorf("operation.Resume(%s): %w", p.operation, err)
	}
	return true, nil
}

// Set reports progress and stores the point from which to go on, in a small
// transaction of its own. An error must be returned as it is: the operation was
// cancelled, or it goes on in another slice. A negative total is not known yet.
func (p *Progress) Set(ctx context.Context, done, total int64, point any) error {
	raw, err := json.Marshal(point)
	if err != nil {
		return fmt.Errorf("operation.Set(%s): %w", p.operation, err)
	}
	var known *int64
	if total >= 0 {
		known = &total
	}
	n, err := p.exec(ctx, reportOperation, done, known, raw)
	switch deadline, limited := ctx.Deadline(); {
	case err != nil:
		return fmt.Errorf("operation.Set(%s): %w", p.operation, err)
	case n == 0:
		return errCancelled
	case limited && time.Until(deadline) < reserve:
		return errSlice
	}
	return nil
}

func (p *Progress) end(ctx context.Context, r Result, err error) error {
	f := fault.As(err)
	switch {
	case err == nil:
		return p.finish(ctx, "done", r)
	case errors.Is(err, errCancelled):
		return nil
	case errors.Is(err, errSlice):
		return jobs.Again()
	case f != nil && f.Kind != fault.Internal && f.Kind != fault.Unavailable:
		r.Message = f.Message
		return p.finish(ctx, "failed", r)
	}
	return err
}

// finish changes nothing if the operation was cancelled meanwhile.
func (p *Progress) finish(ctx context.Context, status string, r Result) error {
	_, err := p.exec(ctx, finishOperation, status, orNull(r.ResultURL), orNull(r.ErrorsURL), orNull(r.Message))
	return err
}

func (p *Progress) exec(ctx context.Context, sql string, args ...any) (n int64, err error) {
	err = p.DB.Write(ctx, p.Scope, func(tx *tenant.Tx) error {
		n, err = tenant.Exec(ctx, tx, sql, append([]any{p.Scope.Organization, p.operation}, args...)...)
		return err
	})
	return n, err
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
