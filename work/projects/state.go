package projects

import (
	"fmt"
	"slices"
	"strings"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/work"
)

// maxStates bounds the workflow of one project.
const maxStates = 50

// WorkflowState is one state that a task of the project can be in.
type WorkflowState struct {
	ID        id.ID      `db:"id" json:"id"`
	ProjectID id.ID      `db:"project_id" json:"project_id"`
	Key       string     `db:"key" json:"key" maxLength:"40" pattern:"^[a-z][a-z0-9_]{0,39}$" example:"in_progress" doc:"What a task's status says; it never changes."`
	Name      string     `db:"name" json:"name" minLength:"1" maxLength:"100" example:"In progress"`
	Group     work.Group `db:"state_group" json:"group" enum:"backlog,unstarted,started,completed,cancelled" doc:"What the state means; it never changes."`
	Position  string     `db:"position" json:"position" maxLength:"10" pattern:"^[0-9]+$" example:"0030" doc:"States sort by it; set it with after."`
	Color     *string    `db:"color" json:"color" nullable:"true" maxLength:"7" pattern:"^#[0-9a-f]{6}$" example:"#3366cc"`
	IsDefault bool       `db:"is_default" json:"is_default" doc:"New tasks begin here. Each project has one such state."`
}

// Location implements api.Located.
func (s WorkflowState) Location() string {
	return "/v1/projects/" + s.ProjectID.String() + "/states/" + s.Key
}

// OfProjects implements api.OfProjects.
func (s WorkflowState) OfProjects() []id.ID { return []id.ID{s.ProjectID} }

// ProjectStates is the whole workflow of a project; its event carries it.
type ProjectStates struct {
	ProjectID id.ID           `json:"project_id"`
	States    []WorkflowState `json:"states" nullable:"false" maxItems:"50" doc:"In order."`
	// Of a deleted state; its tasks changed without an event of their own.
	ReplacedState *string `json:"replaced_state" nullable:"true" maxLength:"40" pattern:"^[a-z][a-z0-9_]{0,39}$" doc:"The deleted state whose tasks got another one, else null." example:"review"`
	ReplacedWith  *string `json:"replaced_with" nullable:"true" maxLength:"40" pattern:"^[a-z][a-z0-9_]{0,39}$" doc:"The state that they got." example:"in_progress"`
}

// EventSubject implements event.Subjected.
func (s ProjectStates) EventSubject() event.Subject {
	return event.Subject{ID: s.ProjectID, Project: &s.ProjectID}
}

// defaultStates is the workflow that a new project begins with.
func defaultStates(project id.ID) []WorkflowState {
	states := []WorkflowState{
		{Key: "backlog", Name: "Backlog", Group: work.Backlog},
		{Key: "pending", Name: "Pending", Group: work.Unstarted, IsDefault: true},
		{Key: "in_progress", Name: "In progress", Group: work.Started},
		{Key: "review", Name: "Review", Group: work.Started},
		{Key: "done", Name: "Done", Group: work.Completed},
		{Key: "cancelled", Name: "Cancelled", Group: work.Cancelled},
	}
	for i := range states {
		states[i].ID, states[i].ProjectID, states[i].Position = id.New(), project, positionAt(i)
	}
	return states
}

func positionAt(i int) string { return fmt.Sprintf("%04d", (i+1)*10) }

// stateKeyFor makes a key of a name: "In Review!" is in_review. It is "" where
// the name has no ASCII letter or digit to begin with.
func stateKeyFor(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	key := strings.TrimLeft(strings.Join(words, "_"), "0123456789_")
	return strings.TrimRight(key[:min(40, len(key))], "_")
}

// place returns the states with one of them moved right behind another, or to
// the front for "". It reports false if there is no such other.
func place(states []WorkflowState, key, after string) ([]WorkflowState, bool) {
	from := indexOf(states, key)
	moved := slices.Delete(slices.Clone(states), from, from+1)
	to := 0
	if after != "" {
		if to = indexOf(moved, after) + 1; to == 0 {
			return nil, false
		}
	}
	return slices.Insert(moved, to, states[from]), true
}

// naturalAfter is the last state whose group comes no later than g: where a
// new state of the group stands unless its maker says otherwise.
func naturalAfter(states []WorkflowState, g work.Group) string {
	rank := slices.Index(work.Groups(), g)
	for _, s := range slices.Backward(states) {
		if slices.Index(work.Groups(), s.Group) <= rank {
			return s.Key
		}
	}
	return ""
}

func indexOf(states []WorkflowState, key string) int {
	return slices.IndexFunc(states, func(s WorkflowState) bool { return s.Key == key })
}
