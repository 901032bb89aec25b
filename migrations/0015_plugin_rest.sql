-- Queues of plugins rest when the plugin could not be called; what happens
-- meanwhile does not wake them. Notes of what was emitted go when they are of no
-- use any more.
-- +goose Up

alter table plugin_dispatch add column rest_until timestamptz;

create index plugin_emitted_at on plugin_emitted (emitted_at);
create policy platform on plugin_emitted to guildhall_platform using (true) with check (true);
grant select, delete on plugin_emitted to guildhall_platform;

-- Deletes up to a batch of notes about events that plugins emitted.
-- +goose StatementBegin
create function purge_plugin_emitted(batch integer) returns bigint
language plpgsql security definer set search_path = guildhall, pg_temp as $$
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
end $$;
-- +goose StatementEnd
alter function purge_plugin_emitted(integer) owner to guildhall_platform;
revoke execute on function purge_plugin_emitted(integer) from public;
grant execute on function purge_plugin_emitted(integer) to guildhall_worker;
