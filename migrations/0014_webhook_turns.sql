-- Turns of webhook endpoints: a claim reads only what is due, and an endpoint whose drain fails waits before the next one.
-- +goose Up

-- Apart from the breaker, which is about the receiver's answers.
alter table webhook_dispatch add column retry_at timestamptz, add column retry_seconds integer not null default 0;
comment on table webhook_dispatch is 'platform/webhooks: when each endpoint is next to be drained, by whom it is (lease and fence), how healthy it is, and until when it waits because we failed (retry_at)';

-- As before, with one time for all of it: clock_timestamp() is another at every
-- row, so no index answers to it, and each claim read every endpoint there is
-- while all others waited. The time is taken under the lock, so that the leases
-- of those before are counted. What is due is a small part of a table whose
-- statistics seldom know how small, hence no scan of the whole.
-- +goose StatementBegin
create or replace function claim_webhook_endpoint(lease_seconds integer, per_tenant integer, sent_tenant uuid default null, sent_endpoint uuid default null)
returns table (tenant_id uuid, endpoint_id uuid, fence bigint)
language plpgsql security definer set search_path = guildhall, pg_temp set enable_seqscan = off as $$
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
end $$;
-- +goose StatementEnd

alter function nudge_webhook_endpoints(integer, integer) set enable_seqscan = off;

-- What the planner knows of the queue stays what it is told here: every
-- organisation and endpoint may have a good part of it, a subject has little. Whoever was not in the last sample,
-- as nobody was at first, was taken for one with a single row, for which any
-- index is as good as the primary key: each attempt that was recorded read all
-- that was queued for the organisation.
alter table webhook_queue alter column tenant_id set statistics 1, alter column endpoint_id set statistics 1;
alter table webhook_queue no force row level security;
alter table webhook_queue drop constraint webhook_queue_endpoint;
insert into webhook_queue (tenant_id, endpoint_id, delivery_id, day, event_id, event_day, subject, due_at)
	select ('00000000-0000-0000-0000-' || lpad((n % 10)::text, 12, '0'))::uuid, ('00000000-0000-0000-0000-' || lpad((n % 4)::text, 12, '0'))::uuid,
		gen_random_uuid(), 'epoch', gen_random_uuid(), 'epoch', n::text, now()
	from generate_series(1, 900) n;
analyze webhook_queue (tenant_id, endpoint_id, delivery_id, subject);
delete from webhook_queue where day = 'epoch';
alter table webhook_queue add constraint webhook_queue_endpoint foreign key (tenant_id, endpoint_id) references webhook_endpoints (tenant_id, id) on delete cascade;
alter table webhook_queue force row level security;
alter table webhook_queue alter column tenant_id set statistics 0, alter column endpoint_id set statistics 0,
	alter column delivery_id set statistics 0, alter column subject set statistics 0;
