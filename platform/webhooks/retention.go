package webhooks

import (
	"context"
	"fmt"
	"time"

	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	ensurePartitions = `select ensure_webhook_partitions($1)`
	dropPartitions   = `select drop_webhook_partitions($1)`
)

// daysAhead is how many days of partitions are kept ready, so that a clock that
// stands still for a week stops nobody.
const daysAhead = 14

func makePartitions() jobs.Definition {
	return jobs.Clock("webhooks.make_partitions", time.Hour, func(ctx context.Context, db *tenant.DB) error {
		if _, err := tenant.Value[int](ctx, db.Global(), ensurePartitions, daysAhead); err != nil {
			return fmt.Errorf("webhooks: make partitions: %w", err)
		}
		return nil
	})
}

// forget drops the days that are past their time. It waits for nobody long: if
// a day is in use, the next run drops it.
func (f *Feature) forget() jobs.Definition {
	return jobs.Clock("webhooks.drop_partitions", 6*time.Hour, f.dropDays)
}

// dropDays drops, and after it dropped something looks at the queue once more: a
// replay may have queued deliveries of the day until the very moment it went.
// From then on none can.
func (f *Feature) dropDays(ctx context.Context, db *tenant.DB) error {
	for {
		dropped, err := tenant.Value[int](ctx, db.Global(), dropPartitions, f.RetentionDays)
		if err != nil {
			return fmt.Errorf("webhooks: drop partitions: %w", err)
		}
		if dropped == 0 {
			return nil
		}
	}
}
