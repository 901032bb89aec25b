package inventory

import (
	"context"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Difference is a level that does not agree with its ledger.
type Difference struct {
	VariantID  id.ID  `db:"variant_id"`
	LocationID id.ID  `db:"location_id"`
	Of         string `db:"of"`     // "on_hand", "reserved" or "shortfall"
	Level      int64  `db:"level"`  // what the level says
	Ledger     int64  `db:"ledger"` // what follows from movements and reservations
}

// differences: a shortfall is no more than what the level lacks for what is promised.
const differences = `select l.variant_id, l.location_id, d.of, d.level, d.ledger from stock_levels l
	left join (select m.variant_id, m.location_id, sum(m.quantity) as quantity from stock_movements m
		where m.tenant_id = $1 group by m.variant_id, m.location_id) m on m.variant_id = l.variant_id and m.location_id = l.location_id
	left join (select r.variant_id, r.location_id, sum(r.quantity) as quantity from stock_reservations r
		where r.tenant_id = $1 group by r.variant_id, r.location_id) r on r.variant_id = l.variant_id and r.location_id = l.location_id
	cross join lateral (values ('on_hand', l.on_hand::bigint, coalesce(m.quantity, 0)), ('reserved', l.reserved, coalesce(r.quantity, 0)),
		('shortfall', l.shortfall, least(l.shortfall, greatest(0, l.reserved - l.on_hand - l.backorder_limit)))) as d (of, level, ledger)
	where l.tenant_id = $1 and d.level <> d.ledger order by l.variant_id, l.location_id, d.of`

// Check compares every level with the movements and the reservations that it
// sums up. It returns where they differ; nothing, unless something is broken.
func Check(ctx context.Context, v tenant.View) ([]Difference, error) {
	return tenant.List[Difference](ctx, v, differences, v.Scope().Organization)
}
