package catalog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// variantObject is a variant as JSON where v is the row and s its stock.
const variantObject = `json_build_object('id', v.id, 'product_id', v.product_id, 'sku', v.sku, 'barcode', v.barcode, 'title', v.title,
	'price', json_build_object('amount', v.price, 'currency', v.currency),
	'compare_at_price', case when v.compare_at_price is not null then json_build_object('amount', v.compare_at_price, 'currency', v.currency) end,
	'cost', case when v.cost is not null then json_build_object('amount', v.cost, 'currency', v.currency) end,
	'options', v.options, 'stock_quantity', coalesce(s.stock, 0), 'weight_grams', v.weight_grams, 'image_url', v.image_url,
	'requires_shipping', v.requires_shipping, 'track_stock', v.track_stock, 'position', v.position, 'version', v.version)`

// stockJoin adds what is to be had of the variant v; a shortfall in one place
// takes from what lies in another.
const stockJoin = ` left join lateral (select greatest(sum(l.available), 0)::bigint as stock from stock_levels l
	where l.tenant_id = v.tenant_id and l.variant_id = v.id) s on true `

// productCols are the columns of Product where p is the product, c its category
// and vs its variants.
const productCols = `p.id, p.slug, p.name, p.description, p.status, json_build_object('amount', p.price_from, 'currency', p.currency) as price, p.currency,
	c.slug as category, p.category_id, vs.stock_quantity, p.image_urls, p.options, p.attributes, p.tags, p.brand, p.tax_class, p.seo_title, p.seo_description,
	p.publish_at, p.unpublish_at, vs.variants, p.version, p.created_at, p.updated_at`

const productJoins = ` left join categories c on c.tenant_id = p.tenant_id and c.id = p.category_id
	cross join lateral (select coalesce(json_agg(` + variantObject + ` order by v.position, v.id), '[]') as variants,
		coalesce(sum(s.stock), 0)::bigint as stock_quantity
		from product_variants v` + stockJoin + `where v.tenant_id = p.tenant_id and v.product_id = p.id and v.deleted_at is null) vs `

