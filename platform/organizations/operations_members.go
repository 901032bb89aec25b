package organizations

import (
	"context"
	"errors"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

type listMembers struct {
	api.ListParams
	Role   string `query:"role" maxLength:"40" pattern:"^[a-z][a-z0-9_]*$" doc:"Only those with this role." example:"guest"`
	Search string `query:"search" maxLength:"100" doc:"Only those whose username or e-mail address holds it." example:"ann"`
}

// seesEveryone reports whether the caller sees all members: guests do not,
// unless they manage them.
func seesEveryone(ctx context.Context) bool {
	return api.CallerOf(ctx).Scope.OpenRole != "" || api.Can(ctx, MembersManage)
}

func (f *Feature) listMembers(ctx context.Context, v tenant.View, in *listMembers) (page.Page[Member], error) {
	var after joined
	if _, err := in.Position(ctx, &after); err != nil {
		return page.Page[Member]{}, err
	}
	var rows []Member
	var total int64
	everyone, own := seesEveryone(ctx), v.Scope().User
	err := v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &rows, selectMembers, everyone, own, in.Role, in.Search, after.At, after.ID, in.Limit+1, in.Offset())
		if in.WantTotal() {
			tenant.QueueValue(b, &total, countMembers, everyone, own, in.Role, in.Search)
		}
	})
	if err != nil {
		return page.Page[Member]{}, err
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(m Member) any { return joined{&m.JoinedAt, &m.UserID} })
	if in.WantTotal() {
		out.Total = &total
	}
	return out, err
}

type getMember struct {
	UserID id.ID `path:"user_id" ref:"user" doc:"The member."`
}

func (f *Feature) getMember(ctx context.Context, v tenant.View, in *getMember) (Member, error) {
	m, err := tenant.One[Member](ctx, v, selectInSight, seesEveryone(ctx), v.Scope().User, in.UserID)
	return m, tenant.NotFound(err, "member")
}

type patchMember struct {
	UserID  id.ID       `path:"user_id" ref:"user" doc:"The member."`
	IfMatch api.IfMatch `header:"If-Match"`
	Body    struct {
		Role api.Optional[string] `json:"role" required:"false" maxLength:"40" pattern:"^[a-z][a-z0-9_]*$" doc:"The key of a built-in or a custom role." example:"admin"`
	}
}

func (f *Feature) updateMember(ctx context.Context, tx *tenant.Tx, in *patchMember) (Member, error) {
	if _, err := tenant.One[Organization](ctx, tx, lockOrganization); err != nil {
		return Member{}, tenant.NotFound(err, "organization")
	}
	before, err := f.memberToChange(ctx, tx, in.UserID, in.IfMatch)
	if err != nil || !in.Body.Role.Present || in.Body.Role.Value == before.Role {
		return before, err
	}
	if err := f.mayGive(ctx, tx, before.Role); err != nil {
		return Member{}, err
	}
	if err := f.mayGive(ctx, tx, in.Body.Role.Value); err != nil {
		return Member{}, err
	}
	n, err := tenant.Exec(ctx, tx, updateMember, in.UserID, in.Body.Role.Value)
	if err != nil {
		return Member{}, err
	}
	if n == 0 {
		return Member{}, lastOwner()
	}
	after, err := tenant.One[Member](ctx, tx, selectMember, in.UserID)
	if err != nil {
		return Member{}, err
	}
	return after, MemberChanged.EmitChange(ctx, tx, before, after)
}

// memberToChange reads a member whose organisation is locked.
func (f *Feature) memberToChange(ctx context.Context, tx *tenant.Tx, user id.ID, match api.IfMatch) (Member, error) {
	m, err := tenant.One[Member](ctx, tx, selectMember, user)
	if err != nil {
		return m, tenant.NotFound(err, "member")
	}
	if !match.Matches(m.Version) {
		return m, fault.StaleVersion(m)
	}
	return m, nil
}

type removeMember struct {
	UserID  id.ID       `path:"user_id" ref:"user" doc:"The member; yourself to leave."`
	IfMatch api.IfMatch `header:"If-Match"`
}

func (f *Feature) removeMember(ctx context.Context, tx *tenant.Tx, in *removeMember) (api.None, error) {
	s := tx.Scope()
	leaving := s.Actor == tenant.Actor{Kind: tenant.User, ID: in.UserID}
	if !leaving && !api.Can(ctx, MembersManage) {
		return api.None{}, fault.Deniedf(MembersManage.Key)
	}
	if _, err := tenant.One[Organization](ctx, tx, lockOrganization); err != nil {
		return api.None{}, tenant.NotFound(err, "organization")
	}
	m, err := f.memberToChange(ctx, tx, in.UserID, in.IfMatch)
	if err != nil {
		return api.None{}, err
	}
	if !leaving {
		if err := f.mayGive(ctx, tx, m.Role); err != nil {
			return api.None{}, err
		}
	}
	n, err := tenant.Exec(ctx, tx, deleteMember, in.UserID)
	if err != nil {
		return api.None{}, err
	}
	if n == 0 {
		return api.None{}, lastOwner()
	}
	if _, err := tenant.Exec(ctx, tx, noteRemoved, m.Version); err != nil {
		return api.None{}, err
	}
	return api.None{}, MemberRemoved.Emit(ctx, tx, m)
}

func lastOwner() error {
	return fault.Conflictf("last_owner", "An organisation keeps at least one owner. Make somebody else an owner first.")
}

// mayGive refuses to give a role, or to take it from somebody, that amounts to
// more than the caller has. The organisation's row is locked, so the role does
// not change meanwhile.
func (f *Feature) mayGive(ctx context.Context, tx *tenant.Tx, role string) error {
	type custom struct {
		Permissions []string `db:"permissions"`
		Guest       bool     `db:"guest"`
	}
	caller, catalogue := api.CallerOf(ctx), f.Authority.Catalogue()
	r := custom{Permissions: catalogue.BuiltinKeys(role), Guest: role == authz.Guest}
	if !authz.IsBuiltin(role) {
		var err error
		r, err = tenant.One[custom](ctx, tx, selectCustomRole, role)
		if errors.Is(err, tenant.ErrNoRows) {
			return fault.Invalidf("/role", "there is no such role; GET /v1/roles lists them")
		}
		if err != nil {
			return err
		}
	}
	if role == authz.Owner && caller.Role != authz.Owner {
		return ownersOnly()
	}
	for _, k := range r.Permissions {
		if catalogue.Known(k) && !catalogue.Has(caller.Permissions, authz.Permission{Key: k}) {
			return fault.Deniedf(k)
		}
	}
	if !r.Guest && caller.Scope.OpenRole == "" {
		return fault.New(fault.Denied, "permission_denied", "A guest gives and takes roles of guests only.").With("permission", "caller:member")
	}
	return nil
}
