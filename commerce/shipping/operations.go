package shipping

import (
	"context"
	"fmt"
	"reflect"
	"regexp"
	"slices"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/line"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

// What every look at a cart goes through is bounded.
const (
	maxZones   = 200
	maxMethods = 50
)

const (
	zoneCols = `id, name, countries, states, postal_code_prefixes, version, created_at, updated_at`

	// lockZones lets one at a time add zones.
	lockZones   = `select pg_advisory_xact_lock(hashtextextended('shipping_zones ' || $1::text, 7301))`
	selectZones = `select ` + zoneCols + ` from shipping_zones where tenant_id = $1 and ($2::text is null or (name, id) > ($2, $3::uuid)) order by name, id limit $4 offset $5`
	countZones  = `select count(*) from shipping_zones where tenant_id = $1`
	selectZone  = `select ` + zoneCols + ` from shipping_zones where tenant_id = $1 and id = $2`
	lockZone    = selectZone + ` for no key update`
	insertZone  = `insert into shipping_zones (tenant_id, id, name, countries, states, postal_code_prefixes) values ($1, $2, $3, $4, $5, $6) returning ` + zoneCols
	updateZone  = `update shipping_zones set name = $3, countries = $4, states = $5, postal_code_prefixes = $6, version = version + 1, updated_at = now()
		where tenant_id = $1 and id = $2 returning ` + zoneCols
	deleteZone = `delete from shipping_zones where tenant_id = $1 and id = $2`

	methodCols = `m.id, m.zone_id, m.name, m.kind, m.currency, m.amount, m.bands, m.free_from, m.min_subtotal, m.max_subtotal, m.min_weight_grams, m.max_weight_grams,
	m.tax_class, m.position, m.active, m.version, m.created_at, m.updated_at`

	selectMethods = `select ` + methodCols + ` from shipping_methods m where m.tenant_id = $1 and m.zone_id = $2
		and ($3::int is null or (m.position, m.id) > ($3, $4::uuid)) order by m.position, m.id limit $5 offset $6`
	countMethods = `select count(*) from shipping_methods m where m.tenant_id = $1 and m.zone_id = $2`
	selectMethod = `select ` + methodCols + ` from shipping_methods m where m.tenant_id = $1 and m.id = $2`
	lockMethod   = selectMethod + ` for no key update`
	insertMethod = `insert into shipping_methods as m (tenant_id, id, zone_id, name, kind, currency, amount, bands, free_from, min_subtotal, max_subtotal, min_weight_grams, max_weight_grams,
		tax_class, position, active) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) returning ` + methodCols
	updateMethod = `update shipping_methods m set name = $4, kind = $5, currency = $6, amount = $7, bands = $8, free_from = $9, min_subtotal = $10, max_subtotal = $11,
		min_weight_grams = $12, max_weight_grams = $13, tax_class = $14, position = $15, active = $16, version = m.version + 1, updated_at = now()
		where m.tenant_id = $1 and m.id = $2 and m.zone_id = $3 returning ` + methodCols
	deleteMethod = `delete from shipping_methods where tenant_id = $1 and id = $2`
)

type listZones struct{ api.ListParams }

type zonePosition struct {
	Name *string
	ID   *id.ID
}

func (f *Feature) listZones(ctx context.Context, v tenant.View, in *listZones) (page.Page[Zone], error) {
	none := page.Page[Zone]{}
	var last zonePosition
	if _, err := in.Position(ctx, &last); err != nil {
		return none, err
	}
	org := v.Scope().Organization
	var rows []Zone
	var total int64
	err := v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &rows, selectZones, org, last.Name, last.ID, in.Limit+1, in.Offset())
		if in.WantTotal() {
			tenant.QueueValue(b, &total, countZones, org)
		}
	})
	if err != nil {
		return none, err
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(z Zone) any { return zonePosition{&z.Name, &z.ID} })
	if in.WantTotal() {
		out.Total = &total
	}
	return out, err
}

type zonePath struct {
	ZoneID id.ID `path:"shipping_zone_id" ref:"shipping_zone" doc:"The shipping zone."`
}

