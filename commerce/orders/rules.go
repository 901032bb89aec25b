package orders

import "github.com/guildhall-dev/guildhall/internal/money"

// ledger is the sums of the entries of an order.
type ledger struct {
	Authorized int64 `db:"authorized"`
	Captured   int64 `db:"captured"`
	Refunded   int64 `db:"refunded"`
	Voided     int64 `db:"voided"`
}

// held is what is authorised and neither taken nor let go.
func (l ledger) held() int64 { return max(l.Authorized-l.Voided-l.Captured, 0) }

// paymentStatus follows from the ledger alone.
func paymentStatus(total int64, l ledger) string {
	switch {
	case l.Captured > 0 && l.Refunded >= l.Captured:
		return "refunded"
	case l.Refunded > 0:
		return "partially_refunded"
	case l.Captured >= total:
		return "paid" // also what costs nothing
	case l.Captured > 0:
		return "partially_paid"
	case l.Authorized > l.Voided:
		return "authorized"
	case l.Voided > 0:
		return "voided"
	}
	return "unpaid"
}

// progress is how far a line has come.
type progress struct {
	Quantity         int  `db:"quantity"`
	Shipped          int  `db:"shipped"` // in parcels that are on the way or have arrived
	Delivered        int  `db:"delivered"`
	RequiresShipping bool `db:"requires_shipping"`
}

// fulfilmentStatus follows from the parcels alone.
func fulfilmentStatus(lines []progress) string {
	wanted, shipped, delivered := 0, 0, 0
	for _, l := range lines {
		if l.RequiresShipping {
			wanted, shipped, delivered = wanted+l.Quantity, shipped+l.Shipped, delivered+l.Delivered
		}
	}
	switch {
	case wanted == 0:
		return "not_required"
	case delivered == wanted:
		return "delivered"
	case shipped == wanted:
		return "fulfilled"
	case shipped > 0:
		return "partially_fulfilled"
	}
	return "unfulfilled"
}

// finished reports whether nothing is left to do for a placed order: all of it
// was paid at some time, and all of it has arrived.
func finished(status, fulfilment string, total int64, l ledger) bool {
	return status == "placed" && l.Captured >= total && (fulfilment == "delivered" || fulfilment == "not_required")
}

// lineShare is what so many of a line's units cost, after n were counted before:
// shares of all units sum to the line, whatever the steps.
func lineShare(total int64, quantity, before, more int) int64 {
	upTo := func(n int) int64 { return money.MulDiv(total, int64(n), int64(quantity), money.HalfUp) }
	return upTo(before+more) - upTo(before)
}
