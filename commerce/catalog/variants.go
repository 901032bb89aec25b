package catalog

import (
	"context"
	"slices"
	"strconv"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/money"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	listVariantsOf = `select ` + variantObject + ` from product_variants v` + stockJoin + `
	where v.tenant_id = $1 and v.product_id = $2 and v.deleted_at is null and ($3::integer is null or (v.position, v.id) > ($3, $4::uuid))
	order by v.position, v.id limit $5 offset $6`

	countVariantsOf = `select count(*) from product_variants v where v.tenant_id = $1 and v.product_id = $2 and v.deleted_at is null`
)

// variantPlace is a place in the list of a product's variants.
type variantPlace struct {
	Position *int   `json:"p"`
	ID       *id.ID `json:"i"`
}

func (f *Feature) listVariants(ctx context.Context, v tenant.View, in *listVariants) (page.Page[Variant], error) {
	var none page.Page[Variant]
	var after variantPlace
	if _, err := in.Position(ctx, &after); err != nil {
		return none, err
	}
	org := v.Scope().Organization
	rows, err := tenant.Values[Variant](ctx, v, listVariantsOf, org, in.ProductID, after.Position, after.ID, in.Limit+1, in.Offset())
	if err == nil && len(rows) == 0 {
		// A product has one at least.
		_, err = read(ctx, v, in.ProductID)
	}
	if err != nil {
		return none, err
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(v Variant) any { return variantPlace{&v.Position, &v.ID} })
	if err == nil && in.WantTotal() {
		var n int64
		n, err = tenant.Value[int64](ctx, v, countVariantsOf, org, in.ProductID)
		out.Total = &n
	}
	return out, err
}

func (f *Feature) getVariant(ctx context.Context, v tenant.View, in *variantPath) (Variant, error) {
	row, err := tenant.Value[Variant](ctx, v, selectVariant, v.Scope().Organization, in.VariantID)
	return row, tenant.NotFound(err, "variant")
}

func (f *Feature) createVariant(ctx context.Context, tx *tenant.Tx, in *createVariant) (Variant, error) {
	b, made := in.Body, id.New()
	p, err := f.edit(ctx, tx, in.ProductID, api.IfMatch{}, func(p *Product) (initial, error) {
		v := Variant{ID: made, ProductID: p.ID, SKU: b.SKU, Barcode: b.Barcode, Title: b.Title, Options: b.Options, WeightGrams: b.WeightGrams, ImageURL: b.ImageURL,
			RequiresShipping: b.RequiresShipping.Value || !b.RequiresShipping.Present, TrackStock: b.TrackStock.Value || !b.TrackStock.Present}
		if err := v.prices("", p.Currency, b.Price, b.CompareAtPrice, b.Cost); err != nil {
			return nil, err
		}
		if len(p.Variants) == maxVariants {
			return nil, fault.Conflictf("product_variants_full", "A product has at most %d variants.", maxVariants)
		}
		p.Variants = append(p.Variants, v)
		return initial{made: b.InitialStock}, nil
	})
	return p.variant(made), atVariant(err, len(p.Variants))
}

func (f *Feature) patchVariant(ctx context.Context, tx *tenant.Tx, in *patchVariant) (Variant, error) {
	b := in.Body
	p, i, err := f.heldVariant(ctx, tx, in.VariantID, in.IfMatch)
	if err != nil {
		return Variant{}, err
	}
	now, err := f.change(ctx, tx, p, func(p *Product) (initial, error) {
		v := &p.Variants[i]
		b.SKU.SetPtr(&v.SKU)
		b.Barcode.SetPtr(&v.Barcode)
		b.Title.Set(&v.Title)
		b.Options.Set(&v.Options)
		b.WeightGrams.Set(&v.WeightGrams)
		b.ImageURL.SetPtr(&v.ImageURL)
		b.RequiresShipping.Set(&v.RequiresShipping)
		b.TrackStock.Set(&v.TrackStock)
		if err := v.patchPrices(p.Currency, b.Price, b.CompareAtPrice, b.Cost); err != nil {
			return nil, err
		}
		if b.Position.Present {
			p.moveVariant(i, b.Position.Value-1)
		}
		return nil, nil
	})
	return now.variant(in.VariantID), atVariant(err, i)
}

func (v *Variant) patchPrices(currency string, price, before, cost api.Optional[Price]) (err error) {
	if price.Present {
		if v.Price, err = price.Value.in("/price", currency); err != nil {
			return err
		}
	}
	for _, o := range []struct {
		at    string
		given api.Optional[Price]
		dst   **money.Money
	}{{"/compare_at_price", before, &v.CompareAtPrice}, {"/cost", cost, &v.Cost}} {
		var p *Price
		if o.given.SetPtr(&p); !o.given.Present {
			continue
		}
		if *o.dst, err = priceOrNil(o.at, currency, p); err != nil {
			return err
		}
	}
	return nil
}

// moveVariant puts the variant at i to the place to, and numbers all anew.
func (p *Product) moveVariant(i, to int) {
	v := p.Variants[i]
	to = min(to, len(p.Variants)-1)
	if to == i {
		return
	}
	p.Variants = slices.Insert(slices.Delete(p.Variants, i, i+1), to, v)
	for i := range p.Variants {
		p.Variants[i].Position = i + 1
	}
}

func (f *Feature) removeVariant(ctx context.Context, tx *tenant.Tx, in *variantMatch) (api.None, error) {
	p, i, err := f.heldVariant(ctx, tx, in.VariantID, in.IfMatch)
	if err != nil {
		return api.None{}, err
	}
	_, err = f.change(ctx, tx, p, func(p *Product) (initial, error) {
		p.Variants = slices.Delete(p.Variants, i, i+1)
		return nil, nil
	})
	return api.None{}, err
}

// heldVariant locks the product of a variant and reads it; the number is the
// variant's place in it.
func (f *Feature) heldVariant(ctx context.Context, tx *tenant.Tx, variant id.ID, match api.IfMatch) (Product, int, error) {
	product, err := tenant.Value[id.ID](ctx, tx, selectProductOf, tx.Scope().Organization, variant)
	if err != nil {
		return Product{}, 0, tenant.NotFound(err, "variant")
	}
	p, err := held(ctx, tx, product)
	if fault.Is(err, fault.NotFound) {
		return p, 0, fault.NotFoundf("variant")
	}
	if err != nil {
		return p, 0, err
	}
	i := slices.IndexFunc(p.Variants, func(v Variant) bool { return v.ID == variant })
	if i < 0 {
		return p, 0, fault.NotFoundf("variant")
	}
	if !match.Matches(p.Variants[i].Version) {
		return p, 0, fault.StaleVersion(p.Variants[i])
	}
	return p, i, nil
}

func (p Product) variant(v id.ID) Variant {
	if i := slices.IndexFunc(p.Variants, func(x Variant) bool { return x.ID == v }); i >= 0 {
		return p.Variants[i]
	}
	return Variant{}
}

// atVariant makes a complaint about the variant at i of a product one about the
// body that is this variant.
func atVariant(err error, i int) error {
	f := fault.As(err)
	if f == nil || len(f.Fields) != 1 {
		return err
	}
	prefix := "/variants/" + strconv.Itoa(i) + "/"
	if at := f.Fields[0].Pointer; len(at) > len(prefix) && at[:len(prefix)] == prefix {
		return fault.Invalidf(at[len(prefix)-1:], "%s", f.Fields[0].Message)
	}
	return err
}