func (f *Feature) getZone(ctx context.Context, v tenant.View, in *zonePath) (Zone, error) {
	z, err := tenant.One[Zone](ctx, v, selectZone, v.Scope().Organization, in.ZoneID)
	return z, tenant.NotFound(err, "shipping zone")
}

type createZone struct {
	Body struct {
		Name               string   `json:"name" minLength:"1" maxLength:"200" example:"Germany"`
		Countries          []string `json:"countries,omitempty" nullable:"false" maxItems:"250" maxLength:"2" pattern:"^[A-Z]{2}$" example:"[\"DE\"]" doc:"ISO 3166-1 alpha-2 codes; all if absent."`
		States             []string `json:"states,omitempty" nullable:"false" maxItems:"200" minLength:"1" maxLength:"100" example:"[\"BE\"]" doc:"ISO 3166-2 codes without the country; all if absent."`
		PostalCodePrefixes []string `json:"postal_code_prefixes,omitempty" nullable:"false" maxItems:"500" minLength:"1" maxLength:"20" example:"[\"10\"]" doc:"How postal codes begin; any if absent."`
	}
}

func (f *Feature) createZone(ctx context.Context, tx *tenant.Tx, in *createZone) (Zone, error) {
	b, org := in.Body, tx.Scope().Organization
	z, err := clean(Zone{ID: id.New(), Name: b.Name, Countries: b.Countries, States: b.States, PostalCodePrefixes: b.PostalCodePrefixes})
	if err != nil {
		return z, err
	}
	if _, err := tenant.Exec(ctx, tx, lockZones, org); err != nil {
		return z, err
	}
	n, err := tenant.Value[int64](ctx, tx, countZones, org)
	if err != nil {
		return z, err
	}
	if n >= maxZones {
		return z, fault.Conflictf("shipping_zones_full", "An organisation has at most %d shipping zones.", maxZones)
	}
	z, err = tenant.One[Zone](ctx, tx, insertZone, org, z.ID, z.Name, z.Countries, z.States, z.PostalCodePrefixes)
	if err != nil {
		return z, err
	}
	return z, zoneCreated.Emit(ctx, tx, z)
}

var prefixForm = regexp.MustCompile(`^[A-Z0-9]{1,20}$`)

// clean brings a zone into the spelling in which it is stored.
func clean(z Zone) (_ Zone, err error) {
	if z.Name, err = line.Clean("/name", z.Name, 200); err != nil {
		return z, err
	}
	z.Countries = distinct(z.Countries, func(s string) string { return s })
	z.States = distinct(z.States, commerce.StateKey)
	z.PostalCodePrefixes = distinct(z.PostalCodePrefixes, commerce.PostalKey)
	if slices.Contains(z.States, "") {
		return z, fault.Invalidf("/states", "expected something to see in each")
	}
	if i := slices.IndexFunc(z.PostalCodePrefixes, func(p string) bool { return !prefixForm.MatchString(p) }); i >= 0 {
		return z, fault.Invalidf(fmt.Sprintf("/postal_code_prefixes/%d", i), "expected letters from A to Z and digits")
	}
	return z, nil
}

