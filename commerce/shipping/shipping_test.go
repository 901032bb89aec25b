package shipping

import (
	"context"
	"fmt"
	"testing"

	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/tenant/tenanttest"
)

func to(n int64) *int64 { return &n }

func TestPriceOfAMethod(t *testing.T) {
	t.Parallel()
	weights := []Band{{to(1000), 490}, {to(5000), 690}}
	open := []Band{{to(2000), 590}, {nil, 0}}
	light, heavy := 100, 3000
	for name, c := range map[string]struct {
		m        Method
		subtotal int64
		grams    int64
		want     int64 // -1: not offered
	}{
		"flat":                  {Method{Kind: flat, Amount: 490}, 100, 1, 490},
		"lightest":              {Method{Kind: byWeight, Bands: weights}, 100, 0, 490},
		"up to and including":   {Method{Kind: byWeight, Bands: weights}, 100, 1000, 490},
		"next":                  {Method{Kind: byWeight, Bands: weights}, 100, 1001, 690},
		"too heavy":             {Method{Kind: byWeight, Bands: weights}, 100, 5001, -1},
		"by price":              {Method{Kind: byPrice, Bands: open}, 2000, 9, 590},
		"by price without end":  {Method{Kind: byPrice, Bands: open}, 2001, 9, 0},
		"free from":             {Method{Kind: flat, Amount: 490, FreeFrom: to(5000)}, 5000, 9, 0},
		"not yet free":          {Method{Kind: flat, Amount: 490, FreeFrom: to(5000)}, 4999, 9, 490},
		"free but too heavy":    {Method{Kind: byWeight, Bands: weights, FreeFrom: to(1)}, 5000, 9999, -1},
		"below the least":       {Method{Kind: flat, MinSubtotal: to(10)}, 9, 9, -1},
		"above the most":        {Method{Kind: flat, MaxSubtotal: to(10)}, 11, 9, -1},
		"too light":             {Method{Kind: flat, MinWeightGrams: &light}, 10, 99, -1},
		"above the most weight": {Method{Kind: flat, MaxWeightGrams: &heavy}, 10, 3001, -1},
	} {
		got, offered := c.m.price(c.subtotal, c.grams)
		if !offered {
			got = -1
		}
		if got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestMeasuresOfABasket(t *testing.T) {
	t.Parallel()
	mug, licence := commerce.Item{UnitPrice: to(1990), WeightGrams: 400, RequiresShipping: true}, commerce.Item{UnitPrice: to(5000), WeightGrams: 9}
	b := commerce.Basket{Lines: []commerce.BasketLine{{Item: mug, Quantity: 3}, {Item: licence, Quantity: 1}, {Quantity: 7}}}
	if subtotal, grams := measures(b); subtotal != 10970 || grams != 1200 {
		t.Errorf("%d and %d grams", subtotal, grams)
	}
}

func TestWhatDoesNotGoTogether(t *testing.T) {
	t.Parallel()
	two, one := 2, 1
	for pointer, bad := range map[string][]Method{
		"/currency":         {{Kind: flat, Currency: "XXQ"}},
		"/bands":            {{Kind: flat, Bands: []Band{{nil, 1}}}, {Kind: byWeight}, {Kind: byPrice, Bands: []Band{{nil, 1}, {to(2), 1}}}, {Kind: byPrice, Bands: []Band{{to(2), 1}, {to(2), 1}}}},
		"/amount":           {{Kind: byPrice, Amount: 1, Bands: []Band{{nil, 1}}}},
		"/max_subtotal":     {{Kind: flat, MinSubtotal: to(2), MaxSubtotal: to(1)}},
		"/max_weight_grams": {{Kind: flat, MinWeightGrams: &two, MaxWeightGrams: &one}},
	} {
		for _, m := range bad {
			if m.Currency == "" {
				m.Currency = "EUR"
			}
			if f := fault.As(m.check()); f == nil || f.Fields[0].Pointer != pointer {
				t.Errorf("%+v: %v, want a complaint about %s", m, f, pointer)
			}
		}
	}
	good := Method{Kind: byWeight, Currency: "JPY", Bands: []Band{{to(1), 0}, {to(2), 0}, {nil, 9}}}
	if err := good.check(); err != nil {
		t.Errorf("%+v: %v", good, err)
	}
}

const seedOrganization = `insert into organizations (tenant_id, slug, name) values ($1, $2, 'Shop')`

func TestMostSpecificZoneCounts(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db := tenanttest.New(t).Open(t)
	f := New()
	shop, foreign := tenant.ForSystem(id.New()), tenant.ForSystem(id.New())
	zone := func(s tenant.Scope, name string, countries, states, prefixes []string, currencies ...string) {
		t.Helper()
		err := db.Write(ctx, s, func(tx *tenant.Tx) error {
			in := &createZone{}
			in.Body.Name, in.Body.Countries, in.Body.States, in.Body.PostalCodePrefixes = name, countries, states, prefixes
			z, err := f.createZone(ctx, tx, in)
			if err != nil {
				return err
			}
			for i, c := range currencies {
				in := &createMethod{ZoneID: z.ID}
				in.Body.Name, in.Body.Kind, in.Body.Currency, in.Body.Amount, in.Body.Position = fmt.Sprintf("%s %s %d", name, c, i), flat, c, int64(i), 10-i
				if _, err := f.createMethod(ctx, tx, in); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []tenant.Scope{shop, foreign} {
		if err := db.Write(ctx, s, func(tx *tenant.Tx) error {
			_, err := tenant.Exec(ctx, tx, seedOrganization, s.Organization, "o-"+s.Organization.String())
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	zone(shop, "World", nil, nil, nil, "EUR")
	zone(shop, "DE", []string{"DE", "AT", "DE"}, nil, nil, "EUR", "EUR", "USD")
	zone(shop, "DE later", []string{"DE"}, nil, nil, "EUR")
	zone(shop, "Berlin", []string{"DE"}, []string{"be"}, nil, "EUR")
	zone(shop, "Islands", []string{"DE"}, nil, []string{"274-98", "27"}, "EUR")
	zone(shop, "Nothing there", []string{"FR"}, nil, nil)
	zone(foreign, "Foreign", []string{"DE"}, nil, []string{"27498"}, "EUR")

	for name, c := range map[string]struct {
		to       commerce.Address
		currency string
		want     string
	}{
		"country":         {commerce.Address{Country: "DE", PostalCode: "80331", State: "BY"}, "EUR", "[DE EUR 1 DE EUR 0]"},
		"currency":        {commerce.Address{Country: "AT"}, "USD", "[DE USD 2]"},
		"no such":         {commerce.Address{Country: "AT"}, "JPY", "[]"},
		"state":           {commerce.Address{Country: "DE", State: "BE"}, "EUR", "[Berlin EUR 0]"},
		"code":            {commerce.Address{Country: "DE", State: "BE", PostalCode: "2749 8"}, "EUR", "[Islands EUR 0]"},
		"shorter code":    {commerce.Address{Country: "DE", PostalCode: "27000"}, "EUR", "[Islands EUR 0]"},
		"all the world":   {commerce.Address{Country: "JP"}, "EUR", "[World EUR 0]"},
		"without methods": {commerce.Address{Country: "FR"}, "EUR", "[]"},
	} {
		options, err := f.Options(ctx, db.View(shop), commerce.Basket{ShippingAddress: &c.to, Currency: c.currency})
		names := []string{}
		for _, o := range options {
			names = append(names, o.Name)
		}
		if err != nil || fmt.Sprint(names) != c.want {
			t.Errorf("%s: %v, %v, want %s", name, names, err, c.want)
		}
	}
	if options, err := f.Options(ctx, db.View(shop), commerce.Basket{Currency: "EUR"}); err != nil || options == nil || len(options) != 0 {
		t.Errorf("to nowhere: %v, %v", options, err)
	}
}
