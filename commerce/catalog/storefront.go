package catalog

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/money"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Offer is a product as a shopper sees it.
type Offer struct {
	ID             id.ID          `db:"id" json:"id"`
	Slug           string         `db:"slug" json:"slug" maxLength:"200" pattern:"^[a-z0-9]+(-[a-z0-9]+)*$" example:"linen-shirt" doc:"Its name in addresses."`
	Name           string         `db:"name" json:"name" minLength:"1" maxLength:"300" example:"Linen shirt"`
	Description    string         `db:"description" json:"description" maxLength:"50000" doc:"Markdown."`
	Price          money.Money    `db:"price" json:"price" doc:"The least price of its variants."`
	Currency       string         `db:"currency" json:"currency" maxLength:"3" pattern:"^[A-Z]{3}$" example:"EUR" doc:"ISO 4217 code, of all prices here."`
	Category       *string        `db:"category" json:"category" nullable:"true" maxLength:"100" pattern:"^[a-z0-9]+(-[a-z0-9]+)*$" example:"shirts" doc:"The slug of its category."`
	CategoryID     *id.ID         `db:"category_id" json:"category_id" nullable:"true"`
	InStock        bool           `db:"in_stock" json:"in_stock" doc:"Whether one of its variants can be bought now."`
	StockQuantity  int64          `db:"stock_quantity" json:"stock_quantity" minimum:"0" maximum:"9007199254740991" example:"12" doc:"How many of all its variants are to be had."`
	ImageURLs      []string       `db:"image_urls" json:"image_urls" nullable:"false" maxItems:"50" maxLength:"2048"`
	Options        []Option       `db:"options" json:"options" nullable:"false" maxItems:"3"`
	Attributes     Attributes     `db:"attributes" json:"attributes"`
	Tags           []string       `db:"tags" json:"tags" nullable:"false" maxItems:"50" maxLength:"100"`
	Brand          string         `db:"brand" json:"brand" maxLength:"200" example:"Acme"`
	SEOTitle       string         `db:"seo_title" json:"seo_title" maxLength:"300"`
	SEODescription string         `db:"seo_description" json:"seo_description" maxLength:"1000"`
	Variants       []OfferVariant `db:"variants" json:"variants" nullable:"false" maxItems:"100" doc:"Those that are sold in the currency."`
	CreatedAt      time.Time      `db:"created_at" json:"created_at"`
}

// OfferVariant is a variant as a shopper sees it.
type OfferVariant struct {
	ID               id.ID        `json:"id"`
	SKU              *string      `json:"sku" nullable:"true" maxLength:"100" example:"LS-M"`
	Barcode          *string      `json:"barcode" nullable:"true" maxLength:"100"`
	Title            string       `json:"title" maxLength:"300" example:"M"`
	Price            money.Money  `json:"price" doc:"Of one; more may cost less each."`
	CompareAtPrice   *money.Money `json:"compare_at_price" doc:"What it costs otherwise or cost before."`
	Options          Choice       `json:"options"`
	InStock          bool         `json:"in_stock" doc:"Whether one can be bought now: it is there, may be ordered beyond what is there, or is not counted."`
	StockQuantity    int64        `json:"stock_quantity" minimum:"0" maximum:"9007199254740991" example:"12"`
	WeightGrams      int          `json:"weight_grams" minimum:"0" maximum:"10000000"`
	ImageURL         *string      `json:"image_url" nullable:"true" maxLength:"2048"`
	RequiresShipping bool         `json:"requires_shipping"`
}

// Offers is a page of products with counts over all that the filter matches.
type Offers struct {
	page.Page[Offer]
	Facets *Facets `json:"facets,omitempty" doc:"Only those that were asked for."`
}

// Facets count the products that a filter matches, in several ways.
type Facets struct {
	Category *[]Facet     `db:"category" json:"category,omitempty" maxItems:"200" doc:"By the category that they stand in, most first."`
	Brand    *[]Facet     `db:"brand" json:"brand,omitempty" maxItems:"200" doc:"By brand, most first."`
	Tag      *[]Facet     `db:"tag" json:"tag,omitempty" maxItems:"200" doc:"By tag, most first."`
	Price    *[]PriceSpan `db:"price" json:"price,omitempty" maxItems:"200" doc:"By currency."`
}

// Facet is a value and how many products have it.
type Facet struct {
	Value string `json:"value" maxLength:"200" example:"shirts" doc:"What the filter takes."`
	Name  string `json:"name" maxLength:"200" example:"Shirts" doc:"What people read."`
	Count int64  `json:"count" minimum:"1" maximum:"9007199254740991" example:"12"`
}

