-- Plugins: the operator's catalogue, what each organisation installed, and what
-- is on its way to plugins.
-- +goose Up

create table plugin_signers (
	public_key text not null,
	name text not null,
	added_at timestamptz not null default now(),
	constraint plugin_signers_pkey primary key (public_key),
	constraint plugin_signer_name_length check (length(name) between 1 and 200)
);
comment on table plugin_signers is 'platform/integrations: who may sign plugins that run here; a bundle of anybody else never runs';
grant select on plugin_signers to guildhall_app;
grant insert, update, delete on plugin_signers to guildhall_worker;

create table plugins (
	id text not null,
	number integer not null generated always as identity,
	pinned_version text,
	added_at timestamptz not null default now(),
	constraint plugins_pkey primary key (id),
	constraint plugin_number unique (number),
	constraint plugin_id_form check (id ~ '^[a-z][a-z_]{1,38}[a-z]$')
);
comment on table plugins is 'platform/integrations: the plugins of the instance; number makes the account that their processes run as; a pinned version is the one for everybody';
grant select on plugins to guildhall_app;
grant insert, update, delete on plugins to guildhall_worker;

create table plugin_versions (
	plugin_id text not null constraint plugin_version_plugin references plugins (id) on delete cascade,
	version text not null,
	manifest jsonb not null,
	sha256 bytea not null,
	signer text not null,
	size bigint not null,
	revoked_at timestamptz,
	revoked_reason text,
	added_at timestamptz not null default now(),
	constraint plugin_versions_pkey primary key (plugin_id, version),
	constraint plugin_version_sha256 check (length(sha256) = 32),
	constraint plugin_version_revoked check ((revoked_at is null) = (revoked_reason is null))
);
comment on table plugin_versions is 'platform/integrations: the catalogue; a version never changes, and one that was revoked never runs';
grant select on plugin_versions to guildhall_app;
grant insert, update, delete on plugin_versions to guildhall_worker;

create table plugin_bundles (
	plugin_id text not null,
	version text not null,
	bundle bytea not null,
	constraint plugin_bundles_pkey primary key (plugin_id, version),
	constraint plugin_bundle_version foreign key (plugin_id, version) references plugin_versions (plugin_id, version) on delete cascade
);
alter table plugin_bundles alter column bundle set storage external; -- it is compressed already
comment on table plugin_bundles is 'platform/integrations: the bundles themselves, so that every replica runs the same bytes';
grant select on plugin_bundles to guildhall_app;
grant insert, delete on plugin_bundles to guildhall_worker;

create table plugin_installations (
	tenant_id uuid not null,
	id uuid not null,
	plugin_id text not null,
	plugin_version text not null,
	previous_version text,
	status text not null default 'active',
	status_reason text not null default '',
	grants text[] not null,
	settings jsonb not null,
	secrets bytea,
	settings_version bigint not null default 1,
	auto_update boolean not null default true,
	upgraded_at timestamptz not null default now(),
	installed_by_kind text not null,
	installed_by_id uuid,
	version bigint not null default 1,
	created_at timestamptz not null default now(),
	updated_at timestamptz not null default now(),
	constraint plugin_installations_pkey primary key (tenant_id, id),
	constraint plugin_already_installed unique (tenant_id, plugin_id),
	constraint plugin_installation_organization_unknown foreign key (tenant_id) references organizations (tenant_id) on delete cascade,
	constraint plugin_installation_status check (status in ('active', 'suspended', 'quarantined'))
);
create unique index plugin_installations_id on plugin_installations (id);
comment on table plugin_installations is 'platform/integrations: which plugins an organisation installed, in which version, and exactly what it granted; secrets are the sealed secret fields of the settings';
select protect_tenant_table('plugin_installations');
create policy platform on plugin_installations to guildhall_platform using (true) with check (true);
grant select on plugin_installations to guildhall_platform;

create table plugin_values (
	tenant_id uuid not null,
	installation_id uuid not null,
	key text not null,
	value bytea not null,
	version bigint not null default 1,
	updated_at timestamptz not null default now(),
	constraint plugin_values_pkey primary key (tenant_id, installation_id, key),
	constraint plugin_value_installation foreign key (tenant_id, installation_id) references plugin_installations (tenant_id, id) on delete cascade,
	constraint plugin_value_key_length check (octet_length(key) between 1 and 200),
	constraint plugin_value_size check (octet_length(value) <= 65536)
);
comment on table plugin_values is 'plugins: the key-value store of each installation';
select protect_tenant_table('plugin_values');