// distinct is never nil.
func distinct(in []string, key func(string) string) []string {
	out := make([]string, 0, len(in))
	for _, s := range in {
		if s = key(s); !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

type patchZone struct {
	ZoneID  id.ID       `path:"shipping_zone_id" ref:"shipping_zone" doc:"The shipping zone."`
	IfMatch api.IfMatch `header:"If-Match"`
	Body    struct {
		Name               api.Optional[string]   `json:"name" required:"false" minLength:"1" maxLength:"200" example:"Germany"`
		Countries          api.Optional[[]string] `json:"countries" required:"false" maxItems:"250" maxLength:"2" pattern:"^[A-Z]{2}$" example:"[\"DE\"]" doc:"Empty: all."`
		States             api.Optional[[]string] `json:"states" required:"false" maxItems:"200" minLength:"1" maxLength:"100" example:"[\"BE\"]" doc:"Empty: all."`
		PostalCodePrefixes api.Optional[[]string] `json:"postal_code_prefixes" required:"false" maxItems:"500" minLength:"1" maxLength:"20" example:"[\"10\"]" doc:"Empty: any."`
	}
}

func (f *Feature) patchZone(ctx context.Context, tx *tenant.Tx, in *patchZone) (Zone, error) {
	was, err := heldZone(ctx, tx, in.ZoneID, in.IfMatch)
	if err != nil {
		return was, err
	}
	b, now := in.Body, was
	b.Name.Set(&now.Name)
	b.Countries.Set(&now.Countries)
	b.States.Set(&now.States)
	b.PostalCodePrefixes.Set(&now.PostalCodePrefixes)
	if now, err = clean(now); err != nil || reflect.DeepEqual(was, now) {
		return was, err
	}
	now, err = tenant.One[Zone](ctx, tx, updateZone, tx.Scope().Organization, now.ID, now.Name, now.Countries, now.States, now.PostalCodePrefixes)
	if err != nil {
		return now, err
	}
	return now, zoneUpdated.EmitChange(ctx, tx, was, now)
}

type deleteZoneInput struct {
	ZoneID  id.ID       `path:"shipping_zone_id" ref:"shipping_zone" doc:"The shipping zone."`
	IfMatch api.IfMatch `header:"If-Match"`
}

func (f *Feature) deleteZone(ctx context.Context, tx *tenant.Tx, in *deleteZoneInput) (api.None, error) {
	z, err := heldZone(ctx, tx, in.ZoneID, in.IfMatch)
	if err != nil {
		return api.None{}, err
	}
	if _, err := tenant.Exec(ctx, tx, deleteZone, tx.Scope().Organization, z.ID); err != nil {
		return api.None{}, err
	}
	return api.None{}, zoneDeleted.Emit(ctx, tx, z)
}

func heldZone(ctx context.Context, tx *tenant.Tx, zone id.ID, match api.IfMatch) (Zone, error) {
	return api.Locked[Zone](ctx, tx, "shipping zone", match, lockZone, tx.Scope().Organization, zone)
}

type listMethods struct {
	ZoneID id.ID `path:"shipping_zone_id" ref:"shipping_zone" doc:"The shipping zone."`
	api.ListParams
}

type methodPosition struct {
	Position *int
	ID       *id.ID
}

func (f *Feature) listMethods(ctx context.Context, v tenant.View, in *listMethods) (page.Page[Method], error) {
	none := page.Page[Method]{}
	var last methodPosition
	if _, err := in.Position(ctx, &last); err != nil {
		return none, err
	}
	org := v.Scope().Organization
	var zone Zone
	var rows []Method
	var total int64
	err := v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueOne(b, &zone, selectZone, org, in.ZoneID)
		tenant.QueueList(b, &rows, selectMethods, org, in.ZoneID, last.Position, last.ID, in.Limit+1, in.Offset())
		if in.WantTotal() {
			tenant.QueueValue(b, &total, countMethods, org, in.ZoneID)
		}
	})
	if err != nil {
		return none, tenant.NotFound(err, "shipping zone")
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(m Method) any { return methodPosition{&m.Position, &m.ID} })
	if in.WantTotal() {
		out.Total = &total
	}
	return out, err
}

