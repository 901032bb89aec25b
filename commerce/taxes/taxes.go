// Package taxes is which taxes an organisation takes, where and on what, and how
// it rounds them. It reckons nothing: a cart's price does.
package taxes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/module"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Manage is the right to see and change taxes.
var Manage = authz.Permission{Key: "taxes.manage", Doc: "See and change tax rates and how taxes are reckoned.", From: authz.Admin}

// Feature is the feature of taxes. It keeps nothing of its own.
type Feature struct{}

// New returns the feature.
func New() *Feature { return &Feature{} }

// Module is what the feature contributes.
func (f *Feature) Module() module.Module {
	return module.Module{
		Name:        "taxes",
		Doc:         "Which taxes there are, where and on what, and how they are rounded.",
		Permissions: []authz.Permission{Manage},
		Operations:  f.operations,
		Events:      api.Events(rateCreated.Type, rateUpdated.Type, rateDeleted.Type, settingsUpdated.Type),
	}
}

func (f *Feature) operations(r *api.Router) {
	api.Read(r, api.Op{
		ID: "list-tax-rates", Route: "GET /tax-rates", Can: Manage, Summary: "List tax rates",
		Doc: "Newest first.",
	}, f.list)
	api.Write(r, api.Op{
		ID: "create-tax-rate", Route: "POST /tax-rates", Can: Manage, Summary: "Create a tax rate",
		Doc: "It applies to what is sent to the country, and to the state and the postal codes if they are given. Of rates with the same name and class " +
			"the most specific one applies: by the longest beginning of the postal code, then by state. Rates with different names add up.",
		Emits: api.Events(rateCreated.Type), Errors: []string{"409 tax_rate_taken"},
	}, f.create)
	api.Read(r, api.Op{
		ID: "get-tax-rate", Route: "GET /tax-rates/{tax_rate_id}", Can: Manage, Summary: "Get a tax rate",
		Doc: "One rate.",
	}, f.get)
	api.Write(r, api.Op{
		ID: "update-tax-rate", Route: "PATCH /tax-rates/{tax_rate_id}", Can: Manage, Summary: "Change a tax rate",
		Doc:   "Sets the fields that the body names. Orders keep the rates with which they were placed.",
		Emits: api.Events(rateUpdated.Type), Errors: []string{"409 tax_rate_taken"},
	}, f.patch)
	api.Write(r, api.Op{
		ID: "delete-tax-rate", Route: "DELETE /tax-rates/{tax_rate_id}", Can: Manage, Summary: "Delete a tax rate",
		Doc:   "Orders keep the rates with which they were placed.",
		Emits: api.Events(rateDeleted.Type),
	}, f.remove)
	api.Read(r, api.Op{
		ID: "get-tax-settings", Route: "GET /tax-settings", Can: Manage, Summary: "Get the tax settings",
		Doc: "How the organisation reckons taxes.",
	}, f.settings)
	api.Write(r, api.Op{
		ID: "replace-tax-settings", Route: "PUT /tax-settings", Can: Manage, Summary: "Set the tax settings",
		Doc:   "Fields that are left out get the value that they have in a new organisation.",
		Emits: api.Events(settingsUpdated.Type),
	}, f.replaceSettings)
}

// Percent is a rate in parts per million, in JSON as per cent: "19" or "8.875".
type Percent int

// maxPercent is 500 per cent.
const maxPercent = 5_000_000

var percentForm = regexp.MustCompile(`^(0|[1-9][0-9]{0,2})(\.[0-9]{1,4})?$`)

// String gives it in per cent, without zeros that say nothing.
func (p Percent) String() string {
	whole, rest := int(p)/10_000, int(p)%10_000
	if rest == 0 {
		return strconv.Itoa(whole)
	}
	return strings.TrimRight(fmt.Sprintf("%d.%04d", whole, rest), "0")
}

// MarshalJSON implements json.Marshaler.
func (p Percent) MarshalJSON() ([]byte, error) { return json.Marshal(p.String()) }

// UnmarshalJSON implements json.Unmarshaler.
func (p *Percent) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	if !percentForm.MatchString(s) {
		return errors.New("is a rate in per cent, such as 19 or 8.875")
	}
	whole, rest, _ := strings.Cut(s, ".")
	n, err := strconv.Atoi(whole + (rest + "0000")[:4])
	*p = Percent(n)
	return err
}

// Schema describes it.
func (Percent) Schema(huma.Registry) *huma.Schema {
	most := 8
	s := &huma.Schema{Type: huma.TypeString, MaxLength: &most, Pattern: percentForm.String(), Examples: []any{"8.875"}, Description: "In per cent, with up to four digits behind the point; 500 at most."}
	s.PrecomputeMessages()
	return s
}