// PriceSpan says between what prices products lie.
type PriceSpan struct {
	Currency string `json:"currency" maxLength:"3" pattern:"^[A-Z]{3}$" example:"EUR"`
	Min      int64  `json:"min" minimum:"0" maximum:"1000000000000" example:"500" doc:"In minor units."`
	Max      int64  `json:"max" minimum:"0" maximum:"1000000000000" example:"9900" doc:"In minor units."`
	Count    int64  `json:"count" minimum:"1" maximum:"9007199254740991" example:"12"`
}

type listOffers struct {
	api.ListParams
	Filter
	Bounds
	Currency string   `query:"currency" maxLength:"3" pattern:"^[A-Z]{3}$" doc:"Only what is sold in this currency, with its prices in it; without it each product has the prices of its own." example:"EUR"`
	Sort     string   `query:"sort" enum:"name,-name,price,-price,created_at,-created_at" default:"-created_at" doc:"The order; - before it is descending."`
	Facets   []string `query:"facets" maxItems:"4" enum:"category,brand,price,tag" doc:"What to count over all that matches, separated by commas."`
}

// offered is a selection of what a shopper may buy, at the shopper's prices.
type offered struct {
	selection
	with  string // the statement's beginning: CTEs
	price string // expression of a product's least price
	org   string // placeholders
	code  string
	group string // expression of the shopper's group
}

const offerFrom = ` from products p where `

// offersOf begins a selection by a filter, for a shopper of the scope in the
// currency, "" for that of each product. The prices of products that stand in
// lists are computed first, by keys alone; all others have their own. They are
// handed on as one object: joined, they cost a walk through all of them for each
// product, where the planner takes them for few. "offset 0" and the missing deleted_at keep
// it from other indexes than the key before it knows the tables.
func offersOf(scope tenant.Scope, currency string, f Filter) (offered, error) {
	var o offered
	o.org = o.arg(scope.Organization) + "::uuid"
	o.group = "null::text"
	if scope.Actor.Kind == tenant.Customer {
		o.group = "(select cu.customer_group from customers cu where cu.tenant_id = " + o.org + " and cu.id = " + o.arg(scope.Actor.ID) + ")"
	}
	if currency != "" {
		o.code = o.arg(currency) + "::text"
	}
	o.with = `lists as materialized (
	select l.id, l.currency, l.priority from price_lists l where l.tenant_id = ` + o.org + ` and ` + appliesGroup + o.group + `)
), repriced as materialized (
	select coalesce(jsonb_object_agg(listed.product_id::text, least.amount), '{}') as amounts
	from (select distinct v.product_id from lists l
		cross join lateral (select e.variant_id from price_list_prices e where e.tenant_id = ` + o.org + ` and e.price_list_id = l.id and e.min_quantity = 1 offset 0) e
		cross join lateral (select v.product_id, v.currency from product_variants v where v.tenant_id = ` + o.org + ` and v.id = e.variant_id offset 0) v
		where l.currency = ` + o.codeOf("v") + `) listed
	cross join lateral (select min(` + o.priceOf() + `) as amount from product_variants v` + o.listed() + `
		where v.tenant_id = ` + o.org + ` and v.product_id = listed.product_id and v.deleted_at is null) least
)`
	o.price = `coalesce(((select r.amounts from repriced r) ->> p.id::text)::bigint, case when p.currency = ` + o.codeOf("p") + ` then p.price_from end)`
	s, err := productsOf(scope.Organization, f, o.price, o.selection)
	if err != nil {
		return o, err
	}
	o.selection = s
	o.and(published)
	if currency != "" {
		o.and(o.price + " is not null")
	}
	return o, nil
}

// codeOf is the currency in which the row's prices are given.
func (o offered) codeOf(row string) string {
	if o.code != "" {
		return o.code
	}
	return row + ".currency"
}

// listed adds to the variant v the price b of the list that counts.
func (o offered) listed() string {
	return ` left join lateral (select e.amount from price_list_prices e join lists l on l.id = e.price_list_id
		where e.tenant_id = v.tenant_id and e.variant_id = v.id and e.min_quantity = 1 and l.currency = ` + o.codeOf("v") + `
		order by l.priority desc, e.amount limit 1) b on true `
}

// priceOf is the price of the variant v with what listed adds.
func (o offered) priceOf() string {
	return `coalesce(b.amount, case when v.currency = ` + o.codeOf("v") + ` then v.price end)`
}

