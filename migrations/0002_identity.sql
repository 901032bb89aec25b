-- People, their sessions and the keys of the instance. These tables belong to
-- no organisation: a person may be a member of many.
-- +goose Up

create table users (
	id uuid not null constraint users_pkey primary key,
	username text not null,
	email text not null,
	email_key text not null,
	password_hash text not null,
	email_verified_at timestamptz,
	pending_email text,
	locale text not null default 'en',
	time_zone text not null default 'UTC',
	operator boolean not null default false,
	version bigint not null default 1,
	created_at timestamptz not null default now(),
	constraint email_taken unique (email_key),
	constraint username_length check (length(username) between 1 and 64),
	constraint email_length check (length(email) between 3 and 254)
);
comment on table users is 'platform/identity: people; email_key is the folded address';
grant select, insert, update on users to guildhall_app;

create table sessions (
	id uuid not null constraint sessions_pkey primary key,
	user_id uuid not null constraint session_user_unknown references users (id) on delete cascade,
	nonce bytea not null,
	generation bigint not null default 1,
	rotated_at timestamptz not null default now(),
	user_agent text not null default '',
	source_address text not null default '',
	created_at timestamptz not null default now(),
	last_used_at timestamptz not null default now(),
	expires_at timestamptz not null,
	revoked_at timestamptz
);
create index sessions_user on sessions (user_id, id);
comment on table sessions is 'platform/identity: log-ins; a refresh token is (session, generation) under a MAC with the nonce';
grant select, insert, update, delete on sessions to guildhall_app;

create table signing_keys (
	id text not null constraint signing_keys_pkey primary key,
	public_key bytea not null,
	sealed_private_key bytea not null,
	created_at timestamptz not null default now(),
	signs_until timestamptz not null,
	verifies_until timestamptz not null
);
comment on table signing_keys is 'platform/identity: Ed25519 keys of access tokens; the private half is sealed';
grant select, insert, delete on signing_keys to guildhall_app;

create table mail_tokens (
	id uuid not null constraint mail_tokens_pkey primary key,
	user_id uuid not null constraint mail_token_user_unknown references users (id) on delete cascade,
	purpose text not null,
	email text not null,
	nonce bytea not null,
	created_at timestamptz not null default now(),
	expires_at timestamptz not null,
	used_at timestamptz,
	constraint mail_token_purpose check (purpose in ('confirm', 'reset', 'known', 'password', 'address'))
);
create index mail_tokens_user on mail_tokens (user_id, purpose, created_at);
comment on table mail_tokens is 'platform/identity: mails to send and the single-use links in them; the token is (id) under a MAC with the nonce and is stored nowhere';
grant select, insert, update, delete on mail_tokens to guildhall_app;

create table login_throttles (
	subject text not null constraint login_throttles_pkey primary key,
	failures integer not null,
	last_failed_at timestamptz not null,
	blocked_until timestamptz not null
);
comment on table login_throttles is 'platform/identity: failed log-ins per account, per network and per both; the subject is a MAC, not the address';
grant select, insert, update, delete on login_throttles to guildhall_app;

create table login_sources (
	subject text not null constraint login_sources_pkey primary key,
	last_login_at timestamptz not null
);
create index login_sources_age on login_sources (last_login_at);
comment on table login_sources is 'platform/identity: from which networks who logged in lately; the subject is a MAC of both';
grant select, insert, update, delete on login_sources to guildhall_app;

create table identity_log (
	id uuid not null constraint identity_log_pkey primary key,
	type text not null,
	user_id uuid,
	subject text not null default '',
	source_address text not null,
	request_id text not null,
	occurred_at timestamptz not null,
	occurrences integer not null default 1
);
create index identity_log_user on identity_log (user_id, id);
create index identity_log_recent on identity_log (subject, type, occurred_at);
create index identity_log_age on identity_log (occurred_at);
comment on table identity_log is 'platform/identity: facts about log-ins that belong to no organisation';
grant select, insert, update, delete on identity_log to guildhall_app;
