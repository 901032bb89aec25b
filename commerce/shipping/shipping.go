// Package shipping is where an organisation sends parcels, how, and for how
// much. A zone is a part of the world; the most specific one that holds an
// address counts, and its methods are what the buyer can choose from.
package shipping

import (
	"context"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/money"
	"github.com/guildhall-dev/guildhall/module"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Manage is the right to see and change zones and methods.
var Manage = authz.Permission{Key: "shipping.manage", Doc: "See and change shipping zones and methods.", From: authz.Admin}

// Feature is the feature of shipping. It keeps nothing of its own.
type Feature struct{}

// New returns the feature.
func New() *Feature { return &Feature{} }

// Module is what the feature contributes.
func (f *Feature) Module() module.Module {
	return module.Module{
		Name:        "shipping",
		Doc:         "Where parcels are sent, how, and for how much.",
		Permissions: []authz.Permission{Manage},
		Operations:  f.operations,
		Events: api.Events(zoneCreated.Type, zoneUpdated.Type, zoneDeleted.Type,
			methodCreated.Type, methodUpdated.Type, methodDeleted.Type),
	}
}

func (f *Feature) operations(r *api.Router) {
	api.Read(r, api.Op{
		ID: "list-shipping-zones", Route: "GET /shipping-zones", Can: Manage, Summary: "List shipping zones",
		Doc: "By name.",
	}, f.listZones)
	api.Write(r, api.Op{
		ID: "create-shipping-zone", Route: "POST /shipping-zones", Can: Manage, Summary: "Create a shipping zone",
		Doc: "A list that is empty or left out is no limit. Of the zones that hold an address one counts: one with countries before one for all the world, " +
			"then the one with the longest beginning of its postal code, then one with states, then the oldest.",
		Emits: api.Events(zoneCreated.Type), Errors: []string{"409 shipping_zone_name_taken", "409 shipping_zones_full"},
	}, f.createZone)
	api.Read(r, api.Op{
		ID: "get-shipping-zone", Route: "GET /shipping-zones/{shipping_zone_id}", Can: Manage, Summary: "Get a shipping zone",
		Doc: "One zone.",
	}, f.getZone)
	api.Write(r, api.Op{
		ID: "update-shipping-zone", Route: "PATCH /shipping-zones/{shipping_zone_id}", Can: Manage, Summary: "Change a shipping zone",
		Doc:   "Sets the fields that the body names.",
		Emits: api.Events(zoneUpdated.Type), Errors: []string{"409 shipping_zone_name_taken"},
	}, f.patchZone)
	api.Write(r, api.Op{
		ID: "delete-shipping-zone", Route: "DELETE /shipping-zones/{shipping_zone_id}", Can: Manage, Summary: "Delete a shipping zone",
		Doc:   "Its methods go with it. Orders keep what they were placed with.",
		Emits: api.Events(zoneDeleted.Type),
	}, f.deleteZone)
	api.Read(r, api.Op{
		ID: "list-shipping-methods", Route: "GET /shipping-zones/{shipping_zone_id}/methods", Can: Manage, Summary: "List the methods of a shipping zone",
		Doc: "In the order in which buyers see them.",
	}, f.listMethods)
	api.Write(r, api.Op{
		ID: "create-shipping-method", Route: "POST /shipping-zones/{shipping_zone_id}/methods", Can: Manage, Summary: "Create a shipping method",
		Doc: "flat takes amount; by_weight and by_price take the amount of the first of bands that reaches as far as the weight in grams, or the subtotal. " +
			"What no band reaches is not sent this way. All amounts are in minor units of currency.",
		Emits: api.Events(methodCreated.Type), Errors: []string{"409 shipping_methods_full"},
	}, f.createMethod)
	api.Read(r, api.Op{
		ID: "get-shipping-method", Route: "GET /shipping-methods/{shipping_method_id}", Can: Manage, Summary: "Get a shipping method",
		Doc: "One method.",
	}, f.getMethod)
	api.Write(r, api.Op{
		ID: "update-shipping-method", Route: "PATCH /shipping-methods/{shipping_method_id}", Can: Manage, Summary: "Change a shipping method",
		Doc:   "Sets the fields that the body names. Orders keep what they were placed with.",
		Emits: api.Events(methodUpdated.Type),
	}, f.patchMethod)
	api.Write(r, api.Op{
		ID: "delete-shipping-method", Route: "DELETE /shipping-methods/{shipping_method_id}", Can: Manage, Summary: "Delete a shipping method",
		Doc:   "Orders keep what they were placed with.",
		Emits: api.Events(methodDeleted.Type),
	}, f.deleteMethod)
}

// Zone is a part of the world.
type Zone struct {
	ID                 id.ID     `db:"id" json:"id"`
	Name               string    `db:"name" json:"name" minLength:"1" maxLength:"200" example:"Germany" doc:"Unique in the organisation."`
	Countries          []string  `db:"countries" json:"countries" nullable:"false" maxItems:"250" maxLength:"2" pattern:"^[A-Z]{2}$" example:"[\"DE\"]" doc:"ISO 3166-1 alpha-2 codes; empty: all."`
	States             []string  `db:"states" json:"states" nullable:"false" maxItems:"200" maxLength:"100" example:"[]" doc:"ISO 3166-2 codes without the country; empty: all."`
	PostalCodePrefixes []string  `db:"postal_code_prefixes" json:"postal_code_prefixes" nullable:"false" maxItems:"500" maxLength:"20" example:"[]" doc:"How postal codes begin, without blanks; empty: any."`
	Version            int64     `db:"version" json:"version" minimum:"1" maximum:"9007199254740991" example:"1" doc:"Counts the changes; also its ETag."`
	CreatedAt          time.Time `db:"created_at" json:"created_at"`
	UpdatedAt          time.Time `db:"updated_at" json:"updated_at"`
}

// RowVersion implements api.Versioned.
func (z Zone) RowVersion() int64 { return z.Version }

// Location implements api.Located.
func (z Zone) Location() string { return "/v1/shipping-zones/" + z.ID.String() }

// EventSubject implements event.Subjected.
func (z Zone) EventSubject() event.Subject { return event.Subject{ID: z.ID} }

// Method is a way to send something into a zone.
type Method struct {
	ID             id.ID     `db:"id" json:"id"`
	ZoneID         id.ID     `db:"zone_id" json:"zone_id"`
	Name           string    `db:"name" json:"name" minLength:"1" maxLength:"200" example:"Standard" doc:"As buyers see it."`
	Kind           string    `db:"kind" json:"kind" enum:"flat,by_weight,by_price"`
	Currency       string    `db:"currency" json:"currency" maxLength:"3" pattern:"^[A-Z]{3}$" example:"EUR" doc:"ISO 4217 code. It is offered to carts in this currency."`
	Amount         int64     `db:"amount" json:"amount" minimum:"0" maximum:"1000000000000" example:"490" doc:"The price of flat, in minor units."`
	Bands          []Band    `db:"bands" json:"bands" nullable:"false" maxItems:"50" doc:"The prices of by_weight and by_price, from the least on."`
	FreeFrom       *int64    `db:"free_from" json:"free_from" nullable:"true" minimum:"0" maximum:"9007199254740991" doc:"It costs nothing from this subtotal on."`
	MinSubtotal    *int64    `db:"min_subtotal" json:"min_subtotal" nullable:"true" minimum:"0" maximum:"9007199254740991" doc:"It is offered from this subtotal on."`
	MaxSubtotal    *int64    `db:"max_subtotal" json:"max_subtotal" nullable:"true" minimum:"0" maximum:"9007199254740991" doc:"It is offered up to this subtotal."`
	MinWeightGrams *int      `db:"min_weight_grams" json:"min_weight_grams" nullable:"true" minimum:"0" maximum:"2147483647" doc:"It is offered from this weight on."`
	MaxWeightGrams *int      `db:"max_weight_grams" json:"max_weight_grams" nullable:"true" minimum:"0" maximum:"2147483647" doc:"It is offered up to this weight."`
	TaxClass       string    `db:"tax_class" json:"tax_class" maxLength:"50" example:"" doc:"Empty: the one of the tax settings."`
	Position       int       `db:"position" json:"position" minimum:"0" maximum:"1000000" example:"0" doc:"Buyers see methods in this order."`
	Active         bool      `db:"active" json:"active" doc:"Whether it is offered."`
	Version        int64     `db:"version" json:"version" minimum:"1" maximum:"9007199254740991" example:"1" doc:"Counts the changes; also its ETag."`
	CreatedAt      time.Time `db:"created_at" json:"created_at"`
	UpdatedAt      time.Time `db:"updated_at" json:"updated_at"`
}

// Band is a price up to a weight or a subtotal.
type Band struct {
	UpTo   *int64 `json:"up_to" required:"false" nullable:"true" minimum:"0" maximum:"9007199254740991" example:"2000" doc:"Grams or minor units, this one included; null, in the last band, is without end."`
	Amount int64  `json:"amount" minimum:"0" maximum:"1000000000000" example:"490" doc:"In minor units."`
}

// RowVersion implements api.Versioned.
func (m Method) RowVersion() int64 { return m.Version }

// Location implements api.Located.
func (m Method) Location() string { return "/v1/shipping-methods/" + m.ID.String() }

// EventSubject implements event.Subjected.
func (m Method) EventSubject() event.Subject { return event.Subject{ID: m.ID} }

var (
	zoneCreated   = event.DefineInternal[Zone]("shipping_zone.created", "A shipping zone was added.")
	zoneUpdated   = event.DefineInternal[Zone]("shipping_zone.updated", "A shipping zone changed.")
	zoneDeleted   = event.DefineInternal[Zone]("shipping_zone.deleted", "A shipping zone was deleted with its methods; data holds it for the last time.")
	methodCreated = event.DefineInternal[Method]("shipping_method.created", "A shipping method was added.")
	methodUpdated = event.DefineInternal[Method]("shipping_method.updated", "A shipping method changed.")
	methodDeleted = event.DefineInternal[Method]("shipping_method.deleted", "A shipping method was deleted; data holds it for the last time.")
)

// The kinds of methods.
const (
	flat     = "flat"
	byWeight = "by_weight"
	byPrice  = "by_price"
)

// check says what does not go together in a method.
func (m Method) check() error {
	if !money.Known(m.Currency) {
		return fault.Invalidf("/currency", "no currency of ISO 4217")
	}
	if m.Kind == flat && len(m.Bands) > 0 {
		return fault.Invalidf("/bands", "flat has none")
	}
	if m.Kind != flat && len(m.Bands) == 0 {
		return fault.Invalidf("/bands", "%s needs at least one", m.Kind)
	}
	if m.Kind != flat && m.Amount != 0 {
		return fault.Invalidf("/amount", "%s has the amounts of its bands", m.Kind)
	}
	for i, b := range m.Bands {
		if b.UpTo == nil && i < len(m.Bands)-1 {
			return fault.Invalidf("/bands", "only the last one is without end")
		}
		if i > 0 && b.UpTo != nil && *b.UpTo <= *m.Bands[i-1].UpTo {
			return fault.Invalidf("/bands", "each reaches further than the one before")
		}
	}
	if m.MinSubtotal != nil && m.MaxSubtotal != nil && *m.MinSubtotal > *m.MaxSubtotal {
		return fault.Invalidf("/max_subtotal", "expected no less than min_subtotal")
	}
	if m.MinWeightGrams != nil && m.MaxWeightGrams != nil && *m.MinWeightGrams > *m.MaxWeightGrams {
		return fault.Invalidf("/max_weight_grams", "expected no less than min_weight_grams")
	}
	return nil
}

// price is what the method costs, and whether it is offered at all.
func (m Method) price(subtotal, grams int64) (amount int64, offered bool) {
	if m.MinSubtotal != nil && subtotal < *m.MinSubtotal || m.MaxSubtotal != nil && subtotal > *m.MaxSubtotal ||
		m.MinWeightGrams != nil && grams < int64(*m.MinWeightGrams) || m.MaxWeightGrams != nil && grams > int64(*m.MaxWeightGrams) {
		return 0, false
	}
	amount, offered = m.Amount, m.Kind == flat
	measure := subtotal
	if m.Kind == byWeight {
		measure = grams
	}
	for _, b := range m.Bands {
		if b.UpTo == nil || measure <= *b.UpTo {
			amount, offered = b.Amount, true
			break
		}
	}
	if m.FreeFrom != nil && subtotal >= *m.FreeFrom {
		amount = 0
	}
	return amount, offered
}

// selectOffered lists the methods in a currency of the zone that counts in a
// region. Row-level security confines it to the organisation.
const selectOffered = `select ` + methodCols + ` from shipping_methods m
	where m.active and m.currency = $4 and m.zone_id = (
		select z.id from shipping_zones z
		cross join lateral (select coalesce(max(length(p)), 0) as length from unnest(z.postal_code_prefixes) p where starts_with($3, p)) begins
		where ($1 = any(z.countries) or cardinality(z.countries) = 0) and ($2 = any(z.states) or cardinality(z.states) = 0)
		and (begins.length > 0 or cardinality(z.postal_code_prefixes) = 0)
		order by cardinality(z.countries) > 0 desc, begins.length desc, cardinality(z.states) > 0 desc, z.id limit 1)
	order by m.position, m.id`

// Options returns the ways to send the basket to its address, priced for what of
// it is sent, in the order in which the buyer sees them; none without an address.
func (f *Feature) Options(ctx context.Context, q tenant.Querier, b commerce.Basket) ([]commerce.ShippingOption, error) {
	out := []commerce.ShippingOption{}
	if b.ShippingAddress == nil {
		return out, nil
	}
	at := b.ShippingAddress.Region()
	methods, err := tenant.List[Method](ctx, q, selectOffered, at.Country, at.State, at.PostalCode, b.Currency)
	if err != nil {
		return nil, err
	}
	subtotal, grams := measures(b)
	for _, m := range methods {
		if amount, offered := m.price(subtotal, grams); offered {
			out = append(out, commerce.ShippingOption{ID: m.ID, Name: m.Name, Amount: amount, TaxClass: m.TaxClass})
		}
	}
	return out, nil
}

// measures are what a method goes by: what the lines cost before discounts, and
// what those weigh that are sent.
func measures(b commerce.Basket) (subtotal int64, grams int64) {
	for _, l := range b.Lines {
		if l.UnitPrice != nil {
			subtotal += *l.UnitPrice * int64(l.Quantity)
		}
		if l.RequiresShipping {
			grams += int64(l.WeightGrams) * int64(l.Quantity)
		}
	}
	return subtotal, grams
}
