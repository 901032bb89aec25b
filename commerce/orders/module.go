package orders

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/mail"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/module"
	"github.com/guildhall-dev/guildhall/tenant"
)

// The permissions of orders. Who may record money and give it back is asked
// apart.
var (
	Read     = authz.Permission{Key: "orders.read", Doc: "See orders, their payments and parcels.", From: authz.Member}
	Write    = authz.Permission{Key: "orders.write", Doc: "Change and cancel orders, pack and send parcels, write notes.", From: authz.Member}
	Payments = authz.Permission{Key: "payments.write", Doc: "Record payments and give money back.", From: authz.Admin}
)

// Stock is what an order does to the stock, in its own transaction. What cannot
// be met is 409 insufficient_stock.
type Stock interface {
	// Told are the events that it emits by the way.
	Told() []*event.Type
	Reserve(ctx context.Context, tx *tenant.Tx, order id.ID, wants []commerce.Demand, until *time.Time) error
	// Confirm keeps a reservation from expiring; 409 reservation_expired if it has.
	Confirm(ctx context.Context, tx *tenant.Tx, order id.ID) error
	// Release lets go of what is reserved; nil is all of it.
	Release(ctx context.Context, tx *tenant.Tx, order id.ID, wants []commerce.Demand) error
	Ship(ctx context.Context, tx *tenant.Tx, order, location id.ID, wants []commerce.Demand) error
	Restock(ctx context.Context, tx *tenant.Tx, order, location id.ID, wants []commerce.Demand) error
}

// Carts is what an order is made of.
type Carts interface {
	// Open locks the cart, if the caller may use it. The basket is not priced.
	Open(ctx context.Context, tx *tenant.Tx, cart id.ID) (commerce.Basket, error)
	// Price reads the prices of this moment into the basket, and stores them as
	// the cart's quote where they differ from it.
	Price(ctx context.Context, tx *tenant.Tx, b *commerce.Basket) error
	// Close marks it as completed.
	Close(ctx context.Context, tx *tenant.Tx, cart id.ID) error
}

// Deps is what the feature needs of the others.
type Deps struct {
	DB        *tenant.DB
	Queue     *jobs.Queue
	Mail      mail.Sender
	Log       *slog.Logger
	Stock     Stock
	Carts     Carts
	Providers []Provider // beside manual
}

// Feature is the feature of orders.
type Feature struct {
	Deps
	providers map[string]Provider
	letters   *letters
}

// New returns the feature.
func New(d Deps) (*Feature, error) {
	f := &Feature{Deps: d, providers: map[string]Provider{}}
	for _, p := range d.Providers {
		if p.Name() == manual || f.providers[p.Name()] != nil {
			return nil, fmt.Errorf("orders: there are two payment providers %s", p.Name())
		}
		f.providers[p.Name()] = p
	}
	var err error
	f.letters, err = newLetters()
	return f, err
}

// emits are the events of an operation that touches the stock.
func (f *Feature) emits(own ...*event.Type) []*event.Type {
	return slices.Concat(own, f.Stock.Told())
}

// Module is what the feature contributes.
func (f *Feature) Module() module.Module {
	return module.Module{
		Name:        "orders",
		Doc:         "What was agreed with customers: orders, the ledger of their money, parcels and refunds.",
		Permissions: []authz.Permission{Read, Write, Payments},
		Operations:  f.operations,
		Events: api.Events(Placed.Type, Paid.Type, Updated.Type, Cancelled.Type, Completed.Type, Refunds.Type, FulfilmentCreated.Type, FulfilmentUpdated.Type,
			FulfilmentShipped.Type, FulfilmentDelivered.Type, FulfilmentCancelled.Type, noted.Type),
		Jobs: f.jobs(),
	}
}

