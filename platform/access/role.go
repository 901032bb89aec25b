package access

import (
	"slices"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
)

// Role is a named set of permissions: one of the four that are built in, or one
// that an organisation made.
type Role struct {
	ID          *id.ID     `db:"id" json:"id" ref:"role" nullable:"true" doc:"Null for the built-in roles, which are the same everywhere and cannot be changed."`
	Key         string     `db:"key" json:"key" maxLength:"40" pattern:"^[a-z][a-z0-9_]*$" doc:"What members and invitations name as their role; it never changes." example:"support"`
	Name        string     `db:"name" json:"name" maxLength:"100" example:"Support"`
	Description string     `db:"description" json:"description" maxLength:"1000" example:"Answers customers; sees orders and comments."`
	Permissions []string   `db:"permissions" json:"permissions" maxItems:"256" doc:"Keys of the catalogue at /v1/permissions, in alphabetical order."`
	Guest       bool       `db:"guest" json:"guest" doc:"Whether its holders see only the projects they were added to."`
	Builtin     bool       `db:"builtin" json:"builtin" doc:"Whether it exists in every organisation."`
	Version     int64      `db:"version" json:"version" minimum:"1" maximum:"9007199254740991" example:"3"`
	CreatedAt   *time.Time `db:"created_at" json:"created_at" doc:"Null for the built-in roles."`
}

// RowVersion implements api.Versioned.
func (r Role) RowVersion() int64 { return r.Version }

// Location implements api.Located.
func (r Role) Location() string { return "/v1/roles/" + r.ID.String() }

// EventSubject implements event.Subjected.
func (r Role) EventSubject() event.Subject { return event.Subject{ID: *r.ID} }

// maxRoles bounds the custom roles of an organisation: all of them are loaded
// to decide about one.
const maxRoles = 100

// maxName is how long the name of a role or a key may be.
const maxName = 100

// builtinRoles are the rows of the roles that have none.
func builtinRoles(c *authz.Catalogue) []Role {
	words := map[string][2]string{
		authz.Owner:  {"Owner", "May do everything, the end of the organisation included."},
		authz.Admin:  {"Admin", "Runs the organisation: members, roles, keys and every open project."},
		authz.Member: {"Member", "Works in every open project and in the private ones they were added to."},
		authz.Guest:  {"Guest", "Works only in the projects they were added to."},
	}
	roles := []Role{}
	for _, key := range authz.Builtin() {
		roles = append(roles, Role{
			Key: key, Name: words[key][0], Description: words[key][1], Permissions: c.BuiltinKeys(key),
			Guest: key == authz.Guest, Builtin: true, Version: 1,
		})
	}
	return roles
}

// roleOrder sorts built-in roles from most to least, then custom ones by key.
func roleOrder(r Role) string {
	if i := slices.Index(authz.Builtin(), r.Key); i >= 0 {
		return string(rune('0' + i))
	}
	return "c" + r.Key
}

// keyOf makes the key of a role of its name: "Sales (EU)" is sales_eu.
func keyOf(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	key := strings.TrimLeft(strings.Join(words, "_"), "0123456789_")
	if len(key) > 40 {
		key = strings.TrimRight(key[:40], "_")
	}
	if key == "" {
		return "role"
	}
	return key
}

// checkKnown refuses keys that are not in the catalogue and returns the others
// sorted, once each.
func checkKnown(c *authz.Catalogue, keys []string) ([]string, error) {
	for i, k := range keys {
		if !c.Known(k) {
			return nil, fault.Invalidf(pointerAt(i), "there is no permission %q; GET /v1/permissions lists them", clip(k))
		}
	}
	sorted := append([]string{}, keys...) // never nil
	slices.Sort(sorted)
	return slices.Compact(sorted), nil
}

// clip keeps an answer from growing with what was sent.
func clip(s string) string {
	if len(s) > 60 {
		return strings.ToValidUTF8(s[:60], "") + "…"
	}
	return s
}
