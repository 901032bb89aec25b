package tasks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	// lockCounter keeps everything away that gives or reads places.
	lockCounter = `select c.last_slot from task_counters c where c.project_id = $1 for update`

	selectLongRanks = `select exists (select from tasks where project_id = $1 and length(position) > $2)`

	// shortenRanks gives all tasks of a project new places at the end, in their
	// order. All are greater than any that is in use, so none collides.
	shortenRanks = `with places as (
	select t.id, row_number() over (order by t.position) as n from tasks t where t.project_id = $1
), counter as (
	update task_counters c set last_slot = c.last_slot + (select count(*) from places)
	where c.project_id = $1 returning c.last_slot - (select count(*) from places) as slots
)
update tasks t set position = lpad(to_hex(c.slots + p.n), 8, '0') || 'V', version = t.version + 1
from places p, counter c where t.project_id = $1 and t.id = p.id`

	lockProjectTasks = `select t.id from tasks t where t.project_id = $1 order by t.id for no key update`
)

type rebalanceArgs struct {
	ProjectID id.ID `json:"project_id"`
}

var rebalance = jobs.Define[rebalanceArgs]("tasks.rebalance")

// shorten gives a project short ranks again. The order does not change, so
// there is no event; the rows get a new version, since they look different.
func shorten(ctx context.Context, db *tenant.DB, s tenant.Scope, a rebalanceArgs) error {
	return db.Write(ctx, s, func(tx *tenant.Tx) error {
		if _, err := tenant.Value[int64](ctx, tx, lockCounter, a.ProjectID); err != nil {
			if errors.Is(err, tenant.ErrNoRows) { // the project is gone
				return nil
			}
			return err
		}
		long, err := tenant.Value[bool](ctx, tx, selectLongRanks, a.ProjectID, longRank)
		if err != nil || !long {
			return err
		}
		if _, err := tenant.Exec(ctx, tx, lockProjectTasks, a.ProjectID); err != nil {
			return err
		}
		_, err = tenant.Exec(ctx, tx, shortenRanks, a.ProjectID)
		return err
	})
}

const (
	trashDays = 30

	selectToPurge = `select o from organizations_with_tasks_to_purge($1) as o`

	purgeTasks = `delete from tasks where id in (select t.id from tasks t
	where t.deleted_at < now() - make_interval(days => $1) order by t.id limit 1000 for update skip locked)`

	// purgeLabels takes away what no task carries any more.
	purgeLabels = `delete from labels where id in (select l.id from labels l
	where l.created_at < now() - interval '1 day' and not exists (select from task_labels tl where tl.tenant_id = l.tenant_id and tl.label_id = l.id)
	order by l.id limit 1000 for update skip locked)`
)

// purge empties the trash of what has been there for 30 days.
func purge(ctx context.Context, db *tenant.DB) error {
	orgs, err := tenant.Values[id.ID](ctx, db.Global(), selectToPurge, trashDays)
	if err != nil {
		return fmt.Errorf("tasks.purge: %w", err)
	}
	for _, org := range orgs {
		s := tenant.ForSystem(org)
		s.Operation = "tasks.purge"
		for gone := int64(1); gone > 0 && ctx.Err() == nil; {
			err := db.Write(ctx, s, func(tx *tenant.Tx) (err error) {
				if gone, err = tenant.Exec(ctx, tx, purgeTasks, trashDays); err != nil {
					return err
				}
				_, err = tenant.Exec(ctx, tx, purgeLabels)
				return err
			})
			if err != nil {
				return fmt.Errorf("tasks.purge: organisation %s: %w", org, err)
			}
		}
	}
	return ctx.Err()
}

func (f *Feature) jobs() []jobs.Definition {
	return []jobs.Definition{jobs.Work(rebalance, shorten), jobs.Clock("tasks.purge", time.Hour, purge)}
}

const purgeProjectTasks = `delete from tasks where id in (select t.id from tasks t where t.project_id = $1 order by t.id limit $2)`

// PurgeProject deletes up to limit tasks of a project for good, and what hangs
// on them; it returns how many they were.
func (f *Feature) PurgeProject(ctx context.Context, tx *tenant.Tx, project id.ID, limit int) (int64, error) {
	return tenant.Exec(ctx, tx, purgeProjectTasks, project, limit)
}
