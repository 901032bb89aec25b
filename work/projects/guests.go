package projects

import (
	"context"
	"fmt"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/work"
)

// Who becomes a guest owns no project any more in which he is not named: he does
// not see it.

const (
	// unseen are the projects of the person $1, or of all who have the role $2,
	// that their owner does not see.
	unseen = `p.owner_id = any(array(select m.user_id from members m where m.user_id = $1 or m.role = $2)) and not ` + ownerSees

	selectAnyUnseen = `select exists (select from projects p where ` + unseen + `)`

	releaseUnseen = `with unseen as (
			select p.id as project, p.owner_id as lost_owner from projects p where ` + unseen + ` order by p.id limit $3 for no key update of p
		)
		update projects p set owner_id = null, version = p.version + 1, updated_at = now()
		from unseen where p.id = unseen.project
		returning ` + dataCols + `, unseen.lost_owner`
)

type unseenArgs struct {
	UserID *id.ID `json:"user_id,omitempty"`
	Role   string `json:"role,omitempty"`
}

var releaseGuests = jobs.Define[unseenArgs]("projects.release_guests")

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
		if err := releaseGuests.EnqueueAt(ctx, f.queue, tx, unseenArgs{user, role}, tx.Now().Add(work.Settled)); err != nil {
			return err
		}
		some, err := tenant.Value[bool](ctx, tx, selectAnyUnseen, user, role)
		if err != nil {
			return err
		}
		if !some {
			continue
		}
		if err := releaseGuests.Enqueue(ctx, f.queue, tx, unseenArgs{user, role}); err != nil {
			return err
		}
	}
	return nil
}

func releaseOfGuests(ctx context.Context, db *tenant.DB, s tenant.Scope, a unseenArgs) error {
	type released struct {
		ProjectData
		LostOwner *id.ID `db:"lost_owner"`
	}
	for {
		left := false
		err := db.Write(ctx, s, func(tx *tenant.Tx) error {
			rows, err := tenant.List[released](ctx, tx, releaseUnseen, a.UserID, a.Role, lostBatch)
			if err != nil {
				return err
			}
			for _, r := range rows {
				before := r.ProjectData
				before.OwnerID = r.LostOwner
				if err := Updated.EmitChange(ctx, tx, before, r.ProjectData); err != nil {
					return err
				}
			}
			left = len(rows) == lostBatch
			return nil
		})
		if err != nil {
			return fmt.Errorf("projects.release_guests: %w", err)
		}
		if !left {
			return nil
		}
		if !work.TimeLeft(ctx) {
			return jobs.Again()
		}
	}
}
