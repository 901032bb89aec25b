package carts

import (
	"time"

	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/money"
)

// Cart is a cart as the storefront shows it.
type Cart struct {
	ID               id.ID                   `json:"id" doc:"Whoever knows the id of a guest's cart may use it: keep it secret."`
	CustomerID       *id.ID                  `json:"customer_id" nullable:"true" doc:"Null for a guest's."`
	Currency         string                  `json:"currency" pattern:"^[A-Z]{3}$" example:"EUR" doc:"ISO 4217 code."`
	Email            *string                 `json:"email" nullable:"true" maxLength:"254" example:"ann@example.test"`
	Lines            []CartLine              `json:"lines" nullable:"false" maxItems:"200"`
	Totals           commerce.Totals         `json:"totals"`
	PricesIncludeTax bool                    `json:"prices_include_tax"`
	TaxLines         []commerce.TaxPart      `json:"tax_lines" nullable:"false" maxItems:"100" doc:"The tax of the lines and the shipping, by rate."`
	Adjustments      []commerce.DiscountPart `json:"adjustments" nullable:"false" maxItems:"100" doc:"The discounts, in the order in which they apply."`
	DiscountCodes    []string                `json:"discount_codes" nullable:"false" maxItems:"10" maxLength:"100"`
	ShippingAddress  *commerce.Address       `json:"shipping_address" nullable:"true"`
	BillingAddress   *commerce.Address       `json:"billing_address" nullable:"true"`
	ShippingMethodID *id.ID                  `json:"shipping_method_id" nullable:"true"`
	RequiresShipping bool                    `json:"requires_shipping" doc:"Anything in it is sent."`
	Note             string                  `json:"note" maxLength:"2000"`
	Locale           string                  `json:"locale" maxLength:"20" example:"en"`
	CompletedAt      *time.Time              `json:"completed_at" nullable:"true" doc:"When it became an order."`
	Version          int64                   `json:"version" minimum:"1" maximum:"9007199254740991" example:"1" doc:"Counts the changes; also its ETag."`
	CreatedAt        time.Time               `json:"created_at"`
	UpdatedAt        time.Time               `json:"updated_at"`
}

// CartLine is so many of one variant.
type CartLine struct {
	ID           id.ID              `json:"id"`
	VariantID    id.ID              `json:"variant_id"`
	ProductID    *id.ID             `json:"product_id" nullable:"true"`
	SKU          *string            `json:"sku" nullable:"true" maxLength:"100" example:"MUG-BLUE"`
	Title        string             `json:"title" maxLength:"300" example:"Mug"`
	VariantTitle string             `json:"variant_title" maxLength:"300" example:"Blue"`
	ImageURL     *string            `json:"image_url" nullable:"true" maxLength:"2000"`
	Quantity     int                `json:"quantity" minimum:"1" maximum:"9999" example:"2"`
	Sellable     bool               `json:"sellable" doc:"False for what is not sold any more, or not in this currency: it costs nothing here, and the cart cannot be completed with it."`
	UnitPrice    money.Money        `json:"unit_price"`
	Subtotal     money.Money        `json:"subtotal"`
	Discount     money.Money        `json:"discount"`
	Tax          money.Money        `json:"tax"`
	Total        money.Money        `json:"total" doc:"What is paid for it: with tax and after discounts."`
	TaxLines     []commerce.TaxPart `json:"tax_lines" nullable:"false" maxItems:"20"`
}

// RowVersion is the ETag.
func (c Cart) RowVersion() int64 { return c.Version }

// Location is where the cart lives.
func (c Cart) Location() string { return "/v1/storefront/carts/" + c.ID.String() }

// row is a cart as the database has it.
type row struct {
	ID               id.ID             `db:"id"`
	CustomerID       *id.ID            `db:"customer_id"`
	Currency         string            `db:"currency"`
	Email            *string           `db:"email"`
	ShippingAddress  *commerce.Address `db:"shipping_address"`
	BillingAddress   *commerce.Address `db:"billing_address"`
	ShippingMethodID *id.ID            `db:"shipping_method_id"`
	DiscountCodes    []string          `db:"discount_codes"`
	Note             string            `db:"note"`
	Locale           string            `db:"locale"`
	Quote            *quote            `db:"quote"`
	CompletedAt      *time.Time        `db:"completed_at"`
	Version          int64             `db:"version"`
	CreatedAt        time.Time         `db:"created_at"`
	UpdatedAt        time.Time         `db:"updated_at"`
}

// quote is what was last shown of a cart: its price, and the names of what is in
// it. The lines of Price are those of Lines that can be sold, in their order.
type quote struct {
	Lines  []quotedLine   `json:"lines"`
	Price  commerce.Quote `json:"price"`
	Method string         `json:"method"` // name of the shipping
}

type quotedLine struct {
	ID               id.ID   `json:"id"`
	VariantID        id.ID   `json:"variant_id"`
	ProductID        *id.ID  `json:"product_id"`
	SKU              *string `json:"sku"`
	Title            string  `json:"title"`
	VariantTitle     string  `json:"variant_title"`
	ImageURL         *string `json:"image_url"`
	Quantity         int     `json:"quantity"`
	RequiresShipping bool    `json:"requires_shipping"`
	Sellable         bool    `json:"sellable"`
}

// cart is the row as it is shown.
func (r row) cart() Cart {
	q := quote{Price: commerce.Quote{Currency: r.Currency}}
	if r.Quote != nil {
		q = *r.Quote
	}
	p := q.Price
	c := Cart{
		ID: r.ID, CustomerID: r.CustomerID, Currency: r.Currency, Email: r.Email, Lines: make([]CartLine, len(q.Lines)), Totals: p.Totals(),
		PricesIncludeTax: p.PricesIncludeTax, TaxLines: p.TaxParts(p.TaxLines), Adjustments: p.DiscountParts(), DiscountCodes: r.DiscountCodes,
		ShippingAddress: r.ShippingAddress, BillingAddress: r.BillingAddress, ShippingMethodID: r.ShippingMethodID, Note: r.Note, Locale: r.Locale,
		CompletedAt: r.CompletedAt, Version: r.Version, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
	}
	next := 0
	for i, l := range q.Lines {
		var price commerce.QuotedLine
		if l.Sellable {
			price = p.Lines[next]
			next++
		}
		c.RequiresShipping = c.RequiresShipping || l.RequiresShipping
		c.Lines[i] = CartLine{
			ID: l.ID, VariantID: l.VariantID, ProductID: l.ProductID, SKU: l.SKU, Title: l.Title, VariantTitle: l.VariantTitle, ImageURL: l.ImageURL,
			Quantity: l.Quantity, Sellable: l.Sellable, UnitPrice: p.Money(price.UnitPrice), Subtotal: p.Money(price.Subtotal), Discount: p.Money(price.Discount),
			Tax: p.Money(price.Tax), Total: p.Money(price.Total), TaxLines: p.TaxParts(price.TaxLines),
		}
	}
	return c
}
