// Package throttle names the counters of failed log-ins and says how many
// failures each of them has free. The counters themselves stand in a table of the
// feature that counts.
package throttle

import (
	"encoding/hex"
	"net/netip"

	"github.com/guildhall-dev/guildhall/internal/seal"
)

// How many failures are free before each one closes the door for a while.
//
// Who guesses at an account shuts the door of his own network. The account as a
// whole has a door of its own, against guesses from many networks; it stays open
// to those from which the person logged in lately, so nobody can be kept out of
// his account by others.
const (
	FreeForPair    = 5   // of one account from one network
	FreeForSource  = 50  // of any accounts from one network
	FreeForAccount = 100 // of one account from networks that it does not know
)

// Subjects are the counters of an attempt, and the name under which its source
// is known. All are named by a MAC, so that no table holds anybody's address.
type Subjects struct{ Pair, Source, Account, Known string }

// Of names the counters of an attempt at an account from an address. The purpose
// keeps accounts of different kinds apart.
func Of(keys *seal.Keyring, purpose, account, sourceAddress string) Subjects {
	name := func(kind string, parts ...string) string {
		bytes := [][]byte{[]byte(kind)}
		for _, p := range parts {
			bytes = append(bytes, []byte(p))
		}
		return hex.EncodeToString(keys.MAC(purpose, bytes...))
	}
	from := Network(sourceAddress)
	return Subjects{
		Pair: name("pair", account, from), Source: name("address", from), Account: name("account", account),
		Known: name("known", account, from),
	}
}

// Door is a counter that an attempt has to pass.
type Door struct {
	Subject string
	Free    int
}

// Doors are the counters in the order of locks; known says that the source is
// one of the account's.
func (s Subjects) Doors(known bool) []Door {
	doors := []Door{{s.Source, FreeForSource}, {s.Pair, FreeForPair}}
	if !known {
		doors = append(doors, Door{s.Account, FreeForAccount})
	}
	return doors
}

// Network is what one customer of a provider holds: an IPv4 address or a /64.
func Network(s string) string {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return s
	}
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a.String()
	}
	p, err := a.Prefix(64)
	if err != nil {
		return a.String()
	}
	return p.String()
}
