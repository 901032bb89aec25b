package identity

import (
	"context"
	"errors"
	"time"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/throttle"
	"github.com/guildhall-dev/guildhall/tenant"
)

// throttles are the counters of an attempt.
type throttles struct{ throttle.Subjects }

func (f *Feature) throttlesOf(emailKey, sourceAddress string) throttles {
	return throttles{throttle.Of(f.keys, "throttle", emailKey, sourceAddress)}
}

// claim counts the attempt as a failure, in the same words for accounts that
// exist and those that do not, or refuses it. It comes before the password is
// looked at: guesses sent at once cannot overtake the count.
func (t throttles) claim(ctx context.Context, tx *tenant.GlobalTx) error {
	known, err := tenant.Value[bool](ctx, tx, selectKnownSource, t.Known)
	if err != nil {
		return err
	}
	for _, d := range t.Doors(known) {
		_, err := tenant.Value[int](ctx, tx, claimAttempt, d.Subject, d.Free)
		if errors.Is(err, tenant.ErrNoRows) {
			return closed(ctx, tx, d.Subject)
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
	if _, err := tenant.Exec(ctx, tx, forgiveAttempt, t.Source); err != nil {
		return err
	}
	if err := t.forget(ctx, tx); err != nil {
		return err
	}
	_, err := tenant.Exec(ctx, tx, noteSource, t.Known)
	return err
}

// forget opens the doors of the account, as far as they are closed here.
func (t throttles) forget(ctx context.Context, tx *tenant.GlobalTx) error {
	_, err := tenant.Exec(ctx, tx, forgetFailures, []string{t.Account, t.Pair})
	return err
}
