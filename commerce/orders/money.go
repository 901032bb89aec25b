package orders

import (
	"context"
	"errors"
	"fmt"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
)

type listPaymentsInput struct {
	OrderID id.ID `path:"order_id" ref:"order" doc:"The order."`
	api.ListParams
}

func (f *Feature) listPayments(ctx context.Context, v tenant.View, in *listPaymentsInput) (page.Page[OrderPayment], error) {
	return ofOrder(ctx, v, in.ListParams, in.OrderID, listPayments, countPayments, func(p OrderPayment) id.ID { return p.ID })
}

func (f *Feature) listRefunds(ctx context.Context, v tenant.View, in *listPaymentsInput) (page.Page[OrderRefund], error) {
	return ofOrder(ctx, v, in.ListParams, in.OrderID, listRefunds, countRefunds, func(r OrderRefund) id.ID { return r.ID })
}

type recordPayment struct {
	OrderID id.ID `path:"order_id" ref:"order" doc:"The order."`
	Body    *paymentBody
}

type paymentBody struct {
	Amount    *int64 `json:"amount" required:"false" nullable:"true" minimum:"1" maximum:"9007199254740991" example:"1999" doc:"In minor units of the order's currency; left out or null for all that is open."`
	Reference string `json:"reference" required:"false" maxLength:"200" pattern:"^(\\S(.*\\S)?)?$" example:"Statement 12, line 3" doc:"What the payment is called where it was made. A repeat with the same one records nothing."`
}

func (f *Feature) recordPayment(ctx context.Context, tx *tenant.Tx, in *recordPayment) (OrderPayment, error) {
	was, err := lock(ctx, tx, in.OrderID)
	if err != nil {
		return OrderPayment{}, err
	}
	body := paymentBody{}
	if in.Body != nil {
		body = *in.Body
	}
	if body.Reference == "" {
		body.Reference = id.New().String()
	} else if p, err := tenant.One[OrderPayment](ctx, tx, selectPayment, tx.Scope().Organization, was.ID, manual, body.Reference, "captured"); err == nil {
		if body.Amount != nil && *body.Amount != p.Amount {
			return OrderPayment{}, fault.Conflictf("order_payment_recorded", "A payment of another amount is recorded with this reference.").With("amount", p.Amount)
		}
		p.repeated = true
		return p, nil
	} else if !errors.Is(err, tenant.ErrNoRows) {
		return OrderPayment{}, err
	}
	if err := was.placed(); err != nil {
		return OrderPayment{}, err
	}
	open := was.Total - was.Captured.Amount
	if body.Amount == nil {
		body.Amount = &open
	}
	if *body.Amount > open || *body.Amount < 1 {
		return OrderPayment{}, fault.Conflictf("payment_exceeds_open", "Of this order %d is open, in minor units.", open).With("open", open)
	}
	p, _, err := record(ctx, tx, OrderPayment{OrderID: was.ID, Provider: manual, Kind: "captured", Amount: *body.Amount, Reference: body.Reference})
	if err != nil {
		return OrderPayment{}, err
	}
	now, err := f.save(ctx, tx, was)
	if err != nil {
		return OrderPayment{}, err
	}
	return p, tell(ctx, tx, was.Order, now, Updated)
}

type refundOrder struct {
	OrderID id.ID `path:"order_id" ref:"order" doc:"The order."`
	Body    *refundBody
}

type refundBody struct {
	Amount  *int64       `json:"amount" required:"false" nullable:"true" minimum:"1" maximum:"9007199254740991" example:"1999" doc:"In minor units of the order's currency."`
	Lines   []RefundLine `json:"lines" required:"false" nullable:"false" maxItems:"200" doc:"Instead of an amount: so many of these lines, at what was paid for them."`
	Reason  string       `json:"reason" required:"false" maxLength:"1000" example:"Arrived broken." doc:"Why, for members."`
	Restock bool         `json:"restock" required:"false" doc:"Put the pieces of the lines back into the stock from where they were sent."`
}

// lineRefund is what a refund does to the lines it names.
type lineRefund struct {
	ids      []id.ID
	counts   []int
	amounts  []int64
	returned []int
	amount   int64
	restock  []commerce.Demand
}

// arguments are those of refundLines.
func (r lineRefund) arguments(tx *tenant.Tx, order id.ID) []any {
	return []any{tx.Scope().Organization, order, r.ids, r.counts, r.amounts, r.returned}
}

