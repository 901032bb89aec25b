-- Tasks: what is to be done, its labels and who watches it.
-- +goose Up

create table task_counters (
	tenant_id uuid not null,
	project_id uuid not null,
	last_number integer not null,
	last_slot bigint not null,
	constraint task_counters_pkey primary key (tenant_id, project_id),
	constraint task_counter_project_unknown foreign key (tenant_id, project_id) references projects (tenant_id, id) on delete cascade
);
comment on table task_counters is 'work/tasks: per project the last number and the last place at the end that were given; its lock orders what takes many places';
select protect_tenant_table('task_counters');

create table tasks (
	tenant_id uuid not null,
	id uuid not null,
	project_id uuid not null,
	number integer not null,
	title text not null,
	description text not null default '',
	status text not null,
	state_group text not null,
	labels text[] not null default '{}',
	priority text not null default 'none',
	priority_rank smallint not null generated always as (case priority
		when 'low' then 1 when 'medium' then 2 when 'high' then 3 when 'urgent' then 4 else 0 end) stored,
	assigned_to_id uuid,
	parent_id uuid,
	due_date date,
	start_date date,
	position text collate "C" not null,
	completed_at timestamptz,
	field_versions jsonb not null default '{}',
	version bigint not null default 1,
	created_by_kind text not null,
	created_by_id uuid,
	created_at timestamptz not null default now(),
	updated_at timestamptz not null default now(),
	deleted_at timestamptz,
	lost_assignee_id uuid,
	constraint tasks_pkey primary key (tenant_id, id),
	constraint task_number_taken unique (tenant_id, project_id, number),
	constraint task_position_taken unique (tenant_id, project_id, position),
	constraint task_in_project unique (tenant_id, project_id, id),
	constraint task_project_unknown foreign key (tenant_id, project_id) references projects (tenant_id, id) on delete cascade,
	-- The group stands in the key, so that the copy of it cannot differ.
	constraint task_state_unknown foreign key (tenant_id, project_id, status, state_group)
		references project_states (tenant_id, project_id, key, state_group) on update cascade,
	constraint task_assignee_unknown foreign key (tenant_id, assigned_to_id) references members (tenant_id, user_id) on delete set null (assigned_to_id),
	constraint task_parent_unknown foreign key (tenant_id, project_id, parent_id) references tasks (tenant_id, project_id, id) on delete set null (parent_id),
	constraint task_parent_itself check (parent_id <> id),
	constraint task_title_length check (length(title) between 1 and 500),
	constraint task_description_length check (length(description) <= 50000),
	constraint task_priority check (priority in ('none', 'low', 'medium', 'high', 'urgent')),
	constraint task_dates_order check (start_date <= due_date),
	constraint task_position_form check (position ~ '^[0-9A-Za-z]*[1-9A-Za-z]$' and length(position) <= 2000)
);
create index tasks_status on tasks (tenant_id, project_id, status, state_group);
create index tasks_parent on tasks (tenant_id, project_id, parent_id) where parent_id is not null;
create index tasks_assignee on tasks (tenant_id, assigned_to_id) where assigned_to_id is not null;
create index tasks_lost on tasks (tenant_id, lost_assignee_id) where lost_assignee_id is not null;
create index tasks_created on tasks (tenant_id, created_at, id);
create index tasks_deleted on tasks (tenant_id, deleted_at) where deleted_at is not null;
comment on table tasks is 'work/tasks: what is to be done; field_versions says in which version a field last changed, position is a rank (see rank.go); labels repeats the names of task_labels, in the order of their keys; lost_assignee_id is who left, until it was told';
select protect_tenant_table('tasks');

-- A member who leaves and a parent that is purged change a task without passing
-- through the feature; the row looks different, so it gets a new version, and it
-- remembers the assignee until the event of it is written.
-- +goose StatementBegin
create function task_lost_reference() returns trigger language plpgsql as $$
begin
	new.version := old.version + 1;
	new.field_versions := old.field_versions || jsonb_build_object('assigned_to_id', new.version, 'parent_id', new.version);
	new.updated_at := now();
	if new.assigned_to_id is null and old.assigned_to_id is not null then
		new.lost_assignee_id := old.assigned_to_id;
	end if;
	return new;
end $$;
-- +goose StatementEnd
revoke execute on function task_lost_reference() from public;
create trigger task_lost_reference before update of assigned_to_id, parent_id on tasks for each row
	when (new.version = old.version and (new.assigned_to_id is distinct from old.assigned_to_id or new.parent_id is distinct from old.parent_id))
	execute function task_lost_reference();

create table labels (
	tenant_id uuid not null,
	project_id uuid not null,
	id uuid not null,
	name text not null,
	name_key text not null,
	color text,
	version bigint not null default 1,
	created_at timestamptz not null default now(),
	constraint labels_pkey primary key (tenant_id, id),
	constraint label_name_taken unique (tenant_id, project_id, name_key),
	constraint label_in_project unique (tenant_id, project_id, id),
	constraint label_project_unknown foreign key (tenant_id, project_id) references projects (tenant_id, id) on delete cascade,
	constraint label_name_length check (length(name) between 1 and 50),
	constraint label_color_form check (color ~ '^#[0-9a-f]{6}$')
);
comment on table labels is 'work/tasks: words that tasks of a project carry; made on first use; name_key is the folded name';
select protect_tenant_table('labels');

create table task_labels (
	tenant_id uuid not null,
	project_id uuid not null,
	task_id uuid not null,
	label_id uuid not null,
	constraint task_labels_pkey primary key (tenant_id, project_id, task_id, label_id),
	constraint task_label_task_unknown foreign key (tenant_id, project_id, task_id) references tasks (tenant_id, project_id, id) on delete cascade,
	-- Deferred, so that a project can go with all that hangs on it, in any order.
	constraint task_label_unknown foreign key (tenant_id, project_id, label_id) references labels (tenant_id, project_id, id) deferrable initially deferred
);
create index task_labels_label on task_labels (tenant_id, project_id, label_id, task_id);
comment on table task_labels is 'work/tasks: which task carries which label; both are of one project';
select protect_tenant_table('task_labels');

create table task_watchers (
	tenant_id uuid not null,
	task_id uuid not null,
	user_id uuid not null,
	created_at timestamptz not null default now(),
	constraint task_watchers_pkey primary key (tenant_id, task_id, user_id),
	constraint task_watcher_task_unknown foreign key (tenant_id, task_id) references tasks (tenant_id, id) on delete cascade,
	constraint task_watcher_unknown foreign key (tenant_id, user_id) references members (tenant_id, user_id) on delete cascade
);
create index task_watchers_user on task_watchers (tenant_id, user_id, task_id);
comment on table task_watchers is 'work/tasks: who wants to hear of a task; its creator, assignees and commenters do by themselves';
select protect_tenant_table('task_watchers');

-- Organisations whose trash holds tasks that are due for the purge.
-- +goose StatementBegin
create function organizations_with_tasks_to_purge(after_days integer) returns setof uuid
language sql stable security definer set search_path = guildhall, pg_temp as $$
	select distinct t.tenant_id from tasks t
	where t.deleted_at < now() - make_interval(days => greatest(after_days, 7)) limit 1000
$$;
-- +goose StatementEnd
create policy platform on tasks to guildhall_platform using (true) with check (true);
grant select on tasks to guildhall_platform;
alter function organizations_with_tasks_to_purge(integer) owner to guildhall_platform;
revoke execute on function organizations_with_tasks_to_purge(integer) from public;
grant execute on function organizations_with_tasks_to_purge(integer) to guildhall_worker;
