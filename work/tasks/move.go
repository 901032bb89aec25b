package tasks

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/work"
)

const (
	// holdCounter lets other moves and creates go on, but nothing that gives
	// the whole project new places.
	holdCounter = `select c.last_slot from task_counters c where c.project_id = $1 for key share`

	// nextSlot gives the next place at the end, and with it the counter's lock.
	nextSlot = `update task_counters set last_slot = last_slot + 1 where project_id = $1 returning last_slot`

	// selectNeighbours reads a task's place and the ones right before and after.
	selectNeighbours = `select x.position,
	coalesce((select max(n.position) from tasks n where n.tenant_id = x.tenant_id and n.project_id = x.project_id and n.position < x.position), '') as previous,
	coalesce((select min(n.position) from tasks n where n.tenant_id = x.tenant_id and n.project_id = x.project_id and n.position > x.position), '') as next
from tasks x where x.project_id = $1 and x.id = $2 and x.deleted_at is null`

	selectTarget = `select a.role, a.archived from project_access a where a.project_id = $1`

	// carryTasks puts tasks into another project: new numbers and places at the
	// end in the order given, the state of the same key, else the first one of
	// the same group, else the default one; an assignee who cannot see the
	// project is taken off, and so is the parent of the first one.
	carryTasks = `with moved as (
	select u.id, u.n from unnest($2::uuid[]) with ordinality as u (id, n)
), counter as (
	update task_counters c set last_number = c.last_number + $4, last_slot = c.last_slot + $4
	where c.project_id = $1 returning c.last_number - $4 as numbers, c.last_slot - $4 as slots
)
update tasks t set project_id = $1, number = c.numbers + m.n, position = lpad(to_hex(c.slots + m.n), 8, '0') || 'V',
	status = s.key, state_group = s.state_group, completed_at = case when s.state_group = 'completed' then coalesce(t.completed_at, now()) end,
	parent_id = case when m.n > 1 then t.parent_id end,
	assigned_to_id = case when t.assigned_to_id is null or ` + carriedAssignable + ` then t.assigned_to_id end,
	field_versions = t.field_versions || jsonb_build_object('status', t.version + 1, 'assigned_to_id', t.version + 1, 'parent_id', t.version + 1, 'position', t.version + 1),
	version = t.version + 1, updated_at = now()
from moved m
cross join counter c
join tasks old on old.id = m.id
join lateral (select s.key, s.state_group from project_states s
	where s.tenant_id = old.tenant_id and s.project_id = $1
	order by case when s.key = case when m.n = 1 and $3 <> '' then $3 else old.status end then 0
		when s.state_group = old.state_group then 1 when s.is_default then 2 else 3 end, s.position, s.key limit 1) s on true
where t.tenant_id = old.tenant_id and t.id = m.id`

	// assigneeSees says whether the assignee of t sees the project that is named
	// next.
	assigneeSees = `exists (select from projects p
	join members mb on mb.tenant_id = p.tenant_id
	left join project_members pm on pm.tenant_id = p.tenant_id and pm.project_id = p.id and pm.user_id = mb.user_id
	left join roles r on r.tenant_id = mb.tenant_id and r.key = mb.role
	where mb.user_id = t.assigned_to_id and (pm.role is not null or p.visibility = 'open' and mb.role <> 'guest' and r.guest is not true) and p.id = `

	carriedAssignable = assigneeSees + `$1)`

	selectState = `select exists (select from project_states s where s.project_id = $1 and s.key = $2)`
)

func (f *Feature) move(ctx context.Context, tx *tenant.Tx, in *moveTask) (Task, error) {
	switch {
	case in.Body.Before != nil && in.Body.After != nil:
		return Task{}, fault.Invalidf("/after", "say either before or after, not both")
	case in.Body.Before != nil && *in.Body.Before == in.TaskID:
		return Task{}, unknownNeighbour("/before")
	case in.Body.After != nil && *in.Body.After == in.TaskID:
		return Task{}, unknownNeighbour("/after")
	}
	h, err := heldOne(ctx, tx, in.TaskID)
	if err != nil {
		return Task{}, err
	}
	if in.Body.ProjectID != nil && *in.Body.ProjectID != h.ProjectID {
		return f.carry(ctx, tx, in, *in.Body.ProjectID)
	}
	var t Task
	err = ranked(ctx, tx, func() (err error) { t, err = f.place(ctx, tx, in, h.ProjectID); return err })
	return t, err
}

// ranked runs fn, which takes a place, again as long as another transaction has
// taken the same one at the same moment.
func ranked(ctx context.Context, tx *tenant.Tx, fn func() error) error {
	for {
		if err := tx.Try(ctx, fn); tenant.Constraint(err) != "task_position_taken" {
			return err
		}
	}
}

// place moves a task within its project.
func (f *Feature) place(ctx context.Context, tx *tenant.Tx, in *moveTask, project id.ID) (Task, error) {
	c := change{moved: true}
	if in.Body.Status != "" {
		c.Status = api.Some(in.Body.Status)
	}
	if in.Body.Before != nil || in.Body.After != nil {
		var err error
		if c.position, err = f.rank(ctx, tx, project, in.Body.Before, in.Body.After); err != nil {
			return Task{}, err
		}
	}
	return f.edit(ctx, tx, in.TaskID, c, in.asked, func(h held, c change) error {
		if h.ProjectID != project {
			return fault.Conflictf("task_moved", "Somebody moved the task to another project. Read it again.")
		}
		return h.staleFor(in.IfMatch, c, false)
	})
}

