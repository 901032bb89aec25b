package authz

import (
	"context"
	"fmt"
	"time"

	"github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/model"
	"github.com/maypok86/otter/v2"

	"github.com/guildhall-dev/guildhall/internal/id"
)

// Role is a custom role of an organisation as the policy needs it.
type Role struct {
	Key         string
	Permissions []string
	Guest       bool // sees only the projects it was added to
}

// Grant is what a role amounts to.
type Grant struct {
	Set   Set
	Guest bool
}

// Loader reads the custom roles of an organisation.
type Loader func(ctx context.Context, organization id.ID) ([]Role, error)

// rules: a role holds a permission if a line says so; roles inherit along g,
// which is how owner includes admin, admin member and member guest.
const rules = `
[request_definition]
r = role, permission
[policy_definition]
p = role, permission
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.role, p.role) && r.permission == p.permission
`

// Authority answers what roles may do, per organisation and epoch.
type Authority struct {
	catalogue *Catalogue
	load      Loader
	cache     *otter.Cache[cacheKey, Grant]
}

type cacheKey struct {
	organization id.ID
	epoch        int64
	role         string
}

// NewAuthority keeps the answers of at most size (organisation, epoch, role)
// triples in memory. It decides nothing before Use gave it the catalogue, which
// exists only once every feature was made.
func NewAuthority(load Loader, size int) (*Authority, error) {
	cache, err := otter.New(&otter.Options[cacheKey, Grant]{
		MaximumSize:      size,
		ExpiryCalculator: otter.ExpiryAccessing[cacheKey, Grant](time.Hour),
	})
	if err != nil {
		return nil, fmt.Errorf("authz.NewAuthority: %w", err)
	}
	return &Authority{catalogue: &Catalogue{}, load: load, cache: cache}, nil
}

// Use sets the catalogue, once, while the product is put together.
func (a *Authority) Use(c *Catalogue) { a.catalogue = c }

// Catalogue returns the permissions that the authority knows.
func (a *Authority) Catalogue() *Catalogue { return a.catalogue }

// Grant returns what the role may do in the organisation at the epoch. A role
// that does not exist may do nothing. Built-in roles are the same everywhere
// and never load anything.
func (a *Authority) Grant(ctx context.Context, organization id.ID, epoch int64, role string) (Grant, error) {
	k := cacheKey{organization, epoch, role}
	if IsBuiltin(role) {
		k.organization, k.epoch = id.Nil, 0
	}
	if g, ok := a.cache.GetIfPresent(k); ok {
		return g, nil
	}
	e, custom, err := a.Enforcer(ctx, organization, role)
	if err != nil {
		return Grant{}, err
	}
	g := Grant{Guest: role == Guest}
	for _, r := range custom {
		if r.Key == role {
			g.Guest = r.Guest
		}
	}
	for bit, p := range a.catalogue.all {
		ok, err := e.Enforce(role, p.Key)
		if err != nil {
			return Grant{}, fmt.Errorf("authz: ask casbin: %w", err)
		}
		if ok {
			g.Set.add(bit)
		}
	}
	a.cache.Set(k, g)
	return g, nil
}

// Enforcer builds the small enforcer that decides for one organisation. The
// custom roles are loaded only if the role asked about is one.
func (a *Authority) Enforcer(ctx context.Context, organization id.ID, role string) (*casbin.Enforcer, []Role, error) {
	m, err := model.NewModelFromString(rules)
	if err != nil {
		return nil, nil, fmt.Errorf("authz: model: %w", err)
	}
	e, err := casbin.NewEnforcer(m)
	if err != nil {
		return nil, nil, fmt.Errorf("authz: enforcer: %w", err)
	}
	lines := [][]string{}
	for _, p := range a.catalogue.all {
		lines = append(lines, []string{p.From, p.Key})
	}
	inherit := [][]string{{Owner, Admin}, {Admin, Member}, {Member, Guest}}
	var custom []Role
	if !IsBuiltin(role) {
		if custom, err = a.load(ctx, organization); err != nil {
			return nil, nil, fmt.Errorf("authz: load roles of %s: %w", organization, err)
		}
		for _, r := range custom {
			for _, p := range r.Permissions {
				lines = append(lines, []string{r.Key, p})
			}
		}
	}
	if len(lines) > 0 {
		if _, err := e.AddPoliciesEx(lines); err != nil {
			return nil, nil, fmt.Errorf("authz: add rules: %w", err)
		}
	}
	if _, err := e.AddGroupingPolicies(inherit); err != nil {
		return nil, nil, fmt.Errorf("authz: add inheritance: %w", err)
	}
	return e, custom, nil
}

// Explain says which rule of the organisation lets the role do it; nil if none.
func (a *Authority) Explain(ctx context.Context, organization id.ID, role string, p Permission) ([]string, error) {
	e, _, err := a.Enforcer(ctx, organization, role)
	if err != nil {
		return nil, err
	}
	ok, rule, err := e.EnforceEx(role, p.Key)
	if err != nil || !ok {
		return nil, err
	}
	return rule, nil
}
