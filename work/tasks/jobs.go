package tasks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/work"
)

const (
	unassignBatch = 500

	// unassignLost takes tasks of a project, the trash included, off people who
	// cannot see it at this moment. It returns them as they were.
	unassignLost = `with lost as (
	select ` + taskCols + ` from tasks t
	join project_sight a on a.tenant_id = t.tenant_id and a.project_id = t.project_id
	where t.project_id = $1 and t.assigned_to_id is not null and not ` + carriedAssignable + `
	order by t.id limit $2 for no key update of t
), ` + unassignRows

	// unassignRows goes on from the tasks that are lost.
	unassignRows = `changed as (
	update tasks t set assigned_to_id = null, version = t.version + 1, updated_at = now(),
		field_versions = t.field_versions || jsonb_build_object('assigned_to_id', t.version + 1)
	from lost where t.id = lost.id
	returning t.id, t.version as new_version, t.updated_at as new_updated_at
)
select lost.*, c.new_version, c.new_updated_at from lost join changed c on c.id = lost.id order by lost.id`
)

type unassignArgs struct {
	ProjectID id.ID `json:"project_id"`
}

var unassign = jobs.Define[unassignArgs]("tasks.unassign")

// Unassign lets a job take the tasks of a project off those who cannot see it
// once the transaction has ended: the feature of projects calls it when
// somebody loses sight of one. They may be many, so it is done in batches.
func (f *Feature) Unassign(ctx context.Context, tx *tenant.Tx, project id.ID) error {
	return unassign.Enqueue(ctx, f.queue, tx, unassignArgs{project})
}

func takeOffAll(ctx context.Context, db *tenant.DB, s tenant.Scope, a unassignArgs) error {
	for {
		n := 0
		err := db.Write(ctx, s, func(tx *tenant.Tx) (err error) {
			n, err = takeOff(ctx, tx, unassignLost, a.ProjectID, unassignBatch)
			return err
		})
		if err != nil {
			return fmt.Errorf("tasks.unassign: project %s: %w", a.ProjectID, err)
		}
		if n < unassignBatch {
			return nil
		}
		if !work.TimeLeft(ctx) {
			return jobs.Again()
		}
	}
}

// takeOff does one batch and tells of each task that is not in the trash. It
// returns how many they were.
func takeOff(ctx context.Context, tx *tenant.Tx, sql string, args ...any) (int, error) {
	rows, err := tenant.List[takenOff](ctx, tx, sql, args...)
	if err != nil {
		return 0, err
	}
	for _, r := range rows {
		if r.DeletedAt != nil {
			continue
		}
		now := r.Task
		now.AssignedToID, now.Version, now.UpdatedAt = nil, r.NewVersion, r.NewUpdatedAt
		if err := Updated.EmitChange(ctx, tx, r.Task, now); err != nil {
			return 0, err
		}
	}
	return len(rows), nil
}

// takenOff is a task as it was, and what it got with the loss of its assignee.
type takenOff struct {
	Task
	NewVersion   int64     `db:"new_version"`
	NewUpdatedAt time.Time `db:"new_updated_at"`
}

const (
	trashDays = 30

	selectToPurge = `select o from organizations_with_tasks_to_purge($1) as o`

	purgeTasks = `delete from tasks where id in (select t.id from tasks t
	where t.deleted_at < now() - make_interval(days => $1) order by t.id limit 1000 for update skip locked)`
)

// purge empties the trash of what has been there for 30 days. What fails in one
// organisation keeps the others from nothing.
func purge(ctx context.Context, db *tenant.DB) error {
	orgs, err := tenant.Values[id.ID](ctx, db.Global(), selectToPurge, trashDays)
	if err != nil {
		return fmt.Errorf("tasks.purge: %w", err)
	}
	var failed error
	for _, org := range orgs {
		switch done, err := purgeOf(ctx, db, org); {
		case err != nil:
			failed = errors.Join(failed, fmt.Errorf("tasks.purge: organisation %s: %w", org, err))
		case !done && failed == nil:
			return jobs.Again()
		}
		if !work.TimeLeft(ctx) && failed != nil {
			break
		}
	}
	return failed
}

// purgeOf empties the trash of an organisation, unless its time is over.
func purgeOf(ctx context.Context, db *tenant.DB, org id.ID) (done bool, err error) {
	s := tenant.ForSystem(org)
	s.Operation = "tasks.purge"
	for work.TimeLeft(ctx) {
		var gone int64
		err := db.Write(ctx, s, func(tx *tenant.Tx) (err error) {
			gone, err = tenant.Exec(ctx, tx, purgeTasks, trashDays)
			return err
		})
		if err != nil || gone == 0 {
			return true, err
		}
	}
	return false, nil
}

func (f *Feature) jobs() []jobs.Definition {
	return []jobs.Definition{
		jobs.Work(rebalance, f.shorten), jobs.Work(unassign, takeOffAll), jobs.Work(unassignGuests, takeOffGuests),
		jobs.Work(tellLost, tellOfLost), jobs.Clock("tasks.purge", time.Hour, purge),
	}
}

const purgeProjectTasks = `delete from tasks where id in (select t.id from tasks t where t.project_id = $1 order by t.id limit $2)`

// PurgeProject deletes up to limit tasks of a project for good, and what hangs
// on them; it returns how many they were.
func (f *Feature) PurgeProject(ctx context.Context, tx *tenant.Tx, project id.ID, limit int) (int64, error) {
	return tenant.Exec(ctx, tx, purgeProjectTasks, project, limit)
}
