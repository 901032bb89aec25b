package comments

import (
	"context"
	"errors"
	"time"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/work"
)

// In every statement $1 is the organisation, $2 and $3 are the actor's kind and
// id, and $4 is the comment or the task.
const (
	// cols are the columns of Comment of a comment "c" on a task "t".
	cols = `c.id, c.task_id, t.project_id, c.parent_id, c.body, c.visibility, c.mentions,
		coalesce((select jsonb_agg(jsonb_build_object('emoji', r.emoji, 'count', r.people, 'mine', r.mine) order by r.first_used, r.emoji)
			from (select x.emoji, count(*) as people, min(x.created_at) as first_used,
					bool_or(x.actor_kind = $2::text and x.actor_id = $3::uuid) as mine
				from comment_reactions x where x.tenant_id = c.tenant_id and x.comment_id = c.id group by x.emoji) r), '[]') as reactions,
		jsonb_build_object('type', c.created_by_kind, 'id', c.created_by_id) as created_by,
		c.version, c.created_at, c.edited_at, c.deleted_at`

	// onTask: the parent in the same statement, so that who may not see the
	// project finds no comment of it.
	onTask = `tasks t on t.tenant_id = c.tenant_id and t.id = c.task_id and t.deleted_at is null
		join project_access a on a.tenant_id = t.tenant_id and a.project_id = t.project_id`

	selectComment = `select ` + cols + ` from comments c join ` + onTask + `
		where c.tenant_id = $1 and c.id = $4 and c.deleted_at is null`

	lockComment = `select ` + cols + `, a.role, a.archived from comments c join ` + onTask + `
		where c.tenant_id = $1 and c.id = $4 and c.deleted_at is null for no key update of c`
)

// The list. $5 is a thread or null, $6 the position or null.
const (
	listed = ` from comments c join ` + onTask + `
		where c.tenant_id = $1 and c.task_id = $4 and ($5::uuid is null or c.parent_id = $5 or c.id = $5)
		and (c.deleted_at is null or exists (
			select from comments y where y.tenant_id = c.tenant_id and y.task_id = c.task_id and y.parent_id = c.id and y.deleted_at is null))`

	listOldest = `select ` + cols + listed + ` and ($6::uuid is null or c.id > $6) order by c.id limit $7 offset $8`
	listNewest = `select ` + cols + listed + ` and ($6::uuid is null or c.id < $6) order by c.id desc limit $7 offset $8`

	countComments = `select count(*) from comments c join ` + onTask + `
		where c.tenant_id = $1 and c.task_id = $2 and ($3::uuid is null or c.parent_id = $3 or c.id = $3)
		and (c.deleted_at is null or exists (
			select from comments y where y.tenant_id = c.tenant_id and y.task_id = c.task_id and y.parent_id = c.id and y.deleted_at is null))`

	selectTask = `select t.id from tasks t join project_access a on a.tenant_id = t.tenant_id and a.project_id = t.project_id
		where t.tenant_id = $1 and t.id = $2 and t.deleted_at is null`
)

