package carts

import (
	"context"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/module"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Catalog says what is for sale.
type Catalog interface {
	// Items returns those of the wanted variants that are for sale, in the order of
	// wants, priced for a buyer of the group who wants so many of each.
	Items(ctx context.Context, q tenant.Querier, currency, group string, wants []commerce.Demand) ([]commerce.Item, error)
}

// Taxes says which taxes there are where something is sent. The address is nil as
// long as it is not known.
type Taxes interface {
	Rates(ctx context.Context, q tenant.Querier, to *commerce.Address) (map[string][]commerce.TaxRate, commerce.TaxSettings, error)
}

// Shipping says how the items can be sent, and for how much.
type Shipping interface {
	Options(ctx context.Context, q tenant.Querier, b commerce.Basket) ([]commerce.ShippingOption, error)
}

// Promotions says which discounts apply, in which order; unknown are the codes
// that are none.
type Promotions interface {
	Discounts(ctx context.Context, q tenant.Querier, b commerce.Basket) (discounts []commerce.Discount, unknown []string, err error)
}

// Deps is what the feature needs of the others. Without taxes, shipping or
// promotions there are none.
type Deps struct {
	Catalog    Catalog
	Taxes      Taxes
	Shipping   Shipping
	Promotions Promotions
}

// Feature is the feature of carts.
type Feature struct{ Deps }

// New returns the feature.
func New(d Deps) *Feature { return &Feature{d} }

// Module is what the feature contributes.
func (f *Feature) Module() module.Module {
	return module.Module{
		Name:       "carts",
		Doc:        "What somebody may come to buy: lines, addresses, shipping, and the price of it all.",
		Operations: f.operations,
	}
}

func (f *Feature) operations(r *api.Router) {
	changes := []string{"409 cart_completed", "422 amount_too_large"}
	api.Write(r, api.Op{
		ID: "create-cart", Route: "POST /storefront/carts", Access: api.Storefront, Summary: "Create a cart",
		Doc: "A customer's cart is there for the customer alone; a guest's for whoever knows its id.",
	}, f.create)
	api.Read(r, api.Op{
		ID: "get-cart", Route: "GET /storefront/carts/{cart_id}", Access: api.Storefront, Summary: "Get a cart",
		Doc: "As it was last priced; each change prices it anew, and completing it does.",
	}, f.get)
	api.Write(r, api.Op{
		ID: "update-cart", Route: "PATCH /storefront/carts/{cart_id}", Access: api.Storefront, Summary: "Change a cart",
		Doc: "Sets the fields that the body names.", Errors: changes,
	}, f.patch)
	api.Write(r, api.Op{
		ID: "add-cart-line", Route: "POST /storefront/carts/{cart_id}/lines", Access: api.Storefront, Summary: "Put something into a cart",
		Doc:    "More of a variant that is in it already adds to its line. A cart has 200 lines at most.",
		Errors: append([]string{"409 cart_full", "422 price_unavailable", "422 cart_line_quantity"}, changes...),
	}, f.addLine)
	api.Write(r, api.Op{
		ID: "update-cart-line", Route: "PATCH /storefront/carts/{cart_id}/lines/{line_id}", Access: api.Storefront, Summary: "Change how many of something are in a cart",
		Doc: "Sets the quantity.", Errors: changes,
	}, f.patchLine)
	api.Write(r, api.Op{
		ID: "delete-cart-line", Route: "DELETE /storefront/carts/{cart_id}/lines/{line_id}", Access: api.Storefront, Summary: "Take something out of a cart",
		Doc: "Removes the line.", Errors: changes,
	}, f.deleteLine)
	api.Write(r, api.Op{
		ID: "claim-cart", Route: "POST /storefront/carts/{cart_id}/claim", Access: api.Storefront, CustomersOnly: true, Status: 200, Summary: "Take over a guest's cart",
		Doc: "After a log-in: the cart becomes the customer's, or its lines go into the open cart that the customer has in the same currency, and it is gone. " +
			"The answer is the customer's cart.",
		Errors: append([]string{"409 cart_full"}, changes...),
	}, f.claim)
	api.Read(r, api.Op{
		ID: "list-cart-shipping-options", Route: "GET /storefront/carts/{cart_id}/shipping-options", Access: api.Storefront, Summary: "List the ways to send a cart",
		Doc: "To its shipping address, with what each costs before tax is added or with tax where prices include it. A shop without any sends at no charge.",
	}, f.options)
}