// page reads the products that are chosen, as cte chosen (tenant_id, id, price),
// at the shopper's prices.
func (o offered) page(chosen string, key sortKey) string {
	price := o.priceOf()
	amount := func(expr string) string {
		return `json_build_object('amount', ` + expr + `, 'currency', ` + o.codeOf("v") + `)`
	}
	return `with ` + o.with + `, chosen as materialized (` + chosen + `)
select p.id, p.slug, p.name, p.description, json_build_object('amount', chosen.price, 'currency', ` + o.codeOf("p") + `) as price, ` + o.codeOf("p") + ` as currency,
	c.slug as category, p.category_id, vs.in_stock, vs.stock_quantity, p.image_urls, p.options, p.attributes, p.tags, p.brand, p.seo_title, p.seo_description,
	vs.variants, p.created_at
from chosen join products p on p.tenant_id = chosen.tenant_id and p.id = chosen.id
left join categories c on c.tenant_id = p.tenant_id and c.id = p.category_id
cross join lateral (
	select coalesce(json_agg(json_build_object('id', v.id, 'sku', v.sku, 'barcode', v.barcode, 'title', v.title, 'price', ` + amount(price) + `,
		'compare_at_price', case when v.currency = ` + o.codeOf("v") + ` and greatest(v.compare_at_price, v.price) > ` + price + ` then ` + amount(`greatest(v.compare_at_price, v.price)`) + ` end,
		'options', v.options, 'in_stock', not v.track_stock or coalesce(s.buyable, false), 'stock_quantity', coalesce(s.stock, 0), 'weight_grams', v.weight_grams,
		'image_url', v.image_url, 'requires_shipping', v.requires_shipping) order by v.position, v.id), '[]') as variants,
		coalesce(sum(s.stock), 0)::bigint as stock_quantity, coalesce(bool_or(not v.track_stock or s.buyable), false) as in_stock
	from product_variants v` + o.listed() + `
	left join lateral (select greatest(sum(l.available), 0)::bigint as stock, bool_or(l.available + l.backorder_limit > 0) as buyable
		from stock_levels l where l.tenant_id = v.tenant_id and l.variant_id = v.id) s on true
	where v.tenant_id = p.tenant_id and v.product_id = p.id and v.deleted_at is null and ` + price + ` is not null
) vs` + key.order("p.id")
}

// chosen selects the products of one page, in the order of the key.
func (o offered) chosen(key sortKey, limit, offset int) string {
	return `select p.tenant_id, p.id, ` + o.price + ` as price` + offerFrom + o.where() + key.order("p.id") + slice(limit, offset)
}

// facets counts what the selection matches.
func (o offered) facets(asked []string) string {
	counts := map[string]string{
		"category": `(select coalesce(json_agg(json_build_object('value', c.slug, 'name', c.name, 'count', x.n) order by x.n desc, c.slug), '[]')
			from (select h.category_id, count(*) as n from hits h where h.category_id is not null group by h.category_id order by n desc limit 200) x
			join categories c on c.tenant_id = ` + o.org + ` and c.id = x.category_id)`,
		"brand": `(select coalesce(json_agg(json_build_object('value', x.brand, 'name', x.brand, 'count', x.n) order by x.n desc, x.brand), '[]')
			from (select min(h.brand) as brand, count(*) as n from hits h where h.brand <> '' group by lower(h.brand) order by n desc limit 200) x)`,
		"tag": `(select coalesce(json_agg(json_build_object('value', x.tag, 'name', x.tag, 'count', x.n) order by x.n desc, x.tag), '[]')
			from (select min(t) as tag, count(*) as n from hits h cross join lateral unnest(h.tags) t group by lower(t) order by n desc limit 200) x)`,
		"price": `(select coalesce(json_agg(json_build_object('currency', x.currency, 'min', x.low, 'max', x.high, 'count', x.n) order by x.n desc, x.currency), '[]')
			from (select h.currency, min(h.price) as low, max(h.price) as high, count(*) as n from hits h group by h.currency limit 200) x)`,
	}
	sql := `with ` + o.with + `, hits as materialized (select p.category_id, p.brand, p.tags, ` + o.codeOf("p") + ` as currency, ` + o.price + ` as price` + offerFrom + o.where() + `) select `
	for i, name := range []string{"category", "brand", "tag", "price"} {
		if i > 0 {
			sql += ", "
		}
		expr := "null::json"
		for _, a := range asked {
			if a == name {
				expr = counts[name]
			}
		}
		sql += expr + " as " + name
	}
	return sql
}

// offerKey is the sort key where prices are those of the shopper.
func offerKey(sort, price string) sortKey {
	key := sortKeyOf(sort)
	if strings.TrimPrefix(sort, "-") == "price" {
		key.column = price
	}
	return key
}

