package projects

import (
	"context"
	"errors"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/work"
)

// memberCols are the columns of ProjectMember where m is the membership and u
// the person.
const memberCols = `m.project_id, m.user_id, m.role, m.created_at, u.username`

const (
	// $2 and $3 the last row before, $4 rows, $5 rows to skip
	selectMembers = `select ` + memberCols + ` from project_members m join users u on u.id = m.user_id
		where m.project_id = $1 and ($2::timestamptz is null or (m.created_at, m.user_id) > ($2, $3::uuid))
		order by m.created_at, m.user_id limit $4 offset $5`
	countMembers = `select count(*) from project_members m where m.project_id = $1`
	selectMember = `select ` + memberCols + ` from project_members m join users u on u.id = m.user_id
		where m.project_id = $1 and m.user_id = $2`
	// Through project_access, for readers.
	selectSeenMember = `select ` + memberCols + ` from project_members m join users u on u.id = m.user_id
		join project_access a on a.tenant_id = m.tenant_id and a.project_id = m.project_id
		where m.project_id = $1 and m.user_id = $2`

	insertMember = `with m as (
		insert into project_members (tenant_id, project_id, user_id, role) values ($1, $2, $3, $4)
		on conflict on constraint project_member_exists do nothing
		returning project_id, user_id, role, created_at
	) select ` + memberCols + ` from m join users u on u.id = m.user_id`
	updateMember = `update project_members m set role = $3 where m.project_id = $1 and m.user_id = $2`
	deleteMember = `delete from project_members m where m.project_id = $1 and m.user_id = $2`
	selectLed    = `select exists (select from project_members m where m.project_id = $1 and m.role = 'lead')`
)

// add names somebody in a project that is held. It reports false, and changes
// nothing, if he is in it already.
func add(ctx context.Context, tx *tenant.Tx, project, user id.ID, role work.Role) (ProjectMember, bool, error) {
	m, err := tenant.One[ProjectMember](ctx, tx, insertMember, tx.Scope().Organization, project, user, role)
	if errors.Is(err, tenant.ErrNoRows) {
		return ProjectMember{}, false, nil
	}
	if err != nil {
		return ProjectMember{}, false, refine(err)
	}
	return m, true, MemberAdded.Emit(ctx, tx, m.ProjectMemberData)
}

// setRole changes the role of a member of a project that is held.
func setRole(ctx context.Context, tx *tenant.Tx, m ProjectMember, role work.Role) (ProjectMember, error) {
	before := m.ProjectMemberData
	if m.Role = role; before.Role == role {
		return m, nil
	}
	if _, err := tenant.Exec(ctx, tx, updateMember, m.ProjectID, m.UserID, role); err != nil {
		return m, err
	}
	return m, MemberChanged.EmitChange(ctx, tx, before, m.ProjectMemberData)
}

// makeLead lets somebody lead a project that is held, whatever he is in it.
func makeLead(ctx context.Context, tx *tenant.Tx, project, user id.ID) error {
	_, added, err := add(ctx, tx, project, user, work.Lead)
	if err != nil || added {
		return err
	}
	m, err := tenant.One[ProjectMember](ctx, tx, selectMember, project, user)
	if err != nil {
		return err
	}
	_, err = setRole(ctx, tx, m, work.Lead)
	return err
}

// stillLed refuses to leave a private project, which is held, to nobody: an
// open one is led by the organisation's admins all the same.
func stillLed(ctx context.Context, tx *tenant.Tx, p Project) error {
	if p.Visibility == open {
		return nil
	}
	led, err := tenant.Value[bool](ctx, tx, selectLed, p.ID)
	if err == nil && !led {
		err = fault.Conflictf("last_lead", "A private project needs a lead. Make somebody else a lead first.")
	}
	return err
}
