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
	"github.com/guildhall-dev/guildhall/tenant"
)

type listFulfilmentsInput struct {
	OrderID id.ID `path:"order_id" ref:"order" doc:"The order."`
	api.ListParams
}

func (f *Feature) listFulfilments(ctx context.Context, v tenant.View, in *listFulfilmentsInput) (page.Page[Fulfilment], error) {
	return ofOrder(ctx, v, in.ListParams, in.OrderID, listFulfilments, countFulfilments, func(p Fulfilment) id.ID { return p.ID })
}

type fulfilmentPath struct {
	OrderID      id.ID `path:"order_id" ref:"order" doc:"The order."`
	FulfilmentID id.ID `path:"fulfilment_id" ref:"fulfilment" doc:"The parcel."`
}

func (f *Feature) getFulfilment(ctx context.Context, v tenant.View, in *fulfilmentPath) (Fulfilment, error) {
	p, err := tenant.One[Fulfilment](ctx, v, selectFulfilment, v.Scope().Organization, in.OrderID, in.FulfilmentID)
	return p, tenant.NotFound(err, "fulfilment")
}

type createFulfilment struct {
	OrderID id.ID `path:"order_id" ref:"order" doc:"The order."`
	Body    *fulfilmentBody
}

type fulfilmentBody struct {
	LocationID     *id.ID       `json:"location_id" required:"false" nullable:"true" ref:"stock_location" doc:"Where the goods lie."`
	Lines          []RefundLine `json:"lines" required:"false" nullable:"false" maxItems:"200" doc:"What goes into it; left out or empty for all that is in no parcel yet."`
	Carrier        string       `json:"carrier" required:"false" maxLength:"100" example:"DHL" doc:"Who carries it."`
	TrackingNumber string       `json:"tracking_number" required:"false" maxLength:"200" example:"00340434161094000000" doc:"Its number there."`
	TrackingURL    string       `json:"tracking_url" required:"false" maxLength:"2000" pattern:"^(https?://\\S+)?$" example:"https://example.test/track/00340434161094000000" doc:"A page that shows where it is."`
}

// tracking is what a carrier says of a parcel.
type tracking struct {
	Carrier        string `json:"carrier" required:"false" maxLength:"100" example:"DHL" doc:"Who carries it."`
	TrackingNumber string `json:"tracking_number" required:"false" maxLength:"200" example:"00340434161094000000" doc:"Its number there."`
	TrackingURL    string `json:"tracking_url" required:"false" maxLength:"2000" pattern:"^(https?://\\S+)?$" example:"https://example.test/track/00340434161094000000" doc:"A page that shows where it is."`
}

// packed are lines of an order that go into a parcel together.
type packed struct {
	ids    []id.ID
	counts []int
}

// pack chooses the lines of a new parcel.
func pack(rows []stored, wanted []RefundLine) (packed, error) {
	var p packed
	if len(wanted) == 0 {
		for _, l := range rows {
			if left := l.Quantity - l.Assigned; l.RequiresShipping && left > 0 {
				p.ids, p.counts = append(p.ids, l.ID), append(p.counts, left)
			}
		}
		if len(p.ids) == 0 {
			return p, fault.Conflictf("nothing_to_fulfil", "All of this order that is sent is in a parcel already.")
		}
		return p, nil
	}
	byID := map[id.ID]stored{}
	for _, l := range rows {
		byID[l.ID] = l
	}
	for i, x := range wanted {
		l, there := byID[x.OrderLineID]
		if !there || !l.RequiresShipping {
			return p, fault.Invalidf(fmt.Sprintf("/lines/%d/order_line_id", i), "not a line of this order that is sent, or named twice")
		}
		delete(byID, x.OrderLineID)
		p.ids, p.counts = append(p.ids, l.ID), append(p.counts, x.Quantity)
	}
	return p, nil
}

