package projects

import (
	"context"
	"slices"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/line"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/work"
)

func (f *Feature) states(ctx context.Context, v tenant.View, in *projectPath) (page.Page[WorkflowState], error) {
	states, err := workflow(ctx, v, in.ProjectID)
	return page.Page[WorkflowState]{Data: states}, err
}

func (f *Feature) state(ctx context.Context, v tenant.View, in *statePath) (WorkflowState, error) {
	s, err := tenant.One[WorkflowState](ctx, v, selectState, in.ProjectID, in.StateKey)
	return s, tenant.NotFound(err, "state")
}

// changeStates lets a lead change the workflow, of which fn gets a copy, and
// tells of it as a whole; fn may add to what is told.
func changeStates(ctx context.Context, tx *tenant.Tx, project id.ID, fn func(Project, []WorkflowState, *ProjectStates) error) ([]WorkflowState, error) {
	told := ProjectStates{ProjectID: project}
	p, err := held(ctx, tx, project, work.Lead)
	if err != nil {
		return nil, err
	}
	before, err := workflow(ctx, tx, project)
	if err != nil {
		return nil, err
	}
	if err := fn(p, slices.Clone(before), &told); err != nil {
		return nil, err
	}
	if told.States, err = workflow(ctx, tx, project); err != nil {
		return nil, err
	}
	return told.States, StatesChanged.EmitChange(ctx, tx, ProjectStates{ProjectID: project, States: before}, told)
}

// changeState is changeStates for one state, which it returns.
func changeState(ctx context.Context, tx *tenant.Tx, project id.ID, key string, fn func([]WorkflowState) error) (WorkflowState, error) {
	after, err := changeStates(ctx, tx, project, func(_ Project, s []WorkflowState, _ *ProjectStates) error { return fn(s) })
	if err != nil {
		return WorkflowState{}, err
	}
	return after[indexOf(after, key)], nil
}

func (f *Feature) addState(ctx context.Context, tx *tenant.Tx, in *createState) (WorkflowState, error) {
	b := in.Body
	var err error
	if b.Name, err = line.Clean("/name", b.Name, maxStateName); err != nil {
		return WorkflowState{}, err
	}
	if b.Key == "" {
		b.Key = stateKeyFor(b.Name)
	}
	if b.Key == "" {
		return WorkflowState{}, fault.Invalidf("/key", "the name holds no letters to make a key of; give one")
	}
	return changeState(ctx, tx, in.ProjectID, b.Key, func(states []WorkflowState) error {
		if len(states) >= maxStates {
			return fault.Conflictf("too_many_states", "A project has at most %d states.", maxStates)
		}
		if indexOf(states, b.Key) >= 0 {
			return fault.Conflictf("state_key_taken", "The project has a state with the key %s already.", b.Key)
		}
		after := naturalAfter(states, b.Group)
		if b.After != nil {
			after = *b.After
		}
		ordered, ok := place(append(states, WorkflowState{Key: b.Key}), b.Key, after)
		if !ok {
			return errNoState("/after")
		}
		_, err := tenant.Exec(ctx, tx, insertState, tx.Scope().Organization, in.ProjectID, id.New(), b.Key, b.Name, b.Group, "", b.Color)
		if err != nil {
			return err
		}
		if b.IsDefault {
			if err := makeDefault(ctx, tx, in.ProjectID, b.Key); err != nil {
				return err
			}
		}
		return reorder(ctx, tx, in.ProjectID, ordered)
	})
}

func (f *Feature) patchState(ctx context.Context, tx *tenant.Tx, in *patchState) (WorkflowState, error) {
	b := in.Body
	if b.Name.Present {
		var err error
		if b.Name.Value, err = line.Clean("/name", b.Name.Value, maxStateName); err != nil {
			return WorkflowState{}, err
		}
	}
	return changeState(ctx, tx, in.ProjectID, in.StateKey, func(states []WorkflowState) error {
		at := indexOf(states, in.StateKey)
		if at < 0 {
			return fault.NotFoundf("state")
		}
		s := states[at]
		b.Name.Set(&s.Name)
		b.Color.SetPtr(&s.Color)
		if _, err := tenant.Exec(ctx, tx, updateState, in.ProjectID, s.Key, s.Name, s.Color); err != nil {
			return err
		}
		if b.IsDefault.Present && b.IsDefault.Value != s.IsDefault {
			if s.IsDefault {
				return errIsDefault()
			}
			if err := makeDefault(ctx, tx, in.ProjectID, s.Key); err != nil {
				return err
			}
		}
		if !b.After.Present || b.After.Value == s.Key {
			return nil
		}
		ordered, ok := place(states, s.Key, b.After.Value)
		if !ok {
			return errNoState("/after")
		}
		return reorder(ctx, tx, in.ProjectID, ordered)
	})
}

// removeState gives the tasks of the state to another one first, if the caller
// names it. Without that the foreign key of tasks decides.
func (f *Feature) removeState(ctx context.Context, tx *tenant.Tx, in *removeState) (api.None, error) {
	_, err := changeStates(ctx, tx, in.ProjectID, func(p Project, states []WorkflowState, told *ProjectStates) error {
		at := indexOf(states, in.StateKey)
		switch {
		case at < 0:
			return fault.NotFoundf("state")
		case states[at].IsDefault:
			return errIsDefault()
		case in.ReplaceWith == "":
		case in.ReplaceWith == in.StateKey || indexOf(states, in.ReplaceWith) < 0:
			return errNoState("query.replace_with")
		case f.tasks != nil:
			if err := p.access().Write(); err != nil {
				return err
			}
			if err := f.tasks.Replace(ctx, tx, in.ProjectID, in.StateKey, in.ReplaceWith); err != nil {
				return err
			}
			told.ReplacedState, told.ReplacedWith = &in.StateKey, &in.ReplaceWith
		}
		_, err := tenant.Exec(ctx, tx, deleteState, in.ProjectID, in.StateKey)
		if tenant.Constraint(err) == "task_state_unknown" {
			return fault.Conflictf("state_in_use", "Tasks are in this state. Say with replace_with which state they get.").Because(err)
		}
		if err != nil {
			return err
		}
		return reorder(ctx, tx, in.ProjectID, slices.Delete(states, at, at+1))
	})
	return api.None{}, err
}

func errNoState(pointer string) error {
	return fault.Invalidf(pointer, "no other state of this project has this key")
}

func errIsDefault() error {
	return fault.Conflictf("state_is_default", "New tasks begin in this state. Make another one the default first.")
}
