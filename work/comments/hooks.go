package comments

import (
	"context"
	"errors"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/plugins"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Draft is a comment as it would be stored, for plugins that are asked before.
type Draft struct {
	Body       string `json:"body" minLength:"1" maxLength:"20000" pattern:"\\S"`
	Visibility string `json:"visibility" enum:"internal,customer"`
}

// Site is where a comment is to stand; CommentID is nil for a new one.
type Site struct {
	TaskID    id.ID  `json:"task_id"`
	CommentID *id.ID `json:"comment_id"`
}

// The hooks of comments.
var (
	WillCreate = plugins.DefineHook[Site, Draft]("comment.will_create", "A comment is about to be made. The subject is its task.", "body", "visibility")
	WillChange = plugins.DefineHook[Site, Draft]("comment.will_change", "A comment is about to be edited. The subject is its task and the comment.", "body")
)

const (
	selectPrivate = `select a.visibility = 'private' from tasks t join project_access a on a.tenant_id = t.tenant_id and a.project_id = t.project_id
		where t.tenant_id = $1 and t.id = $2`
	selectSite = `select c.task_id, c.body, c.visibility, c.version, a.visibility = 'private' as private
		from comments c join tasks t on t.tenant_id = c.tenant_id and t.id = c.task_id
		join project_access a on a.tenant_id = t.tenant_id and a.project_id = t.project_id
		where c.tenant_id = $1 and c.id = $2 and c.deleted_at is null`
)

func (f *Feature) askCreate(ctx context.Context, in *createComment) error {
	if wanted, err := WillCreate.Wanted(ctx, f.plugins); !wanted || err != nil {
		return err
	}
	v := api.ViewOf(ctx)
	private, err := tenant.Value[bool](ctx, v, selectPrivate, v.Scope().Organization, in.TaskID)
	if errors.Is(err, tenant.ErrNoRows) {
		return nil // create says it
	}
	if err != nil {
		return err
	}
	said, err := WillCreate.Ask(ctx, f.plugins, []plugins.Change[Site, Draft]{{Subject: Site{TaskID: in.TaskID}, Draft: Draft{in.Body.Body, in.Body.Visibility}, Private: private}})
	if err != nil {
		return err
	}
	in.Body.Body, in.Body.Visibility = said[0].Draft.Body, said[0].Draft.Visibility
	return said[0].Refusal
}

type site struct {
	TaskID     id.ID  `db:"task_id"`
	Body       string `db:"body"`
	Visibility string `db:"visibility"`
	Version    int64  `db:"version"`
	Private    bool   `db:"private"`
}

func (f *Feature) askUpdate(ctx context.Context, in *updateInput) error {
	if wanted, err := WillChange.Wanted(ctx, f.plugins); !wanted || err != nil || !in.Body.Body.Present {
		return err
	}
	v := api.ViewOf(ctx)
	s, err := tenant.One[site](ctx, v, selectSite, v.Scope().Organization, in.CommentID)
	if errors.Is(err, tenant.ErrNoRows) {
		return nil // update says it
	}
	if err != nil {
		return err
	}
	in.asked = &s.Version
	if in.Body.Body.Value == s.Body {
		return nil
	}
	said, err := WillChange.Ask(ctx, f.plugins, []plugins.Change[Site, Draft]{
		{Subject: Site{s.TaskID, &in.CommentID}, Draft: Draft{in.Body.Body.Value, s.Visibility}, Private: s.Private}})
	if err != nil {
		return err
	}
	in.Body.Body = api.Some(said[0].Draft.Body)
	return said[0].Refusal
}
