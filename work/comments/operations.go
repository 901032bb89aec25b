package comments

import (
	"context"
	"slices"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

type listComments struct {
	TaskID   id.ID  `path:"task_id" ref:"task" doc:"The task's id."`
	ParentID id.ID  `query:"parent_id" ref:"comment" doc:"Only the thread that this comment began."`
	Sort     string `query:"sort" enum:"created_at,-created_at" default:"created_at" doc:"The order; -created_at is newest first."`
	api.ListParams
}

func list(ctx context.Context, v tenant.View, in *listComments) (page.Page[Comment], error) {
	var none page.Page[Comment]
	var last, thread *id.ID
	if _, err := in.Position(ctx, &last); err != nil {
		return none, err
	}
	if !in.ParentID.IsZero() {
		thread = &in.ParentID
	}
	sql := listOldest
	if in.Sort == "-created_at" {
		sql = listNewest
	}
	var rows []Comment
	var task id.ID
	var total int64
	s := v.Scope()
	err := v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueValue(b, &task, selectTask, s.Organization, in.TaskID)
		tenant.QueueList(b, &rows, sql, by(s, in.TaskID, thread, last, in.Limit+1, in.Offset())...)
		if in.WantTotal() {
			tenant.QueueValue(b, &total, countComments, s.Organization, in.TaskID, thread)
		}
	})
	if err != nil {
		return none, tenant.NotFound(err, "task")
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(c Comment) any { return c.ID })
	if in.WantTotal() {
		out.Total = &total
	}
	return out, err
}

type createComment struct {
	TaskID id.ID `path:"task_id" ref:"task" doc:"The task's id."`
	Body   struct {
		Body       string `json:"body" minLength:"1" maxLength:"20000" pattern:"\\S" example:"Looks good, @[ann](user:0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07)." doc:"Markdown; a person is mentioned as @[name](user:id)."`
		ParentID   *id.ID `json:"parent_id,omitempty" nullable:"true" ref:"comment" doc:"The comment that began the thread, for a reply."`
		Visibility string `json:"visibility,omitempty" enum:"internal,customer" default:"internal" doc:"customer: may be shown to the customer whom the task concerns."`
	}
}

func create(ctx context.Context, tx *tenant.Tx, in *createComment) (Comment, error) {
	c, err := insert(ctx, tx, in)
	if err != nil {
		return c, err
	}
	return c, Created.Emit(ctx, tx, c)
}

type commentPath struct {
	CommentID id.ID `path:"comment_id" ref:"comment" doc:"The comment's id."`
}

func get(ctx context.Context, v tenant.View, in *commentPath) (Comment, error) {
	c, err := tenant.One[Comment](ctx, v, selectComment, by(v.Scope(), in.CommentID)...)
	return c, tenant.NotFound(err, "comment")
}

type updateInput struct {
	CommentID id.ID       `path:"comment_id" ref:"comment" doc:"The comment's id."`
	IfMatch   api.IfMatch `header:"If-Match"`
	Body      struct {
		Body api.Optional[string] `json:"body" required:"false" minLength:"1" maxLength:"20000" pattern:"\\S" example:"Looks very good." doc:"The new text, as Markdown."`
	}

	asked *int64 // the version that plugins were asked about
}

func update(ctx context.Context, tx *tenant.Tx, in *updateInput) (Comment, error) {
	h, err := lock(ctx, tx, in.CommentID)
	if err != nil {
		return Comment{}, err
	}
	if err := h.editable(tx.Scope().Actor); err != nil {
		return Comment{}, err
	}
	if !in.IfMatch.Matches(h.Version) {
		return Comment{}, fault.StaleVersion(h.Comment)
	}
	if in.asked != nil && *in.asked != h.Version {
		return Comment{}, api.ErrAskAgain
	}
	body := h.Body
	if in.Body.Body.Set(&body); body == h.Body {
		return h.Comment, nil
	}
	c, err := edit(ctx, tx, h.Comment, body)
	if err != nil {
		return c, err
	}
	return c, Updated.EmitChange(ctx, tx, h.public(), c.public())
}

type deleteInput struct {
	CommentID id.ID       `path:"comment_id" ref:"comment" doc:"The comment's id."`
	IfMatch   api.IfMatch `header:"If-Match"`
}

