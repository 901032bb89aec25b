package main

import (
	"net/http"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"github.com/guildhall-dev/guildhall/api"
)

// shops are the storefronts of the matrix, and who tries to get in.
type shops struct {
	t            testing.TB
	doc          *huma.OpenAPI
	ours, theirs seeded
	stranger     *client // another customer of theirs
	revoked      *client // comes to theirs with a key that was revoked
	apiKey       string  // of theirs
}

func newShops(w *world, ours, theirs seeded) *shops {
	w.t.Helper()
	s := &shops{t: w.t, doc: w.app.router.OpenAPI(), ours: ours, theirs: theirs, stranger: theirs.shopper.customer("stranger@example.test")}
	made := theirs.owner.post("/v1/storefront-keys", m{"name": "Old"}).want(201)
	s.revoked = &client{w: w, key: made.str("key"), token: theirs.customer.token}
	s.revoked.get("/v1/storefront/customers/me").want(200)
	theirs.owner.delete(made.header("Location")).want(204)
	s.apiKey = theirs.owner.post("/v1/api-keys", m{"name": "k", "permissions": []string{"customers.read"}}).want(201).str("key")
	return s
}

// try asks an operation of the storefront with every credential that is none
// there, and for what belongs to another shop and to another customer.
func (s *shops) try(op api.Registered, all []slot) (attempts int) {
	s.t.Helper()
	own := sample(s.doc, op, all, s.theirs.ids)
	refused := map[string]*client{
		"without a key":                       s.theirs.customer.without(),
		"with a revoked key":                  s.revoked,
		"with a key of nothing":               {w: s.theirs.customer.w, key: "ghp_0000000000000000000000000000000000000000001"},
		"with an API key as publishable key":  {w: s.theirs.customer.w, key: s.apiKey},
		"with a publishable key as a bearer":  s.theirs.customer.without().with(s.theirs.customer.key),
		"as a member, without a key":          s.theirs.owner,
		"as a revoked shop, without a log-in": s.revoked.with(""),
	}
	if !op.LogIn { // which looks at no bearer
		refused["as a member"] = s.theirs.shopper.with(s.theirs.owner.token)
		refused["with an API key"] = s.theirs.shopper.with(s.apiKey)
		refused["as a customer of another shop"] = s.theirs.shopper.with(s.ours.customer.token)
		refused["as a customer, with another shop's key"] = s.ours.shopper.with(s.theirs.customer.token)
	}
	if op.CustomersOnly {
		refused["without a log-in"] = s.theirs.shopper
	}
	for how, c := range refused {
		attempts++
		if r := own.send(c); r.status != http.StatusUnauthorized || r.str("code") != "unauthenticated" {
			s.t.Errorf("%s %s: status %d, want 401: %s", op.ID, how, r.status, r.body)
		}
	}
	mine := sample(s.doc, op, all, s.ours.ids)
	for _, at := range all {
		attempts += compare(s.t, s.ours.customer, mine, at, s.theirs.ids[at.kind], "of another shop")
		attempts += compare(s.t, s.stranger, own, at, s.theirs.owned[at.kind], "of another customer")
		if !op.CustomersOnly {
			attempts += compare(s.t, s.ours.shopper, mine, at, s.theirs.ids[at.kind], "of another shop")
			attempts += compare(s.t, s.theirs.shopper, own, at, s.theirs.owned[at.kind], "of a customer")
		}
	}
	return attempts
}

// without returns the same customer without the publishable key.
func (c *client) without() *client {
	d := *c
	d.key = ""
	return &d
}
