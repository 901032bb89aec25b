package tasks

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/date"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/line"
	"github.com/guildhall-dev/guildhall/plugins"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Draft is a task as it would be stored, for plugins that are asked before.
type Draft struct {
	Title        string     `json:"title" minLength:"1" maxLength:"500" pattern:"\\S"`
	Description  string     `json:"description" maxLength:"50000"`
	Status       string     `json:"status,omitempty" maxLength:"40" pattern:"^[a-z][a-z0-9_]*$" doc:"Left out: the project's default state."`
	Priority     string     `json:"priority" enum:"none,low,medium,high,urgent"`
	AssignedToID *id.ID     `json:"assigned_to_id" nullable:"true"`
	ParentID     *id.ID     `json:"parent_id" nullable:"true"`
	DueDate      *date.Date `json:"due_date" nullable:"true"`
	StartDate    *date.Date `json:"start_date" nullable:"true"`
	Labels       []string   `json:"labels" nullable:"false" maxItems:"20" minLength:"1" maxLength:"50" pattern:"^[^,]*[^\\s,][^,]*$"`
	ProjectID    id.ID      `json:"project_id" doc:"The project; where a task moves to another one, that one."`
}

// UnmarshalJSON holds an amended draft against the rules that a caller's title and
// labels are held against; a draft that breaks them is no good amendment.
func (d *Draft) UnmarshalJSON(raw []byte) error {
	type plain Draft
	if err := json.Unmarshal(raw, (*plain)(d)); err != nil {
		return err
	}
	var err error
	if d.Title, err = line.Clean("/title", d.Title, maxTitle); err != nil {
		return err
	}
	return checkLabels("/labels", d.Labels)
}

// Site is where a task is to be made.
type Site struct {
	ProjectID id.ID `json:"project_id"`
}

// The hooks of tasks.
var (
	WillCreate = plugins.DefineHook[Site, Draft]("task.will_create", "A task is about to be made. The subject is its project.",
		"title", "description", "status", "priority", "assigned_to_id", "due_date", "start_date", "labels")
	WillChange = plugins.DefineHook[Task, Draft]("task.will_change", "A task is about to be changed, by itself, in a bulk change, or by a move into another state or project. The subject is the task as it is, the draft as it would be; of a task that leaves a private project for an open one the subject says no more than the draft. Subtasks that go along into another project are not asked about.",
		"title", "description", "status", "priority", "assigned_to_id", "due_date", "start_date", "labels")
	LabelWillChange = plugins.DefineHook[Label, LabelDraft]("label.will_change", "A label is about to get another name, which all tasks that carry it will show. The subject is the label as it is.", "name")
)

// LabelDraft is a label as it would be stored.
type LabelDraft struct {
	Name      string `json:"name" minLength:"1" maxLength:"50" pattern:"^[^,]*[^\\s,][^,]*$"`
	ProjectID id.ID  `json:"project_id"`
}

// UnmarshalJSON holds an amended name against the rule for a caller's.
func (d *LabelDraft) UnmarshalJSON(raw []byte) error {
	type plain LabelDraft
	if err := json.Unmarshal(raw, (*plain)(d)); err != nil {
		return err
	}
	var err error
	d.Name, err = cleanLabel("/name", d.Name)
	return err
}

const selectPrivate = `select a.visibility = 'private' from project_access a where a.project_id = $1`