func placeOfOffer(sort string, p Offer) place {
	switch strings.TrimPrefix(sort, "-") {
	case "name":
		return place{fold(p.Name), p.ID}
	case "price":
		return place{strconv.FormatInt(p.Price.Amount, 10), p.ID}
	}
	return place{p.CreatedAt.Format(time.RFC3339Nano), p.ID}
}

func (f *Feature) listOffers(ctx context.Context, v tenant.View, in *listOffers) (Offers, error) {
	return offers(ctx, v, in.ListParams, in.Bounds.into(in.Filter), in.Currency, in.Sort, in.Facets)
}

// offers answers a list of a shop: the page, the total and the facets, of one
// moment and in one round trip.
func offers(ctx context.Context, v tenant.View, p api.ListParams, filter Filter, currency, sort string, facets []string) (Offers, error) {
	var none Offers
	o, err := offersOf(v.Scope(), currency, filter)
	if err != nil {
		return none, err
	}
	count, counted, countArgs := `with `+o.with+` select count(*)`+offerFrom+o.where(), o.facets(facets), o.args
	var at place
	if more, err := p.Position(ctx, &at); err != nil {
		return none, err
	} else if more {
		o.after(offerKey(sort, o.price), at)
	}
	sql := o.page(o.chosen(offerKey(sort, o.price), p.Limit+1, p.Offset()), offerKey(sort, "chosen.price"))
	var rows []Offer
	var total int64
	var found Facets
	err = v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &rows, sql, o.args...)
		if p.WantTotal() {
			tenant.QueueValue(b, &total, count, countArgs...)
		}
		if len(facets) > 0 {
			tenant.QueueOne(b, &found, counted, countArgs...)
		}
	})
	if err != nil {
		return none, err
	}
	var out Offers
	out.Page, err = api.Page(ctx, p, rows, func(p Offer) any { return placeOfOffer(sort, p) })
	if p.WantTotal() {
		out.Total = &total
	}
	if len(facets) > 0 {
		out.Facets = &found
	}
	return out, err
}

type getOffer struct {
	ProductID string `path:"product_id" ref:"product" minLength:"1" maxLength:"200" doc:"The product, by its id or its slug."`
	Currency  string `query:"currency" maxLength:"3" pattern:"^[A-Z]{3}$" doc:"In which currency; without it the product's own." example:"EUR"`
}

func (f *Feature) getOffer(ctx context.Context, v tenant.View, in *getOffer) (Offer, error) {
	o, err := offersOf(v.Scope(), in.Currency, Filter{})
	if err != nil {
		return Offer{}, err
	}
	if product, err := id.Parse(in.ProductID); err == nil {
		o.and("p.id = ?", product)
	} else {
		o.and("p.slug = ?", in.ProductID)
	}
	key := sortKeyOf("created_at")
	p, err := tenant.One[Offer](ctx, v, o.page(o.chosen(key, 1, 0), key), o.args...)
	if err := tenant.NotFound(err, "product"); !fault.Is(err, fault.NotFound) || in.Currency == "" {
		return p, err
	}
	// Not there, or not in this currency?
	if _, err := f.getOffer(ctx, v, &getOffer{ProductID: in.ProductID}); err != nil {
		return p, err
	}
	return p, fault.New(fault.Invalid, "price_unavailable", "The product is not sold in %s.", in.Currency)
}

// ShopCategory is a category as a shopper sees it.
type ShopCategory struct {
	ID          id.ID    `json:"id"`
	ParentID    *id.ID   `json:"parent_id" nullable:"true" doc:"The category above it; null at the top."`
	Slug        string   `json:"slug" maxLength:"100" pattern:"^[a-z0-9]+(-[a-z0-9]+)*$" example:"shirts"`
	Name        string   `json:"name" minLength:"1" maxLength:"200" example:"Shirts"`
	Description string   `json:"description" maxLength:"5000" doc:"Markdown."`
	ImageURL    *string  `json:"image_url" nullable:"true" maxLength:"2048"`
	Path        []string `json:"path" nullable:"false" maxItems:"8" maxLength:"100" example:"[\"clothes\",\"shirts\"]" doc:"The slugs from the top down to it."`
}

func (f *Feature) listShopCategories(ctx context.Context, v tenant.View, in *listCategories) (page.Page[ShopCategory], error) {
	p, err := f.listCategories(ctx, v, in)
	out := page.Page[ShopCategory]{Data: make([]ShopCategory, len(p.Data)), NextCursor: p.NextCursor, Total: p.Total}
	for i, c := range p.Data {
		out.Data[i] = ShopCategory{c.ID, c.ParentID, c.Slug, c.Name, c.Description, c.ImageURL, c.Path}
	}
	return out, err
}
