package orders

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// The one way from a cart to an order. What a crash leaves at any point is taken
// up by a repeat of the request, by a webhook, or by the job that is due:
//
//	begin    one transaction: draft, stock reserved for a while, job due
//	           (nothing to pay, or the provider needs no call: placed here)
//	ask      the provider, outside of any transaction, under the attempt's key
//	settle   one transaction: what the provider said is recorded; placed,
//	         waiting, or declined and the stock given back
//	undo     money that came for an order that cannot be is given back
//
// Who finds an attempt under way asks the provider for its state under the same
// key; only one that was declined for good is followed by another one.
const (
	// bridge is how long stock is reserved for a payment that is under way. The
	// attempt ends a little earlier, so that nobody counts on a reservation that
	// is just about to go.
	bridge   = 15 * time.Minute
	patience = bridge - time.Minute
	// lookAfter is when the job looks whether the payment went on without it.
	lookAfter = time.Minute
)

// errNotDraft cannot happen: drafts are stored under the lock of their cart.
var errNotDraft = errors.New("orders: the order is no draft")

type completeCart struct {
	CartID id.ID `path:"cart_id" ref:"cart" doc:"The cart."`
	Body   *completeBody
}

type completeBody struct {
	Payment *paymentChoice `json:"payment" required:"false" doc:"How it is paid; left out for manual."`
}

type paymentChoice struct {
	Provider string `json:"provider" required:"false" maxLength:"50" pattern:"^[a-z][a-z0-9_]*$" default:"manual" example:"manual" doc:"Who takes the money; manual is bank transfer or cash."`
}

// Completion is the order of a cart, and how its payment stands.
type Completion struct {
	Order   Receipt      `json:"order"`
	Payment PaymentState `json:"payment"`

	first bool
}

// PaymentState is how the payment of an order stands.
type PaymentState struct {
	Provider     string `json:"provider" maxLength:"50" example:"manual"`
	Status       string `json:"status" enum:"manual,pending,requires_action,authorized,captured" doc:"manual: somebody will record it. requires_action: the shopper goes on with the client secret, then completes the cart again."`
	ClientSecret string `json:"client_secret,omitempty" maxLength:"500" doc:"For the provider's script on the shopper's page."`
}

// ResponseStatus is 201 for the request that made the order, 200 for a repeat.
func (c Completion) ResponseStatus() int {
	if c.first {
		return 201
	}
	return 200
}

// ResponseStatuses lists both.
func (Completion) ResponseStatuses() []int { return []int{201, 200} }

// attempt is one try to have an order paid at a provider.
type attempt struct {
	order     id.ID
	number    int
	intent    Intent
	provider  Provider
	reference string // "" as long as the provider's answer is not known
	resumed   bool   // somebody began it before
	void      bool   // the cart is another by now: let go of it
}

func (f *Feature) complete(ctx context.Context, in *completeCart) (Completion, error) {
	name := manual
	if in.Body != nil && in.Body.Payment != nil && in.Body.Payment.Provider != "" {
		name = in.Body.Payment.Provider
	}
	if name != manual && f.providers[name] == nil {
		return Completion{}, fault.Invalidf("/payment/provider", "this shop takes no payment by it")
	}
	return f.Complete(ctx, api.CallerOf(ctx).Scope, in.CartID, name)
}

// Complete takes a cart as far as it goes now.
func (f *Feature) Complete(ctx context.Context, scope tenant.Scope, cart id.ID, provider string) (Completion, error) {
	for range 5 {
		var done *Completion
		var next attempt
		var refusal error
		err := f.DB.Write(ctx, scope, func(tx *tenant.Tx) (err error) {
			done, next, refusal, err = f.begin(ctx, tx, cart, provider)
			return err
		})
		switch {
		case err != nil:
			return Completion{}, err
		case refusal != nil:
			return Completion{}, refusal
		case done != nil:
			return *done, nil
		}
		// Money may move from here on, so what follows is stored whoever may still
		// call.
		scope.Check = nil
		out, err := f.advance(ctx, scope, next)
		switch {
		case err != nil:
			return Completion{}, err
		case out.again || next.void && out.state == declined:
			continue
		case out.state == declined:
			return Completion{}, fault.New(fault.PaymentRequired, "payment_declined", "The payment was declined. Complete the cart again to try once more.").
				With("reason", out.charge.Reason).With("order_id", next.order)
		case out.state == undone:
			return Completion{}, fault.Conflictf("insufficient_stock", "What was ordered was sold while the payment took its time. The money is given back.").With("lines", []commerce.Shortage{})
		}
		return Completion{Order: out.order.Receipt, first: out.first || out.state == waiting && !next.resumed, Payment: PaymentState{
			Provider: out.order.PaymentProvider, Status: string(out.charge.Status), ClientSecret: out.charge.ClientSecret,
		}}, nil
	}
	return Completion{}, fault.New(fault.Unavailable, "unavailable", "The cart or its payment is changing quickly. Try again shortly.")
}

