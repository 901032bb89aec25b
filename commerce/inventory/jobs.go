package inventory

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	sweepEvery   = 2 * time.Second
	sweepOrders  = 100 // in one transaction
	sweepTenants = 100 // in one round

	withExpired = `select o from organizations_with_expired_reservations($1) as o`
)

func (f *Feature) jobs() []jobs.Definition {
	return []jobs.Definition{jobs.Tick("inventory.sweep", sweepEvery, func(ctx context.Context, db *tenant.DB, _ *jobs.Queue) (int, error) {
		return sweep(ctx, db)
	})}
}

// sweep frees what was reserved for a time that is over. What fails in one
// organisation keeps the others from nothing. It returns how many reservations
// it ended; several that run at once share them.
func sweep(ctx context.Context, db *tenant.DB) (ended int, err error) {
	orgs, err := tenant.Values[id.ID](ctx, db.Global(), withExpired, sweepTenants)
	if err != nil {
		return 0, fmt.Errorf("inventory.sweep: %w", err)
	}
	for _, org := range orgs {
		n, failed := sweepOf(ctx, db, org)
		if ended += n; failed != nil {
			err = errors.Join(err, fmt.Errorf("inventory.sweep: organisation %s: %w", org, failed))
		}
	}
	return ended, err
}

// sweepOf does a batch of an organisation; the next round does the next one.
func sweepOf(ctx context.Context, db *tenant.DB, org id.ID) (ended int, err error) {
	s := tenant.ForSystem(org)
	s.Operation = "inventory.sweep"
	err = db.Write(ctx, s, func(tx *tenant.Tx) error {
		rows, err := tenant.List[reservation](ctx, tx, expire, org, sweepOrders)
		if err != nil {
			return err
		}
		freed := amounts{}
		for _, r := range rows {
			freed[r.place()] += r.Quantity
		}
		ended = len(rows)
		return freed.free(ctx, tx)
	})
	return ended, err
}
