package comments

import (
	"regexp"
	"slices"
	"time"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/work"
)

// Comment is one comment, as the API, the log and the database have it.
type Comment struct {
	ID         id.ID          `db:"id" json:"id"`
	TaskID     id.ID          `db:"task_id" json:"task_id" doc:"The task it is about."`
	ProjectID  id.ID          `db:"project_id" json:"project_id" doc:"The project in which the task is now."`
	ParentID   *id.ID         `db:"parent_id" json:"parent_id" nullable:"true" doc:"The comment it replies to; null begins a thread."`
	Body       string         `db:"body" json:"body" maxLength:"20000" example:"Looks good, @[ann](user:0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07)." doc:"Markdown; a person is mentioned as @[name](user:id). Empty once the comment is deleted."`
	Visibility string         `db:"visibility" json:"visibility" enum:"internal,customer" doc:"customer: may be shown to the customer whom the task concerns."`
	Mentions   []id.ID        `db:"mentions" json:"mentions" nullable:"false" maxItems:"50" doc:"The mentioned people who could see the task when it was written, in the order of the text."`
	Reactions  []Reaction     `db:"reactions" json:"reactions" nullable:"false" maxItems:"20" doc:"In the order of their first use."`
	CreatedBy  event.ActorRef `db:"created_by" json:"created_by" doc:"Who wrote it."`
	Version    int64          `db:"version" json:"version" minimum:"1" maximum:"9007199254740991" example:"1" doc:"Counts edits and reactions; also its ETag."`
	CreatedAt  time.Time      `db:"created_at" json:"created_at"`
	EditedAt   *time.Time     `db:"edited_at" json:"edited_at" nullable:"true" doc:"When its text last changed."`
	DeletedAt  *time.Time     `db:"deleted_at" json:"deleted_at" nullable:"true" doc:"Lists keep a deleted comment as long as replies hang on it."`
}

// Reaction is one kind of reaction to a comment.
type Reaction struct {
	Emoji string `json:"emoji" maxLength:"32" pattern:"^\\S+$" example:"👍"`
	Count int64  `json:"count" minimum:"1" maximum:"9007199254740991" doc:"How many reacted so."`
	Mine  bool   `json:"mine" doc:"Whether the caller did; always false in events."`
}

// Revision is one text that a comment had.
type Revision struct {
	Version   int64     `db:"version" json:"version" minimum:"1" maximum:"9007199254740991" doc:"The version of the comment in which it was written."`
	Body      string    `db:"body" json:"body" maxLength:"20000" example:"Looks good." doc:"Markdown."`
	WrittenAt time.Time `db:"written_at" json:"written_at"`
}

// RowVersion implements api.Versioned.
func (c Comment) RowVersion() int64 { return c.Version }

// Location implements api.Located.
func (c Comment) Location() string { return "/v1/comments/" + c.ID.String() }

// EventSubject says who may see its events: who may see its task's project.
func (c Comment) EventSubject() event.Subject { return event.Subject{ID: c.ID, Project: &c.ProjectID} }

// public is the comment as its events carry it: seen by nobody in particular.
func (c Comment) public() Comment {
	c.Reactions = slices.Clone(c.Reactions)
	for i := range c.Reactions {
		c.Reactions[i].Mine = false
	}
	return c
}

// reacted is one person's reaction, as the log has it.
type reacted struct {
	CommentID id.ID  `json:"comment_id"`
	TaskID    id.ID  `json:"task_id"`
	ProjectID id.ID  `json:"project_id"`
	Emoji     string `json:"emoji" maxLength:"32" pattern:"^\\S+$" example:"👍"`
}

// EventSubject implements event.Subjected.
func (r reacted) EventSubject() event.Subject {
	return event.Subject{ID: r.CommentID, Project: &r.ProjectID}
}

// The events of a comment.
var (
	Created = event.Define[Comment]("comment.created", "A comment was written.")
	Updated = event.Define[Comment]("comment.updated", "The text of a comment changed.")
	Deleted = event.Define[Comment]("comment.deleted", "A comment was deleted; data holds it for the last time.")

	reactionAdded   = event.DefineInternal[reacted]("comment.reacted", "Somebody reacted to a comment.")
	reactionRemoved = event.DefineInternal[reacted]("comment.reaction_removed", "Somebody took a reaction back.")
)

// held is a comment with what is needed to decide about a change of it.
type held struct {
	Comment
	work.Access
}

func (h held) isAuthor(a tenant.Actor) bool {
	return h.CreatedBy.Type == string(a.Kind) && h.CreatedBy.ID != nil && *h.CreatedBy.ID == a.ID
}

// editable is nil if the actor may change the text.
func (h held) editable(a tenant.Actor) error {
	if err := h.Write(); err != nil {
		return err
	}
	if !h.isAuthor(a) {
		return fault.New(fault.Denied, "permission_denied", "Only its author edits a comment.").With("permission", "comment:author")
	}
	return nil
}

// deletable is nil if the actor may delete it.
func (h held) deletable(a tenant.Actor) error {
	if err := h.Write(); err != nil || h.isAuthor(a) {
		return err
	}
	return h.Need(work.Lead)
}

// maxMentions bounds how many people one comment can call.
const maxMentions = 50

var mention = regexp.MustCompile(`@\[[^\[\]\r\n]{1,100}\]\(user:([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})\)`)

// mentioned lists whom a text mentions as @[name](user:id), each once, in the
// order of the text. Who of them is told is decided where the comment is stored.
func mentioned(body string) []id.ID {
	out := []id.ID{}
	for _, m := range mention.FindAllStringSubmatch(body, -1) {
		who, err := id.Parse(m[1])
		if err != nil || slices.Contains(out, who) {
			continue
		}
		if out = append(out, who); len(out) == maxMentions {
			break
		}
	}
	return out
}
