-- Replies about many projects, and how often strangers are written to.
-- +goose Up

-- A reply that shows rows of several projects is replayed only to who still
-- sees all of them.
alter table idempotency_keys add column project_ids uuid[];

-- Invitations write to people who asked for nothing, so they are counted: by
-- address, by inviter and by organisation, wherever the invitation is from.
create table invitation_sends (
	id uuid not null constraint invitation_sends_pkey primary key,
	subject text not null,
	sent_at timestamptz not null default now()
);
create index invitation_sends_subject on invitation_sends (subject, sent_at);
create index invitation_sends_age on invitation_sends (sent_at);
comment on table invitation_sends is 'platform/organizations: mails with invitations of the last day, three rows each: for the address, the inviter and the organisation; the subject is a MAC';
grant select, insert, delete on invitation_sends to guildhall_app;
