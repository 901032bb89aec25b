package projects

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/work"
)

const (
	dueBatch   = 100  // projects of one organisation in one round
	purgeBatch = 1000 // rows deleted or blanked in one transaction
)

const (
	selectToPurge = `select o from organizations_with_projects_to_purge($1) as o`
	selectDue     = `select p.id from projects p where p.deleted_at < now() - make_interval(days => $1) order by p.deleted_at limit $2`

	// Once due, a project cannot be restored, so it stays due.
	lockDue = `select p.id from projects p where p.id = $1 and p.deleted_at < now() - make_interval(days => $2) for no key update`

	blankEvents = `update event_log e set data = null, previous = null
		from (select x.day, x.id from event_log x
			where x.project_id = $1 and (x.data is not null or x.previous is not null) limit $2) b
		where e.day = b.day and e.id = b.id`

	deleteDue = `delete from projects p where p.id = $1 and p.deleted_at < now() - make_interval(days => $2)`
)

type purgeArgs struct {
	Project id.ID `json:"project_id"`
}

var purge = jobs.Define[purgeArgs]("projects.purge")

// purgeClock looks once a day for projects whose time in the trash is over.
func (f *Feature) purgeClock() jobs.Definition {
	return jobs.Clock("projects.purge_due", 24*time.Hour, f.purgeDue)
}

// purgeDue starts the jobs. What fails in one organisation keeps the others from
// nothing; what there is no time for waits for the next day.
func (f *Feature) purgeDue(ctx context.Context, db *tenant.DB) error {
	orgs, err := tenant.Values[id.ID](ctx, db.Global(), selectToPurge, trashDays)
	if err != nil {
		return fmt.Errorf("projects.purge_due: %w", err)
	}
	var failed error
	for _, org := range orgs {
		if !work.TimeLeft(ctx) {
			break
		}
		if err := f.purgeDueOf(ctx, db, org); err != nil {
			failed = errors.Join(failed, fmt.Errorf("projects.purge_due: organisation %s: %w", org, err))
		}
	}
	return failed
}

func (f *Feature) purgeDueOf(ctx context.Context, db *tenant.DB, org id.ID) error {
	scope := tenant.ForSystem(org)
	scope.Operation = "projects.purge_due"
	due, err := tenant.Values[id.ID](ctx, db.View(scope), selectDue, trashDays, dueBatch)
	if err != nil || len(due) == 0 {
		return err
	}
	return db.Write(ctx, scope, func(tx *tenant.Tx) error {
		for _, project := range due {
			if err := purge.Enqueue(ctx, f.queue, tx, purgeArgs{project}); err != nil {
				return err
			}
		}
		return nil
	})
}

// purgeJob deletes one project for good, step by step in bounded transactions;
// it can stop anywhere and begin again.
func (f *Feature) purgeJob() jobs.Definition {
	return jobs.Work(purge, func(ctx context.Context, db *tenant.DB, s tenant.Scope, a purgeArgs) error {
		err := f.purgeProject(ctx, db, s, a.Project)
		if errors.Is(err, tenant.ErrNoRows) {
			return nil // gone already, or not due
		}
		return err
	})
}

func (f *Feature) purgeProject(ctx context.Context, db *tenant.DB, s tenant.Scope, project id.ID) error {
	steps := make([]func(tx *tenant.Tx) (int64, error), 0, len(f.contents)+1)
	for _, c := range f.contents {
		steps = append(steps, func(tx *tenant.Tx) (int64, error) { return c.PurgeProject(ctx, tx, project, purgeBatch) })
	}
	steps = append(steps, func(tx *tenant.Tx) (int64, error) {
		return tenant.Exec(ctx, tx, blankEvents, project, purgeBatch)
	})
	for _, step := range steps {
		for left := int64(1); left > 0; {
			err := db.Write(ctx, s, func(tx *tenant.Tx) (err error) {
				if _, err = tenant.Value[id.ID](ctx, tx, lockDue, project, trashDays); err != nil {
					return err
				}
				left, err = step(tx)
				return err
			})
			if err != nil {
				return err
			}
			if left > 0 && !work.TimeLeft(ctx) {
				return jobs.Again()
			}
		}
	}
	return db.Write(ctx, s, func(tx *tenant.Tx) error {
		n, err := tenant.Exec(ctx, tx, deleteDue, project, trashDays)
		if err != nil || n == 0 {
			return err
		}
		return Purged.Emit(ctx, tx, PurgedProject{project})
	})
}

// Who leaves the organisation is taken off the projects that he owns by the
// database, in the statement that ends his membership. Each row remembers him
// until the event of it is written, a moment later and in batches.
const (
	lostBatch = 500

	selectAnyLost = `select exists (select from projects p where p.lost_owner_id = $1)`

	forgetLost = `update projects p set lost_owner_id = null
		where p.id in (select l.id from projects l where l.lost_owner_id = $1 order by l.id limit $2 for no key update)
		returning ` + dataCols
)

type lostArgs struct {
	User id.ID `json:"user_id"`
}

var tellLost = jobs.Define[lostArgs]("projects.tell_lost")

func (f *Feature) hearRemoved(ctx context.Context, tx *tenant.Tx, events []event.Event) error {
	for _, e := range events {
		if e.Subject.ID == nil {
			continue
		}
		some, err := tenant.Value[bool](ctx, tx, selectAnyLost, *e.Subject.ID)
		if err != nil {
			return err
		}
		if !some {
			continue
		}
		if err := tellLost.Enqueue(ctx, f.queue, tx, lostArgs{*e.Subject.ID}); err != nil {
			return err
		}
	}
	return nil
}

func tellOfLost(ctx context.Context, db *tenant.DB, s tenant.Scope, a lostArgs) error {
	for {
		left := false
		err := db.Write(ctx, s, func(tx *tenant.Tx) error {
			rows, err := tenant.List[ProjectData](ctx, tx, forgetLost, a.User, lostBatch)
			if err != nil {
				return err
			}
			for _, now := range rows {
				before := now
				before.OwnerID = &a.User
				if err := Updated.EmitChange(ctx, tx, before, now); err != nil {
					return err
				}
			}
			left = len(rows) == lostBatch
			return nil
		})
		if err != nil {
			return fmt.Errorf("projects.tell_lost: user %s: %w", a.User, err)
		}
		if !left {
			return nil
		}
		if !work.TimeLeft(ctx) {
			return jobs.Again()
		}
	}
}
