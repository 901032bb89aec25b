package catalog

import (
	"context"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/module"
	"github.com/guildhall-dev/guildhall/tenant"
)

// The permissions of the catalogue.
var (
	Read  = authz.Permission{Key: "products.read", Doc: "See products, categories, collections and prices, what they cost in purchase too.", From: authz.Member}
	Write = authz.Permission{Key: "products.write", Doc: "Make, change, import and delete products, categories, collections and prices.", From: authz.Member}
)

// Stock keeps what is in stock.
type Stock interface {
	// Initial puts the first stock of new variants into the default location,
	// which is made on first use.
	Initial(ctx context.Context, tx *tenant.Tx, wants []commerce.Demand) error
}

// Deps is what the feature needs of the others. Without Stock, products are
// made without initial_stock.
type Deps struct {
	Queue *jobs.Queue
	Stock Stock
}

// Feature is the catalogue.
type Feature struct {
	queue *jobs.Queue
	stock Stock
}

// New returns the feature.
func New(d Deps) *Feature { return &Feature{queue: d.Queue, stock: d.Stock} }

// Module is what the feature contributes.
func (f *Feature) Module() module.Module {
	return module.Module{
		Name:        "catalog",
		Doc:         "What an organisation sells: products with variants, categories, prices, collections, and what shoppers see of it.",
		Permissions: []authz.Permission{Read, Write},
		Operations: func(r *api.Router) {
			f.productOperations(r)
			f.variantOperations(r)
			f.categoryOperations(r)
			f.priceListOperations(r)
			f.storefrontOperations(r)
		},
		Events: []*event.Type{Created.Type, Updated.Type, Deleted.Type, CategoryCreated.Type, CategoryUpdated.Type, CategoryDeleted.Type,
			PriceListCreated.Type, PriceListUpdated.Type, PriceListDeleted.Type, PriceListPriced.Type},
	}
}

func (f *Feature) productOperations(r *api.Router) {
	api.Read(r, api.Op{
		ID: "list-products", Route: "GET /products", Can: Read, Summary: "List products",
		Doc: "All filters that are given must hold. A category holds the products of those below it, too. Prices are compared in minor units, by the least price of a product.",
	}, f.list)
	api.Write(r, api.Op{
		ID: "create-product", Route: "POST /products", Can: Write, Summary: "Create a product",
		Doc:   "Either with a price, then it has one variant, or with options and variants. Without a slug it gets one made from its name.",
		Emits: api.Events(Created.Type), Errors: []string{"409 product_slug_taken", "409 variant_sku_taken", "409 variant_options_taken"},
	}, f.create)
	api.Read(r, api.Op{
		ID: "get-product", Route: "GET /products/{product_id}", Can: Read, Summary: "Get a product",
		Doc: "One product with its variants and what is in stock.",
	}, f.get)
	api.Write(r, api.Op{
		ID: "replace-product", Route: "PUT /products/{product_id}", Can: Write, Summary: "Replace a product",
		Doc:   "Fields that are left out get the value that they have in a new product; slug, status, currency, options and variants stay, and so do the fields of an only variant.",
		Emits: api.Events(Updated.Type), Errors: []string{"409 product_slug_taken", "409 variant_sku_taken", "409 variant_options_taken"},
	}, f.replace)
	api.Write(r, api.Op{
		ID: "update-product", Route: "PATCH /products/{product_id}", Can: Write, Summary: "Change fields of a product",
		Doc:   "Sets the fields that the body names. variants, if named, is the list of all of them.",
		Emits: api.Events(Updated.Type), Errors: []string{"409 product_slug_taken", "409 variant_sku_taken", "409 variant_options_taken"},
	}, f.patch)
	api.Write(r, api.Op{
		ID: "delete-product", Route: "DELETE /products/{product_id}", Can: Write, Summary: "Delete a product",
		Doc:   "With its variants. Orders keep what they say of them; the slug and the SKUs are free again.",
		Emits: api.Events(Deleted.Type),
	}, f.remove)
}

func (f *Feature) variantOperations(r *api.Router) {
	api.Read(r, api.Op{
		ID: "list-variants", Route: "GET /products/{product_id}/variants", Can: Read, Summary: "List the variants of a product",
		Doc: "In the order in which a shop shows them.",
	}, f.listVariants)
	api.Write(r, api.Op{
		ID: "create-variant", Route: "POST /products/{product_id}/variants", Can: Write, Summary: "Create a variant",
		Doc:   "Behind the others of its product. Each combination of the options is there once at most.",
		Emits: api.Events(Updated.Type), Errors: []string{"409 variant_sku_taken", "409 variant_options_taken", "409 product_variants_full"},
	}, f.createVariant)
	api.Read(r, api.Op{
		ID: "get-variant", Route: "GET /variants/{variant_id}", Can: Read, Summary: "Get a variant",
		Doc: "One variant and what is in stock of it.",
	}, f.getVariant)
	api.Write(r, api.Op{
		ID: "update-variant", Route: "PATCH /variants/{variant_id}", Can: Write, Summary: "Change fields of a variant",
		Doc:   "Sets the fields that the body names. The product gets a new version, too.",
		Emits: api.Events(Updated.Type), Errors: []string{"409 variant_sku_taken", "409 variant_options_taken"},
	}, f.patchVariant)
	api.Write(r, api.Op{
		ID: "delete-variant", Route: "DELETE /variants/{variant_id}", Can: Write, Summary: "Delete a variant",
		Doc:   "Orders keep what they say of it. The last one of a product stays.",
		Emits: api.Events(Updated.Type), Errors: []string{"409 product_needs_variant"},
	}, f.removeVariant)
}

