package orders

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
)

// state is what became of an attempt.
type state int

const (
	placed   state = iota // the order stands, now or since earlier
	waiting               // for the shopper or for the provider
	declined              // for good; the order can be tried again
	undo                  // money came for what cannot be
	undone                // and was given back
)

// outcome is an attempt after a step.
type outcome struct {
	state  state
	order  Order
	charge Charge
	first  bool // it was placed by this very step
	again  bool // somebody began another attempt meanwhile

	refund, release int64 // what undo gives back, or lets go of
}

// advance takes an attempt as far as it goes: it asks the provider and records
// the answer.
func (f *Feature) advance(ctx context.Context, s tenant.Scope, a attempt) (outcome, error) {
	charge, err := a.ask(ctx)
	if err != nil {
		return outcome{}, fault.New(fault.Unavailable, "payment_unavailable", "The payment service does not answer. Complete the cart again shortly: nothing is charged twice.").Because(err)
	}
	var out outcome
	err = f.DB.Write(ctx, s, func(tx *tenant.Tx) (err error) {
		out, err = f.settle(ctx, tx, a, charge)
		return err
	})
	if err != nil || out.state != undo {
		return out, err
	}
	return f.undo(ctx, s, a, out)
}

// ask tells how the attempt stands at the provider, and begins it there if
// nobody did. What Start answers to a repeated key may be what it answered the
// first time.
func (a attempt) ask(ctx context.Context) (c Charge, err error) {
	if a.reference == "" {
		c, err = a.provider.Start(ctx, a.intent)
		if err != nil || !a.resumed && !a.void {
			return c, err
		}
		a.reference = c.Reference
	}
	if a.void {
		return a.provider.Void(ctx, a.intent, a.reference)
	}
	return a.provider.Fetch(ctx, a.intent, a.reference)
}

// settle records what a provider said about an attempt, and draws the
// consequences. It may be told the same any number of times.
func (f *Feature) settle(ctx context.Context, tx *tenant.Tx, a attempt, c Charge) (outcome, error) {
	out := outcome{charge: c}
	if _, err := tenant.Values[id.ID](ctx, tx, lockCartOf, tx.Scope().Organization, a.order); err != nil {
		return out, err
	}
	h, err := lock(ctx, tx, a.order)
	if err != nil {
		return out, err
	}
	if h.Attempt != a.number {
		out.again = true
		return out, nil
	}
	news, err := f.note(ctx, tx, h, c)
	if err != nil {
		return out, err
	}
	l, lines, err := derive(ctx, tx, h.ID)
	if err != nil {
		return out, err
	}
	out.order, out.release = h.Order, l.held()
	if h.PlacedAt == nil { // what a placed order was paid is given back by whoever cancels it
		out.refund = max(l.Captured-l.Refunded, 0)
	}
	switch {
	case h.Status == "cancelled", h.Status == "draft" && h.AttemptState == "undo":
		if out.state = declined; out.refund+out.release > 0 {
			out.state = undo
		}
		return out, f.mark(ctx, tx, h, h.AttemptState, c)
	case h.Status != "draft":
		if !news {
			return out, nil
		}
		if out.order, err = f.save(ctx, tx, h); err != nil {
			return out, err
		}
		return out, tell(ctx, tx, h.Order, out.order, Updated)
	case l.Captured-l.Refunded+l.held() >= h.Total:
		short, err := f.keepStock(ctx, tx, h)
		if err != nil {
			return out, err
		}
		if short {
			// From here on there is no way but back: the money may be returned already
			// when somebody looks again.
			out.state, h.AttemptState = undo, "undo"
			if _, err := f.save(ctx, tx, h); err != nil {
				return out, err
			}
			return out, f.mark(ctx, tx, h, "undo", c)
		}
		if err := f.mark(ctx, tx, h, "settled", c); err != nil {
			return out, err
		}
		out.order, err = f.place(ctx, tx, h.ID, *h.CartID, h.Total, l, lines)
		out.first = true
		return out, err
	case c.Status == Declined:
		if out.state = declined; h.AttemptState == "declined" {
			return out, nil
		}
		if err := f.Stock.Release(ctx, tx, h.ID, nil); err != nil {
			return out, err
		}
		return out, f.mark(ctx, tx, h, "declined", c)
	}
	out.state = waiting
	if news { // a part of it
		h.AttemptState = "waiting"
		if _, err := f.save(ctx, tx, h); err != nil {
			return out, err
		}
	}
	return out, f.mark(ctx, tx, h, "waiting", c)
}

// note adds to the ledger what the provider says, as far as it is news.
func (f *Feature) note(ctx context.Context, tx *tenant.Tx, h held, c Charge) (news bool, err error) {
	entry := OrderPayment{OrderID: h.ID, Provider: h.PaymentProvider, Reference: c.Reference}
	for kind, amount := range map[string]int64{"authorized": c.Authorized, "captured": c.Captured} {
		if amount > 0 {
			entry.Kind, entry.Amount = kind, amount
			_, added, err := record(ctx, tx, entry)
			if err != nil {
				return news, err
			}
			news = news || added
		}
	}
	if c.Status == Declined && c.Reference != "" {
		entry.Kind, entry.Amount, entry.Reason = "failed", h.Total, c.Reason
		_, _, err = record(ctx, tx, entry)
	}
	return news, err
}

// mark notes how far the attempt is.
func (f *Feature) mark(ctx context.Context, tx *tenant.Tx, h held, state string, c Charge) error {
	var reference *string
	if c.Reference != "" {
		reference = &c.Reference
	}
	_, err := tenant.Exec(ctx, tx, saveAttempt, tx.Scope().Organization, h.ID, state, reference, h.AttemptUntil)
	return err
}

