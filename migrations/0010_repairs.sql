-- Repairs: listeners that keep failing are nudged at growing intervals, and endpoints whose queue nobody would come for are found.
-- +goose Up

-- On the oldest batch of a listener; what was heard takes them along.
alter table event_batches add column nudged_at timestamptz, add column nudges integer not null default 0;
grant update (nudged_at, nudges) on event_batches to guildhall_platform;

drop function overdue_listeners(integer);

-- Listeners whose oldest batch has waited longer than a job needs to come for
-- it: the job died with its process, or the listener failed. Only those that
-- the caller knows, and each at intervals that double up to five minutes. One
-- that is just hearing holds its batch, and is passed over.
-- +goose StatementBegin
create function overdue_listeners(most integer, known text[]) returns table (tenant_id uuid, listener text)
language sql security definer set search_path = guildhall, pg_temp as $$
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
$$;
-- +goose StatementEnd
alter function overdue_listeners(integer, text[]) owner to guildhall_platform;
revoke execute on function overdue_listeners(integer, text[]) from public;
grant execute on function overdue_listeners(integer, text[]) to guildhall_worker;

-- An endpoint that may be sent to and is never due although something is queued
-- for it would wait for ever: its organisation was in the bin when it should
-- have become due, or something went wrong that nobody thought of. Looks at the
-- next endpoints that have a queue, from one on, and says where it stopped; a
-- row of nulls is the end.
-- +goose StatementBegin
create function repair_webhook_endpoints(after_tenant uuid, after_endpoint uuid, most integer)
returns table (tenant_id uuid, endpoint_id uuid, repaired bigint)
language plpgsql security definer set search_path = guildhall, pg_temp as $$
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
end $$;
-- +goose StatementEnd
alter function repair_webhook_endpoints(uuid, uuid, integer) owner to guildhall_platform;
revoke execute on function repair_webhook_endpoints(uuid, uuid, integer) from public;
grant execute on function repair_webhook_endpoints(uuid, uuid, integer) to guildhall_worker;
grant select (enabled) on webhook_endpoints to guildhall_platform;

-- What is still queued from a day that goes, goes with it; whose head went, or
-- is missing, takes its turn, and its endpoint wakes.
-- +goose StatementBegin
create or replace function purge_webhook_queue(before date) returns bigint
language plpgsql security definer set search_path = guildhall, pg_temp as $$
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
end $$;
-- +goose StatementEnd
