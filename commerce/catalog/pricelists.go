package catalog

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/line"
	"github.com/guildhall-dev/guildhall/internal/money"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

// PriceList holds other prices than those of the variants themselves.
type PriceList struct {
	ID            id.ID      `db:"id" json:"id"`
	Name          string     `db:"name" json:"name" minLength:"1" maxLength:"200" example:"Wholesale"`
	Currency      string     `db:"currency" json:"currency" maxLength:"3" pattern:"^[A-Z]{3}$" example:"EUR" doc:"ISO 4217 code, of all its prices."`
	CustomerGroup *string    `db:"customer_group" json:"customer_group" nullable:"true" maxLength:"50" pattern:"^[a-z0-9_]{1,50}$" example:"wholesale" doc:"For whom; everybody if null."`
	StartsAt      *time.Time `db:"starts_at" json:"starts_at" nullable:"true" doc:"Does not apply before."`
	EndsAt        *time.Time `db:"ends_at" json:"ends_at" nullable:"true" doc:"Does not apply from then on."`
	Priority      int        `db:"priority" json:"priority" minimum:"-1000000" maximum:"1000000" doc:"Of the lists that apply, the greatest counts; then the least price."`
	Enabled       bool       `db:"enabled" json:"enabled"`
	Version       int64      `db:"version" json:"version" minimum:"1" maximum:"9007199254740991" example:"1" doc:"Counts the changes, of its prices too; also its ETag."`
	CreatedAt     time.Time  `db:"created_at" json:"created_at"`
	UpdatedAt     time.Time  `db:"updated_at" json:"updated_at"`
}

// RowVersion implements api.Versioned.
func (l PriceList) RowVersion() int64 { return l.Version }

// Location implements api.Located.
func (l PriceList) Location() string { return "/v1/price-lists/" + l.ID.String() }

// EventSubject implements event.Subjected.
func (l PriceList) EventSubject() event.Subject { return event.Subject{ID: l.ID} }

// PricesSet says how a price list's prices were changed.
type PricesSet struct {
	PriceList
	Set      int  `json:"set" minimum:"0" maximum:"1000" doc:"How many prices were given."`
	Replaced bool `json:"replaced" doc:"Whether all others were taken out."`
}

// The events of a price list.
var (
	PriceListCreated = event.Define[PriceList]("price_list.created", "A price list was made.")
	PriceListUpdated = event.Define[PriceList]("price_list.updated", "A price list changed, but for its prices.")
	PriceListDeleted = event.Define[PriceList]("price_list.deleted", "A price list was deleted with its prices.")
	PriceListPriced  = event.Define[PricesSet]("price_list.prices_set", "Prices of a price list were set.")
)

// ListPrice is a price of a list, from a quantity on.
type ListPrice struct {
	VariantID   id.ID       `db:"variant_id" json:"variant_id"`
	ProductID   id.ID       `db:"product_id" json:"product_id"`
	SKU         *string     `db:"sku" json:"sku" nullable:"true" maxLength:"100"`
	MinQuantity int         `db:"min_quantity" json:"min_quantity" minimum:"1" maximum:"1000000" doc:"From how many in one line on."`
	Price       money.Money `db:"price" json:"price" doc:"Of each."`
}

