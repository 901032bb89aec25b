package organizations

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/line"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

// maxName is how long the name of an organisation may be.
const maxName = 200

type createOrganization struct {
	Body struct {
		Name            string `json:"name" minLength:"1" maxLength:"200" pattern:"\\S" example:"Acme"`
		Slug            string `json:"slug" required:"false" minLength:"2" maxLength:"63" pattern:"^[a-z0-9](-?[a-z0-9])*$" doc:"Made of the name when absent." example:"acme"`
		DefaultCurrency string `json:"default_currency" required:"false" maxLength:"3" pattern:"^[A-Z]{3}$" default:"EUR" doc:"ISO 4217 code." example:"EUR"`
	}
}

func (f *Feature) create(ctx context.Context, g *tenant.GlobalTx, in *createOrganization) (OwnOrganization, error) {
	name, err := line.Clean("/name", in.Body.Name, maxName)
	if err != nil {
		return OwnOrganization{}, err
	}
	if err := checkSlug(in.Body.Slug); err != nil {
		return OwnOrganization{}, err
	}
	if err := checkCurrency(in.Body.DefaultCurrency); err != nil {
		return OwnOrganization{}, err
	}
	s := scopeIn(ctx, id.New())
	if err := roomFor(ctx, g, s.User, 1); err != nil {
		return OwnOrganization{}, err
	}
	tx, err := g.Enter(ctx, s)
	if err != nil {
		return OwnOrganization{}, err
	}
	slugs := []string{in.Body.Slug}
	if in.Body.Slug == "" {
		slug := slugOf(name)
		slugs = []string{slug, slug + suffix(), slug + suffix(), slug + suffix()}
	}
	for _, slug := range slugs {
		o, err := tenant.One[OwnOrganization](ctx, tx, insertOrganization, s.Organization, slug, name, in.Body.DefaultCurrency, s.User)
		if errors.Is(err, tenant.ErrNoRows) {
			continue
		}
		if err != nil {
			return OwnOrganization{}, err
		}
		return o, f.emitCreated(ctx, tx, o)
	}
	return OwnOrganization{}, fault.Conflictf("organization_slug_taken", "Another organisation has this slug. Choose another one.")
}

func (f *Feature) emitCreated(ctx context.Context, tx *tenant.Tx, o OwnOrganization) error {
	if err := Created.Emit(ctx, tx, o.Organization); err != nil {
		return err
	}
	m, err := tenant.One[Member](ctx, tx, selectMember, tx.Scope().User)
	if err != nil {
		return fmt.Errorf("organizations: read the first member: %w", err)
	}
	return MemberAdded.Emit(ctx, tx, m)
}

// scopeIn is the caller's scope in an organisation that the operation enters
// on its own account.
func scopeIn(ctx context.Context, organization id.ID) tenant.Scope {
	s := api.CallerOf(ctx).Scope
	s.Organization, s.OpenRole, s.Check = organization, "", nil
	return s
}

type listOrganizations struct {
	api.ListParams
	Deleted bool `query:"deleted" doc:"Lists those in the bin instead, which can still be restored."`
}

// joined is the position of a row in lists ordered by time and id.
type joined struct {
	At *time.Time `json:"at"`
	ID *id.ID     `json:"id"`
}

func (f *Feature) list(ctx context.Context, v tenant.GlobalView, in *listOrganizations) (page.Page[OwnOrganization], error) {
	var after joined
	if _, err := in.Position(ctx, &after); err != nil {
		return page.Page[OwnOrganization]{}, err
	}
	user := api.CallerOf(ctx).User
	rows, err := tenant.List[OwnOrganization](ctx, v, selectOwn, user, in.Deleted, after.At, after.ID, in.Limit+1, in.Offset())
	if err != nil {
		return page.Page[OwnOrganization]{}, err
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(o OwnOrganization) any { return joined{&o.CreatedAt, &o.ID} })
	if err == nil && in.WantTotal() {
		var n int64
		n, err = tenant.Value[int64](ctx, v, countOwn, user, in.Deleted)
		out.Total = &n
	}
	return out, err
}

func (f *Feature) get(ctx context.Context, v tenant.View, _ *struct{}) (OwnOrganization, error) {
	o, err := tenant.One[OwnOrganization](ctx, v, selectOrganization, v.Scope().User)
	return o, tenant.NotFound(err, "organization")
}

