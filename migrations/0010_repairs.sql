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
