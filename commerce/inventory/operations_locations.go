package inventory

import (
	"context"
	"errors"
	"reflect"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/line"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	locationCols = `s.id, s.code, s.name, s.address, s.priority, s.is_default, s.active, s.version, s.created_at, s.updated_at`

	selectLocation = `select ` + locationCols + ` from stock_locations s where s.tenant_id = $1 and s.id = $2`
	lockLocation   = selectLocation + ` for no key update`
	selectDefault  = `select ` + locationCols + ` from stock_locations s where s.tenant_id = $1 and s.is_default`
	lockDefault    = selectDefault + ` for no key update`

	listLocationRows = `select ` + locationCols + ` from stock_locations s
		where s.tenant_id = $1 and ($2::boolean is null or (not s.is_default, -s.priority, s.id) > (not $2, -$3::int, $4::uuid))
		order by not s.is_default, -s.priority, s.id limit $5 offset $6`

	countLocations = `select count(*) from stock_locations s where s.tenant_id = $1`

	// lockLocations is held by who makes a location or another one the default:
	// there is one default, and the first location is it.
	lockLocations = `select pg_advisory_xact_lock(hashtextextended('stock locations of ' || $1::uuid, 7301))`

	insertLocation = `insert into stock_locations as s (tenant_id, id, code, name, address, priority, is_default, active)
		values ($1, $2, $3, $4, $5, $6, $7, $8) returning ` + locationCols

	changeLocation = `update stock_locations s set code = $3, name = $4, address = $5, priority = $6, is_default = $7, active = $8,
		version = s.version + 1, updated_at = now() where s.tenant_id = $1 and s.id = $2 returning ` + locationCols

	removeLocation = `delete from stock_locations where tenant_id = $1 and id = $2`
)

// maxLocations bounds what one reservation has to choose from.
const maxLocations = 200

type locationPosition struct {
	Default  bool
	Priority int
	ID       id.ID
}

type listLocationsInput struct{ api.ListParams }

func listLocations(ctx context.Context, v tenant.View, in *listLocationsInput) (page.Page[Location], error) {
	var none page.Page[Location]
	var at locationPosition
	after, err := in.Position(ctx, &at)
	if err != nil {
		return none, err
	}
	var isDefault *bool
	if after {
		isDefault = &at.Default
	}
	var rows []Location
	var total int64
	org := v.Scope().Organization
	err = v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &rows, listLocationRows, org, isDefault, at.Priority, at.ID, in.Limit+1, in.Offset())
		if in.WantTotal() {
			tenant.QueueValue(b, &total, countLocations, org)
		}
	})
	if err != nil {
		return none, err
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(l Location) any { return locationPosition{l.IsDefault, l.Priority, l.ID} })
	if in.WantTotal() {
		out.Total = &total
	}
	return out, err
}

type locationPath struct {
	StockLocationID id.ID `path:"stock_location_id" ref:"stock_location" doc:"The location's id."`
}

func getLocation(ctx context.Context, v tenant.View, in *locationPath) (Location, error) {
	l, err := tenant.One[Location](ctx, v, selectLocation, v.Scope().Organization, in.StockLocationID)
	return l, tenant.NotFound(err, "stock location")
}

type createLocationInput struct {
	Body struct {
		Code      string            `json:"code" minLength:"1" maxLength:"50" pattern:"^[a-z0-9]+([_-][a-z0-9]+)*$" example:"berlin-1" doc:"Short name, unique in the organisation."`
		Name      string            `json:"name" minLength:"1" maxLength:"200" pattern:"\\S" example:"Warehouse Berlin"`
		Address   *commerce.Address `json:"address,omitempty"`
		Priority  int               `json:"priority,omitempty" minimum:"-1000000" maximum:"1000000" default:"0" doc:"Orders take from the default location first, then from the greatest priority."`
		IsDefault bool              `json:"is_default,omitempty" default:"false" doc:"Where stock goes that names no location."`
		Active    *bool             `json:"active,omitempty" default:"true" doc:"Orders take nothing from a location that is not."`
	}
}

func createLocation(ctx context.Context, tx *tenant.Tx, in *createLocationInput) (Location, error) {
	b := in.Body
	l := Location{ID: id.New(), Code: b.Code, Address: b.Address, Priority: b.Priority, IsDefault: b.IsDefault, Active: b.Active == nil || *b.Active}
	var err error
	if l.Name, err = line.Clean("/name", b.Name, 200); err != nil {
		return l, err
	}
	org := tx.Scope().Organization
	if _, err := tenant.Exec(ctx, tx, lockLocations, org); err != nil {
		return l, err
	}
	n, err := tenant.Value[int](ctx, tx, countLocations, org)
	if err != nil {
		return l, err
	}
	if n >= maxLocations {
		return l, fault.Conflictf("stock_locations_full", "There are %d locations at most.", maxLocations)
	}
	l.IsDefault = l.IsDefault || n == 0
	if l.IsDefault {
		if !l.Active {
			return l, errDefaultActive
		}
		if err := dethrone(ctx, tx); err != nil {
			return l, err
		}
	}
	return makeLocation(ctx, tx, l)
}

var (
	errDefaultActive   = fault.Conflictf("stock_location_default_active", "The default location is active. Make another one the default first.")
	errDefaultRequired = fault.Conflictf("stock_location_default_required", "There is always a default location. Make another one the default first.")
)