create table plugin_secrets (
	tenant_id uuid not null,
	installation_id uuid not null,
	name text not null,
	secret bytea not null,
	updated_at timestamptz not null default now(),
	constraint plugin_secrets_pkey primary key (tenant_id, installation_id, name),
	constraint plugin_secret_installation foreign key (tenant_id, installation_id) references plugin_installations (tenant_id, id) on delete cascade,
	constraint plugin_secret_name_length check (octet_length(name) between 1 and 100)
);
comment on table plugin_secrets is 'plugins: sealed secrets that an installation keeps, such as tokens of a foreign service';
select protect_tenant_table('plugin_secrets');

create table plugin_emitted (
	tenant_id uuid not null,
	installation_id uuid not null,
	key_hash bytea not null,
	event_id uuid not null,
	emitted_at timestamptz not null default now(),
	constraint plugin_emitted_pkey primary key (tenant_id, installation_id, key_hash),
	constraint plugin_emitted_installation foreign key (tenant_id, installation_id) references plugin_installations (tenant_id, id) on delete cascade
);
comment on table plugin_emitted is 'plugins: which event a key of a plugin emitted already, for 72 hours';
select protect_tenant_table('plugin_emitted');

-- What is on its way to the listeners of plugins. A row leaves when the plugin
-- is done with the event; one that failed too often stays, to be seen and
-- tried again.
create table plugin_queue (
	tenant_id uuid not null,
	installation_id uuid not null,
	position bigint not null generated always as identity,
	event_id uuid not null,
	day date not null,
	event_type text not null,
	subject text not null,
	attempts integer not null default 0,
	due_at timestamptz not null default now(),
	failed_at timestamptz,
	error text not null default '',
	constraint plugin_queue_pkey primary key (tenant_id, installation_id, position),
	constraint plugin_queue_installation foreign key (tenant_id, installation_id) references plugin_installations (tenant_id, id) on delete cascade
);
create index plugin_queue_subject on plugin_queue (tenant_id, installation_id, subject, position) where failed_at is null;
create index plugin_queue_due on plugin_queue (tenant_id, installation_id, due_at) where failed_at is null;
comment on table plugin_queue is 'plugins: events that a plugin has not heard to the end yet, in the order of the log';
select protect_tenant_table('plugin_queue');

create table plugin_dispatch (
	tenant_id uuid not null,
	installation_id uuid not null,
	due_at timestamptz not null default 'infinity',
	nudged_at timestamptz,
	lease_until timestamptz,
	fence bigint not null default 0,
	constraint plugin_dispatch_pkey primary key (tenant_id, installation_id),
	constraint plugin_dispatch_installation foreign key (tenant_id, installation_id) references plugin_installations (tenant_id, id) on delete cascade
);
create index plugin_dispatch_due on plugin_dispatch (due_at);
comment on table plugin_dispatch is 'plugins: when the queue of an installation is next to be worked on, and by whom it is (lease and fence)';
select protect_tenant_table('plugin_dispatch');
create policy platform on plugin_dispatch to guildhall_platform using (true) with check (true);
grant select, update on plugin_dispatch to guildhall_platform;

create table plugin_schedules (
	tenant_id uuid not null,
	installation_id uuid not null,
	name text not null,
	every_seconds integer not null,
	next_at timestamptz not null,
	constraint plugin_schedules_pkey primary key (tenant_id, installation_id, name),
	constraint plugin_schedule_installation foreign key (tenant_id, installation_id) references plugin_installations (tenant_id, id) on delete cascade,
	constraint plugin_schedule_every check (every_seconds between 60 and 604800)
);
create index plugin_schedules_next on plugin_schedules (next_at);
comment on table plugin_schedules is 'plugins: when each schedule of an installation runs next';
select protect_tenant_table('plugin_schedules');
create policy platform on plugin_schedules to guildhall_platform using (true) with check (true);
grant select, update on plugin_schedules to guildhall_platform;

