package catalog

import (
	"cmp"
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/line"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Collection is a choice of products by a rule: what matches is in it, from the
// moment that it does.
type Collection struct {
	ID          id.ID     `db:"id" json:"id"`
	Slug        string    `db:"slug" json:"slug" maxLength:"100" pattern:"^[a-z0-9]+(-[a-z0-9]+)*$" example:"summer-sale" doc:"Its name in addresses; unique in the organisation."`
	Name        string    `db:"name" json:"name" minLength:"1" maxLength:"200" example:"Summer sale"`
	Description string    `db:"description" json:"description" maxLength:"5000" doc:"Markdown."`
	ImageURL    *string   `db:"image_url" json:"image_url" nullable:"true" maxLength:"2048"`
	Rule        Filter    `db:"rule" json:"rule" doc:"What must hold of a product; everything is in a collection without any."`
	Sort        string    `db:"sort" json:"sort" enum:"name,-name,price,-price,created_at,-created_at" example:"name" doc:"In which order a shop shows it."`
	Version     int64     `db:"version" json:"version" minimum:"1" maximum:"9007199254740991" example:"1" doc:"Counts the changes; also its ETag."`
	CreatedAt   time.Time `db:"created_at" json:"created_at"`
	UpdatedAt   time.Time `db:"updated_at" json:"updated_at"`
}

// RowVersion implements api.Versioned.
func (c Collection) RowVersion() int64 { return c.Version }

// Location implements api.Located.
func (c Collection) Location() string { return "/v1/collections/" + c.ID.String() }

// EventSubject implements event.Subjected.
func (c Collection) EventSubject() event.Subject { return event.Subject{ID: c.ID} }

// The events of a collection. That its products come and go is no event of it.
var (
	CollectionCreated = event.Define[Collection]("collection.created", "A collection was made.")
	CollectionUpdated = event.Define[Collection]("collection.updated", "A collection or its rule changed.")
	CollectionDeleted = event.Define[Collection]("collection.deleted", "A collection was deleted; its products stay.")
)

const (
	collectionCols = `id, slug, name, description, image_url, rule, sort, version, created_at, updated_at`

	listCollections = `select ` + collectionCols + ` from collections
	where tenant_id = $1 and ($2::text is null or (lower(name), id) > ($2, $3::uuid)) order by lower(name), id limit $4 offset $5`
	countCollections = `select count(*) from collections where tenant_id = $1`
	selectCollection = `select ` + collectionCols + ` from collections where tenant_id = $1 and id = $2`
	selectShelf      = `select ` + collectionCols + ` from collections where tenant_id = $1 and slug = $2`
	lockCollection   = selectCollection + ` for no key update`
	insertCollection = `insert into collections (tenant_id, id, slug, name, description, image_url, rule, sort)
select $1::uuid, $2::uuid, s.slug, $4::text, $5::text, $6::text, $7::jsonb, $8::text
from (select s.slug from unnest($3::text[]) with ordinality as s (slug, n)
	where not exists (select from collections x where x.tenant_id = $1 and x.slug = s.slug) order by s.n limit 1) s
on conflict on constraint collection_slug_taken do nothing
returning ` + collectionCols
	updateCollection = `update collections set slug = $3, name = $4, description = $5, image_url = $6, rule = $7, sort = $8, version = version + 1, updated_at = now()
	where tenant_id = $1 and id = $2 returning ` + collectionCols
	deleteCollection = `delete from collections where tenant_id = $1 and id = $2`
)

type listCollectionsInput struct{ api.ListParams }

// namePlace is a place in a list that goes by names.
type namePlace struct {
	Name *string `json:"n"`
	ID   *id.ID  `json:"i"`
}

func (f *Feature) listCollections(ctx context.Context, v tenant.View, in *listCollectionsInput) (page.Page[Collection], error) {
	var none page.Page[Collection]
	var after namePlace
	if _, err := in.Position(ctx, &after); err != nil {
		return none, err
	}
	org := v.Scope().Organization
	var rows []Collection
	var total int64
	err := v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &rows, listCollections, org, after.Name, after.ID, in.Limit+1, in.Offset())
		if in.WantTotal() {
			tenant.QueueValue(b, &total, countCollections, org)
		}
	})
	if err != nil {
		return none, err
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(c Collection) any {
		name := fold(c.Name)
		return namePlace{&name, &c.ID}
	})
	if in.WantTotal() {
		out.Total = &total
	}
	return out, err
}