// Rate is one tax.
type Rate struct {
	ID               id.ID     `db:"id" json:"id"`
	Name             string    `db:"name" json:"name" minLength:"1" maxLength:"100" example:"VAT" doc:"As buyers see it."`
	Country          string    `db:"country" json:"country" minLength:"2" maxLength:"2" pattern:"^[A-Z]{2}$" example:"DE" doc:"ISO 3166-1 alpha-2 code of where it is sent."`
	State            string    `db:"state" json:"state" maxLength:"100" example:"" doc:"ISO 3166-2 code without the country; empty for all of it."`
	PostalCodePrefix string    `db:"postal_code_prefix" json:"postal_code_prefix" maxLength:"20" pattern:"^[A-Z0-9]*$" example:"" doc:"How the postal code begins, without blanks; empty for any."`
	TaxClass         string    `db:"tax_class" json:"tax_class" minLength:"1" maxLength:"50" example:"standard" doc:"On products of this class."`
	Rate             Percent   `db:"rate_ppm" json:"rate"`
	Version          int64     `db:"version" json:"version" minimum:"1" maximum:"9007199254740991" example:"1" doc:"Counts the changes; also its ETag."`
	CreatedAt        time.Time `db:"created_at" json:"created_at"`
	UpdatedAt        time.Time `db:"updated_at" json:"updated_at"`
}

// RowVersion implements api.Versioned.
func (r Rate) RowVersion() int64 { return r.Version }

// Location implements api.Located.
func (r Rate) Location() string { return "/v1/tax-rates/" + r.ID.String() }

// EventSubject implements event.Subjected.
func (r Rate) EventSubject() event.Subject { return event.Subject{ID: r.ID} }

// Settings is how an organisation reckons taxes.
type Settings struct {
	PricesIncludeTax bool   `db:"prices_include_tax" json:"prices_include_tax" doc:"Whether prices contain the tax."`
	Rounding         string `db:"rounding" json:"rounding" enum:"half_up,half_even" doc:"What becomes of half a cent."`
	RoundingScope    string `db:"rounding_scope" json:"rounding_scope" enum:"unit,line,order" doc:"Of what the tax is rounded: of one piece, of a line, or of all that is taxed alike."`
	ShippingTaxClass string `db:"shipping_tax_class" json:"shipping_tax_class" maxLength:"50" example:"standard" doc:"The class of shipping whose method names none; empty: it is not taxed."`
	Version          int64  `db:"version" json:"version" minimum:"0" maximum:"9007199254740991" example:"1" doc:"Counts the changes; also the ETag."`
}

// RowVersion implements api.Versioned.
func (s Settings) RowVersion() int64 { return s.Version }

// EventSubject names nothing: the organisation has one of it.
func (s Settings) EventSubject() event.Subject { return event.Subject{} }

var (
	rateCreated     = event.DefineInternal[Rate]("tax_rate.created", "A tax rate was added.")
	rateUpdated     = event.DefineInternal[Rate]("tax_rate.updated", "A tax rate changed.")
	rateDeleted     = event.DefineInternal[Rate]("tax_rate.deleted", "A tax rate was deleted; data holds it for the last time.")
	settingsUpdated = event.DefineInternal[Settings]("tax_settings.updated", "How taxes are reckoned changed.")
)

// selectApplying gives the settings and the rates that apply in a region, in one
// row. Row-level security confines it to the organisation.
const selectApplying = `select coalesce(s.prices_include_tax, false) as inclusive, coalesce(s.rounding = 'half_even', false) as half_even,
		coalesce(s.rounding_scope, 'line') as scope, coalesce(s.shipping_tax_class, 'standard') as shipping_class, r.rates
	from (select jsonb_agg(jsonb_build_object('class', x.tax_class, 'name', x.name, 'ppm', x.rate_ppm) order by x.tax_class, x.name) as rates
		from (select distinct on (t.tax_class, t.name) t.tax_class, t.name, t.rate_ppm from tax_rates t
			where t.country = $1 and t.state in ('', $2) and starts_with($3, t.postal_code_prefix)
			order by t.tax_class, t.name, length(t.postal_code_prefix) desc, t.state desc) x) r
	left join tax_settings s on true`

// Rates returns the taxes on each class of what is sent to the address, and how
// they are reckoned. Without an address there are none.
func (f *Feature) Rates(ctx context.Context, q tenant.Querier, to *commerce.Address) (map[string][]commerce.TaxRate, commerce.TaxSettings, error) {
	var at commerce.Region
	if to != nil {
		at = to.Region()
	}
	type applying struct {
		Inclusive     bool   `db:"inclusive"`
		HalfEven      bool   `db:"half_even"`
		Scope         string `db:"scope"`
		ShippingClass string `db:"shipping_class"`
		Rates         []struct {
			Class string
			Name  string
			PPM   int64
		} `db:"rates"`
	}
	a, err := tenant.One[applying](ctx, q, selectApplying, at.Country, at.State, at.PostalCode)
	if err != nil {
		return nil, commerce.TaxSettings{}, err
	}
	rates := map[string][]commerce.TaxRate{}
	for _, r := range a.Rates {
		rates[r.Class] = append(rates[r.Class], commerce.TaxRate{Name: r.Name, PPM: r.PPM})
	}
	return rates, commerce.TaxSettings{Inclusive: a.Inclusive, HalfEven: a.HalfEven, Scope: a.Scope, ShippingClass: a.ShippingClass}, nil
}