func (f *Feature) categoryOperations(r *api.Router) {
	api.Read(r, api.Op{
		ID: "list-categories", Route: "GET /categories", Can: Read, Summary: "List categories",
		Doc: "The whole tree from the top, each category before those below it.",
	}, f.listCategories)
	api.Write(r, api.Op{
		ID: "create-category", Route: "POST /categories", Can: Write, Summary: "Create a category",
		Doc:   "There are at most 8 levels.",
		Emits: api.Events(CategoryCreated.Type), Errors: []string{"409 category_slug_taken"},
	}, f.createCategory)
	api.Read(r, api.Op{
		ID: "get-category", Route: "GET /categories/{category_id}", Can: Read, Summary: "Get a category",
		Doc: "One category with its path.",
	}, f.getCategory)
	api.Write(r, api.Op{
		ID: "update-category", Route: "PATCH /categories/{category_id}", Can: Write, Summary: "Change or move a category",
		Doc:   "Sets the fields that the body names. What is below a category moves with it.",
		Emits: api.Events(CategoryUpdated.Type), Errors: []string{"409 category_slug_taken"},
	}, f.patchCategory)
	api.Write(r, api.Op{
		ID: "delete-category", Route: "DELETE /categories/{category_id}", Can: Write, Summary: "Delete a category",
		Doc:   "One that is empty: without categories below it and without products.",
		Emits: api.Events(CategoryDeleted.Type), Errors: []string{"409 category_has_children", "409 category_has_products"},
	}, f.removeCategory)
}

func (f *Feature) priceListOperations(r *api.Router) {
	api.Read(r, api.Op{
		ID: "list-price-lists", Route: "GET /price-lists", Can: Read, Summary: "List price lists", Doc: "Newest first.",
	}, f.listPriceLists)
	api.Write(r, api.Op{
		ID: "create-price-list", Route: "POST /price-lists", Can: Write, Summary: "Create a price list",
		Doc:   "Without prices at first. Of the lists that apply to a buyer now the one of the greatest priority counts, then the least price.",
		Emits: api.Events(PriceListCreated.Type),
	}, f.createPriceList)
	api.Read(r, api.Op{
		ID: "get-price-list", Route: "GET /price-lists/{price_list_id}", Can: Read, Summary: "Get a price list", Doc: "One price list without its prices.",
	}, f.getPriceList)
	api.Write(r, api.Op{
		ID: "update-price-list", Route: "PATCH /price-lists/{price_list_id}", Can: Write, Summary: "Change fields of a price list",
		Doc: "Sets the fields that the body names.", Emits: api.Events(PriceListUpdated.Type),
	}, f.patchPriceList)
	api.Write(r, api.Op{
		ID: "delete-price-list", Route: "DELETE /price-lists/{price_list_id}", Can: Write, Summary: "Delete a price list",
		Doc: "With its prices.", Emits: api.Events(PriceListDeleted.Type),
	}, f.removePriceList)
	api.Read(r, api.Op{
		ID: "list-prices", Route: "GET /price-lists/{price_list_id}/prices", Can: Read, Summary: "List the prices of a price list",
		Doc: "By variant and quantity.",
	}, f.listPrices)
	api.Write(r, api.Op{
		ID: "set-prices", Route: "PUT /price-lists/{price_list_id}/prices", Can: Write, Summary: "Set prices of a price list",
		Doc:   "Up to 1,000 at once, all or none. Those that are there are changed; with replace all others go.",
		Emits: api.Events(PriceListPriced.Type),
	}, f.setPrices)
}

func (f *Feature) storefrontOperations(r *api.Router) {
	api.Read(r, api.Op{
		ID: "list-storefront-products", Route: "GET /storefront/products", Access: api.Storefront, Summary: "List what a shop sells",
		Doc: "Only products that are active and published. Prices are those of the shopper: price lists count. Facets are counted over all that the filter matches.",
	}, f.listOffers)
	api.Read(r, api.Op{
		ID: "get-storefront-product", Route: "GET /storefront/products/{product_id}", Access: api.Storefront, Summary: "Get a product of a shop",
		Doc: "By its id or its slug.", Errors: []string{"422 price_unavailable"},
	}, f.getOffer)
	api.Read(r, api.Op{
		ID: "list-storefront-categories", Route: "GET /storefront/categories", Access: api.Storefront, Summary: "List the categories of a shop",
		Doc: "The whole tree from the top, each category before those below it.",
	}, f.listShopCategories)
}
