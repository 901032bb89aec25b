-- Webhooks: endpoints, what becomes of every event at each of them, and the queue of what is to be sent.
-- +goose Up

create table webhook_endpoints (
	tenant_id uuid not null,
	id uuid not null,
	url text not null,
	description text not null default '',
	event_types text[] not null default '{}',
	filter text not null default '',
	headers bytea,
	header_names text[] not null default '{}',
	enabled boolean not null default true,
	ordering text not null default 'none',
	payload text not null default 'full',
	envelope text not null default 'standard',
	signature text not null default 'v1',
	include_private boolean not null default false,
	rate_limit integer,
	max_in_flight integer,
	timeout_seconds integer not null default 15,
	retry_schedule integer[],
	schema_date date not null,
	disabled_reason text,
	disabled_at timestamptz,
	catch_up_since timestamptz,
	version bigint not null default 1,
	created_by_kind text not null,
	created_by_id uuid,
	created_at timestamptz not null default now(),
	updated_at timestamptz not null default now(),
	deleted_at timestamptz,
	constraint webhook_endpoints_pkey primary key (tenant_id, id),
	constraint webhook_endpoint_url_length check (length(url) between 1 and 2048),
	constraint webhook_endpoint_ordering check (ordering in ('none', 'by_subject')),
	constraint webhook_endpoint_payload check (payload in ('full', 'thin')),
	constraint webhook_endpoint_envelope check (envelope in ('standard', 'cloudevents')),
	constraint webhook_endpoint_signature check (signature in ('v1', 'v1a', 'both')),
	constraint webhook_endpoint_rate_limit check (rate_limit between 1 and 10000),
	constraint webhook_endpoint_max_in_flight check (max_in_flight between 1 and 100),
	constraint webhook_endpoint_timeout check (timeout_seconds between 1 and 30),
	constraint webhook_endpoint_retry_schedule check (cardinality(retry_schedule) between 1 and 20 and 0 <= all (retry_schedule) and 86400 >= all (retry_schedule)),
	constraint webhook_endpoint_disabled_reason check (disabled_reason in ('manual', 'gone', 'failing'))
);
create index webhook_endpoints_deleted on webhook_endpoints (tenant_id, deleted_at) where deleted_at is not null;
comment on table webhook_endpoints is 'platform/webhooks: where events of an organisation are sent; headers are sealed; retry_schedule in seconds, null is the default';
select protect_tenant_table('webhook_endpoints');
create policy platform on webhook_endpoints to guildhall_platform using (true) with check (true);
grant select (tenant_id, id, deleted_at), delete on webhook_endpoints to guildhall_platform;

create table webhook_counters (
	tenant_id uuid not null,
	endpoints integer not null,
	constraint webhook_counters_pkey primary key (tenant_id),
	constraint webhook_counter_endpoints check (endpoints >= 0)
);
comment on table webhook_counters is 'platform/webhooks: how many endpoints an organisation has that are not deleted; its row is also the lock on the organisation''s keys';
select protect_tenant_table('webhook_counters');

create table webhook_settings (
	tenant_id uuid not null,
	endpoint_id uuid not null,
	version bigint not null,
	first_sequence bigint,
	event_types text[] not null,
	filter text not null,
	include_private boolean not null,
	enabled boolean not null,
	payload text not null,
	envelope text not null,
	schema_date date not null,
	created_at timestamptz not null default now(),
	constraint webhook_settings_pkey primary key (tenant_id, endpoint_id, version),
	constraint webhook_settings_endpoint foreign key (tenant_id, endpoint_id) references webhook_endpoints (tenant_id, id) on delete cascade
);
comment on table webhook_settings is 'platform/webhooks: every version of an endpoint''s settings and the first event it was applied to, from which follows which events it did not match';
select protect_tenant_table('webhook_settings');

create table webhook_progress (
	tenant_id uuid not null,
	heard_sequence bigint not null,
	constraint webhook_progress_pkey primary key (tenant_id)
);
comment on table webhook_progress is 'platform/webhooks: the last event that was held against the endpoints';
select protect_tenant_table('webhook_progress');

