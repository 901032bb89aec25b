package catalog

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// TestStockOfAProduct sums what is to be had over variants and locations; a
// variant that was sold beyond what is there counts as none.
func TestStockOfAProduct(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	in := &createProduct{Body: productBody{Name: "Shirt", Options: []Option{{"Size", []string{"S", "M"}}}, Variants: []listedVariant{
		{Price: eur(1), Options: Choice{"Size": "S"}, InitialStock: 7}, {Price: eur(1), Options: Choice{"Size": "M"}, InitialStock: 2},
	}}}
	made, err := run(s, s.f.create, in)
	if err != nil {
		t.Fatal(err)
	}
	if made.StockQuantity != 9 || made.Variants[0].StockQuantity != 7 {
		t.Errorf("made with %d, the first with %d", made.StockQuantity, made.Variants[0].StockQuantity)
	}
	s.must(`update stock_levels set reserved = 4, shortfall = 2 where variant_id = $1`, made.Variants[1].ID)
	second := id.New()
	s.must(`insert into stock_locations (tenant_id, id, code, name) values ($1, $2, 'second', 'Second')`, s.org, second)
	s.must(`insert into stock_levels (tenant_id, variant_id, location_id, on_hand, reserved) values ($1, $2, $3, 5, 1)`, s.org, made.Variants[0].ID, second)
	p, err := read(context.Background(), s.db.View(s.scope), made.ID)
	if err != nil {
		t.Fatal(err)
	}
	if p.StockQuantity != 11 || p.Variants[0].StockQuantity != 11 || p.Variants[1].StockQuantity != 0 {
		t.Errorf("read %d: %d and %d", p.StockQuantity, p.Variants[0].StockQuantity, p.Variants[1].StockQuantity)
	}
	if p.Version != 1 {
		t.Errorf("stock gave the product version %d", p.Version)
	}
}

// TestOneSKUOfTwo lets many make the same SKU at once: one of them does.
func TestOneSKUOfTwo(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	var g errgroup.Group
	made := make([]error, 12)
	for i := range made {
		g.Go(func() error {
			sku := []string{"ABC", "abc"}[i%2]
			_, made[i] = run(s, s.f.create, &createProduct{Body: productBody{Name: "Same name", Price: api.Some(eur(1)), SKU: api.Some(sku)}})
			return nil
		})
	}
	_ = g.Wait()
	ok := 0
	for _, err := range made {
		switch f := fault.As(err); {
		case err == nil:
			ok++
		case f == nil || f.Code != "variant_sku_taken":
			t.Errorf("refused with %v", err)
		}
	}
	n, err := tenant.Value[int](context.Background(), s.db.View(s.scope), `select count(*)::int from products`)
	if ok != 1 || n != 1 || err != nil {
		t.Errorf("%d were told that it is theirs, %d products are there, %v", ok, n, err)
	}
}

