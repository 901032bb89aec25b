-- Organisations, who belongs to them, and what they may do there.
-- +goose Up

create table organizations (
	tenant_id uuid not null,
	slug text not null,
	name text not null,
	default_currency text not null default 'EUR',
	epoch bigint not null default 1,
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
comment on table organizations is 'platform/organizations: the tenants; tenant_id is the organisation''s id; epoch counts changes of its roles';
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
	builtin boolean not null default false,
	version bigint not null default 1,
	created_at timestamptz not null default now(),
	constraint roles_pkey primary key (tenant_id, id),
	constraint role_key_taken unique (tenant_id, key),
	constraint role_organization_unknown foreign key (tenant_id) references organizations (tenant_id) on delete cascade,
	constraint role_key_form check (key ~ '^[a-z][a-z0-9_]{0,39}$'),
	constraint role_name_length check (length(name) between 1 and 100)
);
comment on table roles is 'platform/access: the custom roles of an organisation; owner, admin, member and guest are built in and have no row';
select protect_tenant_table('roles');

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
	revoked_at timestamptz,
	constraint invitations_pkey primary key (tenant_id, id),
	constraint invitation_organization_unknown foreign key (tenant_id) references organizations (tenant_id) on delete cascade
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

-- Who is due for the purge after 30 days in the bin.
-- +goose StatementBegin
create function organizations_to_purge(after_days integer) returns setof uuid
language sql stable security definer set search_path = guildhall, pg_temp as $$
	select o.tenant_id from organizations o
	where o.deleted_at < now() - make_interval(days => greatest(after_days, 7)) order by o.deleted_at limit 100
$$;
-- +goose StatementEnd
alter function organizations_to_purge(integer) owner to guildhall_platform;
revoke execute on function organizations_to_purge(integer) from public;
grant execute on function organizations_to_purge(integer) to guildhall_worker;

-- All organisations, for jobs that visit each one; by keyset.
-- +goose StatementBegin
create function organization_ids(after_id uuid, batch integer) returns setof uuid
language sql stable security definer set search_path = guildhall, pg_temp as $$
	select o.tenant_id from organizations o where o.tenant_id > after_id and o.deleted_at is null order by o.tenant_id limit batch
$$;
-- +goose StatementEnd
alter function organization_ids(uuid, integer) owner to guildhall_platform;
revoke execute on function organization_ids(uuid, integer) from public;
grant execute on function organization_ids(uuid, integer) to guildhall_worker;
