package inbound

import (
	"context"
	"fmt"
	"time"

	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	keepDays   = 30
	purgeEvery = time.Hour
	purgeBatch = 2000
)

// purgeMessages deletes messages whose time is over. Their events stay in the
// log for as long as any event.
func (f *Feature) purgeMessages(ctx context.Context, db *tenant.DB) error {
	for ctx.Err() == nil {
		n, err := tenant.Value[int64](ctx, db.Global(), purgeMessages, keepDays, purgeBatch)
		if err != nil {
			return fmt.Errorf("inbound: purge messages: %w", err)
		}
		if n < purgeBatch {
			return nil
		}
	}
	return ctx.Err()
}
