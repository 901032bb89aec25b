package catalog

import (
	"context"
	"fmt"
	"slices"
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

// Filter selects products. What is given must hold; it is also the rule of a
// collection.
type Filter struct {
	Category  string   `query:"category" json:"category,omitempty" maxLength:"100" doc:"Slug of a category; the products of those below it count, too." example:"shirts"`
	Search    string   `query:"search" json:"search,omitempty" maxLength:"200" doc:"Part of the name, the brand or an SKU, in either case."`
	PriceMin  *int64   `json:"price_min,omitempty" minimum:"0" maximum:"1000000000000" doc:"In minor units; compared with the least price of a product."`
	PriceMax  *int64   `json:"price_max,omitempty" minimum:"0" maximum:"1000000000000" doc:"In minor units; compared with the least price of a product."`
	InStock   *bool    `json:"in_stock,omitempty" doc:"Only what can be bought at once, or only what cannot."`
	Tag       []string `query:"tag" json:"tag,omitempty" nullable:"false" maxItems:"10" minLength:"1" maxLength:"100" doc:"Tags, separated by commas; a product must carry all of them."`
	Brand     []string `query:"brand" json:"brand,omitempty" nullable:"false" maxItems:"20" minLength:"1" maxLength:"200" doc:"Brands, separated by commas, in either case; any of them."`
	Attribute []string `query:"attribute,explode" json:"attribute,omitempty" nullable:"false" maxItems:"10" minLength:"3" maxLength:"560" pattern:"^[a-z][a-z0-9_]{0,49}:" doc:"An attribute and its value, as color:red; repeated, all must hold." example:"[\"color:red\"]"`
}

// Bounds are the filters that the query tells apart from their zero.
type Bounds struct {
	PriceMin int64  `query:"price_min" minimum:"0" maximum:"1000000000000" doc:"In minor units; compared with the least price of a product."`
	PriceMax int64  `query:"price_max" default:"1000000000000" minimum:"0" maximum:"1000000000000" doc:"In minor units; compared with the least price of a product."`
	InStock  string `query:"in_stock" enum:"true,false" doc:"Only what can be bought at once, or only what cannot."`
}

func (b Bounds) into(f Filter) Filter {
	if b.PriceMin > 0 {
		f.PriceMin = &b.PriceMin
	}
	if b.PriceMax < money.Max {
		f.PriceMax = &b.PriceMax
	}
	if b.InStock != "" {
		yes := b.InStock == "true"
		f.InStock = &yes
	}
	return f
}

type listProducts struct {
	api.ListParams
	Filter
	Bounds
	Status []string `query:"status" maxItems:"3" enum:"draft,active,archived" doc:"States, separated by commas."`
	Sort   string   `query:"sort" enum:"name,-name,price,-price,created_at,-created_at" default:"-created_at" doc:"The order; - before it is descending."`
}

// sortKey is what a list is ordered by: a column, and the type that its text in
// a cursor has.
type sortKey struct {
	column, cast string
	desc         bool
}

func sortKeyOf(sort string) sortKey {
	field, desc := strings.CutPrefix(sort, "-")
	switch field {
	case "name":
		return sortKey{"p.name_key", "text", desc}
	case "price":
		return sortKey{"p.price_from", "bigint", desc}
	}
	return sortKey{"p.created_at", "timestamptz", desc}
}

// place is a place in a list of products.
type place struct {
	Key string `json:"k"`
	ID  id.ID  `json:"i"`
}

func placeOf(sort string, p Product) place {
	switch strings.TrimPrefix(sort, "-") {
	case "name":
		return place{fold(p.Name), p.ID}
	case "price":
		return place{strconv.FormatInt(p.Price.Amount, 10), p.ID}
	}
	return place{p.CreatedAt.Format(time.RFC3339Nano), p.ID}
}

func (f *Feature) list(ctx context.Context, v tenant.View, in *listProducts) (page.Page[Product], error) {
	var none page.Page[Product]
	s, err := productsOf(v.Scope().Organization, in.Bounds.into(in.Filter), "p.price_from", selection{})
	if err != nil {
		return none, err
	}
	s.anyOf("p.status", in.Status)
	count, countArgs := `select count(*) from products p where `+s.where(), s.args
	var at place
	if more, err := in.Position(ctx, &at); err != nil {
		return none, err
	} else if more {
		s.after(sortKeyOf(in.Sort), at)
	}
	sql := pageOf(s, sortKeyOf(in.Sort), in.Limit+1, in.Offset())
	var rows []Product
	var total int64
	if in.WantTotal() {
		err = v.Snapshot(ctx, func(b *tenant.Batch) {
			tenant.QueueList(b, &rows, sql, s.args...)
			tenant.QueueValue(b, &total, count, countArgs...)
		})
	} else {
		rows, err = tenant.List[Product](ctx, v, sql, s.args...)
	}
	if err != nil {
		return none, err
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(p Product) any { return placeOf(in.Sort, p) })
	if in.WantTotal() {
		out.Total = &total
	}
	return out, err
}

// pageOf reads one page. Which products those are is settled first: what is
// joined to them is looked up for these alone, whatever the order.
func pageOf(s selection, key sortKey, limit, offset int) string {
	return `with chosen as materialized (
	select p.tenant_id, p.id from products p where ` + s.where() + key.order("p.id") + slice(limit, offset) + `
)
select ` + productCols + ` from chosen join products p on p.tenant_id = chosen.tenant_id and p.id = chosen.id` + productJoins + key.order("p.id")
}

func (k sortKey) order(tie string) string {
	direction := ""
	if k.desc {
		direction = " desc"
	}
	return " order by " + k.column + direction + ", " + tie + direction
}

// slice writes the numbers out: with a limit that it does not know, the planner
// expects to read a tenth of the table and sorts all of it.
func slice(limit, offset int) string {
	sql := " limit " + strconv.Itoa(limit)
	if offset > 0 {
		sql += " offset " + strconv.Itoa(offset)
	}
	return sql
}

// selection collects conditions and their arguments.
type selection struct {
	conds []string
	args  []any
}

// arg adds an argument and returns its placeholder.
func (s *selection) arg(v any) string {
	s.args = append(s.args[:len(s.args):len(s.args)], v)
	return "$" + strconv.Itoa(len(s.args))
}

// and adds a condition; each ? in it stands for one of the values.
func (s *selection) and(cond string, values ...any) {
	for _, v := range values {
		cond = strings.Replace(cond, "?", s.arg(v), 1)
	}
	s.conds = append(s.conds, cond)
}

func (s *selection) where() string { return strings.Join(s.conds, " and ") }

func (s *selection) anyOf(column string, values []string) {
	if len(values) > 0 {
		s.and(column+" = any(?::text[])", values)
	}
}

// after keeps what comes after the place in the order of the key.
func (s *selection) after(k sortKey, at place) {
	op := ">"
	if k.desc {
		op = "<"
	}
	s.and(fmt.Sprintf("(%s, p.id) %s (?::text::%s, ?)", k.column, op, k.cast), at.Key, at.ID)
}

const (
	// belowCategory lists a category and all below it.
	belowCategory = `array(with recursive below as (
		select c.tenant_id, c.id from categories c where c.tenant_id = ? and c.slug = ?
		union all
		select c.tenant_id, c.id from below b join categories c on c.tenant_id = b.tenant_id and c.parent_id = b.id
	) select below.id from below)`

	// buyable says that at least one of p can be bought: it lies there, or may be
	// ordered beyond what lies there, or nobody counts it.
	buyable = `exists (select from product_variants v where v.tenant_id = p.tenant_id and v.product_id = p.id and v.deleted_at is null
		and (not v.track_stock or exists (select from stock_levels l where l.tenant_id = v.tenant_id and l.variant_id = v.id and l.available + l.backorder_limit > 0)))`

	carriesSKU = `exists (select from product_variants v where v.tenant_id = p.tenant_id and v.product_id = p.id and v.deleted_at is null and strpos(v.sku_key, ?) > 0)`
)

// productsOf adds the conditions of a filter on products p to a selection; price
// is the column that its bounds are held against.
func productsOf(org id.ID, f Filter, price string, s selection) (selection, error) {
	s.and("p.tenant_id = ? and p.deleted_at is null", org)
	if f.Category != "" {
		s.and("p.category_id = any("+belowCategory+")", org, f.Category)
	}
	if words := fold(strings.TrimSpace(f.Search)); words != "" {
		s.and("(strpos(p.name_key, ?) > 0 or strpos(lower(p.brand), ?) > 0 or "+carriesSKU+")", words, words, words)
	}
	if f.PriceMin != nil {
		s.and(price+" >= ?", *f.PriceMin)
	}
	if f.PriceMax != nil {
		s.and(price+" <= ?", *f.PriceMax)
	}
	if f.InStock != nil {
		s.and(map[bool]string{true: "", false: "not "}[*f.InStock] + buyable)
	}
	for _, t := range f.Tag {
		s.and("exists (select from unnest(p.tags) t where lower(t) = ?)", fold(strings.TrimSpace(t)))
	}
	if len(f.Brand) > 0 {
		folded := slices.Clone(f.Brand)
		for i := range folded {
			folded[i] = fold(folded[i])
		}
		s.and("lower(p.brand) = any(?::text[])", folded)
	}
	for _, a := range f.Attribute {
		name, value, ok := strings.Cut(a, ":")
		if !ok || !attributeName.MatchString(name) || value == "" {
			return s, fault.Invalidf("query.attribute", "expected the name of an attribute, a colon and a value, as color:red")
		}
		s.and("lower(p.attributes ->> ?::text) = ?", name, fold(value))
	}
	return s, nil
}