func (f *Feature) createFulfilment(ctx context.Context, tx *tenant.Tx, in *createFulfilment) (Fulfilment, error) {
	none, org := Fulfilment{}, tx.Scope().Organization
	order, err := lock(ctx, tx, in.OrderID)
	if err != nil {
		return none, err
	}
	if err := order.placed(); err != nil {
		return none, err
	}
	body := fulfilmentBody{}
	if in.Body != nil {
		body = *in.Body
	}
	rows, err := tenant.List[stored](ctx, tx, listStored, org, order.ID)
	if err != nil {
		return none, err
	}
	lines, err := pack(rows, body.Lines)
	if err != nil {
		return none, err
	}
	if body.LocationID == nil {
		found, err := tenant.Values[id.ID](ctx, tx, selectLocation, org, order.ID)
		if err != nil {
			return none, err
		}
		if len(found) > 0 {
			body.LocationID = &found[0]
		}
	}
	if _, err := tenant.Exec(ctx, tx, assignLines, org, order.ID, lines.ids, lines.counts); err != nil {
		return none, refused(err)
	}
	parcel := id.New()
	if _, err := tenant.Exec(ctx, tx, insertFulfilment, org, order.ID, parcel, body.LocationID, body.Carrier, body.TrackingNumber, body.TrackingURL, lines.ids, lines.counts); err != nil {
		return none, err
	}
	p, err := tenant.One[Fulfilment](ctx, tx, selectFulfilment, org, order.ID, parcel)
	if err != nil {
		return none, err
	}
	return p, FulfilmentCreated.Emit(ctx, tx, p)
}

type patchFulfilment struct {
	OrderID      id.ID       `path:"order_id" ref:"order" doc:"The order."`
	FulfilmentID id.ID       `path:"fulfilment_id" ref:"fulfilment" doc:"The parcel."`
	IfMatch      api.IfMatch `header:"If-Match"`
	Body         struct {
		Carrier        api.Optional[string] `json:"carrier" required:"false" maxLength:"100" example:"DHL" doc:"Who carries it."`
		TrackingNumber api.Optional[string] `json:"tracking_number" required:"false" maxLength:"200" example:"00340434161094000000" doc:"Its number there."`
		TrackingURL    api.Optional[string] `json:"tracking_url" required:"false" maxLength:"2000" pattern:"^(https?://\\S+)?$" example:"https://example.test/track/00340434161094000000" doc:"A page that shows where it is."`
	}
}

func (f *Feature) patchFulfilment(ctx context.Context, tx *tenant.Tx, in *patchFulfilment) (Fulfilment, error) {
	_, was, err := f.parcel(ctx, tx, in.OrderID, in.FulfilmentID)
	if err != nil {
		return Fulfilment{}, err
	}
	if !in.IfMatch.Matches(was.Version) {
		return Fulfilment{}, fault.StaleVersion(was)
	}
	now := was
	in.Body.Carrier.Set(&now.Carrier)
	in.Body.TrackingNumber.Set(&now.TrackingNumber)
	in.Body.TrackingURL.Set(&now.TrackingURL)
	return f.retrack(ctx, tx, was, now)
}

// retrack stores what the carrier says of a parcel, if it is anything new.
func (f *Feature) retrack(ctx context.Context, tx *tenant.Tx, was, now Fulfilment) (Fulfilment, error) {
	if now.Carrier == was.Carrier && now.TrackingNumber == was.TrackingNumber && now.TrackingURL == was.TrackingURL {
		return was, nil
	}
	if was.Status == "cancelled" {
		return was, errParcelCancelled()
	}
	now, err := tenant.One[Fulfilment](ctx, tx, updateFulfilment, tx.Scope().Organization, now.OrderID, now.ID, now.Carrier, now.TrackingNumber, now.TrackingURL)
	if err != nil {
		return was, err
	}
	return now, FulfilmentUpdated.EmitChange(ctx, tx, was, now)
}

func errParcelCancelled() error {
	return fault.Conflictf("fulfilment_cancelled", "This parcel is cancelled. Pack another one.")
}

// parcel locks the order, under whose lock its parcels are.
func (f *Feature) parcel(ctx context.Context, tx *tenant.Tx, order, parcel id.ID) (held, Fulfilment, error) {
	h, err := lock(ctx, tx, order)
	if err != nil {
		return h, Fulfilment{}, err
	}
	p, err := tenant.One[Fulfilment](ctx, tx, selectFulfilment, tx.Scope().Organization, order, parcel)
	return h, p, tenant.NotFound(err, "fulfilment")
}

type shipFulfilment struct {
	OrderID      id.ID `path:"order_id" ref:"order" doc:"The order."`
	FulfilmentID id.ID `path:"fulfilment_id" ref:"fulfilment" doc:"The parcel."`
	Body         *tracking
}

