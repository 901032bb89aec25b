// Package authz decides what a role may do. A feature defines its permissions
// as values; the catalogue numbers them; casbin, in one small enforcer per
// organisation, is asked once for every (organisation, policy epoch, role) and
// its answers are kept as a bitset in a bounded cache, so that a check is a
// bit test however many organisations there are. Which rows a person sees is
// not decided here: visibility is SQL.
package authz

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// The built-in roles, from most to least. They exist in every organisation and
// have no row; custom roles are named sets of permissions.
const (
	Owner  = "owner"
	Admin  = "admin"
	Member = "member"
	Guest  = "guest"
)

// Builtin lists the built-in roles from most to least.
func Builtin() []string { return []string{Owner, Admin, Member, Guest} }

// IsBuiltin reports whether the key names a built-in role.
func IsBuiltin(role string) bool { return slices.Contains(Builtin(), role) }

// Permission is one right, named <plural>.<read|write|manage>. Its zero value
// is no permission.
type Permission struct {
	Key string
	Doc string
	// From is the least built-in role that holds it.
	From string
}

// IsZero reports whether no permission is meant.
func (p Permission) IsZero() bool { return p.Key == "" }

// maxPermissions bounds the catalogue; a Set is this many bits.
const maxPermissions = 256

// Set is a set of permissions of one catalogue.
type Set [maxPermissions / 64]uint64

func (s Set) has(bit int) bool { return s[bit>>6]&(1<<(bit&63)) != 0 }
func (s *Set) add(bit int)     { s[bit>>6] |= 1 << (bit & 63) }

// And returns the permissions that are in both.
func (s Set) And(o Set) Set {
	for i := range s {
		s[i] &= o[i]
	}
	return s
}

// Contains reports whether every permission of o is in s.
func (s Set) Contains(o Set) bool {
	for i := range s {
		if o[i]&^s[i] != 0 {
			return false
		}
	}
	return true
}

// Len counts the permissions.
func (s Set) Len() int {
	n := 0
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// Catalogue is the list of all permissions of the product, in the order of
// their keys.
type Catalogue struct {
	all []Permission
	bit map[string]int
}

// NewCatalogue refuses double and malformed keys: a defect found at start.
func NewCatalogue(perms []Permission) (*Catalogue, error) {
	all := slices.Clone(perms)
	slices.SortFunc(all, func(a, b Permission) int { return strings.Compare(a.Key, b.Key) })
	if len(all) > maxPermissions {
		return nil, fmt.Errorf("authz: %d permissions, a Set holds %d", len(all), maxPermissions)
	}
	c := &Catalogue{all: all, bit: make(map[string]int, len(all))}
	for i, p := range all {
		if _, double := c.bit[p.Key]; double {
			return nil, fmt.Errorf("authz: permission %q is defined twice", p.Key)
		}
		noun, verb, ok := strings.Cut(p.Key, ".")
		if !ok || noun == "" || !slices.Contains([]string{"read", "write", "manage"}, verb) {
			return nil, fmt.Errorf("authz: permission %q is not named <plural>.<read|write|manage>", p.Key)
		}
		if !IsBuiltin(p.From) {
			return nil, fmt.Errorf("authz: permission %q says From %q, which is not a built-in role", p.Key, p.From)
		}
		c.bit[p.Key] = i
	}
	return c, nil
}

// All returns the permissions by key.
func (c *Catalogue) All() []Permission { return slices.Clone(c.all) }

// Known reports whether the catalogue holds the key.
func (c *Catalogue) Known(key string) bool { _, ok := c.bit[key]; return ok }

// Has reports whether the set holds the permission. It costs nanoseconds.
func (c *Catalogue) Has(s Set, p Permission) bool {
	bit, ok := c.bit[p.Key]
	return ok && s.has(bit)
}

// Set makes a set of keys; unknown ones, of a newer or older binary, are left
// out.
func (c *Catalogue) Set(keys []string) Set {
	var s Set
	for _, k := range keys {
		if bit, ok := c.bit[k]; ok {
			s.add(bit)
		}
	}
	return s
}

// Keys lists what is in the set.
func (c *Catalogue) Keys(s Set) []string {
	keys := []string{}
	for i, p := range c.all {
		if s.has(i) {
			keys = append(keys, p.Key)
		}
	}
	return keys
}

// BuiltinKeys lists what a built-in role may do.
func (c *Catalogue) BuiltinKeys(role string) []string {
	rank := slices.Index(Builtin(), role)
	keys := []string{}
	for _, p := range c.all {
		if rank >= 0 && rank <= slices.Index(Builtin(), p.From) {
			keys = append(keys, p.Key)
		}
	}
	return keys
}
