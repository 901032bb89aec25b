package tasks

import (
	"context"
	"errors"
	"time"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/work"
)

// taskCols are the columns of Task where t is the task and a its project as the
// viewer may see it. The state's group and the names of the labels stand in the
// row itself: joined to them, a read would cost twice as much.
const taskCols = `t.id, a.project_key || '-' || t.number as key, t.number, t.title, t.description, t.status, t.state_group, t.priority,
	t.assigned_to_id, t.project_id, t.parent_id, t.due_date, t.start_date, t.labels, t.position, t.completed_at, row(t.created_by_kind, t.created_by_id) as created_by,
	t.version, t.created_at, t.updated_at, t.deleted_at`

const taskFrom = ` from tasks t
	join project_access a on a.tenant_id = t.tenant_id and a.project_id = t.project_id `

const (
	selectTasks = `select ` + taskCols + taskFrom
	countTasks  = `select count(*)` + taskFrom
	selectTask  = selectTasks + `where t.id = $1 and t.deleted_at is null`
	selectHeld  = `select ` + taskCols + `, a.role, a.archived, t.field_versions` + taskFrom + `where t.id = any($1::uuid[])`
	// selectHeldIn also says whether the project is private.
	selectHeldIn = `select ` + taskCols + `, a.role, a.archived, t.field_versions, a.visibility = 'private' as private` + taskFrom + `where t.id = any($1::uuid[])`
	lockTasks    = `select t.id from tasks t where t.id = any($1::uuid[]) order by t.id for no key update`
)

// assignable says whether m, a member, may see p, a project.
const assignable = `exists (select from projects p
	join members m on m.tenant_id = p.tenant_id
	left join project_members pm on pm.tenant_id = p.tenant_id and pm.project_id = p.id and pm.user_id = m.user_id
	left join roles r on r.tenant_id = m.tenant_id and r.key = m.role
	where p.id = $1 and m.user_id = $2 and (pm.role is not null or p.visibility = 'open' and m.role <> 'guest' and r.guest is not true))`

const selectAssignable = `select ` + assignable

// insertTask is all of a create in one statement: the right to it, the state,
// the assignee, number and place from the counter, the row, the first watchers.
// The counter row comes first, so creates in one project follow one another and
// cannot meet in the indexes. No row means that something was not as it must
// be; selectRefusal then says what.
const insertTask = `with access as (
	select a.project_id, a.project_key, s.key as status, s.state_group
	from project_access a
	join project_states s on s.tenant_id = a.tenant_id and s.project_id = a.project_id
		and case when $5::text = '' then s.is_default else s.key = $5 end
	where a.project_id = $1 and a.writable and ($2::uuid is null or ` + assignable + `)
), counter as (
	insert into task_counters as c (tenant_id, project_id, last_number, last_slot)
	select $3::uuid, a.project_id, 1, 1 from access a
	on conflict (tenant_id, project_id) do update set last_number = c.last_number + 1, last_slot = c.last_slot + 1
	returning last_number, last_slot
), t as (
	insert into tasks (tenant_id, id, project_id, number, title, description, status, state_group, priority, assigned_to_id, parent_id,
		due_date, start_date, position, completed_at, created_by_kind, created_by_id)
	select $3::uuid, $4::uuid, a.project_id, c.last_number, $6::text, $7::text, a.status, a.state_group, $8::text, $2::uuid, $9::uuid,
		$10::date, $11::date, lpad(to_hex(c.last_slot), 8, '0') || 'V', case when a.state_group = 'completed' then now() end, $12::text, $13::uuid
	from counter c cross join access a
	returning id, number, title, description, status, state_group, priority, assigned_to_id, project_id, parent_id, due_date, start_date,
		labels, position, completed_at, created_by_kind, created_by_id, version, created_at, updated_at, deleted_at
), watchers as (
	insert into task_watchers (tenant_id, task_id, user_id)
	select distinct $3::uuid, $4::uuid, w.id from t, unnest(array[$14::uuid, $2::uuid]) as w (id) where w.id is not null
)
select ` + taskCols + ` from t cross join access a`

const selectRefusal = `select a.role, a.archived,
	exists (select from project_states s where s.tenant_id = a.tenant_id and s.project_id = a.project_id and s.key = $3) or $3 = '' as state_ok,
	$2::uuid is null or ` + assignable + ` as assignee_ok
from project_access a where a.project_id = $1`

