package tenant

import (
	"errors"

	"github.com/guildhall-dev/guildhall/internal/id"
)

// Kind is a kind of principal. Kinds never share a number space: an actor is
// always (kind, id).
type Kind string

// The kinds of principals.
const (
	User     Kind = "user"
	Key      Kind = "key"
	Customer Kind = "customer"
	Shopper  Kind = "shopper"
	Plugin   Kind = "plugin"
	System   Kind = "system"
)

// Actor is who does something.
type Actor struct {
	Kind Kind
	ID   id.ID
}

// Scope says for which organisation, by whom and with which view of projects a
// statement runs. It is made by package api for requests, by package jobs for
// background work, and by tests.
type Scope struct {
	Organization id.ID
	Actor        Actor
	// User is the person whose memberships decide which projects are visible:
	// the actor, or the creator of the key. Nil for the system.
	User id.ID
	// OpenRole is the role in projects that are open to the organisation:
	// "lead", "contributor", or "" for guests.
	OpenRole string
	// Everything lets background work see every project.
	Everything bool
	// Check is what the caller was authorised on; nil checks nothing but that
	// the organisation exists.
	Check *Check

	RequestID     string
	SourceAddress string
	Operation     string
	// IncludePrivate marks a consumer that was granted private projects.
	IncludePrivate bool
}

// Check is the state that an authorisation was computed from.
type Check struct {
	Epoch         int64
	MemberVersion int64
	Session       id.ID // of a person's session, else nil
	Key           id.ID // of an API key, else nil
	Plugin        id.ID // of an installation, else nil
	// Storefront is the publishable key of a shopper or a customer, else nil. A
	// customer, who is the actor, has a Session too.
	Storefront        id.ID
	StorefrontVersion int64
}

// ErrStale means that the caller's rights changed since they were computed.
var ErrStale = errors.New("tenant: the authorisation is out of date")

// ForSystem is the scope of background work in an organisation.
func ForSystem(organization id.ID) Scope {
	return Scope{Organization: organization, Actor: Actor{Kind: System}, Everything: true, OpenRole: "lead"}
}

func (s Scope) viewer() string {
	if s.Everything {
		return "system"
	}
	return s.User.String()
}
