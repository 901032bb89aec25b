package orders

import (
	"time"

	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/money"
)

// Receipt is an order as its customer sees it.
type Receipt struct {
	ID               id.ID                   `db:"id" json:"id"`
	Number           *int64                  `db:"number" json:"number" nullable:"true" minimum:"1" maximum:"9007199254740991" example:"1001" doc:"Counts the placed orders of the organisation, without gaps; null before it is placed."`
	Status           string                  `db:"status" json:"status" enum:"draft,placed,completed,cancelled" doc:"A draft is being paid for, or its payment was declined."`
	PaymentStatus    string                  `db:"payment_status" json:"payment_status" enum:"unpaid,authorized,partially_paid,paid,partially_refunded,refunded,voided" doc:"Follows from the ledger of payments."`
	FulfilmentStatus string                  `db:"fulfilment_status" json:"fulfilment_status" enum:"unfulfilled,partially_fulfilled,fulfilled,delivered,not_required" doc:"Follows from the parcels."`
	PaymentProvider  string                  `db:"payment_provider" json:"payment_provider" maxLength:"50" example:"manual" doc:"Who takes the money."`
	CustomerID       *id.ID                  `db:"customer_id" json:"customer_id" nullable:"true" doc:"Null for a guest."`
	Email            string                  `db:"email" json:"email" maxLength:"254" example:"ann@example.test"`
	Currency         string                  `db:"currency" json:"currency" pattern:"^[A-Z]{3}$" example:"EUR" doc:"ISO 4217 code."`
	Lines            []OrderLine             `db:"lines" json:"lines" nullable:"false" maxItems:"200"`
	Totals           commerce.Totals         `db:"totals" json:"totals"`
	PricesIncludeTax bool                    `db:"prices_include_tax" json:"prices_include_tax"`
	TaxLines         []commerce.TaxPart      `db:"tax_lines" json:"tax_lines" nullable:"false" maxItems:"100" doc:"The tax of the lines and the shipping, by rate."`
	Adjustments      []commerce.DiscountPart `db:"adjustments" json:"adjustments" nullable:"false" maxItems:"100" doc:"The discounts, in the order in which they applied."`
	DiscountCodes    []string                `db:"discount_codes" json:"discount_codes" nullable:"false" maxItems:"10" maxLength:"100"`
	ShippingAddress  *commerce.Address       `db:"shipping_address" json:"shipping_address" nullable:"true"`
	BillingAddress   *commerce.Address       `db:"billing_address" json:"billing_address" nullable:"true"`
	ShippingMethod   string                  `db:"shipping_method" json:"shipping_method" maxLength:"200" doc:"Name of the chosen way to ship; empty where there is none."`
	Captured         money.Money             `db:"captured" json:"captured" doc:"What came in."`
	Refunded         money.Money             `db:"refunded" json:"refunded" doc:"What was given back of it."`
	Note             string                  `db:"note" json:"note" maxLength:"2000" doc:"What the customer wanted to say."`
	PlacedAt         *time.Time              `db:"placed_at" json:"placed_at" nullable:"true"`
	PaidAt           *time.Time              `db:"paid_at" json:"paid_at" nullable:"true"`
	CompletedAt      *time.Time              `db:"completed_at" json:"completed_at" nullable:"true"`
	CancelledAt      *time.Time              `db:"cancelled_at" json:"cancelled_at" nullable:"true"`
	Version          int64                   `db:"version" json:"version" minimum:"1" maximum:"9007199254740991" example:"1" doc:"Counts the changes; also its ETag."`
	CreatedAt        time.Time               `db:"created_at" json:"created_at"`
	UpdatedAt        time.Time               `db:"updated_at" json:"updated_at"`
}

// Order is an order, as the API, the log and the database have it.
type Order struct {
	Receipt
	Tags         []string `db:"tags" json:"tags" nullable:"false" maxItems:"50" maxLength:"50"`
	CancelReason *string  `db:"cancel_reason" json:"cancel_reason" nullable:"true" maxLength:"1000"`
}

