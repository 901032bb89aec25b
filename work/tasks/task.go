package tasks

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/date"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/line"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/work"
)

// Task is one piece of work, as the API, the log and the database have it.
type Task struct {
	ID           id.ID          `db:"id" json:"id" doc:"Identifies the task wherever it moves."`
	Key          string         `db:"key" json:"key" maxLength:"30" pattern:"^[A-Z][A-Z0-9]*-[0-9]+$" example:"WEB-12" doc:"The project's key and the number: a name for people. It changes when the task moves to another project, and without a new version of the task when the project gets another key."`
	Number       int32          `db:"number" json:"number" minimum:"1" maximum:"2147483647" example:"12" doc:"Counts the tasks of the project; never given twice."`
	Title        string         `db:"title" json:"title" maxLength:"500" pattern:"\\S" example:"Write the release notes" doc:"What is to be done, in a line."`
	Description  string         `db:"description" json:"description" maxLength:"50000" example:"See the **draft**." doc:"More about it, as Markdown."`
	Status       string         `db:"status" json:"status" maxLength:"40" pattern:"^[a-z][a-z0-9_]*$" example:"pending" doc:"Key of one of the project's workflow states."`
	StateGroup   work.Group     `db:"state_group" json:"state_group" enum:"backlog,unstarted,started,completed,cancelled" example:"unstarted" doc:"What the state means, whatever the project calls it."`
	Priority     string         `db:"priority" json:"priority" enum:"none,low,medium,high,urgent" example:"high" doc:"How pressing it is."`
	AssignedToID *id.ID         `db:"assigned_to_id" json:"assigned_to_id" nullable:"true" doc:"The person who does it."`
	ProjectID    id.ID          `db:"project_id" json:"project_id" doc:"The project it belongs to."`
	ParentID     *id.ID         `db:"parent_id" json:"parent_id" nullable:"true" doc:"The task of which it is a part, in the same project."`
	DueDate      *date.Date     `db:"due_date" json:"due_date" nullable:"true" doc:"The day on which it must be done."`
	StartDate    *date.Date     `db:"start_date" json:"start_date" nullable:"true" doc:"The day on which it may begin; never after due_date."`
	Labels       []string       `db:"labels" json:"labels" nullable:"false" maxItems:"20" maxLength:"50" pattern:"^[^,]*[^\\s,][^,]*$" doc:"Names of its labels, in alphabetical order."`
	Position     string         `db:"position" json:"position" maxLength:"2000" pattern:"^[0-9A-Za-z]+$" example:"0000000cV" doc:"Its place among the project's tasks: compare byte by byte, change by move."`
	CompletedAt  *time.Time     `db:"completed_at" json:"completed_at" nullable:"true" doc:"Since when it is in a state of the group completed."`
	CreatedBy    event.ActorRef `db:"created_by" json:"created_by" doc:"Who made it."`
	Version      int64          `db:"version" json:"version" minimum:"1" maximum:"9007199254740991" example:"1" doc:"Counts the changes of the row; also its ETag."`
	CreatedAt    time.Time      `db:"created_at" json:"created_at"`
	UpdatedAt    time.Time      `db:"updated_at" json:"updated_at"`
	DeletedAt    *time.Time     `db:"deleted_at" json:"deleted_at" nullable:"true" doc:"Since when it is in the trash; after 30 days it is gone."`
}

// RowVersion is the ETag.
func (t Task) RowVersion() int64 { return t.Version }

// Location is where the task lives.
func (t Task) Location() string { return "/v1/tasks/" + t.ID.String() }

// EventSubject says who may see its events: who may see its project.
func (t Task) EventSubject() event.Subject { return event.Subject{ID: t.ID, Project: &t.ProjectID} }

// The events of a task.
var (
	Created  = event.Define[Task]("task.created", "A task was made.")
	Updated  = event.Define[Task]("task.updated", "Fields of a task changed.")
	Moved    = event.Define[Task]("task.moved", "A task got another place, with it perhaps another state or another project.")
	Deleted  = event.Define[Task]("task.deleted", "A task went to the trash.")
	Restored = event.Define[Task]("task.restored", "A task came back from the trash.")
)

// held is a task with what is needed to decide about a change of it.
type held struct {
	Task
	work.Access
	FieldVersions map[string]int64 `db:"field_versions"`
}

// writable is nil if the caller may change the task.
func (h held) writable() error {
	if h.DeletedAt != nil {
		return fault.NotFoundf("task")
	}
	return h.Write()
}

// changedSince reports whether one of the fields changed after the version.
func (h held) changedSince(version int64, fields []string) bool {
	return slices.ContainsFunc(fields, func(f string) bool { return h.FieldVersions[f] > version })
}

// staleFor holds If-Match against the row. A patch may be merged: a version
// that is out of date will do as long as nothing it names changed since.
func (h held) staleFor(m api.IfMatch, c change, merge bool) error {
	if m.Matches(h.Version) || merge && m.Version < h.Version && !h.changedSince(m.Version, c.named()) {
		return nil
	}
	return fault.StaleVersion(h.Task)
}

