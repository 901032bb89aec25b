package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/guildhall-dev/guildhall/internal/fault"
)

const (
	storefrontPrefix     = "/v1/storefront/"
	publishableKeyHeader = "Guildhall-Publishable-Key"
)

// authenticateShopper believes the publishable key first. So a page that may use
// the key can read why a customer's token was refused.
func (c *call) authenticateShopper(ctx context.Context, creds Credentials) error {
	if creds.PublishableKey == "" {
		return UnauthenticatedShopper()
	}
	bearer := creds.Bearer
	creds.Bearer = ""
	if err := c.take(ctx, c.kernel.IdentifyShopper, creds); err != nil {
		return err
	}
	if err := c.admitOrigin(); err != nil {
		return err
	}
	switch {
	case c.op.LogIn: // an old token that is sent along is what the caller wants to replace
		return nil
	case bearer != "":
		creds.Bearer = bearer
		return c.take(ctx, c.kernel.IdentifyShopper, creds)
	case c.op.CustomersOnly || c.header("Authorization") != "":
		return UnauthenticatedShopper()
	}
	return nil
}

// admitOrigin lets pages of the key's origins read the answer and refuses those
// of others. What is no page, such as the server of a shop, sends no Origin.
func (c *call) admitOrigin() error {
	origin := c.header("Origin")
	if origin == "" {
		return nil
	}
	if !c.caller.AllowsOrigin(origin) {
		return fault.New(fault.Denied, "origin_not_allowed", "The publishable key is not for pages of this origin. Add it to the key's allowed_origins.")
	}
	c.setHeader("Access-Control-Allow-Origin", origin)
	c.setHeader("Access-Control-Expose-Headers", exposedHeaders)
	return nil
}

// AllowsOrigin reports whether pages of the origin may use the publishable key.
// One of its origins may leave the port open: http://localhost:*.
func (c *Caller) AllowsOrigin(origin string) bool {
	return slices.ContainsFunc(c.Origins, func(allowed string) bool {
		if host, open := strings.CutSuffix(allowed, ":*"); open {
			port, ok := strings.CutPrefix(origin, host)
			return ok && (port == "" || port[0] == ':' && strings.Trim(port[1:], "0123456789") == "")
		}
		return origin == allowed
	})
}

const exposedHeaders = "ETag, Idempotency-Replayed, Link, Location, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"

// preflight answers what a browser asks before a request. It sends no key along,
// so whether the origin may is decided with the request itself; cookies, which
// would be sent without the page knowing them, play no part.
func preflight(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, "+publishableKeyHeader+", Idempotency-Key, If-Match, If-None-Match, X-Request-Id")
	h.Set("Access-Control-Max-Age", "7200")
	w.WriteHeader(http.StatusNoContent)
}
