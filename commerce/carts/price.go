package carts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// basket is the cart as other features see it, without prices.
func (r row) basket(lines []line) commerce.Basket {
	b := commerce.Basket{
		CartID: r.ID, CustomerID: r.CustomerID, Currency: r.Currency, Locale: r.Locale, Note: r.Note, ShippingAddress: r.ShippingAddress,
		BillingAddress: r.BillingAddress, ShippingMethodID: r.ShippingMethodID, DiscountCodes: r.DiscountCodes,
	}
	if r.Email != nil {
		b.Email = *r.Email
	}
	for _, l := range lines {
		b.Lines = append(b.Lines, commerce.BasketLine{Item: commerce.Item{VariantID: l.VariantID}, Quantity: l.Quantity})
	}
	return b
}

// priced is a cart with the prices of this moment.
type priced struct {
	quote       quote
	basket      commerce.Basket // of what can be sold
	options     []commerce.ShippingOption
	method      *id.ID // nil if the chosen one is not there
	unknown     []string
	unavailable []id.ID // variants
}

// price reads what a cart costs now: what is for sale, the discounts, the
// shipping, the taxes, and what they make together.
func (f *Feature) price(ctx context.Context, q tenant.Querier, org id.ID, r row, lines []line) (priced, error) {
	who, err := buyerOf(ctx, q, org, r.CustomerID)
	if err != nil {
		return priced{}, err
	}
	group := ""
	if who.Group != nil {
		group = *who.Group
	}
	p := priced{basket: r.basket(nil), unknown: r.DiscountCodes}
	ask := commerce.Ask{Currency: r.Currency}
	if err := f.items(ctx, q, group, lines, &p, &ask); err != nil {
		return p, err
	}
	if f.Promotions != nil {
		if ask.Discounts, p.unknown, err = f.Promotions.Discounts(ctx, q, p.basket); err != nil {
			return p, err
		}
	}
	if f.Shipping != nil && p.basket.RequiresShipping() {
		if p.options, err = f.Shipping.Options(ctx, q, p.basket); err != nil {
			return p, err
		}
	}
	if r.ShippingMethodID != nil {
		if i := slices.IndexFunc(p.options, func(o commerce.ShippingOption) bool { return o.ID == *r.ShippingMethodID }); i >= 0 {
			ask.Shipping, p.method, p.quote.Method = &p.options[i], r.ShippingMethodID, p.options[i].Name
		}
	}
	if f.Taxes != nil {
		to := r.ShippingAddress
		if to == nil {
			to = r.BillingAddress
		}
		if ask.Rates, ask.Tax, err = f.Taxes.Rates(ctx, q, to); err != nil {
			return p, err
		}
	}
	if p.quote.Price, err = commerce.Price(ask); errors.Is(err, commerce.ErrTooMuch) {
		err = fault.New(fault.Invalid, "amount_too_large", "That is more money than one order may be worth.").Because(err)
	}
	return p, err
}

// items asks the catalogue for the lines.
func (f *Feature) items(ctx context.Context, q tenant.Querier, group string, lines []line, p *priced, ask *commerce.Ask) error {
	if len(lines) == 0 {
		return nil
	}
	wants := make([]commerce.Demand, len(lines))
	for i, l := range lines {
		wants[i] = commerce.Demand{VariantID: l.VariantID, Quantity: l.Quantity}
	}
	items, err := f.Catalog.Items(ctx, q, ask.Currency, group, wants)
	if err != nil {
		return err
	}
	byVariant := make(map[id.ID]commerce.Item, len(items))
	for _, it := range items {
		byVariant[it.VariantID] = it
	}
	for _, l := range lines {
		it, there := byVariant[l.VariantID]
		shown := quotedLine{ID: l.ID, VariantID: l.VariantID, Quantity: l.Quantity, SKU: it.SKU, Title: it.Title, VariantTitle: it.VariantTitle, ImageURL: it.ImageURL,
			RequiresShipping: it.RequiresShipping, Sellable: there && it.UnitPrice != nil}
		if there {
			shown.ProductID = &it.ProductID
		}
		p.quote.Lines = append(p.quote.Lines, shown)
		if !shown.Sellable {
			p.unavailable = append(p.unavailable, l.VariantID)
			continue
		}
		p.basket.Lines = append(p.basket.Lines, commerce.BasketLine{Item: it, Quantity: l.Quantity})
		ask.Lines = append(ask.Lines, commerce.AskLine{ID: l.ID, Quantity: l.Quantity, UnitPrice: *it.UnitPrice, TaxClass: it.TaxClass})
	}
	return nil
}

