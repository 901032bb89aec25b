package api_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/tenant/tenanttest"
)

// shop is a router with three operations of a storefront, behind one key.
type shop struct {
	t      *testing.T
	router *api.Router
	ran    int
}

func newShop(t *testing.T, limits api.Limits) *shop {
	t.Helper()
	catalogue, err := authz.NewCatalogue(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &shop{t: t}
	scope := tenant.ForSystem(id.New())
	key, customer := id.New(), id.New()
	s.router = api.NewRouter(&api.Kernel{
		DB: tenanttest.New(t).Open(t), Catalogue: catalogue, Log: slog.New(slog.DiscardHandler), Limits: limits,
		Identify: func(context.Context, api.Credentials) (*api.Caller, error) { return nil, api.Unauthenticated() },
		IdentifyShopper: func(_ context.Context, c api.Credentials) (*api.Caller, error) {
			caller := &api.Caller{Scope: scope, Organization: scope.Organization, Origins: []string{"https://shop.example", "http://localhost:*"}}
			caller.Scope.Actor = tenant.Actor{Kind: tenant.Shopper, ID: key}
			if c.PublishableKey != "ghp_good" || c.Bearer != "" && c.Bearer != "ann" {
				return nil, api.UnauthenticatedShopper()
			}
			if c.Bearer == "ann" {
				caller.Customer, caller.Scope.Actor = customer, tenant.Actor{Kind: tenant.Customer, ID: customer}
			}
			return caller, nil
		},
	})
	r := s.router.Tagged("names")
	take := func(ctx context.Context, _ *tenant.Tx, in *nameInput) (named, error) {
		s.ran++
		return named{string(api.CallerOf(ctx).Scope.Actor.Kind)}, nil
	}
	api.Write(r, api.Op{ID: "take", Route: "POST /storefront/names", Summary: "s", Doc: "d", Access: api.Storefront}, take)
	api.Write(r, api.Op{ID: "take-mine", Route: "PUT /storefront/names", Summary: "s", Doc: "d", Access: api.Storefront, CustomersOnly: true}, take)
	api.Call(r, api.Op{ID: "enter", Route: "POST /storefront/enter", Summary: "s", Doc: "d", Access: api.Storefront, LogIn: true},
		func(context.Context, *nameInput) (named, error) { return named{}, nil })
	if err := s.router.Err(); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *shop) send(method, path string, headers ...string) *httptest.ResponseRecorder {
	s.t.Helper()
	req := httptest.NewRequestWithContext(s.t.Context(), method, path, strings.NewReader(`{"name":"x"}`))
	req.Header.Set("Content-Type", "application/json")
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ": ")
		req.Header.Set(k, v)
	}
	rec := httptest.NewRecorder()
	s.router.Handler().ServeHTTP(rec, req)
	return rec
}

const goodKey = "Guildhall-Publishable-Key: ghp_good"

func TestStorefrontAsksForTheKeyFirst(t *testing.T) {
	t.Parallel()
	s := newShop(t, api.Limits{})
	for _, c := range []struct {
		method  string
		want    int
		says    string
		headers []string
	}{
		{"POST", 401, "unauthenticated", nil},
		{"POST", 401, "unauthenticated", []string{"Authorization: Bearer ann"}},
		{"POST", 401, "unauthenticated", []string{"Guildhall-Publishable-Key: ghp_bad"}},
		{"POST", 201, "shopper", []string{goodKey}},
		{"POST", 201, "customer", []string{goodKey, "Authorization: Bearer ann"}},
		{"POST", 401, "unauthenticated", []string{goodKey, "Authorization: Bearer bob"}},
		{"POST", 401, "unauthenticated", []string{goodKey, "Authorization: Basic YTpi"}},
		{"PUT", 401, "unauthenticated", []string{goodKey}},
		{"PUT", 200, "customer", []string{goodKey, "Authorization: Bearer ann"}},
		{"POST", 422, "without a log-in", []string{goodKey, "Idempotency-Key: order-1"}},
		{"POST", 201, "shopper", []string{goodKey, "Idempotency-Key: 0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07"}},
		{"POST", 201, "customer", []string{goodKey, "Idempotency-Key: order-1", "Authorization: Bearer ann"}},
		// The same Idempotency-Key of another principal is another one.
		{"POST", 201, "customer", []string{goodKey, "Idempotency-Key: 0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07", "Authorization: Bearer ann"}},
	} {
		rec := s.send(c.method, "/v1/storefront/names", c.headers...)
		if rec.Code != c.want || !strings.Contains(rec.Body.String(), c.says) {
			t.Errorf("%s with %q: %d %s, want %d and %q", c.method, c.headers, rec.Code, rec.Body, c.want, c.says)
		}
		if rec.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s with %q: no page asked", c.method, c.headers)
		}
	}
	if rec := s.send("POST", "/v1/storefront/enter", goodKey, "Authorization: Bearer old"); rec.Code != 201 {
		t.Errorf("an old token keeps from logging in: %d %s", rec.Code, rec.Body)
	}
}

