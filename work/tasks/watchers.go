package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Watcher is a person who wants to hear of a task.
type Watcher struct {
	TaskID    id.ID     `db:"task_id" json:"task_id" doc:"The task."`
	UserID    id.ID     `db:"user_id" json:"user_id" doc:"The person."`
	Username  string    `db:"username" json:"username" maxLength:"64" example:"ann" doc:"The person's name for display."`
	CreatedAt time.Time `db:"created_at" json:"created_at"`

	ProjectID id.ID `db:"project_id" json:"-"`
}

// EventSubject is the task; who may see its project may see this.
func (w Watcher) EventSubject() event.Subject {
	return event.Subject{ID: w.TaskID, Project: &w.ProjectID}
}

// Watched and Unwatched are in the audit log only.
var (
	Watched   = event.DefineInternal[Watcher]("task.watched", "A person began to watch a task.")
	Unwatched = event.DefineInternal[Watcher]("task.unwatched", "A person no longer watches a task.")
)

const watcherFrom = ` from task_watchers w
	join tasks t on t.tenant_id = w.tenant_id and t.id = w.task_id and t.deleted_at is null
	join project_access a on a.tenant_id = t.tenant_id and a.project_id = t.project_id
	join users u on u.id = w.user_id where w.task_id = $1 `

const (
	selectWatchers = `select w.task_id, w.user_id, u.username, w.created_at, t.project_id` + watcherFrom + `and w.user_id > $2
order by w.user_id limit $3 offset $4`

	countWatchers = `select count(*)` + watcherFrom

	selectSeen = `select t.project_id from tasks t
	join project_access a on a.tenant_id = t.tenant_id and a.project_id = t.project_id
	where t.id = $1 and t.deleted_at is null`

	insertWatcher = `with w as (
	insert into task_watchers (tenant_id, task_id, user_id) values ($1, $2, $3)
	on conflict (tenant_id, task_id, user_id) do nothing returning task_id, user_id, created_at
)
select w.task_id, w.user_id, u.username, w.created_at, $4::uuid as project_id from w join users u on u.id = w.user_id`

	selectWatcher = `select w.task_id, w.user_id, u.username, w.created_at, $3::uuid as project_id
from task_watchers w join users u on u.id = w.user_id where w.task_id = $1 and w.user_id = $2`

	deleteWatcher = `with w as (
	delete from task_watchers where task_id = $1 and user_id = $2 returning task_id, user_id, created_at
)
select w.task_id, w.user_id, u.username, w.created_at, $3::uuid as project_id from w join users u on u.id = w.user_id`
)

type listWatchers struct {
	api.ListParams
	TaskID id.ID `path:"task_id" ref:"task" doc:"The task."`
}

func (f *Feature) listWatchers(ctx context.Context, v tenant.View, in *listWatchers) (page.Page[Watcher], error) {
	var after id.ID
	if _, err := in.Position(ctx, &after); err != nil {
		return page.Page[Watcher]{}, err
	}
	var project id.ID
	var rows []Watcher
	var total int64
	err := v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueValue(b, &project, selectSeen, in.TaskID)
		tenant.QueueList(b, &rows, selectWatchers, in.TaskID, after, in.Limit+1, in.Offset())
		if in.WantTotal() {
			tenant.QueueValue(b, &total, countWatchers, in.TaskID)
		}
	})
	if err != nil {
		return page.Page[Watcher]{}, tenant.NotFound(err, "task")
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(w Watcher) any { return w.UserID })
	if in.WantTotal() {
		out.Total = &total
	}
	return out, err
}

func (f *Feature) watch(ctx context.Context, tx *tenant.Tx, in *taskPath) (Watcher, error) {
	project, me, err := seenByMe(ctx, tx, in.TaskID)
	if err != nil {
		return Watcher{}, err
	}
	w, err := tenant.One[Watcher](ctx, tx, insertWatcher, tx.Scope().Organization, in.TaskID, me, project)
	if errors.Is(err, tenant.ErrNoRows) { // already
		return tenant.One[Watcher](ctx, tx, selectWatcher, in.TaskID, me, project)
	}
	if err != nil {
		return Watcher{}, err
	}
	return w, Watched.Emit(ctx, tx, w)
}

func (f *Feature) unwatch(ctx context.Context, tx *tenant.Tx, in *taskPath) (api.None, error) {
	project, me, err := seenByMe(ctx, tx, in.TaskID)
	if err != nil {
		return api.None{}, err
	}
	w, err := tenant.One[Watcher](ctx, tx, deleteWatcher, in.TaskID, me, project)
	if errors.Is(err, tenant.ErrNoRows) { // not any more
		return api.None{}, nil
	}
	if err != nil {
		return api.None{}, err
	}
	return api.None{}, Unwatched.Emit(ctx, tx, w)
}

// seenByMe returns the task's project and the person who asks, or for whom a
// key asks.
func seenByMe(ctx context.Context, tx *tenant.Tx, task id.ID) (project, me id.ID, err error) {
	project, err = tenant.Value[id.ID](ctx, tx, selectSeen, task)
	if err == nil && tx.Scope().User.IsZero() {
		err = fault.Conflictf("no_person", "Only a person can watch a task.")
	}
	return project, tx.Scope().User, tenant.NotFound(err, "task")
}

// watchCommenters makes who comments on a task one of its watchers.
func watchCommenters(ctx context.Context, tx *tenant.Tx, events []event.Event) error {
	var taskIDs, people []id.ID
	for _, e := range events {
		var comment struct {
			TaskID *id.ID `json:"task_id"`
		}
		if err := json.Unmarshal(e.Data, &comment); err != nil {
			continue // its data was blanked meanwhile
		}
		if comment.TaskID != nil && e.Actor.ID != nil && e.Actor.Type == string(tenant.User) {
			taskIDs, people = append(taskIDs, *comment.TaskID), append(people, *e.Actor.ID)
		}
	}
	if len(taskIDs) == 0 {
		return nil
	}
	_, err := tenant.Exec(ctx, tx, insertWatchers, taskIDs, people)
	return err
}