const (
	priceListCols = `id, name, currency, customer_group, starts_at, ends_at, priority, enabled, version, created_at, updated_at`

	listPriceLists = `select ` + priceListCols + ` from price_lists
	where tenant_id = $1 and ($2::uuid is null or id < $2) order by id desc limit $3 offset $4`
	countPriceLists = `select count(*) from price_lists where tenant_id = $1`
	selectPriceList = `select ` + priceListCols + ` from price_lists where tenant_id = $1 and id = $2`
	lockPriceList   = selectPriceList + ` for no key update`
	insertPriceList = `insert into price_lists (tenant_id, id, name, currency, customer_group, starts_at, ends_at, priority, enabled)
	values ($1, $2, $3, $4, $5, $6, $7, $8, $9) returning ` + priceListCols
	updatePriceList = `update price_lists set name = $3, customer_group = $4, starts_at = $5, ends_at = $6, priority = $7, enabled = $8,
	version = version + 1, updated_at = now() where tenant_id = $1 and id = $2 returning ` + priceListCols
	touchPriceList  = `update price_lists set version = version + 1, updated_at = now() where tenant_id = $1 and id = $2 returning ` + priceListCols
	deletePriceList = `delete from price_lists where tenant_id = $1 and id = $2`

	listPricesFrom = ` from price_list_prices e
	join price_lists l on l.tenant_id = e.tenant_id and l.id = e.price_list_id
	join product_variants v on v.tenant_id = e.tenant_id and v.id = e.variant_id and v.deleted_at is null
	where e.tenant_id = $1 and e.price_list_id = $2 and ($3::uuid is null or e.variant_id = $3) `
	listPrices = `select e.variant_id, v.product_id, v.sku, e.min_quantity, json_build_object('amount', e.amount, 'currency', l.currency) as price` + listPricesFrom + `
	and ($4::uuid is null or (e.variant_id, e.min_quantity) > ($4, $5::integer)) order by e.variant_id, e.min_quantity limit $6 offset $7`
	countPrices = `select count(*)` + listPricesFrom

	// unknownVariants are the places of those that are not there.
	unknownVariants = `select w.n::integer - 1 from unnest($2::uuid[]) with ordinality as w (id, n)
	where not exists (select from product_variants v where v.tenant_id = $1 and v.id = w.id and v.deleted_at is null) order by w.n`

	setPrices = `insert into price_list_prices (tenant_id, variant_id, price_list_id, min_quantity, amount)
select $1::uuid, p.variant_id, $2::uuid, p.min_quantity, p.amount from unnest($3::uuid[], $4::integer[], $5::bigint[]) as p (variant_id, min_quantity, amount)
order by p.variant_id, p.min_quantity
on conflict (tenant_id, variant_id, price_list_id, min_quantity) do update set amount = excluded.amount`

	dropOtherPrices = `delete from price_list_prices e where e.tenant_id = $1 and e.price_list_id = $2
	and not exists (select from unnest($3::uuid[], $4::integer[]) as p (variant_id, min_quantity) where p.variant_id = e.variant_id and p.min_quantity = e.min_quantity)`
)

type listPriceListsInput struct{ api.ListParams }

func (f *Feature) listPriceLists(ctx context.Context, v tenant.View, in *listPriceListsInput) (page.Page[PriceList], error) {
	var none page.Page[PriceList]
	var last *id.ID
	if _, err := in.Position(ctx, &last); err != nil {
		return none, err
	}
	org := v.Scope().Organization
	var rows []PriceList
	var total int64
	err := v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &rows, listPriceLists, org, last, in.Limit+1, in.Offset())
		if in.WantTotal() {
			tenant.QueueValue(b, &total, countPriceLists, org)
		}
	})
	if err != nil {
		return none, err
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(l PriceList) any { return l.ID })
	if in.WantTotal() {
		out.Total = &total
	}
	return out, err
}

type priceListPath struct {
	PriceListID id.ID `path:"price_list_id" ref:"price_list" doc:"The price list."`
}

func (f *Feature) getPriceList(ctx context.Context, v tenant.View, in *priceListPath) (PriceList, error) {
	l, err := tenant.One[PriceList](ctx, v, selectPriceList, v.Scope().Organization, in.PriceListID)
	return l, tenant.NotFound(err, "price list")
}

type createPriceList struct {
	Body struct {
		Name          string             `json:"name" minLength:"1" maxLength:"200" example:"Wholesale"`
		Currency      string             `json:"currency" maxLength:"3" pattern:"^[A-Z]{3}$" example:"EUR" doc:"ISO 4217 code; it stays."`
		CustomerGroup *string            `json:"customer_group,omitempty" nullable:"true" maxLength:"50" pattern:"^[a-z0-9_]{1,50}$" doc:"For whom; everybody if absent."`
		StartsAt      *time.Time         `json:"starts_at,omitempty" nullable:"true"`
		EndsAt        *time.Time         `json:"ends_at,omitempty" nullable:"true"`
		Priority      int                `json:"priority,omitempty" minimum:"-1000000" maximum:"1000000"`
		Enabled       api.Optional[bool] `json:"enabled" required:"false" doc:"true if absent."`
	}
}