create table webhook_secrets (
	tenant_id uuid not null,
	endpoint_id uuid not null,
	id uuid not null,
	secret bytea not null,
	created_at timestamptz not null default now(),
	expires_at timestamptz,
	constraint webhook_secrets_pkey primary key (tenant_id, endpoint_id, id),
	constraint webhook_secret_endpoint foreign key (tenant_id, endpoint_id) references webhook_endpoints (tenant_id, id) on delete cascade
);
create unique index webhook_secrets_current on webhook_secrets (tenant_id, endpoint_id) where expires_at is null;
comment on table webhook_secrets is 'platform/webhooks: sealed secrets that sign deliveries; the current one has no expires_at';
select protect_tenant_table('webhook_secrets');

create table webhook_keys (
	tenant_id uuid not null,
	id uuid not null,
	seed bytea not null,
	public_key bytea not null,
	created_at timestamptz not null default now(),
	expires_at timestamptz,
	constraint webhook_keys_pkey primary key (tenant_id, id)
);
create unique index webhook_keys_current on webhook_keys (tenant_id) where expires_at is null;
comment on table webhook_keys is 'platform/webhooks: Ed25519 key pairs of an organisation for v1a signatures; the seed is sealed, the current one has no expires_at';
select protect_tenant_table('webhook_keys');
create policy platform on webhook_keys to guildhall_platform using (true) with check (true);
grant select (tenant_id, id, public_key, created_at, expires_at) on webhook_keys to guildhall_platform;

-- Whoever gets deliveries reads these without a log-in. An organisation without
-- keys gives one row of nulls, an unknown one gives none.
-- +goose StatementBegin
create function webhook_public_keys(organization uuid) returns table (id uuid, public_key bytea)
language sql stable security definer set search_path = guildhall, pg_temp as $$
	select k.id, k.public_key from organizations o
	left join webhook_keys k on k.tenant_id = o.tenant_id and (k.expires_at is null or k.expires_at > now())
	where o.tenant_id = organization and o.deleted_at is null
	order by k.expires_at is null desc, k.created_at desc, k.id desc
$$;
-- +goose StatementEnd
alter function webhook_public_keys(uuid) owner to guildhall_platform;
revoke execute on function webhook_public_keys(uuid) from public;
grant execute on function webhook_public_keys(uuid) to guildhall_app;

create table webhook_dispatch (
	tenant_id uuid not null,
	endpoint_id uuid not null,
	due_at timestamptz not null default 'infinity',
	nudged_at timestamptz,
	lease_until timestamptz,
	fence bigint not null default 0,
	in_flight_limit integer not null default 4,
	next_send_at timestamptz,
	window_started_at timestamptz,
	window_delivered integer not null default 0,
	window_failed integer not null default 0,
	open_until timestamptz,
	probe_seconds integer not null default 0,
	failing_since timestamptz,
	last_delivered_at timestamptz,
	last_failed_at timestamptz,
	constraint webhook_dispatch_pkey primary key (tenant_id, endpoint_id),
	constraint webhook_dispatch_endpoint foreign key (tenant_id, endpoint_id) references webhook_endpoints (tenant_id, id) on delete cascade
);
create index webhook_dispatch_due on webhook_dispatch (due_at);
create index webhook_dispatch_lease on webhook_dispatch (lease_until) where lease_until is not null;
comment on table webhook_dispatch is 'platform/webhooks: when each endpoint is next to be drained, by whom it is (lease and fence), and how healthy it is';
select protect_tenant_table('webhook_dispatch');
create policy platform on webhook_dispatch to guildhall_platform using (true) with check (true);
grant select, update on webhook_dispatch to guildhall_platform;

create table webhook_deliveries (
	tenant_id uuid not null,
	day date not null,
	id uuid not null,
	endpoint_id uuid not null,
	event_id uuid not null,
	event_type text not null,
	sequence bigint,
	settings_version bigint not null,
	status text not null,
	reason text,
	attempts integer not null default 0,
	next_attempt_at timestamptz,
	last_attempt_at timestamptz,
	last_status_code integer,
	example jsonb,
	created_at timestamptz not null default now(),
	constraint webhook_deliveries_pkey primary key (tenant_id, day, id),
	constraint webhook_delivery_status check (status in ('pending', 'delivered', 'failed', 'exhausted', 'filtered', 'paused'))
) partition by range (day);
create index webhook_deliveries_list on webhook_deliveries (tenant_id, endpoint_id, id);
create index webhook_deliveries_status on webhook_deliveries (tenant_id, endpoint_id, status, id);
create index webhook_deliveries_sequence on webhook_deliveries (tenant_id, endpoint_id, sequence, status);
comment on table webhook_deliveries is 'platform/webhooks: what became of each event that an endpoint''s types matched; day is the day in the id; example holds a test event, which is in no log';
select protect_tenant_table('webhook_deliveries');
revoke delete on webhook_deliveries from guildhall_app;
grant delete on webhook_deliveries to guildhall_worker; -- for organisations that are gone