// OrderLine is what was bought of one variant. It names the product as it was then.
type OrderLine struct {
	ID                id.ID              `json:"id"`
	ProductID         *id.ID             `json:"product_id" nullable:"true"`
	VariantID         id.ID              `json:"variant_id"`
	SKU               *string            `json:"sku" nullable:"true" maxLength:"100" example:"MUG-BLUE"`
	Title             string             `json:"title" maxLength:"300" example:"Mug"`
	VariantTitle      string             `json:"variant_title" maxLength:"300" example:"Blue"`
	ImageURL          *string            `json:"image_url" nullable:"true" maxLength:"2000"`
	Quantity          int                `json:"quantity" minimum:"1" maximum:"9999" example:"2"`
	FulfilledQuantity int                `json:"fulfilled_quantity" minimum:"0" maximum:"9999" doc:"How many were sent."`
	ReturnedQuantity  int                `json:"returned_quantity" minimum:"0" maximum:"9999" doc:"How many came back into the stock."`
	RefundedQuantity  int                `json:"refunded_quantity" minimum:"0" maximum:"9999" doc:"How many were refunded by the piece."`
	UnitPrice         money.Money        `json:"unit_price"`
	Subtotal          money.Money        `json:"subtotal"`
	Discount          money.Money        `json:"discount"`
	Tax               money.Money        `json:"tax"`
	Total             money.Money        `json:"total" doc:"What is paid for it: with tax and after discounts."`
	TaxLines          []commerce.TaxPart `json:"tax_lines" nullable:"false" maxItems:"20"`
	TaxClass          string             `json:"tax_class" maxLength:"50" example:"standard"`
	WeightGrams       int                `json:"weight_grams" minimum:"0" maximum:"10000000" doc:"Of one."`
	RequiresShipping  bool               `json:"requires_shipping"`
}

// RowVersion is the ETag.
func (o Order) RowVersion() int64 { return o.Version }

// Location is where the order lives.
func (o Order) Location() string { return "/v1/orders/" + o.ID.String() }

// EventSubject says what its events are about.
func (o Order) EventSubject() event.Subject { return event.Subject{ID: o.ID} }

// OrderPayment is an entry of the ledger: money that moved, or was tried to.
type OrderPayment struct {
	ID        id.ID          `db:"id" json:"id"`
	OrderID   id.ID          `db:"order_id" json:"order_id"`
	Provider  string         `db:"provider" json:"provider" maxLength:"50" example:"manual"`
	Kind      string         `db:"kind" json:"kind" enum:"authorized,captured,refunded,voided,failed,disputed,dispute_won"`
	Amount    int64          `db:"amount" json:"amount" minimum:"0" maximum:"9007199254740991" example:"1999" doc:"In minor units of the currency."`
	Currency  string         `db:"currency" json:"currency" pattern:"^[A-Z]{3}$" example:"EUR"`
	Reference string         `db:"reference" json:"reference" maxLength:"200" example:"Statement 12, line 3" doc:"The name of the payment where it was made. An order has each fact of a reference once."`
	Reason    string         `db:"reason" json:"reason" maxLength:"1000"`
	RefundID  *id.ID         `db:"refund_id" json:"refund_id" nullable:"true" doc:"The refund that it belongs to."`
	CreatedBy event.ActorRef `db:"created_by" json:"created_by"`
	CreatedAt time.Time      `db:"created_at" json:"created_at"`

	repeated bool
}

// Location is the ledger that it stands in.
func (p OrderPayment) Location() string { return "/v1/orders/" + p.OrderID.String() + "/payments" }

// ResponseStatus is 200 for a payment that had been recorded before.
func (p OrderPayment) ResponseStatus() int {
	if p.repeated {
		return 200
	}
	return 201
}

// ResponseStatuses lists both.
func (OrderPayment) ResponseStatuses() []int { return []int{201, 200} }

// OrderRefund is money that somebody promised to give back.
type OrderRefund struct {
	ID        id.ID          `db:"id" json:"id"`
	OrderID   id.ID          `db:"order_id" json:"order_id"`
	Provider  string         `db:"provider" json:"provider" maxLength:"50" example:"manual"`
	Status    string         `db:"status" json:"status" enum:"pending,succeeded,failed" doc:"pending is at the provider; succeeded stands in the ledger."`
	Amount    int64          `db:"amount" json:"amount" minimum:"1" maximum:"9007199254740991" example:"1999" doc:"In minor units of the currency."`
	Currency  string         `db:"currency" json:"currency" pattern:"^[A-Z]{3}$" example:"EUR"`
	Reason    string         `db:"reason" json:"reason" maxLength:"1000"`
	Restock   bool           `db:"restock" json:"restock" doc:"The pieces went back into the stock."`
	Lines     []RefundLine   `db:"lines" json:"lines" nullable:"false" maxItems:"200" doc:"Empty for a refund of an amount."`
	CreatedBy event.ActorRef `db:"created_by" json:"created_by"`
	CreatedAt time.Time      `db:"created_at" json:"created_at"`
	SettledAt *time.Time     `db:"settled_at" json:"settled_at" nullable:"true"`
}

// Location is the list that it stands in.
func (r OrderRefund) Location() string { return "/v1/orders/" + r.OrderID.String() + "/refunds" }

