-- The kernel: isolation of organisations, idempotency keys, the event log.
-- +goose Up

-- +goose StatementBegin
create function protect_tenant_table(t regclass) returns void language plpgsql as $$
begin
	execute format('alter table %s enable row level security', t);
	execute format('alter table %s force row level security', t);
	execute format('create policy tenant on %s to guildhall_app
		using (tenant_id = (select current_setting(''app.tenant_id'')::uuid))
		with check (tenant_id = (select current_setting(''app.tenant_id'')::uuid))', t);
	execute format('grant select, insert, update, delete on %s to guildhall_app', t);
end $$;
-- +goose StatementEnd
comment on function protect_tenant_table(regclass) is
	'migrations: called once for every table with tenant_id; forced row-level security, the one policy, the grants';
revoke execute on function protect_tenant_table(regclass) from public;

create table idempotency_keys (
	tenant_id uuid not null,
	principal text not null,
	operation text not null,
	key_hash bytea not null,
	request_hash bytea not null,
	status smallint not null,
	headers jsonb not null,
	body bytea,
	project_id uuid,
	expires_at timestamptz not null,
	constraint idempotency_keys_pkey primary key (tenant_id, principal, operation, key_hash)
);
create index idempotency_keys_expires on idempotency_keys (tenant_id, expires_at);
comment on table idempotency_keys is 'tenant: replies kept for 72 hours, written in the transaction of the effect; one about a project is replayed only to who still sees it';
select protect_tenant_table('idempotency_keys');

create table global_idempotency_keys (
	principal text not null,
	operation text not null,
	key_hash bytea not null,
	request_hash bytea not null,
	status smallint not null,
	headers jsonb not null,
	body bytea,
	expires_at timestamptz not null,
	constraint global_idempotency_keys_pkey primary key (principal, operation, key_hash)
);
create index global_idempotency_keys_expires on global_idempotency_keys (expires_at);
comment on table global_idempotency_keys is 'tenant: the same for operations outside an organisation';
grant select, insert, update, delete on global_idempotency_keys to guildhall_app;

create table event_log (
	tenant_id uuid not null,
	day date not null,
	id uuid not null,
	sequence bigint,
	type text not null,
	public boolean not null,
	schema_version smallint not null,
	subject_type text not null,
	subject_id uuid,
	project_id uuid,
	previous_project_id uuid,
	actor_kind text not null,
	actor_id uuid,
	operation text not null,
	request_id text not null,
	source_address text not null,
	occurred_at timestamptz not null,
	occurrences integer not null default 1,
	data jsonb,
	previous jsonb,
	constraint event_log_pkey primary key (tenant_id, day, id),
	constraint event_log_actor_kind check (actor_kind in ('user', 'key', 'customer', 'shopper', 'plugin', 'system'))
) partition by range (day);
create index event_log_sequence on event_log (tenant_id, sequence) where sequence is not null;
create index event_log_subject on event_log (tenant_id, subject_type, subject_id, id);
create index event_log_project on event_log (tenant_id, project_id, id);
create index event_log_id on event_log (tenant_id, id);
comment on table event_log is 'event: everything that happened in an organisation; audit trail, activity, webhooks and feed in one; sequence numbers public events without gaps';
select protect_tenant_table('event_log');
revoke delete on event_log from guildhall_app;
create policy platform on event_log to guildhall_platform using (true) with check (true);
grant select, update on event_log to guildhall_platform;

create table event_pending (
	tenant_id uuid not null,
	position bigint generated always as identity,
	day date not null,
	event_id uuid not null,
	type text not null,
	public boolean not null,
	constraint event_pending_pkey primary key (tenant_id, position)
);
create index event_pending_position on event_pending (position);
comment on table event_pending is 'event: events the relay has not taken yet, in the order of their commits per subject';
select protect_tenant_table('event_pending');
revoke select, update, delete on event_pending from guildhall_app;
create policy platform on event_pending to guildhall_platform using (true) with check (true);
grant select, delete on event_pending to guildhall_platform;

create table event_counters (
	tenant_id uuid not null,
	last_sequence bigint not null,
	constraint event_counters_pkey primary key (tenant_id)
);
comment on table event_counters is 'event: the last sequence number given in each organisation';
select protect_tenant_table('event_counters');
revoke insert, update, delete on event_counters from guildhall_app;
create policy platform on event_counters to guildhall_platform using (true) with check (true);
grant select, insert, update on event_counters to guildhall_platform;

create table event_batches (
	tenant_id uuid not null,
	listener text not null,
	position bigint generated always as identity,
	event_ids uuid[] not null,
	days date[] not null,
	created_at timestamptz not null default now(),
	constraint event_batches_pkey primary key (tenant_id, listener, position)
);
comment on table event_batches is 'event: what each listener has yet to hear, in order; deleted in the transaction in which the listener heard it';
select protect_tenant_table('event_batches');
revoke insert, update on event_batches from guildhall_app;
create policy platform on event_batches to guildhall_platform using (true) with check (true);
grant select, insert on event_batches to guildhall_platform;

-- +goose StatementBegin
create function relay_events(batch integer, listener_names text[], listener_types text[])
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
alter function relay_events(integer, text[], text[]) owner to guildhall_platform;
revoke execute on function relay_events(integer, text[], text[]) from public;
grant execute on function relay_events(integer, text[], text[]) to guildhall_worker;

-- Listeners whose oldest batch has waited longer than a job needs to come for
-- it: the job died with its process, or waits to be tried again.
-- +goose StatementBegin
create function overdue_listeners(most integer) returns table (tenant_id uuid, listener text)
language sql stable security definer set search_path = guildhall, pg_temp as $$
	select b.tenant_id, b.listener from event_batches b
	group by b.tenant_id, b.listener having min(b.created_at) < now() - interval '3 seconds'
	order by min(b.created_at) limit most
$$;
-- +goose StatementEnd
alter function overdue_listeners(integer) owner to guildhall_platform;
revoke execute on function overdue_listeners(integer) from public;
grant execute on function overdue_listeners(integer) to guildhall_worker;

-- +goose StatementBegin
create function pending_events(out waiting bigint, out oldest_seconds double precision)
language sql stable security definer set search_path = guildhall, pg_temp as $$
	select count(*), coalesce(extract(epoch from now() - min(e.occurred_at)), 0)
	from (select p.tenant_id, p.day, p.event_id from event_pending p order by p.position limit 1000) p
	join event_log e on e.tenant_id = p.tenant_id and e.day = p.day and e.id = p.event_id
$$;
-- +goose StatementEnd
alter function pending_events() owner to guildhall_platform;
revoke execute on function pending_events() from public;
grant execute on function pending_events() to guildhall_app;

-- Partitions belong to the owner and are granted to nobody: a query that named
-- one would not meet the parent's policies.
-- +goose StatementBegin
create function ensure_event_partitions(days_ahead integer) returns integer
language plpgsql security definer set search_path = guildhall, pg_temp as $$
declare
	d date;
	name text;
	made integer := 0;
begin
	perform pg_advisory_xact_lock(7301, 2);
	for d in select generate_series((now() at time zone 'UTC')::date - 1, (now() at time zone 'UTC')::date + days_ahead, interval '1 day')::date loop
		name := 'event_log_' || to_char(d, 'YYYYMMDD');
		continue when to_regclass('guildhall.' || name) is not null;
		execute format('create table %I (like event_log including defaults including constraints)', name);
		-- Of a new partition the planner knows nothing and takes one index that
		-- begins with tenant_id for as good as another; plans made then are kept
		-- while it fills. So it is shown some rows of one organisation first.
		execute format('insert into %I (tenant_id, day, id, sequence, type, public, schema_version, subject_type, subject_id, project_id,
				actor_kind, operation, request_id, source_address, occurred_at)
			select %L, %L, gen_random_uuid(), n, n::text, true, 1, n::text, gen_random_uuid(), gen_random_uuid(), ''system'', '''', '''', '''', now()
			from generate_series(1, 300) n', name, '00000000-0000-0000-0000-000000000000'::uuid, d);
		execute format('analyze %I', name);
		execute format('truncate %I', name);
		execute format('alter table %I enable row level security', name);
		execute format('alter table %I force row level security', name);
		execute format('alter table event_log attach partition %I for values from (%L) to (%L)', name, d, d + 1);
		made := made + 1;
	end loop;
	return made;
end $$;
-- +goose StatementEnd
revoke execute on function ensure_event_partitions(integer) from public;
grant execute on function ensure_event_partitions(integer) to guildhall_app;

-- +goose StatementBegin
create function drop_event_partitions(keep_days integer) returns integer
language plpgsql security definer set search_path = guildhall, pg_temp as $$
declare
	name text;
	dropped integer := 0;
begin
	if keep_days < 30 then
		raise exception 'events are kept for 30 days at least';
	end if;
	perform pg_advisory_xact_lock(7301, 2);
	for name in
		select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
		where i.inhparent = 'guildhall.event_log'::regclass
		and c.relname < 'event_log_' || to_char((now() at time zone 'UTC')::date - keep_days, 'YYYYMMDD')
	loop
		execute format('drop table %I', name);
		dropped := dropped + 1;
	end loop;
	return dropped;
end $$;
-- +goose StatementEnd
revoke execute on function drop_event_partitions(integer) from public;
grant execute on function drop_event_partitions(integer) to guildhall_worker;

-- +goose StatementBegin
create function event_partitions_ahead() returns integer
language sql stable security definer set search_path = guildhall, pg_temp as $$
	select count(*)::integer from pg_inherits i join pg_class c on c.oid = i.inhrelid
	where i.inhparent = 'guildhall.event_log'::regclass
	and c.relname > 'event_log_' || to_char((now() at time zone 'UTC')::date, 'YYYYMMDD')
$$;
-- +goose StatementEnd
revoke execute on function event_partitions_ahead() from public;
grant execute on function event_partitions_ahead() to guildhall_app;

-- +goose StatementBegin
create function purge_idempotency_keys(batch integer) returns bigint
language sql security definer set search_path = guildhall, pg_temp as $$
	with t as (
		delete from idempotency_keys k where (k.tenant_id, k.principal, k.operation, k.key_hash) in (
			select x.tenant_id, x.principal, x.operation, x.key_hash from idempotency_keys x where x.expires_at < now() limit batch)
		returning 1
	), g as (
		delete from global_idempotency_keys k where (k.principal, k.operation, k.key_hash) in (
			select x.principal, x.operation, x.key_hash from global_idempotency_keys x where x.expires_at < now() limit batch)
		returning 1
	)
	select (select count(*) from t) + (select count(*) from g)
$$;
-- +goose StatementEnd
create policy platform on idempotency_keys to guildhall_platform using (true) with check (true);
grant select, delete on idempotency_keys to guildhall_platform;
grant select, delete on global_idempotency_keys to guildhall_platform;
alter function purge_idempotency_keys(integer) owner to guildhall_platform;
revoke execute on function purge_idempotency_keys(integer) from public;
grant execute on function purge_idempotency_keys(integer) to guildhall_worker;

create table operations (
	tenant_id uuid not null,
	id uuid not null,
	kind text not null,
	status text not null default 'queued',
	done bigint not null default 0,
	total bigint,
	result_url text,
	errors_url text,
	message text,
	checkpoint jsonb,
	attempts integer not null default 0,
	created_by_kind text not null,
	created_by_id uuid,
	created_at timestamptz not null default now(),
	finished_at timestamptz,
	constraint operations_pkey primary key (tenant_id, id),
	constraint operation_status check (status in ('queued', 'running', 'done', 'failed', 'cancelled')),
	constraint operation_progress check (done >= 0 and (total is null or total >= 0))
);
comment on table operations is 'operation: long work that a caller can watch and cancel';
select protect_tenant_table('operations');
create policy platform on operations to guildhall_platform using (true) with check (true);
grant select, delete on operations to guildhall_platform;

-- +goose StatementBegin
create function purge_operations(after_days integer, batch integer) returns bigint
language sql security definer set search_path = guildhall, pg_temp as $$
	with gone as (
		delete from operations o where (o.tenant_id, o.id) in (
			select x.tenant_id, x.id from operations x
			where x.finished_at < now() - make_interval(days => greatest(after_days, 1)) limit batch)
		returning 1
	)
	select count(*) from gone
$$;
-- +goose StatementEnd
alter function purge_operations(integer, integer) owner to guildhall_platform;
revoke execute on function purge_operations(integer, integer) from public;
grant execute on function purge_operations(integer, integer) to guildhall_worker;

select ensure_event_partitions(14);
