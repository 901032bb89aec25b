-- Who buys: storefront keys, customers, their addresses, sessions and mails.
-- +goose Up

create table storefront_keys (
	tenant_id uuid not null,
	id uuid not null,
	name text not null,
	allowed_origins text[] not null default '{}',
	created_by_kind text not null,
	created_by_id uuid,
	created_at timestamptz not null default now(),
	revoked_at timestamptz,
	version bigint not null default 1,
	constraint storefront_keys_pkey primary key (tenant_id, id),
	constraint storefront_key_organization_unknown foreign key (tenant_id) references organizations (tenant_id) on delete cascade,
	constraint storefront_key_name_length check (length(name) between 1 and 100),
	constraint storefront_key_origins_count check (cardinality(allowed_origins) <= 50)
);
comment on table storefront_keys is 'commerce/customers: publishable keys of shops; a key says its organisation and its id, and is no secret';
select protect_tenant_table('storefront_keys');

create table customers (
	tenant_id uuid not null,
	id uuid not null,
	email text not null,
	email_key text not null,
	name text not null default '',
	phone text not null default '',
	password_hash text,
	email_verified_at timestamptz,
	customer_group text,
	accepts_marketing boolean not null default false,
	locale text not null default 'en',
	note text not null default '',
	tags text[] not null default '{}',
	version bigint not null default 1,
	created_at timestamptz not null default now(),
	updated_at timestamptz not null default now(),
	deleted_at timestamptz,
	constraint customers_pkey primary key (tenant_id, id),
	constraint customer_organization_unknown foreign key (tenant_id) references organizations (tenant_id) on delete cascade,
	constraint customer_email_length check (length(email) between 3 and 254),
	constraint customer_name_length check (length(name) <= 200),
	constraint customer_phone_length check (length(phone) <= 50),
	constraint customer_group_form check (customer_group ~ '^[a-z0-9_]{1,50}$'),
	constraint customer_note_length check (length(note) <= 5000),
	constraint customer_tags_count check (cardinality(tags) <= 50)
);
create unique index customer_email_taken on customers (tenant_id, email_key) where deleted_at is null;
create index customers_name on customers (tenant_id, name, id) where deleted_at is null;
create index customers_group on customers (tenant_id, customer_group, id) where deleted_at is null;
comment on table customers is 'commerce/customers: people who buy from an organisation; never its members; one address belongs to at most one of them';
select protect_tenant_table('customers');

create table customer_addresses (
	tenant_id uuid not null,
	customer_id uuid not null,
	id uuid not null,
	address jsonb not null,
	is_default boolean not null default false,
	version bigint not null default 1,
	created_at timestamptz not null default now(),
	updated_at timestamptz not null default now(),
	constraint customer_addresses_pkey primary key (tenant_id, customer_id, id),
	constraint customer_address_customer_unknown foreign key (tenant_id, customer_id) references customers (tenant_id, id) on delete cascade
);
create unique index customer_address_default_taken on customer_addresses (tenant_id, customer_id) where is_default;
comment on table customer_addresses is 'commerce/customers: the address book; an address is {name, line1, line2, city, state, postal_code, country, phone}';
select protect_tenant_table('customer_addresses');

create table customer_sessions (
	tenant_id uuid not null,
	customer_id uuid not null,
	id uuid not null,
	nonce bytea not null,
	counter bigint not null default 1,
	source text not null default '',
	created_at timestamptz not null default now(),
	refreshed_at timestamptz not null default now(),
	expires_at timestamptz not null,
	revoked_at timestamptz,
	constraint customer_sessions_pkey primary key (tenant_id, customer_id, id),
	constraint customer_session_customer_unknown foreign key (tenant_id, customer_id) references customers (tenant_id, id) on delete cascade
);
create index customer_sessions_age on customer_sessions (tenant_id, refreshed_at);
comment on table customer_sessions is 'commerce/customers: where a customer is logged in; a refresh token is (customer, session, counter) under a MAC with the nonce; source is a MAC of account and network';
select protect_tenant_table('customer_sessions');

create table customer_mails (
	tenant_id uuid not null,
	id uuid not null,
	customer_id uuid not null,
	purpose text not null,
	email text not null,
	nonce bytea not null,
	redirect_url text not null default '',
	created_at timestamptz not null default now(),
	expires_at timestamptz not null,
	used_at timestamptz,
	constraint customer_mails_pkey primary key (tenant_id, id),
	constraint customer_mail_customer_unknown foreign key (tenant_id, customer_id) references customers (tenant_id, id) on delete cascade,
	constraint customer_mail_purpose check (purpose in ('confirm', 'reset', 'known', 'password')),
	constraint customer_mail_redirect_length check (length(redirect_url) <= 1000)
);
create index customer_mails_customer on customer_mails (tenant_id, customer_id, purpose, created_at);
create index customer_mails_age on customer_mails (tenant_id, expires_at);
comment on table customer_mails is 'commerce/customers: mails to send and the single-use tokens in them; the token is (id) under a MAC with the nonce and is stored nowhere';
select protect_tenant_table('customer_mails');

create table customer_throttles (
	tenant_id uuid not null,
	subject text not null,
	failures integer not null,
	last_failed_at timestamptz not null,
	blocked_until timestamptz not null,
	constraint customer_throttles_pkey primary key (tenant_id, subject)
);
create index customer_throttles_age on customer_throttles (tenant_id, last_failed_at);
comment on table customer_throttles is 'commerce/customers: failed log-ins per account, per network and per both; the subject is a MAC, not the address';
select protect_tenant_table('customer_throttles');