// Writing.
const (
	// visibleTo begins the people who are members and see the project: named in
	// it, or it is open and they are no guests. What follows says which project
	// and which people.
	visibleTo = `from projects p join members m on m.tenant_id = p.tenant_id
		left join project_members n on n.tenant_id = p.tenant_id and n.project_id = p.id and n.user_id = m.user_id
		left join roles o on o.tenant_id = m.tenant_id and o.key = m.role
		where (n.role is not null or p.visibility = 'open' and m.role <> 'guest' and o.guest is not true)`

	insertComment = `with g as (
		select t.tenant_id, t.id, t.project_id from tasks t
		join project_access a on a.tenant_id = t.tenant_id and a.project_id = t.project_id
		where t.tenant_id = $1 and t.id = $4 and t.deleted_at is null and a.writable and ($5::uuid is null or exists (
			select from comments p where p.tenant_id = $1 and p.id = $5 and p.task_id = $4 and p.parent_id is null and p.deleted_at is null
			and (p.visibility = 'customer' or $8::text = 'internal')))
	), c as (
		insert into comments (tenant_id, id, task_id, parent_id, body, visibility, mentions, created_by_kind, created_by_id)
		select g.tenant_id, $6::uuid, g.id, $5::uuid, $7::text, $8::text, coalesce((
			select array_agg(m.user_id order by array_position($9::uuid[], m.user_id)) ` + visibleTo + `
			and p.tenant_id = g.tenant_id and p.id = g.project_id and m.user_id = any($9::uuid[])), '{}'), $2::text, $3::uuid
		from g
		returning id, task_id, parent_id, body, visibility, mentions, created_by_kind, created_by_id, version, created_at, edited_at, deleted_at
	)
	select c.id, c.task_id, g.project_id, c.parent_id, c.body, c.visibility, c.mentions, '[]'::jsonb as reactions,
		jsonb_build_object('type', c.created_by_kind, 'id', c.created_by_id) as created_by, c.version, c.created_at, c.edited_at, c.deleted_at
	from c cross join g`

	selectRefusal = `select a.role, a.archived, exists (
			select from comments p where p.tenant_id = t.tenant_id and p.id = $3 and p.task_id = t.id and p.parent_id is null and p.deleted_at is null
		) as parent_ok
		from tasks t join project_access a on a.tenant_id = t.tenant_id and a.project_id = t.project_id
		where t.tenant_id = $1 and t.id = $2 and t.deleted_at is null`

	updateComment = `with earlier as (
		insert into comment_revisions (tenant_id, comment_id, version, body, written_at)
		select c.tenant_id, c.id, c.body_version, c.body, coalesce(c.edited_at, c.created_at) from comments c where c.tenant_id = $1 and c.id = $2
	)
	update comments c set body = $3, version = c.version + 1, body_version = c.version + 1, edited_at = now(), mentions = coalesce((
		select array_agg(m.user_id order by array_position($4::uuid[], m.user_id)) ` + visibleTo + `
		and p.tenant_id = c.tenant_id and p.id = $5 and m.user_id = any($4::uuid[])), '{}')
	where c.tenant_id = $1 and c.id = $2
	returning c.version, c.edited_at, c.mentions`

	deleteComment = `with reactions as (
		delete from comment_reactions where tenant_id = $1 and comment_id = $2
	), revisions as (
		delete from comment_revisions where tenant_id = $1 and comment_id = $2
	)
	update comments c set body = '', mentions = '{}', deleted_at = now(), version = c.version + 1
	where c.tenant_id = $1 and c.id = $2 returning c.version, c.deleted_at`

	listRevisions = `select v.version, v.body, v.written_at from (
			select c.tenant_id, c.task_id, c.body_version as version, c.body, coalesce(c.edited_at, c.created_at) as written_at
			from comments c where c.tenant_id = $1 and c.id = $2 and c.deleted_at is null
			union all
			select c.tenant_id, c.task_id, r.version, r.body, r.written_at
			from comments c join comment_revisions r on r.tenant_id = c.tenant_id and r.comment_id = c.id
			where c.tenant_id = $1 and c.id = $2 and c.deleted_at is null
		) v join tasks t on t.tenant_id = v.tenant_id and t.id = v.task_id and t.deleted_at is null
		join project_access a on a.tenant_id = t.tenant_id and a.project_id = t.project_id
		where ($3::bigint is null or v.version < $3) order by v.version desc limit $4 offset $5`

	countRevisions = `select count(*) + 1 from comments c join ` + onTask + `
		join comment_revisions r on r.tenant_id = c.tenant_id and r.comment_id = c.id
		where c.tenant_id = $1 and c.id = $2 and c.deleted_at is null`

	// The comment's row is locked: two that are first with a kind come one
	// after the other.
	insertReaction = `with added as (
		insert into comment_reactions (tenant_id, comment_id, emoji, actor_kind, actor_id)
		select $1, $4, $5, $2, $3 where (
			select count(distinct x.emoji) from comment_reactions x where x.tenant_id = $1 and x.comment_id = $4 and x.emoji <> $5) < $6
		on conflict (tenant_id, comment_id, emoji, actor_kind, actor_id) do nothing returning 1
	)
	update comments c set version = c.version + 1 where c.tenant_id = $1 and c.id = $4 and exists (select from added)`

	deleteReaction = `with gone as (
		delete from comment_reactions where tenant_id = $1 and actor_kind = $2 and actor_id = $3 and comment_id = $4 and emoji = $5 returning 1
	)
	update comments c set version = c.version + 1 where c.tenant_id = $1 and c.id = $4 and exists (select from gone)`
)

// by are the first arguments of a statement that reads comments.
func by(s tenant.Scope, args ...any) []any {
	var actor *id.ID
	if !s.Actor.ID.IsZero() {
		actor = &s.Actor.ID
	}
	return append([]any{s.Organization, string(s.Actor.Kind), actor}, args...)
}

// lock holds the comment until the transaction ends.
func lock(ctx context.Context, tx *tenant.Tx, comment id.ID) (held, error) {
	h, err := tenant.One[held](ctx, tx, lockComment, by(tx.Scope(), comment)...)
	return h, tenant.NotFound(err, "comment")
}

func insert(ctx context.Context, tx *tenant.Tx, in *createComment) (Comment, error) {
	b := in.Body
	c, err := tenant.One[Comment](ctx, tx, insertComment,
		by(tx.Scope(), in.TaskID, b.ParentID, id.New(), b.Body, b.Visibility, mentioned(b.Body))...)
	if errors.Is(err, tenant.ErrNoRows) {
		return c, refusal(ctx, tx, in)
	}
	return c, err
}

// refusal says why insertComment made nothing.
func refusal(ctx context.Context, tx *tenant.Tx, in *createComment) error {
	type state struct {
		work.Access
		ParentOK bool `db:"parent_ok"`
	}
	s, err := tenant.One[state](ctx, tx, selectRefusal, tx.Scope().Organization, in.TaskID, in.Body.ParentID)
	if err != nil {
		return tenant.NotFound(err, "task")
	}
	switch {
	case s.Write() != nil:
		return s.Write()
	case !s.ParentOK:
		return fault.Invalidf("/parent_id", "not a comment of this task that begins a thread")
	}
	return fault.Invalidf("/visibility", "a reply to an internal comment is internal")
}

// edit stores another text over the row that was locked.
func edit(ctx context.Context, tx *tenant.Tx, c Comment, body string) (Comment, error) {
	type edited struct {
		Version  int64      `db:"version"`
		EditedAt *time.Time `db:"edited_at"`
		Mentions []id.ID    `db:"mentions"`
	}
	e, err := tenant.One[edited](ctx, tx, updateComment, tx.Scope().Organization, c.ID, body, mentioned(body), c.ProjectID)
	if err != nil {
		return c, err
	}
	c.Body, c.Version, c.EditedAt, c.Mentions = body, e.Version, e.EditedAt, e.Mentions
	return c, nil
}
