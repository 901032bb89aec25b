package customers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	cacheSize = 20_000
	cacheLife = time.Minute
)

// keyName names a key; what it says is not believed before it was looked up.
type keyName struct{ organization, key id.ID }

// doors keeps shoppers who are not logged in by their key. What is kept may be
// old: the prologue of every statement finds that out.
type doors = otter.Cache[keyName, *api.Caller]

func newDoors() *doors {
	return otter.Must(&otter.Options[keyName, *api.Caller]{
		MaximumSize:      cacheSize,
		ExpiryCalculator: otter.ExpiryWriting[keyName, *api.Caller](cacheLife),
	})
}

// Identify implements api.Identify for operations of the storefront. Its fault is
// 401 unauthenticated, the same for a key that is unknown, revoked or of an
// organisation that is gone.
func (f *Feature) Identify(ctx context.Context, c api.Credentials) (*api.Caller, error) {
	organization, key, ok := parseKey(c.PublishableKey)
	if !ok {
		return nil, api.UnauthenticatedShopper()
	}
	// With a bearer the key was looked at a moment ago.
	shopper, err := f.shopper(ctx, keyName{organization, key}, c.Fresh && c.Bearer == "", c.Unproven)
	if err != nil || c.Bearer == "" {
		return shopper, err
	}
	l, ok := readAccess(f.keys, c.Bearer, f.now())
	if !ok || l.organization != organization {
		return nil, api.UnauthenticatedShopper()
	}
	if c.Fresh {
		_, err := tenant.Value[id.ID](ctx, f.db.View(shopper.Scope), selectLive, organization, l.customer, l.session)
		if errors.Is(err, tenant.ErrNoRows) {
			return nil, api.UnauthenticatedShopper()
		}
		if err != nil {
			return nil, fmt.Errorf("customers.Identify: look up session %s: %w", l.session, err)
		}
	}
	caller := *shopper
	check := *shopper.Scope.Check
	check.Session = l.session
	caller.Customer, caller.Session = l.customer, l.session
	caller.Scope.Actor, caller.Scope.Check = tenant.Actor{Kind: tenant.Customer, ID: l.customer}, &check
	return &caller, nil
}

// shopper is who comes with the key alone.
func (f *Feature) shopper(ctx context.Context, name keyName, fresh bool, unproven func() error) (*api.Caller, error) {
	if caller, ok := f.doors.GetIfPresent(name); ok && !fresh {
		return caller, nil
	}
	if unproven != nil {
		if err := unproven(); err != nil {
			return nil, err
		}
	}
	// The key says which organisation it is of, and opens only what is found there.
	type door struct {
		Version int64    `db:"version"`
		Origins []string `db:"allowed_origins"`
	}
	look := tenant.Scope{Organization: name.organization, Actor: tenant.Actor{Kind: tenant.Shopper, ID: name.key}}
	d, err := tenant.One[door](ctx, f.db.View(look), selectDoor, name.organization, name.key)
	if err != nil {
		f.doors.Invalidate(name)
		if errors.Is(err, tenant.ErrNoRows) {
			return nil, api.UnauthenticatedShopper()
		}
		return nil, fmt.Errorf("customers.Identify: look up publishable key %s: %w", name.key, err)
	}
	look.Check = &tenant.Check{Storefront: name.key, StorefrontVersion: d.Version}
	caller := &api.Caller{Scope: look, Organization: name.organization, Origins: d.Origins}
	f.doors.Set(name, caller)
	return caller, nil
}
