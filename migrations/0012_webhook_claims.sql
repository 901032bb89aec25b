-- Claims: a worker that was sent for an endpoint serves that one first.
-- +goose Up

drop function claim_webhook_endpoint(integer, integer);

-- Puts the next due endpoint under lease: the one the caller was sent for if it
-- may be served, else of the organisation with the fewest drains the one that
-- is due longest. An organisation gets no more drains than per_tenant. A row of
-- nulls means that what was meant is locked for a moment, because an event is
-- being fanned out to it, and asks the caller to come again: nobody else is on
-- the way to it.
-- +goose StatementBegin
create function claim_webhook_endpoint(lease_seconds integer, per_tenant integer, sent_tenant uuid default null, sent_endpoint uuid default null)
returns table (tenant_id uuid, endpoint_id uuid, fence bigint)
language sql security definer set search_path = guildhall, pg_temp as $$
	select set_config('synchronous_commit', 'off', true); -- a lease need not outlive a crash
	-- One at a time, each seeing the leases of those before: else all who ask at
	-- once find an organisation without drains.
	select pg_advisory_xact_lock(7301, 4);
	with busy as (
		select d.tenant_id, count(*) as drains from webhook_dispatch d where d.lease_until > clock_timestamp() group by d.tenant_id
	), own as (
		select d.endpoint_id from webhook_dispatch d left join busy b on b.tenant_id = d.tenant_id
		where d.tenant_id = sent_tenant and d.endpoint_id = sent_endpoint
		and d.due_at <= clock_timestamp() and (d.lease_until is null or d.lease_until <= clock_timestamp()) and coalesce(b.drains, 0) < per_tenant
	), pick as (
		select d.tenant_id, d.endpoint_id from webhook_dispatch d left join busy b on b.tenant_id = d.tenant_id
		where d.due_at <= clock_timestamp() and (d.lease_until is null or d.lease_until <= clock_timestamp()) and coalesce(b.drains, 0) < per_tenant
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
		where d.due_at <= clock_timestamp() and (d.lease_until is null or d.lease_until <= clock_timestamp()) and coalesce(b.drains, 0) < per_tenant)
$$;
-- +goose StatementEnd
alter function claim_webhook_endpoint(integer, integer, uuid, uuid) owner to guildhall_platform;
revoke execute on function claim_webhook_endpoint(integer, integer, uuid, uuid) from public;
grant execute on function claim_webhook_endpoint(integer, integer, uuid, uuid) to guildhall_worker;