func (f *Feature) operations(r *api.Router) {
	api.Read(r, api.Op{
		ID: "list-orders", Route: "GET /orders", Can: Read, Summary: "List orders",
		Doc: "The newest first unless sort says otherwise. All filters that are given must hold.",
	}, f.list)
	api.Read(r, api.Op{
		ID: "get-order", Route: "GET /orders/{order_id}", Can: Read, Summary: "Get an order",
		Doc: "One order with its lines and totals.",
	}, f.get)
	api.Write(r, api.Op{
		ID: "update-order", Route: "PATCH /orders/{order_id}", Can: Write, Summary: "Change an order",
		Doc:   "Sets the fields that the body names. Addresses change only until something is sent.",
		Emits: api.Events(Updated.Type), Errors: []string{"409 order_shipped", "409 order_cancelled"},
	}, f.patch)
	api.Write(r, api.Op{
		ID: "cancel-order", Route: "POST /orders/{order_id}/cancel", Can: Write, Status: 200, Summary: "Cancel an order",
		Doc: "Gives its stock back and cancels its open parcels; refused once something is sent. What was only authorised is let go; " +
			"what was paid is given back by a refund. An order that is cancelled already is answered as it is.",
		Emits: f.emits(Cancelled.Type, FulfilmentCancelled.Type), Errors: []string{"409 order_shipped", "409 order_completed"},
	}, f.cancel)
	api.Read(r, api.Op{
		ID: "list-order-notes", Route: "GET /orders/{order_id}/notes", Can: Read, Summary: "List the notes of an order",
		Doc: "What members wrote about it for each other, newest first. Customers never see it.",
	}, f.listNotes)
	api.Write(r, api.Op{
		ID: "create-order-note", Route: "POST /orders/{order_id}/notes", Can: Write, Summary: "Write a note about an order",
		Doc: "For members only.", Emits: api.Events(noted.Type),
	}, f.createNote)
	api.Read(r, api.Op{
		ID: "list-order-timeline", Route: "GET /orders/{order_id}/timeline", Can: Read, Summary: "List what happened to an order",
		Doc: "The entries of the log about it, its parcels and its notes, newest first.",
	}, f.timeline)
	f.moneyOperations(r)
	f.parcelOperations(r)
	f.shopOperations(r)
}

func (f *Feature) moneyOperations(r *api.Router) {
	api.Read(r, api.Op{
		ID: "list-order-payments", Route: "GET /orders/{order_id}/payments", Can: Read, Summary: "List the payments of an order",
		Doc: "The ledger of its money, oldest first. Entries are only ever added.",
	}, f.listPayments)
	api.Write(r, api.Op{
		ID: "record-order-payment", Route: "POST /orders/{order_id}/payments", Can: Payments, Summary: "Record a payment",
		Doc: "Money that came outside of any provider: by bank transfer, in cash. Without an amount it is all that is open. " +
			"The same reference again records nothing and answers with the entry.",
		Emits:  f.emits(Updated.Type, Paid.Type, Completed.Type),
		Errors: []string{"409 payment_exceeds_open", "409 order_payment_recorded", "409 order_not_placed", "409 order_cancelled"},
	}, f.recordPayment)
	api.Read(r, api.Op{
		ID: "list-order-refunds", Route: "GET /orders/{order_id}/refunds", Can: Read, Summary: "List the refunds of an order",
		Doc: "Oldest first.",
	}, f.listRefunds)
	api.Write(r, api.Op{
		ID: "refund-order", Route: "POST /orders/{order_id}/refunds", Can: Payments, Summary: "Give money back",
		Doc: "An amount, or what so many of some lines cost; without both, all that is left. It is never above what came in. " +
			"Where a provider took the money, the refund is pending until the provider has given it back. restock puts the pieces of the lines, which must have been sent, back into the stock.",
		Emits:  f.emits(Refunds.Type),
		Errors: []string{"409 refund_exceeds_captured", "409 refund_exceeds_ordered", "409 restock_exceeds_shipped", "409 nothing_to_refund"},
	}, f.refund)
}

