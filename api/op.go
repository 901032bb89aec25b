// Package api turns a literal and a typed function into an operation: its
// route, its OpenAPI entry, authentication, the permission check before the
// body is read, strict decoding, the transaction, Idempotency-Key, ETag and
// If-Match, the audit facts and the problem document of every error. Only this
// package knows HTTP; a handler sees a tenant.View or a *tenant.Tx and returns
// a row or a fault.
package api

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/event"
)

// Access says who may call an operation at all.
type Access int

// The zero value is the rule: a caller within an organisation who holds Can.
const (
	InOrganization Access = iota
	SignedIn              // a person, no organisation chosen
	Public                // anybody
	Storefront            // anybody in an organisation's shop, by its publishable key
)

// Op says everything about an operation.
type Op struct {
	ID      string // stable, kebab-case: SDK method names come from it
	Route   string // "POST /projects/{project_id}/tasks"; /v1 is put before it
	Summary string
	Doc     string
	Access  Access
	Can     authz.Permission // required where Access is InOrganization, unless AnyMember
	// AnyMember lets every member of the organisation call it, with a reason in
	// Doc: the rows it answers with are the caller's own.
	AnyMember bool
	// CustomersOnly refuses, of the callers of a Storefront operation, those who
	// are not logged in.
	CustomersOnly bool
	// LogIn makes a Storefront operation count against the tighter bucket of an
	// address that log-ins have, and lets a customer's token be: it takes a
	// password, or a token of another kind.
	LogIn   bool
	Emits   []*event.Type
	Status  int      // 0 = 201 for POST, 204 for DELETE, else 200
	Errors  []string // codes beyond the usual ones: "409 project_key_taken"
	Secret  bool     // input or answer holds a secret: nothing is echoed or stored in clear
	Audited bool     // a read that leaves a trace in the audit log
	MaxBody int64    // bytes; 0 = 1 MiB
}

// Method is the HTTP method of the route.
func (o Op) Method() string { m, _, _ := strings.Cut(o.Route, " "); return m }

// Path is the path of the route with /v1.
func (o Op) Path() string { _, p, _ := strings.Cut(o.Route, " "); return "/v1" + p }

func (o Op) status() int {
	switch {
	case o.Status != 0:
		return o.Status
	case o.Method() == http.MethodPost:
		return http.StatusCreated
	case o.Method() == http.MethodDelete:
		return http.StatusNoContent
	}
	return http.StatusOK
}

// security says which credentials the operation takes, one alternative a line.
func (o Op) security() []map[string][]string {
	customer := map[string][]string{"publishableKey": {}, "bearer": {}}
	switch {
	case o.Access == Public:
		return []map[string][]string{{}}
	case o.CustomersOnly:
		return []map[string][]string{customer}
	case o.LogIn:
		return []map[string][]string{{"publishableKey": {}}}
	case o.Access == Storefront:
		return []map[string][]string{{"publishableKey": {}}, customer}
	}
	return []map[string][]string{{"bearer": {}}}
}

// check finds what is missing in the literal; it runs at start.
func (o Op) check() error {
	switch {
	case o.ID == "" || o.Summary == "" || o.Doc == "":
		return fmt.Errorf("operation %q %q: give it an ID, a Summary and a Doc", o.ID, o.Route)
	case !strings.HasPrefix(o.Path(), "/v1/"):
		return fmt.Errorf("operation %s: Route is \"METHOD /path\" without /v1, not %q", o.ID, o.Route)
	case o.Access == InOrganization && o.Can.IsZero() && !o.AnyMember:
		return fmt.Errorf("operation %s has no permission: set Can to one of the feature's authz.Permission values, "+
			"or Access: api.SignedIn or api.Public if it belongs to no organisation, or api.Storefront if shoppers call it", o.ID)
	case o.Access != InOrganization && !o.Can.IsZero():
		return fmt.Errorf("operation %s: a permission counts only within an organisation; drop Can or Access", o.ID)
	case (o.Access == Storefront) != strings.HasPrefix(o.Path(), storefrontPrefix):
		return fmt.Errorf("operation %s: Access: api.Storefront and a route under /storefront/ go together, not %q", o.ID, o.Route)
	case o.CustomersOnly && o.LogIn:
		return fmt.Errorf("operation %s: LogIn lets tokens be, and CustomersOnly asks for one", o.ID)
	case o.Access != Storefront && (o.CustomersOnly || o.LogIn):
		return fmt.Errorf("operation %s: CustomersOnly and LogIn are said of operations of the storefront", o.ID)
	}
	return nil
}
