package catalog

import (
	"context"
	"reflect"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/money"
	"github.com/guildhall-dev/guildhall/tenant"
)

// initial is how many of new variants lie in the default location.
type initial map[id.ID]int

func (f *Feature) create(ctx context.Context, tx *tenant.Tx, in *createProduct) (Product, error) {
	p := Product{ID: id.New(), Status: draft}
	if err := f.currency(ctx, tx, &in.Body); err != nil {
		return p, err
	}
	stock, err := in.Body.fill(ctx, tx, &p)
	if err != nil {
		return p, err
	}
	return f.make(ctx, tx, p, in.Body.Slug, stock)
}

// currency settles in which one a new product is priced.
func (f *Feature) currency(ctx context.Context, tx *tenant.Tx, b *productBody) (err error) {
	if b.Currency == "" && b.Price.Present {
		b.Currency = b.Price.Value.Currency
	}
	if b.Currency == "" && len(b.Variants) > 0 {
		b.Currency = b.Variants[0].Price.Currency
	}
	if b.Currency == "" {
		b.Currency, err = tenant.Value[string](ctx, tx, selectDefaultCurrency, tx.Scope().Organization)
	}
	return err
}

// make stores a new product, its first stock, and says so.
func (f *Feature) make(ctx context.Context, tx *tenant.Tx, p Product, slug string, stock initial) (Product, error) {
	if err := p.tidy(); err != nil {
		return p, err
	}
	for i := range p.Variants {
		p.Variants[i].Version = 1
	}
	slugs := []string{slug}
	if slug == "" {
		slugs = slugsFor(p.Name)
	}
	p, err := insert(ctx, tx, p, slugs)
	if err != nil {
		return p, err
	}
	if err := f.stockUp(ctx, tx, &p, stock); err != nil {
		return p, err
	}
	return p, Created.Emit(ctx, tx, p)
}

// stockUp puts the first stock of new variants into the default location.
func (f *Feature) stockUp(ctx context.Context, tx *tenant.Tx, p *Product, stock initial) error {
	var wants []commerce.Demand
	for i, v := range p.Variants {
		if n := stock[v.ID]; n > 0 {
			wants = append(wants, commerce.Demand{VariantID: v.ID, Quantity: n})
			p.Variants[i].StockQuantity += int64(n)
			p.StockQuantity += int64(n)
		}
	}
	if len(wants) == 0 {
		return nil
	}
	if f.stock == nil {
		return fault.Invalidf("/initial_stock", "no stock is kept here")
	}
	return f.stock.Initial(ctx, tx, wants)
}

// fill writes all that the body says into p.
func (b productBody) fill(ctx context.Context, tx *tenant.Tx, p *Product) (initial, error) {
	p.Name, p.Description, p.Brand, p.TaxClass = b.Name, b.Description, b.Brand, b.TaxClass
	p.ImageURLs, p.Tags, p.Attributes = b.ImageURLs, b.Tags, b.Attributes
	p.SEOTitle, p.SEODescription, p.PublishAt, p.UnpublishAt = b.SEOTitle, b.SEODescription, b.PublishAt, b.UnpublishAt
	if b.Status != "" {
		p.Status = b.Status
	}
	p.Category, p.CategoryID = nil, nil
	if b.Category != "" || b.CategoryID != nil {
		c, err := findCategory(ctx, tx, b.Category, b.CategoryID)
		if err != nil {
			return nil, err
		}
		p.Category, p.CategoryID = &c.Slug, &c.ID
	}
	if len(p.Variants) == 0 || b.Options != nil || len(b.Variants) > 0 {
		p.Options = b.Options
	}
	flat := flatFields{b.Price, b.SKU, b.Barcode, b.WeightGrams, b.InitialStock}
	return p.setVariants(b.Currency, b.Variants, flat)
}

// flatFields are those of the only variant of a product.
type flatFields struct {
	price   api.Optional[Price]
	sku     api.Optional[string]
	barcode api.Optional[string]
	weight  api.Optional[int]
	stock   int
}

func (f flatFields) any() string {
	for _, field := range []struct {
		there bool
		name  string
	}{{f.price.Present, "price"}, {f.sku.Present, "sku"}, {f.barcode.Present, "barcode"}, {f.weight.Present, "weight_grams"}, {f.stock > 0, "initial_stock"}} {
		if field.there {
			return field.name
		}
	}
	return ""
}

