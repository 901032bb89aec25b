package commerce

import (
	"errors"
	"slices"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/money"
)

// Ask is what a price is asked for: lines, discounts in the order in which they
// apply, shipping, and how tax is reckoned.
type Ask struct {
	Currency  string
	Lines     []AskLine
	Discounts []Discount
	Shipping  *ShippingOption // nil: nothing is shipped, or not yet known how
	Rates     map[string][]TaxRate
	Tax       TaxSettings
}

// AskLine is so much of one thing at one price.
type AskLine struct {
	ID        id.ID
	Quantity  int
	UnitPrice int64
	TaxClass  string
}

// Discount takes a share or an amount off lines or off the shipping. One that is
// larger than what is left takes what is left.
type Discount struct {
	Code     string `json:"code"`
	Name     string `json:"name"`
	PPM      int64  `json:"ppm"`      // of what is left after the discounts before it; or
	Amount   int64  `json:"amount"`   // in minor units, divided over the lines
	Shipping bool   `json:"shipping"` // off the shipping instead of the lines
	Lines    []int  `json:"lines"`    // indexes of the lines that it is for; nil is all
}

// Quote is a price, explained. Amounts are minor units of the currency. It always
// holds that the totals of the lines, the shipping and, where prices exclude it,
// the tax on the shipping sum to Total, and that nothing is negative.
type Quote struct {
	Currency         string       `json:"currency"`
	PricesIncludeTax bool         `json:"prices_include_tax"`
	Lines            []QuotedLine `json:"lines"`
	Shipping         Quoted       `json:"shipping"`
	Adjustments      []Adjustment `json:"adjustments"`
	TaxLines         []TaxLine    `json:"tax_lines"` // of all lines and the shipping, by rate
	Subtotal         int64        `json:"subtotal"`
	Discount         int64        `json:"discount"` // off the lines; what is off the shipping is off Shipping.Total
	Tax              int64        `json:"tax"`
	Total            int64        `json:"total"`
}

// QuotedLine is the price of a line.
type QuotedLine struct {
	ID        id.ID `json:"id"`
	Quantity  int   `json:"quantity"`
	UnitPrice int64 `json:"unit_price"`
	Quoted
}

// Quoted is Subtotal - Discount = net, or gross where prices include tax; Total
// is what is paid: always the gross.
type Quoted struct {
	Subtotal int64     `json:"subtotal"`
	Discount int64     `json:"discount"`
	Tax      int64     `json:"tax"`
	Total    int64     `json:"total"`
	TaxLines []TaxLine `json:"tax_lines"`
}

// Net is what is left of the total without the tax.
func (q Quoted) Net() int64 { return q.Total - q.Tax }

// TaxLine is what one rate makes of one base. A rate of nothing has a line too.
type TaxLine struct {
	Name   string `json:"name"`
	PPM    int64  `json:"rate_ppm"`
	Base   int64  `json:"base"` // without tax
	Amount int64  `json:"amount"`
}

// Adjustment is what one discount took off.
type Adjustment struct {
	Code     string  `json:"code"`
	Name     string  `json:"name"`
	Target   string  `json:"target"` // lines or shipping
	Amount   int64   `json:"amount"`
	PerLines []int64 `json:"per_lines,omitempty"` // of each line, in their order
}

// ErrTooMuch is returned for more money than one order may be worth.
var ErrTooMuch = errors.New("commerce: the amounts are beyond what one order may be worth")

// maxPPM bounds the sum of the rates on one thing: 500 %.
const maxPPM = 5 * money.Million

