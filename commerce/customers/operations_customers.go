package customers

import (
	"context"
	"reflect"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/line"
	"github.com/guildhall-dev/guildhall/internal/mail"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

// same reports whether a change changes nothing.
func same[T any](a, b T) bool { return reflect.DeepEqual(a, b) }

type listInput struct {
	Search        string `query:"search" maxLength:"200" doc:"Words in the e-mail address or the name." example:"ann"`
	CustomerGroup string `query:"customer_group" maxLength:"50" pattern:"^[a-z0-9_]{1,50}$" doc:"Only customers of this group." example:"wholesale"`
	Sort          string `query:"sort" enum:"created_at,-created_at,email,-email,name,-name" default:"-created_at" doc:"The order; - before it turns it round."`
	api.ListParams
}

// position is a place in a list.
type position struct {
	Key string `json:"k"`
	ID  id.ID  `json:"i"`
}

// orders are the statements of the list and what they order by.
var orders = map[string]struct {
	sql string
	key func(Customer) string
}{
	"created_at":  {listOldest, func(Customer) string { return "" }},
	"-created_at": {listNewest, func(Customer) string { return "" }},
	"email":       {listEmail, emailKey},
	"-email":      {listEmailDown, emailKey},
	"name":        {listName, func(c Customer) string { return c.Name }},
	"-name":       {listNameDown, func(c Customer) string { return c.Name }},
}

// emailKey is the folded address, which was good when it was stored.
func emailKey(c Customer) string {
	a, err := mail.ParseBare("/email", c.Email)
	if err != nil {
		return c.Email
	}
	return a.Key
}

func (f *Feature) list(ctx context.Context, v tenant.View, in *listInput) (page.Page[Customer], error) {
	var none page.Page[Customer]
	var after position
	var key *string
	var last *id.ID
	if ok, err := in.Position(ctx, &after); err != nil {
		return none, err
	} else if ok {
		key, last = &after.Key, &after.ID
	}
	order := orders[in.Sort]
	org, like := v.Scope().Organization, line.Like(in.Search)
	var rows []Customer
	var total int64
	err := v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &rows, order.sql, org, like, in.CustomerGroup, key, last, in.Limit+1, in.Offset())
		if in.WantTotal() {
			tenant.QueueValue(b, &total, countCustomers, org, like, in.CustomerGroup)
		}
	})
	if err != nil {
		return none, err
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(c Customer) any { return position{order.key(c), c.ID} })
	if in.WantTotal() {
		out.Total = &total
	}
	return out, err
}

type createInput struct {
	Body struct {
		Email            string   `json:"email" format:"email" maxLength:"254" doc:"The address to write to; unique in the shop." example:"ann@example.com"`
		Name             string   `json:"name" required:"false" maxLength:"200" doc:"The name." example:"Ann Example"`
		Phone            string   `json:"phone" required:"false" maxLength:"50" doc:"The telephone number." example:"+49 30 1234567"`
		CustomerGroup    *string  `json:"customer_group" required:"false" nullable:"true" maxLength:"50" pattern:"^[a-z0-9_]{1,50}$" doc:"The group whose prices the customer has." example:"wholesale"`
		AcceptsMarketing bool     `json:"accepts_marketing" required:"false" doc:"Whether the customer wants advertisements."`
		Locale           string   `json:"locale" required:"false" maxLength:"35" pattern:"^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$" default:"en" doc:"Language tag (BCP 47)." example:"en"`
		Note             string   `json:"note" required:"false" maxLength:"5000" doc:"What the shop notes." example:"Prefers the morning."`
		Tags             []string `json:"tags" required:"false" nullable:"false" maxItems:"50" maxLength:"50" doc:"Words of the shop." example:"[\"press\"]"`
	}
}

// clean brings the fields of a customer into their stored form.
func (c *Customer) clean() (addr mail.Address, err error) {
	if addr, err = mail.ParseBare("/email", c.Email); err != nil {
		return addr, err
	}
	c.Email = addr.Shown
	if c.Name, err = cleanName(c.Name); err != nil {
		return addr, err
	}
	if c.Phone, err = cleanPhone(c.Phone); err != nil {
		return addr, err
	}
	if c.Tags, err = cleanTags(c.Tags); err != nil {
		return addr, err
	}
	return addr, checkLocale(c.Locale)
}

func (f *Feature) create(ctx context.Context, tx *tenant.Tx, in *createInput) (Customer, error) {
	b := in.Body
	c := Customer{Email: b.Email, Name: b.Name, Phone: b.Phone, CustomerGroup: b.CustomerGroup, AcceptsMarketing: b.AcceptsMarketing, Locale: b.Locale, Note: b.Note, Tags: b.Tags}
	addr, err := c.clean()
	if err != nil {
		return c, err
	}
	c, err = tenant.One[Customer](ctx, tx, insertCustomer, tx.Scope().Organization, id.New(), c.Email, addr.Key, c.Name, c.Phone,
		c.CustomerGroup, c.AcceptsMarketing, c.Locale, c.Note, c.Tags)
	if err != nil {
		return c, emailTaken(err)
	}
	return c, Created.Emit(ctx, tx, c)
}

func emailTaken(err error) error {
	if tenant.Constraint(err) == "customer_email_taken" {
		return fault.Conflictf("customer_email_taken", "Another customer has this e-mail address.").Because(err)
	}
	return err
}