// setVariants puts the variants of a body into p, which may be new: a list of
// all of them, or fields of the only one.
func (p *Product) setVariants(currency string, listed []listedVariant, flat flatFields) (initial, error) {
	field := flat.any()
	switch {
	case len(listed) > 0 && field != "":
		return nil, fault.Invalidf("/"+field, "say this of each variant, or leave variants out")
	case len(listed) > 0:
		if currency != "" {
			p.Currency = currency
		}
		return p.replaceVariants(listed)
	case len(p.Variants) == 0 && len(p.Options) > 0:
		return nil, fault.Invalidf("/variants", "a product with options needs variants")
	case len(p.Variants) == 0 && !flat.price.Present:
		return nil, fault.Invalidf("/price", "a product needs a price, or variants")
	case len(p.Variants) == 0:
		p.Currency = currency
		p.Variants = []Variant{{ID: id.New(), ProductID: p.ID, RequiresShipping: true, TrackStock: true}}
		return p.setOnly(flat, true)
	case currency != "" && currency != p.Currency && (!flat.price.Present || len(p.Variants) > 1):
		return nil, fault.Invalidf("/currency", "give the prices of all variants with another currency")
	case field == "":
		return nil, nil
	case len(p.Variants) > 1:
		return nil, fault.Invalidf("/"+field, "the product has %d variants; change the one that is meant", len(p.Variants))
	}
	if currency != "" && currency != p.Currency {
		p.Currency = currency
		p.Variants[0].CompareAtPrice, p.Variants[0].Cost = nil, nil
	}
	return p.setOnly(flat, false)
}

func (p *Product) setOnly(flat flatFields, fresh bool) (initial, error) {
	v := &p.Variants[0]
	if flat.stock > 0 && !fresh {
		return nil, fault.Invalidf("/initial_stock", "the variant is there already; move its stock")
	}
	if flat.price.Present {
		price, err := flat.price.Value.in("/price", p.Currency)
		if err != nil {
			return nil, err
		}
		v.Price = price
	}
	flat.sku.SetPtr(&v.SKU)
	flat.barcode.SetPtr(&v.Barcode)
	flat.weight.Set(&v.WeightGrams)
	return initial{v.ID: flat.stock}, nil
}

// replaceVariants makes the list the variants of the product.
func (p *Product) replaceVariants(listed []listedVariant) (initial, error) {
	known := make(map[id.ID]Variant, len(p.Variants))
	for _, v := range p.Variants {
		known[v.ID] = v
	}
	variants, stock := make([]Variant, 0, len(listed)), initial{}
	for i, l := range listed {
		at := pointerAt("/variants", i)
		v := Variant{ID: id.New(), ProductID: p.ID}
		if l.ID != nil {
			old, there := known[*l.ID]
			if !there {
				return nil, fault.Invalidf(at+"/id", "the product has no such variant, or it stands twice")
			}
			if l.InitialStock > 0 {
				return nil, fault.Invalidf(at+"/initial_stock", "the variant is there already; move its stock")
			}
			delete(known, *l.ID)
			v.ID, v.StockQuantity, v.Version, v.Position = old.ID, old.StockQuantity, old.Version, old.Position
		}
		v.SKU, v.Barcode, v.Title, v.Options = l.SKU, l.Barcode, l.Title, l.Options
		v.WeightGrams, v.ImageURL = l.WeightGrams, l.ImageURL
		v.RequiresShipping, v.TrackStock = l.RequiresShipping.Value || !l.RequiresShipping.Present, l.TrackStock.Value || !l.TrackStock.Present
		if err := v.prices(at, p.Currency, l.Price, l.CompareAtPrice, l.Cost); err != nil {
			return nil, err
		}
		if l.InitialStock > 0 {
			stock[v.ID] = l.InitialStock
		}
		variants = append(variants, v)
	}
	p.Variants = variants
	return stock, nil
}

// prices sets all three in the currency.
func (v *Variant) prices(at, currency string, price Price, before, cost *Price) (err error) {
	if v.Price, err = price.in(at+"/price", currency); err != nil {
		return err
	}
	if v.CompareAtPrice, err = priceOrNil(at+"/compare_at_price", currency, before); err != nil {
		return err
	}
	v.Cost, err = priceOrNil(at+"/cost", currency, cost)
	return err
}

func priceOrNil(at, currency string, p *Price) (*money.Money, error) {
	if p == nil {
		return nil, nil
	}
	m, err := p.in(at, currency)
	return &m, err
}

