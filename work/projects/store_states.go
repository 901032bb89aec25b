package projects

import (
	"context"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// stateCols are the columns of WorkflowState where s is the state.
const stateCols = `s.id, s.project_id, s.key, s.name, s.state_group, s.position, s.color, s.is_default`

const (
	// Through project_access: no row means that there is no such project.
	selectStates = `select ` + stateCols + ` from project_states s
		join project_access a on a.tenant_id = s.tenant_id and a.project_id = s.project_id
		where s.project_id = $1 order by s.position, s.key`
	selectState = `select ` + stateCols + ` from project_states s
		join project_access a on a.tenant_id = s.tenant_id and a.project_id = s.project_id
		where s.project_id = $1 and s.key = $2`

	insertState = `insert into project_states (tenant_id, project_id, id, key, name, state_group, position, color)
		values ($1, $2, $3, $4, $5, $6, $7, $8)`
	updateState  = `update project_states s set name = $3, color = $4 where s.project_id = $1 and s.key = $2`
	clearDefault = `update project_states s set is_default = false where s.project_id = $1 and s.is_default`
	setDefault   = `update project_states s set is_default = true where s.project_id = $1 and s.key = $2`
	orderStates  = `update project_states s set position = o.position from unnest($2::text[], $3::text[]) as o (key, position)
		where s.project_id = $1 and s.key = o.key and s.position <> o.position`
	deleteState = `delete from project_states s where s.project_id = $1 and s.key = $2`
)

// workflow reads the states of a project in order. A project always has some,
// so none means that the viewer sees no such project.
func workflow(ctx context.Context, q tenant.Querier, project id.ID) ([]WorkflowState, error) {
	states, err := tenant.List[WorkflowState](ctx, q, selectStates, project)
	if err == nil && len(states) == 0 {
		err = fault.NotFoundf("project")
	}
	return states, err
}

// reorder gives the states of a project, which is held, the order of the list.
func reorder(ctx context.Context, tx *tenant.Tx, project id.ID, states []WorkflowState) error {
	keys, positions := make([]string, len(states)), make([]string, len(states))
	for i, s := range states {
		keys[i], positions[i] = s.Key, positionAt(i)
	}
	_, err := tenant.Exec(ctx, tx, orderStates, project, keys, positions)
	return err
}

// makeDefault lets new tasks begin in the state. The index state_default wants
// the old one cleared first.
func makeDefault(ctx context.Context, tx *tenant.Tx, project id.ID, key string) error {
	if _, err := tenant.Exec(ctx, tx, clearDefault, project); err != nil {
		return err
	}
	_, err := tenant.Exec(ctx, tx, setDefault, project, key)
	return err
}

func defaultState(states []WorkflowState) string {
	for _, s := range states {
		if s.IsDefault {
			return s.Key
		}
	}
	return ""
}
