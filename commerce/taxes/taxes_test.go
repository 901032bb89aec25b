package taxes

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/tenant/tenanttest"
)

func TestPercent(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int{"19": 190_000, "8.875": 88_750, "0": 0, "0.0001": 1, "7.70": 77_000, "100": 1_000_000, "500": 5_000_000} {
		var p Percent
		if err := json.Unmarshal([]byte(`"`+in+`"`), &p); err != nil || int(p) != want {
			t.Errorf("%s is %d, %v, want %d", in, p, err, want)
		}
	}
	for _, bad := range []string{`19`, `""`, `"019"`, `"-1"`, `"1e1"`, `"1."`, `".5"`, `"1.00001"`, `" 1"`, `"1,5"`, `null1`} {
		var p Percent
		if json.Unmarshal([]byte(bad), &p) == nil {
			t.Errorf("%s is taken for %d", bad, p)
		}
	}
}

func TestPercentComesBackAsItWas(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := Percent(rapid.IntRange(0, maxPercent).Draw(t, "ppm"))
		raw, err := json.Marshal(p)
		var back Percent
		if err != nil || json.Unmarshal(raw, &back) != nil || back != p {
			t.Fatalf("%d is written as %s and read as %d", p, raw, back)
		}
	})
}

const seedOrganization = `insert into organizations (tenant_id, slug, name) values ($1, $2, 'Shop')`

func TestRatesOfAnAddress(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db := tenanttest.New(t).Open(t)
	f := New()
	scope, foreign := tenant.ForSystem(id.New()), tenant.ForSystem(id.New())
	write := func(s tenant.Scope, fn func(*tenant.Tx) error) {
		t.Helper()
		if err := db.Write(ctx, s, fn); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []tenant.Scope{scope, foreign} {
		write(s, func(tx *tenant.Tx) error {
			_, err := tenant.Exec(ctx, tx, seedOrganization, s.Organization, "o-"+s.Organization.String())
			return err
		})
	}
	rate := func(s tenant.Scope, country, state, prefix, class, name string, ppm int) {
		t.Helper()
		write(s, func(tx *tenant.Tx) error {
			in := &createRate{}
			in.Body.Name, in.Body.Country, in.Body.State, in.Body.PostalCodePrefix, in.Body.TaxClass, in.Body.Rate = name, country, state, prefix, class, Percent(ppm)
			_, err := f.create(ctx, tx, in)
			return err
		})
	}
	rate(scope, "DE", "", "", "standard", "VAT", 190_000)
	rate(scope, "DE", "", "", "reduced", "VAT", 70_000)
	rate(scope, "DE", "", "274 98", "standard", "VAT", 0) // Heligoland
	rate(scope, "US", "ny", "", "standard", "State", 40_000)
	rate(scope, "US", "NY", "100", "standard", "City", 45_000)
	rate(scope, "US", "NY", "", "standard", "City", 1)
	rate(scope, "US", "CA", "", "standard", "State", 72_500)
	rate(foreign, "DE", "", "", "standard", "VAT", 999_999)

	for name, c := range map[string]struct {
		to   *commerce.Address
		want string
	}{
		"country":            {&commerce.Address{Country: "DE", PostalCode: "10115"}, "map[reduced:[{VAT 70000}] standard:[{VAT 190000}]]"},
		"most specific":      {&commerce.Address{Country: "DE", PostalCode: "27498"}, "map[reduced:[{VAT 70000}] standard:[{VAT 0}]]"},
		"names add up":       {&commerce.Address{Country: "US", State: " ny ", PostalCode: "10001"}, "map[standard:[{City 45000} {State 40000}]]"},
		"elsewhere in state": {&commerce.Address{Country: "US", State: "NY", PostalCode: "12000"}, "map[standard:[{City 1} {State 40000}]]"},
		"another state":      {&commerce.Address{Country: "US", State: "CA"}, "map[standard:[{State 72500}]]"},
		"no state":           {&commerce.Address{Country: "US"}, "map[]"},
		"no rates":           {&commerce.Address{Country: "FR"}, "map[]"},
		"nowhere":            {nil, "map[]"},
	} {
		rates, settings, err := f.Rates(ctx, db.View(scope), c.to)
		if err != nil || fmt.Sprint(rates) != c.want {
			t.Errorf("%s: %v, %v, want %s", name, rates, err, c.want)
		}
		if settings != (commerce.TaxSettings{Scope: "line", ShippingClass: "standard"}) {
			t.Errorf("%s: settings are %+v", name, settings)
		}
	}

	write(scope, func(tx *tenant.Tx) error {
		in := &replaceSettings{}
		in.Body.PricesIncludeTax, in.Body.Rounding, in.Body.RoundingScope = true, "half_even", "order"
		in.Body.ShippingTaxClass.Present = true
		if _, err := f.replaceSettings(ctx, tx, in); err != nil {
			return err
		}
		// And within the transaction that changed them.
		_, settings, err := f.Rates(ctx, tx, nil)
		if want := (commerce.TaxSettings{Inclusive: true, HalfEven: true, Scope: "order"}); settings != want {
			t.Errorf("settings are %+v, want %+v", settings, want)
		}
		return err
	})
	if _, settings, err := f.Rates(ctx, db.View(foreign), nil); err != nil || settings.Inclusive {
		t.Errorf("the settings of one organisation hold in another: %+v, %v", settings, err)
	}
}