// TestSlugsOfOneName lets many make a product of one name at once: each gets a
// slug.
func TestSlugsOfOneName(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	var g errgroup.Group
	for range 12 {
		g.Go(func() error {
			_, err := run(s, s.f.create, &createProduct{Body: productBody{Name: "Tea", Price: api.Some(eur(1))}})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	n, err := tenant.Value[int](context.Background(), s.db.View(s.scope), `select count(distinct slug)::int from products where slug like 'tea%'`)
	if n != 12 || err != nil {
		t.Errorf("%d slugs, %v", n, err)
	}
}

// TestCategoriesMoveIntoNoCircle lets two move below each other at once, again
// and again.
func TestCategoriesMoveIntoNoCircle(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for round := range 10 {
		a, b := s.category(fmt.Sprint("A", round), nil), s.category(fmt.Sprint("B", round), nil)
		move := func(c, to id.ID) error {
			in := &patchCategory{CategoryID: c}
			in.Body.ParentID = api.Some(to)
			_, err := run(s, s.f.patchCategory, in)
			return err
		}
		var g errgroup.Group
		var errs [2]error
		g.Go(func() error { errs[0] = move(a.ID, b.ID); return nil })
		g.Go(func() error { errs[1] = move(b.ID, a.ID); return nil })
		_ = g.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("round %d: %v and %v", round, errs[0], errs[1])
		}
	}
	n, err := tenant.Value[int](context.Background(), s.db.View(s.scope), `with `+wholeTree+`select count(*)::int from listed`, s.org)
	if n != 20 || err != nil {
		t.Errorf("%d of 20 categories hang on the tree, %v", n, err)
	}
}

// TestOneVersionForAll changes a product and its variants at once: no change is
// lost, and each moves the version.
func TestOneVersionForAll(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := s.product("Shirt", 100, 0)
	const each = 8
	var g errgroup.Group
	for i := range each {
		g.Go(func() error {
			in := &patchVariant{VariantID: p.Variants[0].ID}
			in.Body.WeightGrams = api.Some(i + 1)
			_, err := run(s, s.f.patchVariant, in)
			return err
		})
		g.Go(func() error {
			in := &patchProduct{ProductID: p.ID}
			in.Body.Description = api.Some(fmt.Sprint(i))
			_, err := run(s, s.f.patch, in)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	now, err := read(context.Background(), s.db.View(s.scope), p.ID)
	if err != nil || now.Version != 1+2*each || now.Variants[0].Version != 1+each || now.Variants[0].WeightGrams == 0 || now.Description == "" {
		t.Errorf("%+v, %v", now, err)
	}
}

func TestItemsArePriced(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	ctx := context.Background()
	tea, cup := s.product("Tea", 1000, 0), s.product("Cup", 500, 0)
	hidden := s.product("Hidden", 1, 0, func(b *productBody) { b.Status = draft })
	later := time.Now().Add(time.Hour)
	soon := s.product("Soon", 1, 0, func(b *productBody) { b.PublishAt = &later })
	gone := s.product("Gone", 1, 0)
	if _, err := run(s, s.f.remove, &productMatch{ProductID: gone.ID}); err != nil {
		t.Fatal(err)
	}
	list := func(currency, group string, priority int, edit func(*createPriceList)) id.ID {
		in := &createPriceList{}
		in.Body.Name, in.Body.Currency, in.Body.Priority = "L", currency, priority
		if group != "" {
			in.Body.CustomerGroup = &group
		}
		if edit != nil {
			edit(in)
		}
		l, err := run(s, s.f.createPriceList, in)
		if err != nil {
			t.Fatal(err)
		}
		return l.ID
	}
	set := func(list, variant id.ID, from int, amount int64) {
		in := &setPricesInput{PriceListID: list}
		in.Body.Prices = append(in.Body.Prices, struct {
			VariantID   id.ID `json:"variant_id" ref:"variant" doc:"The variant."`
			MinQuantity int   `json:"min_quantity,omitempty" minimum:"1" maximum:"1000000" default:"1" doc:"From how many in one line on."`
			Amount      int64 `json:"amount" minimum:"0" maximum:"1000000000000" example:"1799" doc:"Of each, in minor units of the list's currency."`
		}{variant, from, amount})
		if _, err := run(s, s.f.setPrices, in); err != nil {
			t.Fatal(err)
		}
	}
	variant := tea.Variants[0].ID
	wholesale := list("EUR", "wholesale", 10, nil)
	set(wholesale, variant, 1, 800)
	set(wholesale, variant, 10, 700)
	sale := list("EUR", "", 5, nil)
	set(sale, variant, 5, 900)
	other := list("EUR", "", 5, nil)
	set(other, variant, 5, 850)
	set(list("USD", "", 0, nil), variant, 1, 1100)
	set(list("EUR", "", 99, func(in *createPriceList) { in.Body.Enabled = api.Some(false) }), variant, 1, 1)
	set(list("EUR", "", 99, func(in *createPriceList) { in.Body.StartsAt = &later }), variant, 1, 2)
	past := time.Now().Add(-time.Hour)
	set(list("EUR", "", 99, func(in *createPriceList) { in.Body.EndsAt = &past }), variant, 1, 3)
	for _, c := range []struct {
		currency, group string
		quantity        int
		want            int64 // -1: not sold
	}{
		{"EUR", "", 1, 1000}, {"EUR", "", 5, 850}, {"EUR", "nobody", 100, 850},
		{"EUR", "wholesale", 1, 800}, {"EUR", "wholesale", 9, 800}, {"EUR", "wholesale", 10, 700}, {"EUR", "wholesale", 1000, 700},
		{"USD", "", 1, 1100}, {"USD", "wholesale", 1, 1100}, {"JPY", "", 1, -1},
	} {
		wants := []commerce.Demand{{VariantID: variant, Quantity: c.quantity}}
		items, err := s.f.Items(ctx, s.db.View(s.scope), c.currency, c.group, wants)
		if err != nil || len(items) != 1 {
			t.Fatalf("%+v: %v, %v", c, items, err)
		}
		if got := items[0].UnitPrice; (got == nil) != (c.want < 0) || got != nil && *got != c.want {
			t.Errorf("%+v: priced %v", c, got)
		}
	}
	wants := []commerce.Demand{{VariantID: cup.Variants[0].ID, Quantity: 1}, {VariantID: hidden.Variants[0].ID, Quantity: 1}, {VariantID: soon.Variants[0].ID, Quantity: 1},
		{VariantID: gone.Variants[0].ID, Quantity: 1}, {VariantID: id.New(), Quantity: 1}, {VariantID: variant, Quantity: 1}}
	items, err := s.f.Items(ctx, s.db.View(s.scope), "EUR", "", wants)
	if err != nil || len(items) != 2 || items[0].Title != "Cup" || items[1].Title != "Tea" || items[0].VariantTitle != "" {
		t.Errorf("for sale are %+v, %v", items, err)
	}
	if items, err := s.f.Items(ctx, s.db.View(s.another().scope), "EUR", "", wants); err != nil || len(items) != 0 {
		t.Errorf("another organisation sells %+v, %v", items, err)
	}
}