type collectionPath struct {
	CollectionID id.ID `path:"collection_id" ref:"collection" doc:"The collection."`
}

func (f *Feature) getCollection(ctx context.Context, v tenant.View, in *collectionPath) (Collection, error) {
	c, err := tenant.One[Collection](ctx, v, selectCollection, v.Scope().Organization, in.CollectionID)
	return c, tenant.NotFound(err, "collection")
}

type createCollection struct {
	Body struct {
		Name        string  `json:"name" minLength:"1" maxLength:"200" example:"Summer sale"`
		Slug        string  `json:"slug,omitempty" minLength:"1" maxLength:"100" pattern:"^[a-z0-9]+(-[a-z0-9]+)*$" doc:"Made from the name if absent."`
		Description string  `json:"description,omitempty" maxLength:"5000" doc:"Markdown."`
		ImageURL    *string `json:"image_url,omitempty" nullable:"true" maxLength:"2048"`
		Rule        Filter  `json:"rule" doc:"What must hold of a product."`
		Sort        string  `json:"sort,omitempty" enum:"name,-name,price,-price,created_at,-created_at" doc:"-created_at if absent."`
	}
}

func (f *Feature) createCollection(ctx context.Context, tx *tenant.Tx, in *createCollection) (Collection, error) {
	b := in.Body
	c := Collection{ID: id.New(), Name: b.Name, Description: b.Description, ImageURL: b.ImageURL, Rule: b.Rule, Sort: cmp.Or(b.Sort, "-created_at")}
	if err := c.tidy(); err != nil {
		return c, err
	}
	slugs := []string{b.Slug}
	if b.Slug == "" {
		slugs = slugsLike(cmp.Or(slugOf(c.Name, 80), "collection"))
	}
	for range len(slugs) {
		made, err := tenant.One[Collection](ctx, tx, insertCollection, tx.Scope().Organization, c.ID, slugs, c.Name, c.Description, c.ImageURL, c.Rule, c.Sort)
		if errors.Is(err, tenant.ErrNoRows) {
			continue
		}
		if err != nil {
			return c, err
		}
		return made, CollectionCreated.Emit(ctx, tx, made)
	}
	return c, errCollectionSlugTaken(slugs[0])
}

func errCollectionSlugTaken(slug string) error {
	return fault.Conflictf("collection_slug_taken", "Another collection has the slug %s. Choose another one.", slug)
}

func (c *Collection) tidy() (err error) {
	if c.Name, err = line.Clean("/name", c.Name, 200); err != nil {
		return err
	}
	if c.ImageURL != nil && *c.ImageURL == "" {
		c.ImageURL = nil
	}
	if c.ImageURL != nil {
		if err := checkURL("/image_url", *c.ImageURL); err != nil {
			return err
		}
	}
	_, err = productsOf(id.Nil, c.Rule, "p.price_from", selection{})
	if f := fault.As(err); f != nil {
		return fault.Invalidf("/rule/attribute", "%s", f.Fields[0].Message)
	}
	return err
}

