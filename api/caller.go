package api

import (
	"context"

	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Caller is an authenticated principal, with an organisation if one was asked
// for. It is immutable once made, and may be shared by requests.
type Caller struct {
	Scope        tenant.Scope // without organisation for SignedIn operations
	User         id.ID        // the person, or the key's creator
	Session      id.ID        // nil for keys
	Role         string       // in the organisation
	Permissions  authz.Set
	Organization id.ID
	Operator     bool // of the instance
	// Customer is who shops, in Storefront operations; nil for who is not logged
	// in. The session is the customer's then.
	Customer id.ID
	// Origins are the web pages that may use the publishable key.
	Origins []string
}

// Credentials are what a request brought.
type Credentials struct {
	Bearer       string
	Organization string // header Guildhall-Organization: id, slug, or ""
	Access       Access
	// PublishableKey is the header Guildhall-Publishable-Key. In operations of the
	// storefront it comes alone first, and with a bearer if there is one.
	PublishableKey string
	// Fresh asks to look past every cache: the last answer proved stale.
	Fresh bool
	// Unproven is asked before a look-up for credentials that nothing vouches for
	// yet, neither a signature nor that they were good a while ago. Its error, if
	// any, is the answer: too many bad ones came from the same address. Nil asks
	// for nothing.
	Unproven func() error
}

// Identify turns credentials into a caller, or into a fault that says what is
// wrong with them. It is given by the wiring, since people and organisations
// are features.
type Identify func(ctx context.Context, c Credentials) (*Caller, error)

// Unauthenticated is the one answer to missing and bad credentials.
func Unauthenticated() error {
	return fault.New(fault.Unauthenticated, "unauthenticated",
		"Send a valid access token or API key as Authorization: Bearer. A token lives for 15 minutes: refresh it at /v1/auth/refresh.")
}

// UnauthenticatedShopper is the same in operations of the storefront.
func UnauthenticatedShopper() error {
	return fault.New(fault.Unauthenticated, "unauthenticated",
		"Send the shop's publishable key as Guildhall-Publishable-Key and, if there is one, a customer's valid access token as Authorization: Bearer. "+
			"A token lives for 15 minutes: refresh it at /v1/storefront/auth/refresh.")
}

// CallerOf returns who calls; nil in a public operation.
func CallerOf(ctx context.Context) *Caller {
	if c := callOf(ctx); c != nil {
		return c.caller
	}
	return nil
}

// Can reports whether the caller holds the permission.
func Can(ctx context.Context, p authz.Permission) bool {
	c := callOf(ctx)
	return c != nil && c.caller != nil && c.kernel.Catalogue.Has(c.caller.Permissions, p)
}

// Held lists the keys of the permissions that the caller holds.
func Held(ctx context.Context) []string {
	c := callOf(ctx)
	if c == nil || c.caller == nil {
		return nil
	}
	return c.kernel.Catalogue.Keys(c.caller.Permissions)
}

// RequestID returns the id of the request, "" outside of one.
func RequestID(ctx context.Context) string {
	s, _ := ctx.Value(requestIDKey{}).(string)
	return s
}

// SourceAddress returns the client's address, "" outside of a request.
func SourceAddress(ctx context.Context) string {
	s, _ := ctx.Value(addressKey{}).(string)
	return s
}

// UserAgent returns what the client calls itself, at most 200 bytes.
func UserAgent(ctx context.Context) string {
	if c := callOf(ctx); c != nil {
		return c.userAgent
	}
	return ""
}

// RequestHeader returns a header of the request, "" outside of one. It is for
// headers whose names are data; the others stand in the input's struct.
func RequestHeader(ctx context.Context, name string) string {
	if c := callOf(ctx); c != nil && c.header != nil {
		return c.header(name)
	}
	return ""
}

// RequestHeaders returns all headers of the request but those that carry the
// caller's own credentials.
func RequestHeaders(ctx context.Context) map[string]string {
	out := map[string]string{}
	if c := callOf(ctx); c != nil && c.eachHeader != nil {
		c.eachHeader(func(name, value string) {
			if name != "Authorization" && name != "Cookie" {
				out[name] = value
			}
		})
	}
	return out
}

type (
	requestIDKey struct{}
	addressKey   struct{}
	callKey      struct{}
	identifyKey  struct{}
)

// As marks the context of a request that comes from within the process: who
// calls is said by identify, not by the request's headers. Operations outside an
// organisation are closed to it.
func As(ctx context.Context, identify Identify) context.Context {
	return context.WithValue(ctx, identifyKey{}, identify)
}

// ViewOf is the caller's view, for what an operation looks at before its
// transaction.
func ViewOf(ctx context.Context) tenant.View {
	c := callOf(ctx)
	return c.kernel.DB.View(c.caller.Scope)
}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}