// askCreate asks plugins about a new task. What is wrong with it anyway is left
// to create to say.
func (f *Feature) askCreate(ctx context.Context, in *createTask) error {
	if wanted, err := WillCreate.Wanted(ctx, f.plugins); !wanted || err != nil {
		return err
	}
	if in.Body.tidy() != nil {
		return nil
	}
	private, err := tenant.Value[bool](ctx, api.ViewOf(ctx), selectPrivate, in.ProjectID)
	if errors.Is(err, tenant.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	b := in.Body
	d := Draft{b.Title, b.Description, b.Status, b.Priority, b.AssignedToID, b.ParentID, b.DueDate, b.StartDate, b.Labels, in.ProjectID}
	if d.Labels == nil {
		d.Labels = []string{}
	}
	said, err := WillCreate.Ask(ctx, f.plugins, []plugins.Change[Site, Draft]{{Subject: Site{in.ProjectID}, Draft: d, Private: private}})
	if err != nil {
		return err
	}
	d = said[0].Draft
	in.Body = fields{d.Title, d.Description, d.Status, d.Priority, d.AssignedToID, d.ParentID, d.DueDate, d.StartDate, d.Labels}
	return said[0].Refusal
}

// asked is what plugins said of changes of tasks, and of which versions they said
// it.
type asked map[id.ID]answer

type answer struct {
	version int64
	change  change
	refusal error
}

// of is the change to make of a task that is locked now: the one that was asked
// about, amended. If the row is another than was asked about, everything starts
// again.
func (a asked) of(h held, c change) (change, error) {
	if a == nil {
		return c, nil
	}
	said, ok := a[h.ID]
	switch {
	case !ok || said.version != h.Version:
		return c, api.ErrAskAgain
	case said.refusal != nil:
		return c, said.refusal
	}
	out := said.change
	out.position, out.moved = c.position, c.moved
	return out, nil
}

// askChange asks plugins about changes of tasks, all at once. Without anybody to
// ask it returns nil. A task that cannot be changed anyway is not asked about.
func (f *Feature) askChange(ctx context.Context, ids []id.ID, changeOf func(Task) change) (asked, error) {
	return f.askFor(ctx, ids, nil, changeOf)
}

// askFor is askChange, for changes that may take the tasks into another project.
func (f *Feature) askFor(ctx context.Context, ids []id.ID, to *destination, changeOf func(Task) change) (asked, error) {
	if wanted, err := WillChange.Wanted(ctx, f.plugins); !wanted || err != nil {
		return nil, err
	}
	rows, err := tenant.List[heldIn](ctx, api.ViewOf(ctx), selectHeldIn, ids)
	if err != nil {
		return nil, err
	}
	out := asked{}
	var about []plugins.Change[Task, Draft]
	var of []held
	for _, h := range rows {
		c := changeOf(h.Task)
		out[h.ID] = answer{version: h.Version, change: c}
		now, changed := c.applied(h.Task)
		subject, private, moves := h.Task, h.Private, to != nil && to.ID != h.ProjectID
		if moves {
			now.ProjectID, private = to.ID, to.Private
			if h.Private && !to.Private {
				subject = shown(now)
			}
		}
		if len(changed) == 0 && !moves || h.writable() != nil {
			continue
		}
		about, of = append(about, plugins.Change[Task, Draft]{Subject: subject, Draft: draftOf(now), Private: private}), append(of, h.held)
	}
	if len(about) == 0 {
		return out, nil
	}
	said, err := WillChange.Ask(ctx, f.plugins, about)
	if err != nil {
		return nil, err
	}
	for n, v := range said {
		a := out[of[n].ID]
		a.refusal = v.Refusal
		for _, field := range v.Amended {
			a.change.amend(field, v.Draft)
		}
		out[of[n].ID] = a
	}
	return out, nil
}

// destination is the project into which a task is to move.
type destination struct {
	ID      id.ID
	Private bool
}

type heldIn struct {
	held
	Private bool `db:"private"`
}

// shown is a task that comes out of a private project, without what only those
// who see that project may know: its number, its past, its people.
func shown(t Task) Task {
	return Task{
		ID: t.ID, ProjectID: t.ProjectID, Title: t.Title, Description: t.Description, Status: t.Status, Priority: t.Priority, AssignedToID: t.AssignedToID,
		ParentID: t.ParentID, DueDate: t.DueDate, StartDate: t.StartDate, Labels: t.Labels, Version: t.Version,
	}
}

func draftOf(t Task) Draft {
	d := Draft{t.Title, t.Description, t.Status, t.Priority, t.AssignedToID, t.ParentID, t.DueDate, t.StartDate, t.Labels, t.ProjectID}
	if d.Labels == nil {
		d.Labels = []string{}
	}
	return d
}

// amend takes one field of a draft into the change.
func (c *change) amend(field string, d Draft) {
	switch field {
	case "title":
		c.Title = api.Some(d.Title)
	case "description":
		c.Description = api.Some(d.Description)
	case "status":
		c.Status = api.Some(d.Status)
	case "priority":
		c.Priority = api.Some(d.Priority)
	case "assigned_to_id":
		c.AssignedToID = some(d.AssignedToID)
	case "due_date":
		c.DueDate = some(d.DueDate)
	case "start_date":
		c.StartDate = some(d.StartDate)
	case "labels":
		c.Labels = api.Some(d.Labels)
	}
}

func (f *Feature) askPatch(ctx context.Context, in *patchTask) (err error) {
	if in.tidy() != nil {
		return nil // patch says it
	}
	in.asked, err = f.askChange(ctx, []id.ID{in.TaskID}, func(Task) change { return in.change() })
	return err
}

func (f *Feature) askReplace(ctx context.Context, in *replaceTask) (err error) {
	if in.Body.tidy() != nil {
		return nil
	}
	in.asked, err = f.askChange(ctx, []id.ID{in.TaskID}, func(Task) change { return in.Body.asChange() })
	return err
}

func (f *Feature) askBulk(ctx context.Context, in *bulkTasks) (err error) {
	in.asked, err = f.askChange(ctx, in.Body.TaskIDs, in.Body.Set.change)
	return err
}

// askMove asks about the state and the project that a move puts the task into.
// Where a move brings a task into another project, it is asked about as a change,
// since the task is not made anew.
func (f *Feature) askMove(ctx context.Context, in *moveTask) (err error) {
	if in.Body.Status == "" && in.Body.ProjectID == nil {
		return nil
	}
	if wanted, err := WillChange.Wanted(ctx, f.plugins); !wanted || err != nil {
		return err
	}
	var to *destination
	if p := in.Body.ProjectID; p != nil {
		private, err := tenant.Value[bool](ctx, api.ViewOf(ctx), selectPrivate, *p)
		if errors.Is(err, tenant.ErrNoRows) {
			return nil // move says it
		}
		if err != nil {
			return err
		}
		to = &destination{*p, private}
	}
	in.asked, err = f.askFor(ctx, []id.ID{in.TaskID}, to, func(Task) change { return in.change() })
	return err
}

func (in *moveTask) change() (c change) {
	if in.Body.Status != "" {
		c.Status = api.Some(in.Body.Status)
	}
	return c
}

// settle takes what plugins said of a move into another project, once the task
// is locked; only its state can be amended then.
func (in *moveTask) settle(h held) error {
	c, err := in.asked.of(h, in.change())
	if err != nil || in.asked == nil {
		return err
	}
	for _, amended := range c.named() {
		if amended != "status" {
			return fault.Conflictf("plugin_amendment_refused", "A plugin wants to change %s too, which a move into another project cannot do. Change the task first.", amended)
		}
	}
	c.Status.Set(&in.Body.Status)
	return nil
}

const selectLabelSite = `select ` + labelCols + `, a.visibility = 'private' as private` + labelFrom + `where l.id = $1`

// askLabel asks about a new name of a label.
func (f *Feature) askLabel(ctx context.Context, in *patchLabel) error {
	if wanted, err := LabelWillChange.Wanted(ctx, f.plugins); !wanted || err != nil || !in.Body.Name.Present {
		return err
	}
	name, err := cleanLabel("/name", in.Body.Name.Value)
	if err != nil {
		return nil // patchLabel says it
	}
	type site struct {
		Label
		Private bool `db:"private"`
	}
	s, err := tenant.One[site](ctx, api.ViewOf(ctx), selectLabelSite, in.LabelID)
	if errors.Is(err, tenant.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	in.asked = &s.Version
	if name == s.Name {
		return nil
	}
	said, err := LabelWillChange.Ask(ctx, f.plugins, []plugins.Change[Label, LabelDraft]{{Subject: s.Label, Draft: LabelDraft{name, s.ProjectID}, Private: s.Private}})
	if err != nil {
		return err
	}
	in.Body.Name = api.Some(said[0].Draft.Name)
	return said[0].Refusal
}