// updateTask changes the row on condition of the version that the change was
// computed from.
const updateTask = `update tasks t set title = $4, description = $5, status = $6, state_group = g.state_group, priority = $7, assigned_to_id = $8, parent_id = $9,
	due_date = $10, start_date = $11, position = $12, field_versions = $13, version = t.version + 1, updated_at = now(),
	completed_at = case when g.state_group = 'completed' then coalesce(t.completed_at, now()) end
from (select coalesce((select s.state_group from project_states s where s.tenant_id = $1 and s.project_id = $14 and s.key = $6), '') as state_group) g
where t.tenant_id = $1 and t.id = $2 and t.version = $3 and t.deleted_at is null
returning t.version, t.updated_at, t.completed_at, t.state_group`

// insertWatchers leaves out who is no longer a member.
const insertWatchers = `insert into task_watchers (tenant_id, task_id, user_id)
select t.tenant_id, t.id, m.user_id from unnest($1::uuid[], $2::uuid[]) as w (task_id, user_id)
join tasks t on t.id = w.task_id
join members m on m.tenant_id = t.tenant_id and m.user_id = w.user_id
on conflict (tenant_id, task_id, user_id) do nothing`

// selectAncestry measures what would happen if task $3 (null: a new one) became
// a part of task $2: whether that is there, whether it lies below $3, and how
// many levels the tree would have.
const selectAncestry = `with recursive up as (
	select p.id, p.parent_id, 1 as level from tasks p where p.project_id = $1 and p.id = $2 and p.deleted_at is null
	union all
	select p.id, p.parent_id, up.level + 1 from up join tasks p on p.project_id = $1 and p.id = up.parent_id where up.level <= 20
), down as (
	select $3::uuid as id, 1 as level
	union all
	select c.id, down.level + 1 from down join tasks c on c.project_id = $1 and c.parent_id = down.id where down.level <= 20
)
select exists (select from up) as found, exists (select from up where up.id = $3) as cycle,
	(select coalesce(max(level), 0) from up) + (select max(level) from down) as levels`

// selectTree lists a task and all below it, from the top; $3 says whether what
// is in the trash counts.
const selectTree = `with recursive tree as (
	select t.id, 1 as level from tasks t where t.project_id = $1 and t.id = $2
	union all
	select c.id, tree.level + 1 from tree join tasks c on c.project_id = $1 and c.parent_id = tree.id and ($3 or c.deleted_at is null)
	where tree.level <= 20
)
select tree.id from tree order by tree.level, tree.id limit 1001`

const (
	// lockCounters takes the counter rows alone, in one order for all, and makes
	// the ones that are missing.
	lockCounters = `insert into task_counters as c (tenant_id, project_id, last_number, last_slot)
select $1::uuid, p.id, 0, 0 from projects p where p.id = any($2::uuid[]) order by p.id
on conflict (tenant_id, project_id) do update set last_number = c.last_number`

	trashTasks = `update tasks t set deleted_at = now(), version = t.version + 1, updated_at = now()
where t.id = any($1::uuid[]) and t.deleted_at is null`

	restoreTasks = `update tasks t set deleted_at = null, version = t.version + 1, updated_at = now(),
	parent_id = case when exists (select from tasks p where p.tenant_id = t.tenant_id and p.id = t.parent_id
		and (p.deleted_at is null or p.id = any($1::uuid[]))) then t.parent_id end
where t.id = any($1::uuid[]) and t.deleted_at is not null`
)

// createArgs are the arguments of insertTask in their order.
func createArgs(tx *tenant.Tx, project id.ID, f fields) []any {
	s := tx.Scope()
	var by, watcher *id.ID
	if !s.Actor.ID.IsZero() {
		by = &s.Actor.ID
	}
	if s.Actor.Kind == tenant.User {
		watcher = by
	}
	return []any{project, f.AssignedToID, s.Organization, id.New(), f.Status, f.Title, f.Description, f.Priority, f.ParentID,
		f.DueDate, f.StartDate, string(s.Actor.Kind), by, watcher}
}

// refusal says why insertTask made nothing.
func refusal(ctx context.Context, tx *tenant.Tx, project id.ID, f fields) error {
	type state struct {
		work.Access
		StateOK    bool `db:"state_ok"`
		AssigneeOK bool `db:"assignee_ok"`
	}
	r, err := tenant.One[state](ctx, tx, selectRefusal, project, f.AssignedToID, f.Status)
	if err != nil {
		return tenant.NotFound(err, "project")
	}
	switch {
	case r.Write() != nil:
		return r.Write()
	case !r.StateOK:
		return unknownState()
	case !r.AssigneeOK:
		return notAssignable()
	}
	return fault.Conflictf("project_changed", "The project changed at this moment. Try again.")
}