// Price makes the quote of an ask. It is a pure function: the same ask has the
// same price on every replica and on every day.
func Price(a Ask) (Quote, error) {
	q := Quote{Currency: a.Currency, PricesIncludeTax: a.Tax.Inclusive, Lines: make([]QuotedLine, len(a.Lines)), Adjustments: []Adjustment{}, TaxLines: []TaxLine{}}
	for i, l := range a.Lines {
		if l.Quantity < 1 || l.UnitPrice < 0 || l.UnitPrice > money.Max || int64(l.Quantity) > money.MaxTotal/max(l.UnitPrice, 1) {
			return Quote{}, ErrTooMuch
		}
		subtotal := l.UnitPrice * int64(l.Quantity)
		q.Lines[i] = QuotedLine{ID: l.ID, Quantity: l.Quantity, UnitPrice: l.UnitPrice, Quoted: Quoted{Subtotal: subtotal}}
		if q.Subtotal += subtotal; q.Subtotal > money.MaxTotal {
			return Quote{}, ErrTooMuch
		}
	}
	if a.Shipping != nil {
		if a.Shipping.Amount < 0 || a.Shipping.Amount > money.Max {
			return Quote{}, ErrTooMuch
		}
		q.Shipping.Subtotal = a.Shipping.Amount
	}
	for _, d := range a.Discounts {
		q.take(d, a.Tax.rounding())
	}
	if err := q.tax(a); err != nil {
		return Quote{}, err
	}
	return q, nil
}

func (s TaxSettings) rounding() money.Rounding {
	if s.HalfEven {
		return money.HalfEven
	}
	return money.HalfUp
}

// take applies one discount to what the ones before it left. Its amount is
// rounded once and divided, so that it is the same however many lines there are.
func (q *Quote) take(d Discount, r money.Rounding) {
	left := func(t *Quoted) int64 { return t.Subtotal - t.Discount }
	amount := func(base int64) int64 {
		if d.PPM > 0 {
			return money.MulPPM(base, min(d.PPM, money.Million), r)
		}
		return min(max(d.Amount, 0), base)
	}
	if d.Shipping {
		off := amount(left(&q.Shipping))
		q.Shipping.Discount += off
		q.Adjustments = append(q.Adjustments, Adjustment{Code: d.Code, Name: d.Name, Target: "shipping", Amount: off})
		return
	}
	lefts := make([]int64, len(q.Lines))
	var base int64
	for i := range q.Lines {
		if d.Lines == nil || slices.Contains(d.Lines, i) {
			lefts[i] = left(&q.Lines[i].Quoted)
			base += lefts[i]
		}
	}
	adj := Adjustment{Code: d.Code, Name: d.Name, Target: "lines", Amount: amount(base), PerLines: make([]int64, len(q.Lines))}
	if adj.Amount > 0 {
		// A part is never above what is left: it exceeds its exact share, which is
		// not above it either, only where that is no whole number.
		adj.PerLines = money.Allocate(adj.Amount, lefts)
		for i, off := range adj.PerLines {
			q.Lines[i].Discount += off
		}
		q.Discount += adj.Amount
	}
	q.Adjustments = append(q.Adjustments, adj)
}

// taxed is one thing with tax on it: a line, or the shipping.
type taxed struct {
	*Quoted
	quantity int
	rates    []TaxRate
	amount   int64 // after discounts; with the tax in it where prices include it
}

// tax puts the tax on the lines and the shipping, and sums up.
func (q *Quote) tax(a Ask) error {
	things := make([]taxed, 0, len(q.Lines)+1)
	for i := range q.Lines {
		l := &q.Lines[i]
		things = append(things, taxed{&l.Quoted, l.Quantity, a.Rates[a.Lines[i].TaxClass], l.Subtotal - l.Discount})
	}
	if s := a.Shipping; s != nil {
		class := s.TaxClass
		if class == "" {
			class = a.Tax.ShippingClass
		}
		things = append(things, taxed{&q.Shipping, 1, a.Rates[class], q.Shipping.Subtotal - q.Shipping.Discount})
	}
	q.Shipping.TaxLines = []TaxLine{}
	for _, t := range things {
		var sum int64
		t.TaxLines = make([]TaxLine, len(t.rates))
		for k, rate := range t.rates {
			if rate.PPM < 0 || rate.PPM > maxPPM {
				return ErrTooMuch
			}
			sum += rate.PPM
			t.TaxLines[k] = TaxLine{Name: rate.Name, PPM: rate.PPM}
		}
		if sum > maxPPM {
			return ErrTooMuch
		}
	}
	switch {
	case a.Tax.Scope == "order" && a.Tax.Inclusive:
		taxOrderInclusive(things, a.Tax.rounding())
	case a.Tax.Scope == "order":
		taxOrderExclusive(things, a.Tax.rounding())
	default:
		for _, t := range things {
			t.taxAlone(a.Tax)
		}
	}
	q.sum(things)
	return nil
}

