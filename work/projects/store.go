package projects

import (
	"context"
	"errors"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/line"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/work"
)

// dataCols are the columns of ProjectData where p is the project.
const dataCols = `p.id, p.key, p.name, p.description, p.status, p.visibility, p.color, p.owner_id, p.version,
	p.created_at, p.updated_at, p.archived_at, p.deleted_at`

const (
	selectProject = `select ` + dataCols + `, a.role as your_role
		from projects p join project_access a on a.tenant_id = p.tenant_id and a.project_id = p.id
		where p.id = $1`

	// Sees the trash as well, as long as one can come back from it.
	selectTrashed = `select ` + dataCols + `, s.role as your_role
		from projects p join project_sight s on s.tenant_id = p.tenant_id and s.project_id = p.id
		where p.id = $1 and (p.deleted_at is null or p.deleted_at > now() - make_interval(days => $2))`

	// A lock of its own statement: what is read after it is what it guards.
	lockProject = `select p.id from projects p where p.id = $1 for no key update`

	lockLive = `select p.id from projects p where p.id = $1 and p.deleted_at is null for no key update`

	// $1 status, $2 LIKE pattern, $3 visibility, $4 days in the trash
	listFrom = ` from projects p join project_sight s on s.tenant_id = p.tenant_id and s.project_id = p.id
		where s.deleted = ($1 = 'trashed')
		and ($1 <> 'trashed' or s.role = 'lead' and p.deleted_at > now() - make_interval(days => $4))
		and ($1 in ('', 'trashed') or p.status = $1)
		and ($2 = '' or p.name ilike $2 or p.key ilike $2 or p.description ilike $2)
		and ($3 = '' or p.visibility = $3)`

	countProjects = `select count(*)` + listFrom

	// $5 order, $6 and $7 the last row before, $8 rows, $9 rows to skip
	listCols = `select l.id, l.key, l.name, l.description, l.status, l.visibility, l.color, l.owner_id, l.version,
			l.created_at, l.updated_at, l.archived_at, l.deleted_at, l.your_role, l.sort_key
		from (select ` + dataCols + `, s.role as your_role, case $5
				when 'key' then p.key
				when 'created_at' then to_char(p.created_at at time zone 'UTC', 'YYYYMMDDHH24MISSUS')
				when 'updated_at' then to_char(p.updated_at at time zone 'UTC', 'YYYYMMDDHH24MISSUS')
				else lower(p.name) end as sort_key` + listFrom + `) l `

	listAscending = listCols + `where $6::text is null or (l.sort_key, l.id) > ($6, $7::uuid)
		order by l.sort_key, l.id limit $8 offset $9`
	listDescending = listCols + `where $6::text is null or (l.sort_key, l.id) < ($6, $7::uuid)
		order by l.sort_key desc, l.id desc limit $8 offset $9`

	// $1 organisation, $2 id, $3 keys to choose from, $4 name, $5 description,
	// $6 status, $7 visibility, $8 color, $9 owner, $10 leads, $11.. states
	insertProject = `with chosen as (
		select c.key from unnest($3::text[]) with ordinality as c (key, n)
		where not exists (select from projects x where x.key = c.key) order by c.n limit 1
	), p as (
		insert into projects (tenant_id, id, key, name, description, status, visibility, color, owner_id, archived_at)
		select $1::uuid, $2::uuid, chosen.key, $4::text, $5::text, $6::text, $7::text, $8::text, $9::uuid,
			case when $6::text = 'archived' then now() end
		from chosen
		on conflict on constraint project_key_taken do nothing
		returning id, key, name, description, status, visibility, color, owner_id, version, created_at, updated_at, archived_at, deleted_at
	), leads as (
		insert into project_members (tenant_id, project_id, user_id, role)
		select $1::uuid, p.id, l.user_id, 'lead' from p cross join unnest($10::uuid[]) as l (user_id)
	), states as (
		insert into project_states (tenant_id, project_id, id, key, name, state_group, position, is_default)
		select $1::uuid, p.id, s.id, s.key, s.name, s.state_group, s.position, s.key = $16
		from p cross join unnest($11::uuid[], $12::text[], $13::text[], $14::text[], $15::text[]) as s (id, key, name, state_group, position)
	)
	select ` + dataCols + ` from p`

	updateProject = `update projects p set key = $2, name = $3, description = $4, status = $5, visibility = $6, color = $7, owner_id = $8,
			archived_at = case when $5 = 'archived' then coalesce(p.archived_at, now()) end, version = p.version + 1, updated_at = now()
		where p.id = $1 and p.version = $9 and p.deleted_at is null
		returning ` + dataCols

	ownerSees = `exists (select from members mb
			left join project_members m on m.tenant_id = mb.tenant_id and m.project_id = p.id and m.user_id = mb.user_id
			left join roles r on r.tenant_id = mb.tenant_id and r.key = mb.role
			where mb.tenant_id = p.tenant_id and mb.user_id = p.owner_id
			and (m.role is not null or p.visibility = 'open' and mb.role <> 'guest' and r.guest is not true))`

	// No row means that there is no owner or that he still sees the project.
	releaseOwner = `update projects p set owner_id = null, version = p.version + 1, updated_at = now()
		where p.id = $1 and p.owner_id is not null and not ` + ownerSees + `
		returning ` + dataCols

	trashProject = `update projects p set deleted_at = now(), deleted_by = $3, version = p.version + 1, updated_at = now()
		where p.id = $1 and p.version = $2 and p.deleted_at is null
		returning ` + dataCols

	restoreProject = `update projects p set deleted_at = null, deleted_by = null, version = p.version + 1, updated_at = now()
		where p.id = $1 and p.version = $2 and p.deleted_at is not null
		returning ` + dataCols

	// For holders of projects.manage only, whoever they are in the projects.
	selectPrivateProjects = `select p.id, p.key, p.name, p.owner_id from projects p
		where p.visibility = 'private' and p.deleted_at is null and ($1::text is null or p.key > $1)
		order by p.key limit $2 offset $3`
	countPrivateProjects = `select count(*) from projects p where p.visibility = 'private' and p.deleted_at is null`
)

