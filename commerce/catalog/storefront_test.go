package catalog

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

// window is a shop over HTTP: any publishable key is that of the organisation,
// any bearer the id of a customer.
type window struct {
	t       testing.TB
	handler http.Handler
}

func (s *shop) open() window {
	s.t.Helper()
	catalogue, err := authz.NewCatalogue(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	router := api.NewRouter(&api.Kernel{
		DB: s.db, Catalogue: catalogue, Log: slog.New(slog.NewTextHandler(s.t.Output(), nil)), Cursors: page.NewCodec(make([]byte, 32)),
		IdentifyShopper: func(_ context.Context, c api.Credentials) (*api.Caller, error) {
			caller := &api.Caller{Scope: tenant.Scope{Organization: s.org, Actor: tenant.Actor{Kind: tenant.Shopper, ID: id.New()}}, Organization: s.org}
			if c.Bearer != "" {
				caller.Customer = id.MustParse(c.Bearer)
				caller.Scope.Actor = tenant.Actor{Kind: tenant.Customer, ID: caller.Customer}
			}
			return caller, nil
		},
	})
	s.f.storefrontOperations(router.Tagged("catalog"))
	if err := router.Err(); err != nil {
		s.t.Fatal(err)
	}
	return window{s.t, router.Handler()}
}

// look asks and decodes the answer, which must have the status.
func (w window) look(status int, path, customer string) (out struct {
	Data []Offer
	Next *string `json:"next_cursor"`
	Offer
	Total  *int64
	Facets *Facets
	Code   string
	body   string
},
) {
	w.t.Helper()
	req := httptest.NewRequestWithContext(w.t.Context(), "GET", "/v1/storefront/"+path, nil)
	req.Header.Set("Guildhall-Publishable-Key", "ghp_x")
	if customer != "" {
		req.Header.Set("Authorization", "Bearer "+customer)
	}
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, req)
	out.body = rec.Body.String()
	if rec.Code != status {
		w.t.Fatalf("%s: status %d: %s", path, rec.Code, out.body)
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &out); err != nil {
		w.t.Fatalf("%s: %v: %s", path, err, out.body)
	}
	return out
}

func names(offers []Offer) string {
	out := make([]string, len(offers))
	for i, o := range offers {
		out[i] = o.Name
	}
	return strings.Join(out, ",")
}

func TestAShopShowsWhatIsSold(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	w := s.open()
	clothes := s.category("Clothes", nil)
	shirts := s.category("Shirts", &clothes.ID)
	in := func(c Category) func(*productBody) { return func(b *productBody) { b.CategoryID = &c.ID } }
	tagged := func(tags ...string) func(*productBody) {
		return func(b *productBody) { b.Tags, b.Brand, b.Attributes = tags, "Acme", Attributes{"color": "red"} }
	}
	linen := s.product("Linen", 4900, 3, in(shirts), tagged("Summer"))
	s.product("Wool", 9900, 0, in(clothes), tagged("winter", "sale"))
	tea := s.product("Tea", 500, 8)
	past, later := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	s.product("Draft", 1, 1, func(b *productBody) { b.Status = draft })
	s.product("Archived", 1, 1, func(b *productBody) { b.Status = archived })
	s.product("Later", 1, 1, func(b *productBody) { b.PublishAt = &later })
	s.product("Over", 1, 1, func(b *productBody) { b.UnpublishAt = &past })
	s.another().product("Theirs", 1, 1)

	in2 := &patchVariant{VariantID: linen.Variants[0].ID}
	in2.Body.Cost = api.Some(eur(1234))
	if _, err := run(s, s.f.patchVariant, in2); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		"sort=name":                               "Linen,Tea,Wool",
		"sort=-price":                             "Wool,Linen,Tea",
		"sort=created_at":                         "Linen,Wool,Tea",
		"sort=name&category=clothes":              "Linen,Wool",
		"sort=name&in_stock=true":                 "Linen,Tea",
		"sort=name&in_stock=false":                "Wool",
		"sort=name&price_min=500&price_max=5000":  "Linen,Tea",
		"sort=name&tag=SUMMER":                    "Linen",
		"sort=name&attribute=color:red":           "Linen,Wool",
		"sort=name&search=te":                     "Tea",
		"sort=name&currency=EUR":                  "Linen,Tea,Wool",
		"sort=name&currency=USD":                  "",
		"sort=name&brand=acme&category=shirts":    "Linen",
		"sort=name&search=draft":                  "",
		"sort=name&category=nowhere&facets=price": "",
	} {
		got := w.look(200, "products?include=total&"+query, "")
		if names(got.Data) != want || *got.Total != int64(len(got.Data)) {
			t.Errorf("%s: %s of %d, want %s", query, names(got.Data), *got.Total, want)
		}
		if strings.Contains(got.body, "1234") || strings.Contains(got.body, "cost") {
			t.Errorf("%s tells what it costs the shop: %s", query, got.body)
		}
		var walked []Offer
		for cursor := ""; ; {
			p := w.look(200, "products?limit=1&"+query+cursor, "")
			walked = append(walked, p.Data...)
			if p.Next == nil {
				break
			}
			cursor = "&cursor=" + *p.Next
		}
		if names(walked) != want {
			t.Errorf("%s in pages of one: %s", query, names(walked))
		}
	}
	got := w.look(200, "products?limit=1&facets=category,brand,price,tag", "").Facets
	if raw, _ := json.Marshal(got); string(raw) != `{"category":[{"value":"clothes","name":"Clothes","count":1},{"value":"shirts","name":"Shirts","count":1}],`+
		`"brand":[{"value":"Acme","name":"Acme","count":2}],"tag":[{"value":"Summer","name":"Summer","count":1},{"value":"sale","name":"sale","count":1},{"value":"winter","name":"winter","count":1}],`+
		`"price":[{"currency":"EUR","min":500,"max":9900,"count":3}]}` {
		t.Errorf("facets are %s", raw)
	}
	if got := w.look(200, "products?facets=brand&category=shirts", "").Facets; got.Tag != nil || len(*got.Brand) != 1 || (*got.Brand)[0].Count != 1 {
		t.Errorf("one facet is %+v", got)
	}

	one := w.look(200, "products/linen", "")
	if one.ID != linen.ID || !one.InStock || one.StockQuantity != 3 || *one.Category != "shirts" || one.Variants[0].Price.Amount != 4900 {
		t.Errorf("by its slug: %s", one.body)
	}
	if got := w.look(200, "products/"+tea.ID.String(), ""); got.Name != "Tea" {
		t.Errorf("by its id: %s", got.body)
	}
	for _, hidden := range []string{"draft", "later", "theirs", "nowhere", id.New().String()} {
		w.look(404, "products/"+hidden, "")
	}
	if got := w.look(422, "products/tea?currency=USD", ""); got.Code != "price_unavailable" {
		t.Errorf("in dollars: %s", got.body)
	}
	w.look(404, "products/draft?currency=USD", "")
	if got := w.look(200, "categories", ""); !strings.Contains(got.body, `"path":["clothes","shirts"]`) {
		t.Errorf("categories are %s", got.body)
	}
}

