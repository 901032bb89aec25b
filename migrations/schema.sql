-- What all migrations together make, printed from the catalogue by make generate.

create schema guildhall authorization guildhall_owner;
grant usage on schema guildhall to guildhall_app;
grant create, usage on schema guildhall to guildhall_platform;
grant usage on schema guildhall to guildhall_worker;

CREATE OR REPLACE FUNCTION guildhall.api_key_by_id(key_id uuid)
 RETURNS TABLE(tenant_id uuid, secret_hash bytea, permissions text[], created_by_id uuid, expires_at timestamp with time zone, last_used_at timestamp with time zone, slug text, role text, epoch bigint, member_version bigint)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
	select k.tenant_id, k.secret_hash, k.permissions, k.created_by_id, k.expires_at, k.last_used_at, o.slug, m.role, o.epoch, m.version
	from api_keys k
	join organizations o on o.tenant_id = k.tenant_id and o.deleted_at is null
	join members m on m.tenant_id = k.tenant_id and m.user_id = k.created_by_id
	where k.id = key_id and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
$function$;
alter function api_key_by_id(uuid) owner to guildhall_platform;
revoke execute on function api_key_by_id(uuid) from public;
grant execute on function api_key_by_id(uuid) to guildhall_app;

CREATE OR REPLACE FUNCTION guildhall.claim_plugin_schedules(most integer)
 RETURNS TABLE(tenant_id uuid, installation_id uuid, name text, due timestamp with time zone)
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
	with due as (
		select s.tenant_id, s.installation_id, s.name, s.next_at from plugin_schedules s
		where s.next_at <= now() order by s.next_at limit most for update of s skip locked
	)
	update plugin_schedules s
	set next_at = due.next_at + make_interval(secs => s.every_seconds * (1 + floor(extract(epoch from now() - due.next_at) / s.every_seconds)))
	from due where s.tenant_id = due.tenant_id and s.installation_id = due.installation_id and s.name = due.name
	returning s.tenant_id, s.installation_id, s.name, due.next_at
$function$;
alter function claim_plugin_schedules(integer) owner to guildhall_platform;
revoke execute on function claim_plugin_schedules(integer) from public;
grant execute on function claim_plugin_schedules(integer) to guildhall_worker;

CREATE OR REPLACE FUNCTION guildhall.claim_webhook_endpoint(lease_seconds integer, per_tenant integer, sent_tenant uuid DEFAULT NULL::uuid, sent_endpoint uuid DEFAULT NULL::uuid)
 RETURNS TABLE(tenant_id uuid, endpoint_id uuid, fence bigint)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
#variable_conflict use_column
declare
	at timestamptz;
begin
	perform set_config('synchronous_commit', 'off', true); -- a lease need not outlive a crash
	-- One at a time, each seeing the leases of those before: else all who ask at
	-- once find an organisation without drains.
	perform pg_advisory_xact_lock(7301, 4);
	at := clock_timestamp();
	return query with busy as (
		select d.tenant_id, count(*) as drains from webhook_dispatch d where d.lease_until > at group by d.tenant_id
	), own as (
		select d.endpoint_id from webhook_dispatch d left join busy b on b.tenant_id = d.tenant_id
		where d.tenant_id = sent_tenant and d.endpoint_id = sent_endpoint
		and d.due_at <= at and (d.lease_until is null or d.lease_until <= at) and coalesce(b.drains, 0) < per_tenant
	), pick as (
		select d.tenant_id, d.endpoint_id from webhook_dispatch d left join busy b on b.tenant_id = d.tenant_id
		where d.due_at <= at and (d.lease_until is null or d.lease_until <= at) and coalesce(b.drains, 0) < per_tenant
		and (d.endpoint_id = sent_endpoint or not exists (select from own))
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
		where d.due_at <= at and (d.lease_until is null or d.lease_until <= at) and coalesce(b.drains, 0) < per_tenant);
end $function$;
alter function claim_webhook_endpoint(integer,integer,uuid,uuid) owner to guildhall_platform;
revoke execute on function claim_webhook_endpoint(integer,integer,uuid,uuid) from public;
grant execute on function claim_webhook_endpoint(integer,integer,uuid,uuid) to guildhall_worker;

CREATE OR REPLACE FUNCTION guildhall.drop_event_partitions(keep_days integer)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
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
end $function$;
alter function drop_event_partitions(integer) owner to guildhall_owner;
revoke execute on function drop_event_partitions(integer) from public;
grant execute on function drop_event_partitions(integer) to guildhall_worker;

CREATE OR REPLACE FUNCTION guildhall.drop_webhook_partitions(keep_days integer)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
 SET lock_timeout TO '2s'
AS $function$
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
end $function$;
alter function drop_webhook_partitions(integer) owner to guildhall_owner;
revoke execute on function drop_webhook_partitions(integer) from public;
grant execute on function drop_webhook_partitions(integer) to guildhall_worker;

CREATE OR REPLACE FUNCTION guildhall.ensure_event_partitions(days_ahead integer)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
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
end $function$;
alter function ensure_event_partitions(integer) owner to guildhall_owner;
revoke execute on function ensure_event_partitions(integer) from public;
grant execute on function ensure_event_partitions(integer) to guildhall_app;

CREATE OR REPLACE FUNCTION guildhall.ensure_webhook_partitions(days_ahead integer)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
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
end $function$;
alter function ensure_webhook_partitions(integer) owner to guildhall_owner;
revoke execute on function ensure_webhook_partitions(integer) from public;
grant execute on function ensure_webhook_partitions(integer) to guildhall_worker;

CREATE OR REPLACE FUNCTION guildhall.event_partitions_ahead()
 RETURNS integer
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
	select count(*)::integer from pg_inherits i join pg_class c on c.oid = i.inhrelid
	where i.inhparent = 'guildhall.event_log'::regclass
	and c.relname > 'event_log_' || to_char((now() at time zone 'UTC')::date, 'YYYYMMDD')
$function$;
alter function event_partitions_ahead() owner to guildhall_owner;
revoke execute on function event_partitions_ahead() from public;
grant execute on function event_partitions_ahead() to guildhall_app;

CREATE OR REPLACE FUNCTION guildhall.inbound_source_by_id(source uuid)
 RETURNS TABLE(tenant_id uuid, id uuid, kind text, hmac jsonb, tolerance_seconds integer, enabled boolean, secret_ids uuid[], secrets bytea[])
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
	select s.tenant_id, s.id, s.kind, s.hmac, s.tolerance_seconds, s.enabled, k.ids, k.secrets
	from inbound_sources s
	join organizations o on o.tenant_id = s.tenant_id and o.deleted_at is null
	cross join lateral (
		select coalesce(array_agg(x.id order by x.id desc), '{}') as ids, coalesce(array_agg(x.secret order by x.id desc), '{}') as secrets
		from inbound_secrets x
		where x.tenant_id = s.tenant_id and x.source_id = s.id and (x.expires_at is null or x.expires_at > now())
	) k
	where s.id = source
$function$;
alter function inbound_source_by_id(uuid) owner to guildhall_platform;
revoke execute on function inbound_source_by_id(uuid) from public;
grant execute on function inbound_source_by_id(uuid) to guildhall_app;

CREATE OR REPLACE FUNCTION guildhall.next_policy_epoch()
 RETURNS bigint
 LANGUAGE sql
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
	update organizations set epoch = epoch + 1 where tenant_id = current_setting('app.tenant_id')::uuid returning epoch
$function$;
alter function next_policy_epoch() owner to guildhall_owner;
revoke execute on function next_policy_epoch() from public;
grant execute on function next_policy_epoch() to guildhall_app;
comment on function next_policy_epoch() is 'platform/organizations: called in the transaction of every change to roles, before the change';

CREATE OR REPLACE FUNCTION guildhall.nudge_plugin_queues(most integer)
 RETURNS TABLE(tenant_id uuid, installation_id uuid)
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
	with due as (
		select d.tenant_id, d.installation_id from plugin_dispatch d
		where d.due_at <= now() and (d.lease_until is null or d.lease_until <= now())
		and (d.nudged_at is null or d.nudged_at < now() - interval '3 seconds' or d.nudged_at < d.due_at)
		order by d.due_at limit most for update of d skip locked
	)
	update plugin_dispatch d set nudged_at = now() from due
	where d.tenant_id = due.tenant_id and d.installation_id = due.installation_id
	returning d.tenant_id, d.installation_id
$function$;
alter function nudge_plugin_queues(integer) owner to guildhall_platform;
revoke execute on function nudge_plugin_queues(integer) from public;
grant execute on function nudge_plugin_queues(integer) to guildhall_worker;

CREATE OR REPLACE FUNCTION guildhall.nudge_webhook_endpoints(most integer, per_tenant integer)
 RETURNS SETOF uuid
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
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
$function$;
alter function nudge_webhook_endpoints(integer,integer) owner to guildhall_platform;
revoke execute on function nudge_webhook_endpoints(integer,integer) from public;
grant execute on function nudge_webhook_endpoints(integer,integer) to guildhall_worker;

CREATE OR REPLACE FUNCTION guildhall.organizations_of(person uuid)
 RETURNS TABLE(id uuid, slug text, name text, role text, default_currency text, epoch bigint, member_version bigint, version bigint, created_at timestamp with time zone, deleted_at timestamp with time zone)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
	select o.tenant_id, o.slug, o.name, m.role, o.default_currency, o.epoch, m.version, o.version, o.created_at, o.deleted_at
	from members m join organizations o on o.tenant_id = m.tenant_id
	where m.user_id = person order by o.created_at, o.tenant_id limit 1000
$function$;
alter function organizations_of(uuid) owner to guildhall_platform;
revoke execute on function organizations_of(uuid) from public;
grant execute on function organizations_of(uuid) to guildhall_app;

CREATE OR REPLACE FUNCTION guildhall.organizations_to_purge()
 RETURNS SETOF uuid
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
	select o.tenant_id from organizations o where o.deleted_at < now() - interval '31 days' order by o.deleted_at limit 100
$function$;
alter function organizations_to_purge() owner to guildhall_platform;
revoke execute on function organizations_to_purge() from public;
grant execute on function organizations_to_purge() to guildhall_worker;

CREATE OR REPLACE FUNCTION guildhall.organizations_with_expired_reservations(most integer)
 RETURNS SETOF uuid
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
	select distinct r.tenant_id from stock_reservations r
	where r.expires_at <= now() and r.quantity > 0 limit least(most, 1000)
$function$;
alter function organizations_with_expired_reservations(integer) owner to guildhall_platform;
revoke execute on function organizations_with_expired_reservations(integer) from public;
grant execute on function organizations_with_expired_reservations(integer) to guildhall_worker;

CREATE OR REPLACE FUNCTION guildhall.organizations_with_projects_to_purge(after_days integer)
 RETURNS SETOF uuid
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
	select p.tenant_id from projects p
	where p.deleted_at < now() - make_interval(days => greatest(after_days, 7))
	group by p.tenant_id order by min(p.deleted_at) limit 1000
$function$;
alter function organizations_with_projects_to_purge(integer) owner to guildhall_platform;
revoke execute on function organizations_with_projects_to_purge(integer) from public;
grant execute on function organizations_with_projects_to_purge(integer) to guildhall_worker;

CREATE OR REPLACE FUNCTION guildhall.organizations_with_tasks_to_purge(after_days integer)
 RETURNS SETOF uuid
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
	select distinct t.tenant_id from tasks t
	where t.deleted_at < now() - make_interval(days => greatest(after_days, 7)) limit 1000
$function$;
alter function organizations_with_tasks_to_purge(integer) owner to guildhall_platform;
revoke execute on function organizations_with_tasks_to_purge(integer) from public;
grant execute on function organizations_with_tasks_to_purge(integer) to guildhall_worker;

CREATE OR REPLACE FUNCTION guildhall.overdue_listeners(most integer, known text[])
 RETURNS TABLE(tenant_id uuid, listener text)
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
	with oldest as (
		select b.tenant_id, b.listener, min(b.position) as position from event_batches b where b.listener = any(known) group by b.tenant_id, b.listener
	), due as (
		select b.tenant_id, b.listener, b.position from event_batches b
		join oldest o on o.tenant_id = b.tenant_id and o.listener = b.listener and o.position = b.position
		where b.created_at < now() - interval '3 seconds'
		and (b.nudged_at is null or b.nudged_at < now() - least(make_interval(secs => 3 * 2 ^ least(b.nudges, 7)), interval '5 minutes'))
		order by coalesce(b.nudged_at, b.created_at) limit most
		for update of b skip locked
	)
	update event_batches b set nudged_at = now(), nudges = b.nudges + 1 from due d
	where b.tenant_id = d.tenant_id and b.listener = d.listener and b.position = d.position
	returning b.tenant_id, b.listener
$function$;
alter function overdue_listeners(integer,text[]) owner to guildhall_platform;
revoke execute on function overdue_listeners(integer,text[]) from public;
grant execute on function overdue_listeners(integer,text[]) to guildhall_worker;

CREATE OR REPLACE FUNCTION guildhall.pending_events(OUT waiting bigint, OUT oldest_seconds double precision)
 RETURNS record
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
	select count(*), coalesce(extract(epoch from now() - min(e.occurred_at)), 0)
	from (select p.tenant_id, p.day, p.event_id from event_pending p order by p.position limit 1000) p
	join event_log e on e.tenant_id = p.tenant_id and e.day = p.day and e.id = p.event_id
$function$;
alter function pending_events() owner to guildhall_platform;
revoke execute on function pending_events() from public;
grant execute on function pending_events() to guildhall_app;

CREATE OR REPLACE FUNCTION guildhall.plugin_installation_by_id(installation uuid)
 RETURNS uuid
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
	select i.tenant_id from plugin_installations i join organizations o on o.tenant_id = i.tenant_id and o.deleted_at is null where i.id = installation
$function$;
alter function plugin_installation_by_id(uuid) owner to guildhall_platform;
revoke execute on function plugin_installation_by_id(uuid) from public;
grant execute on function plugin_installation_by_id(uuid) to guildhall_app;

CREATE OR REPLACE FUNCTION guildhall.plugin_installations_of(plugin text, after_tenant uuid, most integer)
 RETURNS TABLE(tenant_id uuid, id uuid, plugin_version text)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
	select i.tenant_id, i.id, i.plugin_version from plugin_installations i
	where i.plugin_id = plugin and i.tenant_id > after_tenant order by i.tenant_id limit most
$function$;
alter function plugin_installations_of(text,uuid,integer) owner to guildhall_platform;
revoke execute on function plugin_installations_of(text,uuid,integer) from public;
grant execute on function plugin_installations_of(text,uuid,integer) to guildhall_app;

CREATE OR REPLACE FUNCTION guildhall.plugins_in_use()
 RETURNS TABLE(plugin_id text, plugin_version text, installations bigint)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
	select i.plugin_id, i.plugin_version, count(*) from plugin_installations i
	join organizations o on o.tenant_id = i.tenant_id and o.deleted_at is null
	where i.status = 'active' group by i.plugin_id, i.plugin_version
$function$;
alter function plugins_in_use() owner to guildhall_platform;
revoke execute on function plugins_in_use() from public;
grant execute on function plugins_in_use() to guildhall_app;

CREATE OR REPLACE FUNCTION guildhall.project_lost_owner()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
	new.version := old.version + 1;
	new.updated_at := now();
	new.lost_owner_id := old.owner_id;
	return new;
end $function$;
alter function project_lost_owner() owner to guildhall_owner;
revoke execute on function project_lost_owner() from public;