func (f *Feature) parcelOperations(r *api.Router) {
	api.Read(r, api.Op{
		ID: "list-order-fulfilments", Route: "GET /orders/{order_id}/fulfilments", Can: Read, Summary: "List the parcels of an order",
		Doc: "Oldest first.",
	}, f.listFulfilments)
	api.Read(r, api.Op{
		ID: "get-order-fulfilment", Route: "GET /orders/{order_id}/fulfilments/{fulfilment_id}", Can: Read, Summary: "Get a parcel",
		Doc: "One parcel with its lines.",
	}, f.getFulfilment)
	api.Write(r, api.Op{
		ID: "create-order-fulfilment", Route: "POST /orders/{order_id}/fulfilments", Can: Write, Summary: "Pack a parcel",
		Doc:    "It is pending until it is shipped. Without lines it holds all that is in no parcel yet; without a location it goes from where most of the order is reserved.",
		Emits:  api.Events(FulfilmentCreated.Type),
		Errors: []string{"409 fulfilment_exceeds_ordered", "409 nothing_to_fulfil", "409 order_not_placed", "409 order_cancelled", "422 fulfilment_location_unknown"},
	}, f.createFulfilment)
	api.Write(r, api.Op{
		ID: "update-order-fulfilment", Route: "PATCH /orders/{order_id}/fulfilments/{fulfilment_id}", Can: Write, Summary: "Change the tracking of a parcel",
		Doc:   "Sets the fields that the body names.",
		Emits: api.Events(FulfilmentUpdated.Type), Errors: []string{"409 fulfilment_cancelled"},
	}, f.patchFulfilment)
	api.Write(r, api.Op{
		ID: "ship-order-fulfilment", Route: "POST /orders/{order_id}/fulfilments/{fulfilment_id}/ship", Can: Write, Status: 200, Summary: "Send a parcel",
		Doc:   "Takes its goods out of the stock and mails the customer. A parcel that is shipped already is answered as it is.",
		Emits: f.emits(FulfilmentShipped.Type, Updated.Type), Errors: []string{"409 fulfilment_cancelled", "409 order_cancelled", "409 insufficient_stock"},
	}, f.ship)
	api.Write(r, api.Op{
		ID: "deliver-order-fulfilment", Route: "POST /orders/{order_id}/fulfilments/{fulfilment_id}/deliver", Can: Write, Status: 200, Summary: "Say that a parcel has arrived",
		Doc:    "A pending parcel is shipped by it. When all of a paid order has arrived, the order is completed.",
		Emits:  f.emits(FulfilmentShipped.Type, FulfilmentDelivered.Type, Updated.Type, Completed.Type),
		Errors: []string{"409 fulfilment_cancelled", "409 order_cancelled", "409 insufficient_stock"},
	}, f.deliver)
	api.Write(r, api.Op{
		ID: "cancel-order-fulfilment", Route: "POST /orders/{order_id}/fulfilments/{fulfilment_id}/cancel", Can: Write, Status: 200, Summary: "Cancel a parcel",
		Doc:   "Its lines can be packed again; the stock stays reserved for the order. Refused once it is sent.",
		Emits: api.Events(FulfilmentCancelled.Type), Errors: []string{"409 fulfilment_shipped"},
	}, f.cancelFulfilment)
}

func (f *Feature) shopOperations(r *api.Router) {
	api.Call(r, api.Op{
		ID: "complete-cart", Route: "POST /storefront/carts/{cart_id}/complete", Access: api.Storefront, Summary: "Complete a cart",
		Doc: "Makes the order of the cart, or answers with the one that it has. The cart is priced anew: if anything is another price than the shopper saw, " +
			"409 cart_changed shows the cart with the new ones, and a repeat accepts them. A declined payment is tried again by completing again.",
		Secret: true,
		Emits:  f.emits(Placed.Type, Paid.Type, Completed.Type, Refunds.Type),
		Errors: []string{"402 payment_declined", "409 cart_changed", "409 cart_empty", "409 insufficient_stock", "409 order_cancelled", "422 email_required",
			"422 price_unavailable", "422 amount_too_large", "503 payment_unavailable"},
	}, f.complete)
	api.Read(r, api.Op{
		ID: "list-my-orders", Route: "GET /storefront/orders", Access: api.Storefront, CustomersOnly: true, Summary: "List one's own orders",
		Doc: "The orders of the customer who is logged in, newest first.",
	}, f.listMine)
	api.Read(r, api.Op{
		ID: "get-my-order", Route: "GET /storefront/orders/{order_id}", Access: api.Storefront, CustomersOnly: true, Summary: "Get one's own order",
		Doc: "One order of the customer who is logged in.",
	}, f.getMine)
}