type createMethod struct {
	ZoneID id.ID `path:"shipping_zone_id" ref:"shipping_zone" doc:"The shipping zone."`
	Body   struct {
		Name           string             `json:"name" minLength:"1" maxLength:"200" example:"Standard"`
		Kind           string             `json:"kind" enum:"flat,by_weight,by_price"`
		Currency       string             `json:"currency" maxLength:"3" pattern:"^[A-Z]{3}$" example:"EUR" doc:"ISO 4217 code. It is offered to carts in this currency."`
		Amount         int64              `json:"amount,omitempty" minimum:"0" maximum:"1000000000000" doc:"The price of flat; 0 if absent."`
		Bands          []Band             `json:"bands,omitempty" nullable:"false" maxItems:"50" example:"[]" doc:"The prices of by_weight and by_price, from the least on."`
		FreeFrom       *int64             `json:"free_from,omitempty" nullable:"true" minimum:"0" maximum:"9007199254740991" doc:"It costs nothing from this subtotal on."`
		MinSubtotal    *int64             `json:"min_subtotal,omitempty" nullable:"true" minimum:"0" maximum:"9007199254740991" doc:"It is offered from this subtotal on."`
		MaxSubtotal    *int64             `json:"max_subtotal,omitempty" nullable:"true" minimum:"0" maximum:"9007199254740991" doc:"It is offered up to this subtotal."`
		MinWeightGrams *int               `json:"min_weight_grams,omitempty" nullable:"true" minimum:"0" maximum:"2147483647" doc:"It is offered from this weight on."`
		MaxWeightGrams *int               `json:"max_weight_grams,omitempty" nullable:"true" minimum:"0" maximum:"2147483647" doc:"It is offered up to this weight."`
		TaxClass       string             `json:"tax_class,omitempty" maxLength:"50" doc:"The one of the tax settings if absent."`
		Position       int                `json:"position,omitempty" minimum:"0" maximum:"1000000" doc:"Buyers see methods in this order."`
		Active         api.Optional[bool] `json:"active" required:"false" doc:"true if absent."`
	}
}

func (f *Feature) createMethod(ctx context.Context, tx *tenant.Tx, in *createMethod) (Method, error) {
	b, org := in.Body, tx.Scope().Organization
	m := Method{ID: id.New(), ZoneID: in.ZoneID, Name: b.Name, Kind: b.Kind, Currency: b.Currency, Amount: b.Amount, Bands: b.Bands, FreeFrom: b.FreeFrom,
		MinSubtotal: b.MinSubtotal, MaxSubtotal: b.MaxSubtotal, MinWeightGrams: b.MinWeightGrams, MaxWeightGrams: b.MaxWeightGrams, TaxClass: b.TaxClass,
		Position: b.Position, Active: true}
	b.Active.Set(&m.Active)
	m, err := cleanMethod(m)
	if err != nil {
		return m, err
	}
	// Under the zone's lock nobody else adds a method to it.
	if _, err := heldZone(ctx, tx, in.ZoneID, api.IfMatch{}); err != nil {
		return m, err
	}
	n, err := tenant.Value[int64](ctx, tx, countMethods, org, in.ZoneID)
	if err != nil {
		return m, err
	}
	if n >= maxMethods {
		return m, fault.Conflictf("shipping_methods_full", "A shipping zone has at most %d methods.", maxMethods)
	}
	if m, err = tenant.One[Method](ctx, tx, insertMethod, methodArgs(tx, m)...); err != nil {
		return m, err
	}
	return m, methodCreated.Emit(ctx, tx, m)
}

func cleanMethod(m Method) (_ Method, err error) {
	if m.Name, err = line.Clean("/name", m.Name, 200); err != nil {
		return m, err
	}
	if m.TaxClass != "" {
		if m.TaxClass, err = line.Clean("/tax_class", m.TaxClass, 50); err != nil {
			return m, err
		}
	}
	if m.Bands == nil {
		m.Bands = []Band{}
	}
	return m, m.check()
}

func methodArgs(tx *tenant.Tx, m Method) []any {
	return []any{tx.Scope().Organization, m.ID, m.ZoneID, m.Name, m.Kind, m.Currency, m.Amount, m.Bands, m.FreeFrom, m.MinSubtotal, m.MaxSubtotal,
		m.MinWeightGrams, m.MaxWeightGrams, m.TaxClass, m.Position, m.Active}
}

type methodPath struct {
	MethodID id.ID `path:"shipping_method_id" ref:"shipping_method" doc:"The shipping method."`
}

func (f *Feature) getMethod(ctx context.Context, v tenant.View, in *methodPath) (Method, error) {
	m, err := tenant.One[Method](ctx, v, selectMethod, v.Scope().Organization, in.MethodID)
	return m, tenant.NotFound(err, "shipping method")
}