// change is what a caller wants different; fields that are not present stay.
type change struct {
	Title        api.Optional[string]
	Description  api.Optional[string]
	Status       api.Optional[string]
	Priority     api.Optional[string]
	AssignedToID api.Optional[id.ID]
	ParentID     api.Optional[id.ID]
	DueDate      api.Optional[date.Date]
	StartDate    api.Optional[date.Date]
	Labels       api.Optional[[]string]
	position     string // "" = stays
	moved        bool   // say task.moved, not task.updated
}

// named lists the fields that the change names.
func (c change) named() []string {
	var names []string
	for _, f := range []struct {
		name    string
		present bool
	}{
		{"title", c.Title.Present}, {"description", c.Description.Present}, {"status", c.Status.Present},
		{"priority", c.Priority.Present}, {"assigned_to_id", c.AssignedToID.Present}, {"parent_id", c.ParentID.Present},
		{"due_date", c.DueDate.Present}, {"start_date", c.StartDate.Present}, {"labels", c.Labels.Present},
		{"position", c.position != ""},
	} {
		if f.present {
			names = append(names, f.name)
		}
	}
	return names
}

// applied returns the task with the change, and the fields that differ.
func (c change) applied(was Task) (now Task, fields []string) {
	now = was
	c.Title.Set(&now.Title)
	c.Description.Set(&now.Description)
	c.Status.Set(&now.Status)
	c.Priority.Set(&now.Priority)
	c.AssignedToID.SetPtr(&now.AssignedToID)
	c.ParentID.SetPtr(&now.ParentID)
	c.DueDate.SetPtr(&now.DueDate)
	c.StartDate.SetPtr(&now.StartDate)
	if c.position != "" {
		now.Position = c.position
	}
	if c.Labels.Present && !slices.Equal(labelKeys(c.Labels.Value), labelKeys(was.Labels)) {
		now.Labels = labelNames(c.Labels.Value)
		fields = append(fields, "labels")
	}
	for _, f := range []struct {
		name string
		same bool
	}{
		{"title", now.Title == was.Title}, {"description", now.Description == was.Description}, {"status", now.Status == was.Status},
		{"priority", now.Priority == was.Priority}, {"assigned_to_id", equal(now.AssignedToID, was.AssignedToID)},
		{"parent_id", equal(now.ParentID, was.ParentID)}, {"due_date", equal(now.DueDate, was.DueDate)},
		{"start_date", equal(now.StartDate, was.StartDate)}, {"position", now.Position == was.Position},
	} {
		if !f.same {
			fields = append(fields, f.name)
		}
	}
	return now, fields
}

func equal[T comparable](a, b *T) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// labelNames tidies names as people type them: no blanks around, none twice in
// whatever case, in alphabetical order. What checkLabels refuses is left out.
func labelNames(names []string) []string {
	out := make([]string, 0, len(names))
	for _, n := range names {
		n, err := line.Clean("", oneBlank(n), maxLabel)
		if err == nil && !slices.ContainsFunc(out, func(o string) bool { return labelKey(o) == labelKey(n) }) {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, func(a, b string) int { return strings.Compare(labelKey(a), labelKey(b)) })
	return out
}

// Lengths of what stands on one line.
const (
	maxTitle = 500
	maxLabel = 50
)

// checkLabels refuses names that nobody could read, and names with a comma,
// which separates names in a filter. The pointer is that of the list.
func checkLabels(pointer string, names []string) error {
	for i, n := range names {
		if _, err := cleanLabel(fmt.Sprintf("%s/%d", pointer, i), n); err != nil {
			return err
		}
	}
	return nil
}

// cleanLabel tidies one name.
func cleanLabel(pointer, name string) (string, error) {
	if strings.Contains(name, ",") {
		return "", fault.Invalidf(pointer, "the name of a label has no comma")
	}
	return line.Clean(pointer, oneBlank(name), maxLabel)
}

// oneBlank leaves one blank between two words.
func oneBlank(s string) string { return strings.Join(strings.Fields(s), " ") }

// labelKey is the name by which a label is the same.
func labelKey(name string) string { return strings.ToLower(name) }

func labelKeys(names []string) []string {
	keys := labelNames(names)
	for i, n := range keys {
		keys[i] = labelKey(n)
	}
	return keys
}

// maxDepth is how many levels of subtasks there may be, the topmost included.
const maxDepth = 10

// refine turns the constraints that a caller can break by a field of the body
// into a complaint about that field. A foreign and a random id get the same.
func refine(err error) error {
	switch tenant.Constraint(err) {
	case "task_state_unknown":
		return unknownState().Because(err)
	case "task_assignee_unknown":
		return notAssignable().Because(err)
	case "task_parent_unknown":
		return unknownParent().Because(err)
	case "task_dates_order":
		return fault.Invalidf("/start_date", "start_date must not be after due_date").Because(err)
	}
	return err
}

func unknownState() *fault.Error {
	return fault.Invalidf("/status", "the project has no such workflow state")
}

func notAssignable() *fault.Error {
	return fault.Invalidf("/assigned_to_id", "no member with this id can see the project")
}

func unknownParent() *fault.Error {
	return fault.Invalidf("/parent_id", "the project has no such task")
}