func (f *Feature) ship(ctx context.Context, tx *tenant.Tx, in *shipFulfilment) (Fulfilment, error) {
	order, p, err := f.parcel(ctx, tx, in.OrderID, in.FulfilmentID)
	if err != nil {
		return p, err
	}
	switch p.Status {
	case "shipped", "delivered":
		return p, nil
	case "cancelled":
		return p, errParcelCancelled()
	}
	if in.Body != nil {
		p.Carrier, p.TrackingNumber, p.TrackingURL = orElse(in.Body.Carrier, p.Carrier), orElse(in.Body.TrackingNumber, p.TrackingNumber), orElse(in.Body.TrackingURL, p.TrackingURL)
	}
	p, err = f.send(ctx, tx, p)
	if err != nil {
		return p, err
	}
	now, err := f.save(ctx, tx, order)
	if err != nil {
		return p, err
	}
	return p, tell(ctx, tx, order.Order, now, Updated)
}

func orElse(s, other string) string {
	if s != "" {
		return s
	}
	return other
}

// move stores a parcel in its next state.
func move(ctx context.Context, tx *tenant.Tx, p Fulfilment, status string) (Fulfilment, error) {
	return tenant.One[Fulfilment](ctx, tx, moveFulfilment, tx.Scope().Organization, p.OrderID, p.ID, status, p.Carrier, p.TrackingNumber, p.TrackingURL)
}

// send takes the goods of a pending parcel out of the stock and puts it on its
// way. Its order is locked.
func (f *Feature) send(ctx context.Context, tx *tenant.Tx, was Fulfilment) (Fulfilment, error) {
	org := tx.Scope().Organization
	var lines packed
	var wants []commerce.Demand
	for _, l := range was.Lines {
		lines.ids, lines.counts = append(lines.ids, l.OrderLineID), append(lines.counts, l.Quantity)
		wants = append(wants, commerce.Demand{VariantID: l.VariantID, Quantity: l.Quantity})
	}
	if was.LocationID != nil {
		if err := f.Stock.Ship(ctx, tx, was.OrderID, *was.LocationID, summed(wants)); err != nil {
			return was, err
		}
	}
	if _, err := tenant.Exec(ctx, tx, fulfilLines, org, was.OrderID, lines.ids, lines.counts); err != nil {
		return was, refused(err)
	}
	now, err := move(ctx, tx, was, "shipped")
	if err != nil {
		return was, err
	}
	if err := mailJob.Enqueue(ctx, f.Queue, tx, mailArgs{OrderID: was.OrderID, FulfilmentID: &was.ID}); err != nil {
		return was, err
	}
	return now, FulfilmentShipped.EmitChange(ctx, tx, was, now)
}

func (f *Feature) deliver(ctx context.Context, tx *tenant.Tx, in *fulfilmentPath) (Fulfilment, error) {
	order, p, err := f.parcel(ctx, tx, in.OrderID, in.FulfilmentID)
	if err != nil {
		return p, err
	}
	switch p.Status {
	case "delivered":
		return p, nil
	case "cancelled":
		return p, errParcelCancelled()
	case "pending":
		if p, err = f.send(ctx, tx, p); err != nil {
			return p, err
		}
	}
	was := p
	if p, err = move(ctx, tx, p, "delivered"); err != nil {
		return p, err
	}
	now, err := f.save(ctx, tx, order)
	if err != nil {
		return p, err
	}
	return p, errors.Join(FulfilmentDelivered.EmitChange(ctx, tx, was, p), tell(ctx, tx, order.Order, now, Updated))
}

func (f *Feature) cancelFulfilment(ctx context.Context, tx *tenant.Tx, in *fulfilmentPath) (Fulfilment, error) {
	_, p, err := f.parcel(ctx, tx, in.OrderID, in.FulfilmentID)
	if err != nil {
		return p, err
	}
	switch p.Status {
	case "cancelled":
		return p, nil
	case "shipped", "delivered":
		return p, fault.Conflictf("fulfilment_shipped", "This parcel is sent already.")
	}
	return f.drop(ctx, tx, p)
}

// drop cancels a pending parcel; what was in it can be packed again.
func (f *Feature) drop(ctx context.Context, tx *tenant.Tx, was Fulfilment) (Fulfilment, error) {
	var lines packed
	for _, l := range was.Lines {
		lines.ids, lines.counts = append(lines.ids, l.OrderLineID), append(lines.counts, -l.Quantity)
	}
	if _, err := tenant.Exec(ctx, tx, assignLines, tx.Scope().Organization, was.OrderID, lines.ids, lines.counts); err != nil {
		return was, err
	}
	now, err := move(ctx, tx, was, "cancelled")
	if err != nil {
		return was, err
	}
	return now, FulfilmentCancelled.EmitChange(ctx, tx, was, now)
}
