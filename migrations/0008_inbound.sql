-- Inbound webhooks: who may send to an organisation, and what they sent.
-- +goose Up

create table inbound_sources (
	tenant_id uuid not null,
	id uuid not null,
	name text not null,
	kind text not null,
	hmac jsonb,
	tolerance_seconds integer not null default 300,
	enabled boolean not null default true,
	secret_set_at timestamptz,
	version bigint not null default 1,
	created_at timestamptz not null default now(),
	updated_at timestamptz not null default now(),
	constraint inbound_sources_pkey primary key (tenant_id, id),
	constraint inbound_source_organization_unknown foreign key (tenant_id) references organizations (tenant_id) on delete cascade,
	constraint inbound_source_name_length check (length(name) between 1 and 200),
	constraint inbound_source_kind check (kind in ('standard_webhooks', 'stripe', 'github', 'hmac')),
	constraint inbound_source_hmac check ((kind = 'hmac') = (hmac is not null)),
	constraint inbound_source_tolerance check (tolerance_seconds between 10 and 3600)
);
create unique index inbound_sources_id on inbound_sources (id);
comment on table inbound_sources is 'platform/inbound: foreign services that send webhooks to an organisation; hmac says how one of no known scheme signs';
select protect_tenant_table('inbound_sources');
create policy platform on inbound_sources to guildhall_platform using (true) with check (true);
grant select on inbound_sources to guildhall_platform;

create table inbound_secrets (
	tenant_id uuid not null,
	source_id uuid not null,
	id uuid not null,
	secret bytea not null,
	created_at timestamptz not null default now(),
	expires_at timestamptz,
	constraint inbound_secrets_pkey primary key (tenant_id, source_id, id),
	constraint inbound_secret_source foreign key (tenant_id, source_id) references inbound_sources (tenant_id, id) on delete cascade
);
create unique index inbound_secret_current on inbound_secrets (tenant_id, source_id) where expires_at is null;
comment on table inbound_secrets is 'platform/inbound: sealed secrets that signatures are verified with; the current one has no expires_at, beside it stands one that ends at most';
select protect_tenant_table('inbound_secrets');
create policy platform on inbound_secrets to guildhall_platform using (true) with check (true);
grant select on inbound_secrets to guildhall_platform;

-- A message outlives its source, so it names what it needs of it itself.
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
	received_at timestamptz not null default now(),
	constraint inbound_messages_pkey primary key (tenant_id, id),
	constraint inbound_message_external_id unique (tenant_id, source_id, external_id),
	constraint inbound_message_organization_unknown foreign key (tenant_id) references organizations (tenant_id) on delete cascade,
	constraint inbound_message_external_id_length check (length(external_id) between 1 and 255),
	constraint inbound_message_payload_encoding check (payload_encoding in ('json', 'base64'))
);
create index inbound_messages_source on inbound_messages (tenant_id, source_id, id);
create index inbound_messages_type on inbound_messages (tenant_id, type, id);
comment on table inbound_messages is 'platform/inbound: what sources sent and signed, once for each id of the sender, for 30 days; payload is a text of base64 where payload_encoding says so';
select protect_tenant_table('inbound_messages');
revoke update on inbound_messages from guildhall_app;
create policy platform on inbound_messages to guildhall_platform using (true) with check (true);
grant select, delete on inbound_messages to guildhall_platform;

-- Which organisation a source belongs to, and what verifies what it sends,
-- before anything is known but the address. Newest secret first.
-- +goose StatementBegin
create function inbound_source_by_id(source uuid)
returns table (tenant_id uuid, id uuid, kind text, hmac jsonb, tolerance_seconds integer, enabled boolean, secret_ids uuid[], secrets bytea[])
language sql stable security definer set search_path = guildhall, pg_temp as $$
	select s.tenant_id, s.id, s.kind, s.hmac, s.tolerance_seconds, s.enabled, k.ids, k.secrets
	from inbound_sources s
	join organizations o on o.tenant_id = s.tenant_id and o.deleted_at is null
	cross join lateral (
		select coalesce(array_agg(x.id order by x.id desc), '{}') as ids, coalesce(array_agg(x.secret order by x.id desc), '{}') as secrets
		from inbound_secrets x
		where x.tenant_id = s.tenant_id and x.source_id = s.id and (x.expires_at is null or x.expires_at > now())
	) k
	where s.id = source
$$;
-- +goose StatementEnd
alter function inbound_source_by_id(uuid) owner to guildhall_platform;
revoke execute on function inbound_source_by_id(uuid) from public;
grant execute on function inbound_source_by_id(uuid) to guildhall_app;

-- Deletes up to a batch of messages that are older than the days, and returns
-- how many. It walks from organisation to organisation on the primary key: the
-- time is in the id.
-- +goose StatementBegin
create function purge_inbound_messages(keep_days integer, batch integer) returns bigint
language plpgsql security definer set search_path = guildhall, pg_temp as $$
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
end $$;
-- +goose StatementEnd
alter function purge_inbound_messages(integer, integer) owner to guildhall_platform;
revoke execute on function purge_inbound_messages(integer, integer) from public;
grant execute on function purge_inbound_messages(integer, integer) to guildhall_worker;