type patchCollection struct {
	CollectionID id.ID       `path:"collection_id" ref:"collection" doc:"The collection."`
	IfMatch      api.IfMatch `header:"If-Match"`
	Body         struct {
		Name        api.Optional[string] `json:"name" required:"false" minLength:"1" maxLength:"200"`
		Slug        api.Optional[string] `json:"slug" required:"false" minLength:"1" maxLength:"100" pattern:"^[a-z0-9]+(-[a-z0-9]+)*$"`
		Description api.Optional[string] `json:"description" required:"false" maxLength:"5000" doc:"Markdown."`
		ImageURL    api.Optional[string] `json:"image_url" required:"false" nullable:"true" maxLength:"2048"`
		Rule        *Filter              `json:"rule,omitempty" doc:"All of the rule."`
		Sort        api.Optional[string] `json:"sort" required:"false" enum:"name,-name,price,-price,created_at,-created_at"`
	}
}

func (f *Feature) patchCollection(ctx context.Context, tx *tenant.Tx, in *patchCollection) (Collection, error) {
	was, err := heldCollection(ctx, tx, in.CollectionID, in.IfMatch)
	if err != nil {
		return was, err
	}
	b, now := in.Body, was
	b.Name.Set(&now.Name)
	b.Slug.Set(&now.Slug)
	b.Description.Set(&now.Description)
	b.ImageURL.SetPtr(&now.ImageURL)
	b.Sort.Set(&now.Sort)
	if b.Rule != nil {
		now.Rule = *b.Rule
	}
	if err := now.tidy(); err != nil {
		return was, err
	}
	if reflect.DeepEqual(was, now) {
		return was, nil
	}
	now, err = tenant.One[Collection](ctx, tx, updateCollection, tx.Scope().Organization, now.ID, now.Slug, now.Name, now.Description, now.ImageURL, now.Rule, now.Sort)
	if tenant.Constraint(err) == "collection_slug_taken" {
		return was, errCollectionSlugTaken(b.Slug.Value)
	}
	if err != nil {
		return was, err
	}
	return now, CollectionUpdated.EmitChange(ctx, tx, was, now)
}

func heldCollection(ctx context.Context, tx *tenant.Tx, collection id.ID, match api.IfMatch) (Collection, error) {
	return api.Locked[Collection](ctx, tx, "collection", match, lockCollection, tx.Scope().Organization, collection)
}

type collectionMatch struct {
	CollectionID id.ID       `path:"collection_id" ref:"collection" doc:"The collection."`
	IfMatch      api.IfMatch `header:"If-Match"`
}

func (f *Feature) removeCollection(ctx context.Context, tx *tenant.Tx, in *collectionMatch) (api.None, error) {
	c, err := heldCollection(ctx, tx, in.CollectionID, in.IfMatch)
	if err != nil {
		return api.None{}, err
	}
	if _, err := tenant.Exec(ctx, tx, deleteCollection, tx.Scope().Organization, c.ID); err != nil {
		return api.None{}, err
	}
	return api.None{}, CollectionDeleted.Emit(ctx, tx, c)
}

type listCollectionOffers struct {
	api.ListParams
	CollectionID string   `path:"collection_id" ref:"collection" minLength:"1" maxLength:"100" doc:"The collection, by its id or its slug."`
	Currency     string   `query:"currency" maxLength:"3" pattern:"^[A-Z]{3}$" doc:"Only what is sold in this currency, with its prices in it; without it each product has the prices of its own." example:"EUR"`
	Facets       []string `query:"facets" maxItems:"4" enum:"category,brand,price,tag" doc:"What to count over all of the collection, separated by commas."`
}

func (f *Feature) listCollectionOffers(ctx context.Context, v tenant.View, in *listCollectionOffers) (Offers, error) {
	org := v.Scope().Organization
	var c Collection
	var err error
	if collection, bad := id.Parse(in.CollectionID); bad == nil {
		c, err = tenant.One[Collection](ctx, v, selectCollection, org, collection)
	} else {
		c, err = tenant.One[Collection](ctx, v, selectShelf, org, in.CollectionID)
	}
	if err != nil {
		return Offers{}, tenant.NotFound(err, "collection")
	}
	return offers(ctx, v, in.ListParams, c.Rule, in.Currency, c.Sort, in.Facets)
}
