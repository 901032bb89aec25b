-- Organisations, who belongs to them, and what they may do there.
-- +goose Up

create table organizations (
	tenant_id uuid not null,
	slug text not null,
	name text not null,
	default_currency text not null default 'EUR',
	epoch bigint not null default 1,
	removed_version bigint not null default 0,
	version bigint not null default 1,
	created_at timestamptz not null default now(),
	deleted_at timestamptz,
	constraint organizations_pkey primary key (tenant_id),
	constraint organization_slug_taken unique (slug),
	constraint organization_slug_form check (slug ~ '^[a-z0-9](-?[a-z0-9])*$' and length(slug) between 2 and 63
		and slug !~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'),
	constraint organization_name_length check (length(name) between 1 and 200),
	constraint organization_currency_form check (default_currency ~ '^[A-Z]{3}$')
);
comment on table organizations is 'platform/organizations: the tenants; tenant_id is the organisation''s id; epoch counts changes of its roles; removed_version is the highest version of a membership that ended';
select protect_tenant_table('organizations');
revoke delete on organizations from guildhall_app;
create policy platform on organizations to guildhall_platform using (true) with check (true);
grant select, delete on organizations to guildhall_platform;

create table roles (
	tenant_id uuid not null,
	id uuid not null,
	key text not null,
	name text not null,
	description text not null default '',
	permissions text[] not null,
	guest boolean not null default false,
	version bigint not null default 1,
	created_at timestamptz not null default now(),
	constraint roles_pkey primary key (tenant_id, id),
	constraint role_key_taken unique (tenant_id, key),
	constraint role_organization_unknown foreign key (tenant_id) references organizations (tenant_id) on delete cascade,
	constraint role_key_form check (key ~ '^[a-z][a-z0-9_]{0,39}$'),
	constraint role_key_builtin check (key not in ('owner', 'admin', 'member', 'guest')),
	constraint role_name_length check (length(name) between 1 and 100)
);
comment on table roles is 'platform/access: the custom roles of an organisation; owner, admin, member and guest are built in and have no row';
select protect_tenant_table('roles');

-- What a role may do changes together with the number that callers were
-- computed from, so that no replica goes on with the old rights. The update
-- also makes changes of roles and of members wait for each other.
-- +goose StatementBegin
create function next_policy_epoch() returns bigint language sql set search_path = guildhall, pg_temp as $$
	update organizations set epoch = epoch + 1 where tenant_id = current_setting('app.tenant_id')::uuid returning epoch
$$;
-- +goose StatementEnd
comment on function next_policy_epoch() is 'platform/organizations: called in the transaction of every change to roles, before the change';
revoke execute on function next_policy_epoch() from public;
grant execute on function next_policy_epoch() to guildhall_app;

create table members (
	tenant_id uuid not null,
	user_id uuid not null,
	role text not null,
	version bigint not null default 1,
	created_at timestamptz not null default now(),
	constraint members_pkey primary key (tenant_id, user_id),
	constraint member_organization_unknown foreign key (tenant_id) references organizations (tenant_id) on delete cascade
);
create index members_role on members (tenant_id, role);
comment on table members is 'platform/organizations: who belongs to an organisation and with which role (the key of a built-in or custom role)';
select protect_tenant_table('members');
create policy platform on members to guildhall_platform using (true) with check (true);
grant select on members to guildhall_platform;

create table invitations (
	tenant_id uuid not null,
	id uuid not null,
	email text not null,
	email_key text not null,
	role text not null,
	nonce bytea not null,
	invited_by_id uuid not null,
	created_at timestamptz not null default now(),
	expires_at timestamptz not null,
	accepted_at timestamptz,
	accepted_by_id uuid,
	revoked_at timestamptz,
	constraint invitations_pkey primary key (tenant_id, id),
	constraint invitation_organization_unknown foreign key (tenant_id) references organizations (tenant_id) on delete cascade,
	constraint invitation_accepted_by check ((accepted_at is null) = (accepted_by_id is null))
);
create unique index invitation_pending on invitations (tenant_id, email_key) where accepted_at is null and revoked_at is null;
comment on table invitations is 'platform/organizations: invitations by mail; the token is (organisation, id) under a MAC with the nonce';
select protect_tenant_table('invitations');

create table api_keys (
	tenant_id uuid not null,
	id uuid not null,
	name text not null,
	secret_hash bytea not null,
	permissions text[] not null,
	created_by_id uuid not null,
	created_at timestamptz not null default now(),
	expires_at timestamptz,
	last_used_at timestamptz,
	revoked_at timestamptz,
	constraint api_keys_pkey primary key (tenant_id, id),
	constraint api_key_organization_unknown foreign key (tenant_id) references organizations (tenant_id) on delete cascade,
	constraint api_key_name_length check (length(name) between 1 and 100)
);
comment on table api_keys is 'platform/access: keys of integrations; the key itself is stored only as a SHA-256';
select protect_tenant_table('api_keys');
create policy platform on api_keys to guildhall_platform using (true) with check (true);
grant select on api_keys to guildhall_platform;

grant select on users to guildhall_platform;

-- What a person is in which organisation, before any organisation is chosen.
-- +goose StatementBegin
create function organizations_of(person uuid)
returns table (id uuid, slug text, name text, role text, default_currency text, epoch bigint, member_version bigint, version bigint, created_at timestamptz, deleted_at timestamptz)
language sql stable security definer set search_path = guildhall, pg_temp as $$
	select o.tenant_id, o.slug, o.name, m.role, o.default_currency, o.epoch, m.version, o.version, o.created_at, o.deleted_at
	from members m join organizations o on o.tenant_id = m.tenant_id
	where m.user_id = person order by o.created_at, o.tenant_id limit 1000
$$;
-- +goose StatementEnd
create index members_user on members (user_id, tenant_id);
alter function organizations_of(uuid) owner to guildhall_platform;
revoke execute on function organizations_of(uuid) from public;
grant execute on function organizations_of(uuid) to guildhall_app;

-- Which organisation an API key belongs to and whose it is. The key's id is in
-- the key; the caller compares the hash.
-- +goose StatementBegin
create function api_key_by_id(key_id uuid)
returns table (tenant_id uuid, secret_hash bytea, permissions text[], created_by_id uuid, expires_at timestamptz, last_used_at timestamptz, slug text, role text, epoch bigint, member_version bigint)
language sql stable security definer set search_path = guildhall, pg_temp as $$
	select k.tenant_id, k.secret_hash, k.permissions, k.created_by_id, k.expires_at, k.last_used_at, o.slug, m.role, o.epoch, m.version
	from api_keys k
	join organizations o on o.tenant_id = k.tenant_id and o.deleted_at is null
	join members m on m.tenant_id = k.tenant_id and m.user_id = k.created_by_id
	where k.id = key_id and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
$$;
-- +goose StatementEnd
create unique index api_keys_id on api_keys (id);
alter function api_key_by_id(uuid) owner to guildhall_platform;
revoke execute on function api_key_by_id(uuid) from public;
grant execute on function api_key_by_id(uuid) to guildhall_app;

-- The purge of organisations that were deleted. They can be restored for 30
-- days and go after 31, so the two never meet.
-- +goose StatementBegin
create function organizations_to_purge() returns setof uuid
language sql stable security definer set search_path = guildhall, pg_temp as $$
	select o.tenant_id from organizations o where o.deleted_at < now() - interval '31 days' order by o.deleted_at limit 100
$$;
-- +goose StatementEnd
alter function organizations_to_purge() owner to guildhall_platform;
revoke execute on function organizations_to_purge() from public;
grant execute on function organizations_to_purge() to guildhall_worker;

-- The part of it that the application's own rights do not reach: the log and
-- the row of the organisation, which goes last. It returns whether all is gone.
-- +goose StatementBegin
create function purge_organization_log(batch integer) returns boolean
language plpgsql security definer set search_path = guildhall, pg_temp as $$
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
end $$;
-- +goose StatementEnd
grant delete on event_log, event_counters to guildhall_platform;
alter function purge_organization_log(integer) owner to guildhall_platform;
revoke execute on function purge_organization_log(integer) from public;
grant execute on function purge_organization_log(integer) to guildhall_worker;

-- Deletes up to a batch of rows of the organisation in whose scope it runs and
-- returns whether all is gone. It finds every table with tenant_id in the
-- catalogue, children before parents, so no later table can be forgotten, and
-- it runs with the caller's rights, so row-level security keeps it to the one
-- organisation.
-- +goose StatementBegin
create function purge_organization(batch integer) returns boolean
language plpgsql set search_path = guildhall, pg_temp as $$
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
end $$;
-- +goose StatementEnd
revoke execute on function purge_organization(integer) from public;
grant execute on function purge_organization(integer) to guildhall_worker;