// begin is the first transaction. It answers with a completion that is all there
// is to do, with a refusal that is stored all the same, or with an attempt at
// which the provider has to be asked.
func (f *Feature) begin(ctx context.Context, tx *tenant.Tx, cart id.ID, provider string) (*Completion, attempt, error, error) {
	b, err := f.Carts.Open(ctx, tx, cart)
	if err != nil {
		return nil, attempt{}, nil, err
	}
	h, err := tenant.One[held](ctx, tx, lockOfCart, tx.Scope().Organization, cart)
	found := err == nil
	switch {
	case err != nil && !errors.Is(err, tenant.ErrNoRows):
		return nil, attempt{}, nil, err
	case found && h.Status == "cancelled":
		return nil, attempt{}, nil, errCancelled()
	case found && h.Status != "draft":
		return &Completion{Order: h.Receipt, Payment: h.paymentState()}, attempt{}, nil, nil
	}
	if found && h.AttemptState != "declined" {
		// What is being paid was agreed; other prices since then do not matter. But a
		// payment for something else than what is in the cart now is let go first.
		a, err := f.resume(h, tx.Scope().Organization)
		a.void = h.AttemptState != "undo" && (provider != h.PaymentProvider || !h.matches(b))
		return nil, a, nil, err
	}
	if b.Email == "" {
		return nil, attempt{}, nil, fault.New(fault.Invalid, "email_required", "Say to which e-mail address the confirmation goes: PATCH the cart with email.")
	}
	if err := f.Carts.Price(ctx, tx, &b); err != nil {
		return nil, attempt{}, nil, err
	}
	switch {
	case len(b.Lines) == 0:
		return nil, attempt{}, nil, fault.Conflictf("cart_empty", "There is nothing in the cart.")
	case b.RequiresShipping() && b.ShippingAddress == nil:
		return nil, attempt{}, nil, fault.Invalidf("/shipping_address", "say where it is to be sent: PATCH the cart with shipping_address")
	case b.NeedsMethod:
		return nil, attempt{}, nil, fault.Invalidf("/shipping_method_id", "say how it is to be sent: PATCH the cart with one of its shipping-options")
	case b.Changed:
		return nil, attempt{}, fault.Conflictf("cart_changed", "The price of the cart is another than the one that was shown. Complete it again to accept it.").With("cart", b.Cart), nil
	}
	if b.Quote.Total == 0 {
		provider = manual // nobody has to be asked for nothing
	}
	order, sql := id.New(), insertOrder
	if found {
		order, sql = h.ID, renewOrder
		if err := f.Stock.Release(ctx, tx, order, nil); err != nil {
			return nil, attempt{}, nil, err
		}
	}
	if provider == manual {
		c, err := f.placeNow(ctx, tx, sql, order, h.Attempt, b)
		return c, attempt{}, nil, err
	}
	number := h.Attempt + 1
	reserved, until := tx.Now().Add(bridge), tx.Now().Add(patience)
	if err := draft(ctx, tx, sql, order, b, provider, number, "started", &until); err != nil {
		return nil, attempt{}, nil, err
	}
	if err := f.Stock.Reserve(ctx, tx, order, b.Wants(), &reserved); err != nil {
		return nil, attempt{}, nil, err
	}
	if err := settleJob.EnqueueAt(ctx, f.Queue, tx, settleArgs{OrderID: order}, tx.Now().Add(lookAfter)); err != nil {
		return nil, attempt{}, nil, err
	}
	return nil, attempt{order: order, number: number, provider: f.providers[provider],
		intent: intent(tx.Scope().Organization, order, number, b.Quote.Total, b.Currency, b.Email)}, nil, nil
}

