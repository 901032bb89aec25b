package access

import (
	"context"
	"errors"
	"slices"
	"sort"
	"strconv"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/line"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Right is one permission of the catalogue.
type Right struct {
	Key         string   `json:"key" maxLength:"100" pattern:"^[a-z_]+\\.(read|write|manage)$" example:"tasks.write"`
	Description string   `json:"description" maxLength:"500" example:"Create and change tasks."`
	Roles       []string `json:"roles" maxItems:"104" doc:"Keys of the roles of this organisation that hold it."`
}

type listPermissions struct{ api.ListParams }

func (f *Feature) listPermissions(ctx context.Context, v tenant.View, in *listPermissions) (page.Page[Right], error) {
	roles, err := f.roles(ctx, v)
	if err != nil {
		return page.Page[Right]{}, err
	}
	rights := []Right{}
	for _, p := range f.Authority.Catalogue().All() {
		r := Right{Key: p.Key, Description: p.Doc, Roles: []string{}}
		for _, role := range roles {
			if slices.Contains(role.Permissions, p.Key) {
				r.Roles = append(r.Roles, role.Key)
			}
		}
		rights = append(rights, r)
	}
	return paged(ctx, in.ListParams, rights, func(r Right) string { return r.Key })
}

// roles returns all roles of the organisation in their order.
func (f *Feature) roles(ctx context.Context, v tenant.View) ([]Role, error) {
	custom, err := tenant.List[Role](ctx, v, selectRoles)
	return append(builtinRoles(f.Authority.Catalogue()), custom...), err
}

// paged answers a list that is in memory and sorted by order.
func paged[T any](ctx context.Context, p api.ListParams, all []T, order func(T) string) (page.Page[T], error) {
	var after string
	found, err := p.Position(ctx, &after)
	if err != nil {
		return page.Page[T]{}, err
	}
	rest := all
	if found {
		rest = all[sort.Search(len(all), func(i int) bool { return order(all[i]) > after }):]
	}
	rest = rest[min(len(rest), p.Offset()):]
	rest = rest[:min(len(rest), p.Limit+1)]
	out, err := api.Page(ctx, p, rest, func(row T) any { return order(row) })
	if n := int64(len(all)); p.WantTotal() {
		out.Total = &n
	}
	return out, err
}

type listRoles struct{ api.ListParams }

func (f *Feature) listRoles(ctx context.Context, v tenant.View, in *listRoles) (page.Page[Role], error) {
	roles, err := f.roles(ctx, v)
	if err != nil {
		return page.Page[Role]{}, err
	}
	return paged(ctx, in.ListParams, roles, roleOrder)
}

type getRole struct {
	RoleID id.ID `path:"role_id" ref:"role" doc:"The custom role."`
}

func (f *Feature) getRole(ctx context.Context, v tenant.View, in *getRole) (Role, error) {
	r, err := tenant.One[Role](ctx, v, selectRole, in.RoleID)
	return r, tenant.NotFound(err, "role")
}

type createRole struct {
	Body struct {
		Name        string   `json:"name" minLength:"1" maxLength:"100" pattern:"\\S" example:"Support"`
		Key         string   `json:"key" required:"false" maxLength:"40" pattern:"^[a-z][a-z0-9_]*$" doc:"What members will name; made of the name when absent." example:"support"`
		Description string   `json:"description" required:"false" maxLength:"1000" example:"Answers customers; sees orders and comments."`
		Permissions []string `json:"permissions" maxItems:"256" maxLength:"100" doc:"Keys of the catalogue; you must hold each yourself." example:"[\"tasks.read\",\"comments.write\"]"`
		Guest       bool     `json:"guest" required:"false" doc:"Whether its holders see only the projects they were added to."`
	}
}

func (f *Feature) createRole(ctx context.Context, tx *tenant.Tx, in *createRole) (Role, error) {
	b := in.Body
	perms, err := checkKnown(f.Authority.Catalogue(), b.Permissions)
	if err != nil {
		return Role{}, err
	}
	if err := f.mayGive(ctx, perms, b.Guest); err != nil {
		return Role{}, err
	}
	if b.Key == "" {
		b.Key = keyOf(b.Name)
	}
	if authz.IsBuiltin(b.Key) {
		return Role{}, fault.Conflictf("role_key_taken", "The key %s names a built-in role. Give another key.", b.Key)
	}
	name, err := line.Clean("/name", b.Name, maxName)
	if err != nil {
		return Role{}, err
	}
	if err := nextEpoch(ctx, tx); err != nil {
		return Role{}, err
	}
	r, err := tenant.One[Role](ctx, tx, insertRole, tx.Scope().Organization, id.New(), b.Key, name, b.Description, perms, b.Guest, maxRoles)
	if tenant.Constraint(err) == "role_key_taken" {
		return Role{}, fault.Conflictf("role_key_taken", "A role with this key exists. Give another key.").Because(err)
	}
	if errors.Is(err, tenant.ErrNoRows) {
		return Role{}, fault.Conflictf("role_limit", "An organisation has %d custom roles at most. Delete one first.", maxRoles)
	}
	if err != nil {
		return Role{}, err
	}
	return r, RoleCreated.Emit(ctx, tx, r)
}

type patchRole struct {
	RoleID  id.ID       `path:"role_id" ref:"role" doc:"The custom role."`
	IfMatch api.IfMatch `header:"If-Match"`
	Body    struct {
		Name        api.Optional[string]   `json:"name" required:"false" minLength:"1" maxLength:"100" pattern:"\\S" example:"Support"`
		Description api.Optional[string]   `json:"description" required:"false" maxLength:"1000" example:"Answers customers."`
		Permissions api.Optional[[]string] `json:"permissions" required:"false" maxItems:"256" maxLength:"100" doc:"Replaces the list; you must hold each yourself." example:"[\"tasks.read\"]"`
		Guest       api.Optional[bool]     `json:"guest" required:"false"`
	}
}

func (f *Feature) updateRole(ctx context.Context, tx *tenant.Tx, in *patchRole) (Role, error) {
	if err := nextEpoch(ctx, tx); err != nil {
		return Role{}, err
	}
	before, err := tenant.One[Role](ctx, tx, lockRole, in.RoleID)
	if err != nil {
		return Role{}, tenant.NotFound(err, "role")
	}
	if !in.IfMatch.Matches(before.Version) {
		return Role{}, fault.StaleVersion(before)
	}
	after, b := before, in.Body
	b.Name.Set(&after.Name)
	if after.Name, err = line.Clean("/name", after.Name, maxName); err != nil {
		return Role{}, err
	}
	b.Description.Set(&after.Description)
	b.Guest.Set(&after.Guest)
	if b.Permissions.Present {
		if after.Permissions, err = checkKnown(f.Authority.Catalogue(), b.Permissions.Value); err != nil {
			return Role{}, err
		}
	}
	// Neither what the role could do nor what it will may exceed the caller:
	// its holders are members like any other.
	if err := errors.Join(f.mayGive(ctx, after.Permissions, after.Guest), f.mayGive(ctx, before.Permissions, before.Guest)); err != nil {
		return Role{}, err
	}
	after, err = tenant.One[Role](ctx, tx, updateRole, in.RoleID, after.Name, after.Description, after.Permissions, after.Guest)
	if err != nil {
		return Role{}, err
	}
	return after, RoleUpdated.EmitChange(ctx, tx, before, after)
}

type deleteRole struct {
	RoleID  id.ID       `path:"role_id" ref:"role" doc:"The custom role."`
	IfMatch api.IfMatch `header:"If-Match"`
}

func (f *Feature) deleteRole(ctx context.Context, tx *tenant.Tx, in *deleteRole) (api.None, error) {
	if err := nextEpoch(ctx, tx); err != nil {
		return api.None{}, err
	}
	r, err := tenant.One[Role](ctx, tx, lockRole, in.RoleID)
	if err != nil {
		return api.None{}, tenant.NotFound(err, "role")
	}
	if !in.IfMatch.Matches(r.Version) {
		return api.None{}, fault.StaleVersion(r)
	}
	if err := f.mayGive(ctx, r.Permissions, r.Guest); err != nil {
		return api.None{}, err
	}
	n, err := tenant.Exec(ctx, tx, deleteRoleRow, in.RoleID)
	if err != nil {
		return api.None{}, err
	}
	if n == 0 {
		return api.None{}, fault.Conflictf("role_in_use", "Members or open invitations have the role %s. Give them another one first.", r.Key)
	}
	return api.None{}, RoleDeleted.Emit(ctx, tx, r)
}

// mayGive refuses to hand out more than the caller has: a permission that the
// caller does not hold, or, by a guest, the sight of open projects.
func (f *Feature) mayGive(ctx context.Context, perms []string, guest bool) error {
	caller, c := api.CallerOf(ctx), f.Authority.Catalogue()
	for _, k := range perms {
		if c.Known(k) && !c.Has(caller.Permissions, authz.Permission{Key: k}) {
			return fault.Deniedf(k)
		}
	}
	if !guest && caller.Scope.OpenRole == "" {
		return fault.New(fault.Denied, "permission_denied", "A guest makes, changes and deletes roles of guests only.").With("permission", "caller:member")
	}
	return nil
}

// Explanation says whether a person may do something, and why.
type Explanation struct {
	Allowed    bool     `json:"allowed" doc:"Whether the person's role holds the permission."`
	UserID     id.ID    `json:"user_id" ref:"user"`
	Role       string   `json:"role" maxLength:"40" pattern:"^[a-z][a-z0-9_]*$" example:"admin"`
	Permission string   `json:"permission" maxLength:"100" pattern:"^[a-z_]+\\.(read|write|manage)$" example:"tasks.write"`
	Rule       []string `json:"rule" maxItems:"2" doc:"The rule that allows it, as role and permission; empty if none does." example:"[\"member\",\"tasks.write\"]"`
	Reason     string   `json:"reason" maxLength:"500" example:"The role admin includes member, which holds tasks.write."`
}

type explainAccess struct {
	Permission string `query:"permission" required:"true" maxLength:"100" pattern:"^[a-z_]+\\.(read|write|manage)$" doc:"A key of the catalogue." example:"tasks.write"`
	User       id.ID  `query:"user" ref:"user" doc:"The member; yourself when absent."`
}

func (f *Feature) explainAccess(ctx context.Context, v tenant.View, in *explainAccess) (Explanation, error) {
	if in.User.IsZero() {
		in.User = v.Scope().User
	}
	role, err := tenant.Value[string](ctx, v, selectRoleOf, in.User)
	if err != nil {
		return Explanation{}, tenant.NotFound(err, "member")
	}
	all := f.Authority.Catalogue().All()
	at := slices.IndexFunc(all, func(p authz.Permission) bool { return p.Key == in.Permission })
	if at < 0 {
		return Explanation{}, fault.Invalidf("query.permission", "there is no such permission; GET /v1/permissions lists them")
	}
	rule, err := f.Authority.Explain(ctx, v.Scope().Organization, role, all[at])
	if err != nil {
		return Explanation{}, err
	}
	x := Explanation{Allowed: len(rule) > 0, UserID: in.User, Role: role, Permission: in.Permission, Rule: []string{}}
	if x.Allowed {
		x.Rule = rule
	}
	x.Reason = reason(x, all[at].From)
	return x, nil
}

// reason puts a decision into words; least is the least built-in role that
// holds the permission.
func reason(x Explanation, least string) string {
	switch {
	case x.Allowed && x.Rule[0] == x.Role:
		return "The role " + x.Role + " holds " + x.Permission + "."
	case x.Allowed:
		return "The role " + x.Role + " includes " + x.Rule[0] + ", which holds " + x.Permission + "."
	case least == authz.Owner:
		return "The role " + x.Role + " does not hold " + x.Permission + "; of the built-in roles only owner does."
	}
	return "The role " + x.Role + " does not hold " + x.Permission + "; of the built-in roles " + least + " does, and each above it."
}

func pointerAt(i int) string { return "/permissions/" + strconv.Itoa(i) }
