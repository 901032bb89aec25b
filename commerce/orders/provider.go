package orders

import (
	"context"

	"github.com/guildhall-dev/guildhall/internal/id"
)

// Provider is who takes money: a payment service. All of its calls may be
// repeated, and are: each that moves money brings a key under which the provider
// does it once. An error means that nothing is known; a refusal is an answer.
type Provider interface {
	Name() string
	// Start begins the payment of an order, or finds the one that was begun with
	// the same key.
	Start(ctx context.Context, i Intent) (Charge, error)
	// Fetch tells how the payment stands now.
	Fetch(ctx context.Context, i Intent, reference string) (Charge, error)
	// Capture takes authorised money.
	Capture(ctx context.Context, i Intent, reference string, amount int64) (Charge, error)
	// Void lets go of what is not captured, and answers how the payment stands
	// then: it may have been captured a moment before.
	Void(ctx context.Context, i Intent, reference string) (Charge, error)
	// Refund gives captured money back; the key stands for this one refund.
	Refund(ctx context.Context, i Intent, reference, key string, amount int64) (Refunded, error)
}

// Intent is a payment as it is asked for.
type Intent struct {
	Organization id.ID
	OrderID      id.ID
	// Key stands for one attempt to pay the order.
	Key      string
	Amount   int64
	Currency string
	Email    string
}

// Charge is how a payment stands.
type Charge struct {
	Reference    string // the provider's name for it
	Status       ChargeStatus
	Authorized   int64
	Captured     int64
	ClientSecret string // with which the shopper's page goes on
	Reason       string // of a decline, in words for the shopper
}

// ChargeStatus is where a payment is.
type ChargeStatus string

// A declined payment never becomes another one; a voided one counts as declined.
const (
	Pending        ChargeStatus = "pending"
	RequiresAction ChargeStatus = "requires_action"
	Authorized     ChargeStatus = "authorized"
	Captured       ChargeStatus = "captured"
	Declined       ChargeStatus = "declined"
)

// Refunded is how a refund went.
type Refunded struct {
	Reference string
	Done      bool // else it was refused, for the reason
	Reason    string
}

// manual is the provider that needs no call: money comes by bank transfer or in
// cash, and somebody records it.
const manual = "manual"