create table webhook_attempts (
	tenant_id uuid not null,
	day date not null,
	delivery_id uuid not null,
	number integer not null,
	settings_version bigint not null,
	started_at timestamptz not null,
	duration_ms integer not null,
	url text not null,
	request_headers jsonb not null,
	status_code integer,
	response_headers jsonb,
	response_body bytea,
	response_truncated boolean not null default false,
	error text,
	constraint webhook_attempts_pkey primary key (tenant_id, day, delivery_id, number)
) partition by range (day);
comment on table webhook_attempts is 'platform/webhooks: each attempt at a delivery, with the first 16 KiB of the answer; day is that of the delivery';
select protect_tenant_table('webhook_attempts');
revoke update, delete on webhook_attempts from guildhall_app;
grant delete on webhook_attempts to guildhall_worker;

create table webhook_queue (
	tenant_id uuid not null,
	endpoint_id uuid not null,
	delivery_id uuid not null,
	position bigint generated always as identity,
	day date not null,
	event_id uuid not null,
	event_day date not null,
	subject text not null,
	due_at timestamptz not null,
	made integer not null default 0,
	step integer not null default 0,
	example jsonb,
	constraint webhook_queue_pkey primary key (tenant_id, delivery_id)
);
-- As for the partitions of the event log: what the planner should know of it
-- before it first fills.
insert into webhook_queue (tenant_id, endpoint_id, delivery_id, day, event_id, event_day, subject, due_at)
	select '00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000000', gen_random_uuid(), 'epoch', gen_random_uuid(), 'epoch', n::text, now()
	from generate_series(1, 300) n;
analyze webhook_queue;
truncate webhook_queue restart identity;
alter table webhook_queue add constraint webhook_queue_endpoint foreign key (tenant_id, endpoint_id) references webhook_endpoints (tenant_id, id) on delete cascade;
create index webhook_queue_due on webhook_queue (tenant_id, endpoint_id, due_at, position);
create index webhook_queue_subject on webhook_queue (tenant_id, endpoint_id, subject, position);
comment on table webhook_queue is 'platform/webhooks: deliveries that are still to be sent; made counts all attempts, step those of the present run of the retry plan';
select protect_tenant_table('webhook_queue');
create policy platform on webhook_queue to guildhall_platform using (true) with check (true);
grant select, update, delete on webhook_queue to guildhall_platform;

create table webhook_replays (
	tenant_id uuid not null,
	id uuid not null,
	endpoint_id uuid not null,
	operation_id uuid not null,
	since timestamptz not null,
	until timestamptz,
	statuses text[] not null,
	event_types text[] not null,
	rate integer,
	first_day date not null,
	through bigint not null,
	last_sequence bigint not null,
	queued bigint not null default 0,
	expected bigint,
	next_due_at timestamptz,
	constraint webhook_replays_pkey primary key (tenant_id, id),
	constraint webhook_replay_endpoint foreign key (tenant_id, endpoint_id) references webhook_endpoints (tenant_id, id) on delete cascade
);
create index webhook_replays_endpoint on webhook_replays (tenant_id, endpoint_id);
comment on table webhook_replays is 'platform/webhooks: replays of an endpoint and the number up to which each is queued, which moves with the queue in one transaction';
select protect_tenant_table('webhook_replays');