const (
	selectProduct = `select ` + productCols + ` from products p` + productJoins + `where p.tenant_id = $1 and p.id = $2 and p.deleted_at is null`

	// A lock of its own statement: what is read after it is what it guards.
	lockProduct = `select p.id from products p where p.tenant_id = $1 and p.id = $2 and p.deleted_at is null for no key update`

	// insertProduct takes the first of the slugs $3 that is free; no row means
	// that there is none, or that somebody was faster.
	insertProduct = `with chosen as (
	select c.slug from unnest($3::text[]) with ordinality as c (slug, n)
	where not exists (select from products x where x.tenant_id = $1 and x.slug = c.slug and x.deleted_at is null) order by c.n limit 1
)
insert into products (tenant_id, id, slug, name, name_key, description, status, category_id, brand, tags, image_urls, options, attributes, tax_class,
	currency, price_from, price_to, seo_title, seo_description, publish_at, unpublish_at, created_by_kind, created_by_id)
select $1::uuid, $2::uuid, chosen.slug, $4::text, $5::text, $6::text, $7::text, $8::uuid, $9::text, $10::text[], $11::text[], $12::jsonb, $13::jsonb, $14::text,
	$15::text, $16::bigint, $17::bigint, $18::text, $19::text, $20::timestamptz, $21::timestamptz, $22::text, $23::uuid
from chosen
on conflict (tenant_id, slug) where deleted_at is null do nothing
returning slug, version, created_at, updated_at`

	updateProduct = `update products p set slug = $3, name = $4, name_key = $5, description = $6, status = $7, category_id = $8, brand = $9, tags = $10,
	image_urls = $11, options = $12, attributes = $13, tax_class = $14, currency = $15, price_from = $16, price_to = $17, seo_title = $18,
	seo_description = $19, publish_at = $20, unpublish_at = $21, version = p.version + 1, updated_at = now()
where p.tenant_id = $1 and p.id = $2
returning p.slug, p.version, p.created_at, p.updated_at`

	deleteProduct = `update products p set deleted_at = now(), category_id = null, version = p.version + 1, updated_at = now()
where p.tenant_id = $1 and p.id = $2`

	variantRecord = ` as x (id uuid, sku text, sku_key text, barcode text, title text, options jsonb, option_key text, price bigint, compare_at_price bigint,
	cost bigint, weight_grams integer, image_url text, requires_shipping boolean, track_stock boolean, position integer)`

	insertVariants = `insert into product_variants (tenant_id, id, product_id, currency, sku, sku_key, barcode, title, options, option_key, price, compare_at_price,
	cost, weight_grams, image_url, requires_shipping, track_stock, position)
select $1::uuid, x.id, $2::uuid, $3::text, x.sku, x.sku_key, x.barcode, x.title, x.options, x.option_key, x.price, x.compare_at_price,
	x.cost, x.weight_grams, x.image_url, x.requires_shipping, x.track_stock, x.position
from json_to_recordset($4::json)` + variantRecord

	updateVariants = `update product_variants v set sku = x.sku, sku_key = x.sku_key, barcode = x.barcode, title = x.title, options = x.options, option_key = x.option_key,
	price = x.price, compare_at_price = x.compare_at_price, cost = x.cost, weight_grams = x.weight_grams, image_url = x.image_url,
	requires_shipping = x.requires_shipping, track_stock = x.track_stock, position = x.position, version = v.version + 1, updated_at = now()
from json_to_recordset($2::json)` + variantRecord + `
where v.tenant_id = $1 and v.id = x.id`

	// freeVariants lets go of what is unique, so that variants can swap it.
	freeVariants = `update product_variants v set sku = null, sku_key = null, option_key = v.id::text where v.tenant_id = $1 and v.id = any($2::uuid[])`

	deleteVariants = `update product_variants v set deleted_at = now(), version = v.version + 1, updated_at = now()
where v.tenant_id = $1 and v.id = any($2::uuid[])`

	dropListPrices = `delete from price_list_prices where tenant_id = $1 and variant_id = any($2::uuid[])`

	selectVariant = `select ` + variantObject + ` from product_variants v` + stockJoin + `where v.tenant_id = $1 and v.id = $2 and v.deleted_at is null`

	selectProductOf = `select v.product_id from product_variants v where v.tenant_id = $1 and v.id = $2 and v.deleted_at is null`

	selectCategoryBySlug = `select c.id, c.slug from categories c where c.tenant_id = $1 and c.slug = $2`
	selectCategoryByID   = `select c.id, c.slug from categories c where c.tenant_id = $1 and c.id = $2`

	selectDefaultCurrency = `select o.default_currency from organizations o where o.tenant_id = $1`
)

// stored is what the database adds to a product.
type stored struct {
	Slug      string    `db:"slug"`
	Version   int64     `db:"version"`
	CreatedAt time.Time `db:"created_at"`
	UpdatedAt time.Time `db:"updated_at"`
}

// variantRow is a variant as the statements take it.
type variantRow struct {
	ID               id.ID   `json:"id"`
	SKU              *string `json:"sku"`
	SKUKey           *string `json:"sku_key"`
	Barcode          *string `json:"barcode"`
	Title            string  `json:"title"`
	Options          Choice  `json:"options"`
	OptionKey        string  `json:"option_key"`
	Price            int64   `json:"price"`
	CompareAtPrice   *int64  `json:"compare_at_price"`
	Cost             *int64  `json:"cost"`
	WeightGrams      int     `json:"weight_grams"`
	ImageURL         *string `json:"image_url"`
	RequiresShipping bool    `json:"requires_shipping"`
	TrackStock       bool    `json:"track_stock"`
	Position         int     `json:"position"`
}