func remove(ctx context.Context, tx *tenant.Tx, in *deleteInput) (api.None, error) {
	h, err := lock(ctx, tx, in.CommentID)
	if err != nil {
		return api.None{}, err
	}
	if err := h.deletable(tx.Scope().Actor); err != nil {
		return api.None{}, err
	}
	if !in.IfMatch.Matches(h.Version) {
		return api.None{}, fault.StaleVersion(h.Comment)
	}
	type deleted struct {
		Version   int64     `db:"version"`
		DeletedAt time.Time `db:"deleted_at"`
	}
	d, err := tenant.One[deleted](ctx, tx, deleteComment, tx.Scope().Organization, h.ID)
	if err != nil {
		return api.None{}, err
	}
	c := h.public()
	c.Version, c.DeletedAt = d.Version, &d.DeletedAt
	return api.None{}, Deleted.Emit(ctx, tx, c)
}

type listHistory struct {
	CommentID id.ID `path:"comment_id" ref:"comment" doc:"The comment's id."`
	api.ListParams
}

func history(ctx context.Context, v tenant.View, in *listHistory) (page.Page[Revision], error) {
	var none page.Page[Revision]
	var last *int64
	if _, err := in.Position(ctx, &last); err != nil {
		return none, err
	}
	org := v.Scope().Organization
	rows, err := tenant.List[Revision](ctx, v, listRevisions, org, in.CommentID, last, in.Limit+1, in.Offset())
	if err != nil {
		return none, err
	}
	// The current text is always there, so nothing at all means no comment.
	if len(rows) == 0 && last == nil && in.Offset() == 0 {
		return none, fault.NotFoundf("comment")
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(r Revision) any { return r.Version })
	if err == nil && in.WantTotal() {
		var total int64
		total, err = tenant.Value[int64](ctx, v, countRevisions, org, in.CommentID)
		out.Total = &total
	}
	return out, err
}

type reactionPath struct {
	CommentID id.ID  `path:"comment_id" ref:"comment" doc:"The comment's id."`
	Emoji     string `path:"emoji" minLength:"1" maxLength:"32" pattern:"^[^\\s\\x00-\\x1f\\x7f]+$" example:"👍" doc:"The reaction: an emoji, or a short name such as :shipit:."`
}

// maxReactions is how many kinds of reactions a comment takes.
const maxReactions = 20

func react(ctx context.Context, tx *tenant.Tx, in *reactionPath) (Comment, error) {
	h, err := lock(ctx, tx, in.CommentID)
	if err != nil {
		return Comment{}, err
	}
	if err := h.Write(); err != nil {
		return Comment{}, err
	}
	n, err := tenant.Exec(ctx, tx, insertReaction, by(tx.Scope(), h.ID, in.Emoji, maxReactions)...)
	if err != nil {
		return Comment{}, err
	}
	c, err := tenant.One[Comment](ctx, tx, selectComment, by(tx.Scope(), h.ID)...)
	if err != nil {
		return c, err
	}
	if n == 0 {
		if slices.ContainsFunc(c.Reactions, func(r Reaction) bool { return r.Mine && r.Emoji == in.Emoji }) {
			return c, nil
		}
		return c, fault.Conflictf("comment_reactions_full", "A comment takes %d kinds of reactions. Use one that is there.", maxReactions)
	}
	return c, reactionAdded.Emit(ctx, tx, reacted{c.ID, c.TaskID, c.ProjectID, in.Emoji})
}

func unreact(ctx context.Context, tx *tenant.Tx, in *reactionPath) (api.None, error) {
	h, err := lock(ctx, tx, in.CommentID)
	if err != nil {
		return api.None{}, err
	}
	if err := h.Write(); err != nil {
		return api.None{}, err
	}
	n, err := tenant.Exec(ctx, tx, deleteReaction, by(tx.Scope(), h.ID, in.Emoji)...)
	if err != nil {
		return api.None{}, err
	}
	if n == 0 {
		return api.None{}, fault.NotFoundf("reaction")
	}
	return api.None{}, reactionRemoved.Emit(ctx, tx, reacted{h.ID, h.TaskID, h.ProjectID, in.Emoji})
}
