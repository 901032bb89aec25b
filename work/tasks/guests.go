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

// Who becomes a guest, by another role of his own or by a change of his role,
// sees open projects no more unless he is named in them. His tasks there are
// taken off him a moment later and in batches, for they may be many.

const (
	// unseen are the tasks of the person $1, or of all who have the role $2, in
	// projects that their assignee does not see.
	unseen = `t.assigned_to_id = any(array(select m.user_id from members m where m.user_id = $1 or m.role = $2))
	and not ` + assigneeSees + `t.project_id)`

	selectAnyUnseen = `select exists (select from tasks t where ` + unseen + `)`

	unassignUnseen = `with lost as (
	select ` + taskCols + ` from tasks t
	join project_sight a on a.tenant_id = t.tenant_id and a.project_id = t.project_id
	where ` + unseen + ` order by t.id limit $3 for no key update of t
), ` + unassignRows
)

type unseenArgs struct {
	UserID *id.ID `json:"user_id,omitempty"`
	Role   string `json:"role,omitempty"`
}

var unassignGuests = jobs.Define[unseenArgs]("tasks.unassign_guests")

func (f *Feature) hearSightLost(ctx context.Context, tx *tenant.Tx, events []event.Event) error {
	for _, e := range events {
		user, role, err := work.SightLost(e)
		if err != nil {
			return err
		}
		if user == nil && role == "" {
			continue
		}
		// What is being given to the person in this moment shows in a while.
		if err := unassignGuests.EnqueueAt(ctx, f.queue, tx, unseenArgs{user, role}, tx.Now().Add(work.Settled)); err != nil {
			return err
		}
		some, err := tenant.Value[bool](ctx, tx, selectAnyUnseen, user, role)
		if err != nil {
			return err
		}
		if !some {
			continue
		}
		if err := unassignGuests.Enqueue(ctx, f.queue, tx, unseenArgs{user, role}); err != nil {
			return err
		}
	}
	return nil
}

func takeOffGuests(ctx context.Context, db *tenant.DB, s tenant.Scope, a unseenArgs) error {
	for {
		n := 0
		err := db.Write(ctx, s, func(tx *tenant.Tx) (err error) {
			n, err = takeOff(ctx, tx, unassignUnseen, a.UserID, a.Role, unassignBatch)
			return err
		})
		if err != nil {
			return fmt.Errorf("tasks.unassign_guests: %w", err)
		}
		if n < unassignBatch {
			return nil
		}
		if !work.TimeLeft(ctx) {
			return jobs.Again()
		}
	}
}
