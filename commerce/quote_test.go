package commerce

import (
	"fmt"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/guildhall-dev/guildhall/internal/money"
)

func lines(prices ...int64) (out []AskLine) {
	for _, p := range prices {
		out = append(out, AskLine{Quantity: 1, UnitPrice: p, TaxClass: "standard"})
	}
	return out
}

func rate(ppm ...int64) map[string][]TaxRate {
	var all []TaxRate
	for i, p := range ppm {
		all = append(all, TaxRate{Name: fmt.Sprintf("rate %d", i), PPM: p})
	}
	return map[string][]TaxRate{"standard": all}
}

func price(t testing.TB, a Ask) Quote {
	q, err := Price(a)
	if err != nil {
		t.Fatal(err)
	}
	check(t, a, q)
	return q
}

type failer interface{ Fatalf(string, ...any) }

// check holds a quote against what every quote promises.
func check(t failer, a Ask, q Quote) {
	amounts := []int64{q.Subtotal, q.Discount, q.Tax, q.Total, q.Shipping.Subtotal, q.Shipping.Discount, q.Shipping.Tax, q.Shipping.Total}
	var subtotal, discount, tax, total, ofRates int64
	for _, part := range append([]Quoted{q.Shipping}, quoted(q)...) {
		tax, total = tax+part.Tax, total+part.Total
		amounts = append(amounts, part.Subtotal, part.Discount, part.Tax, part.Total, part.Net())
		var ofLines int64
		for _, l := range part.TaxLines {
			amounts = append(amounts, l.Base, l.Amount)
			ofLines += l.Amount
			if l.Base+part.Tax != part.Total {
				t.Fatalf("net %d and tax %d are not the gross %d", l.Base, part.Tax, part.Total)
			}
		}
		if ofLines != part.Tax {
			t.Fatalf("tax lines sum to %d, not %d: %+v", ofLines, part.Tax, part)
		}
		if part.Discount > part.Subtotal {
			t.Fatalf("more discount than there is to pay: %+v", part)
		}
	}
	for i, l := range q.Lines {
		subtotal, discount = subtotal+l.Subtotal, discount+l.Discount
		if l.Subtotal != l.UnitPrice*int64(l.Quantity) {
			t.Fatalf("line %d: %+v", i, l)
		}
	}
	for _, l := range q.TaxLines {
		ofRates += l.Amount
	}
	var off, offShipping int64
	for _, adj := range q.Adjustments {
		if adj.Target == "shipping" {
			offShipping += adj.Amount
			continue
		}
		off += adj.Amount
		var per int64
		for _, x := range adj.PerLines {
			per += x
		}
		if per != adj.Amount {
			t.Fatalf("an adjustment of %d is %d on the lines", adj.Amount, per)
		}
	}
	for _, x := range amounts {
		if x < 0 {
			t.Fatalf("negative: %+v", q)
		}
	}
	shipping := q.Shipping.Subtotal - q.Shipping.Discount
	want := subtotal - discount + shipping
	if !a.Tax.Inclusive {
		want += tax
	}
	if subtotal != q.Subtotal || discount != q.Discount || tax != q.Tax || total != q.Total || ofRates != q.Tax || want != q.Total || off != q.Discount || offShipping != q.Shipping.Discount {
		t.Fatalf("sums: subtotal %d, discount %d, tax %d, total %d, of rates %d, wanted %d, off %d: %+v", subtotal, discount, tax, total, ofRates, want, off, q)
	}
}

func quoted(q Quote) (out []Quoted) {
	for _, l := range q.Lines {
		out = append(out, l.Quoted)
	}
	return out
}

