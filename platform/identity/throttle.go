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
const (
	freeForAccount = 5
	freeForAddress = 50
)

// throttles are the two counters of an attempt. They are named by a MAC, so
// that the table holds nobody's address.
type throttles struct{ account, source string }

func (f *Feature) throttlesOf(emailKey, sourceAddress string) throttles {
	name := func(kind, s string) string {
		return hex.EncodeToString(f.keys.MAC("throttle", []byte(kind), []byte(s)))
	}
	return throttles{account: name("account", emailKey), source: name("address", network(sourceAddress))}
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
	for _, c := range []struct {
		subject string
		free    int
	}{{t.source, freeForAddress}, {t.account, freeForAccount}} {
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

// succeed takes the claim back: the account starts afresh, the address loses
// this one attempt, so that a log-in of one's own does not wipe out guesses.
func (t throttles) succeed(ctx context.Context, tx *tenant.GlobalTx) error {
	if _, err := tenant.Exec(ctx, tx, forgiveAttempt, t.source); err != nil {
		return err
	}
	_, err := tenant.Exec(ctx, tx, forgetFailures, t.account)
	return err
}