type patchMethod struct {
	MethodID id.ID       `path:"shipping_method_id" ref:"shipping_method" doc:"The shipping method."`
	IfMatch  api.IfMatch `header:"If-Match"`
	Body     struct {
		Name           api.Optional[string] `json:"name" required:"false" minLength:"1" maxLength:"200" example:"Standard"`
		Kind           api.Optional[string] `json:"kind" required:"false" enum:"flat,by_weight,by_price"`
		Currency       api.Optional[string] `json:"currency" required:"false" maxLength:"3" pattern:"^[A-Z]{3}$" example:"EUR"`
		Amount         api.Optional[int64]  `json:"amount" required:"false" minimum:"0" maximum:"1000000000000" example:"490"`
		Bands          api.Optional[[]Band] `json:"bands" required:"false" maxItems:"50" example:"[]"`
		FreeFrom       api.Optional[int64]  `json:"free_from" required:"false" nullable:"true" minimum:"0" maximum:"9007199254740991"`
		MinSubtotal    api.Optional[int64]  `json:"min_subtotal" required:"false" nullable:"true" minimum:"0" maximum:"9007199254740991"`
		MaxSubtotal    api.Optional[int64]  `json:"max_subtotal" required:"false" nullable:"true" minimum:"0" maximum:"9007199254740991"`
		MinWeightGrams api.Optional[int]    `json:"min_weight_grams" required:"false" nullable:"true" minimum:"0" maximum:"2147483647"`
		MaxWeightGrams api.Optional[int]    `json:"max_weight_grams" required:"false" nullable:"true" minimum:"0" maximum:"2147483647"`
		TaxClass       api.Optional[string] `json:"tax_class" required:"false" maxLength:"50" doc:"Empty: the one of the tax settings."`
		Position       api.Optional[int]    `json:"position" required:"false" minimum:"0" maximum:"1000000"`
		Active         api.Optional[bool]   `json:"active" required:"false"`
	}
}

func (f *Feature) patchMethod(ctx context.Context, tx *tenant.Tx, in *patchMethod) (Method, error) {
	was, err := heldMethod(ctx, tx, in.MethodID, in.IfMatch)
	if err != nil {
		return was, err
	}
	b, now := in.Body, was
	b.Name.Set(&now.Name)
	b.Kind.Set(&now.Kind)
	b.Currency.Set(&now.Currency)
	b.Amount.Set(&now.Amount)
	b.Bands.Set(&now.Bands)
	b.FreeFrom.SetPtr(&now.FreeFrom)
	b.MinSubtotal.SetPtr(&now.MinSubtotal)
	b.MaxSubtotal.SetPtr(&now.MaxSubtotal)
	b.MinWeightGrams.SetPtr(&now.MinWeightGrams)
	b.MaxWeightGrams.SetPtr(&now.MaxWeightGrams)
	b.TaxClass.Set(&now.TaxClass)
	b.Position.Set(&now.Position)
	b.Active.Set(&now.Active)
	if now, err = cleanMethod(now); err != nil || reflect.DeepEqual(was, now) {
		return was, err
	}
	if now, err = tenant.One[Method](ctx, tx, updateMethod, methodArgs(tx, now)...); err != nil {
		return now, err
	}
	return now, methodUpdated.EmitChange(ctx, tx, was, now)
}

type deleteMethodInput struct {
	MethodID id.ID       `path:"shipping_method_id" ref:"shipping_method" doc:"The shipping method."`
	IfMatch  api.IfMatch `header:"If-Match"`
}

func (f *Feature) deleteMethod(ctx context.Context, tx *tenant.Tx, in *deleteMethodInput) (api.None, error) {
	m, err := heldMethod(ctx, tx, in.MethodID, in.IfMatch)
	if err != nil {
		return api.None{}, err
	}
	if _, err := tenant.Exec(ctx, tx, deleteMethod, tx.Scope().Organization, m.ID); err != nil {
		return api.None{}, err
	}
	return api.None{}, methodDeleted.Emit(ctx, tx, m)
}

func heldMethod(ctx context.Context, tx *tenant.Tx, method id.ID, match api.IfMatch) (Method, error) {
	return api.Locked[Method](ctx, tx, "shipping method", match, lockMethod, tx.Scope().Organization, method)
}
