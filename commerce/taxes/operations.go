package taxes

import (
	"context"
	"errors"
	"slices"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/line"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	rateCols = `id, name, country, state, postal_code_prefix, tax_class, rate_ppm, version, created_at, updated_at`

	rateWhere   = ` from tax_rates where tenant_id = $1 and ($2 = '' or country = $2) and ($3 = '' or tax_class = $3) `
	selectRates = `select ` + rateCols + rateWhere + `and ($4::uuid is null or id < $4) order by id desc limit $5 offset $6`
	countRates  = `select count(*)` + rateWhere
	selectRate  = `select ` + rateCols + ` from tax_rates where tenant_id = $1 and id = $2`
	lockRate    = selectRate + ` for no key update`
	insertRate  = `insert into tax_rates (tenant_id, id, name, country, state, postal_code_prefix, tax_class, rate_ppm)
		values ($1, $2, $3, $4, $5, $6, $7, $8) returning ` + rateCols
	updateRate = `update tax_rates set name = $3, country = $4, state = $5, postal_code_prefix = $6, tax_class = $7, rate_ppm = $8, version = version + 1, updated_at = now()
		where tenant_id = $1 and id = $2 returning ` + rateCols
	deleteRate = `delete from tax_rates where tenant_id = $1 and id = $2`

	settingsCols   = `prices_include_tax, rounding, rounding_scope, shipping_tax_class, version`
	selectSettings = `select ` + settingsCols + ` from tax_settings where tenant_id = $1`
	lockSettings   = selectSettings + ` for no key update`
	// makeSettings leaves a row with the defaults, so that there is one to lock.
	makeSettings   = `insert into tax_settings (tenant_id) values ($1) on conflict (tenant_id) do nothing`
	updateSettings = `update tax_settings set prices_include_tax = $2, rounding = $3, rounding_scope = $4, shipping_tax_class = $5, version = version + 1, updated_at = now()
		where tenant_id = $1 returning ` + settingsCols
)

type listRates struct {
	api.ListParams
	Country  string `query:"country" maxLength:"2" pattern:"^[A-Z]{2}$" doc:"Only of this country."`
	TaxClass string `query:"tax_class" maxLength:"50" doc:"Only of this class."`
}

func (f *Feature) list(ctx context.Context, v tenant.View, in *listRates) (page.Page[Rate], error) {
	none := page.Page[Rate]{}
	var last *id.ID
	if _, err := in.Position(ctx, &last); err != nil {
		return none, err
	}
	filter := []any{v.Scope().Organization, in.Country, in.TaxClass}
	var rows []Rate
	var total int64
	err := v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &rows, selectRates, append(slices.Clone(filter), last, in.Limit+1, in.Offset())...)
		if in.WantTotal() {
			tenant.QueueValue(b, &total, countRates, filter...)
		}
	})
	if err != nil {
		return none, err
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(r Rate) any { return r.ID })
	if in.WantTotal() {
		out.Total = &total
	}
	return out, err
}

type ratePath struct {
	TaxRateID id.ID `path:"tax_rate_id" ref:"tax_rate" doc:"The tax rate."`
}

func (f *Feature) get(ctx context.Context, v tenant.View, in *ratePath) (Rate, error) {
	r, err := tenant.One[Rate](ctx, v, selectRate, v.Scope().Organization, in.TaxRateID)
	return r, tenant.NotFound(err, "tax rate")
}

type createRate struct {
	Body struct {
		Name             string  `json:"name" minLength:"1" maxLength:"100" example:"VAT"`
		Country          string  `json:"country" minLength:"2" maxLength:"2" pattern:"^[A-Z]{2}$" example:"DE" doc:"ISO 3166-1 alpha-2 code."`
		State            string  `json:"state,omitempty" maxLength:"100" doc:"ISO 3166-2 code without the country; all of it if absent."`
		PostalCodePrefix string  `json:"postal_code_prefix,omitempty" maxLength:"20" doc:"How the postal code begins; any if absent."`
		TaxClass         string  `json:"tax_class,omitempty" maxLength:"50" default:"standard" doc:"On products of this class."`
		Rate             Percent `json:"rate"`
	}
}

func (f *Feature) create(ctx context.Context, tx *tenant.Tx, in *createRate) (Rate, error) {
	b := in.Body
	r, err := clean(Rate{ID: id.New(), Name: b.Name, Country: b.Country, State: b.State, PostalCodePrefix: b.PostalCodePrefix, TaxClass: b.TaxClass, Rate: b.Rate})
	if err != nil {
		return r, err
	}
	if r, err = tenant.One[Rate](ctx, tx, insertRate, args(tx, r)...); err != nil {
		return r, err
	}
	return r, rateCreated.Emit(ctx, tx, r)
}

// clean brings a rate into the spelling in which it is stored.
func clean(r Rate) (_ Rate, err error) {
	if r.Name, err = line.Clean("/name", r.Name, 100); err != nil {
		return r, err
	}
	if r.TaxClass, err = line.Clean("/tax_class", r.TaxClass, 50); err != nil {
		return r, err
	}
	if r.Rate > maxPercent {
		return r, fault.Invalidf("/rate", "expected 500 per cent at most")
	}
	r.State, r.PostalCodePrefix = commerce.StateKey(r.State), commerce.PostalKey(r.PostalCodePrefix)
	return r, nil
}