// rank returns a place right before or right after a task of the project.
func (f *Feature) rank(ctx context.Context, tx *tenant.Tx, project id.ID, before, after *id.ID) (string, error) {
	if _, err := tenant.Exec(ctx, tx, holdCounter, project); err != nil {
		return "", err
	}
	if before != nil {
		n, err := neighboursOf(ctx, tx, project, *before, "/before")
		if err != nil {
			return "", err
		}
		return f.kept(ctx, tx, project, between(n.Previous, n.Position))
	}
	n, err := neighboursOf(ctx, tx, project, *after, "/after")
	if err != nil {
		return "", err
	}
	if n.Next == "" {
		// At the end. The counter's lock keeps others from it, so look again.
		end, err := tenant.Value[int64](ctx, tx, nextSlot, project)
		if err != nil {
			return "", err
		}
		if n, err = neighboursOf(ctx, tx, project, *after, "/after"); err != nil || n.Next == "" {
			return slot(end), err
		}
	}
	return f.kept(ctx, tx, project, between(n.Position, n.Next))
}

// kept lets a job shorten the project's ranks once they have grown long.
func (f *Feature) kept(ctx context.Context, tx *tenant.Tx, project id.ID, rank string) (string, error) {
	if len(rank) <= longRank {
		return rank, nil
	}
	return rank, rebalance.Enqueue(ctx, f.queue, tx, rebalanceArgs{ProjectID: project})
}

type neighbours struct {
	Position string `db:"position"`
	Previous string `db:"previous"`
	Next     string `db:"next"`
}

func neighboursOf(ctx context.Context, tx *tenant.Tx, project, task id.ID, pointer string) (neighbours, error) {
	n, err := tenant.One[neighbours](ctx, tx, selectNeighbours, project, task)
	if errors.Is(err, tenant.ErrNoRows) {
		return n, unknownNeighbour(pointer)
	}
	return n, err
}

func unknownNeighbour(pointer string) error {
	return fault.Invalidf(pointer, "there is no such other task in the project")
}

// carry moves a task and all below it into another project.
func (f *Feature) carry(ctx context.Context, tx *tenant.Tx, in *moveTask, target id.ID) (Task, error) {
	if err := checkTarget(ctx, tx, target, in.Body.Status); err != nil {
		return Task{}, err
	}
	ids, before, err := f.treeFor(ctx, tx, in, target)
	if err != nil {
		return Task{}, err
	}
	if err := carryRows(ctx, tx, before[in.TaskID].ProjectID, target, ids, before, in.Body.Status); err != nil {
		return Task{}, err
	}
	if in.Body.Before != nil || in.Body.After != nil {
		err := ranked(ctx, tx, func() error {
			rank, err := f.rank(ctx, tx, target, in.Body.Before, in.Body.After)
			if err != nil {
				return err
			}
			_, err = tenant.Exec(ctx, tx, setPosition, in.TaskID, rank)
			return err
		})
		if err != nil {
			return Task{}, err
		}
	}
	after, err := heldMany(ctx, tx, ids)
	if err != nil {
		return Task{}, err
	}
	for _, t := range ids {
		if before[t].DeletedAt != nil {
			continue
		}
		if err := Moved.EmitChange(ctx, tx, before[t].Task, after[t].Task); err != nil {
			return Task{}, err
		}
	}
	return after[in.TaskID].Task, nil
}

// carryRows moves the rows, and gives them labels of the same names there.
func carryRows(ctx context.Context, tx *tenant.Tx, from, to id.ID, ids []id.ID, before map[id.ID]held, status string) error {
	if _, err := tenant.Exec(ctx, tx, untieTasks, from, ids); err != nil {
		return err
	}
	if _, err := tenant.Exec(ctx, tx, carryTasks, to, ids, status, len(ids)); err != nil {
		return refine(err)
	}
	names := make(map[id.ID][]string, len(ids))
	for _, t := range ids {
		if labels := before[t].Labels; len(labels) > 0 {
			names[t] = labels
		}
	}
	if len(names) == 0 {
		return nil
	}
	_, err := tieAll(ctx, tx, to, ids, names)
	return err
}

const setPosition = `update tasks set position = $2 where id = $1`

func checkTarget(ctx context.Context, tx *tenant.Tx, target id.ID, state string) error {
	a, err := tenant.One[work.Access](ctx, tx, selectTarget, target)
	if errors.Is(err, tenant.ErrNoRows) {
		return fault.Invalidf("/project_id", "there is no such project")
	}
	if err != nil {
		return err
	}
	if err := a.Write(); err != nil || state == "" {
		return err
	}
	known, err := tenant.Value[bool](ctx, tx, selectState, target, state)
	if err == nil && !known {
		return unknownState()
	}
	return err
}

// treeFor locks both projects' counters, in one order for all, and the tree.
func (f *Feature) treeFor(ctx context.Context, tx *tenant.Tx, in *moveTask, target id.ID) ([]id.ID, map[id.ID]held, error) {
	h, err := heldOne(ctx, tx, in.TaskID)
	if err != nil {
		return nil, nil, err
	}
	from := h.ProjectID
	projects := []id.ID{from, target}
	slices.SortFunc(projects, func(a, b id.ID) int { return bytes.Compare(a[:], b[:]) })
	ids, rows, err := lockTree(ctx, tx, projects, h, true)
	if err != nil {
		return nil, nil, err
	}
	h = rows[in.TaskID]
	if h.ProjectID != from || h.ProjectID == target {
		return nil, nil, fault.Conflictf("task_moved", "Somebody moved the task to another project. Read it again.")
	}
	if err := h.writable(); err != nil {
		return nil, nil, err
	}
	if err := h.staleFor(in.IfMatch, change{}, false); err != nil {
		return nil, nil, err
	}
	return ids, rows, in.settle(h)
}