type patchOrganization struct {
	IfMatch api.IfMatch `header:"If-Match"`
	Body    struct {
		Name            api.Optional[string] `json:"name" required:"false" minLength:"1" maxLength:"200" pattern:"\\S" example:"Acme"`
		Slug            api.Optional[string] `json:"slug" required:"false" minLength:"2" maxLength:"63" pattern:"^[a-z0-9](-?[a-z0-9])*$" doc:"The old one is free at once." example:"acme"`
		DefaultCurrency api.Optional[string] `json:"default_currency" required:"false" maxLength:"3" pattern:"^[A-Z]{3}$" doc:"ISO 4217 code." example:"EUR"`
	}
}

func (f *Feature) update(ctx context.Context, tx *tenant.Tx, in *patchOrganization) (OwnOrganization, error) {
	role := api.CallerOf(ctx).Role
	before, err := lockChecked(ctx, tx, in.IfMatch, role)
	if err != nil {
		return OwnOrganization{}, err
	}
	after, b := before, in.Body
	b.Name.Set(&after.Name)
	b.Slug.Set(&after.Slug)
	b.DefaultCurrency.Set(&after.DefaultCurrency)
	if after.Name, err = line.Clean("/name", after.Name, maxName); err != nil {
		return OwnOrganization{}, err
	}
	if err := checkSlug(after.Slug); err != nil {
		return OwnOrganization{}, err
	}
	if b.DefaultCurrency.Present {
		if err := checkCurrency(after.DefaultCurrency); err != nil {
			return OwnOrganization{}, err
		}
	}
	if after == before {
		return OwnOrganization{before, role}, nil
	}
	if after, err = tenant.One[Organization](ctx, tx, updateOrganization, after.Name, after.Slug, after.DefaultCurrency); err != nil {
		return OwnOrganization{}, err
	}
	return OwnOrganization{after, role}, Updated.EmitChange(ctx, tx, before, after)
}

// lockChecked locks the organisation's row and holds If-Match against it.
func lockChecked(ctx context.Context, tx *tenant.Tx, m api.IfMatch, role string) (Organization, error) {
	o, err := tenant.One[Organization](ctx, tx, lockOrganization)
	if err != nil {
		return o, tenant.NotFound(err, "organization")
	}
	if !m.Matches(o.Version) {
		return o, fault.StaleVersion(OwnOrganization{o, role})
	}
	return o, nil
}

type removeOrganization struct {
	IfMatch api.IfMatch `header:"If-Match"`
}

func (f *Feature) remove(ctx context.Context, tx *tenant.Tx, in *removeOrganization) (api.None, error) {
	if _, err := lockChecked(ctx, tx, in.IfMatch, api.CallerOf(ctx).Role); err != nil {
		return api.None{}, err
	}
	o, err := tenant.One[Organization](ctx, tx, deleteOrganization)
	if err != nil {
		return api.None{}, err
	}
	return api.None{}, Deleted.Emit(ctx, tx, o)
}

// ownersOnly refuses what no permission gives: it takes the role itself.
func ownersOnly() error {
	return fault.New(fault.Denied, "permission_denied", "Only an owner of the organisation can do this.").With("permission", "role:"+authz.Owner)
}

type restoreOrganizationInput struct {
	OrganizationID id.ID `path:"organization_id" ref:"organization" doc:"One of yours that is in the bin."`
}

func (f *Feature) restore(ctx context.Context, g *tenant.GlobalTx, in *restoreOrganizationInput) (OwnOrganization, error) {
	type binned struct {
		Role   string `db:"role"`
		Binned bool   `db:"binned"`
	}
	s := scopeIn(ctx, in.OrganizationID)
	b, err := tenant.One[binned](ctx, g, selectBinned, s.User, s.Organization)
	if err != nil {
		return OwnOrganization{}, tenant.NotFound(err, "organization")
	}
	if b.Role != authz.Owner {
		return OwnOrganization{}, ownersOnly()
	}
	if !b.Binned {
		return OwnOrganization{}, fault.Conflictf("organization_not_deleted", "This organisation is not in the bin.")
	}
	tx, err := g.Enter(ctx, s)
	if err != nil {
		return OwnOrganization{}, err
	}
	o, err := tenant.One[Organization](ctx, tx, restoreOrganization)
	if errors.Is(err, tenant.ErrNoRows) {
		return OwnOrganization{}, fault.Conflictf("organization_restore_over", "An organisation can be restored for 30 days, and these are over.")
	}
	if err != nil {
		return OwnOrganization{}, err
	}
	return OwnOrganization{o, b.Role}, Restored.Emit(ctx, tx, o)
}
