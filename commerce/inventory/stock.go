package inventory

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Told are the events that Reserve, Ship, Restock and Initial may emit in the
// transaction of another feature, which names them in the Emits of its
// operations.
func (f *Feature) Told() []*event.Type {
	return []*event.Type{Moved.Type, Low.Type, LocationCreated.Type}
}

// Whoever calls the following for an order holds the order's row, so that no
// two of them run for one order at once.

// Reserve promises the demands to an order, all or none: 409 insufficient_stock
// says of which variant there is too little. A second time it takes nothing
// more, but sets the new expiry; what has expired is taken anew. Variants whose
// stock is not tracked are not reserved.
func (f *Feature) Reserve(ctx context.Context, tx *tenant.Tx, order id.ID, wants []commerce.Demand, until *time.Time) error {
	wants, err := sum(wants)
	if err != nil || len(wants) == 0 {
		return err
	}
	org := tx.Scope().Organization
	variants, quantities := split(wants)
	// Between the look and the lock others may take what was seen. After that the
	// rows are held, so the second look is the truth of them; only a location that
	// opened meanwhile needs a third one.
	for range 4 {
		t, err := tenant.One[turn](ctx, tx, lookAhead, org, variants, quantities, order)
		switch {
		case err != nil:
			return err
		case t.Already:
			if stands, err := expireAt(ctx, tx, order, until); err != nil || stands {
				return err
			}
			continue
		case len(t.Short) > 0:
			return insufficient(t.Short)
		}
		if t.Expired {
			if _, err := tenant.Exec(ctx, tx, forget, org, order); err != nil {
				return err
			}
		}
		if t.Untracked == len(wants) {
			return nil
		}
		rows, err := tenant.List[taken](ctx, tx, reserve, org, variants, quantities, order, until)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if err := tellLow(ctx, tx, r.Level.with(0, -r.Quantity), r.Level); err != nil {
				return err
			}
		}
		if len(rows) > 0 {
			return nil
		}
	}
	return fmt.Errorf("inventory.Reserve: the locations of order %s changed at every look", order)
}

// Confirm lets the reservation of an order stand until it is shipped or
// released. If it expired before, that is 409 reservation_expired: Reserve may
// take it anew.
func (f *Feature) Confirm(ctx context.Context, tx *tenant.Tx, order id.ID) error {
	stands, err := expireAt(ctx, tx, order, nil)
	if err == nil && !stands {
		return fault.Conflictf("reservation_expired", "What was reserved for the order is no longer. Reserve it again.")
	}
	return err
}

// expireAt says when the reservation of an order expires. It reports false if
// it has expired.
func expireAt(ctx context.Context, tx *tenant.Tx, order id.ID, until *time.Time) (stands bool, err error) {
	left, err := tenant.Values[int](ctx, tx, setExpiry, tx.Scope().Organization, order, until)
	return !slices.Contains(left, 0), err
}

// Release ends what is promised to an order: the demands, as far as they are
// still reserved, or all of it for nil.
func (f *Feature) Release(ctx context.Context, tx *tenant.Tx, order id.ID, wants []commerce.Demand) error {
	rows, err := lock(ctx, tx, order)
	if err != nil || len(rows) == 0 {
		return err
	}
	freed := amounts{}
	if wants == nil {
		for _, r := range rows {
			freed[r.place()] = r.Quantity
		}
	} else {
		sums, err := sum(wants)
		if err != nil {
			return err
		}
		for _, w := range sums {
			take(rows, freed, w.VariantID, w.Quantity, id.Nil)
		}
	}
	if err := freed.off(ctx, tx, order); err != nil {
		return err
	}
	return freed.free(ctx, tx)
}