func makeLocation(ctx context.Context, tx *tenant.Tx, l Location) (Location, error) {
	l, err := tenant.One[Location](ctx, tx, insertLocation, tx.Scope().Organization, l.ID, l.Code, l.Name, l.Address, l.Priority, l.IsDefault, l.Active)
	if err != nil {
		return l, err
	}
	return l, LocationCreated.Emit(ctx, tx, l)
}

// dethrone takes the default from the location that has it.
func dethrone(ctx context.Context, tx *tenant.Tx) error {
	was, err := tenant.One[Location](ctx, tx, lockDefault, tx.Scope().Organization)
	if errors.Is(err, tenant.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	now := was
	now.IsDefault = false
	_, err = storeLocation(ctx, tx, was, now)
	return err
}

func storeLocation(ctx context.Context, tx *tenant.Tx, was, l Location) (Location, error) {
	l, err := tenant.One[Location](ctx, tx, changeLocation, tx.Scope().Organization, l.ID, l.Code, l.Name, l.Address, l.Priority, l.IsDefault, l.Active)
	if err != nil {
		return l, err
	}
	return l, LocationUpdated.EmitChange(ctx, tx, was, l)
}

// defaultLocation returns the default location, and makes it for the first stock.
func defaultLocation(ctx context.Context, tx *tenant.Tx) (id.ID, error) {
	org := tx.Scope().Organization
	for _, locked := range []bool{false, true} {
		if locked {
			if _, err := tenant.Exec(ctx, tx, lockLocations, org); err != nil {
				return id.Nil, err
			}
		}
		l, err := tenant.One[Location](ctx, tx, selectDefault, org)
		if !errors.Is(err, tenant.ErrNoRows) {
			return l.ID, err
		}
	}
	l, err := makeLocation(ctx, tx, Location{ID: id.New(), Code: "default", Name: "Default", IsDefault: true, Active: true})
	return l.ID, err
}

type updateLocationInput struct {
	StockLocationID id.ID       `path:"stock_location_id" ref:"stock_location" doc:"The location's id."`
	IfMatch         api.IfMatch `header:"If-Match"`
	Body            struct {
		Code      api.Optional[string]           `json:"code" required:"false" minLength:"1" maxLength:"50" pattern:"^[a-z0-9]+([_-][a-z0-9]+)*$" example:"berlin-1"`
		Name      api.Optional[string]           `json:"name" required:"false" minLength:"1" maxLength:"200" pattern:"\\S" example:"Warehouse Berlin"`
		Address   api.Optional[commerce.Address] `json:"address" required:"false"`
		Priority  api.Optional[int]              `json:"priority" required:"false" minimum:"-1000000" maximum:"1000000"`
		IsDefault api.Optional[bool]             `json:"is_default" required:"false" doc:"true takes it from the location that is the default."`
		Active    api.Optional[bool]             `json:"active" required:"false"`
	}
}

func updateLocation(ctx context.Context, tx *tenant.Tx, in *updateLocationInput) (Location, error) {
	b, org := in.Body, tx.Scope().Organization
	if b.IsDefault.Value {
		if _, err := tenant.Exec(ctx, tx, lockLocations, org); err != nil {
			return Location{}, err
		}
	}
	was, err := tenant.One[Location](ctx, tx, lockLocation, org, in.StockLocationID)
	if err != nil {
		return was, tenant.NotFound(err, "stock location")
	}
	if !in.IfMatch.Matches(was.Version) {
		return was, fault.StaleVersion(was)
	}
	now := was
	b.Code.Set(&now.Code)
	b.Name.Set(&now.Name)
	b.Address.SetPtr(&now.Address)
	b.Priority.Set(&now.Priority)
	b.IsDefault.Set(&now.IsDefault)
	b.Active.Set(&now.Active)
	if now.Name, err = line.Clean("/name", now.Name, 200); err != nil {
		return was, err
	}
	switch {
	case reflect.DeepEqual(was, now):
		return was, nil
	case was.IsDefault && !now.IsDefault:
		return was, errDefaultRequired
	case now.IsDefault && !now.Active:
		return was, errDefaultActive
	case now.IsDefault && !was.IsDefault:
		if err := dethrone(ctx, tx); err != nil {
			return was, err
		}
	}
	return storeLocation(ctx, tx, was, now)
}

type deleteLocationInput struct {
	StockLocationID id.ID       `path:"stock_location_id" ref:"stock_location" doc:"The location's id."`
	IfMatch         api.IfMatch `header:"If-Match"`
}

func deleteLocation(ctx context.Context, tx *tenant.Tx, in *deleteLocationInput) (api.None, error) {
	org := tx.Scope().Organization
	l, err := tenant.One[Location](ctx, tx, lockLocation, org, in.StockLocationID)
	if err != nil {
		return api.None{}, tenant.NotFound(err, "stock location")
	}
	if !in.IfMatch.Matches(l.Version) {
		return api.None{}, fault.StaleVersion(l)
	}
	if l.IsDefault {
		return api.None{}, errDefaultRequired
	}
	if _, err := tenant.Exec(ctx, tx, removeLocation, org, l.ID); err != nil {
		return api.None{}, err
	}
	return api.None{}, LocationDeleted.Emit(ctx, tx, l)
}
