package orders

import (
	"context"
	"fmt"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Finding is an order whose stored figures do not follow from its ledgers.
type Finding struct {
	OrderID id.ID
	What    string
}

const (
	checkBatch  = 500
	listToCheck = `select o.id, o.status, o.number, o.payment_status, o.fulfilment_status, o.total, o.captured, o.refunded, o.refunding, o.authorized,
			o.subtotal = l.subtotal and o.discount = l.discount and o.tax = l.tax + o.shipping_tax as sums,
			o.total = l.total + o.shipping + case when o.prices_include_tax then 0 else o.shipping_tax end as total_sum,
			l.parcels, coalesce((select sum(r.amount) from order_refunds r where r.tenant_id = o.tenant_id and r.order_id = o.id and r.status = 'pending'), 0)::bigint as pending,
			p.ledger_authorized, p.ledger_captured, p.ledger_refunded, p.ledger_voided, l.progress
		from orders o cross join lateral (
			select coalesce(sum(l.subtotal), 0) as subtotal, coalesce(sum(l.discount), 0) as discount, coalesce(sum(l.tax), 0) as tax, coalesce(sum(l.total), 0) as total,
				coalesce(bool_and(l.assigned_quantity = s.assigned and l.fulfilled_quantity = s.shipped), true) as parcels,
				coalesce(jsonb_agg(jsonb_build_object('Quantity', l.quantity, 'Shipped', s.shipped, 'Delivered', s.delivered, 'RequiresShipping', l.requires_shipping)), '[]') as progress
			from order_lines l cross join lateral (
				select coalesce(sum(x.quantity) filter (where f.status <> 'cancelled'), 0) as assigned,
					coalesce(sum(x.quantity) filter (where f.status in ('shipped', 'delivered')), 0) as shipped,
					coalesce(sum(x.quantity) filter (where f.status = 'delivered'), 0) as delivered
				from fulfilment_lines x join fulfilments f on f.tenant_id = x.tenant_id and f.order_id = x.order_id and f.id = x.fulfilment_id
				where x.tenant_id = l.tenant_id and x.order_id = l.order_id and x.order_line_id = l.id
			) s where l.tenant_id = o.tenant_id and l.order_id = o.id
		) l cross join lateral (
			select coalesce(sum(p.amount) filter (where p.kind = 'authorized'), 0)::bigint as ledger_authorized, coalesce(sum(p.amount) filter (where p.kind = 'captured'), 0)::bigint as ledger_captured,
				coalesce(sum(p.amount) filter (where p.kind = 'refunded'), 0)::bigint as ledger_refunded, coalesce(sum(p.amount) filter (where p.kind = 'voided'), 0)::bigint as ledger_voided
			from order_payments p where p.tenant_id = o.tenant_id and p.order_id = o.id
		) p
		where o.tenant_id = $1 and ($2::uuid is null or o.id > $2) order by o.id limit $3`

	// checkNumbers finds gaps and numbers that the counter does not know of.
	checkNumbers = `select coalesce((select c.last_number from order_counters c where c.tenant_id = $1), 0) = count(o.number)
		and count(o.number) = coalesce(max(o.number), 0) from orders o where o.tenant_id = $1`
)

type checked struct {
	ID               id.ID      `db:"id"`
	Status           string     `db:"status"`
	Number           *int64     `db:"number"`
	PaymentStatus    string     `db:"payment_status"`
	FulfilmentStatus string     `db:"fulfilment_status"`
	Total            int64      `db:"total"`
	Captured         int64      `db:"captured"`
	Refunded         int64      `db:"refunded"`
	Refunding        int64      `db:"refunding"`
	Authorized       int64      `db:"authorized"`
	Sums             bool       `db:"sums"`
	TotalSum         bool       `db:"total_sum"`
	Parcels          bool       `db:"parcels"`
	Pending          int64      `db:"pending"`
	LedgerAuthorized int64      `db:"ledger_authorized"`
	LedgerCaptured   int64      `db:"ledger_captured"`
	LedgerRefunded   int64      `db:"ledger_refunded"`
	LedgerVoided     int64      `db:"ledger_voided"`
	Progress         []progress `db:"progress"`
}

// Check proves that what is stored of the organisation's orders follows from
// their lines, their ledgers and their parcels; an empty answer is the proof.
// Each batch of orders is one snapshot.
func Check(ctx context.Context, v tenant.View) ([]Finding, error) {
	var found []Finding
	var last *id.ID
	for {
		rows, err := tenant.List[checked](ctx, v, listToCheck, v.Scope().Organization, last, checkBatch)
		if err != nil {
			return found, fmt.Errorf("orders.Check: %w", err)
		}
		for _, c := range rows {
			for _, what := range c.wrong() {
				found = append(found, Finding{c.ID, what})
			}
		}
		if len(rows) < checkBatch {
			break
		}
		last = &rows[len(rows)-1].ID
	}
	whole, err := tenant.Value[bool](ctx, v, checkNumbers, v.Scope().Organization)
	if err == nil && !whole {
		found = append(found, Finding{What: "the numbers of orders have gaps, or are others than were given"})
	}
	return found, err
}

func (c checked) wrong() (what []string) {
	l := ledger{Authorized: c.LedgerAuthorized, Captured: c.LedgerCaptured, Refunded: c.LedgerRefunded, Voided: c.LedgerVoided}
	say := func(wrong bool, format string, args ...any) {
		if wrong {
			what = append(what, fmt.Sprintf(format, args...))
		}
	}
	say(!c.Sums, "subtotal, discount or tax is not the sum of the lines")
	say(!c.TotalSum, "the total is not the sum of the lines and the shipping")
	say(!c.Parcels, "what lines say of parcels is not what the parcels hold")
	say(c.Captured != l.Captured, "captured is %d, the ledger says %d", c.Captured, l.Captured)
	say(c.Refunded != l.Refunded, "refunded is %d, the ledger says %d", c.Refunded, l.Refunded)
	say(c.Refunding != c.Pending, "refunding is %d, pending refunds sum to %d", c.Refunding, c.Pending)
	say(c.Authorized != max(l.Authorized-l.Voided, 0), "authorized is %d, the ledger says %d", c.Authorized, l.Authorized-l.Voided)
	say(l.Refunded > l.Captured, "more was given back than came in")
	if want := fulfilmentStatus(c.Progress); c.FulfilmentStatus != want {
		say(true, "fulfilment_status is %s, the parcels say %s", c.FulfilmentStatus, want)
	}
	if want := paymentStatus(c.Total, l); c.PaymentStatus != want {
		say(true, "payment_status is %s, the ledger says %s", c.PaymentStatus, want)
	}
	if c.Status == "placed" || c.Status == "completed" {
		say(finished("placed", c.FulfilmentStatus, c.Total, l) != (c.Status == "completed"), "status is %s", c.Status)
	}
	return what
}
