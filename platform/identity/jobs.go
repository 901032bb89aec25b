package identity

import (
	"context"
	"fmt"

	"github.com/guildhall-dev/guildhall/tenant"
)

// purgeBatch bounds one transaction of the purge.
const purgeBatch = 5000

// purge deletes what is over: sessions and links that no longer open anything,
// counters that were quiet for a day, sources of log-ins older than 90, facts older than 400 days.
func purge(ctx context.Context, db *tenant.DB) error {
	for _, sql := range []string{purgeSessions, purgeMailTokens, purgeThrottles, purgeSources, purgeLog, purgeSigningKeys} {
		for n := int64(purgeBatch); n == purgeBatch; {
			err := db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) (err error) {
				n, err = tenant.Exec(ctx, tx, sql, purgeBatch)
				return err
			})
			if err != nil {
				return fmt.Errorf("identity: purge: %w", err)
			}
		}
	}
	return nil
}
