package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
)

// daysAhead is how many days of partitions are kept ready, so that a clock that
// stands still for a week stops nobody.
const daysAhead = 14

func makePartitions() jobs.Definition {
	return jobs.Clock("audit.make_partitions", time.Hour, func(ctx context.Context, db *tenant.DB) error {
		if _, err := tenant.Value[int](ctx, db.Global(), ensurePartitions, daysAhead); err != nil {
			return fmt.Errorf("audit: make partitions: %w", err)
		}
		return nil
	})
}

func dropPartitions() jobs.Definition {
	return jobs.Clock("audit.drop_partitions", 24*time.Hour, func(ctx context.Context, db *tenant.DB) error {
		if _, err := tenant.Value[int](ctx, db.Global(), removePartitions, keepDays); err != nil {
			return fmt.Errorf("audit: drop partitions: %w", err)
		}
		return nil
	})
}

func purgeKeys() jobs.Definition {
	return jobs.Clock("audit.purge_idempotency_keys", 24*time.Hour, func(ctx context.Context, db *tenant.DB) error {
		const batch = 10_000
		for ctx.Err() == nil {
			n, err := tenant.Value[int64](ctx, db.Global(), purgeStoredKeys, batch)
			if err != nil {
				return fmt.Errorf("audit: purge idempotency keys: %w", err)
			}
			// Two tables give up to a batch each.
			if n == 0 {
				return nil
			}
		}
		return ctx.Err()
	})
}
