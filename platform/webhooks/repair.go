package webhooks

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	repairQueues = `select tenant_id, endpoint_id, repaired from repair_webhook_endpoints($1, $2, $3)`

	repairEvery  = 2 * time.Second
	repairAtMost = 200 // endpoints with a queue that one look takes
)

// looked is where a look at the queues ended; nulls are at the end of them all.
type looked struct {
	Organization *id.ID `db:"tenant_id"`
	Endpoint     *id.ID `db:"endpoint_id"`
	Repaired     int    `db:"repaired"`
}

// repair finds the endpoints that may be sent to and are never due although
// something is queued for them: what fell due while their organisation was in
// the bin, and whatever else went wrong. Each process goes round and round,
// some endpoints at a time.
func (f *Feature) repair() jobs.Definition {
	var mu sync.Mutex
	var tenantID, endpoint id.ID
	return jobs.Tick("webhooks.repair", repairEvery, func(ctx context.Context, db *tenant.DB, _ *jobs.Queue) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		var n int
		err := db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) error {
			rows, err := tenant.List[looked](ctx, tx, repairQueues, tenantID, endpoint, repairAtMost)
			if err != nil {
				return fmt.Errorf("webhooks.repair: %w", err)
			}
			tenantID, endpoint, n = id.Nil, id.Nil, 0
			for _, l := range rows {
				if n = l.Repaired; l.Endpoint != nil {
					tenantID, endpoint = *l.Organization, *l.Endpoint
				}
			}
			return nil
		})
		return n, err
	})
}
