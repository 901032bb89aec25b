package inventory

import (
	"time"

	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
)

// Location is where goods lie.
type Location struct {
	ID        id.ID             `db:"id" json:"id"`
	Code      string            `db:"code" json:"code" minLength:"1" maxLength:"50" pattern:"^[a-z0-9]+([_-][a-z0-9]+)*$" example:"berlin-1" doc:"Short name, unique in the organisation."`
	Name      string            `db:"name" json:"name" minLength:"1" maxLength:"200" example:"Warehouse Berlin"`
	Address   *commerce.Address `db:"address" json:"address" doc:"Null where none is known."`
	Priority  int               `db:"priority" json:"priority" minimum:"-1000000" maximum:"1000000" example:"0" doc:"Orders take from the default location first, then from the greatest priority."`
	IsDefault bool              `db:"is_default" json:"is_default" doc:"Where stock goes that names no location; there is one."`
	Active    bool              `db:"active" json:"active" doc:"Orders take nothing from a location that is not."`
	Version   int64             `db:"version" json:"version" minimum:"1" maximum:"9007199254740991" example:"1" doc:"Counts the changes; also its ETag."`
	CreatedAt time.Time         `db:"created_at" json:"created_at"`
	UpdatedAt time.Time         `db:"updated_at" json:"updated_at"`
}

// RowVersion implements api.Versioned.
func (l Location) RowVersion() int64 { return l.Version }

// Location implements api.Located.
func (l Location) Location() string { return "/v1/stock-locations/" + l.ID.String() }

// EventSubject implements event.Subjected.
func (l Location) EventSubject() event.Subject { return event.Subject{ID: l.ID} }

// The events of a location.
var (
	LocationCreated = event.Define[Location]("stock_location.created", "A location for stock was made.")
	LocationUpdated = event.Define[Location]("stock_location.updated", "A location for stock changed.")
	LocationDeleted = event.Define[Location]("stock_location.deleted", "A location that was never used was deleted; data holds it for the last time.")
)