// keepStock turns what is reserved for a while into what is reserved. If the
// while is over, it may be gone, and is asked for anew; short if there is not
// enough any more.
func (f *Feature) keepStock(ctx context.Context, tx *tenant.Tx, h held) (short bool, err error) {
	if h.AttemptUntil != nil && tx.Now().Before(*h.AttemptUntil) && h.AttemptState != "declined" {
		err := tx.Try(ctx, func() error { return f.Stock.Confirm(ctx, tx, h.ID) })
		if refusal := fault.As(err); refusal == nil || refusal.Code != "reservation_expired" {
			return false, err
		}
	}
	wants, err := tenant.List[demand](ctx, tx, listDemand, tx.Scope().Organization, h.ID)
	if err != nil {
		return false, err
	}
	err = tx.Try(ctx, func() error {
		if err := f.Stock.Release(ctx, tx, h.ID, nil); err != nil {
			return err
		}
		return f.Stock.Reserve(ctx, tx, h.ID, demands(wants), nil)
	})
	if refusal := fault.As(err); refusal != nil && refusal.Code == "insufficient_stock" {
		// What of it is left must not stay reserved.
		return true, f.Stock.Release(ctx, tx, h.ID, nil)
	}
	return false, err
}

// undo gives back money that came for an order that cannot be, and records it.
// Each call has a key of its own, so it may be cut off anywhere and repeated.
func (f *Feature) undo(ctx context.Context, s tenant.Scope, a attempt, out outcome) (outcome, error) {
	reference := out.charge.Reference
	entry := OrderPayment{OrderID: a.order, Provider: a.provider.Name(), Reference: reference, Reason: "The order could not be placed."}
	if out.refund > 0 {
		entry.Kind, entry.Amount = "refunded", out.refund
		back, err := a.provider.Refund(ctx, a.intent, reference, a.intent.Key+"-undo", out.refund)
		if err == nil && !back.Done {
			err = fmt.Errorf("the provider refuses: %s", back.Reason)
		}
		if err != nil {
			return out, owing(a, err)
		}
		entry.Reference = back.Reference
	} else {
		entry.Kind, entry.Amount = "voided", out.release
		c, err := a.provider.Void(ctx, a.intent, reference)
		if err == nil && c.Status != Declined {
			err = fmt.Errorf("the payment is %s", c.Status)
		}
		if err != nil {
			return out, owing(a, err)
		}
	}
	out.state = undone
	return out, f.DB.Write(ctx, s, func(tx *tenant.Tx) error { return f.undoing(ctx, tx, a, entry) })
}

// owing says that money is still to be given back; the job tries again.
func owing(a attempt, err error) error {
	return fault.New(fault.Unavailable, "payment_unavailable", "The order could not be placed, and the payment service does not answer. The money will be given back.").
		Because(fmt.Errorf("orders: undo the payment of order %s: %w", a.order, err))
}

// undoing records that the money went back. A draft ends with it, and leaves its
// cart to be completed to another order.
func (f *Feature) undoing(ctx context.Context, tx *tenant.Tx, a attempt, entry OrderPayment) error {
	h, err := lock(ctx, tx, a.order)
	if err != nil {
		return err
	}
	if _, _, err := record(ctx, tx, entry); err != nil {
		return err
	}
	was := h.Order
	if h.AttemptState = "settled"; h.Status == "draft" {
		reason := "Paid for when it was sold out."
		h.Status, h.CancelReason, h.CartID = "cancelled", &reason, nil
	}
	now, err := f.save(ctx, tx, h)
	if err != nil || entry.Kind != "refunded" {
		return err
	}
	return Refunds.EmitChange(ctx, tx, was, now)
}

type settleArgs struct {
	OrderID id.ID `json:"order_id"`
}

var settleJob = jobs.Define[settleArgs]("orders.settle")

// Settle takes the payment of an order as far as it goes, by what the provider
// says now: for webhooks and for the job. An order that is not being paid at a
// provider is left alone.
func (f *Feature) Settle(ctx context.Context, s tenant.Scope, order id.ID) error {
	h, err := tenant.One[held](ctx, f.DB.View(s), selectHeld, s.Organization, order)
	if errors.Is(err, tenant.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if h.Attempt == 0 || h.PaymentProvider == manual || h.Status == "draft" && h.AttemptState == "declined" {
		return nil
	}
	a, err := f.resume(h, s.Organization)
	if err != nil {
		return err
	}
	// Nobody waits any longer for what was begun long ago, or is cancelled.
	over := h.Status == "draft" && h.AttemptUntil != nil && !time.Now().Before(*h.AttemptUntil)
	a.void = over && h.AttemptState != "undo" || h.Status == "cancelled" && h.PlacedAt == nil && h.AttemptState != "settled"
	out, err := f.advance(ctx, s, a)
	if err != nil || out.state != waiting {
		return err
	}
	return f.DB.Write(ctx, s, func(tx *tenant.Tx) error {
		next := tx.Now().Add(lookAfter)
		if h.AttemptUntil != nil && tx.Now().Before(*h.AttemptUntil) {
			next = *h.AttemptUntil
		}
		return settleJob.EnqueueAt(ctx, f.Queue, tx, settleArgs{OrderID: order}, next)
	})
}

func (f *Feature) jobs() []jobs.Definition {
	return []jobs.Definition{
		jobs.Work(settleJob, func(ctx context.Context, db *tenant.DB, s tenant.Scope, a settleArgs) error {
			g := *f
			g.DB = db // of the workers
			return g.Settle(ctx, s, a.OrderID)
		}),
		jobs.Work(refundJob, f.refundAtProvider),
		jobs.Work(mailJob, f.sendMail),
	}
}
