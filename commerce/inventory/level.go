package inventory

import (
	"fmt"
	"slices"
	"time"

	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
)

// Level is how much of a variant is at a location.
type Level struct {
	VariantID         id.ID     `db:"variant_id" json:"variant_id"`
	ProductID         id.ID     `db:"product_id" json:"product_id" doc:"The product of the variant."`
	LocationID        id.ID     `db:"location_id" json:"location_id"`
	OnHand            int       `db:"on_hand" json:"on_hand" minimum:"0" maximum:"1000000000" example:"40" doc:"What lies there: the sum of its movements."`
	Reserved          int       `db:"reserved" json:"reserved" minimum:"0" maximum:"1002000000" example:"3" doc:"What of it is promised to orders."`
	Available         int       `db:"available" json:"available" minimum:"-1002000000" maximum:"1000000000" example:"37" doc:"on_hand - reserved; below 0 where more is promised than is there."`
	BackorderLimit    int       `db:"backorder_limit" json:"backorder_limit" minimum:"0" maximum:"1000000" example:"0" doc:"How much may be promised beyond what is there."`
	Shortfall         int       `db:"shortfall" json:"shortfall" minimum:"0" maximum:"1002000000" example:"0" doc:"What was promised and then not found by a count; back to 0 as reservations end and goods arrive."`
	LowStockThreshold *int      `db:"low_stock_threshold" json:"low_stock_threshold" nullable:"true" minimum:"0" maximum:"1000000" example:"5" doc:"stock.low tells when available comes down to it; null never."`
	Version           int64     `db:"version" json:"version" minimum:"1" maximum:"9007199254740991" example:"1" doc:"Counts the changes; also its ETag."`
	UpdatedAt         time.Time `db:"updated_at" json:"updated_at"`
}

// RowVersion implements api.Versioned.
func (l Level) RowVersion() int64 { return l.Version }

// EventSubject implements event.Subjected. A level has no id of its own.
func (l Level) EventSubject() event.Subject { return event.Subject{ID: l.VariantID} }

// The events of a level.
var (
	Low       = event.Define[Level]("stock.low", "What is available at a location came down to its threshold. It is told again only after it rose above.")
	Shortfall = event.Define[Level]("stock.shortfall", "A count found less than is promised to orders; data has the gap as shortfall.")
)

func (l Level) low() bool { return l.LowStockThreshold != nil && l.Available <= *l.LowStockThreshold }

// gap is what is promised beyond what is there and may be owed.
func (l Level) gap() int { return max(0, l.Reserved-l.OnHand-l.BackorderLimit) }

// free is what may still be promised.
func (l Level) free() int { return l.OnHand + l.BackorderLimit + l.Shortfall - l.Reserved }

// with returns the level after a change of what is there and what is promised.
// A shortfall is no larger than what explains it, so it goes with its reason.
func (l Level) with(onHand, reserved int) Level {
	l.OnHand += onHand
	l.Reserved += reserved
	l.Available = l.OnHand - l.Reserved
	l.Shortfall = min(l.Shortfall, l.gap())
	return l
}

// counted returns the level after a count: what is promised stays promised.
func (l Level) counted(n int) Level {
	l = l.with(n-l.OnHand, 0)
	l.Shortfall = l.gap()
	return l
}

// refuse is nil if the level may be so; was is how it is.
func (l Level) refuse(was Level) error {
	switch {
	case l.OnHand < 0:
		return fault.Conflictf("stock_not_negative", "Only %d are there.", was.OnHand).With("on_hand", was.OnHand)
	case l.free() < 0:
		return insufficient([]commerce.Shortage{{VariantID: l.VariantID, Requested: was.OnHand - l.OnHand, Available: max(0, was.free())}})
	}
	return nil
}

// insufficient is the refusal of a demand that cannot be met.
func insufficient(short []commerce.Shortage) error {
	return fault.Conflictf("insufficient_stock", "Not enough is in stock that is not promised to others.").With("lines", short)
}

// place is where a variant lies: the key of a level.
type place struct{ Variant, Location id.ID }

func comparePlaces(a, b place) int {
	if c := slices.Compare(a.Variant[:], b.Variant[:]); c != 0 {
		return c
	}
	return slices.Compare(a.Location[:], b.Location[:])
}

func (l Level) place() place { return place{l.VariantID, l.LocationID} }

// sum adds up the demand of each variant, in the order of their ids; what is
// not a demand is a defect of the caller.
func sum(wants []commerce.Demand) ([]commerce.Demand, error) {
	total := map[id.ID]int{}
	for _, w := range wants {
		if w.Quantity <= 0 || w.Quantity > maxQuantity {
			return nil, fmt.Errorf("inventory: a demand of %d of %s", w.Quantity, w.VariantID)
		}
		total[w.VariantID] += w.Quantity
	}
	out := make([]commerce.Demand, 0, len(total))
	for v, n := range total {
		if n > maxOnHand {
			return nil, insufficient([]commerce.Shortage{{VariantID: v, Requested: n}})
		}
		out = append(out, commerce.Demand{VariantID: v, Quantity: n})
	}
	slices.SortFunc(out, func(a, b commerce.Demand) int { return slices.Compare(a.VariantID[:], b.VariantID[:]) })
	return out, nil
}

// What the tables hold at most.
const (
	maxQuantity = 1_000_000
	maxOnHand   = 1_000_000_000
)

// split takes the parts of demands apart for a statement.
func split(wants []commerce.Demand) (variants []id.ID, quantities []int) {
	for _, w := range wants {
		variants, quantities = append(variants, w.VariantID), append(quantities, w.Quantity)
	}
	return variants, quantities
}

// Movement is one entry of the ledger.
type Movement struct {
	ID            id.ID          `db:"id" json:"id"`
	VariantID     id.ID          `db:"variant_id" json:"variant_id"`
	LocationID    id.ID          `db:"location_id" json:"location_id"`
	Quantity      int            `db:"quantity" json:"quantity" minimum:"-1000000000" maximum:"1000000000" example:"40" doc:"Below 0: so many left."`
	OnHandAfter   int            `db:"on_hand_after" json:"on_hand_after" minimum:"0" maximum:"1000000000" example:"40" doc:"What was there then."`
	Reason        string         `db:"reason" json:"reason" enum:"initial,received,adjusted,counted,damaged,transferred,shipped,returned"`
	Note          string         `db:"note" json:"note" maxLength:"1000"`
	ReferenceType *string        `db:"reference_type" json:"reference_type" nullable:"true" enum:"order,transfer,count" doc:"What it belongs to."`
	ReferenceID   *id.ID         `db:"reference_id" json:"reference_id" nullable:"true"`
	CreatedBy     event.ActorRef `db:"created_by" json:"created_by"`
	CreatedAt     time.Time      `db:"created_at" json:"created_at"`
}

// EventSubject implements event.Subjected.
func (m Movement) EventSubject() event.Subject { return event.Subject{ID: m.ID} }

// Moved tells of every entry of the ledger.
var Moved = event.Define[Movement]("stock_movement.created", "Goods came, went, or were found to be more or fewer.")