func (f *Feature) get(ctx context.Context, v tenant.View, in *productPath) (Product, error) {
	return read(ctx, v, in.ProductID)
}

func (f *Feature) replace(ctx context.Context, tx *tenant.Tx, in *replaceProduct) (Product, error) {
	return f.edit(ctx, tx, in.ProductID, in.IfMatch, func(p *Product) (initial, error) {
		if in.Body.Slug != "" {
			p.Slug = in.Body.Slug
		}
		return in.Body.fill(ctx, tx, p)
	})
}

func (f *Feature) patch(ctx context.Context, tx *tenant.Tx, in *patchProduct) (Product, error) {
	return f.edit(ctx, tx, in.ProductID, in.IfMatch, func(p *Product) (initial, error) {
		b := in.Body
		b.Name.Set(&p.Name)
		b.Slug.Set(&p.Slug)
		b.Description.Set(&p.Description)
		b.Status.Set(&p.Status)
		b.ImageURLs.Set(&p.ImageURLs)
		b.Options.Set(&p.Options)
		b.Tags.Set(&p.Tags)
		b.Brand.Set(&p.Brand)
		b.TaxClass.Set(&p.TaxClass)
		b.SEOTitle.Set(&p.SEOTitle)
		b.SEODescription.Set(&p.SEODescription)
		b.PublishAt.SetPtr(&p.PublishAt)
		b.UnpublishAt.SetPtr(&p.UnpublishAt)
		if b.Attributes.Present {
			p.Attributes = b.Attributes.Value.applied(p.Attributes)
		}
		if b.Category.Present || b.CategoryID.Present {
			p.Category, p.CategoryID = nil, nil
			var slug string
			var category *id.ID
			b.Category.Set(&slug)
			b.CategoryID.SetPtr(&category)
			if slug != "" || category != nil {
				c, err := findCategory(ctx, tx, slug, category)
				if err != nil {
					return nil, err
				}
				p.Category, p.CategoryID = &c.Slug, &c.ID
			}
		}
		return p.setVariants(b.Currency.Value, b.Variants.Value, flatFields{b.Price, b.SKU, b.Barcode, b.WeightGrams, 0})
	})
}

// edit lets set change a product under its lock; a change that changes nothing
// is none.
func (f *Feature) edit(ctx context.Context, tx *tenant.Tx, product id.ID, match api.IfMatch, set func(*Product) (initial, error)) (Product, error) {
	was, err := held(ctx, tx, product)
	if err != nil {
		return was, err
	}
	if !match.Matches(was.Version) {
		return was, fault.StaleVersion(was)
	}
	return f.change(ctx, tx, was, set)
}

// change is edit for a product that is held.
func (f *Feature) change(ctx context.Context, tx *tenant.Tx, was Product, set func(*Product) (initial, error)) (Product, error) {
	now := was.clone()
	now.forgetTitles()
	stock, err := set(&now)
	if err != nil {
		return was, err
	}
	if err := now.tidy(); err != nil {
		return was, err
	}
	now.StockQuantity = 0
	for _, v := range now.Variants {
		now.StockQuantity += v.StockQuantity
	}
	if reflect.DeepEqual(was, now) {
		return was, nil
	}
	if err := save(ctx, tx, was, &now); err != nil {
		return was, err
	}
	if err := f.stockUp(ctx, tx, &now, stock); err != nil {
		return was, err
	}
	return now, Updated.EmitChange(ctx, tx, was, now)
}

func (f *Feature) remove(ctx context.Context, tx *tenant.Tx, in *productMatch) (api.None, error) {
	p, err := held(ctx, tx, in.ProductID)
	if err != nil {
		return api.None{}, err
	}
	if !in.IfMatch.Matches(p.Version) {
		return api.None{}, fault.StaleVersion(p)
	}
	gone := make(map[id.ID]Variant, len(p.Variants))
	for _, v := range p.Variants {
		gone[v.ID] = v
	}
	if err := removeVariants(ctx, tx, gone); err != nil {
		return api.None{}, err
	}
	if _, err := tenant.Exec(ctx, tx, deleteProduct, tx.Scope().Organization, p.ID); err != nil {
		return api.None{}, err
	}
	p.Version, p.UpdatedAt = p.Version+1, tx.Now()
	return api.None{}, Deleted.Emit(ctx, tx, p)
}