func TestStorefrontAdmitsPagesOfTheKeysOrigins(t *testing.T) {
	t.Parallel()
	s := newShop(t, api.Limits{})
	for origin, want := range map[string]bool{
		"https://shop.example": true, "http://localhost:3000": true, "http://localhost": true,
		"https://shop.example.evil": false, "http://shop.example": false, "https://shop.example:8443": false, "https://a.shop.example": false,
		"null": false, "http://localhost:3000.evil.example": false, "http://localhost.evil": false, "https://localhost:3000": false, "*": false,
		"http://localhost:*": false,
	} {
		ran := s.ran
		rec := s.send("POST", "/v1/storefront/names", goodKey, "Origin: "+origin)
		got := rec.Header().Get("Access-Control-Allow-Origin")
		switch {
		case want && (rec.Code != 201 || got != origin || !strings.Contains(rec.Header().Get("Access-Control-Expose-Headers"), "ETag")):
			t.Errorf("%s: %d, allowed %q: %s", origin, rec.Code, got, rec.Body)
		case !want && (rec.Code != 403 || got != "" || !strings.Contains(rec.Body.String(), "origin_not_allowed") || s.ran != ran):
			t.Errorf("%s: %d, allowed %q: %s", origin, rec.Code, got, rec.Body)
		}
		if !strings.Contains(rec.Header().Get("Vary"), "Origin") || rec.Header().Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %v", origin, rec.Header())
		}
	}
	// A page must be able to read that its customer's token is over.
	rec := s.send("PUT", "/v1/storefront/names", goodKey, "Origin: https://shop.example", "Authorization: Bearer old")
	if rec.Code != 401 || rec.Header().Get("Access-Control-Allow-Origin") != "https://shop.example" {
		t.Errorf("%d %v", rec.Code, rec.Header())
	}
	rec = s.send("OPTIONS", "/v1/storefront/names", "Origin: https://anywhere.example", "Access-Control-Request-Method: PUT")
	if h := rec.Header(); rec.Code != 204 || h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Access-Control-Allow-Credentials") != "" ||
		!strings.Contains(h.Get("Access-Control-Allow-Headers"), "Guildhall-Publishable-Key") || !strings.Contains(h.Get("Access-Control-Allow-Methods"), "PUT") {
		t.Errorf("preflight: %d %v", rec.Code, h)
	}
	if rec := s.send("OPTIONS", "/v1/names", "Origin: https://anywhere.example"); rec.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Error("a preflight outside the storefront was answered")
	}
}

func TestStorefrontLimits(t *testing.T) {
	t.Parallel()
	s := newShop(t, api.Limits{Address: api.Bucket{Rate: 0.001, Burst: 2}, Shopper: api.Bucket{Rate: 0.001, Burst: 4}, Shop: api.Bucket{Rate: 0.001, Burst: 7}})
	count := func(path string) (n int) {
		for n = 0; s.send("POST", path, goodKey).Code == http.StatusCreated; n++ {
		}
		return n
	}
	if n := count("/v1/storefront/enter"); n != 2 {
		t.Errorf("%d log-ins went through", n)
	}
	if n := count("/v1/storefront/names"); n != 4 {
		t.Errorf("%d other calls went through", n)
	}
	// From elsewhere, until the shop as a whole has had enough.
	n := 0
	for ; ; n++ {
		req := httptest.NewRequest("POST", "/v1/storefront/names", strings.NewReader(`{"name":"x"}`))
		req.RemoteAddr = "198.51.100." + string(rune('1'+n)) + ":1000"
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Guildhall-Publishable-Key", "ghp_good")
		rec := httptest.NewRecorder()
		s.router.Handler().ServeHTTP(rec, req)
		if rec.Code != 201 {
			break
		}
	}
	if n != 1 {
		t.Errorf("%d more went through", n)
	}
}

func TestStorefrontLiterals(t *testing.T) {
	t.Parallel()
	for _, op := range []api.Op{
		{Route: "GET /names", Access: api.Storefront},
		{Route: "GET /storefront/names", AnyMember: true},
		{Route: "GET /storefront/names", Access: api.Public},
		{Route: "GET /names", Access: api.Public, LogIn: true},
		{Route: "GET /names", Access: api.SignedIn, CustomersOnly: true},
		{Route: "GET /storefront/names", Access: api.Storefront, CustomersOnly: true, LogIn: true},
	} {
		op.ID, op.Summary, op.Doc = "x", "s", "d"
		r := api.NewRouter(&api.Kernel{Log: slog.New(slog.DiscardHandler)})
		api.Call(r, op, func(context.Context, *struct{}) (named, error) { return named{}, nil })
		if r.Err() == nil {
			t.Errorf("%+v was taken", op)
		}
	}
}
