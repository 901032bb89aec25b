package tasks

import (
	"context"
	"errors"
	"slices"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

func (f *Feature) create(ctx context.Context, tx *tenant.Tx, in *createTask) (Task, error) {
	if err := in.Body.tidy(); err != nil {
		return Task{}, err
	}
	if in.Body.ParentID != nil {
		if _, err := tenant.Value[bool](ctx, tx, selectWritable, in.ProjectID); err != nil {
			return Task{}, tenant.NotFound(err, "project")
		}
		if err := checkParent(ctx, tx, in.ProjectID, *in.Body.ParentID, nil); err != nil {
			return Task{}, err
		}
	}
	t, err := tenant.One[Task](ctx, tx, insertTask, createArgs(tx, in.ProjectID, in.Body)...)
	if errors.Is(err, tenant.ErrNoRows) {
		return Task{}, refusal(ctx, tx, in.ProjectID, in.Body)
	}
	if err != nil {
		return Task{}, refine(err)
	}
	if names := labelNames(in.Body.Labels); len(names) > 0 {
		if t.Labels, err = tie(ctx, tx, t.ProjectID, t.ID, names); err != nil {
			return Task{}, err
		}
	}
	return t, Created.Emit(ctx, tx, t)
}

const selectWritable = `select a.writable from project_access a where a.project_id = $1`

func (f *Feature) get(ctx context.Context, v tenant.View, in *taskPath) (Task, error) {
	t, err := tenant.One[Task](ctx, v, selectTask, in.TaskID)
	return t, tenant.NotFound(err, "task")
}

func (f *Feature) patch(ctx context.Context, tx *tenant.Tx, in *patchTask) (Task, error) {
	if err := in.tidy(); err != nil {
		return Task{}, err
	}
	return f.edit(ctx, tx, in.TaskID, in.change(), in.asked, func(h held, c change) error { return h.staleFor(in.IfMatch, c, true) })
}

func (f *Feature) replace(ctx context.Context, tx *tenant.Tx, in *replaceTask) (Task, error) {
	if err := in.Body.tidy(); err != nil {
		return Task{}, err
	}
	return f.edit(ctx, tx, in.TaskID, in.Body.asChange(), in.asked, func(h held, c change) error { return h.staleFor(in.IfMatch, c, false) })
}

// edit changes one task as it is at that moment: if somebody else was faster,
// it decides again on the newer row, which it then holds.
func (f *Feature) edit(ctx context.Context, tx *tenant.Tx, task id.ID, c change, said asked, stale func(held, change) error) (Task, error) {
	for {
		h, err := heldOne(ctx, tx, task)
		if err != nil {
			return Task{}, err
		}
		if err := h.writable(); err != nil {
			return Task{}, err
		}
		if err := stale(h, c); err != nil {
			return Task{}, err
		}
		agreed, err := said.of(h, c)
		if err != nil {
			return Task{}, err
		}
		t, err := f.apply(ctx, tx, h, agreed)
		if !errors.Is(err, errOvertaken) {
			return t, err
		}
		if _, err := tenant.Values[id.ID](ctx, tx, lockTasks, []id.ID{task}); err != nil {
			return Task{}, err
		}
	}
}

// apply makes the change and says so; a change that changes nothing is none.
func (f *Feature) apply(ctx context.Context, tx *tenant.Tx, was held, c change) (Task, error) {
	now, changed := c.applied(was.Task)
	if len(changed) == 0 {
		return was.Task, nil
	}
	if now.StartDate != nil && now.DueDate != nil && now.DueDate.Before(*now.StartDate) {
		return Task{}, fault.Invalidf("/start_date", "start_date must not be after due_date")
	}
	if len(now.Labels) > 20 {
		return Task{}, fault.Invalidf("/labels", "a task has at most 20 labels")
	}
	newAssignee := now.AssignedToID != nil && slices.Contains(changed, "assigned_to_id")
	if newAssignee {
		if err := checkAssignable(ctx, tx, now.ProjectID, *now.AssignedToID); err != nil {
			return Task{}, err
		}
	}
	if now.ParentID != nil && slices.Contains(changed, "parent_id") {
		if err := checkParent(ctx, tx, now.ProjectID, *now.ParentID, &now.ID); err != nil {
			return Task{}, err
		}
	}
	now, err := save(ctx, tx, was, now, changed)
	if err != nil {
		return Task{}, err
	}
	if slices.Contains(changed, "labels") {
		if now.Labels, err = tie(ctx, tx, now.ProjectID, now.ID, now.Labels); err != nil {
			return Task{}, err
		}
	}
	if newAssignee {
		tx.Queue(insertWatchers, []id.ID{now.ID}, []id.ID{*now.AssignedToID})
	}
	if c.moved {
		return now, Moved.EmitChange(ctx, tx, was.Task, now)
	}
	return now, Updated.EmitChange(ctx, tx, was.Task, now)
}

// trash takes the task and its live subtasks off the boards.
func (f *Feature) trash(ctx context.Context, tx *tenant.Tx, in *taskMatch) (api.None, error) {
	rows, ids, err := f.tree(ctx, tx, in.TaskID, false, func(h held) error {
		if err := h.writable(); err != nil {
			return err
		}
		return h.staleFor(in.IfMatch, change{}, false)
	})
	if err != nil {
		return api.None{}, err
	}
	if _, err := tenant.Exec(ctx, tx, trashTasks, ids); err != nil {
		return api.None{}, err
	}
	now := tx.Now()
	for _, tid := range ids {
		t := rows[tid].Task
		t.DeletedAt, t.UpdatedAt, t.Version = &now, now, t.Version+1
		if err := Deleted.Emit(ctx, tx, t); err != nil {
			return api.None{}, err
		}
	}
	return api.None{}, nil
}

// restore brings back the task and what went to the trash with it. A task that
// is not in the trash is answered as it is.
func (f *Feature) restore(ctx context.Context, tx *tenant.Tx, in *taskPath) (Task, error) {
	rows, ids, err := f.tree(ctx, tx, in.TaskID, true, func(h held) error { return h.Write() })
	if err != nil {
		return Task{}, err
	}
	root := rows[in.TaskID]
	if root.DeletedAt == nil {
		return root.Task, nil
	}
	ids = slices.DeleteFunc(ids, func(t id.ID) bool {
		at := rows[t].DeletedAt
		return at == nil || !at.Equal(*root.DeletedAt)
	})
	if _, err := tenant.Exec(ctx, tx, restoreTasks, ids); err != nil {
		return Task{}, err
	}
	after, err := heldMany(ctx, tx, ids)
	if err != nil {
		return Task{}, err
	}
	for _, tid := range ids {
		if err := Restored.EmitChange(ctx, tx, rows[tid].Task, after[tid].Task); err != nil {
			return Task{}, err
		}
	}
	return after[in.TaskID].Task, nil
}

// tree locks and reads the task and all below it, once allowed says yes to the
// task as it is under the lock.
func (f *Feature) tree(ctx context.Context, tx *tenant.Tx, task id.ID, trashed bool, allowed func(held) error) (map[id.ID]held, []id.ID, error) {
	for {
		h, err := heldOne(ctx, tx, task)
		if err != nil {
			return nil, nil, err
		}
		if err := allowed(h); err != nil {
			return nil, nil, err
		}
		ids, rows, err := lockTree(ctx, tx, []id.ID{h.ProjectID}, h, trashed)
		if err != nil {
			return nil, nil, err
		}
		now, here := rows[task]
		if !here || now.ProjectID != h.ProjectID {
			continue // it moved meanwhile
		}
		return rows, ids, allowed(now)
	}
}