-- The drain that asks gets the endpoint that is due and whose organisation has
-- the fewest drains at work, so that one organisation never holds them all. A
-- row of nulls says that one is due whose row somebody holds just now: ask
-- again.
-- +goose StatementBegin
create function claim_webhook_endpoint(lease_seconds integer, per_tenant integer)
returns table (tenant_id uuid, endpoint_id uuid, fence bigint)
language sql security definer set search_path = guildhall, pg_temp as $$
	select set_config('synchronous_commit', 'off', true); -- a lease need not outlive a crash
	-- One at a time, each seeing the leases of those before: else all who ask at
	-- once find an organisation without drains.
	select pg_advisory_xact_lock(7301, 4);
	with busy as (
		select d.tenant_id, count(*) as drains from webhook_dispatch d where d.lease_until > clock_timestamp() group by d.tenant_id
	), pick as (
		select d.tenant_id, d.endpoint_id from webhook_dispatch d left join busy b on b.tenant_id = d.tenant_id
		where d.due_at <= clock_timestamp() and (d.lease_until is null or d.lease_until <= clock_timestamp()) and coalesce(b.drains, 0) < per_tenant
		order by coalesce(b.drains, 0), d.due_at limit 1
		for update of d skip locked
	), taken as (
		update webhook_dispatch d set lease_until = clock_timestamp() + make_interval(secs => lease_seconds), fence = d.fence + 1, nudged_at = null
		from pick p where d.tenant_id = p.tenant_id and d.endpoint_id = p.endpoint_id
		returning d.tenant_id, d.endpoint_id, d.fence
	)
	select t.tenant_id, t.endpoint_id, t.fence from taken t
	union all
	select null, null, null where not exists (select from taken) and exists (
		select from webhook_dispatch d left join busy b on b.tenant_id = d.tenant_id
		where d.due_at <= clock_timestamp() and (d.lease_until is null or d.lease_until <= clock_timestamp()) and coalesce(b.drains, 0) < per_tenant)
$$;
-- +goose StatementEnd
alter function claim_webhook_endpoint(integer, integer) owner to guildhall_platform;
revoke execute on function claim_webhook_endpoint(integer, integer) from public;
grant execute on function claim_webhook_endpoint(integer, integer) to guildhall_worker;

-- Endpoints that are due and that nobody came for: a retry whose time has come,
-- or one whose drain died.
-- +goose StatementBegin
create function nudge_webhook_endpoints(most integer, per_tenant integer) returns setof uuid
language sql security definer set search_path = guildhall, pg_temp as $$
	with busy as (
		select d.tenant_id, count(*) as drains from webhook_dispatch d where d.lease_until > now() group by d.tenant_id
	), waiting as (
		select d.tenant_id, d.endpoint_id, d.due_at, coalesce(b.drains, 0) + row_number() over (partition by d.tenant_id order by d.due_at) as place
		from webhook_dispatch d left join busy b on b.tenant_id = d.tenant_id
		where d.due_at <= now() and (d.lease_until is null or d.lease_until <= now())
		and (d.nudged_at is null or d.nudged_at < now() - interval '3 seconds' or d.nudged_at < d.due_at)
	), due as (
		select d.tenant_id, d.endpoint_id from webhook_dispatch d join waiting w on w.tenant_id = d.tenant_id and w.endpoint_id = d.endpoint_id
		where w.place <= per_tenant
		order by w.due_at limit most
		for update of d skip locked
	)
	update webhook_dispatch d set nudged_at = now() from due
	where d.tenant_id = due.tenant_id and d.endpoint_id = due.endpoint_id
	returning d.tenant_id
$$;
-- +goose StatementEnd
alter function nudge_webhook_endpoints(integer, integer) owner to guildhall_platform;
revoke execute on function nudge_webhook_endpoints(integer, integer) from public;
grant execute on function nudge_webhook_endpoints(integer, integer) to guildhall_worker;

-- +goose StatementBegin
create function ensure_webhook_partitions(days_ahead integer) returns integer
language plpgsql security definer set search_path = guildhall, pg_temp as $$
declare
	none constant uuid := '00000000-0000-0000-0000-000000000000';
	parent text;
	d date;
	name text;
	made integer := 0;