func refundOf(lines []stored, body refundBody) (lineRefund, error) {
	byID := map[id.ID]stored{}
	for _, l := range lines {
		byID[l.ID] = l
	}
	var r lineRefund
	for i, x := range body.Lines {
		l, there := byID[x.OrderLineID]
		if !there {
			return r, fault.Invalidf(fmt.Sprintf("/lines/%d/order_line_id", i), "not a line of this order, or named twice")
		}
		delete(byID, x.OrderLineID)
		if l.Refunded+x.Quantity > l.Quantity {
			return r, fault.Conflictf("refund_exceeds_ordered", "More of a line than was ordered and not refunded yet.")
		}
		amount, returned := lineShare(l.Total, l.Quantity, l.Refunded, x.Quantity), 0
		if body.Restock {
			returned = x.Quantity
			if l.TrackStock {
				r.restock = append(r.restock, commerce.Demand{VariantID: l.VariantID, Quantity: x.Quantity})
			}
		}
		r.ids, r.counts, r.amounts, r.returned = append(r.ids, l.ID), append(r.counts, x.Quantity), append(r.amounts, amount), append(r.returned, returned)
		r.amount += amount
	}
	return r, nil
}

func (f *Feature) refund(ctx context.Context, tx *tenant.Tx, in *refundOrder) (OrderRefund, error) {
	body := refundBody{}
	if in.Body != nil {
		body = *in.Body
	}
	switch {
	case body.Amount != nil && len(body.Lines) > 0:
		return OrderRefund{}, fault.Invalidf("/lines", "say either an amount or lines")
	case body.Restock && len(body.Lines) == 0:
		return OrderRefund{}, fault.Invalidf("/restock", "only pieces of lines go back into the stock: name lines")
	}
	was, err := lock(ctx, tx, in.OrderID)
	if err != nil {
		return OrderRefund{}, err
	}
	amount, lines := was.Captured.Amount-was.Refunded.Amount-was.Refunding, lineRefund{}
	switch {
	case body.Amount != nil:
		amount = *body.Amount
	case len(body.Lines) > 0:
		rows, err := tenant.List[stored](ctx, tx, listStored, tx.Scope().Organization, was.ID)
		if err != nil {
			return OrderRefund{}, err
		}
		if lines, err = refundOf(rows, body); err != nil {
			return OrderRefund{}, err
		}
		amount = lines.amount
	}
	if amount < 1 {
		return OrderRefund{}, fault.Conflictf("nothing_to_refund", "Nothing was paid that could be given back.")
	}
	r, err := f.giveBack(ctx, tx, was, amount, body, lines)
	return r, refused(err)
}

// giveBack promises the money, and gives it where nobody has to be asked. The
// constraint refund_exceeds_captured decides, whatever was read before.
func (f *Feature) giveBack(ctx context.Context, tx *tenant.Tx, was held, amount int64, body refundBody, lines lineRefund) (OrderRefund, error) {
	org, provider, status := tx.Scope().Organization, manual, "succeeded"
	if was.PaymentProvider != manual && was.AttemptReference != nil {
		there, err := tenant.Value[int64](ctx, tx, selectAtProvider, org, was.ID, was.PaymentProvider)
		if err != nil {
			return OrderRefund{}, err
		}
		if there-was.Refunding >= amount {
			provider, status = was.PaymentProvider, "pending"
		}
	}
	kind, actor := by(tx.Scope())
	given := body.Lines
	if given == nil {
		given = []RefundLine{}
	}
	r, err := tenant.One[OrderRefund](ctx, tx, insertRefund, org, was.ID, id.New(), provider, status, amount, body.Reason, body.Restock, given, kind, actor)
	if err != nil {
		return OrderRefund{}, err
	}
	if len(lines.ids) > 0 {
		if _, err := tenant.Exec(ctx, tx, refundLines, lines.arguments(tx, was.ID)...); err != nil {
			return OrderRefund{}, err
		}
	}
	if len(lines.restock) > 0 {
		from, err := tenant.Value[id.ID](ctx, tx, selectSource, org, was.ID, lines.ids)
		if errors.Is(err, tenant.ErrNoRows) {
			return OrderRefund{}, fault.Conflictf("restock_exceeds_shipped", "Nothing of these lines was sent from a location.")
		}
		if err != nil {
			return OrderRefund{}, err
		}
		if err := f.Stock.Restock(ctx, tx, was.ID, from, summed(lines.restock)); err != nil {
			return OrderRefund{}, err
		}
	}
	if provider != manual {
		was.Refunding += amount
		if _, err := f.save(ctx, tx, was); err != nil {
			return OrderRefund{}, err
		}
		return r, refundJob.Enqueue(ctx, f.Queue, tx, refundArgs{OrderID: was.ID, RefundID: r.ID})
	}
	if _, _, err := record(ctx, tx, OrderPayment{OrderID: was.ID, Provider: manual, Kind: "refunded", Amount: amount, Reference: r.ID.String(), Reason: body.Reason, RefundID: &r.ID}); err != nil {
		return OrderRefund{}, err
	}
	now, err := f.save(ctx, tx, was)
	if err != nil {
		return OrderRefund{}, err
	}
	return r, tell(ctx, tx, was.Order, now, Refunds)
}