func TestQuoteHoldsItsPromises(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := Ask{
			// 0, 2 and 3 decimals: an amount is a whole number of minor units in each.
			Currency: rapid.SampledFrom([]string{"JPY", "EUR", "KWD"}).Draw(t, "currency"),
			Tax: TaxSettings{
				Inclusive: rapid.Bool().Draw(t, "inclusive"), HalfEven: rapid.Bool().Draw(t, "half even"),
				Scope:         rapid.SampledFrom([]string{"unit", "line", "order", ""}).Draw(t, "scope"),
				ShippingClass: rapid.SampledFrom([]string{"", "standard", "reduced"}).Draw(t, "class of shipping"),
			},
			Rates: map[string][]TaxRate{},
		}
		ppm := rapid.OneOf(rapid.SampledFrom([]int64{0, 70_000, 190_000, 82_500, money.Million}), rapid.Int64Range(0, 2*money.Million))
		for _, class := range []string{"standard", "reduced", "zero"} {
			for k := range rapid.IntRange(0, 2).Draw(t, "rates of "+class) {
				a.Rates[class] = append(a.Rates[class], TaxRate{Name: fmt.Sprint("rate ", k), PPM: ppm.Draw(t, "ppm")})
			}
		}
		amount := rapid.OneOf(rapid.Int64Range(0, 30), rapid.Int64Range(0, 100_000), rapid.Int64Range(0, 2_000_000_000))
		for range rapid.IntRange(0, 12).Draw(t, "lines") {
			a.Lines = append(a.Lines, AskLine{
				Quantity: rapid.IntRange(1, 99).Draw(t, "quantity"), UnitPrice: amount.Draw(t, "price"),
				TaxClass: rapid.SampledFrom([]string{"standard", "reduced", "zero", "unknown"}).Draw(t, "class"),
			})
		}
		for range rapid.IntRange(0, 3).Draw(t, "discounts") {
			d := Discount{Shipping: rapid.Bool().Draw(t, "off shipping")}
			if rapid.Bool().Draw(t, "percentage") {
				d.PPM = rapid.OneOf(rapid.Just(int64(money.Million)), rapid.Int64Range(1, 2*money.Million)).Draw(t, "off ppm")
			} else {
				d.Amount = amount.Draw(t, "off")
			}
			if n := len(a.Lines); n > 0 && rapid.Bool().Draw(t, "some lines") {
				d.Lines = rapid.SliceOfDistinct(rapid.IntRange(0, n-1), rapid.ID[int]).Draw(t, "for")
			}
			a.Discounts = append(a.Discounts, d)
		}
		if rapid.Bool().Draw(t, "shipped") {
			a.Shipping = &ShippingOption{Amount: amount.Draw(t, "shipping"), TaxClass: rapid.SampledFrom([]string{"", "standard", "zero"}).Draw(t, "its class")}
		}
		q, err := Price(a)
		if err != nil {
			t.Fatalf("%v", err)
		}
		check(t, a, q)
		again, _ := Price(a)
		if !reflect.DeepEqual(q, again) {
			t.Fatalf("twice is not the same")
		}
		// What is taken off in full costs nothing and has no tax on it.
		a.Discounts = []Discount{{PPM: money.Million}, {PPM: money.Million, Shipping: true}}
		if free, err := Price(a); err != nil || free.Total != 0 || free.Tax != 0 {
			t.Fatalf("all of it off leaves %d with %d tax, %v", free.Total, free.Tax, err)
		}
	})
}