func (v Variant) row() variantRow {
	r := variantRow{ID: v.ID, SKU: v.SKU, Barcode: v.Barcode, Title: v.Title, Options: v.Options, OptionKey: v.optionKey(), Price: v.Price.Amount,
		WeightGrams: v.WeightGrams, ImageURL: v.ImageURL, RequiresShipping: v.RequiresShipping, TrackStock: v.TrackStock, Position: v.Position}
	if v.SKU != nil {
		key := fold(*v.SKU)
		r.SKUKey = &key
	}
	if v.CompareAtPrice != nil {
		r.CompareAtPrice = &v.CompareAtPrice.Amount
	}
	if v.Cost != nil {
		r.Cost = &v.Cost.Amount
	}
	return r
}

func rowsOf(variants []Variant) []variantRow {
	rows := make([]variantRow, len(variants))
	for i, v := range variants {
		rows[i] = v.row()
	}
	return rows
}

// args are those of insertProduct and updateProduct from the fourth on.
func (p Product) args() []any {
	low, high := p.Price.Amount, p.Price.Amount
	for _, v := range p.Variants {
		low, high = min(low, v.Price.Amount), max(high, v.Price.Amount)
	}
	return []any{p.Name, fold(p.Name), p.Description, p.Status, p.CategoryID, p.Brand, p.Tags, p.ImageURLs, p.Options, p.Attributes, p.TaxClass,
		p.Currency, low, high, p.SEOTitle, p.SEODescription, p.PublishAt, p.UnpublishAt}
}

// insert stores a product that is tidy, under the first of the slugs that is
// free.
func insert(ctx context.Context, tx *tenant.Tx, p Product, slugs []string) (Product, error) {
	s := tx.Scope()
	var by *id.ID
	if !s.Actor.ID.IsZero() {
		by = &s.Actor.ID
	}
	args := append([]any{s.Organization, p.ID, slugs}, append(p.args(), string(s.Actor.Kind), by)...)
	for range len(slugs) {
		at, err := tenant.One[stored](ctx, tx, insertProduct, args...)
		if errors.Is(err, tenant.ErrNoRows) {
			continue
		}
		if err != nil {
			return p, refine(err)
		}
		p.Slug, p.Version, p.CreatedAt, p.UpdatedAt = at.Slug, at.Version, at.CreatedAt, at.UpdatedAt
		return p, addVariants(ctx, tx, &p, p.Variants)
	}
	return p, errSlugTaken(slugs[0])
}

// addVariants stores new variants of p.
func addVariants(ctx context.Context, tx *tenant.Tx, p *Product, added []Variant) error {
	if len(added) == 0 {
		return nil
	}
	_, err := tenant.Exec(ctx, tx, insertVariants, tx.Scope().Organization, p.ID, p.Currency, rowsOf(added))
	return refine(err)
}

// slugsFor lists slugs that the name suggests, best first.
func slugsFor(name string) []string {
	base := slugOf(name, maxSlug-20)
	if base == "" {
		base = "product"
	}
	slugs := []string{base}
	for n := 2; n < 30; n++ {
		slugs = append(slugs, fmt.Sprintf("%s-%d", base, n))
	}
	for range 10 {
		slugs = append(slugs, fmt.Sprintf("%s-%08d", base, rand.IntN(100_000_000)))
	}
	return slugs
}

// held locks a product and reads it.
func held(ctx context.Context, tx *tenant.Tx, product id.ID) (Product, error) {
	org := tx.Scope().Organization
	if _, err := tenant.Value[id.ID](ctx, tx, lockProduct, org, product); err != nil {
		return Product{}, tenant.NotFound(err, "product")
	}
	return read(ctx, tx, product)
}

func read(ctx context.Context, q reader, product id.ID) (Product, error) {
	p, err := tenant.One[Product](ctx, q, selectProduct, q.Scope().Organization, product)
	return p, tenant.NotFound(err, "product")
}

// reader is a View or a *Tx.
type reader interface {
	tenant.Querier
	Scope() tenant.Scope
}

