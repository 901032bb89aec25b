package projects

import (
	"cmp"
	"context"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/work"
)

// joined is a place in the list of members.
type joined struct {
	At time.Time `json:"a"`
	ID id.ID     `json:"i"`
}

// members reads the project and its members on one snapshot, so that who lost
// the right to see the project sees neither.
func (f *Feature) members(ctx context.Context, v tenant.View, in *listMembers) (page.Page[ProjectMember], error) {
	var at *time.Time
	var user *id.ID
	var last joined
	if ok, err := in.Position(ctx, &last); err != nil {
		return page.Page[ProjectMember]{}, err
	} else if ok {
		at, user = &last.At, &last.ID
	}
	var p Project
	rows, total := []ProjectMember{}, new(int64)
	err := v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueOne(b, &p, selectProject, in.ProjectID)
		tenant.QueueList(b, &rows, selectMembers, in.ProjectID, at, user, in.Limit+1, in.Offset())
		tenant.QueueValue(b, total, countMembers, in.ProjectID)
	})
	if err != nil {
		return page.Page[ProjectMember]{}, tenant.NotFound(err, "project")
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(m ProjectMember) any { return joined{m.CreatedAt, m.UserID} })
	if in.WantTotal() {
		out.Total = total
	}
	return out, err
}

func (f *Feature) member(ctx context.Context, v tenant.View, in *memberPath) (ProjectMember, error) {
	m, err := tenant.One[ProjectMember](ctx, v, selectSeenMember, in.ProjectID, in.UserID)
	return m, tenant.NotFound(err, "project member")
}

func (f *Feature) addMember(ctx context.Context, tx *tenant.Tx, in *addMember) (ProjectMember, error) {
	if _, err := held(ctx, tx, in.ProjectID, work.Lead); err != nil {
		return ProjectMember{}, err
	}
	m, added, err := add(ctx, tx, in.ProjectID, in.Body.UserID, cmp.Or(in.Body.Role, work.Contributor))
	if err == nil && !added {
		err = fault.Conflictf("project_member_exists", "This person is a member of the project already. Change the role with PATCH.")
	}
	return m, err
}

func (f *Feature) patchMember(ctx context.Context, tx *tenant.Tx, in *patchMember) (ProjectMember, error) {
	p, err := held(ctx, tx, in.ProjectID, work.Lead)
	if err != nil {
		return ProjectMember{}, err
	}
	m, err := tenant.One[ProjectMember](ctx, tx, selectMember, p.ID, in.UserID)
	if err != nil {
		return ProjectMember{}, tenant.NotFound(err, "project member")
	}
	role := m.Role
	in.Body.Role.Set(&role)
	if m, err = setRole(ctx, tx, m, role); err != nil {
		return ProjectMember{}, err
	}
	return m, stillLed(ctx, tx, p)
}

// removeMember takes a lead, or the member himself, as long as he does not
// become more by it than he was named.
func (f *Feature) removeMember(ctx context.Context, tx *tenant.Tx, in *memberPath) (api.None, error) {
	need := work.Lead
	if in.UserID == tx.Scope().User {
		need = work.Viewer
	}
	p, err := held(ctx, tx, in.ProjectID, need)
	if err != nil {
		return api.None{}, err
	}
	m, err := tenant.One[ProjectMember](ctx, tx, selectMember, p.ID, in.UserID)
	if err != nil {
		return api.None{}, tenant.NotFound(err, "project member")
	}
	if left := roleUnnamed(tx.Scope(), p); left.AtLeast(work.Viewer) && !m.Role.AtLeast(left) {
		if err := p.access().Need(work.Lead); err != nil {
			return api.None{}, err
		}
	}
	if _, err := tenant.Exec(ctx, tx, deleteMember, p.ID, in.UserID); err != nil {
		return api.None{}, err
	}
	if err := stillLed(ctx, tx, p); err != nil {
		return api.None{}, err
	}
	if err := MemberRemoved.Emit(ctx, tx, m.ProjectMemberData); err != nil {
		return api.None{}, err
	}
	return api.None{}, f.release(ctx, tx, p.ProjectData)
}

// roleUnnamed is what the viewer would be in a project that does not name him.
func roleUnnamed(s tenant.Scope, p Project) work.Role {
	if p.Visibility != open {
		return ""
	}
	return work.Role(s.OpenRole)
}