func args(tx *tenant.Tx, r Rate) []any {
	return []any{tx.Scope().Organization, r.ID, r.Name, r.Country, r.State, r.PostalCodePrefix, r.TaxClass, int(r.Rate)}
}

type patchRate struct {
	TaxRateID id.ID       `path:"tax_rate_id" ref:"tax_rate" doc:"The tax rate."`
	IfMatch   api.IfMatch `header:"If-Match"`
	Body      struct {
		Name             api.Optional[string]  `json:"name" required:"false" minLength:"1" maxLength:"100" example:"VAT"`
		Country          api.Optional[string]  `json:"country" required:"false" minLength:"2" maxLength:"2" pattern:"^[A-Z]{2}$" example:"DE"`
		State            api.Optional[string]  `json:"state" required:"false" maxLength:"100" doc:"Empty for all of the country."`
		PostalCodePrefix api.Optional[string]  `json:"postal_code_prefix" required:"false" maxLength:"20" doc:"Empty for any."`
		TaxClass         api.Optional[string]  `json:"tax_class" required:"false" minLength:"1" maxLength:"50" example:"standard"`
		Rate             api.Optional[Percent] `json:"rate" required:"false"`
	}
}

func (f *Feature) patch(ctx context.Context, tx *tenant.Tx, in *patchRate) (Rate, error) {
	was, err := held(ctx, tx, in.TaxRateID, in.IfMatch)
	if err != nil {
		return was, err
	}
	b, now := in.Body, was
	b.Name.Set(&now.Name)
	b.Country.Set(&now.Country)
	b.State.Set(&now.State)
	b.PostalCodePrefix.Set(&now.PostalCodePrefix)
	b.TaxClass.Set(&now.TaxClass)
	b.Rate.Set(&now.Rate)
	if now, err = clean(now); err != nil || now == was {
		return was, err
	}
	if now, err = tenant.One[Rate](ctx, tx, updateRate, args(tx, now)...); err != nil {
		return now, err
	}
	return now, rateUpdated.EmitChange(ctx, tx, was, now)
}

type deleteRateInput struct {
	TaxRateID id.ID       `path:"tax_rate_id" ref:"tax_rate" doc:"The tax rate."`
	IfMatch   api.IfMatch `header:"If-Match"`
}

func (f *Feature) remove(ctx context.Context, tx *tenant.Tx, in *deleteRateInput) (api.None, error) {
	r, err := held(ctx, tx, in.TaxRateID, in.IfMatch)
	if err != nil {
		return api.None{}, err
	}
	if _, err := tenant.Exec(ctx, tx, deleteRate, tx.Scope().Organization, r.ID); err != nil {
		return api.None{}, err
	}
	return api.None{}, rateDeleted.Emit(ctx, tx, r)
}

func held(ctx context.Context, tx *tenant.Tx, rate id.ID, match api.IfMatch) (Rate, error) {
	return api.Locked[Rate](ctx, tx, "tax rate", match, lockRate, tx.Scope().Organization, rate)
}

func (f *Feature) settings(ctx context.Context, v tenant.View, _ *struct{}) (Settings, error) {
	s, err := tenant.One[Settings](ctx, v, selectSettings, v.Scope().Organization)
	if errors.Is(err, tenant.ErrNoRows) {
		return Settings{Rounding: "half_up", RoundingScope: "line", ShippingTaxClass: "standard"}, nil
	}
	return s, err
}

type replaceSettings struct {
	IfMatch api.IfMatch `header:"If-Match"`
	Body    struct {
		PricesIncludeTax bool                 `json:"prices_include_tax,omitempty" doc:"false if absent."`
		Rounding         string               `json:"rounding,omitempty" enum:"half_up,half_even" default:"half_up"`
		RoundingScope    string               `json:"rounding_scope,omitempty" enum:"unit,line,order" default:"line"`
		ShippingTaxClass api.Optional[string] `json:"shipping_tax_class" required:"false" maxLength:"50" example:"standard" doc:"standard if absent; empty: shipping is not taxed."`
	}
}

func (f *Feature) replaceSettings(ctx context.Context, tx *tenant.Tx, in *replaceSettings) (Settings, error) {
	org, b := tx.Scope().Organization, in.Body
	if _, err := tenant.Exec(ctx, tx, makeSettings, org); err != nil {
		return Settings{}, err
	}
	was, err := tenant.One[Settings](ctx, tx, lockSettings, org)
	if err != nil {
		return was, err
	}
	if !in.IfMatch.Matches(was.Version) {
		return was, fault.StaleVersion(was)
	}
	now := Settings{PricesIncludeTax: b.PricesIncludeTax, Rounding: b.Rounding, RoundingScope: b.RoundingScope, ShippingTaxClass: "standard", Version: was.Version}
	if b.ShippingTaxClass.Present {
		if now.ShippingTaxClass = b.ShippingTaxClass.Value; now.ShippingTaxClass != "" {
			if now.ShippingTaxClass, err = line.Clean("/shipping_tax_class", now.ShippingTaxClass, 50); err != nil {
				return was, err
			}
		}
	}
	if now == was {
		return was, nil
	}
	now, err = tenant.One[Settings](ctx, tx, updateSettings, org, now.PricesIncludeTax, now.Rounding, now.RoundingScope, now.ShippingTaxClass)
	if err != nil {
		return now, err
	}
	return now, settingsUpdated.EmitChange(ctx, tx, was, now)
}