// The bugs of other shops, each as it was reported there.
func TestRoundingBugsOfOthers(t *testing.T) {
	t.Parallel()
	exclusive := func(scope string) TaxSettings { return TaxSettings{Scope: scope} }
	inclusive := func(scope string) TaxSettings { return TaxSettings{Scope: scope, Inclusive: true} }

	t.Run("medusa 12226: negative dust of a float", func(t *testing.T) {
		// 0.1 + 0.2 - 0.3 left -1.6e-14; here nothing is left, and it is an integer.
		q := price(t, Ask{Lines: lines(10, 20), Discounts: []Discount{{Amount: 30}}, Rates: rate(190_000), Tax: exclusive("line")})
		if q.Total != 0 || q.Tax != 0 || q.Discount != 30 {
			t.Errorf("%+v", q)
		}
	})
	t.Run("medusa 12429: a discount of 100 %", func(t *testing.T) {
		for _, tax := range []TaxSettings{exclusive("unit"), exclusive("order"), inclusive("line"), inclusive("order")} {
			a := Ask{Lines: []AskLine{{Quantity: 3, UnitPrice: 333, TaxClass: "standard"}}, Discounts: []Discount{{PPM: money.Million}}, Rates: rate(190_000), Tax: tax,
				Shipping: &ShippingOption{Amount: 499, TaxClass: "standard"}}
			q := price(t, a)
			if q.Lines[0].Total != 0 || q.Total != q.Shipping.Total || q.Shipping.Total == 0 {
				t.Errorf("%+v: %+v", tax, q)
			}
		}
	})
	t.Run("medusa 13405: the summary's tax is another than that of the lines", func(t *testing.T) {
		// 3 x 0.99 at 19 %: rounded per line 0.57, in the sum 0.56.
		perLine := price(t, Ask{Lines: lines(99, 99, 99), Rates: rate(190_000), Tax: exclusive("line")})
		perOrder := price(t, Ask{Lines: lines(99, 99, 99), Rates: rate(190_000), Tax: exclusive("order")})
		if perLine.Tax != 57 || perLine.TaxLines[0].Amount != 57 || perOrder.Tax != 56 || perOrder.TaxLines[0].Amount != 56 {
			t.Errorf("per line %+v, per order %+v", perLine, perOrder)
		}
		if l := perOrder.Lines; l[0].Tax != 19 || l[1].Tax != 19 || l[2].Tax != 18 {
			t.Errorf("the lines have %d, %d, %d", l[0].Tax, l[1].Tax, l[2].Tax)
		}
	})
	t.Run("medusa 12805, 11454: totals that the tax provider's lines do not give", func(t *testing.T) {
		q := price(t, Ask{Lines: []AskLine{{Quantity: 7, UnitPrice: 1, TaxClass: "standard"}, {Quantity: 1, UnitPrice: 1050, TaxClass: "standard"}},
			Rates: rate(62_500, 12_500), Tax: exclusive("line"), Shipping: &ShippingOption{Amount: 333, TaxClass: "standard"}})
		var sum int64
		for _, l := range append(quoted(q), q.Shipping) {
			for _, x := range l.TaxLines {
				sum += x.Amount
			}
		}
		if sum != q.Tax || q.TaxLines[0].Amount != 66+21 || q.TaxLines[1].Amount != 13+4 {
			t.Errorf("%+v", q)
		}
	})
	t.Run("vendure 2662, 3003: per unit or per line", func(t *testing.T) {
		ten := []AskLine{{Quantity: 10, UnitPrice: 33, TaxClass: "standard"}}
		for scope, want := range map[string]int64{"unit": 70, "line": 66, "order": 66} { // 6.6 a unit
			if q := price(t, Ask{Lines: ten, Rates: rate(200_000), Tax: exclusive(scope)}); q.Tax != want {
				t.Errorf("%s: %d, want %d", scope, q.Tax, want)
			}
		}
		// In 0.33 with 20 % in it there are 0.055 of tax: 0.06 a unit, 0.55 a line.
		for scope, want := range map[string]int64{"unit": 60, "line": 55, "order": 55} {
			if q := price(t, Ask{Lines: ten, Rates: rate(200_000), Tax: inclusive(scope)}); q.Tax != want || q.Total != 330 {
				t.Errorf("inclusive, %s: %d of %d, want %d", scope, q.Tax, q.Total, want)
			}
		}
	})
	t.Run("vendure 2995: a fixed discount that does not divide", func(t *testing.T) {
		q := price(t, Ask{Lines: lines(1000, 1000, 1000), Discounts: []Discount{{Amount: 1000}}, Tax: exclusive("line")})
		if l := q.Lines; l[0].Discount != 334 || l[1].Discount != 333 || l[2].Discount != 333 || q.Total != 2000 {
			t.Errorf("%+v", q)
		}
		// Nor is it ever more than there is.
		if q := price(t, Ask{Lines: lines(100, 50), Discounts: []Discount{{Amount: 1000}}}); q.Discount != 150 || q.Total != 0 || q.Adjustments[0].Amount != 150 {
			t.Errorf("%+v", q)
		}
	})
	t.Run("vendure 653: a discount over lines of several rates", func(t *testing.T) {
		rates := map[string][]TaxRate{"standard": {{"VAT", 190_000}}, "reduced": {{"VAT reduced", 70_000}}}
		a := Ask{Lines: []AskLine{{Quantity: 1, UnitPrice: 2000, TaxClass: "standard"}, {Quantity: 1, UnitPrice: 1000, TaxClass: "reduced"}},
			Discounts: []Discount{{Amount: 1000}}, Rates: rates, Tax: exclusive("line")}
		q := price(t, a)
		// 667 off the one, 333 off the other; 19 % of 1333 and 7 % of 667.
		if q.Lines[0].Discount != 667 || q.Lines[1].Discount != 333 || q.Lines[0].Tax != 253 || q.Lines[1].Tax != 47 || len(q.TaxLines) != 2 {
			t.Errorf("%+v", q)
		}
	})
	t.Run("vendure 4474: totals as they are configured", func(t *testing.T) {
		// Half of a cent goes up, or to the even one.
		for even, want := range map[bool]int64{false: 3, true: 2} {
			if q := price(t, Ask{Lines: lines(25), Rates: rate(100_000), Tax: TaxSettings{HalfEven: even}}); q.Tax != want {
				t.Errorf("half even %t: %d, want %d", even, q.Tax, want)
			}
		}
	})
	t.Run("vendors of three decimals rounded up to ten", func(t *testing.T) {
		if q := price(t, Ask{Currency: "KWD", Lines: lines(1999), Rates: rate(50_000), Tax: exclusive("line")}); q.Tax != 100 || q.Total != 2099 {
			t.Errorf("%+v", q)
		}
		if q := price(t, Ask{Currency: "JPY", Lines: lines(1999), Rates: rate(100_000), Tax: exclusive("line")}); q.Tax != 200 || q.Total != 2199 {
			t.Errorf("%+v", q)
		}
	})
	t.Run("two rates in one cent", func(t *testing.T) {
		// Each rate by itself would round up, and the net would be negative.
		q := price(t, Ask{Lines: lines(1), Rates: rate(900_000, 900_000), Tax: inclusive("order")})
		if q.Tax != 1 || q.Lines[0].Net() != 0 {
			t.Errorf("%+v", q)
		}
	})
}

