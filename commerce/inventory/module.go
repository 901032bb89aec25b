package inventory

import (
	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/module"
)

var (
	read  = authz.Permission{Key: "inventory.read", Doc: "See stock, its locations and its movements.", From: authz.Member}
	write = authz.Permission{Key: "inventory.write", Doc: "Book, move and count stock, and manage its locations.", From: authz.Member}
)

// Feature is the stock of an organisation.
type Feature struct{}

// New returns the feature.
func New() *Feature { return &Feature{} }

// Module is the feature's table of contents.
func (f *Feature) Module() module.Module {
	return module.Module{
		Name:        "inventory",
		Doc:         "What is in stock, where, what of it is promised to orders, and how it came to be so.",
		Permissions: []authz.Permission{read, write},
		Operations:  f.operations,
		Events: api.Events(Moved.Type, Low.Type, Shortfall.Type,
			LocationCreated.Type, LocationUpdated.Type, LocationDeleted.Type),
		Jobs: f.jobs(),
	}
}

func (f *Feature) operations(r *api.Router) {
	locationOperations(r)
	api.Read(r, api.Op{
		ID: "list-stock-levels", Route: "GET /stock-levels", Can: read,
		Summary: "List stock levels", Doc: "How much of each variant is at each location. All filters that are given must hold.",
	}, listLevels)
	api.Write(r, api.Op{
		ID: "update-stock-level", Route: "PATCH /stock-levels/{variant_id}/{stock_location_id}", Can: write,
		Emits: api.Events(Low.Type), Errors: []string{"409 backorder_limit_in_use"},
		Summary: "Set the limits of a stock level",
		Doc:     "How much may be promised beyond what is there, and when to warn. The level is made if there is none. What is there changes by movements, transfers and counts.",
	}, updateLevel)
	api.Read(r, api.Op{
		ID: "list-stock-movements", Route: "GET /stock-movements", Can: read,
		Summary: "List stock movements", Doc: "The ledger, newest first. All filters that are given must hold.",
	}, listMovements)
	api.Write(r, api.Op{
		ID: "create-stock-movement", Route: "POST /stock-movements", Can: write,
		Emits: api.Events(Moved.Type, Low.Type, LocationCreated.Type), Errors: []string{"409 stock_not_negative", "409 insufficient_stock"},
		Summary: "Book stock in or out",
		Doc: "Goods that came, went, or are to be booked otherwise; at the default location unless one is named. What is promised to orders cannot be " +
			"booked out: insufficient_stock says what can. If it is gone, count it.",
	}, createMovement)
	api.Write(r, api.Op{
		ID: "transfer-stock", Route: "POST /stock-transfers", Can: write,
		Emits: api.Events(Moved.Type, Low.Type), Errors: []string{"409 stock_not_negative", "409 insufficient_stock"},
		Summary: "Move stock to another location", Doc: "One movement out of a location and one into another. What is promised there stays.",
	}, transfer)
	api.Write(r, api.Op{
		ID: "count-stock", Route: "POST /stock-counts", Can: write,
		Emits:   api.Events(Moved.Type, Low.Type, Shortfall.Type),
		Summary: "Count stock",
		Doc: "Sets what is there to what was found, by a movement of the difference. If that is less than what is promised to orders, the gap becomes the " +
			"level's shortfall and stock.shortfall tells of it; the orders stay as they are.",
	}, count)
}

func locationOperations(r *api.Router) {
	api.Read(r, api.Op{
		ID: "list-stock-locations", Route: "GET /stock-locations", Can: read,
		Summary: "List stock locations", Doc: "The default one first, then in the order in which orders take from them.",
	}, listLocations)
	api.Write(r, api.Op{
		ID: "create-stock-location", Route: "POST /stock-locations", Can: write,
		Emits: api.Events(LocationCreated.Type, LocationUpdated.Type), Errors: []string{"409 stock_location_code_taken", "409 stock_location_default_active", "409 stock_locations_full"},
		Summary: "Create a stock location", Doc: "The first one is the default; a later one that is to be it takes that from the one before. There are 200 at most.",
	}, createLocation)
	api.Read(r, api.Op{
		ID: "get-stock-location", Route: "GET /stock-locations/{stock_location_id}", Can: read,
		Summary: "Get a stock location", Doc: "One location.",
	}, getLocation)
	api.Write(r, api.Op{
		ID: "update-stock-location", Route: "PATCH /stock-locations/{stock_location_id}", Can: write,
		Emits:   api.Events(LocationUpdated.Type),
		Errors:  []string{"409 stock_location_code_taken", "409 stock_location_default_active", "409 stock_location_default_required"},
		Summary: "Change a stock location",
		Doc:     "Sets the fields that the body names. Another one is made the default by saying so of it; the default stays active.",
	}, updateLocation)
	api.Write(r, api.Op{
		ID: "delete-stock-location", Route: "DELETE /stock-locations/{stock_location_id}", Can: write,
		Emits:   api.Events(LocationDeleted.Type),
		Errors:  []string{"409 stock_level_location_in_use", "409 fulfilment_location_unknown", "409 stock_location_default_required"},
		Summary: "Delete a stock location",
		Doc:     "Only one that never held stock, and not the default. Others are made inactive: the ledger names them.",
	}, deleteLocation)
}
