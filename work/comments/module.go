package comments

import (
	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/module"
	"github.com/guildhall-dev/guildhall/plugins"
)

var (
	read  = authz.Permission{Key: "comments.read", Doc: "Read the comments of visible tasks.", From: authz.Guest}
	write = authz.Permission{Key: "comments.write", Doc: "Comment and react where the role in the project allows it.", From: authz.Guest}
)

// Feature is the comments of tasks.
type Feature struct{ plugins *plugins.Host }

// New returns the feature.
func New(p *plugins.Host) *Feature { return &Feature{p} }

// Module is the feature's table of contents.
func (f *Feature) Module() module.Module {
	return module.Module{
		Name:        "comments",
		Doc:         "What people say about tasks: threads, mentions, reactions, edits.",
		Permissions: []authz.Permission{read, write},
		Operations:  f.operations,
		Events:      api.Events(Created.Type, Updated.Type, Deleted.Type, reactionAdded.Type, reactionRemoved.Type),
		Points:      []*plugins.Point{WillCreate.Point, WillChange.Point},
	}
}

func (f *Feature) operations(r *api.Router) {
	api.Read(r, api.Op{
		ID: "list-comments", Route: "GET /tasks/{task_id}/comments", Can: read,
		Summary: "List the comments of a task", Doc: "Oldest first, threads and replies in one list; sort=-created_at turns it round.",
	}, list)
	api.Write(r, api.Op{
		ID: "create-comment", Route: "POST /tasks/{task_id}/comments", Can: write,
		Emits: api.Events(Created.Type), Errors: plugins.Asked("409 project_archived"),
		Summary: "Comment on a task",
		Doc: "A reply names the comment that began the thread as parent_id. People are mentioned in the text as @[name](user:id); " +
			"those who cannot see the task are not told.",
	}, create, f.askCreate)
	api.Read(r, api.Op{
		ID: "get-comment", Route: "GET /comments/{comment_id}", Can: read,
		Summary: "Get a comment", Doc: "One comment of a task that the caller may see.",
	}, get)
	api.Write(r, api.Op{
		ID: "update-comment", Route: "PATCH /comments/{comment_id}", Can: write,
		Emits: api.Events(Updated.Type), Errors: plugins.Asked("409 project_archived"),
		Summary: "Edit a comment", Doc: "Only its author edits a comment. The earlier text stays in the history.",
	}, update, f.askUpdate)
	api.Write(r, api.Op{
		ID: "delete-comment", Route: "DELETE /comments/{comment_id}", Can: write,
		Emits: api.Events(Deleted.Type), Errors: []string{"409 project_archived"},
		Summary: "Delete a comment", Doc: "Its author or a lead of the project deletes a comment. Its text, history and reactions are gone; replies stay.",
	}, remove)
	api.Read(r, api.Op{
		ID: "list-comment-history", Route: "GET /comments/{comment_id}/history", Can: read,
		Summary: "List the texts of a comment", Doc: "All texts it had, the current one first.",
	}, history)
	api.Write(r, api.Op{
		ID: "react-to-comment", Route: "PUT /comments/{comment_id}/reactions/{emoji}", Can: write,
		Emits: api.Events(reactionAdded.Type), Errors: []string{"409 project_archived", "409 comment_reactions_full"},
		Summary: "React to a comment", Doc: "Adds the caller's reaction; a second time changes nothing. A comment takes 20 kinds of reactions.",
	}, react)
	api.Write(r, api.Op{
		ID: "remove-comment-reaction", Route: "DELETE /comments/{comment_id}/reactions/{emoji}", Can: write,
		Emits: api.Events(reactionRemoved.Type), Errors: []string{"409 project_archived"},
		Summary: "Take a reaction back", Doc: "Removes the caller's own reaction.",
	}, unreact)
}