begin
	perform pg_advisory_xact_lock(7301, 3);
	foreach parent in array array['webhook_deliveries', 'webhook_attempts'] loop
		for d in select generate_series((now() at time zone 'UTC')::date - 1, (now() at time zone 'UTC')::date + days_ahead, interval '1 day')::date loop
			name := parent || '_' || to_char(d, 'YYYYMMDD');
			continue when to_regclass('guildhall.' || name) is not null;
			execute format('create table %I (like %I including defaults including constraints)', name, parent);
			if parent = 'webhook_deliveries' then
				execute format('insert into %I (tenant_id, day, id, endpoint_id, event_id, event_type, settings_version, status)
					select %L, %L, gen_random_uuid(), %L, gen_random_uuid(), '''', 1, ''delivered'' from generate_series(1, 300)', name, none, d, none);
				execute format('analyze %I', name);
				execute format('truncate %I', name);
			end if;
			execute format('alter table %I enable row level security', name);
			execute format('alter table %I force row level security', name);
			execute format('alter table %I attach partition %I for values from (%L) to (%L)', parent, name, d, d + 1);
			made := made + 1;
		end loop;
	end loop;
	return made;
end $$;
-- +goose StatementEnd
revoke execute on function ensure_webhook_partitions(integer) from public;
grant execute on function ensure_webhook_partitions(integer) to guildhall_worker;

-- Runs under a lock timeout, so that it gives up rather than make deliveries
-- wait behind it; the next run drops what this one could not.
-- +goose StatementBegin
create function drop_webhook_partitions(keep_days integer) returns integer
language plpgsql security definer set search_path = guildhall, pg_temp set lock_timeout = '2s' as $$
declare
	name text;
	dropped integer := 0;
begin
	if keep_days < 1 then
		raise exception 'deliveries are kept for a day at least';
	end if;
	perform pg_advisory_xact_lock(7301, 3);
	perform purge_webhook_queue((now() at time zone 'UTC')::date - keep_days);
	for name in
		select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
		where i.inhparent in ('guildhall.webhook_deliveries'::regclass, 'guildhall.webhook_attempts'::regclass)
		and right(c.relname, 8) < to_char((now() at time zone 'UTC')::date - keep_days, 'YYYYMMDD')
	loop
		execute format('drop table %I', name);
		dropped := dropped + 1;
	end loop;
	return dropped;
end $$;
-- +goose StatementEnd
revoke execute on function drop_webhook_partitions(integer) from public;
grant execute on function drop_webhook_partitions(integer) to guildhall_worker;

-- What is still queued from a day that goes, goes with it.
-- +goose StatementBegin
create function purge_webhook_queue(before date) returns bigint
language sql security definer set search_path = guildhall, pg_temp as $$
	-- In the order of who enqueues: the endpoint's row first, then its queue.
	select d.endpoint_id from webhook_dispatch d where (d.tenant_id, d.endpoint_id) in (
		select q.tenant_id, q.endpoint_id from webhook_queue q where q.day < before) order by d.tenant_id, d.endpoint_id for update;
	with gone as (
		delete from webhook_queue q where q.day < before returning q.tenant_id, q.endpoint_id
	)
	update webhook_dispatch d set due_at = least(d.due_at, now()) from (select distinct g.tenant_id, g.endpoint_id from gone g) g
	where d.tenant_id = g.tenant_id and d.endpoint_id = g.endpoint_id;
	-- Whose head went takes its turn.
	with turn as (
		update webhook_queue q set due_at = now() where q.due_at = 'infinity' and not exists (
			select from webhook_queue b where b.tenant_id = q.tenant_id and b.endpoint_id = q.endpoint_id and b.subject = q.subject and b.position < q.position)
		returning 1
	)
	select count(*) from turn
$$;
-- +goose StatementEnd
alter function purge_webhook_queue(date) owner to guildhall_platform;
revoke execute on function purge_webhook_queue(date) from public;
grant execute on function purge_webhook_queue(date) to guildhall_owner;

-- Secrets and headers go when an endpoint is deleted; the row stays as long as
-- its deliveries can be read, and takes the rest with it.
-- +goose StatementBegin
create function purge_webhook_endpoints(most integer) returns bigint
language sql security definer set search_path = guildhall, pg_temp as $$
	with gone as (
		delete from webhook_endpoints e where (e.tenant_id, e.id) in (
			select d.tenant_id, d.id from webhook_endpoints d where d.deleted_at < now() - interval '30 days' limit most)
		returning 1
	)
	select count(*) from gone
$$;
-- +goose StatementEnd
alter function purge_webhook_endpoints(integer) owner to guildhall_platform;
revoke execute on function purge_webhook_endpoints(integer) from public;
grant execute on function purge_webhook_endpoints(integer) to guildhall_worker;

select ensure_webhook_partitions(14);
