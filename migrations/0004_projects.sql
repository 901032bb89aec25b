-- Projects: who may see them, who works in them, and their workflow states.
-- +goose Up

create table projects (
	tenant_id uuid not null,
	id uuid not null,
	key text not null,
	name text not null,
	description text not null default '',
	status text not null default 'active',
	visibility text not null default 'open',
	color text,
	owner_id uuid,
	version bigint not null default 1,
	created_at timestamptz not null default now(),
	updated_at timestamptz not null default now(),
	archived_at timestamptz,
	deleted_at timestamptz,
	deleted_by uuid,
	lost_owner_id uuid,
	constraint projects_pkey primary key (tenant_id, id),
	constraint project_key_taken unique (tenant_id, key),
	constraint project_organization_unknown foreign key (tenant_id) references organizations (tenant_id) on delete cascade,
	constraint project_owner_unknown foreign key (tenant_id, owner_id) references members (tenant_id, user_id) on delete set null (owner_id),
	constraint project_key_form check (key ~ '^[A-Z][A-Z0-9]{1,9}$'),
	constraint project_name_length check (length(name) between 1 and 200),
	constraint project_description_length check (length(description) <= 50000),
	constraint project_status check (status in ('active', 'archived')),
	constraint project_visibility check (visibility in ('open', 'private')),
	constraint project_color_form check (color ~ '^#[0-9a-f]{6}$'),
	constraint project_archived_when check ((status = 'archived') = (archived_at is not null))
);
create index projects_owner on projects (tenant_id, owner_id);
create index projects_lost on projects (tenant_id, lost_owner_id) where lost_owner_id is not null;
create index projects_deleted on projects (tenant_id, deleted_at) where deleted_at is not null;
comment on table projects is 'work/projects: plans of an organisation; one in the trash keeps its key, so that it can come back; lost_owner_id is who left, until it was told';
select protect_tenant_table('projects');

-- An owner who leaves changes a project without passing through the feature:
-- the row looks different, so it gets a new version, and it remembers whom it
-- lost until the event of it is written.
-- +goose StatementBegin
create function project_lost_owner() returns trigger language plpgsql as $$
begin
	new.version := old.version + 1;
	new.updated_at := now();
	new.lost_owner_id := old.owner_id;
	return new;
end $$;
-- +goose StatementEnd
revoke execute on function project_lost_owner() from public;
create trigger project_lost_owner before update of owner_id on projects for each row
	when (new.version = old.version and new.owner_id is distinct from old.owner_id)
	execute function project_lost_owner();

create table project_members (
	tenant_id uuid not null,
	project_id uuid not null,
	user_id uuid not null,
	role text not null,
	created_at timestamptz not null default now(),
	constraint project_member_exists primary key (tenant_id, project_id, user_id),
	constraint project_member_project_unknown foreign key (tenant_id, project_id) references projects (tenant_id, id) on delete cascade,
	constraint project_member_unknown foreign key (tenant_id, user_id) references members (tenant_id, user_id) on delete cascade,
	constraint project_member_role check (role in ('lead', 'contributor', 'viewer'))
);
create index project_members_user on project_members (tenant_id, user_id, project_id);
comment on table project_members is 'work/projects: the people named in a project and what they are there';
select protect_tenant_table('project_members');

create table project_states (
	tenant_id uuid not null,
	project_id uuid not null,
	id uuid not null,
	key text not null,
	name text not null,
	state_group text not null,
	position text collate "C" not null,
	color text,
	is_default boolean not null default false,
	constraint project_states_pkey primary key (tenant_id, id),
	constraint state_key_taken unique (tenant_id, project_id, key),
	constraint state_means unique (tenant_id, project_id, key, state_group),
	constraint state_project_unknown foreign key (tenant_id, project_id) references projects (tenant_id, id) on delete cascade,
	constraint state_key_form check (key ~ '^[a-z][a-z0-9_]{0,39}$'),
	constraint state_name_length check (length(name) between 1 and 100),
	constraint state_group check (state_group in ('backlog', 'unstarted', 'started', 'completed', 'cancelled')),
	constraint state_color_form check (color ~ '^#[0-9a-f]{6}$')
);
create unique index state_default on project_states (tenant_id, project_id) where is_default;
comment on table project_states is 'work/projects: the workflow of a project in the order of position; tasks name a state by (project_id, key) and repeat its group';
select protect_tenant_table('project_states');

-- What the viewer of this transaction is in every project that he may see, the
-- trash included: what filters events uses this one. The settings stand in
-- scalar subqueries, so they are read once per statement, and both tables are
-- met by their primary keys.
create view project_sight with (security_invoker = true) as
select s.tenant_id, s.project_id, s.project_key, s.visibility, s.role, s.archived, s.deleted
from (
	select p.tenant_id, p.id as project_id, p.key as project_key, p.visibility,
		case
			when (select current_setting('app.user_id')) = 'system' then 'lead'
			when p.visibility = 'open' and (select current_setting('app.open_role')) = 'lead' then 'lead'
			when m.role is not null then m.role
			when p.visibility = 'open' then (select nullif(current_setting('app.open_role'), ''))
		end as role,
		p.status = 'archived' as archived,
		p.deleted_at is not null as deleted
	from projects p
	left join project_members m on m.tenant_id = p.tenant_id and m.project_id = p.id and m.user_id = (
		select case when current_setting('app.user_id') <> 'system' then current_setting('app.user_id')::uuid end)
) s
where s.role is not null;
comment on view project_sight is 'work/projects: one row per project that the viewer may see, trashed ones included: role lead, contributor or viewer';
grant select on project_sight to guildhall_app;

-- The same without the trash: what reads and writes of project contents join.
create view project_access with (security_invoker = true) as
select s.tenant_id, s.project_id, s.project_key, s.visibility, s.role, s.archived,
	s.role in ('lead', 'contributor') and not s.archived as writable
from project_sight s
where not s.deleted;
comment on view project_access is 'work/projects: one row per project that the viewer may see and that is not in the trash; writable = may change its tasks and comments';
grant select on project_access to guildhall_app;

-- Organisations whose trash holds projects that are due for the purge.
-- +goose StatementBegin
create function organizations_with_projects_to_purge(after_days integer) returns setof uuid
language sql stable security definer set search_path = guildhall, pg_temp as $$
	select p.tenant_id from projects p
	where p.deleted_at < now() - make_interval(days => greatest(after_days, 7))
	group by p.tenant_id order by min(p.deleted_at) limit 1000
$$;
-- +goose StatementEnd
create policy platform on projects to guildhall_platform using (true) with check (true);
grant select on projects to guildhall_platform;
alter function organizations_with_projects_to_purge(integer) owner to guildhall_platform;
revoke execute on function organizations_with_projects_to_purge(integer) from public;
grant execute on function organizations_with_projects_to_purge(integer) to guildhall_worker;