// requote prices a locked cart after a change, and stores it with the change. A
// name of what is not sold any more is kept as it was last known.
func (f *Feature) requote(ctx context.Context, tx *tenant.Tx, r row) (row, priced, error) {
	lines, err := tenant.List[line](ctx, tx, listLines, tx.Scope().Organization, r.ID)
	if err != nil {
		return r, priced{}, err
	}
	p, err := f.price(ctx, tx, tx.Scope().Organization, r, lines)
	if err != nil {
		return r, p, err
	}
	p.keepNames(r.Quote)
	r.Quote, r.ShippingMethodID = &p.quote, p.method
	r, err = save(ctx, tx, r)
	return r, p, err
}

func (p *priced) keepNames(before *quote) {
	if before == nil || len(p.unavailable) == 0 {
		return
	}
	for i, l := range p.quote.Lines {
		for _, old := range before.Lines {
			if !l.Sellable && l.Title == "" && old.VariantID == l.VariantID {
				old.ID, old.Quantity, old.Sellable = l.ID, l.Quantity, false
				p.quote.Lines[i] = old
			}
		}
	}
}

// Open locks a cart for its completion, if the caller may use it. A completed one
// is there too: its order is the answer.
func (f *Feature) Open(ctx context.Context, tx *tenant.Tx, cart id.ID) (commerce.Basket, error) {
	r, err := tenant.One[row](ctx, tx, lockCart, tx.Scope().Organization, cart, asking(tx.Scope()))
	if err != nil {
		return commerce.Basket{}, tenant.NotFound(err, "cart")
	}
	lines, err := tenant.List[line](ctx, tx, listLines, tx.Scope().Organization, cart)
	return r.basket(lines), err
}

// Price puts the prices of this moment into the basket of an open cart. Where
// they are others than were shown, it stores them and says so.
func (f *Feature) Price(ctx context.Context, tx *tenant.Tx, b *commerce.Basket) error {
	r, err := lock(ctx, tx, b.CartID)
	if err != nil {
		return err
	}
	lines, err := tenant.List[line](ctx, tx, listLines, tx.Scope().Organization, r.ID)
	if err != nil {
		return err
	}
	p, err := f.price(ctx, tx, tx.Scope().Organization, r, lines)
	if err != nil {
		return err
	}
	p.keepNames(r.Quote)
	changed := !p.sameAs(r)
	if changed {
		r.Quote, r.ShippingMethodID = &p.quote, p.method
		if r, err = save(ctx, tx, r); err != nil {
			return err
		}
	}
	if len(p.unavailable) > 0 && !changed {
		return errUnavailable(p.unavailable)
	}
	*b = p.basket
	b.Quote, b.ShippingMethodName, b.ShippingMethodID, b.Changed, b.Cart = p.quote.Price, p.quote.Method, p.method, changed, r.cart()
	b.NeedsMethod = p.method == nil && len(p.options) > 0
	return nil
}

// sameAs reports whether the price is the one that was last shown: names and
// pictures may be others.
func (p priced) sameAs(r row) bool {
	if r.Quote == nil {
		return len(p.quote.Lines) == 0
	}
	sellable := func(q quote) (out []id.ID) {
		for _, l := range q.Lines {
			if l.Sellable {
				out = append(out, l.VariantID)
			}
		}
		return out
	}
	now, err := json.Marshal(p.quote.Price)
	before, err2 := json.Marshal(r.Quote.Price)
	return err == nil && err2 == nil && bytes.Equal(now, before) && reflect.DeepEqual(p.method, r.ShippingMethodID) && slices.Equal(sellable(p.quote), sellable(*r.Quote))
}

func errUnavailable(variants []id.ID) error {
	return fault.New(fault.Invalid, "price_unavailable", "Some of this is not for sale, or not in this currency.").With("variant_ids", variants)
}

// checkCodes refuses codes that nobody gave out.
func (p priced) checkCodes(r row) error {
	for i, code := range r.DiscountCodes {
		if slices.Contains(p.unknown, code) {
			return fault.Invalidf(fmt.Sprintf("/discount_codes/%d", i), "there is no such code, or it is over")
		}
	}
	return nil
}
