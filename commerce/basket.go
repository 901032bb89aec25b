package commerce

import (
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/money"
)

// Basket is a cart on its way to become an order: what is wanted, by whom, to
// where, and the price of it at this moment.
type Basket struct {
	CartID             id.ID
	CustomerID         *id.ID
	Currency           string
	Email              string
	Locale             string
	Note               string
	ShippingAddress    *Address
	BillingAddress     *Address
	ShippingMethodID   *id.ID
	ShippingMethodName string
	DiscountCodes      []string

	// Lines have no more than variant and quantity before they are priced. They
	// are in the order of Quote.Lines.
	Lines []BasketLine

	// From here on it is set by pricing.
	Quote Quote
	// NeedsMethod: it is sent, there are ways to send it, and none is chosen.
	NeedsMethod bool
	Changed     bool // the price is another than the one that was last shown, or something is not sold any more
	Cart        any  // as the storefront shows it
}

// BasketLine is an item and how many of it.
type BasketLine struct {
	Item
	Quantity int
}

// Wants lists what must be in stock, summed by variant: two lines may share one.
func (b Basket) Wants() (out []Demand) {
	at := map[id.ID]int{}
	for _, l := range b.Lines {
		if !l.TrackStock {
			continue
		}
		i, seen := at[l.VariantID]
		if !seen {
			i = len(out)
			at[l.VariantID] = i
			out = append(out, Demand{VariantID: l.VariantID})
		}
		out[i].Quantity += l.Quantity
	}
	return out
}

// RequiresShipping reports whether anything in it is sent.
func (b Basket) RequiresShipping() bool {
	for _, l := range b.Lines {
		if l.RequiresShipping {
			return true
		}
	}
	return false
}

// Totals are the sums of a cart or an order. Where prices include tax, total is
// subtotal - discount + shipping, else the tax is added.
type Totals struct {
	Subtotal money.Money `json:"subtotal" doc:"Of the lines, before discounts."`
	Discount money.Money `json:"discount" doc:"Off the lines."`
	Shipping money.Money `json:"shipping" doc:"After discounts on it."`
	Tax      money.Money `json:"tax" doc:"On the lines and the shipping. Where prices include tax, it is in the other amounts already."`
	Total    money.Money `json:"total" doc:"What is to be paid."`
}

// TaxPart is what one rate of tax makes.
type TaxPart struct {
	Name    string      `json:"name" maxLength:"100" example:"VAT"`
	RatePPM int64       `json:"rate_ppm" minimum:"0" maximum:"5000000" example:"190000" doc:"In parts per million: 190000 is 19 %."`
	Base    money.Money `json:"base" doc:"What it is reckoned on, without tax."`
	Amount  money.Money `json:"amount"`
}

// DiscountPart is what one discount took off.
type DiscountPart struct {
	Code   string      `json:"code" maxLength:"100" doc:"The code that was entered; empty for one that applies by itself."`
	Name   string      `json:"name" maxLength:"200" example:"10 % off"`
	Target string      `json:"target" enum:"lines,shipping" doc:"Off what it is."`
	Amount money.Money `json:"amount"`
}

// Totals returns the sums of a quote.
func (q Quote) Totals() Totals {
	return Totals{
		Subtotal: q.Money(q.Subtotal), Discount: q.Money(q.Discount), Shipping: q.Money(q.Shipping.Subtotal - q.Shipping.Discount),
		Tax: q.Money(q.Tax), Total: q.Money(q.Total),
	}
}

// Money is an amount in the quote's currency.
func (q Quote) Money(amount int64) money.Money {
	return money.Money{Amount: amount, Currency: q.Currency}
}

// TaxParts are tax lines of the quote, as they are shown.
func (q Quote) TaxParts(lines []TaxLine) []TaxPart {
	out := make([]TaxPart, len(lines))
	for i, l := range lines {
		out[i] = TaxPart{Name: l.Name, RatePPM: l.PPM, Base: q.Money(l.Base), Amount: q.Money(l.Amount)}
	}
	return out
}

// DiscountParts are the adjustments of the quote, as they are shown.
func (q Quote) DiscountParts() []DiscountPart {
	out := make([]DiscountPart, len(q.Adjustments))
	for i, a := range q.Adjustments {
		out[i] = DiscountPart{Code: a.Code, Name: a.Name, Target: a.Target, Amount: q.Money(a.Amount)}
	}
	return out
}
