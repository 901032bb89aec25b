package tasks

import (
	"context"
	"errors"
	"fmt"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/work"
)

// Ranks that have grown long are made short again by giving every task of the
// project a new place at the end, a batch at a time from the last task to the
// first. A stretch of places is reserved for that at the end, from which each
// batch takes the highest that are left. So at every moment, between two batches
// too, the order is what it was: the tasks that were moved stand behind the
// others, and what is put between two tasks meanwhile stays between them.

const (
	rebalanceBatch = 500

	// lockCounter keeps everything away that gives or reads places.
	lockCounter = `select c.last_slot from task_counters c where c.project_id = $1 for update`

	selectLongRanks = `select exists (select from tasks where project_id = $1 and length(position) > $2)`

	reserveSlots = `update task_counters c set last_slot = c.last_slot + (select count(*) from tasks t where t.project_id = $1)
where c.project_id = $1 returning c.last_slot`

	// selectTaken says whether the places from $2 up to $3 are in use by another
	// run already: one that was killed after its last batch.
	selectTaken = `select exists (select from tasks t where t.project_id = $1 and t.position >= $2 and t.position < $3 and length(t.position) = length($2))`

	selectLast = `select t.id from tasks t where t.project_id = $1 and t.position < $2 order by t.position desc limit $3`

	setPositions = `update tasks t set position = u.position, version = t.version + 1,
	field_versions = t.field_versions || jsonb_build_object('position', t.version + 1)
from unnest($1::uuid[], $2::text[]) as u (id, position) where t.id = u.id`
)

// rebalanceArgs also say where a run goes on: with the tasks before the place
// Below, of which the last one gets the slot Next. None begins.
type rebalanceArgs struct {
	ProjectID id.ID  `json:"project_id"`
	Below     string `json:"below,omitempty"`
	Next      int64  `json:"next,omitempty"`
	Low       int64  `json:"low,omitempty"` // the slot before the reserved ones
}

var rebalance = jobs.Define[rebalanceArgs]("tasks.rebalance")

// shorten gives a project short ranks again. Each task tells of its new place.
func (f *Feature) shorten(ctx context.Context, db *tenant.DB, s tenant.Scope, a rebalanceArgs) error {
	fresh := a.Below != "" // the place to go on from was not looked at yet
	for {
		var next rebalanceArgs
		done := false
		err := db.Write(ctx, s, func(tx *tenant.Tx) (err error) {
			if next, err = begin(ctx, tx, a, fresh); err != nil || next.Below == "" {
				done = true
				return err
			}
			if next, done, err = shortenBatch(ctx, tx, next); err != nil || done || work.TimeLeft(ctx) {
				return err
			}
			done = true
			return rebalance.Enqueue(ctx, f.queue, tx, next)
		})
		if err != nil {
			return fmt.Errorf("tasks.rebalance: project %s: %w", a.ProjectID, err)
		}
		if done {
			return nil
		}
		a, fresh = next, false
	}
}

// begin locks the counter and returns where to go on. Nothing to do is "".
func begin(ctx context.Context, tx *tenant.Tx, a rebalanceArgs, fresh bool) (rebalanceArgs, error) {
	low, err := tenant.Value[int64](ctx, tx, lockCounter, a.ProjectID)
	if errors.Is(err, tenant.ErrNoRows) { // the project is gone
		return rebalanceArgs{}, nil
	}
	if err != nil {
		return a, err
	}
	if fresh {
		taken, err := tenant.Value[bool](ctx, tx, selectTaken, a.ProjectID, slot(a.Low+1), a.Below)
		if err != nil {
			return a, err
		}
		if taken {
			a.Below = ""
		}
	}
	if a.Below != "" && a.Next > a.Low {
		return a, nil
	}
	long, err := tenant.Value[bool](ctx, tx, selectLongRanks, a.ProjectID, longRank)
	if err != nil || !long {
		return rebalanceArgs{}, err
	}
	last, err := tenant.Value[int64](ctx, tx, reserveSlots, a.ProjectID)
	return rebalanceArgs{ProjectID: a.ProjectID, Below: slot(last + 1), Next: last, Low: low}, err
}

// shortenBatch moves the last tasks before the place Below. The counter is
// locked, so no place changes meanwhile.
func shortenBatch(ctx context.Context, tx *tenant.Tx, a rebalanceArgs) (next rebalanceArgs, done bool, err error) {
	ids, err := tenant.Values[id.ID](ctx, tx, selectLast, a.ProjectID, a.Below, min(rebalanceBatch, a.Next-a.Low))
	if err != nil || len(ids) == 0 {
		return a, true, err
	}
	if _, err := tenant.Values[id.ID](ctx, tx, lockTasks, ids); err != nil {
		return a, false, err
	}
	rows, err := heldMany(ctx, tx, ids)
	if err != nil {
		return a, false, err
	}
	positions := make([]string, len(ids))
	for i := range ids {
		positions[i] = slot(a.Next - int64(i))
	}
	if _, err := tenant.Exec(ctx, tx, setPositions, ids, positions); err != nil {
		return a, false, err
	}
	for i, t := range ids {
		before, there := rows[t]
		if !there || before.DeletedAt != nil {
			continue
		}
		now := before.Task
		now.Position, now.Version = positions[i], now.Version+1
		if err := Updated.EmitChange(ctx, tx, before.Task, now); err != nil {
			return a, false, err
		}
	}
	a.Next -= int64(len(ids))
	a.Below = positions[len(ids)-1]
	return a, false, nil
}