// heldOne reads one task with what decides about a change of it.
func heldOne(ctx context.Context, q tenant.Querier, task id.ID) (held, error) {
	h, err := tenant.One[held](ctx, q, selectHeld, []id.ID{task})
	return h, tenant.NotFound(err, "task")
}

// heldMany is heldOne for many; what is missing or not visible is left out.
func heldMany(ctx context.Context, tx *tenant.Tx, ids []id.ID) (map[id.ID]held, error) {
	rows, err := tenant.List[held](ctx, tx, selectHeld, ids)
	if err != nil {
		return nil, err
	}
	byID := make(map[id.ID]held, len(rows))
	for _, h := range rows {
		byID[h.ID] = h
	}
	return byID, nil
}

// errOvertaken means that the row changed since it was read.
var errOvertaken = errors.New("tasks: somebody else changed the row")

// save writes the task over the version that was read, or is overtaken.
func save(ctx context.Context, tx *tenant.Tx, was held, now Task, changed []string) (Task, error) {
	versions := make(map[string]int64, len(was.FieldVersions)+len(changed))
	for f, v := range was.FieldVersions {
		versions[f] = v
	}
	for _, f := range changed {
		versions[f] = was.Version + 1
	}
	type saved struct {
		Version     int64      `db:"version"`
		UpdatedAt   time.Time  `db:"updated_at"`
		CompletedAt *time.Time `db:"completed_at"`
		StateGroup  work.Group `db:"state_group"`
	}
	s, err := tenant.One[saved](ctx, tx, updateTask, tx.Scope().Organization, now.ID, was.Version, now.Title, now.Description, now.Status,
		now.Priority, now.AssignedToID, now.ParentID, now.DueDate, now.StartDate, now.Position, versions, now.ProjectID)
	if errors.Is(err, tenant.ErrNoRows) {
		return now, errOvertaken
	}
	now.Version, now.UpdatedAt, now.CompletedAt, now.StateGroup = s.Version, s.UpdatedAt, s.CompletedAt, s.StateGroup
	return now, refine(err)
}

// checkAssignable is nil if the person is a member who may see the project.
func checkAssignable(ctx context.Context, tx *tenant.Tx, project, person id.ID) error {
	ok, err := tenant.Value[bool](ctx, tx, selectAssignable, project, person)
	if err == nil && !ok {
		return notAssignable()
	}
	return err
}

// checkParent holds a new parent against the rules of the tree. It takes the
// project's counter row, under which no tree of the project changes.
func checkParent(ctx context.Context, tx *tenant.Tx, project, parent id.ID, task *id.ID) error {
	if _, err := tenant.Exec(ctx, tx, lockCounters, tx.Scope().Organization, []id.ID{project}); err != nil {
		return err
	}
	type ancestry struct {
		Found  bool `db:"found"`
		Cycle  bool `db:"cycle"`
		Levels int  `db:"levels"`
	}
	a, err := tenant.One[ancestry](ctx, tx, selectAncestry, project, parent, task)
	switch {
	case err != nil:
		return err
	case !a.Found:
		return unknownParent()
	case a.Cycle:
		return fault.Invalidf("/parent_id", "a task cannot be a part of itself or of its own parts")
	case a.Levels > maxDepth:
		return fault.Invalidf("/parent_id", "there are at most %d levels of subtasks", maxDepth)
	}
	return nil
}

// lockTree takes the project's counter row and the rows of a task and all below
// it, and reads them; the order is from the top.
func lockTree(ctx context.Context, tx *tenant.Tx, projects []id.ID, h held, trashed bool) ([]id.ID, map[id.ID]held, error) {
	if _, err := tenant.Exec(ctx, tx, lockCounters, tx.Scope().Organization, projects); err != nil {
		return nil, nil, err
	}
	ids, err := tenant.Values[id.ID](ctx, tx, selectTree, h.ProjectID, h.ID, trashed)
	if err != nil {
		return nil, nil, err
	}
	if len(ids) > maxTree {
		return nil, nil, fault.Conflictf("task_tree_too_large", "The task has more than %d subtasks. Handle them first.", maxTree)
	}
	if _, err := tenant.Values[id.ID](ctx, tx, lockTasks, ids); err != nil {
		return nil, nil, err
	}
	rows, err := heldMany(ctx, tx, ids)
	return ids, rows, err
}

// maxTree bounds how many tasks one operation takes along.
const maxTree = 1000