func TestQuoteRefusesTooMuch(t *testing.T) {
	t.Parallel()
	for name, a := range map[string]Ask{
		"a price":      {Lines: lines(money.Max + 1)},
		"a line":       {Lines: []AskLine{{Quantity: 2000, UnitPrice: money.Max}}},
		"the lines":    {Lines: []AskLine{{Quantity: 900, UnitPrice: money.Max}, {Quantity: 200, UnitPrice: money.Max}}},
		"the shipping": {Shipping: &ShippingOption{Amount: money.Max + 1}},
		"negative":     {Lines: lines(-1)},
		"no quantity":  {Lines: []AskLine{{UnitPrice: 1}}},
		"the rates":    {Lines: lines(1), Rates: rate(3*money.Million, 3*money.Million)},
		"minus a rate": {Lines: lines(1), Rates: rate(-1)},
	} {
		if q, err := Price(a); err == nil {
			t.Errorf("%s: %+v", name, q)
		}
	}
}

func TestDiscountsFollowEachOther(t *testing.T) {
	t.Parallel()
	q := price(t, Ask{Lines: lines(1000, 500), Discounts: []Discount{{Name: "ten percent", PPM: 100_000}, {Name: "five off the second", Amount: 500, Lines: []int{1}}},
		Shipping: &ShippingOption{Amount: 300}})
	if q.Adjustments[0].Amount != 150 || q.Adjustments[1].Amount != 450 || q.Lines[1].Total != 0 || q.Total != 900+300 {
		t.Errorf("%+v", q)
	}
	free := price(t, Ask{Lines: lines(1000), Discounts: []Discount{{PPM: money.Million, Shipping: true}}, Shipping: &ShippingOption{Amount: 300}})
	if free.Discount != 0 || free.Shipping.Total != 0 || free.Total != 1000 {
		t.Errorf("%+v", free)
	}
}
