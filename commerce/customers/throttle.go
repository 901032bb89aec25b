package customers

import (
	"context"
	"errors"
	"time"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/throttle"
	"github.com/guildhall-dev/guildhall/tenant"
)

func (f *Feature) throttlesOf(organization id.ID, emailKey, sourceAddress string) throttle.Subjects {
	return throttle.Of(f.keys, "customer throttle "+organization.String(), emailKey, sourceAddress)
}

// claim counts the attempt as a failure, in the same words for accounts that
// exist and those that do not, or refuses it.
func claim(ctx context.Context, tx *tenant.Tx, emailKey string, s throttle.Subjects) error {
	org := tx.Scope().Organization
	known, err := tenant.Value[bool](ctx, tx, selectKnownSource, org, emailKey, s.Known)
	if err != nil {
		return err
	}
	for _, d := range s.Doors(known) {
		_, err := tenant.Value[int](ctx, tx, claimAttempt, org, d.Subject, d.Free)
		if errors.Is(err, tenant.ErrNoRows) {
			return closed(ctx, tx, d.Subject)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func closed(ctx context.Context, tx *tenant.Tx, subject string) error {
	seconds, err := tenant.Value[float64](ctx, tx, selectBlocked, tx.Scope().Organization, subject)
	if err != nil && !errors.Is(err, tenant.ErrNoRows) {
		return err
	}
	busy := fault.New(fault.RateLimited, "rate_limited", "Too many failed attempts. Wait as long as Retry-After says.")
	busy.RetryAfter = max(time.Second, time.Duration(seconds*float64(time.Second)))
	return busy
}

// succeed takes the claim back: the account starts afresh; the network loses this
// one attempt, so that a log-in of one's own does not wipe out guesses.
func succeed(ctx context.Context, tx *tenant.Tx, s throttle.Subjects) error {
	org := tx.Scope().Organization
	if _, err := tenant.Exec(ctx, tx, forgiveAttempt, org, s.Source); err != nil {
		return err
	}
	if _, err := tenant.Exec(ctx, tx, forgetFailures, org, []string{s.Account, s.Pair}); err != nil {
		return err
	}
	_, err := tenant.Exec(ctx, tx, purgeThrottles, org)
	return err
}
