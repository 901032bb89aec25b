package carts

import (
	"context"
	"net/mail"
	"slices"
	"strings"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/money"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

// maxLines bounds a cart.
const maxLines = 200

type createCart struct {
	Body *createBody
}

type createBody struct {
	Currency string `json:"currency" required:"false" maxLength:"3" pattern:"^([A-Z]{3})?$" example:"EUR" doc:"ISO 4217 code; left out for the organisation's."`
	Locale   string `json:"locale" required:"false" maxLength:"20" pattern:"^([A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*)?$" example:"en" doc:"In which language mails go out; left out for the customer's."`
}

func (f *Feature) create(ctx context.Context, tx *tenant.Tx, in *createCart) (Cart, error) {
	org := tx.Scope().Organization
	body := createBody{}
	if in.Body != nil {
		body = *in.Body
	}
	var err error
	if body.Currency == "" {
		if body.Currency, err = tenant.Value[string](ctx, tx, selectCurrency, org); err != nil {
			return Cart{}, err
		}
	}
	if !money.Known(body.Currency) {
		return Cart{}, fault.Invalidf("/currency", "not a currency of ISO 4217")
	}
	who, err := buyerOf(ctx, tx, org, asking(tx.Scope()))
	if err != nil {
		return Cart{}, err
	}
	var email *string
	if who.Email != "" {
		email = &who.Email
	}
	for _, locale := range []string{who.Locale, "en"} {
		if body.Locale == "" {
			body.Locale = locale
		}
	}
	r, err := tenant.One[row](ctx, tx, insertCart, org, id.NewRandom(), asking(tx.Scope()), body.Currency, email, body.Locale)
	return r.cart(), err
}

type cartPath struct {
	CartID id.ID `path:"cart_id" ref:"cart" doc:"The cart."`
}

func (f *Feature) get(ctx context.Context, v tenant.View, in *cartPath) (Cart, error) {
	r, err := tenant.One[row](ctx, v, selectCart, v.Scope().Organization, in.CartID, asking(v.Scope()))
	if err != nil {
		return Cart{}, tenant.NotFound(err, "cart")
	}
	return r.cart(), nil
}

type patchCart struct {
	CartID  id.ID       `path:"cart_id" ref:"cart" doc:"The cart."`
	IfMatch api.IfMatch `header:"If-Match"`
	Body    struct {
		Email            api.Optional[string]           `json:"email" required:"false" nullable:"true" minLength:"3" maxLength:"254" example:"ann@example.test" doc:"Where the confirmation goes."`
		ShippingAddress  api.Optional[commerce.Address] `json:"shipping_address" required:"false" nullable:"true" doc:"Where it is sent."`
		BillingAddress   api.Optional[commerce.Address] `json:"billing_address" required:"false" nullable:"true" doc:"Whom the bill is for; null for the shipping address."`
		ShippingMethodID api.Optional[id.ID]            `json:"shipping_method_id" required:"false" nullable:"true" ref:"shipping_method" doc:"One of the shipping-options."`
		DiscountCodes    api.Optional[[]string]         `json:"discount_codes" required:"false" maxItems:"10" minLength:"1" maxLength:"100" pattern:"\\S" doc:"All its codes."`
		Note             api.Optional[string]           `json:"note" required:"false" maxLength:"2000" doc:"What the customer wants to say."`
		Locale           api.Optional[string]           `json:"locale" required:"false" maxLength:"20" pattern:"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*$" example:"en" doc:"In which language mails go out."`
	}
}

func (f *Feature) patch(ctx context.Context, tx *tenant.Tx, in *patchCart) (Cart, error) {
	r, err := lock(ctx, tx, in.CartID)
	if err != nil {
		return Cart{}, err
	}
	if !in.IfMatch.Matches(r.Version) {
		return Cart{}, fault.StaleVersion(r.cart())
	}
	b := in.Body
	b.Email.SetPtr(&r.Email)
	b.ShippingAddress.SetPtr(&r.ShippingAddress)
	b.BillingAddress.SetPtr(&r.BillingAddress)
	b.ShippingMethodID.SetPtr(&r.ShippingMethodID)
	b.DiscountCodes.Set(&r.DiscountCodes)
	b.Note.Set(&r.Note)
	b.Locale.Set(&r.Locale)
	if b.Email.Present && r.Email != nil {
		if *r.Email, err = address(*r.Email); err != nil {
			return Cart{}, err
		}
	}
	r.DiscountCodes = tidyCodes(r.DiscountCodes)
	wanted := r
	r, p, err := f.requote(ctx, tx, r)
	if err != nil {
		return Cart{}, err
	}
	if b.DiscountCodes.Present {
		if err := p.checkCodes(r); err != nil {
			return Cart{}, err
		}
	}
	if b.ShippingMethodID.Present && wanted.ShippingMethodID != nil && r.ShippingMethodID == nil {
		return Cart{}, fault.Invalidf("/shipping_method_id", "not one of the ways to send this cart to its address")
	}
	return r.cart(), nil
}

// address is one mail address and nothing else.
func address(s string) (string, error) {
	s = strings.TrimSpace(s)
	a, err := mail.ParseAddress(s)
	if err != nil || a.Address != s || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return s, fault.Invalidf("/email", "not an e-mail address")
	}
	return s, nil
}

