-- Comments on tasks: threads, their edits, reactions.
-- +goose Up

create table comments (
	tenant_id uuid not null,
	id uuid not null,
	task_id uuid not null,
	parent_id uuid,
	body text not null,
	body_version bigint not null default 1,
	visibility text not null default 'internal',
	mentions uuid[] not null default '{}',
	version bigint not null default 1,
	created_by_kind text not null,
	created_by_id uuid,
	created_at timestamptz not null default now(),
	edited_at timestamptz,
	deleted_at timestamptz,
	constraint comments_pkey primary key (tenant_id, id),
	constraint comment_in_task unique (tenant_id, task_id, id),
	constraint comment_task_unknown foreign key (tenant_id, task_id) references tasks (tenant_id, id) on delete cascade,
	constraint comment_parent_unknown foreign key (tenant_id, task_id, parent_id) references comments (tenant_id, task_id, id) on delete cascade,
	constraint comment_parent_itself check (parent_id <> id),
	constraint comment_body_length check (length(body) <= 20000 and (deleted_at is not null or length(body) > 0)),
	constraint comment_visibility check (visibility in ('internal', 'customer'))
);
create index comments_thread on comments (tenant_id, task_id, parent_id, id);
comment on table comments is 'work/comments: what people say about a task; a deleted one stays without its text, since replies may hang on it';
select protect_tenant_table('comments');

create table comment_revisions (
	tenant_id uuid not null,
	comment_id uuid not null,
	version bigint not null,
	body text not null,
	written_at timestamptz not null,
	constraint comment_revisions_pkey primary key (tenant_id, comment_id, version),
	constraint comment_revision_comment_unknown foreign key (tenant_id, comment_id) references comments (tenant_id, id) on delete cascade
);
comment on table comment_revisions is 'work/comments: earlier texts of edited comments, by the version in which they were written';
select protect_tenant_table('comment_revisions');

create table comment_reactions (
	tenant_id uuid not null,
	comment_id uuid not null,
	emoji text not null,
	actor_kind text not null,
	actor_id uuid not null,
	created_at timestamptz not null default now(),
	constraint comment_reactions_pkey primary key (tenant_id, comment_id, emoji, actor_kind, actor_id),
	constraint comment_reaction_comment_unknown foreign key (tenant_id, comment_id) references comments (tenant_id, id) on delete cascade,
	constraint comment_reaction_length check (length(emoji) between 1 and 32)
);
comment on table comment_reactions is 'work/comments: who reacted to a comment with what; the comment''s row is locked for each change, which keeps the kinds at twenty';
select protect_tenant_table('comment_reactions');
