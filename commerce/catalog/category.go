package catalog

import (
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
)

// maxDepth is how many levels of categories there may be, the topmost included.
const maxDepth = 8

// Category is a place in the tree by which a shop is walked.
type Category struct {
	ID          id.ID     `db:"id" json:"id"`
	ParentID    *id.ID    `db:"parent_id" json:"parent_id" nullable:"true" doc:"The category above it; null at the top."`
	Slug        string    `db:"slug" json:"slug" maxLength:"100" pattern:"^[a-z0-9]+(-[a-z0-9]+)*$" example:"shirts" doc:"Its name in addresses; unique in the organisation."`
	Name        string    `db:"name" json:"name" minLength:"1" maxLength:"200" example:"Shirts"`
	Description string    `db:"description" json:"description" maxLength:"5000" doc:"Markdown."`
	ImageURL    *string   `db:"image_url" json:"image_url" nullable:"true" maxLength:"2048"`
	Position    int       `db:"position" json:"position" minimum:"0" maximum:"1000000" doc:"Orders it among those of the same parent; the older one first where it is the same."`
	Path        []string  `db:"path" json:"path" nullable:"false" maxItems:"8" maxLength:"100" example:"[\"clothes\",\"shirts\"]" doc:"The slugs from the top down to it; they move with the categories above, without a new version."`
	Version     int64     `db:"version" json:"version" minimum:"1" maximum:"9007199254740991" example:"1" doc:"Counts the changes; also its ETag."`
	CreatedAt   time.Time `db:"created_at" json:"created_at"`
	UpdatedAt   time.Time `db:"updated_at" json:"updated_at"`
}

// RowVersion implements api.Versioned.
func (c Category) RowVersion() int64 { return c.Version }

// Location implements api.Located.
func (c Category) Location() string { return "/v1/categories/" + c.ID.String() }

// EventSubject implements event.Subjected.
func (c Category) EventSubject() event.Subject { return event.Subject{ID: c.ID} }

// The events of a category.
var (
	CategoryCreated = event.Define[Category]("category.created", "A category was made.")
	CategoryUpdated = event.Define[Category]("category.updated", "A category changed or was moved. Those below it moved with it.")
	CategoryDeleted = event.Define[Category]("category.deleted", "A category was deleted.")
)

type categoryPath struct {
	CategoryID id.ID `path:"category_id" ref:"category" doc:"The category."`
}

type categoryMatch struct {
	CategoryID id.ID       `path:"category_id" ref:"category" doc:"The category."`
	IfMatch    api.IfMatch `header:"If-Match"`
}

type listCategories struct {
	api.ListParams
	ParentID string `query:"parent_id" ref:"category" maxLength:"36" pattern:"^(none|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$" doc:"Only those right below this one, or none for those at the top."`
}

type createCategory struct {
	Body struct {
		Name        string  `json:"name" minLength:"1" maxLength:"200" example:"Shirts"`
		Slug        string  `json:"slug,omitempty" minLength:"1" maxLength:"100" pattern:"^[a-z0-9]+(-[a-z0-9]+)*$" doc:"Made from the name if absent."`
		ParentID    *id.ID  `json:"parent_id,omitempty" nullable:"true" ref:"category" doc:"The category above it; at the top if absent."`
		Description string  `json:"description,omitempty" maxLength:"5000" doc:"Markdown."`
		ImageURL    *string `json:"image_url,omitempty" nullable:"true" maxLength:"2048"`
		Position    int     `json:"position,omitempty" minimum:"0" maximum:"1000000"`
	}
}

type patchCategory struct {
	CategoryID id.ID       `path:"category_id" ref:"category" doc:"The category."`
	IfMatch    api.IfMatch `header:"If-Match"`
	Body       struct {
		Name        api.Optional[string] `json:"name" required:"false" minLength:"1" maxLength:"200"`
		Slug        api.Optional[string] `json:"slug" required:"false" minLength:"1" maxLength:"100" pattern:"^[a-z0-9]+(-[a-z0-9]+)*$"`
		ParentID    api.Optional[id.ID]  `json:"parent_id" required:"false" nullable:"true" ref:"category" doc:"Moves it below another one with all that is below it; null moves it to the top."`
		Description api.Optional[string] `json:"description" required:"false" maxLength:"5000" doc:"Markdown."`
		ImageURL    api.Optional[string] `json:"image_url" required:"false" nullable:"true" maxLength:"2048"`
		Position    api.Optional[int]    `json:"position" required:"false" minimum:"0" maximum:"1000000"`
	}
}
