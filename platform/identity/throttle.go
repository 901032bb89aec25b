package identity

import (
	"context"
	"encoding/hex"
	"errors"
	"net/netip"
	"time"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/tenant"
)

// How many failures are free before each one closes the door for a while.
//
// Who guesses at an account shuts the door of his own network. The account as a
// whole has a door of its own, against guesses from many networks; it stays open
// to those from which the person logged in lately, so nobody can be kept out of
// his account by others.
const (
	freeForPair    = 5   // of one account from one network
	freeForSource  = 50  // of any accounts from one network
	freeForAccount = 100 // of one account from networks that it does not know
)

// throttles are the counters of an attempt, and the name under which its source
// is known. All are named by a MAC, so that no table holds anybody's address.
type throttles struct{ pair, source, account, known string }

func (f *Feature) throttlesOf(emailKey, sourceAddress string) throttles {
	name := func(kind string, parts ...string) string {
		bytes := [][]byte{[]byte(kind)}
		for _, p := range parts {
			bytes = append(bytes, []byte(p))
		}
		return hex.EncodeToString(f.keys.MAC("throttle", bytes...))
	}
	from := network(sourceAddress)
	return throttles{
		pair: name("pair", emailKey, from), source: name("address", from), account: name("account", emailKey),
		known: name("known", emailKey, from),
	}
}

// network is what one customer of a provider holds: an IPv4 address or a /64.
func network(s string) string {
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

// claim counts the attempt as a failure, in the same words for accounts that
// exist and those that do not, or refuses it. It comes before the password is
// looked at: guesses sent at once cannot overtake the count.
func (t throttles) claim(ctx context.Context, tx *tenant.GlobalTx) error {
	known, err := tenant.Value[bool](ctx, tx, selectKnownSource, t.known)
	if err != nil {
		return err
	}
	for _, c := range []struct {
		subject string
		free    int
		open    bool
	}{{t.source, freeForSource, false}, {t.pair, freeForPair, false}, {t.account, freeForAccount, known}} {
		if c.open {
			continue
		}
		_, err := tenant.Value[int](ctx, tx, claimAttempt, c.subject, c.free)
		if errors.Is(err, tenant.ErrNoRows) {
			return closed(ctx, tx, c.subject)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func closed(ctx context.Context, tx *tenant.GlobalTx, subject string) error {
	seconds, err := tenant.Value[float64](ctx, tx, selectBlocked, subject)
	if err != nil && !errors.Is(err, tenant.ErrNoRows) {
		return err
	}
	busy := fault.New(fault.RateLimited, "rate_limited", "Too many failed attempts. Wait as long as Retry-After says.")
	busy.RetryAfter = max(time.Second, time.Duration(seconds*float64(time.Second)))
	return busy
}

// succeed takes the claim back: the account starts afresh and knows the source
// from now on; the network loses this one attempt, so that a log-in of one's own
// does not wipe out guesses.
func (t throttles) succeed(ctx context.Context, tx *tenant.GlobalTx) error {
	if _, err := tenant.Exec(ctx, tx, forgiveAttempt, t.source); err != nil {
		return err
	}
	if err := t.forget(ctx, tx); err != nil {
		return err
	}
	_, err := tenant.Exec(ctx, tx, noteSource, t.known)
	return err
}

// forget opens the doors of the account, as far as they are closed here.
func (t throttles) forget(ctx context.Context, tx *tenant.GlobalTx) error {
	_, err := tenant.Exec(ctx, tx, forgetFailures, []string{t.account, t.pair})
	return err
}
