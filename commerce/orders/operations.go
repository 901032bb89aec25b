package orders

import (
	"context"
	"reflect"
	"slices"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

type orderPath struct {
	OrderID id.ID `path:"order_id" ref:"order" doc:"The order."`
}

func (f *Feature) get(ctx context.Context, v tenant.View, in *orderPath) (Order, error) {
	o, err := tenant.One[Order](ctx, v, selectOrder, v.Scope().Organization, in.OrderID)
	return o, tenant.NotFound(err, "order")
}

type patchOrder struct {
	OrderID id.ID       `path:"order_id" ref:"order" doc:"The order."`
	IfMatch api.IfMatch `header:"If-Match"`
	Body    struct {
		Tags            api.Optional[[]string]         `json:"tags" required:"false" maxItems:"50" minLength:"1" maxLength:"50" pattern:"\\S" doc:"All its tags."`
		Note            api.Optional[string]           `json:"note" required:"false" maxLength:"2000" doc:"What the customer wanted to say."`
		ShippingAddress api.Optional[commerce.Address] `json:"shipping_address" required:"false" doc:"Where what is not sent yet goes."`
		BillingAddress  api.Optional[commerce.Address] `json:"billing_address" required:"false" nullable:"true" doc:"Whom the bill is for; null for the shipping address."`
	}
}

func (f *Feature) patch(ctx context.Context, tx *tenant.Tx, in *patchOrder) (Order, error) {
	was, err := lock(ctx, tx, in.OrderID)
	if err != nil {
		return Order{}, err
	}
	if !in.IfMatch.Matches(was.Version) {
		return Order{}, fault.StaleVersion(was.Order)
	}
	now, b := was.Order, in.Body
	b.Tags.Set(&now.Tags)
	b.Note.Set(&now.Note)
	b.ShippingAddress.SetPtr(&now.ShippingAddress)
	b.BillingAddress.SetPtr(&now.BillingAddress)
	if reflect.DeepEqual(now, was.Order) {
		return now, nil
	}
	if !reflect.DeepEqual(now.ShippingAddress, was.ShippingAddress) || !reflect.DeepEqual(now.BillingAddress, was.BillingAddress) {
		switch {
		case was.Status == "cancelled":
			return Order{}, errCancelled()
		case !slices.Contains([]string{"unfulfilled", "not_required"}, was.FulfilmentStatus):
			return Order{}, fault.Conflictf("order_shipped", "Something of this order is sent already, so its addresses stay.")
		}
	}
	now, err = tenant.One[Order](ctx, tx, updateOrder, tx.Scope().Organization, now.ID, now.Tags, now.Note, now.ShippingAddress, now.BillingAddress)
	if err != nil {
		return Order{}, err
	}
	return now, Updated.EmitChange(ctx, tx, was.Order, now)
}

func errCancelled() error {
	return fault.Conflictf("order_cancelled", "This order is cancelled.")
}

// placed is nil if the order was placed and not cancelled.
func (h held) placed() error {
	switch h.Status {
	case "cancelled":
		return errCancelled()
	case "draft":
		return fault.Conflictf("order_not_placed", "This order is still being paid for.")
	}
	return nil
}

type cancelOrder struct {
	OrderID id.ID       `path:"order_id" ref:"order" doc:"The order."`
	IfMatch api.IfMatch `header:"If-Match"`
	Body    *cancelBody
}

type cancelBody struct {
	Reason string `json:"reason" required:"false" maxLength:"1000" example:"The customer changed her mind." doc:"Why, for members."`
}

func (f *Feature) cancel(ctx context.Context, tx *tenant.Tx, in *cancelOrder) (Order, error) {
	was, err := lock(ctx, tx, in.OrderID)
	if err != nil {
		return Order{}, err
	}
	switch {
	case was.Status == "cancelled":
		return was.Order, nil
	case !in.IfMatch.Matches(was.Version):
		return Order{}, fault.StaleVersion(was.Order)
	case slices.ContainsFunc(was.Lines, func(l OrderLine) bool { return l.FulfilledQuantity > 0 }):
		return Order{}, fault.Conflictf("order_shipped", "Something of this order is sent already. Give the money back by a refund instead.")
	case was.Status == "completed":
		return Order{}, fault.Conflictf("order_completed", "This order is completed. Give the money back by a refund instead.")
	}
	open, err := tenant.List[Fulfilment](ctx, tx, openFulfilments, tx.Scope().Organization, was.ID)
	if err != nil {
		return Order{}, err
	}
	for _, p := range open {
		if _, err := f.drop(ctx, tx, p); err != nil {
			return Order{}, err
		}
	}
	if err := f.Stock.Release(ctx, tx, was.ID, nil); err != nil {
		return Order{}, err
	}
	next := was
	next.Status, next.CancelReason = "cancelled", new(string)
	if in.Body != nil {
		next.CancelReason = &in.Body.Reason
	}
	now, err := f.save(ctx, tx, next)
	if err != nil {
		return Order{}, err
	}
	// What the provider holds or is about to take is let go, outside of this
	// transaction.
	if was.PaymentProvider != manual {
		if err := settleJob.Enqueue(ctx, f.Queue, tx, settleArgs{OrderID: was.ID}); err != nil {
			return Order{}, err
		}
	}
	return now, Cancelled.EmitChange(ctx, tx, was.Order, now)
}

// tell emits what changed, and what follows from it: that all is paid, that
// nothing is left to do.
func tell(ctx context.Context, tx *tenant.Tx, was, now Order, what ...event.Of[Order]) error {
	if was.PaidAt == nil && now.PaidAt != nil {
		what = append(slices.DeleteFunc(what, func(e event.Of[Order]) bool { return e.Type == Updated.Type }), Paid)
	}
	if was.Status != now.Status && now.Status == "completed" {
		what = append(slices.DeleteFunc(what, func(e event.Of[Order]) bool { return e.Type == Updated.Type }), Completed)
	}
	for _, e := range what {
		if err := e.EmitChange(ctx, tx, was, now); err != nil {
			return err
		}
	}
	return nil
}

// Notes.

type listNotesInput struct {
	OrderID id.ID `path:"order_id" ref:"order" doc:"The order."`
	api.ListParams
}

func (f *Feature) listNotes(ctx context.Context, v tenant.View, in *listNotesInput) (page.Page[OrderNote], error) {
	return ofOrder(ctx, v, in.ListParams, in.OrderID, listNotes, countNotes, func(n OrderNote) id.ID { return n.ID })
}

type createNote struct {
	OrderID id.ID `path:"order_id" ref:"order" doc:"The order."`
	Body    struct {
		Body string `json:"body" minLength:"1" maxLength:"5000" pattern:"\\S" example:"Wants it wrapped." doc:"Markdown."`
	}
}

func (f *Feature) createNote(ctx context.Context, tx *tenant.Tx, in *createNote) (OrderNote, error) {
	kind, actor := by(tx.Scope())
	n, err := tenant.One[OrderNote](ctx, tx, insertNote, tx.Scope().Organization, in.OrderID, id.New(), in.Body.Body, kind, actor)
	if err != nil {
		return n, tenant.NotFound(err, "order")
	}
	return n, noted.Emit(ctx, tx, n)
}

// The timeline is read from the log. The events of one order are few, so they
// are all found by their subjects first. An event is not older than its subject.
const (
	timelineLog = `with log as materialized (
		select ` + event.Cols + ` from event_log e where e.tenant_id = $1 and e.id < $3 and e.day >= $4::date
		and (e.subject_type = 'order' and e.subject_id = $2 or e.subject_type = 'fulfilment' and e.subject_id = any(array(
			select f.id from fulfilments f where f.tenant_id = $1 and f.order_id = $2)))
	) `
	listTimeline = timelineLog + `select l.id, l.type, l.occurred_at, l.tenant_id, l.sequence, l.subject, l.actor, l.schema_version, l.data, l.previous
		from log l order by l.id desc limit $5 offset $6`
	countTimeline = timelineLog + `select count(*) from log l`
)

type listTimelineInput struct {
	OrderID id.ID `path:"order_id" ref:"order" doc:"The order."`
	api.ListParams
}

var endOfIDs = id.MustParse("ffffffff-ffff-ffff-ffff-ffffffffffff")

func (f *Feature) timeline(ctx context.Context, v tenant.View, in *listTimelineInput) (page.Page[event.Event], error) {
	none := page.Page[event.Event]{}
	last := endOfIDs
	if _, err := in.Position(ctx, &last); err != nil {
		return none, err
	}
	org, since := v.Scope().Organization, event.Day(in.OrderID)
	var rows []event.Event
	var total int64
	err := v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &rows, listTimeline, org, in.OrderID, last, since, in.Limit+1, in.Offset())
		if in.WantTotal() {
			tenant.QueueValue(b, &total, countTimeline, org, in.OrderID, endOfIDs, since)
		}
	})
	if err != nil {
		return none, err
	}
	if len(rows) == 0 {
		if _, err := tenant.Value[bool](ctx, v, orderExists, org, in.OrderID); err != nil {
			return none, tenant.NotFound(err, "order")
		}
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(e event.Event) any { return e.ID })
	if in.WantTotal() {
		out.Total = &total
	}
	return out, err
}