type customerPath struct {
	CustomerID id.ID `path:"customer_id" ref:"customer" doc:"The customer's id."`
}

func (f *Feature) get(ctx context.Context, v tenant.View, in *customerPath) (Customer, error) {
	c, err := tenant.One[Customer](ctx, v, selectCustomer, v.Scope().Organization, in.CustomerID)
	return c, tenant.NotFound(err, "customer")
}

type updateInput struct {
	CustomerID id.ID       `path:"customer_id" ref:"customer" doc:"The customer's id."`
	IfMatch    api.IfMatch `header:"If-Match"`
	Body       struct {
		Email            api.Optional[string]   `json:"email" required:"false" format:"email" maxLength:"254" doc:"The address to write to; unique in the shop." example:"ann@example.com"`
		Name             api.Optional[string]   `json:"name" required:"false" maxLength:"200" doc:"The name." example:"Ann Example"`
		Phone            api.Optional[string]   `json:"phone" required:"false" maxLength:"50" doc:"The telephone number." example:"+49 30 1234567"`
		CustomerGroup    api.Optional[string]   `json:"customer_group" required:"false" nullable:"true" maxLength:"50" pattern:"^[a-z0-9_]{1,50}$" doc:"The group whose prices the customer has; null for none." example:"wholesale"`
		AcceptsMarketing api.Optional[bool]     `json:"accepts_marketing" required:"false" doc:"Whether the customer wants advertisements."`
		Locale           api.Optional[string]   `json:"locale" required:"false" maxLength:"35" pattern:"^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$" doc:"Language tag (BCP 47)." example:"en"`
		Note             api.Optional[string]   `json:"note" required:"false" maxLength:"5000" doc:"What the shop notes." example:"Prefers the morning."`
		Tags             api.Optional[[]string] `json:"tags" required:"false" nullable:"false" maxItems:"50" maxLength:"50" doc:"Words of the shop." example:"[\"press\"]"`
	}
}

func (f *Feature) update(ctx context.Context, tx *tenant.Tx, in *updateInput) (Customer, error) {
	b := in.Body
	return change(ctx, tx, in.CustomerID, in.IfMatch, func(c *Customer) {
		b.Email.Set(&c.Email)
		b.Name.Set(&c.Name)
		b.Phone.Set(&c.Phone)
		b.CustomerGroup.SetPtr(&c.CustomerGroup)
		b.AcceptsMarketing.Set(&c.AcceptsMarketing)
		b.Locale.Set(&c.Locale)
		b.Note.Set(&c.Note)
		b.Tags.Set(&c.Tags)
	}, func(c Customer) any { return c })
}

// change applies a patch to the locked row; shown is the row as the caller may
// see it, for a stale version.
func change(ctx context.Context, tx *tenant.Tx, customer id.ID, match api.IfMatch, apply func(*Customer), shown func(Customer) any) (Customer, error) {
	org := tx.Scope().Organization
	before, err := tenant.One[Customer](ctx, tx, lockCustomer, org, customer)
	if err != nil {
		return before, tenant.NotFound(err, "customer")
	}
	if !match.Matches(before.Version) {
		return before, fault.StaleVersion(shown(before))
	}
	c := before
	apply(&c)
	addr, err := c.clean()
	if err != nil {
		return c, err
	}
	if same(before, c) {
		return before, nil
	}
	if c.Email != before.Email {
		if _, err := tenant.Exec(ctx, tx, voidMails, org, c.ID); err != nil {
			return c, err
		}
	}
	c, err = tenant.One[Customer](ctx, tx, updateCustomer, org, c.ID, c.Email, addr.Key, c.Name, c.Phone, c.CustomerGroup, c.AcceptsMarketing, c.Locale, c.Note, c.Tags)
	if err != nil {
		return c, emailTaken(err)
	}
	return c, Updated.EmitChange(ctx, tx, before, c)
}

type removeInput struct {
	CustomerID id.ID       `path:"customer_id" ref:"customer" doc:"The customer's id."`
	IfMatch    api.IfMatch `header:"If-Match"`
}

// remove leaves a row that orders can point at and that names nobody.
func (f *Feature) remove(ctx context.Context, tx *tenant.Tx, in *removeInput) (api.None, error) {
	org := tx.Scope().Organization
	c, err := tenant.One[Customer](ctx, tx, lockCustomer, org, in.CustomerID)
	if err != nil {
		return api.None{}, tenant.NotFound(err, "customer")
	}
	if !in.IfMatch.Matches(c.Version) {
		return api.None{}, fault.StaleVersion(c)
	}
	if c, err = tenant.One[Customer](ctx, tx, anonymise, org, c.ID, c.ID.String()+"@deleted.invalid"); err != nil {
		return api.None{}, err
	}
	for _, sql := range []string{deleteAddresses, deleteSessions, deleteMails} {
		if _, err := tenant.Exec(ctx, tx, sql, org, c.ID); err != nil {
			return api.None{}, err
		}
	}
	return api.None{}, Deleted.Emit(ctx, tx, c)
}

type listAddressesOfInput struct {
	CustomerID id.ID `path:"customer_id" ref:"customer" doc:"The customer's id."`
	api.ListParams
}

func (f *Feature) listAddressesOf(ctx context.Context, v tenant.View, in *listAddressesOfInput) (page.Page[SavedAddress], error) {
	return addresses(ctx, v, in.CustomerID, in.ListParams)
}