// errKeyTaken is the answer of the constraint project_key_taken.
func errKeyTaken(key string) error {
	return fault.Conflictf("project_key_taken", "Another project has the key %s, maybe one in the trash. Choose another key.", key)
}

// listed is a project with its place in the order of a list.
type listed struct {
	Project
	SortKey string `db:"sort_key"`
}

// position is a place in a list of projects.
type position struct {
	Key string `json:"k"`
	ID  id.ID  `json:"i"`
}

// listProjects reads one page and one row more.
func listProjects(ctx context.Context, v tenant.View, in *listProjectsInput, order api.Sort, after *position) (rows []listed, total *int64, err error) {
	filter := []any{in.Status, line.Like(in.Search), in.Visibility, trashDays}
	var key *string
	var last *id.ID
	if after != nil {
		key, last = &after.Key, &after.ID
	}
	list := listAscending
	if order.Desc {
		list = listDescending
	}
	args := append(filter[:4:4], order.Field, key, last, in.Limit+1, in.Offset())
	if !in.WantTotal() {
		rows, err = tenant.List[listed](ctx, v, list, args...)
		return rows, nil, err
	}
	total = new(int64)
	err = v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &rows, list, args...)
		tenant.QueueValue(b, total, countProjects, filter...)
	})
	return rows, total, err
}

// insert stores the project with its first leads and the default states. It
// takes the first key of the list that is free; a loss in a race for it shows
// as no row, and the next free one is tried.
func insert(ctx context.Context, tx *tenant.Tx, p ProjectData, keys []string, leads []id.ID) (ProjectData, error) {
	states := defaultStates(p.ID)
	var ids []id.ID
	var stateKeys, names, groups, positions []string
	for _, s := range states {
		ids, stateKeys, names = append(ids, s.ID), append(stateKeys, s.Key), append(names, s.Name)
		groups, positions = append(groups, string(s.Group)), append(positions, s.Position)
	}
	for range len(keys) {
		made, err := tenant.One[ProjectData](ctx, tx, insertProject, tx.Scope().Organization, p.ID, keys, p.Name, p.Description,
			p.Status, p.Visibility, p.Color, p.OwnerID, leads, ids, stateKeys, names, groups, positions, defaultState(states))
		if !errors.Is(err, tenant.ErrNoRows) {
			return made, refine(err)
		}
	}
	return ProjectData{}, errKeyTaken(keys[0])
}

// held locks a project and reads it as the viewer sees it, who must be need in
// it.
func held(ctx context.Context, tx *tenant.Tx, project id.ID, need work.Role) (Project, error) {
	if _, err := tenant.Value[id.ID](ctx, tx, lockProject, project); err != nil {
		return Project{}, tenant.NotFound(err, "project")
	}
	return seen(ctx, tx, project, need)
}

// seen reads a project as the viewer sees it, who must be need in it.
func seen(ctx context.Context, q tenant.Querier, project id.ID, need work.Role) (Project, error) {
	p, err := tenant.One[Project](ctx, q, selectProject, project)
	if err != nil {
		return Project{}, tenant.NotFound(err, "project")
	}
	return p, p.access().Need(need)
}

func update(ctx context.Context, tx *tenant.Tx, p ProjectData) (ProjectData, error) {
	after, err := tenant.One[ProjectData](ctx, tx, updateProject, p.ID, p.Key, p.Name, p.Description, p.Status, p.Visibility, p.Color, p.OwnerID, p.Version)
	if tenant.Constraint(err) == "project_key_taken" {
		return ProjectData{}, errKeyTaken(p.Key)
	}
	return after, refine(err)
}

// refine points at the field that refers to nobody of the organisation.
func refine(err error) error {
	switch tenant.Constraint(err) {
	case "project_owner_unknown":
		return fault.Invalidf("/owner_id", "no member of the organisation has this id").Because(err)
	case "project_member_unknown":
		return fault.Invalidf("/user_id", "no member of the organisation has this id").Because(err)
	}
	return err
}