-- Where an installation belongs, for a request that names nothing but it.
-- +goose StatementBegin
create function plugin_installation_by_id(installation uuid) returns uuid
language sql stable security definer set search_path = guildhall, pg_temp as $$
	select i.tenant_id from plugin_installations i join organizations o on o.tenant_id = i.tenant_id and o.deleted_at is null where i.id = installation
$$;
-- +goose StatementEnd
alter function plugin_installation_by_id(uuid) owner to guildhall_platform;
revoke execute on function plugin_installation_by_id(uuid) from public;
grant execute on function plugin_installation_by_id(uuid) to guildhall_app;

-- Which versions the organisations run, so that their processes are warm.
-- +goose StatementBegin
create function plugins_in_use() returns table (plugin_id text, plugin_version text, installations bigint)
language sql stable security definer set search_path = guildhall, pg_temp as $$
	select i.plugin_id, i.plugin_version, count(*) from plugin_installations i
	join organizations o on o.tenant_id = i.tenant_id and o.deleted_at is null
	where i.status = 'active' group by i.plugin_id, i.plugin_version
$$;
-- +goose StatementEnd
alter function plugins_in_use() owner to guildhall_platform;
revoke execute on function plugins_in_use() from public;
grant execute on function plugins_in_use() to guildhall_app;

-- Installations of a plugin in any state, a page at a time: for updates, and to
-- know whether a version is in use.
-- +goose StatementBegin
create function plugin_installations_of(plugin text, after_tenant uuid, most integer) returns table (tenant_id uuid, id uuid, plugin_version text)
language sql stable security definer set search_path = guildhall, pg_temp as $$
	select i.tenant_id, i.id, i.plugin_version from plugin_installations i
	where i.plugin_id = plugin and i.tenant_id > after_tenant order by i.tenant_id limit most
$$;
-- +goose StatementEnd
create index plugin_installations_plugin on plugin_installations (plugin_id, tenant_id);
alter function plugin_installations_of(text, uuid, integer) owner to guildhall_platform;
revoke execute on function plugin_installations_of(text, uuid, integer) from public;
grant execute on function plugin_installations_of(text, uuid, integer) to guildhall_app;

-- Queues that are due and that nobody came for: a retry whose time has come, or
-- one whose worker died.
-- +goose StatementBegin
create function nudge_plugin_queues(most integer) returns table (tenant_id uuid, installation_id uuid)
language sql security definer set search_path = guildhall, pg_temp as $$
	with due as (
		select d.tenant_id, d.installation_id from plugin_dispatch d
		where d.due_at <= now() and (d.lease_until is null or d.lease_until <= now())
		and (d.nudged_at is null or d.nudged_at < now() - interval '3 seconds' or d.nudged_at < d.due_at)
		order by d.due_at limit most for update of d skip locked
	)
	update plugin_dispatch d set nudged_at = now() from due
	where d.tenant_id = due.tenant_id and d.installation_id = due.installation_id
	returning d.tenant_id, d.installation_id
$$;
-- +goose StatementEnd
alter function nudge_plugin_queues(integer) owner to guildhall_platform;
revoke execute on function nudge_plugin_queues(integer) from public;
grant execute on function nudge_plugin_queues(integer) to guildhall_worker;

-- Takes schedules whose time has come and sets their next time: the first one
-- of their rhythm that is still ahead, so that what was missed runs once.
-- +goose StatementBegin
create function claim_plugin_schedules(most integer) returns table (tenant_id uuid, installation_id uuid, name text, due timestamptz)
language sql security definer set search_path = guildhall, pg_temp as $$
	with due as (
		select s.tenant_id, s.installation_id, s.name, s.next_at from plugin_schedules s
		where s.next_at <= now() order by s.next_at limit most for update of s skip locked
	)
	update plugin_schedules s
	set next_at = due.next_at + make_interval(secs => s.every_seconds * (1 + floor(extract(epoch from now() - due.next_at) / s.every_seconds)))
	from due where s.tenant_id = due.tenant_id and s.installation_id = due.installation_id and s.name = due.name
	returning s.tenant_id, s.installation_id, s.name, due.next_at
$$;
-- +goose StatementEnd
alter function claim_plugin_schedules(integer) owner to guildhall_platform;
revoke execute on function claim_plugin_schedules(integer) from public;
grant execute on function claim_plugin_schedules(integer) to guildhall_worker;

