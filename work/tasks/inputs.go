package tasks

import (
	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/date"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/line"
)

// fields are what a caller may say about a whole task: a new one, or one that
// is replaced.
type fields struct {
	Title        string     `json:"title" minLength:"1" maxLength:"500" pattern:"\\S" example:"Write the release notes" doc:"What is to be done, in a line."`
	Description  string     `json:"description" required:"false" maxLength:"50000" doc:"More about it, as Markdown."`
	Status       string     `json:"status" required:"false" maxLength:"40" pattern:"^[a-z][a-z0-9_]*$" example:"pending" doc:"Key of a workflow state. Left out: the project's default state, or, where a task is replaced, the one it has."`
	Priority     string     `json:"priority" required:"false" enum:"none,low,medium,high,urgent" default:"none" doc:"How pressing it is."`
	AssignedToID *id.ID     `json:"assigned_to_id" required:"false" nullable:"true" ref:"user" doc:"A member who may see the project."`
	ParentID     *id.ID     `json:"parent_id" required:"false" nullable:"true" ref:"task" doc:"A task of the same project of which this one is a part."`
	DueDate      *date.Date `json:"due_date" required:"false" nullable:"true" doc:"The day on which it must be done."`
	StartDate    *date.Date `json:"start_date" required:"false" nullable:"true" doc:"The day on which it may begin."`
	Labels       []string   `json:"labels" required:"false" nullable:"false" maxItems:"20" minLength:"1" maxLength:"50" pattern:"^[^,]*[^\\s,][^,]*$" doc:"Names; a label is made when it is first used."`
}

// asChange names every field, so that what was left out takes its default.
func (f fields) asChange() change {
	c := change{
		Title: api.Some(f.Title), Description: api.Some(f.Description), Priority: api.Some(f.Priority), Labels: api.Some(f.Labels),
		AssignedToID: some(f.AssignedToID), ParentID: some(f.ParentID), DueDate: some(f.DueDate), StartDate: some(f.StartDate),
	}
	if f.Status != "" {
		c.Status = api.Some(f.Status)
	}
	return c
}

// tidy cleans the title and holds the labels against their rule.
func (f *fields) tidy() (err error) {
	if f.Title, err = line.Clean("/title", f.Title, maxTitle); err != nil {
		return err
	}
	return checkLabels("/labels", f.Labels)
}

func some[T any](p *T) api.Optional[T] {
	if p == nil {
		return api.Optional[T]{Present: true, Null: true}
	}
	return api.Some(*p)
}

type createTask struct {
	ProjectID id.ID `path:"project_id" ref:"project" doc:"The project."`
	Body      fields
}

type taskPath struct {
	TaskID id.ID `path:"task_id" ref:"task" doc:"The task."`
}

type taskMatch struct {
	TaskID  id.ID       `path:"task_id" ref:"task" doc:"The task."`
	IfMatch api.IfMatch `header:"If-Match"`
}

type replaceTask struct {
	TaskID  id.ID       `path:"task_id" ref:"task" doc:"The task."`
	IfMatch api.IfMatch `header:"If-Match"`
	Body    fields

	asked asked // what plugins said
}

type patchTask struct {
	TaskID  id.ID       `path:"task_id" ref:"task" doc:"The task."`
	IfMatch api.IfMatch `header:"If-Match"`
	Body    struct {
		Title        api.Optional[string]    `json:"title" required:"false" minLength:"1" maxLength:"500" pattern:"\\S" doc:"What is to be done, in a line."`
		Description  api.Optional[string]    `json:"description" required:"false" maxLength:"50000" doc:"More about it, as Markdown."`
		Status       api.Optional[string]    `json:"status" required:"false" maxLength:"40" pattern:"^[a-z][a-z0-9_]*$" doc:"Key of a workflow state of the project."`
		Priority     api.Optional[string]    `json:"priority" required:"false" enum:"none,low,medium,high,urgent" doc:"How pressing it is."`
		AssignedToID api.Optional[id.ID]     `json:"assigned_to_id" required:"false" nullable:"true" ref:"user" doc:"A member who may see the project; null for nobody."`
		ParentID     api.Optional[id.ID]     `json:"parent_id" required:"false" nullable:"true" ref:"task" doc:"A task of the same project; null for none."`
		DueDate      api.Optional[date.Date] `json:"due_date" required:"false" nullable:"true" doc:"The day on which it must be done; null for none."`
		StartDate    api.Optional[date.Date] `json:"start_date" required:"false" nullable:"true" doc:"The day on which it may begin; null for none."`
		Labels       api.Optional[[]string]  `json:"labels" required:"false" maxItems:"20" minLength:"1" maxLength:"50" pattern:"^[^,]*[^\\s,][^,]*$" doc:"All its labels; the ones that are missing here are taken off."`
	}

	asked asked // what plugins said
}