CREATE OR REPLACE FUNCTION guildhall.protect_tenant_table(t regclass)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
begin
	execute format('alter table %s enable row level security', t);
	execute format('alter table %s force row level security', t);
	execute format('create policy tenant on %s to guildhall_app
		using (tenant_id = (select current_setting(''app.tenant_id'')::uuid))
		with check (tenant_id = (select current_setting(''app.tenant_id'')::uuid))', t);
	execute format('grant select, insert, update, delete on %s to guildhall_app', t);
end $function$;
alter function protect_tenant_table(regclass) owner to guildhall_owner;
revoke execute on function protect_tenant_table(regclass) from public;
comment on function protect_tenant_table(regclass) is 'migrations: called once for every table with tenant_id; forced row-level security, the one policy, the grants';

CREATE OR REPLACE FUNCTION guildhall.purge_idempotency_keys(batch integer)
 RETURNS bigint
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
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
$function$;
alter function purge_idempotency_keys(integer) owner to guildhall_platform;
revoke execute on function purge_idempotency_keys(integer) from public;
grant execute on function purge_idempotency_keys(integer) to guildhall_worker;

CREATE OR REPLACE FUNCTION guildhall.purge_inbound_messages(keep_days integer, batch integer)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
declare
	oldest uuid;
	gone bigint;
begin
	if keep_days < 1 then
		raise exception 'messages are kept for a day at least';
	end if;
	oldest := (lpad(to_hex((extract(epoch from now() - make_interval(days => keep_days)) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid;
	with recursive owners as (
		(select m.tenant_id from inbound_messages m order by m.tenant_id limit 1)
		union all
		select (select m.tenant_id from inbound_messages m where m.tenant_id > o.tenant_id order by m.tenant_id limit 1)
		from owners o where o.tenant_id is not null
	), old as (
		select m.tenant_id, m.id
		from owners o
		cross join lateral (
			select x.tenant_id, x.id from inbound_messages x where x.tenant_id = o.tenant_id and x.id < oldest order by x.id limit batch
		) m
		limit batch
	)
	delete from inbound_messages d using old where d.tenant_id = old.tenant_id and d.id = old.id;
	get diagnostics gone = row_count;
	return gone;
end $function$;
alter function purge_inbound_messages(integer,integer) owner to guildhall_platform;
revoke execute on function purge_inbound_messages(integer,integer) from public;
grant execute on function purge_inbound_messages(integer,integer) to guildhall_worker;

CREATE OR REPLACE FUNCTION guildhall.purge_operations(after_days integer, batch integer)
 RETURNS bigint
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
	with gone as (
		delete from operations o where (o.tenant_id, o.id) in (
			select x.tenant_id, x.id from operations x
			where x.finished_at < now() - make_interval(days => greatest(after_days, 1)) limit batch)
		returning 1
	)
	select count(*) from gone
$function$;
alter function purge_operations(integer,integer) owner to guildhall_platform;
revoke execute on function purge_operations(integer,integer) from public;
grant execute on function purge_operations(integer,integer) to guildhall_worker;

CREATE OR REPLACE FUNCTION guildhall.purge_organization(batch integer)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
declare
	org uuid := current_setting('app.tenant_id')::uuid;
	t record;
	n bigint;
	gone bigint := 0;
	held text[] := '{}';
begin
	perform from organizations o where o.tenant_id = org and o.deleted_at < now() - interval '31 days' for update;
	if not found then
		raise exception 'organisation % is not due for the purge', org;
	end if;
	for t in
		with recursive below (parent, child) as (
			select k.confrelid, k.conrelid from pg_constraint k where k.contype = 'f'
			union
			select b.parent, k.conrelid from below b join pg_constraint k on k.contype = 'f' and k.confrelid = b.child
		)
		select c.relname, has_table_privilege(c.oid, 'delete') as allowed,
			(select string_agg(quote_ident(a.attname), ', ') from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
				where i.indrelid = c.oid and i.indisprimary) as key
		from pg_class c
		join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
		where c.relnamespace = 'guildhall'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
			and c.relname not in ('organizations', 'event_log', 'event_pending', 'event_counters')
		order by (select count(*) from below b where b.parent = c.oid and b.child <> c.oid), c.relname
	loop
		if not t.allowed or t.key is null then
			raise exception 'purge_organization cannot empty %: give it a primary key and let the application delete from it', t.relname;
		end if;
		begin
			execute format('delete from %1$I where (%2$s) in (select %2$s from %1$I where tenant_id = $1 limit $2)', t.relname, t.key) using org, batch - gone;
			get diagnostics n = row_count;
			gone := gone + n;
		exception when foreign_key_violation then
			-- Rows that refer to rows of the same table: all at once.
			begin
				execute format('delete from %I where tenant_id = $1', t.relname) using org;
				get diagnostics n = row_count;
				gone := gone + n;
			exception when foreign_key_violation then
				held := held || t.relname::text;
			end;
		end;
		if gone >= batch then
			return false;
		end if;
	end loop;
	if gone > 0 then
		return false;
	elsif held <> '{}' then
		raise exception 'purge_organization cannot empty %: their rows refer to each other', held;
	end if;
	return purge_organization_log(batch);
end $function$;
alter function purge_organization(integer) owner to guildhall_owner;
revoke execute on function purge_organization(integer) from public;
grant execute on function purge_organization(integer) to guildhall_worker;

CREATE OR REPLACE FUNCTION guildhall.purge_organization_log(batch integer)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
declare
	org uuid := current_setting('app.tenant_id')::uuid;
	gone bigint;
begin
	if not exists (select from organizations o where o.tenant_id = org and o.deleted_at < now() - interval '31 days') then
		raise exception 'organisation % is not due for the purge', org;
	end if;
	delete from event_pending p where p.tenant_id = org;
	delete from event_log e where e.tenant_id = org and (e.day, e.id) in (select x.day, x.id from event_log x where x.tenant_id = org limit batch);
	get diagnostics gone = row_count;
	if gone > 0 then
		return false;
	end if;
	delete from event_counters c where c.tenant_id = org;
	delete from organizations o where o.tenant_id = org and o.deleted_at < now() - interval '31 days';
	return true;
end $function$;
alter function purge_organization_log(integer) owner to guildhall_platform;
revoke execute on function purge_organization_log(integer) from public;
grant execute on function purge_organization_log(integer) to guildhall_worker;

CREATE OR REPLACE FUNCTION guildhall.purge_plugin_emitted(batch integer)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
declare
	gone bigint;
begin
	with old as (
		select e.tenant_id, e.installation_id, e.key_hash from plugin_emitted e where e.emitted_at < now() - interval '72 hours' limit batch
	)
	delete from plugin_emitted e using old where e.tenant_id = old.tenant_id and e.installation_id = old.installation_id and e.key_hash = old.key_hash
		and e.emitted_at < now() - interval '72 hours';
	get diagnostics gone = row_count;
	return gone;
end $function$;
alter function purge_plugin_emitted(integer) owner to guildhall_platform;
revoke execute on function purge_plugin_emitted(integer) from public;
grant execute on function purge_plugin_emitted(integer) to guildhall_worker;

CREATE OR REPLACE FUNCTION guildhall.purge_plugin_queue(keep_days integer, batch integer)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
declare
	gone bigint;
begin
	with old as (
		select q.tenant_id, q.installation_id, q.position from plugin_queue q where q.day < current_date - keep_days limit batch
	)
	delete from plugin_queue q using old where q.tenant_id = old.tenant_id and q.installation_id = old.installation_id and q.position = old.position;
	get diagnostics gone = row_count;
	return gone;
end $function$;
alter function purge_plugin_queue(integer,integer) owner to guildhall_platform;
revoke execute on function purge_plugin_queue(integer,integer) from public;
grant execute on function purge_plugin_queue(integer,integer) to guildhall_worker;

CREATE OR REPLACE FUNCTION guildhall.purge_webhook_endpoints(most integer)
 RETURNS bigint
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
	with gone as (
		delete from webhook_endpoints e where (e.tenant_id, e.id) in (
			select d.tenant_id, d.id from webhook_endpoints d where d.deleted_at < now() - interval '30 days' limit most)
		returning 1
	)
	select count(*) from gone
$function$;
alter function purge_webhook_endpoints(integer) owner to guildhall_platform;
revoke execute on function purge_webhook_endpoints(integer) from public;
grant execute on function purge_webhook_endpoints(integer) to guildhall_worker;

CREATE OR REPLACE FUNCTION guildhall.purge_webhook_queue(before date)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
declare
	tenants uuid[];
	endpoints uuid[];
	turned bigint;
begin
	-- In the order of who enqueues: the endpoints' rows first, then their queues.
	select array_agg(l.tenant_id), array_agg(l.endpoint_id) into tenants, endpoints from (
		select d.tenant_id, d.endpoint_id from webhook_dispatch d where (d.tenant_id, d.endpoint_id) in (
			select q.tenant_id, q.endpoint_id from webhook_queue q where q.day < before or q.due_at = 'infinity' and not exists (
				select from webhook_queue b where b.tenant_id = q.tenant_id and b.endpoint_id = q.endpoint_id and b.subject = q.subject and b.position < q.position))
		order by d.tenant_id, d.endpoint_id for update) l;
	delete from webhook_queue q using unnest(tenants, endpoints) as u (tenant_id, endpoint_id)
		where q.tenant_id = u.tenant_id and q.endpoint_id = u.endpoint_id and q.day < before;
	update webhook_queue q set due_at = now() from unnest(tenants, endpoints) as u (tenant_id, endpoint_id)
		where q.tenant_id = u.tenant_id and q.endpoint_id = u.endpoint_id and q.due_at = 'infinity' and not exists (
			select from webhook_queue b where b.tenant_id = q.tenant_id and b.endpoint_id = q.endpoint_id and b.subject = q.subject and b.position < q.position);
	get diagnostics turned = row_count;
	update webhook_dispatch d set due_at = least(d.due_at, greatest(now(), coalesce(d.open_until, now())))
		from unnest(tenants, endpoints) as u (tenant_id, endpoint_id) where d.tenant_id = u.tenant_id and d.endpoint_id = u.endpoint_id;
	return turned;
end $function$;
alter function purge_webhook_queue(date) owner to guildhall_platform;
revoke execute on function purge_webhook_queue(date) from public;
grant execute on function purge_webhook_queue(date) to guildhall_owner;

CREATE OR REPLACE FUNCTION guildhall.relay_events(batch integer, listener_names text[], listener_types text[], invited text[] DEFAULT '{}'::text[])
 RETURNS TABLE(tenant_id uuid, listener text, taken bigint)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
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
end $function$;
alter function relay_events(integer,text[],text[],text[]) owner to guildhall_platform;
revoke execute on function relay_events(integer,text[],text[],text[]) from public;
grant execute on function relay_events(integer,text[],text[],text[]) to guildhall_worker;

CREATE OR REPLACE FUNCTION guildhall.repair_webhook_endpoints(after_tenant uuid, after_endpoint uuid, most integer)
 RETURNS TABLE(tenant_id uuid, endpoint_id uuid, repaired bigint)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
#variable_conflict use_column
declare
	at_tenant uuid := after_tenant;
	at_endpoint uuid := after_endpoint;
	earliest timestamptz;
	found_one boolean;
	n bigint := 0;
begin
	for i in 1..most loop
		select q.tenant_id, q.endpoint_id, q.due_at into at_tenant, at_endpoint, earliest from webhook_queue q
			where (q.tenant_id, q.endpoint_id) > (at_tenant, at_endpoint)
			order by q.tenant_id, q.endpoint_id, q.due_at, q.position limit 1;
		if not found then
			return query select null::uuid, null::uuid, n;
			return;
		end if;
		-- Under the lock of whoever adds to the queue or takes from it; where
		-- somebody holds it, the endpoint is not forgotten.
		select true into found_one from webhook_dispatch d
			join webhook_endpoints e on e.tenant_id = d.tenant_id and e.id = d.endpoint_id
			join organizations o on o.tenant_id = d.tenant_id
			where d.tenant_id = at_tenant and d.endpoint_id = at_endpoint and d.due_at = 'infinity'
			and (d.lease_until is null or d.lease_until <= clock_timestamp())
			and e.enabled and e.deleted_at is null and o.deleted_at is null
			for update of d skip locked;
		continue when not found;
		if earliest = 'infinity' then
			-- All wait for one before them that is no longer there.
			update webhook_queue q set due_at = now()
				where q.tenant_id = at_tenant and q.endpoint_id = at_endpoint and q.due_at = 'infinity' and not exists (
					select from webhook_queue b where b.tenant_id = q.tenant_id and b.endpoint_id = q.endpoint_id and b.subject = q.subject and b.position < q.position);
		end if;
		update webhook_dispatch d set due_at = greatest(d.open_until, (
				select min(q.due_at) from webhook_queue q where q.tenant_id = at_tenant and q.endpoint_id = at_endpoint))
			where d.tenant_id = at_tenant and d.endpoint_id = at_endpoint;
		n := n + 1;
	end loop;
	return query select at_tenant, at_endpoint, n;
end $function$;
alter function repair_webhook_endpoints(uuid,uuid,integer) owner to guildhall_platform;
revoke execute on function repair_webhook_endpoints(uuid,uuid,integer) from public;
grant execute on function repair_webhook_endpoints(uuid,uuid,integer) to guildhall_worker;

CREATE OR REPLACE FUNCTION guildhall.task_lost_reference()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
	new.version := old.version + 1;
	new.field_versions := old.field_versions || jsonb_build_object('assigned_to_id', new.version, 'parent_id', new.version);
	new.updated_at := now();
	if new.assigned_to_id is null and old.assigned_to_id is not null then
		new.lost_assignee_id := old.assigned_to_id;
	end if;
	return new;
end $function$;
alter function task_lost_reference() owner to guildhall_owner;
revoke execute on function task_lost_reference() from public;

CREATE OR REPLACE FUNCTION guildhall.webhook_public_keys(organization uuid)
 RETURNS TABLE(id uuid, public_key bytea)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'guildhall', 'pg_temp'
AS $function$
	select k.id, k.public_key from organizations o
	left join webhook_keys k on k.tenant_id = o.tenant_id and (k.expires_at is null or k.expires_at > now())
	where o.tenant_id = organization and o.deleted_at is null
	order by k.expires_at is null desc, k.created_at desc, k.id desc
$function$;
alter function webhook_public_keys(uuid) owner to guildhall_platform;
revoke execute on function webhook_public_keys(uuid) from public;
grant execute on function webhook_public_keys(uuid) to guildhall_app;

create table api_keys (
	tenant_id uuid not null,
	id uuid not null,
	name text not null,
	secret_hash bytea not null,
	permissions text[] not null,
	created_by_id uuid not null,
	created_at timestamp with time zone not null default now(),
	expires_at timestamp with time zone,
	last_used_at timestamp with time zone,
	revoked_at timestamp with time zone,
	constraint api_keys_pkey PRIMARY KEY (tenant_id, id),
	constraint api_key_name_length CHECK (length(name) >= 1 AND length(name) <= 100),
	constraint api_key_organization_unknown FOREIGN KEY (tenant_id) REFERENCES organizations(tenant_id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX api_keys_id ON api_keys USING btree (id);
alter table api_keys enable row level security;
alter table api_keys force row level security;
create policy platform on api_keys to guildhall_platform using (true) with check (true);
create policy tenant on api_keys to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on api_keys to guildhall_app;
grant select on api_keys to guildhall_platform;
comment on table api_keys is 'platform/access: keys of integrations; the key itself is stored only as a SHA-256';

create table cart_lines (
	tenant_id uuid not null,
	cart_id uuid not null,
	id uuid not null,
	variant_id uuid not null,
	quantity integer not null,
	created_at timestamp with time zone not null default now(),
	constraint cart_lines_pkey PRIMARY KEY (tenant_id, cart_id, id),
	constraint cart_line_variant_taken UNIQUE (tenant_id, cart_id, variant_id),
	constraint cart_line_quantity CHECK (quantity >= 1 AND quantity <= 9999),
	constraint cart_line_cart_unknown FOREIGN KEY (tenant_id, cart_id) REFERENCES carts(tenant_id, id) ON DELETE CASCADE,
	constraint cart_line_variant_unknown FOREIGN KEY (tenant_id, variant_id) REFERENCES product_variants(tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX cart_lines_variant ON cart_lines USING btree (tenant_id, variant_id);
alter table cart_lines enable row level security;
alter table cart_lines force row level security;
create policy tenant on cart_lines to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on cart_lines to guildhall_app;
comment on table cart_lines is 'commerce/carts: how much of which variant';

create table carts (
	tenant_id uuid not null,
	id uuid not null,
	customer_id uuid,
	currency text not null,
	email text,
	shipping_address jsonb,
	billing_address jsonb,
	shipping_method_id uuid,
	discount_codes text[] not null default '{}'::text[],
	note text not null default ''::text,
	locale text not null default 'en'::text,
	quote jsonb,
	completed_at timestamp with time zone,
	version bigint not null default 1,
	created_at timestamp with time zone not null default now(),
	updated_at timestamp with time zone not null default now(),
	constraint carts_pkey PRIMARY KEY (tenant_id, id),
	constraint cart_codes_count CHECK (cardinality(discount_codes) <= 10),
	constraint cart_currency_form CHECK (currency ~ '^[A-Z]{3}$'::text),
	constraint cart_note_length CHECK (length(note) <= 2000),
	constraint cart_customer_unknown FOREIGN KEY (tenant_id, customer_id) REFERENCES customers(tenant_id, id) ON DELETE CASCADE,
	constraint cart_organization_unknown FOREIGN KEY (tenant_id) REFERENCES organizations(tenant_id) ON DELETE CASCADE
);
CREATE INDEX carts_customer ON carts USING btree (tenant_id, customer_id, updated_at);
CREATE INDEX carts_idle ON carts USING btree (tenant_id, updated_at) WHERE completed_at IS NULL;
alter table carts enable row level security;
alter table carts force row level security;
create policy tenant on carts to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on carts to guildhall_app;
comment on table carts is 'commerce/carts: what somebody may come to buy; the id of a guest''s cart is a random UUIDv4 and opens it; quote is the price that was last shown';

create table categories (
	tenant_id uuid not null,
	id uuid not null,
	parent_id uuid,
	slug text not null,
	name text not null,
	description text not null default ''::text,
	image_url text,
	"position" integer not null default 0,
	version bigint not null default 1,
	created_at timestamp with time zone not null default now(),
	updated_at timestamp with time zone not null default now(),
	constraint categories_pkey PRIMARY KEY (tenant_id, id),
	constraint category_slug_taken UNIQUE (tenant_id, slug),
	constraint category_description_length CHECK (length(description) <= 5000),
	constraint category_name_length CHECK (length(name) >= 1 AND length(name) <= 200),
	constraint category_parent_itself CHECK (parent_id <> id),
	constraint category_slug_form CHECK (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'::text AND length(slug) <= 100),
	constraint category_has_children FOREIGN KEY (tenant_id, parent_id) REFERENCES categories(tenant_id, id),
	constraint category_organization_unknown FOREIGN KEY (tenant_id) REFERENCES organizations(tenant_id) ON DELETE CASCADE
);
CREATE INDEX categories_parent ON categories USING btree (tenant_id, parent_id, "position", id);
alter table categories enable row level security;
alter table categories force row level security;
create policy tenant on categories to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on categories to guildhall_app;
comment on table categories is 'commerce/catalog: the tree of categories; whoever moves one holds a lock on the organisation''s tree, so that no cycle appears';

create table collections (
	tenant_id uuid not null,
	id uuid not null,
	slug text not null,
	name text not null,
	description text not null default ''::text,
	image_url text,
	rule jsonb not null,
	sort text not null,
	version bigint not null default 1,
	created_at timestamp with time zone not null default now(),
	updated_at timestamp with time zone not null default now(),
	constraint collections_pkey PRIMARY KEY (tenant_id, id),
	constraint collection_slug_taken UNIQUE (tenant_id, slug),
	constraint collection_description_length CHECK (length(description) <= 5000),
	constraint collection_name_length CHECK (length(name) >= 1 AND length(name) <= 200),
	constraint collection_slug_form CHECK (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'::text AND length(slug) <= 100),
	constraint collection_organization_unknown FOREIGN KEY (tenant_id) REFERENCES organizations(tenant_id) ON DELETE CASCADE
);
alter table collections enable row level security;
alter table collections force row level security;
create policy tenant on collections to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on collections to guildhall_app;
comment on table collections is 'commerce/catalog: products chosen by a rule, which is the filter of a list; nothing is stored of what it matches';

create table comment_reactions (
	tenant_id uuid not null,
	comment_id uuid not null,
	emoji text not null,
	actor_kind text not null,
	actor_id uuid not null,
	created_at timestamp with time zone not null default now(),
	constraint comment_reactions_pkey PRIMARY KEY (tenant_id, comment_id, emoji, actor_kind, actor_id),
	constraint comment_reaction_length CHECK (length(emoji) >= 1 AND length(emoji) <= 32),
	constraint comment_reaction_comment_unknown FOREIGN KEY (tenant_id, comment_id) REFERENCES comments(tenant_id, id) ON DELETE CASCADE
);
alter table comment_reactions enable row level security;
alter table comment_reactions force row level security;
create policy tenant on comment_reactions to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on comment_reactions to guildhall_app;
comment on table comment_reactions is 'work/comments: who reacted to a comment with what; the comment''s row is locked for each change, which keeps the kinds at twenty';

create table comment_revisions (
	tenant_id uuid not null,
	comment_id uuid not null,
	version bigint not null,
	body text not null,
	written_at timestamp with time zone not null,
	constraint comment_revisions_pkey PRIMARY KEY (tenant_id, comment_id, version),
	constraint comment_revision_comment_unknown FOREIGN KEY (tenant_id, comment_id) REFERENCES comments(tenant_id, id) ON DELETE CASCADE
);
alter table comment_revisions enable row level security;
alter table comment_revisions force row level security;
create policy tenant on comment_revisions to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on comment_revisions to guildhall_app;
comment on table comment_revisions is 'work/comments: earlier texts of edited comments, by the version in which they were written';

create table comments (
	tenant_id uuid not null,
	id uuid not null,
	task_id uuid not null,
	parent_id uuid,
	body text not null,
	body_version bigint not null default 1,
	visibility text not null default 'internal'::text,
	mentions uuid[] not null default '{}'::uuid[],
	version bigint not null default 1,
	created_by_kind text not null,
	created_by_id uuid,
	created_at timestamp with time zone not null default now(),
	edited_at timestamp with time zone,
	deleted_at timestamp with time zone,
	constraint comments_pkey PRIMARY KEY (tenant_id, id),
	constraint comment_in_task UNIQUE (tenant_id, task_id, id),
	constraint comment_body_length CHECK (length(body) <= 20000 AND (deleted_at IS NOT NULL OR length(body) > 0)),
	constraint comment_parent_itself CHECK (parent_id <> id),
	constraint comment_visibility CHECK (visibility = ANY (ARRAY['internal'::text, 'customer'::text])),
	constraint comment_parent_unknown FOREIGN KEY (tenant_id, task_id, parent_id) REFERENCES comments(tenant_id, task_id, id) ON DELETE CASCADE,
	constraint comment_task_unknown FOREIGN KEY (tenant_id, task_id) REFERENCES tasks(tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX comments_thread ON comments USING btree (tenant_id, task_id, parent_id, id);
alter table comments enable row level security;
alter table comments force row level security;
create policy tenant on comments to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on comments to guildhall_app;
comment on table comments is 'work/comments: what people say about a task; a deleted one stays without its text, since replies may hang on it';

create table customer_addresses (
	tenant_id uuid not null,
	customer_id uuid not null,
	id uuid not null,
	address jsonb not null,
	is_default boolean not null default false,
	version bigint not null default 1,
	created_at timestamp with time zone not null default now(),
	updated_at timestamp with time zone not null default now(),
	constraint customer_addresses_pkey PRIMARY KEY (tenant_id, customer_id, id),
	constraint customer_address_customer_unknown FOREIGN KEY (tenant_id, customer_id) REFERENCES customers(tenant_id, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX customer_address_default_taken ON customer_addresses USING btree (tenant_id, customer_id) WHERE is_default;
alter table customer_addresses enable row level security;
alter table customer_addresses force row level security;
create policy tenant on customer_addresses to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on customer_addresses to guildhall_app;
comment on table customer_addresses is 'commerce/customers: the address book; an address is {name, line1, line2, city, state, postal_code, country, phone}';

create table customer_mails (
	tenant_id uuid not null,
	id uuid not null,
	customer_id uuid not null,
	purpose text not null,
	email text not null,
	nonce bytea not null,
	redirect_url text not null default ''::text,
	created_at timestamp with time zone not null default now(),
	expires_at timestamp with time zone not null,
	used_at timestamp with time zone,
	constraint customer_mails_pkey PRIMARY KEY (tenant_id, id),
	constraint customer_mail_purpose CHECK (purpose = ANY (ARRAY['confirm'::text, 'reset'::text, 'known'::text, 'password'::text])),
	constraint customer_mail_redirect_length CHECK (length(redirect_url) <= 1000),
	constraint customer_mail_customer_unknown FOREIGN KEY (tenant_id, customer_id) REFERENCES customers(tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX customer_mails_age ON customer_mails USING btree (tenant_id, expires_at);
CREATE INDEX customer_mails_customer ON customer_mails USING btree (tenant_id, customer_id, purpose, created_at);
alter table customer_mails enable row level security;
alter table customer_mails force row level security;
create policy tenant on customer_mails to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on customer_mails to guildhall_app;
comment on table customer_mails is 'commerce/customers: mails to send and the single-use tokens in them; the token is (id) under a MAC with the nonce and is stored nowhere';

create table customer_sessions (
	tenant_id uuid not null,
	customer_id uuid not null,
	id uuid not null,
	nonce bytea not null,
	counter bigint not null default 1,
	source text not null default ''::text,
	created_at timestamp with time zone not null default now(),
	refreshed_at timestamp with time zone not null default now(),
	expires_at timestamp with time zone not null,
	revoked_at timestamp with time zone,
	constraint customer_sessions_pkey PRIMARY KEY (tenant_id, customer_id, id),
	constraint customer_session_customer_unknown FOREIGN KEY (tenant_id, customer_id) REFERENCES customers(tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX customer_sessions_age ON customer_sessions USING btree (tenant_id, refreshed_at);
alter table customer_sessions enable row level security;
alter table customer_sessions force row level security;
create policy tenant on customer_sessions to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on customer_sessions to guildhall_app;
comment on table customer_sessions is 'commerce/customers: where a customer is logged in; a refresh token is (customer, session, counter) under a MAC with the nonce; source is a MAC of account and network';

create table customer_throttles (
	tenant_id uuid not null,
	subject text not null,
	failures integer not null,
	last_failed_at timestamp with time zone not null,
	blocked_until timestamp with time zone not null,
	constraint customer_throttles_pkey PRIMARY KEY (tenant_id, subject)
);
CREATE INDEX customer_throttles_age ON customer_throttles USING btree (tenant_id, last_failed_at);
alter table customer_throttles enable row level security;
alter table customer_throttles force row level security;
create policy tenant on customer_throttles to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on customer_throttles to guildhall_app;
comment on table customer_throttles is 'commerce/customers: failed log-ins per account, per network and per both; the subject is a MAC, not the address';

create table customers (
	tenant_id uuid not null,
	id uuid not null,
	email text not null,
	email_key text not null,
	name text not null default ''::text,
	phone text not null default ''::text,
	password_hash text,
	email_verified_at timestamp with time zone,
	customer_group text,
	accepts_marketing boolean not null default false,
	locale text not null default 'en'::text,
	note text not null default ''::text,
	tags text[] not null default '{}'::text[],
	version bigint not null default 1,
	created_at timestamp with time zone not null default now(),
	updated_at timestamp with time zone not null default now(),
	deleted_at timestamp with time zone,
	constraint customers_pkey PRIMARY KEY (tenant_id, id),
	constraint customer_email_length CHECK (length(email) >= 3 AND length(email) <= 254),
	constraint customer_group_form CHECK (customer_group ~ '^[a-z0-9_]{1,50}$'::text),
	constraint customer_name_length CHECK (length(name) <= 200),
	constraint customer_note_length CHECK (length(note) <= 5000),
	constraint customer_phone_length CHECK (length(phone) <= 50),
	constraint customer_tags_count CHECK (cardinality(tags) <= 50),
	constraint customer_organization_unknown FOREIGN KEY (tenant_id) REFERENCES organizations(tenant_id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX customer_email_taken ON customers USING btree (tenant_id, email_key) WHERE deleted_at IS NULL;
CREATE INDEX customers_group ON customers USING btree (tenant_id, customer_group, id) WHERE deleted_at IS NULL;
CREATE INDEX customers_name ON customers USING btree (tenant_id, name, id) WHERE deleted_at IS NULL;
alter table customers enable row level security;
alter table customers force row level security;
create policy tenant on customers to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on customers to guildhall_app;
comment on table customers is 'commerce/customers: people who buy from an organisation; never its members; one address belongs to at most one of them';

create table event_audiences (
	tenant_id uuid not null,
	listener text not null,
	constraint event_audiences_pkey PRIMARY KEY (tenant_id, listener),
	constraint event_audience_organization_unknown FOREIGN KEY (tenant_id) REFERENCES organizations(tenant_id) ON DELETE CASCADE
);
alter table event_audiences enable row level security;
alter table event_audiences force row level security;
create policy platform on event_audiences to guildhall_platform using (true) with check (true);
create policy tenant on event_audiences to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on event_audiences to guildhall_app;
grant select on event_audiences to guildhall_platform;
comment on table event_audiences is 'event: which organisations a listener hears, of the listeners that hear only some';

create table event_batches (
	tenant_id uuid not null,
	listener text not null,
	"position" bigint not null generated always as identity,
	event_ids uuid[] not null,
	days date[] not null,
	created_at timestamp with time zone not null default now(),
	nudged_at timestamp with time zone,
	nudges integer not null default 0,
	constraint event_batches_pkey PRIMARY KEY (tenant_id, listener, "position")
);
alter table event_batches enable row level security;
alter table event_batches force row level security;
create policy platform on event_batches to guildhall_platform using (true) with check (true);
create policy tenant on event_batches to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, select on event_batches to guildhall_app;
grant insert, select, update (nudged_at, nudges) on event_batches to guildhall_platform;
comment on table event_batches is 'event: what each listener has yet to hear, in order; deleted in the transaction in which the listener heard it';

create table event_counters (
	tenant_id uuid not null,
	last_sequence bigint not null,
	constraint event_counters_pkey PRIMARY KEY (tenant_id)
);
alter table event_counters enable row level security;
alter table event_counters force row level security;
create policy platform on event_counters to guildhall_platform using (true) with check (true);
create policy tenant on event_counters to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant select on event_counters to guildhall_app;
grant delete, insert, select, update on event_counters to guildhall_platform;
comment on table event_counters is 'event: the last sequence number given in each organisation';

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
	occurred_at timestamp with time zone not null,
	occurrences integer not null default 1,
	data jsonb,
	previous jsonb,
	constraint event_log_pkey PRIMARY KEY (tenant_id, day, id),
	constraint event_log_actor_kind CHECK (actor_kind = ANY (ARRAY['user'::text, 'key'::text, 'customer'::text, 'shopper'::text, 'plugin'::text, 'system'::text]))
) partition by range (day);
CREATE INDEX event_log_id ON ONLY event_log USING btree (tenant_id, id);
CREATE INDEX event_log_project ON ONLY event_log USING btree (tenant_id, project_id, id);
CREATE INDEX event_log_sequence ON ONLY event_log USING btree (tenant_id, sequence) WHERE sequence IS NOT NULL;
CREATE INDEX event_log_subject ON ONLY event_log USING btree (tenant_id, subject_type, subject_id, id);
alter table event_log enable row level security;
alter table event_log force row level security;
create policy platform on event_log to guildhall_platform using (true) with check (true);
create policy tenant on event_log to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant insert, select, update on event_log to guildhall_app;
grant delete, select, update on event_log to guildhall_platform;
comment on table event_log is 'event: everything that happened in an organisation; audit trail, activity, webhooks and feed in one; sequence numbers public events without gaps';

create table event_pending (
	tenant_id uuid not null,
	"position" bigint not null generated always as identity,
	day date not null,
	event_id uuid not null,
	type text not null,
	public boolean not null,
	constraint event_pending_pkey PRIMARY KEY (tenant_id, "position")
);
CREATE INDEX event_pending_position ON event_pending USING btree ("position");
alter table event_pending enable row level security;
alter table event_pending force row level security;
create policy platform on event_pending to guildhall_platform using (true) with check (true);
create policy tenant on event_pending to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant insert on event_pending to guildhall_app;
grant delete, select on event_pending to guildhall_platform;
comment on table event_pending is 'event: events the relay has not taken yet, in the order of their commits per subject';

create table fulfilment_lines (
	tenant_id uuid not null,
	order_id uuid not null,
	fulfilment_id uuid not null,
	order_line_id uuid not null,
	quantity integer not null,
	constraint fulfilment_lines_pkey PRIMARY KEY (tenant_id, order_id, fulfilment_id, order_line_id),
	constraint fulfilment_line_quantity CHECK (quantity >= 1),
	constraint fulfilment_line_fulfilment_unknown FOREIGN KEY (tenant_id, order_id, fulfilment_id) REFERENCES fulfilments(tenant_id, order_id, id) ON DELETE CASCADE,
	constraint fulfilment_line_line_unknown FOREIGN KEY (tenant_id, order_id, order_line_id) REFERENCES order_lines(tenant_id, order_id, id) ON DELETE CASCADE
);
CREATE INDEX fulfilment_lines_line ON fulfilment_lines USING btree (tenant_id, order_id, order_line_id);
alter table fulfilment_lines enable row level security;
alter table fulfilment_lines force row level security;
create policy tenant on fulfilment_lines to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on fulfilment_lines to guildhall_app;
comment on table fulfilment_lines is 'commerce/orders: how much of which line is in a parcel';

create table fulfilments (
	tenant_id uuid not null,
	order_id uuid not null,
	id uuid not null,
	location_id uuid,
	status text not null default 'pending'::text,
	carrier text not null default ''::text,
	tracking_number text not null default ''::text,
	tracking_url text not null default ''::text,
	shipped_at timestamp with time zone,
	delivered_at timestamp with time zone,
	cancelled_at timestamp with time zone,
	version bigint not null default 1,
	created_at timestamp with time zone not null default now(),
	updated_at timestamp with time zone not null default now(),
	constraint fulfilments_pkey PRIMARY KEY (tenant_id, order_id, id),
	constraint fulfilment_carrier_length CHECK (length(carrier) <= 100 AND length(tracking_number) <= 200 AND length(tracking_url) <= 2000),
	constraint fulfilment_status CHECK (status = ANY (ARRAY['pending'::text, 'shipped'::text, 'delivered'::text, 'cancelled'::text])),
	constraint fulfilment_location_unknown FOREIGN KEY (tenant_id, location_id) REFERENCES stock_locations(tenant_id, id),
	constraint fulfilment_order_unknown FOREIGN KEY (tenant_id, order_id) REFERENCES orders(tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX fulfilments_location ON fulfilments USING btree (tenant_id, location_id, created_at);
alter table fulfilments enable row level security;
alter table fulfilments force row level security;
create policy tenant on fulfilments to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on fulfilments to guildhall_app;
comment on table fulfilments is 'commerce/orders: parcels: which lines go, or went, from which location';

create table global_idempotency_keys (
	principal text not null,
	operation text not null,
	key_hash bytea not null,
	request_hash bytea not null,
	status smallint not null,
	headers jsonb not null,
	body bytea,
	expires_at timestamp with time zone not null,
	constraint global_idempotency_keys_pkey PRIMARY KEY (principal, operation, key_hash)
);
CREATE INDEX global_idempotency_keys_expires ON global_idempotency_keys USING btree (expires_at);
grant delete, insert, select, update on global_idempotency_keys to guildhall_app;
grant delete, select on global_idempotency_keys to guildhall_platform;
comment on table global_idempotency_keys is 'tenant: the same for operations outside an organisation';

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
	expires_at timestamp with time zone not null,
	project_ids uuid[],
	constraint idempotency_keys_pkey PRIMARY KEY (tenant_id, principal, operation, key_hash)
);
CREATE INDEX idempotency_keys_expires ON idempotency_keys USING btree (tenant_id, expires_at);
alter table idempotency_keys enable row level security;
alter table idempotency_keys force row level security;
create policy platform on idempotency_keys to guildhall_platform using (true) with check (true);
create policy tenant on idempotency_keys to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on idempotency_keys to guildhall_app;
grant delete, select on idempotency_keys to guildhall_platform;
comment on table idempotency_keys is 'tenant: replies kept for 72 hours, written in the transaction of the effect; one about a project is replayed only to who still sees it';

create table identity_log (
	id uuid not null,
	type text not null,
	user_id uuid,
	subject text not null default ''::text,
	source_address text not null,
	request_id text not null,
	occurred_at timestamp with time zone not null,
	occurrences integer not null default 1,
	constraint identity_log_pkey PRIMARY KEY (id)
);
CREATE INDEX identity_log_age ON identity_log USING btree (occurred_at);
CREATE INDEX identity_log_recent ON identity_log USING btree (subject, type, occurred_at);
CREATE INDEX identity_log_user ON identity_log USING btree (user_id, id);
grant delete, insert, select, update on identity_log to guildhall_app;
comment on table identity_log is 'platform/identity: facts about log-ins that belong to no organisation';

create table inbound_messages (
	tenant_id uuid not null,
	id uuid not null,
	source_id uuid not null,
	source_name text not null,
	kind text not null,
	external_id text not null,
	type text,
	content_type text not null,
	payload_encoding text not null,
	payload json not null,
	size integer not null,
	received_at timestamp with time zone not null default now(),
	constraint inbound_messages_pkey PRIMARY KEY (tenant_id, id),
	constraint inbound_message_external_id UNIQUE (tenant_id, source_id, external_id),
	constraint inbound_message_external_id_length CHECK (length(external_id) >= 1 AND length(external_id) <= 255),
	constraint inbound_message_payload_encoding CHECK (payload_encoding = ANY (ARRAY['json'::text, 'base64'::text])),
	constraint inbound_message_organization_unknown FOREIGN KEY (tenant_id) REFERENCES organizations(tenant_id) ON DELETE CASCADE
);
CREATE INDEX inbound_messages_source ON inbound_messages USING btree (tenant_id, source_id, id);
CREATE INDEX inbound_messages_type ON inbound_messages USING btree (tenant_id, type, id);
alter table inbound_messages enable row level security;
alter table inbound_messages force row level security;
create policy platform on inbound_messages to guildhall_platform using (true) with check (true);
create policy tenant on inbound_messages to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select on inbound_messages to guildhall_app;
grant delete, select on inbound_messages to guildhall_platform;
comment on table inbound_messages is 'platform/inbound: what sources sent and signed, once for each id of the sender, for 30 days; payload is a text of base64 where payload_encoding says so';

create table inbound_secrets (
	tenant_id uuid not null,
	source_id uuid not null,
	id uuid not null,
	secret bytea not null,
	created_at timestamp with time zone not null default now(),
	expires_at timestamp with time zone,
	constraint inbound_secrets_pkey PRIMARY KEY (tenant_id, source_id, id),
	constraint inbound_secret_source FOREIGN KEY (tenant_id, source_id) REFERENCES inbound_sources(tenant_id, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX inbound_secret_current ON inbound_secrets USING btree (tenant_id, source_id) WHERE expires_at IS NULL;
alter table inbound_secrets enable row level security;
alter table inbound_secrets force row level security;
create policy platform on inbound_secrets to guildhall_platform using (true) with check (true);
create policy tenant on inbound_secrets to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on inbound_secrets to guildhall_app;
grant select on inbound_secrets to guildhall_platform;
comment on table inbound_secrets is 'platform/inbound: sealed secrets that signatures are verified with; the current one has no expires_at, beside it stands one that ends at most';

create table inbound_sources (
	tenant_id uuid not null,
	id uuid not null,
	name text not null,
	kind text not null,
	hmac jsonb,
	tolerance_seconds integer not null default 300,
	enabled boolean not null default true,
	secret_set_at timestamp with time zone,
	version bigint not null default 1,
	created_at timestamp with time zone not null default now(),
	updated_at timestamp with time zone not null default now(),
	constraint inbound_sources_pkey PRIMARY KEY (tenant_id, id),
	constraint inbound_source_hmac CHECK ((kind = 'hmac'::text) = (hmac IS NOT NULL)),
	constraint inbound_source_kind CHECK (kind = ANY (ARRAY['standard_webhooks'::text, 'stripe'::text, 'github'::text, 'hmac'::text])),
	constraint inbound_source_name_length CHECK (length(name) >= 1 AND length(name) <= 200),
	constraint inbound_source_tolerance CHECK (tolerance_seconds >= 10 AND tolerance_seconds <= 3600),
	constraint inbound_source_organization_unknown FOREIGN KEY (tenant_id) REFERENCES organizations(tenant_id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX inbound_sources_id ON inbound_sources USING btree (id);
alter table inbound_sources enable row level security;
alter table inbound_sources force row level security;
create policy platform on inbound_sources to guildhall_platform using (true) with check (true);
create policy tenant on inbound_sources to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on inbound_sources to guildhall_app;
grant select on inbound_sources to guildhall_platform;
comment on table inbound_sources is 'platform/inbound: foreign services that send webhooks to an organisation; hmac says how one of no known scheme signs';

create table invitation_sends (
	id uuid not null,
	subject text not null,
	sent_at timestamp with time zone not null default now(),
	constraint invitation_sends_pkey PRIMARY KEY (id)
);
CREATE INDEX invitation_sends_age ON invitation_sends USING btree (sent_at);
CREATE INDEX invitation_sends_subject ON invitation_sends USING btree (subject, sent_at);
grant delete, insert, select on invitation_sends to guildhall_app;
comment on table invitation_sends is 'platform/organizations: mails with invitations of the last day, three rows each: for the address, the inviter and the organisation; the subject is a MAC';

create table invitations (
	tenant_id uuid not null,
	id uuid not null,
	email text not null,
	email_key text not null,
	role text not null,
	nonce bytea not null,
	invited_by_id uuid not null,
	created_at timestamp with time zone not null default now(),
	expires_at timestamp with time zone not null,
	accepted_at timestamp with time zone,
	accepted_by_id uuid,
	revoked_at timestamp with time zone,
	constraint invitations_pkey PRIMARY KEY (tenant_id, id),
	constraint invitation_accepted_by CHECK ((accepted_at IS NULL) = (accepted_by_id IS NULL)),
	constraint invitation_organization_unknown FOREIGN KEY (tenant_id) REFERENCES organizations(tenant_id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX invitation_pending ON invitations USING btree (tenant_id, email_key) WHERE accepted_at IS NULL AND revoked_at IS NULL;
alter table invitations enable row level security;
alter table invitations force row level security;
create policy tenant on invitations to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on invitations to guildhall_app;
comment on table invitations is 'platform/organizations: invitations by mail; the token is (organisation, id) under a MAC with the nonce';

create table labels (
	tenant_id uuid not null,
	project_id uuid not null,
	id uuid not null,
	name text not null,
	name_key text not null,
	color text,
	version bigint not null default 1,
	created_at timestamp with time zone not null default now(),
	constraint labels_pkey PRIMARY KEY (tenant_id, id),
	constraint label_in_project UNIQUE (tenant_id, project_id, id),
	constraint label_name_taken UNIQUE (tenant_id, project_id, name_key),
	constraint label_color_form CHECK (color ~ '^#[0-9a-f]{6}$'::text),
	constraint label_name_length CHECK (length(name) >= 1 AND length(name) <= 50),
	constraint label_project_unknown FOREIGN KEY (tenant_id, project_id) REFERENCES projects(tenant_id, id) ON DELETE CASCADE
);
alter table labels enable row level security;
alter table labels force row level security;
create policy tenant on labels to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on labels to guildhall_app;
comment on table labels is 'work/tasks: words that tasks of a project carry; made on first use; name_key is the folded name';

create table login_sources (
	subject text not null,
	last_login_at timestamp with time zone not null,
	constraint login_sources_pkey PRIMARY KEY (subject)
);
CREATE INDEX login_sources_age ON login_sources USING btree (last_login_at);
grant delete, insert, select, update on login_sources to guildhall_app;
comment on table login_sources is 'platform/identity: from which networks who logged in lately; the subject is a MAC of both';

create table login_throttles (
	subject text not null,
	failures integer not null,
	last_failed_at timestamp with time zone not null,
	blocked_until timestamp with time zone not null,
	constraint login_throttles_pkey PRIMARY KEY (subject)
);
grant delete, insert, select, update on login_throttles to guildhall_app;
comment on table login_throttles is 'platform/identity: failed log-ins per account, per network and per both; the subject is a MAC, not the address';

create table mail_tokens (
	id uuid not null,
	user_id uuid not null,
	purpose text not null,
	email text not null,
	nonce bytea not null,
	created_at timestamp with time zone not null default now(),
	expires_at timestamp with time zone not null,
	used_at timestamp with time zone,
	constraint mail_tokens_pkey PRIMARY KEY (id),
	constraint mail_token_purpose CHECK (purpose = ANY (ARRAY['confirm'::text, 'reset'::text, 'known'::text, 'password'::text, 'address'::text])),
	constraint mail_token_user_unknown FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE
);
CREATE INDEX mail_tokens_user ON mail_tokens USING btree (user_id, purpose, created_at);
grant delete, insert, select, update on mail_tokens to guildhall_app;
comment on table mail_tokens is 'platform/identity: mails to send and the single-use links in them; the token is (id) under a MAC with the nonce and is stored nowhere';

create table members (
	tenant_id uuid not null,
	user_id uuid not null,
	role text not null,
	version bigint not null default 1,
	created_at timestamp with time zone not null default now(),
	constraint members_pkey PRIMARY KEY (tenant_id, user_id),
	constraint member_organization_unknown FOREIGN KEY (tenant_id) REFERENCES organizations(tenant_id) ON DELETE CASCADE
);
CREATE INDEX members_role ON members USING btree (tenant_id, role);
CREATE INDEX members_user ON members USING btree (user_id, tenant_id);
alter table members enable row level security;
alter table members force row level security;
create policy platform on members to guildhall_platform using (true) with check (true);
create policy tenant on members to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on members to guildhall_app;
grant select on members to guildhall_platform;
comment on table members is 'platform/organizations: who belongs to an organisation and with which role (the key of a built-in or custom role)';

create table operations (
	tenant_id uuid not null,
	id uuid not null,
	kind text not null,
	status text not null default 'queued'::text,
	done bigint not null default 0,
	total bigint,
	result_url text,
	errors_url text,
	message text,
	checkpoint jsonb,
	attempts integer not null default 0,
	created_by_kind text not null,
	created_by_id uuid,
	created_at timestamp with time zone not null default now(),
	finished_at timestamp with time zone,
	constraint operations_pkey PRIMARY KEY (tenant_id, id),
	constraint operation_progress CHECK (done >= 0 AND (total IS NULL OR total >= 0)),
	constraint operation_status CHECK (status = ANY (ARRAY['queued'::text, 'running'::text, 'done'::text, 'failed'::text, 'cancelled'::text]))
);
alter table operations enable row level security;
alter table operations force row level security;
create policy platform on operations to guildhall_platform using (true) with check (true);
create policy tenant on operations to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on operations to guildhall_app;
grant delete, select on operations to guildhall_platform;
comment on table operations is 'operation: long work that a caller can watch and cancel';

create table order_counters (
	tenant_id uuid not null,
	last_number bigint not null,
	constraint order_counters_pkey PRIMARY KEY (tenant_id),
	constraint order_counter_organization_unknown FOREIGN KEY (tenant_id) REFERENCES organizations(tenant_id) ON DELETE CASCADE
);
alter table order_counters enable row level security;
alter table order_counters force row level security;
create policy tenant on order_counters to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on order_counters to guildhall_app;
comment on table order_counters is 'commerce/orders: the last number that was given to an order';

create table order_lines (
	tenant_id uuid not null,
	order_id uuid not null,
	id uuid not null,
	"position" integer not null,
	product_id uuid,
	variant_id uuid not null,
	sku text,
	title text not null,
	variant_title text not null default ''::text,
	image_url text,
	quantity integer not null,
	fulfilled_quantity integer not null default 0,
	assigned_quantity integer not null default 0,
	returned_quantity integer not null default 0,
	refunded_quantity integer not null default 0,
	refunded bigint not null default 0,
	unit_price bigint not null,
	subtotal bigint not null,
	discount bigint not null,
	tax bigint not null,
	total bigint not null,
	cost bigint,
	weight_grams integer not null default 0,
	tax_class text not null,
	tax_lines jsonb not null default '[]'::jsonb,
	requires_shipping boolean not null,
	constraint order_lines_pkey PRIMARY KEY (tenant_id, order_id, id),
	constraint fulfilment_exceeds_ordered CHECK (0 <= fulfilled_quantity AND fulfilled_quantity <= assigned_quantity AND assigned_quantity <= quantity),
	constraint order_line_amounts CHECK (unit_price >= 0 AND subtotal = (unit_price * quantity) AND discount >= 0 AND discount <= subtotal AND tax >= 0 AND total >= 0),
	constraint order_line_quantity CHECK (quantity >= 1),
	constraint order_line_refunded CHECK (refunded >= 0 AND refunded <= total),
	constraint refund_exceeds_ordered CHECK (refunded_quantity >= 0 AND refunded_quantity <= quantity),
	constraint restock_exceeds_shipped CHECK (returned_quantity >= 0 AND returned_quantity <= fulfilled_quantity),
	constraint order_line_order_unknown FOREIGN KEY (tenant_id, order_id) REFERENCES orders(tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX order_lines_variant ON order_lines USING btree (tenant_id, variant_id, order_id);
alter table order_lines enable row level security;
alter table order_lines force row level security;
create policy tenant on order_lines to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on order_lines to guildhall_app;
comment on table order_lines is 'commerce/orders: what was bought at which price; it names the product as it was then; assigned_quantity is in parcels, fulfilled_quantity of it on the way';

create table order_notes (
	tenant_id uuid not null,
	order_id uuid not null,
	id uuid not null,
	body text not null,
	created_by_kind text not null,
	created_by_id uuid,
	created_at timestamp with time zone not null default now(),
	constraint order_notes_pkey PRIMARY KEY (tenant_id, order_id, id),
	constraint order_note_body_length CHECK (length(body) >= 1 AND length(body) <= 5000),
	constraint order_note_order_unknown FOREIGN KEY (tenant_id, order_id) REFERENCES orders(tenant_id, id) ON DELETE CASCADE
);
alter table order_notes enable row level security;
alter table order_notes force row level security;
create policy tenant on order_notes to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on order_notes to guildhall_app;
comment on table order_notes is 'commerce/orders: what members write about an order for each other';

create table order_payments (
	tenant_id uuid not null,
	order_id uuid not null,
	id uuid not null,
	provider text not null,
	kind text not null,
	amount bigint not null,
	reference text not null,
	reason text not null default ''::text,
	refund_id uuid,
	created_by_kind text not null,
	created_by_id uuid,
	created_at timestamp with time zone not null default now(),
	constraint order_payments_pkey PRIMARY KEY (tenant_id, order_id, id),
	constraint order_payment_recorded UNIQUE (tenant_id, order_id, provider, reference, kind),
	constraint order_payment_amount CHECK (amount >= 0),
	constraint order_payment_kind CHECK (kind = ANY (ARRAY['authorized'::text, 'captured'::text, 'refunded'::text, 'voided'::text, 'failed'::text, 'disputed'::text, 'dispute_won'::text])),
	constraint order_payment_reference CHECK (length(reference) >= 1 AND length(reference) <= 200),
	constraint order_payment_order_unknown FOREIGN KEY (tenant_id, order_id) REFERENCES orders(tenant_id, id) ON DELETE CASCADE
);
alter table order_payments enable row level security;
alter table order_payments force row level security;
create policy tenant on order_payments to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant insert, select on order_payments to guildhall_app;
grant delete on order_payments to guildhall_worker;
comment on table order_payments is 'commerce/orders: the ledger of money; rows are only added, and once for each fact that a provider tells';

create table order_refunds (
	tenant_id uuid not null,
	order_id uuid not null,
	id uuid not null,
	provider text not null,
	status text not null,
	amount bigint not null,
	reason text not null default ''::text,
	restock boolean not null default false,
	lines jsonb not null default '[]'::jsonb,
	created_by_kind text not null,
	created_by_id uuid,
	created_at timestamp with time zone not null default now(),
	settled_at timestamp with time zone,
	constraint order_refunds_pkey PRIMARY KEY (tenant_id, order_id, id),
	constraint order_refund_amount CHECK (amount >= 1),
	constraint order_refund_reason_length CHECK (length(reason) <= 1000),
	constraint order_refund_status CHECK (status = ANY (ARRAY['pending'::text, 'succeeded'::text, 'failed'::text])),
	constraint order_refund_order_unknown FOREIGN KEY (tenant_id, order_id) REFERENCES orders(tenant_id, id) ON DELETE CASCADE
);
alter table order_refunds enable row level security;
alter table order_refunds force row level security;
create policy tenant on order_refunds to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on order_refunds to guildhall_app;
comment on table order_refunds is 'commerce/orders: refunds as somebody asked for them; a pending one is at the provider';

create table orders (
	tenant_id uuid not null,
	id uuid not null,
	number bigint,
	cart_id uuid,
	customer_id uuid,
	status text not null,
	payment_status text not null default 'unpaid'::text,
	fulfilment_status text not null default 'unfulfilled'::text,
	payment_provider text not null,
	attempt integer not null default 0,
	attempt_state text not null default 'none'::text,
	attempt_reference text,
	attempt_until timestamp with time zone,
	email text not null,
	email_key text not null,
	locale text not null default 'en'::text,
	currency text not null,
	shipping_address jsonb,
	billing_address jsonb,
	shipping_method_id uuid,
	shipping_method_name text not null default ''::text,
	discount_codes text[] not null default '{}'::text[],
	adjustments jsonb not null default '[]'::jsonb,
	tax_lines jsonb not null default '[]'::jsonb,
	prices_include_tax boolean not null default false,
	subtotal bigint not null,
	discount bigint not null,
	shipping bigint not null,
	shipping_tax bigint not null default 0,
	tax bigint not null,
	total bigint not null,
	authorized bigint not null default 0,
	captured bigint not null default 0,
	refunded bigint not null default 0,
	refunding bigint not null default 0,
	tags text[] not null default '{}'::text[],
	note text not null default ''::text,
	cancel_reason text,
	placed_at timestamp with time zone,
	paid_at timestamp with time zone,
	cancelled_at timestamp with time zone,
	completed_at timestamp with time zone,
	version bigint not null default 1,
	created_at timestamp with time zone not null default now(),
	updated_at timestamp with time zone not null default now(),
	constraint orders_pkey PRIMARY KEY (tenant_id, id),
	constraint order_cart_taken UNIQUE (tenant_id, cart_id),
	constraint order_number_taken UNIQUE (tenant_id, number),
	constraint order_amounts CHECK (subtotal >= 0 AND discount >= 0 AND shipping >= 0 AND shipping_tax >= 0 AND tax >= shipping_tax AND total >= 0),
	constraint order_attempt_state CHECK (attempt_state = ANY (ARRAY['none'::text, 'started'::text, 'waiting'::text, 'declined'::text, 'undo'::text, 'settled'::text])),
	constraint order_cancel_reason_length CHECK (length(cancel_reason) <= 1000),
	constraint order_captured_limit CHECK (captured >= 0 AND authorized >= 0 AND refunded >= 0 AND refunding >= 0),
	constraint order_fulfilment_status CHECK (fulfilment_status = ANY (ARRAY['unfulfilled'::text, 'partially_fulfilled'::text, 'fulfilled'::text, 'delivered'::text, 'not_required'::text])),
	constraint order_note_length CHECK (length(note) <= 2000),
	constraint order_payment_status CHECK (payment_status = ANY (ARRAY['unpaid'::text, 'authorized'::text, 'partially_paid'::text, 'paid'::text, 'partially_refunded'::text, 'refunded'::text, 'voided'::text])),
	constraint order_placed_once CHECK (placed_at IS NOT NULL AND number IS NOT NULL OR (status = ANY (ARRAY['draft'::text, 'cancelled'::text]))),
	constraint order_status CHECK (status = ANY (ARRAY['draft'::text, 'placed'::text, 'completed'::text, 'cancelled'::text])),
	constraint order_tags_count CHECK (cardinality(tags) <= 50),
	constraint order_total_sum CHECK (total = (subtotal - discount + shipping +
CASE
    WHEN prices_include_tax THEN 0::bigint
    ELSE tax
END)),
	constraint refund_exceeds_captured CHECK ((refunded + refunding) <= captured),
	constraint order_customer_unknown FOREIGN KEY (tenant_id, customer_id) REFERENCES customers(tenant_id, id),
	constraint order_organization_unknown FOREIGN KEY (tenant_id) REFERENCES organizations(tenant_id) ON DELETE CASCADE
);
CREATE INDEX orders_created ON orders USING btree (tenant_id, created_at, id);
CREATE INDEX orders_customer ON orders USING btree (tenant_id, customer_id, placed_at, id);
CREATE INDEX orders_email ON orders USING btree (tenant_id, email_key, placed_at, id);
CREATE INDEX orders_fulfilment ON orders USING btree (tenant_id, fulfilment_status, placed_at, id);
CREATE INDEX orders_payment ON orders USING btree (tenant_id, payment_status, placed_at, id);
CREATE INDEX orders_placed ON orders USING btree (tenant_id, placed_at, id);
CREATE INDEX orders_status ON orders USING btree (tenant_id, status, placed_at, id);
alter table orders enable row level security;
alter table orders force row level security;
create policy tenant on orders to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on orders to guildhall_app;
comment on table orders is 'commerce/orders: what was agreed; amounts are minor units of the currency and are stored, never computed again';

create table organizations (
	tenant_id uuid not null,
	slug text not null,
	name text not null,
	default_currency text not null default 'EUR'::text,
	epoch bigint not null default 1,
	removed_version bigint not null default 0,
	version bigint not null default 1,
	created_at timestamp with time zone not null default now(),
	deleted_at timestamp with time zone,
	constraint organizations_pkey PRIMARY KEY (tenant_id),
	constraint organization_slug_taken UNIQUE (slug),
	constraint organization_currency_form CHECK (default_currency ~ '^[A-Z]{3}$'::text),
	constraint organization_name_length CHECK (length(name) >= 1 AND length(name) <= 200),
	constraint organization_slug_form CHECK (slug ~ '^[a-z0-9](-?[a-z0-9])*$'::text AND length(slug) >= 2 AND length(slug) <= 63 AND slug !~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'::text)
);
alter table organizations enable row level security;
alter table organizations force row level security;
create policy platform on organizations to guildhall_platform using (true) with check (true);
create policy tenant on organizations to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant insert, select, update on organizations to guildhall_app;
grant delete, select on organizations to guildhall_platform;
comment on table organizations is 'platform/organizations: the tenants; tenant_id is the organisation''s id; epoch counts changes of its roles; removed_version is the highest version of a membership that ended';

create table plugin_bundles (
	plugin_id text not null,
	version text not null,
	bundle bytea not null,
	constraint plugin_bundles_pkey PRIMARY KEY (plugin_id, version),
	constraint plugin_bundle_version FOREIGN KEY (plugin_id, version) REFERENCES plugin_versions(plugin_id, version) ON DELETE CASCADE
);
grant select on plugin_bundles to guildhall_app;
grant delete, insert on plugin_bundles to guildhall_worker;
comment on table plugin_bundles is 'platform/integrations: the bundles themselves, so that every replica runs the same bytes';

create table plugin_dispatch (
	tenant_id uuid not null,
	installation_id uuid not null,
	due_at timestamp with time zone not null default 'infinity'::timestamp with time zone,
	nudged_at timestamp with time zone,
	lease_until timestamp with time zone,
	fence bigint not null default 0,
	rest_until timestamp with time zone,
	constraint plugin_dispatch_pkey PRIMARY KEY (tenant_id, installation_id),
	constraint plugin_dispatch_installation FOREIGN KEY (tenant_id, installation_id) REFERENCES plugin_installations(tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX plugin_dispatch_due ON plugin_dispatch USING btree (due_at);
alter table plugin_dispatch enable row level security;
alter table plugin_dispatch force row level security;
create policy platform on plugin_dispatch to guildhall_platform using (true) with check (true);
create policy tenant on plugin_dispatch to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on plugin_dispatch to guildhall_app;
grant select, update on plugin_dispatch to guildhall_platform;
comment on table plugin_dispatch is 'plugins: when the queue of an installation is next to be worked on, and by whom it is (lease and fence)';

create table plugin_emitted (
	tenant_id uuid not null,
	installation_id uuid not null,
	key_hash bytea not null,
	event_id uuid not null,
	emitted_at timestamp with time zone not null default now(),
	constraint plugin_emitted_pkey PRIMARY KEY (tenant_id, installation_id, key_hash),
	constraint plugin_emitted_installation FOREIGN KEY (tenant_id, installation_id) REFERENCES plugin_installations(tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX plugin_emitted_at ON plugin_emitted USING btree (emitted_at);
alter table plugin_emitted enable row level security;
alter table plugin_emitted force row level security;
create policy platform on plugin_emitted to guildhall_platform using (true) with check (true);
create policy tenant on plugin_emitted to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on plugin_emitted to guildhall_app;
grant delete, select on plugin_emitted to guildhall_platform;
comment on table plugin_emitted is 'plugins: which event a key of a plugin emitted already, for 72 hours';

create table plugin_installations (
	tenant_id uuid not null,
	id uuid not null,
	plugin_id text not null,
	plugin_version text not null,
	previous_version text,
	status text not null default 'active'::text,
	status_reason text not null default ''::text,
	grants text[] not null,
	settings jsonb not null,
	secrets bytea,
	settings_version bigint not null default 1,
	auto_update boolean not null default true,
	upgraded_at timestamp with time zone not null default now(),
	installed_by_kind text not null,
	installed_by_id uuid,
	version bigint not null default 1,
	created_at timestamp with time zone not null default now(),
	updated_at timestamp with time zone not null default now(),
	constraint plugin_installations_pkey PRIMARY KEY (tenant_id, id),
	constraint plugin_already_installed UNIQUE (tenant_id, plugin_id),
	constraint plugin_installation_status CHECK (status = ANY (ARRAY['active'::text, 'suspended'::text, 'quarantined'::text])),
	constraint plugin_installation_organization_unknown FOREIGN KEY (tenant_id) REFERENCES organizations(tenant_id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX plugin_installations_id ON plugin_installations USING btree (id);
CREATE INDEX plugin_installations_plugin ON plugin_installations USING btree (plugin_id, tenant_id);
alter table plugin_installations enable row level security;
alter table plugin_installations force row level security;
create policy platform on plugin_installations to guildhall_platform using (true) with check (true);
create policy tenant on plugin_installations to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on plugin_installations to guildhall_app;
grant select on plugin_installations to guildhall_platform;
comment on table plugin_installations is 'platform/integrations: which plugins an organisation installed, in which version, and exactly what it granted; secrets are the sealed secret fields of the settings';

create table plugin_queue (
	tenant_id uuid not null,
	installation_id uuid not null,
	"position" bigint not null generated always as identity,
	event_id uuid not null,
	day date not null,
	event_type text not null,
	subject text not null,
	attempts integer not null default 0,
	due_at timestamp with time zone not null default now(),
	failed_at timestamp with time zone,
	error text not null default ''::text,
	constraint plugin_queue_pkey PRIMARY KEY (tenant_id, installation_id, "position"),
	constraint plugin_queue_installation FOREIGN KEY (tenant_id, installation_id) REFERENCES plugin_installations(tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX plugin_queue_day ON plugin_queue USING btree (day);
CREATE INDEX plugin_queue_due ON plugin_queue USING btree (tenant_id, installation_id, due_at) WHERE failed_at IS NULL;
CREATE INDEX plugin_queue_subject ON plugin_queue USING btree (tenant_id, installation_id, subject, "position") WHERE failed_at IS NULL;
alter table plugin_queue enable row level security;
alter table plugin_queue force row level security;
create policy platform on plugin_queue to guildhall_platform using (true) with check (true);
create policy tenant on plugin_queue to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on plugin_queue to guildhall_app;
grant delete, select on plugin_queue to guildhall_platform;
comment on table plugin_queue is 'plugins: events that a plugin has not heard to the end yet, in the order of the log';

create table plugin_schedules (
	tenant_id uuid not null,
	installation_id uuid not null,
	name text not null,
	every_seconds integer not null,
	next_at timestamp with time zone not null,
	constraint plugin_schedules_pkey PRIMARY KEY (tenant_id, installation_id, name),
	constraint plugin_schedule_every CHECK (every_seconds >= 60 AND every_seconds <= 604800),
	constraint plugin_schedule_installation FOREIGN KEY (tenant_id, installation_id) REFERENCES plugin_installations(tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX plugin_schedules_next ON plugin_schedules USING btree (next_at);
alter table plugin_schedules enable row level security;
alter table plugin_schedules force row level security;
create policy platform on plugin_schedules to guildhall_platform using (true) with check (true);
create policy tenant on plugin_schedules to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on plugin_schedules to guildhall_app;
grant select, update on plugin_schedules to guildhall_platform;
comment on table plugin_schedules is 'plugins: when each schedule of an installation runs next';

create table plugin_secrets (
	tenant_id uuid not null,
	installation_id uuid not null,
	name text not null,
	secret bytea not null,
	updated_at timestamp with time zone not null default now(),
	constraint plugin_secrets_pkey PRIMARY KEY (tenant_id, installation_id, name),
	constraint plugin_secret_name_length CHECK (octet_length(name) >= 1 AND octet_length(name) <= 100),
	constraint plugin_secret_installation FOREIGN KEY (tenant_id, installation_id) REFERENCES plugin_installations(tenant_id, id) ON DELETE CASCADE
);
alter table plugin_secrets enable row level security;
alter table plugin_secrets force row level security;
create policy tenant on plugin_secrets to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on plugin_secrets to guildhall_app;
comment on table plugin_secrets is 'plugins: sealed secrets that an installation keeps, such as tokens of a foreign service';

create table plugin_signers (
	public_key text not null,
	name text not null,
	added_at timestamp with time zone not null default now(),
	constraint plugin_signers_pkey PRIMARY KEY (public_key),
	constraint plugin_signer_name_length CHECK (length(name) >= 1 AND length(name) <= 200)
);
grant select on plugin_signers to guildhall_app;
grant delete, insert, update on plugin_signers to guildhall_worker;
comment on table plugin_signers is 'platform/integrations: who may sign plugins that run here; a bundle of anybody else never runs';

create table plugin_values (
	tenant_id uuid not null,
	installation_id uuid not null,
	key text not null,
	value bytea not null,
	version bigint not null default 1,
	updated_at timestamp with time zone not null default now(),
	constraint plugin_values_pkey PRIMARY KEY (tenant_id, installation_id, key),
	constraint plugin_value_key_length CHECK (octet_length(key) >= 1 AND octet_length(key) <= 200),
	constraint plugin_value_size CHECK (octet_length(value) <= 65536),
	constraint plugin_value_installation FOREIGN KEY (tenant_id, installation_id) REFERENCES plugin_installations(tenant_id, id) ON DELETE CASCADE
);
alter table plugin_values enable row level security;
alter table plugin_values force row level security;
create policy tenant on plugin_values to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on plugin_values to guildhall_app;
comment on table plugin_values is 'plugins: the key-value store of each installation';

create table plugin_versions (
	plugin_id text not null,
	version text not null,
	manifest jsonb not null,
	sha256 bytea not null,
	signer text not null,
	size bigint not null,
	revoked_at timestamp with time zone,
	revoked_reason text,
	added_at timestamp with time zone not null default now(),
	constraint plugin_versions_pkey PRIMARY KEY (plugin_id, version),
	constraint plugin_version_revoked CHECK ((revoked_at IS NULL) = (revoked_reason IS NULL)),
	constraint plugin_version_sha256 CHECK (length(sha256) = 32),
	constraint plugin_version_plugin FOREIGN KEY (plugin_id) REFERENCES plugins(id) ON DELETE CASCADE
);
grant select on plugin_versions to guildhall_app;
grant delete, insert, update on plugin_versions to guildhall_worker;
comment on table plugin_versions is 'platform/integrations: the catalogue; a version never changes, and one that was revoked never runs';

create table plugins (
	id text not null,
	number integer not null generated always as identity,
	pinned_version text,
	added_at timestamp with time zone not null default now(),
	constraint plugins_pkey PRIMARY KEY (id),
	constraint plugin_number UNIQUE (number),
	constraint plugin_id_form CHECK (id ~ '^[a-z][a-z_]{1,38}[a-z]$'::text)
);
grant select on plugins to guildhall_app;
grant delete, insert, update on plugins to guildhall_worker;
comment on table plugins is 'platform/integrations: the plugins of the instance; number makes the account that their processes run as; a pinned version is the one for everybody';

create table price_list_prices (
	tenant_id uuid not null,
	variant_id uuid not null,
	price_list_id uuid not null,
	min_quantity integer not null default 1,
	amount bigint not null,
	constraint price_list_prices_pkey PRIMARY KEY (tenant_id, variant_id, price_list_id, min_quantity),
	constraint price_list_price_amount CHECK (amount >= 0 AND amount <= '1000000000000'::bigint),
	constraint price_list_price_quantity CHECK (min_quantity >= 1 AND min_quantity <= 1000000),
	constraint price_list_price_list_unknown FOREIGN KEY (tenant_id, price_list_id) REFERENCES price_lists(tenant_id, id) ON DELETE CASCADE,
	constraint price_list_price_variant_unknown FOREIGN KEY (tenant_id, variant_id) REFERENCES product_variants(tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX price_list_prices_list ON price_list_prices USING btree (tenant_id, price_list_id, variant_id);
alter table price_list_prices enable row level security;
alter table price_list_prices force row level security;
create policy tenant on price_list_prices to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on price_list_prices to guildhall_app;
comment on table price_list_prices is 'commerce/catalog: a price of a list from a quantity on, in minor units of the list''s currency';

create table price_lists (
	tenant_id uuid not null,
	id uuid not null,
	name text not null,
	currency text not null,
	customer_group text,
	starts_at timestamp with time zone,
	ends_at timestamp with time zone,
	priority integer not null default 0,
	enabled boolean not null default true,
	version bigint not null default 1,
	created_at timestamp with time zone not null default now(),
	updated_at timestamp with time zone not null default now(),
	constraint price_lists_pkey PRIMARY KEY (tenant_id, id),
	constraint price_list_currency_form CHECK (currency ~ '^[A-Z]{3}$'::text),
	constraint price_list_dates_order CHECK (starts_at < ends_at),
	constraint price_list_group_form CHECK (customer_group ~ '^[a-z0-9_]{1,50}$'::text),
	constraint price_list_name_length CHECK (length(name) >= 1 AND length(name) <= 200),
	constraint price_list_organization_unknown FOREIGN KEY (tenant_id) REFERENCES organizations(tenant_id) ON DELETE CASCADE
);
alter table price_lists enable row level security;
alter table price_lists force row level security;
create policy tenant on price_lists to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on price_lists to guildhall_app;
comment on table price_lists is 'commerce/catalog: other prices: in another currency, for a group of customers, for a time; of those that apply the greatest priority counts, then the least amount';

create table product_imports (
	tenant_id uuid not null,
	id uuid not null,
	dry_run boolean not null,
	source text,
	total integer not null,
	done integer not null default 0,
	created integer not null default 0,
	updated integer not null default 0,
	unchanged integer not null default 0,
	failed integer not null default 0,
	errors jsonb not null default '[]'::jsonb,
	created_by_kind text not null,
	created_by_id uuid,
	created_at timestamp with time zone not null default now(),
	finished_at timestamp with time zone,
	constraint product_imports_pkey PRIMARY KEY (tenant_id, id),
	constraint product_import_organization_unknown FOREIGN KEY (tenant_id) REFERENCES organizations(tenant_id) ON DELETE CASCADE
);
CREATE INDEX product_imports_created ON product_imports USING btree (tenant_id, created_at);
alter table product_imports enable row level security;
alter table product_imports force row level security;
create policy tenant on product_imports to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on product_imports to guildhall_app;
comment on table product_imports is 'commerce/catalog: files of products that are read in; counts move in the transaction of the products that they count; source goes when all of it is through';

create table product_variants (
	tenant_id uuid not null,
	id uuid not null,
	product_id uuid not null,
	currency text not null,
	sku text,
	sku_key text,
	barcode text,
	title text not null,
	options jsonb not null default '{}'::jsonb,
	option_key text not null,
	price bigint not null,
	compare_at_price bigint,
	cost bigint,
	weight_grams integer not null default 0,
	image_url text,
	requires_shipping boolean not null default true,
	track_stock boolean not null default true,
	"position" integer not null,
	version bigint not null default 1,
	created_at timestamp with time zone not null default now(),
	updated_at timestamp with time zone not null default now(),
	deleted_at timestamp with time zone,
	constraint product_variants_pkey PRIMARY KEY (tenant_id, id),
	constraint variant_in_product UNIQUE (tenant_id, product_id, id),
	constraint variant_barcode_form CHECK (length(barcode) >= 1 AND length(barcode) <= 100),
	constraint variant_price_limit CHECK (price <= '1000000000000'::bigint AND compare_at_price <= '1000000000000'::bigint AND cost <= '1000000000000'::bigint),
	constraint variant_price_positive CHECK (price >= 0 AND compare_at_price >= 0 AND cost >= 0),
	constraint variant_sku_form CHECK (length(sku) >= 1 AND length(sku) <= 100 AND (sku IS NULL) = (sku_key IS NULL)),
	constraint variant_title_length CHECK (length(title) >= 1 AND length(title) <= 300),
	constraint variant_weight CHECK (weight_grams >= 0 AND weight_grams <= 10000000),
	constraint variant_product_unknown FOREIGN KEY (tenant_id, product_id, currency) REFERENCES products(tenant_id, id, currency) ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE INDEX product_variants_barcode ON product_variants USING btree (tenant_id, barcode) WHERE barcode IS NOT NULL;
CREATE INDEX product_variants_product ON product_variants USING btree (tenant_id, product_id, currency, "position", id);
CREATE UNIQUE INDEX variant_options_taken ON product_variants USING btree (tenant_id, product_id, option_key) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX variant_sku_taken ON product_variants USING btree (tenant_id, sku_key) WHERE deleted_at IS NULL AND sku_key IS NOT NULL;
alter table product_variants enable row level security;
alter table product_variants force row level security;
create policy tenant on product_variants to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on product_variants to guildhall_app;
comment on table product_variants is 'commerce/catalog: what can be put into a cart; one for each combination of options that is sold; price is in minor units of the product''s currency; option_key is the combination in one spelling, sku_key the folded sku';

create table products (
	tenant_id uuid not null,
	id uuid not null,
	slug text not null,
	name text not null,
	name_key text not null,
	description text not null default ''::text,
	status text not null default 'draft'::text,
	category_id uuid,
	brand text not null default ''::text,
	tags text[] not null default '{}'::text[],
	image_urls text[] not null default '{}'::text[],
	options jsonb not null default '[]'::jsonb,
	attributes jsonb not null default '{}'::jsonb,
	tax_class text not null default 'standard'::text,
	currency text not null,
	price_from bigint not null default 0,
	price_to bigint not null default 0,
	seo_title text not null default ''::text,
	seo_description text not null default ''::text,
	publish_at timestamp with time zone,
	unpublish_at timestamp with time zone,
	version bigint not null default 1,
	created_by_kind text not null,
	created_by_id uuid,
	created_at timestamp with time zone not null default now(),
	updated_at timestamp with time zone not null default now(),
	deleted_at timestamp with time zone,
	constraint products_pkey PRIMARY KEY (tenant_id, id),
	constraint product_in_currency UNIQUE (tenant_id, id, currency),
	constraint product_brand_length CHECK (length(brand) <= 200),
	constraint product_currency_form CHECK (currency ~ '^[A-Z]{3}$'::text),
	constraint product_dates_order CHECK (publish_at < unpublish_at),
	constraint product_description_length CHECK (length(description) <= 50000),
	constraint product_images_count CHECK (cardinality(image_urls) <= 50),
	constraint product_name_length CHECK (length(name) >= 1 AND length(name) <= 300),
	constraint product_price_range CHECK (0 <= price_from AND price_from <= price_to),
	constraint product_slug_form CHECK (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'::text AND length(slug) <= 200),
	constraint product_status CHECK (status = ANY (ARRAY['draft'::text, 'active'::text, 'archived'::text])),
	constraint product_tags_count CHECK (cardinality(tags) <= 50),
	constraint product_tax_class CHECK (length(tax_class) >= 1 AND length(tax_class) <= 50),
	constraint product_category_unknown FOREIGN KEY (tenant_id, category_id) REFERENCES categories(tenant_id, id),
	constraint product_organization_unknown FOREIGN KEY (tenant_id) REFERENCES organizations(tenant_id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX product_slug_taken ON products USING btree (tenant_id, slug) WHERE deleted_at IS NULL;
CREATE INDEX products_category ON products USING btree (tenant_id, category_id, id);
CREATE INDEX products_created ON products USING btree (tenant_id, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX products_name ON products USING btree (tenant_id, name_key, id) WHERE deleted_at IS NULL;
CREATE INDEX products_price ON products USING btree (tenant_id, price_from, id) WHERE deleted_at IS NULL;
CREATE INDEX products_status ON products USING btree (tenant_id, status, id) WHERE deleted_at IS NULL;
alter table products enable row level security;
alter table products force row level security;
create policy tenant on products to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on products to guildhall_app;
comment on table products is 'commerce/catalog: what is sold; price_from and price_to repeat the least and the greatest price of its variants, name_key is the folded name; options are [{name, values}] in their order';

create table project_members (
	tenant_id uuid not null,
	project_id uuid not null,
	user_id uuid not null,
	role text not null,
	created_at timestamp with time zone not null default now(),
	constraint project_member_exists PRIMARY KEY (tenant_id, project_id, user_id),
	constraint project_member_role CHECK (role = ANY (ARRAY['lead'::text, 'contributor'::text, 'viewer'::text])),
	constraint project_member_project_unknown FOREIGN KEY (tenant_id, project_id) REFERENCES projects(tenant_id, id) ON DELETE CASCADE,
	constraint project_member_unknown FOREIGN KEY (tenant_id, user_id) REFERENCES members(tenant_id, user_id) ON DELETE CASCADE
);
CREATE INDEX project_members_user ON project_members USING btree (tenant_id, user_id, project_id);
alter table project_members enable row level security;
alter table project_members force row level security;
create policy tenant on project_members to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on project_members to guildhall_app;
comment on table project_members is 'work/projects: the people named in a project and what they are there';

create table project_states (
	tenant_id uuid not null,
	project_id uuid not null,
	id uuid not null,
	key text not null,
	name text not null,
	state_group text not null,
	"position" text collate "C" not null,
	color text,
	is_default boolean not null default false,
	constraint project_states_pkey PRIMARY KEY (tenant_id, id),
	constraint state_key_taken UNIQUE (tenant_id, project_id, key),
	constraint state_means UNIQUE (tenant_id, project_id, key, state_group),
	constraint state_color_form CHECK (color ~ '^#[0-9a-f]{6}$'::text),
	constraint state_group CHECK (state_group = ANY (ARRAY['backlog'::text, 'unstarted'::text, 'started'::text, 'completed'::text, 'cancelled'::text])),
	constraint state_key_form CHECK (key ~ '^[a-z][a-z0-9_]{0,39}$'::text),
	constraint state_name_length CHECK (length(name) >= 1 AND length(name) <= 100),
	constraint state_project_unknown FOREIGN KEY (tenant_id, project_id) REFERENCES projects(tenant_id, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX state_default ON project_states USING btree (tenant_id, project_id) WHERE is_default;
alter table project_states enable row level security;
alter table project_states force row level security;
create policy tenant on project_states to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on project_states to guildhall_app;
comment on table project_states is 'work/projects: the workflow of a project in the order of position; tasks name a state by (project_id, key) and repeat its group';

create table projects (
	tenant_id uuid not null,
	id uuid not null,
	key text not null,
	name text not null,
	description text not null default ''::text,
	status text not null default 'active'::text,
	visibility text not null default 'open'::text,
	color text,
	owner_id uuid,
	version bigint not null default 1,
	created_at timestamp with time zone not null default now(),
	updated_at timestamp with time zone not null default now(),
	archived_at timestamp with time zone,
	deleted_at timestamp with time zone,
	deleted_by uuid,
	lost_owner_id uuid,
	constraint projects_pkey PRIMARY KEY (tenant_id, id),
	constraint project_key_taken UNIQUE (tenant_id, key),
	constraint project_archived_when CHECK ((status = 'archived'::text) = (archived_at IS NOT NULL)),
	constraint project_color_form CHECK (color ~ '^#[0-9a-f]{6}$'::text),
	constraint project_description_length CHECK (length(description) <= 50000),
	constraint project_key_form CHECK (key ~ '^[A-Z][A-Z0-9]{1,9}$'::text),
	constraint project_name_length CHECK (length(name) >= 1 AND length(name) <= 200),
	constraint project_status CHECK (status = ANY (ARRAY['active'::text, 'archived'::text])),
	constraint project_visibility CHECK (visibility = ANY (ARRAY['open'::text, 'private'::text])),
	constraint project_organization_unknown FOREIGN KEY (tenant_id) REFERENCES organizations(tenant_id) ON DELETE CASCADE,
	constraint project_owner_unknown FOREIGN KEY (tenant_id, owner_id) REFERENCES members(tenant_id, user_id) ON DELETE SET NULL (owner_id)
);
CREATE INDEX projects_deleted ON projects USING btree (tenant_id, deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX projects_lost ON projects USING btree (tenant_id, lost_owner_id) WHERE lost_owner_id IS NOT NULL;
CREATE INDEX projects_owner ON projects USING btree (tenant_id, owner_id);
alter table projects enable row level security;
alter table projects force row level security;
create policy platform on projects to guildhall_platform using (true) with check (true);
create policy tenant on projects to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
CREATE TRIGGER project_lost_owner BEFORE UPDATE OF owner_id ON projects FOR EACH ROW WHEN (new.version = old.version AND new.owner_id IS DISTINCT FROM old.owner_id) EXECUTE FUNCTION project_lost_owner();
grant delete, insert, select, update on projects to guildhall_app;
grant select on projects to guildhall_platform;
comment on table projects is 'work/projects: plans of an organisation; one in the trash keeps its key, so that it can come back; lost_owner_id is who left, until it was told';

create table roles (
	tenant_id uuid not null,
	id uuid not null,
	key text not null,
	name text not null,
	description text not null default ''::text,
	permissions text[] not null,
	guest boolean not null default false,
	version bigint not null default 1,
	created_at timestamp with time zone not null default now(),
	constraint roles_pkey PRIMARY KEY (tenant_id, id),
	constraint role_key_taken UNIQUE (tenant_id, key),
	constraint role_key_builtin CHECK (key <> ALL (ARRAY['owner'::text, 'admin'::text, 'member'::text, 'guest'::text])),
	constraint role_key_form CHECK (key ~ '^[a-z][a-z0-9_]{0,39}$'::text),
	constraint role_name_length CHECK (length(name) >= 1 AND length(name) <= 100),
	constraint role_organization_unknown FOREIGN KEY (tenant_id) REFERENCES organizations(tenant_id) ON DELETE CASCADE
);
alter table roles enable row level security;
alter table roles force row level security;
create policy tenant on roles to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on roles to guildhall_app;
comment on table roles is 'platform/access: the custom roles of an organisation; owner, admin, member and guest are built in and have no row';

create table sessions (
	id uuid not null,
	user_id uuid not null,
	nonce bytea not null,
	generation bigint not null default 1,
	rotated_at timestamp with time zone not null default now(),
	user_agent text not null default ''::text,
	source_address text not null default ''::text,
	created_at timestamp with time zone not null default now(),
	last_used_at timestamp with time zone not null default now(),
	expires_at timestamp with time zone not null,
	revoked_at timestamp with time zone,
	constraint sessions_pkey PRIMARY KEY (id),
	constraint session_user_unknown FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE
);
CREATE INDEX sessions_user ON sessions USING btree (user_id, id);
grant delete, insert, select, update on sessions to guildhall_app;
comment on table sessions is 'platform/identity: log-ins; a refresh token is (session, generation) under a MAC with the nonce';

create table shipping_methods (
	tenant_id uuid not null,
	id uuid not null,
	zone_id uuid not null,
	name text not null,
	kind text not null,
	currency text not null,
	amount bigint not null default 0,
	bands jsonb not null default '[]'::jsonb,
	free_from bigint,
	min_subtotal bigint,
	max_subtotal bigint,
	min_weight_grams integer,
	max_weight_grams integer,
	tax_class text not null default ''::text,
	"position" integer not null default 0,
	active boolean not null default true,
	version bigint not null default 1,
	created_at timestamp with time zone not null default now(),
	updated_at timestamp with time zone not null default now(),
	constraint shipping_methods_pkey PRIMARY KEY (tenant_id, id),
	constraint shipping_method_amount CHECK (amount >= 0 AND amount <= '1000000000000'::bigint AND free_from >= 0),
	constraint shipping_method_class CHECK (length(tax_class) <= 50),
	constraint shipping_method_currency_form CHECK (currency ~ '^[A-Z]{3}$'::text),
	constraint shipping_method_kind CHECK (kind = ANY (ARRAY['flat'::text, 'by_weight'::text, 'by_price'::text])),
	constraint shipping_method_name_length CHECK (length(name) >= 1 AND length(name) <= 200),
	constraint shipping_method_subtotals CHECK (min_subtotal >= 0 AND min_subtotal <= max_subtotal),
	constraint shipping_method_weights CHECK (min_weight_grams >= 0 AND min_weight_grams <= max_weight_grams),
	constraint shipping_method_zone_unknown FOREIGN KEY (tenant_id, zone_id) REFERENCES shipping_zones(tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX shipping_methods_zone ON shipping_methods USING btree (tenant_id, zone_id, "position", id);
alter table shipping_methods enable row level security;
alter table shipping_methods force row level security;
create policy tenant on shipping_methods to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on shipping_methods to guildhall_app;
comment on table shipping_methods is 'commerce/shipping: a way to send something into a zone, and its price in minor units of its currency; bands are [{up_to, amount}] by weight in grams or by subtotal';

create table shipping_zones (
	tenant_id uuid not null,
	id uuid not null,
	name text not null,
	countries text[] not null,
	states text[] not null default '{}'::text[],
	postal_code_prefixes text[] not null default '{}'::text[],
	version bigint not null default 1,
	created_at timestamp with time zone not null default now(),
	updated_at timestamp with time zone not null default now(),
	constraint shipping_zones_pkey PRIMARY KEY (tenant_id, id),
	constraint shipping_zone_name_taken UNIQUE (tenant_id, name),
	constraint shipping_zone_name_length CHECK (length(name) >= 1 AND length(name) <= 200),
	constraint shipping_zone_size CHECK (cardinality(countries) <= 250 AND cardinality(states) <= 200 AND cardinality(postal_code_prefixes) <= 500),
	constraint shipping_zone_organization_unknown FOREIGN KEY (tenant_id) REFERENCES organizations(tenant_id) ON DELETE CASCADE
);
alter table shipping_zones enable row level security;
alter table shipping_zones force row level security;
create policy tenant on shipping_zones to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on shipping_zones to guildhall_app;
comment on table shipping_zones is 'commerce/shipping: where parcels go; an empty list is no limit; the most specific zone of an address counts';

create table signing_keys (
	id text not null,
	public_key bytea not null,
	sealed_private_key bytea not null,
	created_at timestamp with time zone not null default now(),
	signs_until timestamp with time zone not null,
	verifies_until timestamp with time zone not null,
	constraint signing_keys_pkey PRIMARY KEY (id)
);
grant delete, insert, select on signing_keys to guildhall_app;
comment on table signing_keys is 'platform/identity: Ed25519 keys of access tokens; the private half is sealed';

create table stock_levels (
	tenant_id uuid not null,
	variant_id uuid not null,
	location_id uuid not null,
	on_hand integer not null default 0,
	reserved integer not null default 0,
	backorder_limit integer not null default 0,
	shortfall integer not null default 0,
	available integer not null generated always as (on_hand - reserved) stored,
	low_stock_threshold integer,
	version bigint not null default 1,
	updated_at timestamp with time zone not null default now(),
	constraint stock_levels_pkey PRIMARY KEY (tenant_id, variant_id, location_id),
	constraint insufficient_stock CHECK (reserved <= (on_hand + backorder_limit + shortfall)),
	constraint stock_level_limits CHECK (backorder_limit >= 0 AND backorder_limit <= 1000000 AND shortfall >= 0 AND low_stock_threshold >= 0 AND on_hand <= 1000000000),
	constraint stock_not_negative CHECK (on_hand >= 0 AND reserved >= 0),
	constraint stock_level_location_in_use FOREIGN KEY (tenant_id, location_id) REFERENCES stock_locations(tenant_id, id),
	constraint stock_level_variant_unknown FOREIGN KEY (tenant_id, variant_id) REFERENCES product_variants(tenant_id, id)
);
CREATE INDEX stock_levels_location ON stock_levels USING btree (tenant_id, location_id, variant_id);
alter table stock_levels enable row level security;
alter table stock_levels force row level security;
create policy tenant on stock_levels to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on stock_levels to guildhall_app;
comment on table stock_levels is 'commerce/inventory: on_hand is the sum of stock_movements, reserved the sum of stock_reservations; shortfall is what was promised and then not found';

create table stock_locations (
	tenant_id uuid not null,
	id uuid not null,
	code text not null,
	name text not null,
	address jsonb,
	priority integer not null default 0,
	is_default boolean not null default false,
	active boolean not null default true,
	version bigint not null default 1,
	created_at timestamp with time zone not null default now(),
	updated_at timestamp with time zone not null default now(),
	constraint stock_locations_pkey PRIMARY KEY (tenant_id, id),
	constraint stock_location_code_taken UNIQUE (tenant_id, code),
	constraint stock_location_code_form CHECK (code ~ '^[a-z0-9]+([_-][a-z0-9]+)*$'::text AND length(code) <= 50),
	constraint stock_location_default_active CHECK (active OR NOT is_default),
	constraint stock_location_name_length CHECK (length(name) >= 1 AND length(name) <= 200),
	constraint stock_location_organization_unknown FOREIGN KEY (tenant_id) REFERENCES organizations(tenant_id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX stock_location_default_taken ON stock_locations USING btree (tenant_id) WHERE is_default;
alter table stock_locations enable row level security;
alter table stock_locations force row level security;
create policy tenant on stock_locations to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on stock_locations to guildhall_app;
comment on table stock_locations is 'commerce/inventory: where goods lie; the default one is made with the first stock';

create table stock_movements (
	tenant_id uuid not null,
	id uuid not null,
	variant_id uuid not null,
	location_id uuid not null,
	quantity integer not null,
	on_hand_after integer not null,
	reason text not null,
	note text not null default ''::text,
	reference_type text,
	reference_id uuid,
	created_by_kind text not null,
	created_by_id uuid,
	created_at timestamp with time zone not null default now(),
	constraint stock_movements_pkey PRIMARY KEY (tenant_id, id),
	constraint stock_movement_note_length CHECK (length(note) <= 1000),
	constraint stock_movement_quantity CHECK (quantity <> 0),
	constraint stock_movement_reason CHECK (reason = ANY (ARRAY['initial'::text, 'received'::text, 'adjusted'::text, 'counted'::text, 'damaged'::text, 'transferred'::text, 'shipped'::text, 'returned'::text])),
	constraint stock_movement_level_unknown FOREIGN KEY (tenant_id, variant_id, location_id) REFERENCES stock_levels(tenant_id, variant_id, location_id)
);
CREATE INDEX stock_movements_level ON stock_movements USING btree (tenant_id, variant_id, location_id, id);
CREATE INDEX stock_movements_reference ON stock_movements USING btree (tenant_id, reference_id) WHERE reference_id IS NOT NULL;
alter table stock_movements enable row level security;
alter table stock_movements force row level security;
create policy tenant on stock_movements to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant insert, select on stock_movements to guildhall_app;
grant delete on stock_movements to guildhall_worker;
comment on table stock_movements is 'commerce/inventory: the ledger of what was in stock; rows are only added';

create table stock_reservations (
	tenant_id uuid not null,
	order_id uuid not null,
	variant_id uuid not null,
	location_id uuid not null,
	quantity integer not null,
	expires_at timestamp with time zone,
	created_at timestamp with time zone not null default now(),
	constraint stock_reservations_pkey PRIMARY KEY (tenant_id, order_id, variant_id, location_id),
	constraint stock_reservation_quantity CHECK (quantity >= 0),
	constraint stock_reservation_level_unknown FOREIGN KEY (tenant_id, variant_id, location_id) REFERENCES stock_levels(tenant_id, variant_id, location_id)
);
CREATE INDEX stock_reservations_expires ON stock_reservations USING btree (expires_at) WHERE expires_at IS NOT NULL AND quantity > 0;
CREATE INDEX stock_reservations_level ON stock_reservations USING btree (tenant_id, variant_id, location_id);
alter table stock_reservations enable row level security;
alter table stock_reservations force row level security;
create policy platform on stock_reservations to guildhall_platform using (true) with check (true);
create policy tenant on stock_reservations to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on stock_reservations to guildhall_app;
grant select on stock_reservations to guildhall_platform;
comment on table stock_reservations is 'commerce/inventory: what is promised to an order and not yet shipped; expires_at bridges a payment that is under way; a quantity of 0 tells that it expired';

create table storefront_keys (
	tenant_id uuid not null,
	id uuid not null,
	name text not null,
	allowed_origins text[] not null default '{}'::text[],
	created_by_kind text not null,
	created_by_id uuid,
	created_at timestamp with time zone not null default now(),
	revoked_at timestamp with time zone,
	version bigint not null default 1,
	constraint storefront_keys_pkey PRIMARY KEY (tenant_id, id),
	constraint storefront_key_name_length CHECK (length(name) >= 1 AND length(name) <= 100),
	constraint storefront_key_origins_count CHECK (cardinality(allowed_origins) <= 50),
	constraint storefront_key_organization_unknown FOREIGN KEY (tenant_id) REFERENCES organizations(tenant_id) ON DELETE CASCADE
);
alter table storefront_keys enable row level security;
alter table storefront_keys force row level security;
create policy tenant on storefront_keys to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on storefront_keys to guildhall_app;
comment on table storefront_keys is 'commerce/customers: publishable keys of shops; a key says its organisation and its id, and is no secret';

create table task_counters (
	tenant_id uuid not null,
	project_id uuid not null,
	last_number integer not null,
	last_slot bigint not null,
	constraint task_counters_pkey PRIMARY KEY (tenant_id, project_id),
	constraint task_counter_project_unknown FOREIGN KEY (tenant_id, project_id) REFERENCES projects(tenant_id, id) ON DELETE CASCADE
);
alter table task_counters enable row level security;
alter table task_counters force row level security;
create policy tenant on task_counters to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on task_counters to guildhall_app;
comment on table task_counters is 'work/tasks: per project the last number and the last place at the end that were given; its lock orders what takes many places';

create table task_labels (
	tenant_id uuid not null,
	project_id uuid not null,
	task_id uuid not null,
	label_id uuid not null,
	constraint task_labels_pkey PRIMARY KEY (tenant_id, project_id, task_id, label_id),
	constraint task_label_task_unknown FOREIGN KEY (tenant_id, project_id, task_id) REFERENCES tasks(tenant_id, project_id, id) ON DELETE CASCADE,
	constraint task_label_unknown FOREIGN KEY (tenant_id, project_id, label_id) REFERENCES labels(tenant_id, project_id, id) DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX task_labels_label ON task_labels USING btree (tenant_id, label_id, project_id, task_id);
alter table task_labels enable row level security;
alter table task_labels force row level security;
create policy tenant on task_labels to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on task_labels to guildhall_app;
comment on table task_labels is 'work/tasks: which task carries which label; both are of one project';

create table task_watchers (
	tenant_id uuid not null,
	task_id uuid not null,
	user_id uuid not null,
	created_at timestamp with time zone not null default now(),
	constraint task_watchers_pkey PRIMARY KEY (tenant_id, task_id, user_id),
	constraint task_watcher_task_unknown FOREIGN KEY (tenant_id, task_id) REFERENCES tasks(tenant_id, id) ON DELETE CASCADE,
	constraint task_watcher_unknown FOREIGN KEY (tenant_id, user_id) REFERENCES members(tenant_id, user_id) ON DELETE CASCADE
);
CREATE INDEX task_watchers_user ON task_watchers USING btree (tenant_id, user_id, task_id);
alter table task_watchers enable row level security;
alter table task_watchers force row level security;
create policy tenant on task_watchers to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on task_watchers to guildhall_app;
comment on table task_watchers is 'work/tasks: who wants to hear of a task; its creator, assignees and commenters do by themselves';

create table tasks (
	tenant_id uuid not null,
	id uuid not null,
	project_id uuid not null,
	number integer not null,
	title text not null,
	description text not null default ''::text,
	status text not null,
	state_group text not null,
	labels text[] not null default '{}'::text[],
	priority text not null default 'none'::text,
	priority_rank smallint not null generated always as (
CASE priority
    WHEN 'low'::text THEN 1
    WHEN 'medium'::text THEN 2
    WHEN 'high'::text THEN 3
    WHEN 'urgent'::text THEN 4
    ELSE 0
END) stored,
	assigned_to_id uuid,
	parent_id uuid,
	due_date date,
	start_date date,
	"position" text collate "C" not null,
	completed_at timestamp with time zone,
	field_versions jsonb not null default '{}'::jsonb,
	version bigint not null default 1,
	created_by_kind text not null,
	created_by_id uuid,
	created_at timestamp with time zone not null default now(),
	updated_at timestamp with time zone not null default now(),
	deleted_at timestamp with time zone,
	lost_assignee_id uuid,
	constraint tasks_pkey PRIMARY KEY (tenant_id, id),
	constraint task_in_project UNIQUE (tenant_id, project_id, id),
	constraint task_number_taken UNIQUE (tenant_id, project_id, number),
	constraint task_position_taken UNIQUE (tenant_id, project_id, "position"),
	constraint task_dates_order CHECK (start_date <= due_date),
	constraint task_description_length CHECK (length(description) <= 50000),
	constraint task_parent_itself CHECK (parent_id <> id),
	constraint task_position_form CHECK ("position" ~ '^[0-9A-Za-z]*[1-9A-Za-z]$'::text AND length("position") <= 2000),
	constraint task_priority CHECK (priority = ANY (ARRAY['none'::text, 'low'::text, 'medium'::text, 'high'::text, 'urgent'::text])),
	constraint task_title_length CHECK (length(title) >= 1 AND length(title) <= 500),
	constraint task_assignee_unknown FOREIGN KEY (tenant_id, assigned_to_id) REFERENCES members(tenant_id, user_id) ON DELETE SET NULL (assigned_to_id),
	constraint task_parent_unknown FOREIGN KEY (tenant_id, project_id, parent_id) REFERENCES tasks(tenant_id, project_id, id) ON DELETE SET NULL (parent_id),
	constraint task_project_unknown FOREIGN KEY (tenant_id, project_id) REFERENCES projects(tenant_id, id) ON DELETE CASCADE,
	constraint task_state_unknown FOREIGN KEY (tenant_id, project_id, status, state_group) REFERENCES project_states(tenant_id, project_id, key, state_group) ON UPDATE CASCADE
);
CREATE INDEX tasks_assignee ON tasks USING btree (tenant_id, assigned_to_id) WHERE assigned_to_id IS NOT NULL;
CREATE INDEX tasks_created ON tasks USING btree (tenant_id, created_at, id);
CREATE INDEX tasks_deleted ON tasks USING btree (tenant_id, deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX tasks_lost ON tasks USING btree (tenant_id, lost_assignee_id) WHERE lost_assignee_id IS NOT NULL;
CREATE INDEX tasks_parent ON tasks USING btree (tenant_id, project_id, parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX tasks_status ON tasks USING btree (tenant_id, project_id, status, state_group);
alter table tasks enable row level security;
alter table tasks force row level security;
create policy platform on tasks to guildhall_platform using (true) with check (true);
create policy tenant on tasks to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
CREATE TRIGGER task_lost_reference BEFORE UPDATE OF assigned_to_id, parent_id ON tasks FOR EACH ROW WHEN (new.version = old.version AND (new.assigned_to_id IS DISTINCT FROM old.assigned_to_id OR new.parent_id IS DISTINCT FROM old.parent_id)) EXECUTE FUNCTION task_lost_reference();
grant delete, insert, select, update on tasks to guildhall_app;
grant select on tasks to guildhall_platform;
comment on table tasks is 'work/tasks: what is to be done; field_versions says in which version a field last changed, position is a rank (see rank.go); labels repeats the names of task_labels, in the order of their keys; lost_assignee_id is who left, until it was told';

create table tax_rates (
	tenant_id uuid not null,
	id uuid not null,
	name text not null,
	country text not null,
	state text not null default ''::text,
	postal_code_prefix text not null default ''::text,
	tax_class text not null default 'standard'::text,
	rate_ppm integer not null,
	version bigint not null default 1,
	created_at timestamp with time zone not null default now(),
	updated_at timestamp with time zone not null default now(),
	constraint tax_rates_pkey PRIMARY KEY (tenant_id, id),
	constraint tax_rate_taken UNIQUE (tenant_id, country, state, postal_code_prefix, tax_class, name),
	constraint tax_rate_class CHECK (length(tax_class) >= 1 AND length(tax_class) <= 50),
	constraint tax_rate_country_form CHECK (country ~ '^[A-Z]{2}$'::text),
	constraint tax_rate_name_length CHECK (length(name) >= 1 AND length(name) <= 100),
	constraint tax_rate_ppm CHECK (rate_ppm >= 0 AND rate_ppm <= 5000000),
	constraint tax_rate_region_form CHECK (length(state) <= 100 AND postal_code_prefix ~ '^[A-Z0-9]{0,20}$'::text),
	constraint tax_rate_organization_unknown FOREIGN KEY (tenant_id) REFERENCES organizations(tenant_id) ON DELETE CASCADE
);
alter table tax_rates enable row level security;
alter table tax_rates force row level security;
create policy tenant on tax_rates to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on tax_rates to guildhall_app;
comment on table tax_rates is 'commerce/taxes: taxes by destination and class, in parts per million; state and postal_code_prefix are upper case without blanks, empty for all; of one name the most specific counts, different names add up';

create table tax_settings (
	tenant_id uuid not null,
	prices_include_tax boolean not null default false,
	rounding text not null default 'half_up'::text,
	rounding_scope text not null default 'line'::text,
	shipping_tax_class text not null default 'standard'::text,
	version bigint not null default 0,
	updated_at timestamp with time zone not null default now(),
	constraint tax_settings_pkey PRIMARY KEY (tenant_id),
	constraint tax_settings_rounding CHECK (rounding = ANY (ARRAY['half_up'::text, 'half_even'::text])),
	constraint tax_settings_rounding_scope CHECK (rounding_scope = ANY (ARRAY['unit'::text, 'line'::text, 'order'::text])),
	constraint tax_settings_shipping_class CHECK (length(shipping_tax_class) <= 50),
	constraint tax_settings_organization_unknown FOREIGN KEY (tenant_id) REFERENCES organizations(tenant_id) ON DELETE CASCADE
);
alter table tax_settings enable row level security;
alter table tax_settings force row level security;
create policy tenant on tax_settings to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on tax_settings to guildhall_app;
comment on table tax_settings is 'commerce/taxes: how an organisation reckons taxes; without a row the defaults hold';

create table users (
	id uuid not null,
	username text not null,
	email text not null,
	email_key text not null,
	password_hash text not null,
	email_verified_at timestamp with time zone,
	pending_email text,
	locale text not null default 'en'::text,
	time_zone text not null default 'UTC'::text,
	operator boolean not null default false,
	version bigint not null default 1,
	created_at timestamp with time zone not null default now(),
	constraint users_pkey PRIMARY KEY (id),
	constraint email_taken UNIQUE (email_key),
	constraint email_length CHECK (length(email) >= 3 AND length(email) <= 254),
	constraint username_length CHECK (length(username) >= 1 AND length(username) <= 64)
);
grant insert, select, update on users to guildhall_app;
grant select on users to guildhall_platform;
comment on table users is 'platform/identity: people; email_key is the folded address';

create table webhook_attempts (
	tenant_id uuid not null,
	day date not null,
	delivery_id uuid not null,
	number integer not null,
	settings_version bigint not null,
	started_at timestamp with time zone not null,
	duration_ms integer not null,
	url text not null,
	request_headers jsonb not null,
	status_code integer,
	response_headers jsonb,
	response_body bytea,
	response_truncated boolean not null default false,
	error text,
	constraint webhook_attempts_pkey PRIMARY KEY (tenant_id, day, delivery_id, number)
) partition by range (day);
alter table webhook_attempts enable row level security;
alter table webhook_attempts force row level security;
create policy tenant on webhook_attempts to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant insert, select on webhook_attempts to guildhall_app;
grant delete on webhook_attempts to guildhall_worker;
comment on table webhook_attempts is 'platform/webhooks: each attempt at a delivery, with the first 16 KiB of the answer; day is that of the delivery';

create table webhook_counters (
	tenant_id uuid not null,
	endpoints integer not null,
	constraint webhook_counters_pkey PRIMARY KEY (tenant_id),
	constraint webhook_counter_endpoints CHECK (endpoints >= 0)
);
alter table webhook_counters enable row level security;
alter table webhook_counters force row level security;
create policy tenant on webhook_counters to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on webhook_counters to guildhall_app;
comment on table webhook_counters is 'platform/webhooks: how many endpoints an organisation has that are not deleted; its row is also the lock on the organisation''s keys';

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
	next_attempt_at timestamp with time zone,
	last_attempt_at timestamp with time zone,
	last_status_code integer,
	example jsonb,
	created_at timestamp with time zone not null default now(),
	constraint webhook_deliveries_pkey PRIMARY KEY (tenant_id, day, id),
	constraint webhook_delivery_status CHECK (status = ANY (ARRAY['pending'::text, 'delivered'::text, 'failed'::text, 'exhausted'::text, 'filtered'::text, 'paused'::text]))
) partition by range (day);
CREATE INDEX webhook_deliveries_list ON ONLY webhook_deliveries USING btree (tenant_id, endpoint_id, id);
CREATE INDEX webhook_deliveries_sequence ON ONLY webhook_deliveries USING btree (tenant_id, endpoint_id, sequence, status);
CREATE INDEX webhook_deliveries_status ON ONLY webhook_deliveries USING btree (tenant_id, endpoint_id, status, id);
alter table webhook_deliveries enable row level security;
alter table webhook_deliveries force row level security;
create policy tenant on webhook_deliveries to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant insert, select, update on webhook_deliveries to guildhall_app;
grant delete on webhook_deliveries to guildhall_worker;
comment on table webhook_deliveries is 'platform/webhooks: what became of each event that an endpoint''s types matched; day is the day in the id; example holds a test event, which is in no log';

create table webhook_dispatch (
	tenant_id uuid not null,
	endpoint_id uuid not null,
	due_at timestamp with time zone not null default 'infinity'::timestamp with time zone,
	nudged_at timestamp with time zone,
	lease_until timestamp with time zone,
	fence bigint not null default 0,
	in_flight_limit integer not null default 4,
	next_send_at timestamp with time zone,
	window_started_at timestamp with time zone,
	window_delivered integer not null default 0,
	window_failed integer not null default 0,
	open_until timestamp with time zone,
	probe_seconds integer not null default 0,
	failing_since timestamp with time zone,
	last_delivered_at timestamp with time zone,
	last_failed_at timestamp with time zone,
	retry_at timestamp with time zone,
	retry_seconds integer not null default 0,
	constraint webhook_dispatch_pkey PRIMARY KEY (tenant_id, endpoint_id),
	constraint webhook_dispatch_endpoint FOREIGN KEY (tenant_id, endpoint_id) REFERENCES webhook_endpoints(tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX webhook_dispatch_due ON webhook_dispatch USING btree (due_at);
CREATE INDEX webhook_dispatch_lease ON webhook_dispatch USING btree (lease_until) WHERE lease_until IS NOT NULL;
alter table webhook_dispatch enable row level security;
alter table webhook_dispatch force row level security;
create policy platform on webhook_dispatch to guildhall_platform using (true) with check (true);
create policy tenant on webhook_dispatch to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on webhook_dispatch to guildhall_app;
grant select, update on webhook_dispatch to guildhall_platform;
comment on table webhook_dispatch is 'platform/webhooks: when each endpoint is next to be drained, by whom it is (lease and fence), how healthy it is, and until when it waits because we failed (retry_at)';

create table webhook_endpoints (
	tenant_id uuid not null,
	id uuid not null,
	url text not null,
	description text not null default ''::text,
	event_types text[] not null default '{}'::text[],
	filter text not null default ''::text,
	headers bytea,
	header_names text[] not null default '{}'::text[],
	enabled boolean not null default true,
	ordering text not null default 'none'::text,
	payload text not null default 'full'::text,
	envelope text not null default 'standard'::text,
	signature text not null default 'v1'::text,
	include_private boolean not null default false,
	rate_limit integer,
	max_in_flight integer,
	timeout_seconds integer not null default 15,
	retry_schedule integer[],
	schema_date date not null,
	disabled_reason text,
	disabled_at timestamp with time zone,
	catch_up_since timestamp with time zone,
	version bigint not null default 1,
	created_by_kind text not null,
	created_by_id uuid,
	created_at timestamp with time zone not null default now(),
	updated_at timestamp with time zone not null default now(),
	deleted_at timestamp with time zone,
	constraint webhook_endpoints_pkey PRIMARY KEY (tenant_id, id),
	constraint webhook_endpoint_disabled_reason CHECK (disabled_reason = ANY (ARRAY['manual'::text, 'gone'::text, 'failing'::text])),
	constraint webhook_endpoint_envelope CHECK (envelope = ANY (ARRAY['standard'::text, 'cloudevents'::text])),
	constraint webhook_endpoint_max_in_flight CHECK (max_in_flight >= 1 AND max_in_flight <= 100),
	constraint webhook_endpoint_ordering CHECK (ordering = ANY (ARRAY['none'::text, 'by_subject'::text])),
	constraint webhook_endpoint_payload CHECK (payload = ANY (ARRAY['full'::text, 'thin'::text])),
	constraint webhook_endpoint_rate_limit CHECK (rate_limit >= 1 AND rate_limit <= 10000),
	constraint webhook_endpoint_retry_schedule CHECK (cardinality(retry_schedule) >= 1 AND cardinality(retry_schedule) <= 20 AND (0 <= ALL (retry_schedule)) AND (86400 >= ALL (retry_schedule))),
	constraint webhook_endpoint_signature CHECK (signature = ANY (ARRAY['v1'::text, 'v1a'::text, 'both'::text])),
	constraint webhook_endpoint_timeout CHECK (timeout_seconds >= 1 AND timeout_seconds <= 30),
	constraint webhook_endpoint_url_length CHECK (length(url) >= 1 AND length(url) <= 2048)
);
CREATE INDEX webhook_endpoints_deleted ON webhook_endpoints USING btree (tenant_id, deleted_at) WHERE deleted_at IS NOT NULL;
alter table webhook_endpoints enable row level security;
alter table webhook_endpoints force row level security;
create policy platform on webhook_endpoints to guildhall_platform using (true) with check (true);
create policy tenant on webhook_endpoints to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on webhook_endpoints to guildhall_app;
grant delete, select (deleted_at, enabled, id, tenant_id) on webhook_endpoints to guildhall_platform;
comment on table webhook_endpoints is 'platform/webhooks: where events of an organisation are sent; headers are sealed; retry_schedule in seconds, null is the default';

create table webhook_keys (
	tenant_id uuid not null,
	id uuid not null,
	seed bytea not null,
	public_key bytea not null,
	created_at timestamp with time zone not null default now(),
	expires_at timestamp with time zone,
	constraint webhook_keys_pkey PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX webhook_keys_current ON webhook_keys USING btree (tenant_id) WHERE expires_at IS NULL;
alter table webhook_keys enable row level security;
alter table webhook_keys force row level security;
create policy platform on webhook_keys to guildhall_platform using (true) with check (true);
create policy tenant on webhook_keys to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on webhook_keys to guildhall_app;
grant select (created_at, expires_at, id, public_key, tenant_id) on webhook_keys to guildhall_platform;
comment on table webhook_keys is 'platform/webhooks: Ed25519 key pairs of an organisation for v1a signatures; the seed is sealed, the current one has no expires_at';

create table webhook_progress (
	tenant_id uuid not null,
	heard_sequence bigint not null,
	constraint webhook_progress_pkey PRIMARY KEY (tenant_id)
);
alter table webhook_progress enable row level security;
alter table webhook_progress force row level security;
create policy tenant on webhook_progress to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on webhook_progress to guildhall_app;
comment on table webhook_progress is 'platform/webhooks: the last event that was held against the endpoints';

create table webhook_queue (
	tenant_id uuid not null,
	endpoint_id uuid not null,
	delivery_id uuid not null,
	"position" bigint not null generated always as identity,
	day date not null,
	event_id uuid not null,
	event_day date not null,
	subject text not null,
	due_at timestamp with time zone not null,
	made integer not null default 0,
	step integer not null default 0,
	example jsonb,
	constraint webhook_queue_pkey PRIMARY KEY (tenant_id, delivery_id),
	constraint webhook_queue_endpoint FOREIGN KEY (tenant_id, endpoint_id) REFERENCES webhook_endpoints(tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX webhook_queue_due ON webhook_queue USING btree (tenant_id, endpoint_id, due_at, "position");
CREATE INDEX webhook_queue_subject ON webhook_queue USING btree (tenant_id, endpoint_id, subject, "position");
alter table webhook_queue enable row level security;
alter table webhook_queue force row level security;
create policy platform on webhook_queue to guildhall_platform using (true) with check (true);
create policy tenant on webhook_queue to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on webhook_queue to guildhall_app;
grant delete, select, update on webhook_queue to guildhall_platform;
comment on table webhook_queue is 'platform/webhooks: deliveries that are still to be sent; made counts all attempts, step those of the present run of the retry plan';

create table webhook_replays (
	tenant_id uuid not null,
	id uuid not null,
	endpoint_id uuid not null,
	operation_id uuid not null,
	since timestamp with time zone not null,
	until timestamp with time zone,
	statuses text[] not null,
	event_types text[] not null,
	rate integer,
	first_day date not null,
	through bigint not null,
	last_sequence bigint not null,
	queued bigint not null default 0,
	expected bigint,
	next_due_at timestamp with time zone,
	constraint webhook_replays_pkey PRIMARY KEY (tenant_id, id),
	constraint webhook_replay_endpoint FOREIGN KEY (tenant_id, endpoint_id) REFERENCES webhook_endpoints(tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX webhook_replays_endpoint ON webhook_replays USING btree (tenant_id, endpoint_id);
alter table webhook_replays enable row level security;
alter table webhook_replays force row level security;
create policy tenant on webhook_replays to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on webhook_replays to guildhall_app;
comment on table webhook_replays is 'platform/webhooks: replays of an endpoint and the number up to which each is queued, which moves with the queue in one transaction';

create table webhook_secrets (
	tenant_id uuid not null,
	endpoint_id uuid not null,
	id uuid not null,
	secret bytea not null,
	created_at timestamp with time zone not null default now(),
	expires_at timestamp with time zone,
	constraint webhook_secrets_pkey PRIMARY KEY (tenant_id, endpoint_id, id),
	constraint webhook_secret_endpoint FOREIGN KEY (tenant_id, endpoint_id) REFERENCES webhook_endpoints(tenant_id, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX webhook_secrets_current ON webhook_secrets USING btree (tenant_id, endpoint_id) WHERE expires_at IS NULL;
alter table webhook_secrets enable row level security;
alter table webhook_secrets force row level security;
create policy tenant on webhook_secrets to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on webhook_secrets to guildhall_app;
comment on table webhook_secrets is 'platform/webhooks: sealed secrets that sign deliveries; the current one has no expires_at';

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
	created_at timestamp with time zone not null default now(),
	constraint webhook_settings_pkey PRIMARY KEY (tenant_id, endpoint_id, version),
	constraint webhook_settings_endpoint FOREIGN KEY (tenant_id, endpoint_id) REFERENCES webhook_endpoints(tenant_id, id) ON DELETE CASCADE
);
alter table webhook_settings enable row level security;
alter table webhook_settings force row level security;
create policy tenant on webhook_settings to guildhall_app using (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting))) with check (tenant_id = (( SELECT current_setting('app.tenant_id'::text)::uuid AS current_setting)));
grant delete, insert, select, update on webhook_settings to guildhall_app;
comment on table webhook_settings is 'platform/webhooks: every version of an endpoint''s settings and the first event it was applied to, from which follows which events it did not match';

create view project_access with (security_invoker=true) as
 SELECT tenant_id,
    project_id,
    project_key,
    visibility,
    role,
    archived,
    (role = ANY (ARRAY['lead'::text, 'contributor'::text])) AND NOT archived AS writable
   FROM project_sight s
  WHERE NOT deleted;
grant select on project_access to guildhall_app;
comment on view project_access is 'work/projects: one row per project that the viewer may see and that is not in the trash; writable = may change its tasks and comments';

create view project_sight with (security_invoker=true) as
 SELECT tenant_id,
    project_id,
    project_key,
    visibility,
    role,
    archived,
    deleted
   FROM ( SELECT p.tenant_id,
            p.id AS project_id,
            p.key AS project_key,
            p.visibility,
                CASE
                    WHEN (( SELECT current_setting('app.user_id'::text) AS current_setting)) = 'system'::text THEN 'lead'::text
                    WHEN p.visibility = 'open'::text AND (( SELECT current_setting('app.open_role'::text) AS current_setting)) = 'lead'::text THEN 'lead'::text
                    WHEN m.role IS NOT NULL THEN m.role
                    WHEN p.visibility = 'open'::text THEN ( SELECT NULLIF(current_setting('app.open_role'::text), ''::text) AS "nullif")
                    ELSE NULL::text
                END AS role,
            p.status = 'archived'::text AS archived,
            p.deleted_at IS NOT NULL AS deleted
           FROM projects p
             LEFT JOIN project_members m ON m.tenant_id = p.tenant_id AND m.project_id = p.id AND m.user_id = (( SELECT
                        CASE
                            WHEN current_setting('app.user_id'::text) <> 'system'::text THEN current_setting('app.user_id'::text)::uuid
                            ELSE NULL::uuid
                        END AS "case"))) s
  WHERE role IS NOT NULL;
grant select on project_sight to guildhall_app;
comment on view project_sight is 'work/projects: one row per project that the viewer may see, trashed ones included: role lead, contributor or viewer';