// tidyCodes takes each code once, in whatever case it is written.
func tidyCodes(codes []string) []string {
	out := []string{}
	for _, c := range codes {
		c = strings.ToUpper(strings.TrimSpace(c))
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

type addCartLine struct {
	CartID id.ID `path:"cart_id" ref:"cart" doc:"The cart."`
	Body   struct {
		VariantID id.ID `json:"variant_id" ref:"variant" doc:"What to buy."`
		Quantity  int   `json:"quantity" required:"false" default:"1" minimum:"1" maximum:"9999" example:"1" doc:"How many."`
	}
}

func (f *Feature) addLine(ctx context.Context, tx *tenant.Tx, in *addCartLine) (Cart, error) {
	r, err := lock(ctx, tx, in.CartID)
	if err != nil {
		return Cart{}, err
	}
	org := tx.Scope().Organization
	if _, err := tenant.Exec(ctx, tx, addLine, org, r.ID, id.New(), in.Body.VariantID, in.Body.Quantity); err != nil {
		if tenant.Constraint(err) == "cart_line_variant_unknown" {
			return Cart{}, errUnavailable([]id.ID{in.Body.VariantID})
		}
		return Cart{}, err
	}
	if err := f.full(ctx, tx, r.ID); err != nil {
		return Cart{}, err
	}
	r, p, err := f.requote(ctx, tx, r)
	if err != nil {
		return Cart{}, err
	}
	if slices.Contains(p.unavailable, in.Body.VariantID) {
		return Cart{}, errUnavailable([]id.ID{in.Body.VariantID})
	}
	return r.cart(), nil
}

func (f *Feature) full(ctx context.Context, tx *tenant.Tx, cart id.ID) error {
	n, err := tenant.Value[int](ctx, tx, countLines, tx.Scope().Organization, cart)
	if err == nil && n > maxLines {
		err = fault.Conflictf("cart_full", "A cart has %d lines at most.", maxLines)
	}
	return err
}

type cartLinePath struct {
	CartID id.ID `path:"cart_id" ref:"cart" doc:"The cart."`
	LineID id.ID `path:"line_id" ref:"cart_line" doc:"The line."`
}

type patchCartLine struct {
	CartID id.ID `path:"cart_id" ref:"cart" doc:"The cart."`
	LineID id.ID `path:"line_id" ref:"cart_line" doc:"The line."`
	Body   struct {
		Quantity int `json:"quantity" minimum:"1" maximum:"9999" example:"2" doc:"How many."`
	}
}

func (f *Feature) patchLine(ctx context.Context, tx *tenant.Tx, in *patchCartLine) (Cart, error) {
	return f.changeLine(ctx, tx, in.CartID, setLine, in.LineID, in.Body.Quantity)
}

func (f *Feature) deleteLine(ctx context.Context, tx *tenant.Tx, in *cartLinePath) (api.None, error) {
	_, err := f.changeLine(ctx, tx, in.CartID, deleteLine, in.LineID)
	return api.None{}, err
}

func (f *Feature) changeLine(ctx context.Context, tx *tenant.Tx, cart id.ID, sql string, args ...any) (Cart, error) {
	r, err := lock(ctx, tx, cart)
	if err != nil {
		return Cart{}, err
	}
	n, err := tenant.Exec(ctx, tx, sql, append([]any{tx.Scope().Organization, r.ID}, args...)...)
	if err == nil && n == 0 {
		err = fault.NotFoundf("line in this cart")
	}
	if err != nil {
		return Cart{}, err
	}
	r, _, err = f.requote(ctx, tx, r)
	return r.cart(), err
}

// claim gives a guest's cart to the customer.
func (f *Feature) claim(ctx context.Context, tx *tenant.Tx, in *cartPath) (Cart, error) {
	org, me := tx.Scope().Organization, asking(tx.Scope())
	guest, err := tenant.One[row](ctx, tx, selectCart, org, in.CartID, me)
	if err != nil {
		return Cart{}, tenant.NotFound(err, "cart")
	}
	open, err := tenant.Values[id.ID](ctx, tx, selectOpen, org, *me, in.CartID, guest.Currency)
	if err != nil {
		return Cart{}, err
	}
	rows, err := tenant.List[row](ctx, tx, lockBoth, org, append(open, in.CartID), me)
	if err != nil {
		return Cart{}, err
	}
	var own *row
	found := false
	for i := range rows {
		switch {
		case rows[i].ID == in.CartID:
			guest, found = rows[i], true
		case rows[i].CompletedAt == nil && rows[i].CustomerID != nil:
			own = &rows[i]
		}
	}
	switch {
	case !found: // somebody was faster
		return Cart{}, fault.NotFoundf("cart")
	case guest.CompletedAt != nil:
		return Cart{}, errCompleted()
	case guest.CustomerID != nil:
		return guest.cart(), nil // it is the caller's already
	}
	who, err := buyerOf(ctx, tx, org, me)
	if err != nil {
		return Cart{}, err
	}
	if own == nil {
		guest.CustomerID = me
		if guest.Email == nil {
			guest.Email = &who.Email
		}
		r, _, err := f.requote(ctx, tx, guest)
		return r.cart(), err
	}
	if _, err := tenant.Exec(ctx, tx, mergeLines, org, guest.ID, own.ID); err != nil {
		return Cart{}, err
	}
	if err := f.full(ctx, tx, own.ID); err != nil {
		return Cart{}, err
	}
	if _, err := tenant.Exec(ctx, tx, deleteCart, org, guest.ID); err != nil {
		return Cart{}, err
	}
	own.take(guest)
	r, _, err := f.requote(ctx, tx, *own)
	return r.cart(), err
}

// take fills what a cart does not say yet with what another one says.
func (r *row) take(other row) {
	if r.ShippingAddress == nil {
		r.ShippingAddress, r.ShippingMethodID = other.ShippingAddress, other.ShippingMethodID
	}
	if r.BillingAddress == nil {
		r.BillingAddress = other.BillingAddress
	}
	if len(r.DiscountCodes) == 0 {
		r.DiscountCodes = other.DiscountCodes
	}
	if r.Note == "" {
		r.Note = other.Note
	}
}

// CartShippingOption is a way to send a cart.
type CartShippingOption struct {
	ID    id.ID       `json:"id"`
	Name  string      `json:"name" maxLength:"200" example:"Standard"`
	Price money.Money `json:"price"`
}

func (f *Feature) options(ctx context.Context, v tenant.View, in *cartPath) (page.Page[CartShippingOption], error) {
	out := page.Page[CartShippingOption]{Data: []CartShippingOption{}}
	org := v.Scope().Organization
	r, err := tenant.One[row](ctx, v, selectCart, org, in.CartID, asking(v.Scope()))
	if err != nil {
		return out, tenant.NotFound(err, "cart")
	}
	lines, err := tenant.List[line](ctx, v, listLines, org, r.ID)
	if err != nil {
		return out, err
	}
	p, err := f.price(ctx, v, org, r, lines)
	if err != nil {
		return out, err
	}
	for _, o := range p.options {
		out.Data = append(out.Data, CartShippingOption{o.ID, o.Name, money.Money{Amount: o.Amount, Currency: r.Currency}})
	}
	return out, nil
}