// Ship turns what is reserved for an order into goods that left the location.
// What was reserved elsewhere is freed there; what was not reserved must be
// free here.
func (f *Feature) Ship(ctx context.Context, tx *tenant.Tx, order, location id.ID, wants []commerce.Demand) error {
	wants, err := f.tracked(ctx, tx, order, wants)
	if err != nil || len(wants) == 0 {
		return err
	}
	rows, err := lock(ctx, tx, order)
	if err != nil {
		return err
	}
	ended, places := amounts{}, []place{}
	for _, w := range wants {
		take(rows, ended, w.VariantID, w.Quantity, location)
		places = append(places, place{w.VariantID, location})
	}
	for p := range ended {
		places = append(places, p)
	}
	b, err := open(ctx, tx, places, false, why{reason: "shipped", referenceType: "order", reference: order})
	if err != nil {
		return err
	}
	for _, w := range wants {
		p := place{w.VariantID, location}
		if !b.has(p) {
			return insufficient([]commerce.Shortage{{VariantID: w.VariantID, Requested: w.Quantity}})
		}
		b.move(p, -w.Quantity, 0)
	}
	for p, n := range ended {
		b.move(p, 0, -n)
	}
	if err := ended.off(ctx, tx, order); err != nil {
		return err
	}
	return b.close(ctx, tx)
}

// Restock takes goods of an order back into the location.
func (f *Feature) Restock(ctx context.Context, tx *tenant.Tx, order, location id.ID, wants []commerce.Demand) error {
	wants, err := f.tracked(ctx, tx, order, wants)
	if err != nil {
		return err
	}
	return add(ctx, tx, location, wants, why{reason: "returned", referenceType: "order", reference: order})
}

// Initial puts the first stock of variants into the default location, which is
// made on first use.
func (f *Feature) Initial(ctx context.Context, tx *tenant.Tx, wants []commerce.Demand) error {
	wants, err := sum(wants)
	if err != nil || len(wants) == 0 {
		return err
	}
	l, err := defaultLocation(ctx, tx)
	if err != nil {
		return err
	}
	return add(ctx, tx, l, wants, why{reason: "initial"})
}

// add puts goods into a location.
func add(ctx context.Context, tx *tenant.Tx, location id.ID, wants []commerce.Demand, w why) error {
	if len(wants) == 0 {
		return nil
	}
	places := make([]place, len(wants))
	for i, d := range wants {
		places[i] = place{d.VariantID, location}
	}
	b, err := open(ctx, tx, places, true, w)
	if err != nil {
		return err
	}
	for i, d := range wants {
		if !b.has(places[i]) {
			return fault.New(fault.Invalid, "stock_level_unknown", "There is no such variant, or no such location.").With("variant_id", d.VariantID)
		}
		b.move(places[i], d.Quantity, 0)
	}
	return b.close(ctx, tx)
}

// tracked sums the demands up, without the variants whose stock is not tracked
// and of which nothing is reserved for the order.
func (f *Feature) tracked(ctx context.Context, tx *tenant.Tx, order id.ID, wants []commerce.Demand) ([]commerce.Demand, error) {
	wants, err := sum(wants)
	if err != nil || len(wants) == 0 {
		return nil, err
	}
	variants, _ := split(wants)
	skip, err := tenant.Values[id.ID](ctx, tx, untracked, tx.Scope().Organization, variants, order)
	if err != nil {
		return nil, err
	}
	without := map[id.ID]bool{}
	for _, v := range skip {
		without[v] = true
	}
	out := wants[:0]
	for _, w := range wants {
		if !without[w.VariantID] {
			out = append(out, w)
		}
	}
	return out, nil
}

// take notes of which reservations the quantity of a variant comes, those at
// the preferred location first. What is not reserved is not noted.
func take(rows []reservation, noted amounts, variant id.ID, quantity int, preferred id.ID) {
	for _, first := range []bool{true, false} {
		for _, r := range rows {
			if r.VariantID != variant || (r.LocationID == preferred) != first {
				continue
			}
			if n := min(quantity, r.Quantity); n > 0 {
				noted[r.place()] += n
				quantity -= n
			}
		}
	}
}

// lock holds the reservations of an order.
func lock(ctx context.Context, tx *tenant.Tx, order id.ID) ([]reservation, error) {
	return tenant.List[reservation](ctx, tx, heldReservations, tx.Scope().Organization, order)
}

// off takes the amounts off the reservations of an order.
func (a amounts) off(ctx context.Context, tx *tenant.Tx, order id.ID) error {
	if len(a) == 0 {
		return nil
	}
	variants, locations, quantities := a.split()
	_, err := tenant.Exec(ctx, tx, takeReservations, tx.Scope().Organization, order, variants, locations, quantities)
	return err
}
