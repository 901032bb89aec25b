package tasks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// BulkResults says for each task what became of it, in the order asked for.
type BulkResults struct {
	Results []BulkResult `json:"results" nullable:"false" maxItems:"500" doc:"One for each task id, in their order."`
}

// OfProjects implements api.OfProjects.
func (r BulkResults) OfProjects() []id.ID {
	seen := map[id.ID]bool{}
	for _, one := range r.Results {
		if !one.project.IsZero() {
			seen[one.project] = true
		}
	}
	return slices.Collect(maps.Keys(seen))
}

// BulkResult is what became of one task.
type BulkResult struct {
	ID     id.ID      `json:"id" doc:"The task."`
	Status int        `json:"status" minimum:"200" maximum:"599" example:"200" doc:"The HTTP status that the same change of this task alone would have."`
	Task   *Task      `json:"task,omitempty" doc:"The task after the change; on a dry run as it would be."`
	Error  *BulkError `json:"error,omitempty" doc:"Why it was not changed."`

	project id.ID // nil where the caller does not see the task
}

// BulkError is why one task was not changed.
type BulkError struct {
	Code   string        `json:"code" maxLength:"100" pattern:"^[a-z][a-z0-9_]*$" example:"not_found" doc:"Stable name for programs."`
	Detail string        `json:"detail" maxLength:"2000" example:"No such task." doc:"What went wrong and what to do next."`
	Errors []fault.Field `json:"errors,omitempty" maxItems:"100" doc:"One entry for each place that is wrong."`
}

// errDryRun undoes what was tried.
var errDryRun = errors.New("tasks: a dry run")

// bulk changes many tasks, each under a savepoint of its own: one that cannot
// be changed does not keep the others from it. The rows are locked in one order
// for all, so that two of these cannot wait for each other.
func (f *Feature) bulk(ctx context.Context, tx *tenant.Tx, in *bulkTasks) (BulkResults, error) {
	set := in.Body.Set
	if err := errors.Join(checkLabels("/set/labels_add", set.LabelsAdd), checkLabels("/set/labels_remove", set.LabelsRemove)); err != nil {
		return BulkResults{}, err
	}
	if err := checkOnce(in.Body.TaskIDs); err != nil {
		return BulkResults{}, err
	}
	sorted := slices.Clone(in.Body.TaskIDs)
	slices.SortFunc(sorted, func(a, b id.ID) int { return bytes.Compare(a[:], b[:]) })
	if _, err := tenant.Values[id.ID](ctx, tx, lockTasks, sorted); err != nil {
		return BulkResults{}, err
	}
	rows, err := heldMany(ctx, tx, sorted)
	if err != nil {
		return BulkResults{}, err
	}
	done := make(map[id.ID]BulkResult, len(sorted))
	for _, t := range sorted {
		one, err := f.bulkOne(ctx, tx, t, rows, in)
		if err != nil {
			return BulkResults{}, err
		}
		one.project = rows[t].ProjectID
		done[t] = one
	}
	out := BulkResults{Results: make([]BulkResult, len(in.Body.TaskIDs))}
	for i, t := range in.Body.TaskIDs {
		out.Results[i] = done[t]
	}
	return out, nil
}

// checkOnce refuses an id that stands twice, which the schema finds only if both
// are spelled alike.
func checkOnce(ids []id.ID) error {
	seen := make(map[id.ID]bool, len(ids))
	for i, t := range ids {
		if seen[t] {
			return fault.Invalidf(fmt.Sprintf("/task_ids/%d", i), "this task stands twice in the list")
		}
		seen[t] = true
	}
	return nil
}

func (f *Feature) bulkOne(ctx context.Context, tx *tenant.Tx, task id.ID, rows map[id.ID]held, in *bulkTasks) (BulkResult, error) {
	h, there := rows[task]
	err := error(fault.NotFoundf("task"))
	if there {
		err = h.writable()
	}
	var c change
	if err == nil {
		c, err = in.asked.of(h, in.Body.Set.change(h.Task))
	}
	if err != nil {
		return failed(task, err)
	}
	var t Task
	err = tx.Try(ctx, func() (err error) {
		if t, err = f.apply(ctx, tx, h, c); err == nil && in.Body.DryRun {
			err = errDryRun
		}
		return err
	})
	if err != nil && !errors.Is(err, errDryRun) {
		return failed(task, err)
	}
	return BulkResult{ID: task, Status: http.StatusOK, Task: &t}, nil
}

// failed tells of what the caller can act on; everything else ends the whole.
func failed(task id.ID, err error) (BulkResult, error) {
	f := fault.As(err)
	if f == nil {
		return BulkResult{}, err
	}
	status := map[fault.Kind]int{
		fault.NotFound: http.StatusNotFound, fault.Denied: http.StatusForbidden,
		fault.Conflict: http.StatusConflict, fault.Invalid: http.StatusUnprocessableEntity,
	}[f.Kind]
	if status == 0 {
		return BulkResult{}, err
	}
	return BulkResult{ID: task, Status: status, Error: &BulkError{Code: f.Code, Detail: f.Message, Errors: f.Fields}}, nil
}

// change is what the set means for one task.
func (s bulkSet) change(t Task) change {
	c := change{Status: s.Status, Priority: s.Priority, AssignedToID: s.AssignedToID, DueDate: s.DueDate, StartDate: s.StartDate}
	if len(s.LabelsAdd)+len(s.LabelsRemove) > 0 {
		off := labelKeys(s.LabelsRemove)
		c.Labels = api.Some(slices.DeleteFunc(slices.Concat(t.Labels, s.LabelsAdd), func(n string) bool { return slices.Contains(off, labelKey(n)) }))
	}
	return c
}
