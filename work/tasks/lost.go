package tasks

import (
	"context"
	"fmt"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/work"
)

// Who leaves the organisation is taken off his tasks by the database, in the
// statement that ends his membership. Each row remembers him until the event of
// it is written, a moment later and in batches, for his tasks may be many.

const (
	lostBatch = 500

	selectAnyLost = `select exists (select from tasks t where t.lost_assignee_id = $1)`

	forgetLost = `with lost as (
	select ` + taskCols + ` from tasks t
	join project_sight a on a.tenant_id = t.tenant_id and a.project_id = t.project_id
	where t.lost_assignee_id = $1 order by t.id limit $2 for no key update of t
), told as (
	update tasks t set lost_assignee_id = null from lost where t.id = lost.id
)
select lost.* from lost order by lost.id`
)

type lostArgs struct {
	UserID id.ID `json:"user_id"`
}

var tellLost = jobs.Define[lostArgs]("tasks.tell_lost")

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
		err := db.Write(ctx, s, func(tx *tenant.Tx) (err error) {
			left, err = tellBatch(ctx, tx, a.UserID)
			return err
		})
		if err != nil {
			return fmt.Errorf("tasks.tell_lost: user %s: %w", a.UserID, err)
		}
		if !left {
			return nil
		}
		if !work.TimeLeft(ctx) {
			return jobs.Again()
		}
	}
}

// tellBatch reports whether there may be more. What happened to a row in between
// told of itself; this tells of the loss alone.
func tellBatch(ctx context.Context, tx *tenant.Tx, user id.ID) (bool, error) {
	rows, err := tenant.List[Task](ctx, tx, forgetLost, user, lostBatch)
	if err != nil {
		return false, err
	}
	for _, now := range rows {
		if now.DeletedAt != nil {
			continue
		}
		before := now
		before.AssignedToID = &user
		if err := Updated.EmitChange(ctx, tx, before, now); err != nil {
			return false, err
		}
	}
	return len(rows) == lostBatch, nil
}