-- Deletes up to a batch of events that waited for a plugin longer than the days.
-- +goose StatementBegin
create function purge_plugin_queue(keep_days integer, batch integer) returns bigint
language plpgsql security definer set search_path = guildhall, pg_temp as $$
declare
	gone bigint;
begin
	with old as (
		select q.tenant_id, q.installation_id, q.position from plugin_queue q where q.day < current_date - keep_days limit batch
	)
	delete from plugin_queue q using old where q.tenant_id = old.tenant_id and q.installation_id = old.installation_id and q.position = old.position;
	get diagnostics gone = row_count;
	return gone;
end $$;
-- +goose StatementEnd
create index plugin_queue_day on plugin_queue (day);
create policy platform on plugin_queue to guildhall_platform using (true) with check (true);
grant select, delete on plugin_queue to guildhall_platform;
alter function purge_plugin_queue(integer, integer) owner to guildhall_platform;
revoke execute on function purge_plugin_queue(integer, integer) from public;
grant execute on function purge_plugin_queue(integer, integer) to guildhall_worker;

-- A listener that only some organisations need costs the others nothing: not
-- even a batch is made for them.
create table event_audiences (
	tenant_id uuid not null,
	listener text not null,
	constraint event_audiences_pkey primary key (tenant_id, listener),
	constraint event_audience_organization_unknown foreign key (tenant_id) references organizations (tenant_id) on delete cascade
);
comment on table event_audiences is 'event: which organisations a listener hears, of the listeners that hear only some';
select protect_tenant_table('event_audiences');
create policy platform on event_audiences to guildhall_platform using (true) with check (true);
grant select on event_audiences to guildhall_platform;

drop function relay_events(integer, text[], text[]);
-- +goose StatementBegin
create function relay_events(batch integer, listener_names text[], listener_types text[], invited text[] default '{}')
returns table (tenant_id uuid, listener text, taken bigint) language plpgsql security definer set search_path = guildhall, pg_temp as $$
#variable_conflict use_column
begin
	-- One relay at a time; a replica that comes second finds nothing left to do.
	perform pg_advisory_xact_lock(7301, 1);
	return query
	with taken as (
		delete from event_pending p
		where p.position in (select q.position from event_pending q order by q.position limit batch)
		returning p.tenant_id, p.position, p.day, p.event_id, p.type, p.public
	), numbered as (
		select t.*, row_number() over (partition by t.tenant_id, t.public order by t.position) as n from taken t
	), counted as (
		select t.tenant_id, count(*) as c from taken t where t.public group by t.tenant_id
	), counters as (
		insert into event_counters as k (tenant_id, last_sequence)
		select c.tenant_id, c.c from counted c order by c.tenant_id
		on conflict (tenant_id) do update set last_sequence = k.last_sequence + excluded.last_sequence
		returning k.tenant_id, k.last_sequence
	), numbers as (
		update event_log e set sequence = k.last_sequence - c.c + n.n
		from numbered n join counted c on c.tenant_id = n.tenant_id join counters k on k.tenant_id = n.tenant_id
		where n.public and e.tenant_id = n.tenant_id and e.day = n.day and e.id = n.event_id
	), batches as (
		insert into event_batches as b (tenant_id, listener, event_ids, days)
		select n.tenant_id, l.name, array_agg(n.event_id order by n.position), array_agg(n.day order by n.position)
		from numbered n
		join (select distinct name, type from unnest(listener_names, listener_types) as u (name, type)) l
			on l.type = n.type or (l.type = '*' and n.public)
		where l.name <> all(invited) or exists (select from event_audiences a where a.tenant_id = n.tenant_id and a.listener = l.name)
		group by n.tenant_id, l.name
		returning b.tenant_id, b.listener
	)
	-- A listener that has a batch waiting has a job too, and that one looks once
	-- more before it ends; where it died, overdue_listeners finds the batch.
	select x.tenant_id, x.listener, 0::bigint from batches x
	where not exists (select from event_batches o where o.tenant_id = x.tenant_id and o.listener = x.listener)
	union all
	select null, null, count(*) from taken t having count(*) > 0;
end $$;
-- +goose StatementEnd
alter function relay_events(integer, text[], text[], text[]) owner to guildhall_platform;
revoke execute on function relay_events(integer, text[], text[], text[]) from public;
grant execute on function relay_events(integer, text[], text[], text[]) to guildhall_worker;
