package audit

import (
	"context"
	"fmt"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/operation"
	"github.com/guildhall-dev/guildhall/tenant"
)

// checkLog has no arguments: its organisation is all it needs.
var checkLog = operation.Define[struct{}]("audit_log.check")

// started is the operation as the log shows it.
type started struct{ operation.Operation }

// EventSubject implements event.Subjected.
func (s started) EventSubject() event.Subject { return event.Subject{ID: s.ID} }

type startCheck struct{}

func (f *Feature) startCheck(ctx context.Context, tx *tenant.Tx, _ *startCheck) (operation.Operation, error) {
	o, err := checkLog.Start(ctx, f.queue, tx, struct{}{})
	if err != nil {
		return o, err
	}
	return o, checkStarted.Emit(ctx, tx, started{o})
}

// findings are what a check has seen so far, and its checkpoint.
type findings struct {
	First   int64 `db:"first" json:"first"` // oldest number that is kept
	Last    int64 `db:"last" json:"last"`   // last number given when the check began
	Checked int64 `db:"-" json:"checked"`   // last number checked
	Missing int64 `db:"-" json:"missing"`
	Doubled int64 `db:"-" json:"doubled"`
	Broken  int64 `db:"-" json:"broken"`
}

func (f findings) total() int64 { return f.Last - f.First + 1 }

// message is the outcome in words.
func (f findings) message() string {
	switch bad := f.Missing + f.Doubled + f.Broken; {
	case f.total() == 0:
		return "The log holds no public events yet."
	case bad == 0:
		return fmt.Sprintf("%d events, numbers %d to %d: no gap, no double, every event whole.", f.total(), f.First, f.Last)
	}
	return fmt.Sprintf("Numbers %d to %d: %d missing, %d given twice, %d events not whole. Keep a copy of the database and ask for support.",
		f.First, f.Last, f.Missing, f.Doubled, f.Broken)
}

// checkStep is how many numbers one statement checks.
const checkStep = 5000

func check(ctx context.Context, p *operation.Progress, _ struct{}) (operation.Result, error) {
	var f findings
	v, org := p.DB.View(p.Scope), p.Scope.Organization
	resumed, err := p.Resume(&f)
	if err == nil && !resumed {
		if f, err = tenant.One[findings](ctx, v, selectNumbers, org); err == nil {
			f.Checked = f.First - 1
		}
	}
	if err != nil {
		return operation.Result{}, err
	}
	type step struct {
		Events  int64 `db:"events"`
		Numbers int64 `db:"numbers"`
		Broken  int64 `db:"broken"`
	}
	for f.Checked < f.Last {
		end := min(f.Checked+checkStep, f.Last)
		s, err := tenant.One[step](ctx, v, checkNumbers, org, f.Checked, end)
		if err != nil {
			return operation.Result{}, err
		}
		f.Missing += end - f.Checked - s.Numbers
		f.Doubled += s.Events - s.Numbers
		f.Broken += s.Broken
		f.Checked = end
		if err := p.Set(ctx, f.Checked-f.First+1, f.total(), f); err != nil {
			return operation.Result{}, err
		}
	}
	return operation.Result{Message: f.message()}, nil
}