// taxAlone reckons the tax of one thing by itself, per line or per unit.
func (t taxed) taxAlone(s TaxSettings) {
	// Where each unit is rounded, a discount may have left units that differ by
	// one minor unit: so many of the one, and so many of the other.
	bases, times := []int64{t.amount}, []int64{1}
	if n := int64(t.quantity); s.Scope == "unit" {
		more := t.amount % n
		bases, times = []int64{t.amount / n, t.amount/n + 1}, []int64{n - more, more}
	}
	if s.Inclusive {
		var tax int64
		for i, base := range bases {
			tax += times[i] * containedTax(base, t.rates, s.rounding())
		}
		t.split(tax)
		return
	}
	for k, rate := range t.rates {
		for i, base := range bases {
			t.TaxLines[k].Amount += times[i] * money.MulPPM(base, rate.PPM, s.rounding())
		}
	}
}

func ppmOf(rates []TaxRate) (sum int64) {
	for _, r := range rates {
		sum += r.PPM
	}
	return sum
}

// containedTax is the tax in a gross amount.
func containedTax(gross int64, rates []TaxRate, r money.Rounding) int64 {
	sum := ppmOf(rates)
	return money.MulDiv(gross, sum, money.Million+sum, r)
}

// split divides the tax of one thing over its rates. It is done for each thing
// rather than for each rate: so no thing has more tax than it costs.
func (t taxed) split(tax int64) {
	if len(t.rates) == 0 {
		return
	}
	weights := make([]int64, len(t.rates))
	for k, r := range t.rates {
		weights[k] = r.PPM
	}
	for k, part := range money.Allocate(tax, weights) {
		t.TaxLines[k].Amount = part
	}
}

// taxOrderExclusive rounds once for each rate of the order, and divides that
// over what the rate is on.
func taxOrderExclusive(things []taxed, r money.Rounding) {
	type member struct{ thing, rate int }
	var order []TaxRate
	groups := map[TaxRate][]member{}
	for i, t := range things {
		for k, rate := range t.rates {
			if groups[rate] == nil {
				order = append(order, rate)
			}
			groups[rate] = append(groups[rate], member{i, k})
		}
	}
	for _, rate := range order {
		members := groups[rate]
		var base int64
		weights := make([]int64, len(members))
		for i, m := range members {
			weights[i] = things[m.thing].amount
			base += weights[i]
		}
		for i, part := range money.Allocate(money.MulPPM(base, rate.PPM, r), weights) {
			things[members[i].thing].TaxLines[members[i].rate].Amount = part
		}
	}
}

// taxOrderInclusive rounds once for all that has the same rates: the tax in an
// amount depends on all of them together.
func taxOrderInclusive(things []taxed, r money.Rounding) {
	done := make([]bool, len(things))
	for i := range things {
		if done[i] || len(things[i].rates) == 0 {
			continue
		}
		var members []int
		var gross int64
		var weights []int64
		for j := i; j < len(things); j++ {
			if !done[j] && slices.Equal(things[i].rates, things[j].rates) {
				done[j] = true
				members, weights = append(members, j), append(weights, things[j].amount)
				gross += things[j].amount
			}
		}
		for m, part := range money.Allocate(containedTax(gross, things[i].rates, r), weights) {
			things[members[m]].split(part)
		}
	}
}

// sum adds up what the things say: the order's figures are sums of theirs and
// never reckoned a second time.
func (q *Quote) sum(things []taxed) {
	for _, t := range things {
		for _, l := range t.TaxLines {
			t.Tax += l.Amount
		}
		if t.Total = t.amount; !q.PricesIncludeTax {
			t.Total += t.Tax
		}
		q.Tax += t.Tax
		q.Total += t.Total
		for k := range t.TaxLines {
			l := &t.TaxLines[k]
			l.Base = t.Total - t.Tax
			i := slices.IndexFunc(q.TaxLines, func(o TaxLine) bool { return o.Name == l.Name && o.PPM == l.PPM })
			if i < 0 {
				i = len(q.TaxLines)
				q.TaxLines = append(q.TaxLines, TaxLine{Name: l.Name, PPM: l.PPM})
			}
			q.TaxLines[i].Base += l.Base
			q.TaxLines[i].Amount += l.Amount
		}
	}
}