// summed adds up demands of the same variant.
func summed(wants []commerce.Demand) (out []commerce.Demand) {
	at := map[id.ID]int{}
	for _, w := range wants {
		i, seen := at[w.VariantID]
		if !seen {
			i = len(out)
			at[w.VariantID] = i
			out = append(out, commerce.Demand{VariantID: w.VariantID})
		}
		out[i].Quantity += w.Quantity
	}
	return out
}

// refused makes a conflict of a constraint that says what cannot be: it is about
// the state of the order, not about the form of the input.
func refused(err error) error {
	words := map[string]string{
		"refund_exceeds_captured":    "That is more than came in and was not given back yet.",
		"refund_exceeds_ordered":     "More of a line than was ordered and not refunded yet.",
		"restock_exceeds_shipped":    "More of a line than was sent and has not come back yet.",
		"fulfilment_exceeds_ordered": "More of a line than was ordered and is in no parcel yet.",
	}
	if name := tenant.Constraint(err); words[name] != "" {
		return fault.Conflictf(name, "%s", words[name]).Because(err)
	}
	return err
}

type refundArgs struct {
	OrderID  id.ID `json:"order_id"`
	RefundID id.ID `json:"refund_id"`
}

var refundJob = jobs.Define[refundArgs]("orders.refund")

// refundAtProvider asks the provider for a refund and records the answer. The
// refund's id is the key, so that a repeat gives nothing back twice.
func (f *Feature) refundAtProvider(ctx context.Context, db *tenant.DB, s tenant.Scope, a refundArgs) error {
	v := db.View(s)
	r, err := tenant.One[OrderRefund](ctx, v, selectRefund, s.Organization, a.OrderID, a.RefundID)
	if errors.Is(err, tenant.ErrNoRows) || err == nil && r.Status != "pending" {
		return nil
	}
	if err != nil {
		return err
	}
	h, err := tenant.One[held](ctx, v, selectHeld, s.Organization, a.OrderID)
	if err != nil {
		return err
	}
	p := f.providers[r.Provider]
	if p == nil || h.AttemptReference == nil {
		return fmt.Errorf("orders: there is no payment provider %s to give back what order %s paid", r.Provider, h.ID)
	}
	answer, err := p.Refund(ctx, h.intent(s.Organization), *h.AttemptReference, r.ID.String(), r.Amount)
	if err != nil {
		return fmt.Errorf("orders: refund %s: %w", r.ID, err)
	}
	return db.Write(ctx, s, func(tx *tenant.Tx) error { return f.settleRefund(ctx, tx, r, answer) })
}

func (f *Feature) settleRefund(ctx context.Context, tx *tenant.Tx, r OrderRefund, answer Refunded) error {
	was, err := lock(ctx, tx, r.OrderID)
	if err != nil {
		return err
	}
	status, entry := "succeeded", OrderPayment{OrderID: r.OrderID, Provider: r.Provider, Kind: "refunded", Amount: r.Amount, Reference: answer.Reference, Reason: r.Reason, RefundID: &r.ID}
	if !answer.Done {
		status, entry.Kind, entry.Reference, entry.Reason = "failed", "failed", r.ID.String(), answer.Reason
	}
	n, err := tenant.Exec(ctx, tx, settleRefund, tx.Scope().Organization, r.OrderID, r.ID, status)
	if err != nil || n == 0 {
		return err // somebody else was told
	}
	if !answer.Done && len(r.Lines) > 0 {
		if err := f.takeBack(ctx, tx, r); err != nil {
			return err
		}
	}
	if _, _, err := record(ctx, tx, entry); err != nil {
		return err
	}
	was.Refunding -= r.Amount
	now, err := f.save(ctx, tx, was)
	if err != nil || !answer.Done {
		return err
	}
	return tell(ctx, tx, was.Order, now, Refunds)
}

// takeBack undoes what a failed refund noted on its lines. What came back into
// the stock stays there.
func (f *Feature) takeBack(ctx context.Context, tx *tenant.Tx, r OrderRefund) error {
	rows, err := tenant.List[stored](ctx, tx, listStored, tx.Scope().Organization, r.OrderID)
	if err != nil {
		return err
	}
	var back lineRefund
	for _, x := range r.Lines {
		for _, l := range rows {
			if l.ID == x.OrderLineID {
				back.ids, back.counts, back.returned = append(back.ids, l.ID), append(back.counts, -x.Quantity), append(back.returned, 0)
				back.amounts = append(back.amounts, -lineShare(l.Total, l.Quantity, l.Refunded-x.Quantity, x.Quantity))
			}
		}
	}
	_, err = tenant.Exec(ctx, tx, refundLines, back.arguments(tx, r.OrderID)...)
	return err
}
