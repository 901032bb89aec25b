package catalog

import (
	"context"
	"testing"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	manyProducts = `insert into products (tenant_id, id, slug, name, name_key, status, category_id, brand, tags, currency, price_from, price_to, created_by_kind)
select $1, gen_random_uuid(), 'p-' || n, 'Product ' || n, 'product ' || n, 'active', $2, 'Brand ' || n % 7, array['t' || n % 5], 'EUR', n, n, 'system' from generate_series(1, $3::int) n`
	manyVariants = `insert into product_variants (tenant_id, id, product_id, currency, title, option_key, price, position)
select p.tenant_id, gen_random_uuid(), p.id, 'EUR', 'V' || n, n::text, p.price_from + n, n from products p cross join generate_series(0, 1) n where p.tenant_id = $1`
	manyLevels = `insert into stock_levels (tenant_id, variant_id, location_id, on_hand)
select v.tenant_id, v.id, l.id, 5 from product_variants v join stock_locations l on l.tenant_id = v.tenant_id where v.tenant_id = $1`
)

// stock fills an organisation with products of two variants, in stock, half of
// them in a category.
func (s *shop) stock(products int) {
	s.t.Helper()
	c := s.category("Half", nil)
	s.must(manyProducts, s.org, c.ID, products/2)
	s.must(`update products set slug = 'q' || slug where tenant_id = $1`, s.org)
	s.must(manyProducts, s.org, nil, products-products/2)
	s.must(manyVariants, s.org)
	s.must(seedLocation, s.org, id.New())
	s.must(manyLevels, s.org)
}

// TestListedPricesGoByTheKeys asks for what a shop sells where all of it stands
// in lists and the planner does not know yet how much that is.
func TestListedPricesGoByTheKeys(t *testing.T) {
	t.Parallel()
	const products = 500
	s := newShop(t)
	s.stock(products)
	s.must(`insert into price_lists (tenant_id, id, name, currency) values ($1, gen_random_uuid(), 'L', 'EUR'), ($1, gen_random_uuid(), 'M', 'USD')`, s.org)
	s.must(`insert into price_list_prices (tenant_id, variant_id, price_list_id, amount)
select v.tenant_id, v.id, l.id, 7 from product_variants v join price_lists l on l.tenant_id = v.tenant_id where v.tenant_id = $1`, s.org)
	for _, planner := range []string{"without figures", "with figures"} {
		if planner == "with figures" {
			s.analyze()
		}
		o, err := offersOf(s.scope, "USD", Filter{})
		if err != nil {
			t.Fatal(err)
		}
		key := sortKeyOf("-created_at")
		for what, sql := range map[string]string{"page": o.page(o.chosen(key, 51, 0), key), "facets": o.facets([]string{"price"})} {
			if pages := s.pages(sql, o.args...); pages > 40*products {
				t.Errorf("%s: the %s looks at %d pages for %d products", planner, what, pages, products)
			}
		}
	}
}

// TestListsDoNotGrowWithOthers counts the pages of the database that lists of a
// small shop look at, alone and beside a large one, and those of the large one's
// page against its size.
func TestListsDoNotGrowWithOthers(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.stock(60)
	large := s.another()
	large.stock(2000)
	s.analyze()
	statements := func(s *shop) map[string]func() int {
		list := func(sort string, f Filter) func() int {
			return func() int {
				sel, err := productsOf(s.org, f, "p.price_from", selection{})
				if err != nil {
					t.Fatal(err)
				}
				return s.pages(pageOf(sel, sortKeyOf(sort), 51, 0), sel.args...)
			}
		}
		return map[string]func() int{
			"newest":   list("-created_at", Filter{}),
			"name":     list("name", Filter{}),
			"price":    list("-price", Filter{}),
			"category": list("-created_at", Filter{Category: "half"}),
			"offers": func() int {
				o, err := offersOf(s.scope, "EUR", Filter{})
				if err != nil {
					t.Fatal(err)
				}
				return s.pages(o.page(o.chosen(sortKeyOf("name"), 51, 0), sortKeyOf("name")), o.args...)
			},
			"facets": func() int {
				o, err := offersOf(s.scope, "", Filter{})
				if err != nil {
					t.Fatal(err)
				}
				return s.pages(o.facets([]string{"category", "brand", "tag", "price"}), o.args...)
			},
		}
	}
	// 51 products with two variants and two levels each, by their keys.
	const enough = 1500
	for name, pages := range statements(s) {
		if n := pages(); n > enough {
			t.Errorf("the small shop's %s looks at %d pages", name, n)
		}
	}
	for name, pages := range statements(large) {
		if n := pages(); name != "category" && name != "facets" && name != "offers" && n > enough {
			t.Errorf("the large shop's %s looks at %d pages", name, n)
		}
	}
	rows, err := tenant.Value[int](context.Background(), s.db.View(s.scope), `select count(*)::int from products`)
	if err != nil || rows != 60 {
		t.Errorf("%d products, %v", rows, err)
	}
}
