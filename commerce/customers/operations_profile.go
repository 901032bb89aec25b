package customers

import (
	"context"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

func (f *Feature) getMe(ctx context.Context, v tenant.View, _ *struct{}) (Profile, error) {
	c, err := tenant.One[Customer](ctx, v, selectCustomer, v.Scope().Organization, api.CallerOf(ctx).Customer)
	return c.profile(), tenant.NotFound(err, "customer")
}

type updateMeInput struct {
	IfMatch api.IfMatch `header:"If-Match"`
	Body    struct {
		Name             api.Optional[string] `json:"name" required:"false" maxLength:"200" doc:"The name." example:"Ann Example"`
		Phone            api.Optional[string] `json:"phone" required:"false" maxLength:"50" doc:"The telephone number." example:"+49 30 1234567"`
		AcceptsMarketing api.Optional[bool]   `json:"accepts_marketing" required:"false" doc:"Whether you want advertisements."`
		Locale           api.Optional[string] `json:"locale" required:"false" maxLength:"35" pattern:"^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$" doc:"Language tag (BCP 47)." example:"en"`
	}
}

func (f *Feature) updateMe(ctx context.Context, tx *tenant.Tx, in *updateMeInput) (Profile, error) {
	b := in.Body
	c, err := change(ctx, tx, api.CallerOf(ctx).Customer, in.IfMatch, func(c *Customer) {
		b.Name.Set(&c.Name)
		b.Phone.Set(&c.Phone)
		b.AcceptsMarketing.Set(&c.AcceptsMarketing)
		b.Locale.Set(&c.Locale)
	}, func(c Customer) any { return c.profile() })
	return c.profile(), err
}

type listAddressesInput struct{ api.ListParams }

func (f *Feature) listAddresses(ctx context.Context, v tenant.View, in *listAddressesInput) (page.Page[SavedAddress], error) {
	return addresses(ctx, v, api.CallerOf(ctx).Customer, in.ListParams)
}

func addresses(ctx context.Context, v tenant.View, customer id.ID, p api.ListParams) (page.Page[SavedAddress], error) {
	var none page.Page[SavedAddress]
	var after *id.ID
	if _, err := p.Position(ctx, &after); err != nil {
		return none, err
	}
	var who id.ID
	var rows []SavedAddress
	var total int64
	org := v.Scope().Organization
	err := v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueValue(b, &who, existsCustomer, org, customer)
		tenant.QueueList(b, &rows, listAddresses, org, customer, after, p.Limit+1, p.Offset())
		if p.WantTotal() {
			tenant.QueueValue(b, &total, countAddresses, org, customer)
		}
	})
	if err != nil {
		return none, tenant.NotFound(err, "customer")
	}
	out, err := api.Page(ctx, p, rows, func(a SavedAddress) any { return a.ID })
	if p.WantTotal() {
		out.Total = &total
	}
	return out, err
}

type addressPath struct {
	AddressID id.ID `path:"address_id" ref:"customer_address" doc:"The entry's id."`
}

func (f *Feature) getAddress(ctx context.Context, v tenant.View, in *addressPath) (SavedAddress, error) {
	a, err := tenant.One[SavedAddress](ctx, v, selectAddress, v.Scope().Organization, api.CallerOf(ctx).Customer, in.AddressID)
	return a, tenant.NotFound(err, "address")
}

type createAddressInput struct {
	Body struct {
		Address   commerce.Address `json:"address" doc:"The address."`
		IsDefault bool             `json:"is_default" required:"false" doc:"Whether it is the one to suggest."`
	}
}

// hold locks the customer's row, so that changes of one address book come one
// after the other.
func hold(ctx context.Context, tx *tenant.Tx) (organization, customer id.ID, err error) {
	organization, customer = tx.Scope().Organization, api.CallerOf(ctx).Customer
	_, err = tenant.Value[id.ID](ctx, tx, holdCustomer, organization, customer)
	return organization, customer, tenant.NotFound(err, "customer")
}

func (f *Feature) createAddress(ctx context.Context, tx *tenant.Tx, in *createAddressInput) (SavedAddress, error) {
	clean, err := cleanAddress(in.Body.Address)
	if err != nil {
		return SavedAddress{}, err
	}
	org, customer, err := hold(ctx, tx)
	if err != nil {
		return SavedAddress{}, err
	}
	n, err := tenant.Value[int](ctx, tx, countAddresses, org, customer)
	if err != nil {
		return SavedAddress{}, err
	}
	if n >= maxAddresses {
		return SavedAddress{}, fault.Conflictf("customer_addresses_full", "An address book has %d entries. Delete one first.", maxAddresses)
	}
	address := id.New()
	if in.Body.IsDefault {
		if _, err := tenant.Exec(ctx, tx, clearDefault, org, customer, address); err != nil {
			return SavedAddress{}, err
		}
	}
	return tenant.One[SavedAddress](ctx, tx, insertAddress, org, customer, address, clean, in.Body.IsDefault)
}

type replaceAddressInput struct {
	AddressID id.ID       `path:"address_id" ref:"customer_address" doc:"The entry's id."`
	IfMatch   api.IfMatch `header:"If-Match"`
	Body      struct {
		Address   commerce.Address `json:"address" doc:"The address."`
		IsDefault bool             `json:"is_default" doc:"Whether it is the one to suggest."`
	}
}

func (f *Feature) replaceAddress(ctx context.Context, tx *tenant.Tx, in *replaceAddressInput) (SavedAddress, error) {
	clean, err := cleanAddress(in.Body.Address)
	if err != nil {
		return SavedAddress{}, err
	}
	org, customer, err := hold(ctx, tx)
	if err != nil {
		return SavedAddress{}, err
	}
	a, err := tenant.One[SavedAddress](ctx, tx, selectAddress, org, customer, in.AddressID)
	if err != nil {
		return a, tenant.NotFound(err, "address")
	}
	switch {
	case !in.IfMatch.Matches(a.Version):
		return a, fault.StaleVersion(a)
	case a.Address == clean && a.IsDefault == in.Body.IsDefault:
		return a, nil
	case in.Body.IsDefault:
		if _, err := tenant.Exec(ctx, tx, clearDefault, org, customer, a.ID); err != nil {
			return a, err
		}
	}
	return tenant.One[SavedAddress](ctx, tx, updateAddress, org, customer, a.ID, clean, in.Body.IsDefault)
}

type deleteAddressInput struct {
	AddressID id.ID       `path:"address_id" ref:"customer_address" doc:"The entry's id."`
	IfMatch   api.IfMatch `header:"If-Match"`
}

func (f *Feature) deleteAddress(ctx context.Context, tx *tenant.Tx, in *deleteAddressInput) (api.None, error) {
	org, customer, err := hold(ctx, tx)
	if err != nil {
		return api.None{}, err
	}
	a, err := tenant.One[SavedAddress](ctx, tx, selectAddress, org, customer, in.AddressID)
	if err != nil {
		return api.None{}, tenant.NotFound(err, "address")
	}
	if !in.IfMatch.Matches(a.Version) {
		return api.None{}, fault.StaleVersion(a)
	}
	_, err = tenant.Exec(ctx, tx, deleteAddress, org, customer, a.ID)
	return api.None{}, err
}