func (f *Feature) createPriceList(ctx context.Context, tx *tenant.Tx, in *createPriceList) (PriceList, error) {
	b := in.Body
	l := PriceList{Name: b.Name, Currency: b.Currency, CustomerGroup: b.CustomerGroup, StartsAt: b.StartsAt, EndsAt: b.EndsAt, Priority: b.Priority,
		Enabled: b.Enabled.Value || !b.Enabled.Present}
	if err := l.tidy(); err != nil {
		return l, err
	}
	l, err := tenant.One[PriceList](ctx, tx, insertPriceList, tx.Scope().Organization, id.New(), l.Name, l.Currency, l.CustomerGroup, l.StartsAt, l.EndsAt, l.Priority, l.Enabled)
	if err != nil {
		return l, err
	}
	return l, PriceListCreated.Emit(ctx, tx, l)
}

func (l *PriceList) tidy() (err error) {
	if l.Name, err = line.Clean("/name", l.Name, 200); err != nil {
		return err
	}
	if !money.Known(l.Currency) {
		return fault.Invalidf("/currency", "there is no currency of that code in ISO 4217")
	}
	if l.StartsAt != nil && l.EndsAt != nil && !l.StartsAt.Before(*l.EndsAt) {
		return fault.Invalidf("/ends_at", "ends_at must come after starts_at")
	}
	return nil
}

type patchPriceList struct {
	PriceListID id.ID       `path:"price_list_id" ref:"price_list" doc:"The price list."`
	IfMatch     api.IfMatch `header:"If-Match"`
	Body        struct {
		Name          api.Optional[string]    `json:"name" required:"false" minLength:"1" maxLength:"200"`
		CustomerGroup api.Optional[string]    `json:"customer_group" required:"false" nullable:"true" maxLength:"50" pattern:"^[a-z0-9_]{1,50}$" doc:"null for everybody."`
		StartsAt      api.Optional[time.Time] `json:"starts_at" required:"false" nullable:"true"`
		EndsAt        api.Optional[time.Time] `json:"ends_at" required:"false" nullable:"true"`
		Priority      api.Optional[int]       `json:"priority" required:"false" minimum:"-1000000" maximum:"1000000"`
		Enabled       api.Optional[bool]      `json:"enabled" required:"false"`
	}
}

func (f *Feature) patchPriceList(ctx context.Context, tx *tenant.Tx, in *patchPriceList) (PriceList, error) {
	was, err := heldPriceList(ctx, tx, in.PriceListID, in.IfMatch)
	if err != nil {
		return was, err
	}
	b, now := in.Body, was
	b.Name.Set(&now.Name)
	b.CustomerGroup.SetPtr(&now.CustomerGroup)
	b.StartsAt.SetPtr(&now.StartsAt)
	b.EndsAt.SetPtr(&now.EndsAt)
	b.Priority.Set(&now.Priority)
	b.Enabled.Set(&now.Enabled)
	if err := now.tidy(); err != nil {
		return was, err
	}
	keepTime(&now.StartsAt, was.StartsAt)
	keepTime(&now.EndsAt, was.EndsAt)
	if reflect.DeepEqual(was, now) {
		return was, nil
	}
	now, err = tenant.One[PriceList](ctx, tx, updatePriceList, tx.Scope().Organization, now.ID, now.Name, now.CustomerGroup, now.StartsAt, now.EndsAt, now.Priority, now.Enabled)
	if err != nil {
		return was, err
	}
	return now, PriceListUpdated.EmitChange(ctx, tx, was, now)
}

func heldPriceList(ctx context.Context, tx *tenant.Tx, list id.ID, match api.IfMatch) (PriceList, error) {
	return api.Locked[PriceList](ctx, tx, "price list", match, lockPriceList, tx.Scope().Organization, list)
}

type priceListMatch struct {
	PriceListID id.ID       `path:"price_list_id" ref:"price_list" doc:"The price list."`
	IfMatch     api.IfMatch `header:"If-Match"`
}

func (f *Feature) removePriceList(ctx context.Context, tx *tenant.Tx, in *priceListMatch) (api.None, error) {
	l, err := heldPriceList(ctx, tx, in.PriceListID, in.IfMatch)
	if err != nil {
		return api.None{}, err
	}
	if _, err := tenant.Exec(ctx, tx, deletePriceList, tx.Scope().Organization, l.ID); err != nil {
		return api.None{}, err
	}
	return api.None{}, PriceListDeleted.Emit(ctx, tx, l)
}