// tidy cleans the title and holds the labels against their rule.
func (in *patchTask) tidy() (err error) {
	if b := &in.Body; b.Title.Present {
		if b.Title.Value, err = line.Clean("/title", b.Title.Value, maxTitle); err != nil {
			return err
		}
	}
	return checkLabels("/labels", in.Body.Labels.Value)
}

func (in *patchTask) change() change {
	b := in.Body
	return change{
		Title: b.Title, Description: b.Description, Status: b.Status, Priority: b.Priority, AssignedToID: b.AssignedToID,
		ParentID: b.ParentID, DueDate: b.DueDate, StartDate: b.StartDate, Labels: b.Labels,
	}
}

type moveTask struct {
	TaskID  id.ID       `path:"task_id" ref:"task" doc:"The task."`
	IfMatch api.IfMatch `header:"If-Match"`
	Body    struct {
		Before    *id.ID `json:"before" required:"false" nullable:"true" ref:"task" doc:"Put it right before this task of the project."`
		After     *id.ID `json:"after" required:"false" nullable:"true" ref:"task" doc:"Put it right after this task of the project."`
		Status    string `json:"status" required:"false" maxLength:"40" pattern:"^[a-z][a-z0-9_]*$" doc:"Key of the workflow state to put it into."`
		ProjectID *id.ID `json:"project_id" required:"false" nullable:"true" ref:"project" doc:"Another project. The task gets a number there and takes its subtasks along; without before and after it goes to the end."`
	}

	asked asked // what plugins said
}

type bulkTasks struct {
	Body struct {
		TaskIDs []id.ID `json:"task_ids" nullable:"false" minItems:"1" maxItems:"500" uniqueItems:"true" ref:"task" doc:"The tasks to change."`
		Set     bulkSet `json:"set" doc:"What to change in each."`
		DryRun  bool    `json:"dry_run" required:"false" doc:"Answer as if it were done, and do nothing."`
	}

	asked asked // what plugins said
}

type bulkSet struct {
	Status       api.Optional[string]    `json:"status" required:"false" maxLength:"40" pattern:"^[a-z][a-z0-9_]*$" doc:"Key of a workflow state of each task's project."`
	Priority     api.Optional[string]    `json:"priority" required:"false" enum:"none,low,medium,high,urgent" doc:"How pressing they are."`
	AssignedToID api.Optional[id.ID]     `json:"assigned_to_id" required:"false" nullable:"true" ref:"user" doc:"A member who may see the projects; null for nobody."`
	DueDate      api.Optional[date.Date] `json:"due_date" required:"false" nullable:"true" doc:"The day on which they must be done; null for none."`
	StartDate    api.Optional[date.Date] `json:"start_date" required:"false" nullable:"true" doc:"The day on which they may begin; null for none."`
	LabelsAdd    []string                `json:"labels_add" required:"false" nullable:"false" maxItems:"20" minLength:"1" maxLength:"50" pattern:"^[^,]*[^\\s,][^,]*$" doc:"Labels to put on."`
	LabelsRemove []string                `json:"labels_remove" required:"false" nullable:"false" maxItems:"20" minLength:"1" maxLength:"50" pattern:"^[^,]*[^\\s,][^,]*$" doc:"Labels to take off."`
}
