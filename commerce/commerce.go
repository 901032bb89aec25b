// Package commerce holds the words that the features of trade share: what is
// asked for, where it goes, what a variant is when it is priced. It knows no
// SQL and no HTTP.
package commerce

import (
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/guildhall-dev/guildhall/internal/id"
)

// Address is where something is sent or billed to.
type Address struct {
	Name       string `json:"name" minLength:"1" maxLength:"200" pattern:"\\S" example:"Ann Example" doc:"Who receives it."`
	Line1      string `json:"line1" minLength:"1" maxLength:"200" pattern:"\\S" example:"1 High Street" doc:"Street and number."`
	Line2      string `json:"line2,omitempty" maxLength:"200" doc:"What else is needed to find the door."`
	City       string `json:"city" minLength:"1" maxLength:"200" pattern:"\\S" example:"Berlin" doc:"Town or city."`
	State      string `json:"state,omitempty" maxLength:"100" example:"BE" doc:"State, province or region, where addresses have one; its ISO 3166-2 code without the country, where taxes depend on it."`
	PostalCode string `json:"postal_code" maxLength:"20" example:"10115" doc:"Postal code; empty where there are none."`
	Country    string `json:"country" minLength:"2" maxLength:"2" pattern:"^[A-Z]{2}$" example:"DE" doc:"ISO 3166-1 alpha-2 code."`
	Phone      string `json:"phone,omitempty" maxLength:"50" doc:"For the carrier."`
}

// Schema stands in the place of an address, so that null can be allowed beside it.
func (Address) Schema(r huma.Registry) *huma.Schema {
	type plain Address
	return huma.SchemaFromType(r, reflect.TypeFor[plain]())
}

// Demand is how much of a variant somebody wants.
type Demand struct {
	VariantID id.ID
	Quantity  int
}

// Shortage says why a demand cannot be met; a 409 insufficient_stock lists them
// as "lines".
type Shortage struct {
	VariantID id.ID `json:"variant_id"`
	Requested int   `json:"requested"`
	Available int   `json:"available"`
}

// Item is what the catalogue says of a variant that is to be sold now, in one
// currency and for one buyer.
type Item struct {
	VariantID        id.ID   `db:"variant_id"`
	ProductID        id.ID   `db:"product_id"`
	CategoryID       *id.ID  `db:"category_id"`
	SKU              *string `db:"sku"`
	Title            string  `db:"title"`         // of the product
	VariantTitle     string  `db:"variant_title"` // "" where the product has one variant only
	ImageURL         *string `db:"image_url"`
	UnitPrice        *int64  `db:"unit_price"` // in minor units; nil: not sold in this currency
	Cost             *int64  `db:"cost"`
	WeightGrams      int     `db:"weight_grams"`
	TaxClass         string  `db:"tax_class"`
	RequiresShipping bool    `db:"requires_shipping"`
	TrackStock       bool    `db:"track_stock"`
}