type listPricesInput struct {
	api.ListParams
	PriceListID id.ID `path:"price_list_id" ref:"price_list" doc:"The price list."`
	VariantID   id.ID `query:"variant_id" ref:"variant" doc:"Only prices of this variant."`
}

// pricePlace is a place in a list of prices.
type pricePlace struct {
	Variant  *id.ID `json:"v"`
	Quantity int    `json:"q"`
}

func (f *Feature) listPrices(ctx context.Context, v tenant.View, in *listPricesInput) (page.Page[ListPrice], error) {
	var none page.Page[ListPrice]
	var after pricePlace
	if _, err := in.Position(ctx, &after); err != nil {
		return none, err
	}
	var variant *id.ID
	if !in.VariantID.IsZero() {
		variant = &in.VariantID
	}
	org := v.Scope().Organization
	var rows []ListPrice
	var total int64
	var lists []PriceList
	err := v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &lists, selectPriceList, org, in.PriceListID)
		tenant.QueueList(b, &rows, listPrices, org, in.PriceListID, variant, after.Variant, after.Quantity, in.Limit+1, in.Offset())
		if in.WantTotal() {
			tenant.QueueValue(b, &total, countPrices, org, in.PriceListID, variant)
		}
	})
	if err == nil && len(lists) == 0 {
		err = fault.NotFoundf("price list")
	}
	if err != nil {
		return none, err
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(p ListPrice) any { return pricePlace{&p.VariantID, p.MinQuantity} })
	if in.WantTotal() {
		out.Total = &total
	}
	return out, err
}

type setPricesInput struct {
	PriceListID id.ID       `path:"price_list_id" ref:"price_list" doc:"The price list."`
	IfMatch     api.IfMatch `header:"If-Match"`
	Body        struct {
		Prices []struct {
			VariantID   id.ID `json:"variant_id" ref:"variant" doc:"The variant."`
			MinQuantity int   `json:"min_quantity,omitempty" minimum:"1" maximum:"1000000" default:"1" doc:"From how many in one line on."`
			Amount      int64 `json:"amount" minimum:"0" maximum:"1000000000000" example:"1799" doc:"Of each, in minor units of the list's currency."`
		} `json:"prices" nullable:"false" maxItems:"1000" doc:"The prices to set."`
		Replace bool `json:"replace,omitempty" doc:"Take out all others."`
	}
}

func (f *Feature) setPrices(ctx context.Context, tx *tenant.Tx, in *setPricesInput) (PriceList, error) {
	l, err := heldPriceList(ctx, tx, in.PriceListID, in.IfMatch)
	if err != nil {
		return l, err
	}
	n, org := len(in.Body.Prices), tx.Scope().Organization
	variants, quantities, amounts := make([]id.ID, n), make([]int, n), make([]int64, n)
	type key struct {
		variant  id.ID
		quantity int
	}
	seen := make(map[key]bool, n)
	for i, p := range in.Body.Prices {
		variants[i], quantities[i], amounts[i] = p.VariantID, max(p.MinQuantity, 1), p.Amount
		k := key{variants[i], quantities[i]}
		if seen[k] {
			return l, fault.Invalidf(pointerAt("/prices", i), "this variant and quantity stand twice")
		}
		seen[k] = true
	}
	unknown, err := tenant.Values[int](ctx, tx, unknownVariants, org, variants)
	if err != nil {
		return l, err
	}
	if len(unknown) > 0 {
		return l, fault.Invalidf(fmt.Sprintf("/prices/%d/variant_id", unknown[0]), "there is no such variant")
	}
	if in.Body.Replace {
		if _, err := tenant.Exec(ctx, tx, dropOtherPrices, org, l.ID, variants, quantities); err != nil {
			return l, err
		}
	}
	if _, err := tenant.Exec(ctx, tx, setPrices, org, l.ID, variants, quantities, amounts); err != nil {
		return l, err
	}
	l, err = tenant.One[PriceList](ctx, tx, touchPriceList, org, l.ID)
	if errors.Is(err, tenant.ErrNoRows) {
		return l, fault.NotFoundf("price list")
	}
	if err != nil {
		return l, err
	}
	return l, PriceListPriced.Emit(ctx, tx, PricesSet{l, n, in.Body.Replace})
}