// save writes what is different between the two, and gives now its versions.
func save(ctx context.Context, tx *tenant.Tx, was Product, now *Product) error {
	org := tx.Scope().Organization
	before := make(map[id.ID]Variant, len(was.Variants))
	for _, v := range was.Variants {
		before[v.ID] = v
	}
	var added, changed []Variant
	var moved []id.ID // those whose SKU or options somebody else may get
	for i, v := range now.Variants {
		old, there := before[v.ID]
		delete(before, v.ID)
		switch {
		case !there:
			added = append(added, v)
			now.Variants[i].Version = 1
		case !v.sameAs(old):
			changed = append(changed, v)
			if a, b := v.row(), old.row(); a.OptionKey != b.OptionKey || (a.SKUKey == nil) != (b.SKUKey == nil) || a.SKUKey != nil && *a.SKUKey != *b.SKUKey {
				moved = append(moved, v.ID)
			}
			now.Variants[i].Version++
		}
	}
	at, err := tenant.One[stored](ctx, tx, updateProduct, append([]any{org, now.ID, now.Slug}, now.args()...)...)
	if err != nil {
		return refineSlug(refine(err), now.Slug)
	}
	now.Version, now.UpdatedAt = at.Version, at.UpdatedAt
	if err := removeVariants(ctx, tx, before); err != nil {
		return err
	}
	if len(moved) > 0 && len(changed)+len(added) > 1 {
		if _, err := tenant.Exec(ctx, tx, freeVariants, org, moved); err != nil {
			return err
		}
	}
	if len(changed) > 0 {
		if _, err := tenant.Exec(ctx, tx, updateVariants, org, rowsOf(changed)); err != nil {
			return refine(err)
		}
	}
	return addVariants(ctx, tx, now, added)
}

// removeVariants deletes variants; orders and the stock ledger go on naming
// them.
func removeVariants(ctx context.Context, tx *tenant.Tx, gone map[id.ID]Variant) error {
	if len(gone) == 0 {
		return nil
	}
	ids := make([]id.ID, 0, len(gone))
	for v := range gone {
		ids = append(ids, v)
	}
	org := tx.Scope().Organization
	if _, err := tenant.Exec(ctx, tx, deleteVariants, org, ids); err != nil {
		return err
	}
	_, err := tenant.Exec(ctx, tx, dropListPrices, org, ids)
	return err
}

// categoryRef is a category by both its names.
type categoryRef struct {
	ID   id.ID  `db:"id"`
	Slug string `db:"slug"`
}

// findCategory finds a category by its slug or its id, whichever is given.
func findCategory(ctx context.Context, tx *tenant.Tx, slug string, category *id.ID) (*categoryRef, error) {
	org := tx.Scope().Organization
	var c categoryRef
	var err error
	if category != nil {
		c, err = tenant.One[categoryRef](ctx, tx, selectCategoryByID, org, *category)
	} else {
		c, err = tenant.One[categoryRef](ctx, tx, selectCategoryBySlug, org, slug)
	}
	switch {
	case errors.Is(err, tenant.ErrNoRows) && category != nil:
		return nil, errCategoryUnknown("/category_id")
	case errors.Is(err, tenant.ErrNoRows):
		return nil, errCategoryUnknown("/category")
	case err != nil:
		return nil, err
	case slug != "" && c.Slug != slug:
		return nil, fault.Invalidf("/category", "category and category_id name two categories; give one of them")
	}
	return &c, nil
}

func errCategoryUnknown(pointer string) *fault.Error {
	return fault.Invalidf(pointer, "there is no such category")
}

// refine says in words what a constraint says by its name.
func refine(err error) error {
	switch tenant.Constraint(err) {
	case "variant_sku_taken":
		return errSKUTaken("")
	case "product_category_unknown":
		return errCategoryUnknown("/category_id").Because(err)
	}
	return err
}

func refineSlug(err error, slug string) error {
	if tenant.Constraint(err) == "product_slug_taken" {
		return errSlugTaken(slug)
	}
	return err
}