// RefundLine is so many of a line.
type RefundLine struct {
	OrderLineID id.ID `json:"order_line_id" ref:"order_line" doc:"The line."`
	Quantity    int   `json:"quantity" minimum:"1" maximum:"9999" example:"1" doc:"How many of it."`
}

// Fulfilment is a parcel: which lines go, or went, from which location.
type Fulfilment struct {
	ID             id.ID            `db:"id" json:"id"`
	OrderID        id.ID            `db:"order_id" json:"order_id"`
	LocationID     *id.ID           `db:"location_id" json:"location_id" nullable:"true" doc:"Where the goods lie; null where no stock is kept."`
	Status         string           `db:"status" json:"status" enum:"pending,shipped,delivered,cancelled"`
	Lines          []FulfilmentLine `db:"lines" json:"lines" nullable:"false" maxItems:"200"`
	Carrier        string           `db:"carrier" json:"carrier" maxLength:"100" example:"DHL"`
	TrackingNumber string           `db:"tracking_number" json:"tracking_number" maxLength:"200" example:"00340434161094000000"`
	TrackingURL    string           `db:"tracking_url" json:"tracking_url" maxLength:"2000" example:"https://example.test/track/00340434161094000000"`
	ShippedAt      *time.Time       `db:"shipped_at" json:"shipped_at" nullable:"true"`
	DeliveredAt    *time.Time       `db:"delivered_at" json:"delivered_at" nullable:"true"`
	CancelledAt    *time.Time       `db:"cancelled_at" json:"cancelled_at" nullable:"true"`
	Version        int64            `db:"version" json:"version" minimum:"1" maximum:"9007199254740991" example:"1" doc:"Counts the changes; also its ETag."`
	CreatedAt      time.Time        `db:"created_at" json:"created_at"`
	UpdatedAt      time.Time        `db:"updated_at" json:"updated_at"`
}

// FulfilmentLine is so many of a line in a parcel.
type FulfilmentLine struct {
	OrderLineID id.ID  `json:"order_line_id"`
	VariantID   id.ID  `json:"variant_id"`
	Title       string `json:"title" maxLength:"300" example:"Mug"`
	Quantity    int    `json:"quantity" minimum:"1" maximum:"9999" example:"1"`
}

// RowVersion is the ETag.
func (f Fulfilment) RowVersion() int64 { return f.Version }

// Location is where the parcel lives.
func (f Fulfilment) Location() string {
	return "/v1/orders/" + f.OrderID.String() + "/fulfilments/" + f.ID.String()
}

// EventSubject says what its events are about.
func (f Fulfilment) EventSubject() event.Subject { return event.Subject{ID: f.ID} }

// OrderNote is what a member wrote about an order.
type OrderNote struct {
	ID        id.ID          `db:"id" json:"id"`
	OrderID   id.ID          `db:"order_id" json:"order_id"`
	Body      string         `db:"body" json:"body" maxLength:"5000" example:"Wants it wrapped." doc:"Markdown."`
	CreatedBy event.ActorRef `db:"created_by" json:"created_by"`
	CreatedAt time.Time      `db:"created_at" json:"created_at"`
}

// Location is the list that it stands in.
func (n OrderNote) Location() string { return "/v1/orders/" + n.OrderID.String() + "/notes" }

// EventSubject says that it is about the order.
func (n OrderNote) EventSubject() event.Subject { return event.Subject{ID: n.OrderID} }

// The events of orders and parcels.
var (
	Placed    = event.Define[Order]("order.placed", "An order was placed.")
	Paid      = event.Define[Order]("order.paid", "All of an order is paid.")
	Updated   = event.Define[Order]("order.updated", "An order changed: its tags, its addresses, or what is paid or sent of it.")
	Cancelled = event.Define[Order]("order.cancelled", "An order was cancelled.")
	Completed = event.Define[Order]("order.completed", "All of an order is paid and has arrived.")
	Refunds   = event.Define[Order]("order.refunded", "Money was given back for an order.")

	FulfilmentCreated   = event.Define[Fulfilment]("fulfilment.created", "A parcel is to be packed.")
	FulfilmentUpdated   = event.Define[Fulfilment]("fulfilment.updated", "The carrier or the tracking of a parcel changed.")
	FulfilmentShipped   = event.Define[Fulfilment]("fulfilment.shipped", "A parcel is on its way.")
	FulfilmentDelivered = event.Define[Fulfilment]("fulfilment.delivered", "A parcel has arrived.")
	FulfilmentCancelled = event.Define[Fulfilment]("fulfilment.cancelled", "A parcel will not be sent.")

	noted = event.DefineInternal[OrderNote]("order.noted", "Somebody wrote a note about an order.")
)