// TestAShopShowsTheShoppersPrices holds the prices of lists against those that
// a cart gets.
func TestAShopShowsTheShoppersPrices(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	w := s.open()
	tea, cup := s.product("Tea", 1000, 0), s.product("Cup", 600, 0)
	customer := id.New()
	s.must(`insert into customers (tenant_id, id, email, email_key, name, customer_group) values ($1, $2, 'a@example.test', 'a@example.test', 'A', 'wholesale')`, s.org, customer)
	list := func(currency, group string, variant id.ID, amount int64) {
		l := id.New()
		s.must(`insert into price_lists (tenant_id, id, name, currency, customer_group) values ($1, $2, 'L', $3, nullif($4::text, ''))`, s.org, l, currency, group)
		s.must(`insert into price_list_prices (tenant_id, variant_id, price_list_id, amount) values ($1, $2, $3, $4)`, s.org, variant, l, amount)
	}
	list("EUR", "wholesale", tea.Variants[0].ID, 500)
	list("USD", "", tea.Variants[0].ID, 1100)
	for _, c := range []struct{ query, customer, want string }{
		{"sort=price", "", "Cup,Tea"},
		{"sort=price", customer.String(), "Tea,Cup"},
		{"sort=price&price_max=550", customer.String(), "Tea"},
		{"sort=price&currency=EUR", customer.String(), "Tea,Cup"},
		{"sort=price&currency=USD", "", "Tea"},
		{"sort=price&currency=USD&price_min=1101", "", ""},
	} {
		if got := w.look(200, "products?"+c.query, c.customer); names(got.Data) != c.want {
			t.Errorf("%s as %q: %s, want %s", c.query, c.customer, names(got.Data), c.want)
		}
	}
	got := w.look(200, "products/tea", customer.String())
	if got.Price.Amount != 500 || got.Variants[0].Price.Amount != 500 || got.Variants[0].CompareAtPrice == nil || got.Variants[0].CompareAtPrice.Amount != 1000 {
		t.Errorf("wholesale: %s", got.body)
	}
	if got := w.look(200, "products/tea?currency=USD", ""); got.Price.Amount != 1100 || got.Currency != "USD" || got.Variants[0].CompareAtPrice != nil {
		t.Errorf("in dollars: %s", got.body)
	}
	w.look(422, "products/"+cup.ID.String()+"?currency=USD", "")
}