// placeNow makes the order of a basket and places it, all in one.
func (f *Feature) placeNow(ctx context.Context, tx *tenant.Tx, sql string, order id.ID, attempts int, b commerce.Basket) (*Completion, error) {
	if err := draft(ctx, tx, sql, order, b, manual, attempts, "none", nil); err != nil {
		return nil, err
	}
	if err := f.Stock.Reserve(ctx, tx, order, b.Wants(), nil); err != nil {
		return nil, err
	}
	var steps []progress
	for _, l := range b.Lines {
		steps = append(steps, progress{Quantity: l.Quantity, RequiresShipping: l.RequiresShipping})
	}
	o, err := f.place(ctx, tx, order, b.CartID, b.Quote.Total, ledger{}, steps)
	if err != nil {
		return nil, err
	}
	return &Completion{Order: o.Receipt, first: true, Payment: PaymentState{Provider: manual, Status: "manual"}}, nil
}

// place makes a placed order of a draft whose stock is reserved: the last thing
// that its transaction does.
func (f *Feature) place(ctx context.Context, tx *tenant.Tx, order, cart id.ID, total int64, l ledger, lines []progress) (Order, error) {
	if err := f.Carts.Close(ctx, tx, cart); err != nil {
		return Order{}, err
	}
	if err := mailJob.Enqueue(ctx, f.Queue, tx, mailArgs{OrderID: order}); err != nil {
		return Order{}, err
	}
	status := "placed"
	if finished(status, fulfilmentStatus(lines), total, l) {
		status = "completed"
		if err := f.handOver(ctx, tx, order); err != nil {
			return Order{}, err
		}
	}
	o, err := tenant.One[Order](ctx, tx, placeOrder, tx.Scope().Organization, order, status, max(l.Authorized-l.Voided, 0), l.Captured, l.Refunded, paymentStatus(total, l))
	if err != nil {
		return o, err
	}
	if err := Placed.Emit(ctx, tx, o); err != nil {
		return o, err
	}
	if o.PaidAt != nil {
		if err := Paid.Emit(ctx, tx, o); err != nil {
			return o, err
		}
	}
	if o.Status == "completed" {
		return o, Completed.Emit(ctx, tx, o)
	}
	return o, nil
}

func intent(org, order id.ID, number int, amount int64, currency, email string) Intent {
	key := order.String()
	if number > 1 {
		key = fmt.Sprintf("%s-%d", key, number)
	}
	return Intent{Organization: org, OrderID: order, Key: key, Amount: amount, Currency: currency, Email: email}
}

func (h held) intent(org id.ID) Intent {
	return intent(org, h.ID, h.Attempt, h.Total, h.Currency, h.Email)
}

// paymentState is that of an order whose payment needs nothing any more.
func (h held) paymentState() PaymentState {
	s := PaymentState{Provider: h.PaymentProvider, Status: "manual"}
	switch {
	case h.PaymentProvider == manual:
	case h.Captured.Amount > 0:
		s.Status = string(Captured)
	default:
		s.Status = string(Authorized)
	}
	return s
}

// matches reports whether the draft is of what is in the basket now.
func (h held) matches(b commerce.Basket) bool {
	same := len(h.Lines) == len(b.Lines) && h.Currency == b.Currency && h.Email == b.Email && reflect.DeepEqual(h.ShippingMethodID, b.ShippingMethodID) &&
		reflect.DeepEqual(h.ShippingAddress, b.ShippingAddress) && reflect.DeepEqual(h.BillingAddress, b.BillingAddress) && slices.Equal(h.DiscountCodes, b.DiscountCodes)
	for i := 0; same && i < len(h.Lines); i++ {
		l := h.Lines[i]
		same = l.VariantID == b.Lines[i].VariantID && l.Quantity == b.Lines[i].Quantity
	}
	return same
}

// resume is the attempt of an order that is under way.
func (f *Feature) resume(h held, org id.ID) (attempt, error) {
	a := attempt{order: h.ID, number: h.Attempt, provider: f.providers[h.PaymentProvider], intent: h.intent(org), resumed: true}
	if h.AttemptReference != nil {
		a.reference = *h.AttemptReference
	}
	if a.provider == nil {
		return a, fmt.Errorf("orders: there is no payment provider %s any more, which order %s is being paid with", h.PaymentProvider, h.ID)
	}
	return a, nil
}
