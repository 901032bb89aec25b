package catalog

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/line"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

const categoryCols = `c.id, c.parent_id, c.slug, c.name, c.description, c.image_url, c.position, c.path, c.version, c.created_at, c.updated_at`

// wholeTree are all categories from the top down, each with the slugs of its
// path and a key that orders the whole: parents before what is below them.
const wholeTree = `recursive tree as (
	select c.tenant_id, c.id, array[c.slug] as path, lpad(c.position::text, 7, '0') || c.id::text as sort_key
	from categories c where c.tenant_id = $1 and c.parent_id is null
	union all
	select c.tenant_id, c.id, t.path || c.slug, t.sort_key || '/' || lpad(c.position::text, 7, '0') || c.id::text
	from tree t join categories c on c.tenant_id = t.tenant_id and c.parent_id = t.id
), listed as (
	select c.id, c.parent_id, c.slug, c.name, c.description, c.image_url, c.position, t.path, c.version, c.created_at, c.updated_at, t.sort_key
	from tree t join categories c on c.tenant_id = t.tenant_id and c.id = t.id
)
`

const (
	// $2 a parent, $3 only the top, $4 the last one before
	pageOfCategories = `with ` + wholeTree + `select ` + categoryCols + `, c.sort_key from listed c
	where ($2::uuid is null or c.parent_id = $2) and (not $3 or c.parent_id is null) and ($4::text is null or c.sort_key collate "C" > $4)
	order by c.sort_key collate "C" limit $5 offset $6`

	countCategories = `select count(*) from categories c where c.tenant_id = $1 and ($2::uuid is null or c.parent_id = $2) and (not $3 or c.parent_id is null)`

	selectCategory = `with recursive up as (
	select c.tenant_id, c.parent_id, array[c.slug] as path from categories c where c.tenant_id = $1 and c.id = $2
	union all
	select p.tenant_id, p.parent_id, p.slug || up.path from up join categories p on p.tenant_id = up.tenant_id and p.id = up.parent_id
)
select ` + categoryCols + ` from (select x.id, x.parent_id, x.slug, x.name, x.description, x.image_url, x.position, x.version, x.created_at, x.updated_at,
	(select up.path from up where up.parent_id is null) as path
	from categories x where x.tenant_id = $1 and x.id = $2) c`

	lockCategory = `select c.id from categories c where c.tenant_id = $1 and c.id = $2 for no key update`

	// lockTree makes those who change the shape of an organisation's tree take
	// turns, so that what they checked is still so when they are done.
	lockTree = `select pg_advisory_xact_lock(hashtextextended('categories ' || $1::text, 0))`

	// selectAncestry measures what would happen if category $3 (null: a new one)
	// came below $2: whether that is there, whether it lies below $3, and how many
	// levels the tree would have.
	selectAncestry = `with recursive up as (
	select p.id, p.parent_id, 1 as level from categories p where p.tenant_id = $1 and p.id = $2
	union all
	select p.id, p.parent_id, up.level + 1 from up join categories p on p.tenant_id = $1 and p.id = up.parent_id
), down as (
	select $3::uuid as id, 1 as level
	union all
	select c.id, down.level + 1 from down join categories c on c.tenant_id = $1 and c.parent_id = down.id
)
select exists (select from up) as found, exists (select from up where up.id = $3) as cycle,
	(select coalesce(max(level), 0) from up) + (select max(level) from down) as levels`

	insertCategory = `insert into categories (tenant_id, id, parent_id, slug, name, description, image_url, position)
select $1::uuid, $2::uuid, $3::uuid, s.slug, $5::text, $6::text, $7::text, $8::integer
from (select s.slug from unnest($4::text[]) with ordinality as s (slug, n)
	where not exists (select from categories x where x.tenant_id = $1 and x.slug = s.slug) order by s.n limit 1) s
on conflict on constraint category_slug_taken do nothing
returning id`

	updateCategory = `update categories c set parent_id = $3, slug = $4, name = $5, description = $6, image_url = $7, position = $8,
	version = c.version + 1, updated_at = now() where c.tenant_id = $1 and c.id = $2`

	deleteCategory = `delete from categories c where c.tenant_id = $1 and c.id = $2`
)

// listedCategory is a category with its place in the tree.
type listedCategory struct {
	Category
	SortKey string `db:"sort_key"`
}

func (f *Feature) listCategories(ctx context.Context, v tenant.View, in *listCategories) (page.Page[Category], error) {
	var none page.Page[Category]
	var after *string
	if _, err := in.Position(ctx, &after); err != nil {
		return none, err
	}
	var parent *id.ID
	if in.ParentID != "" && in.ParentID != "none" {
		p, err := id.Parse(in.ParentID)
		if err != nil {
			return none, fault.Invalidf("query.parent_id", "neither an id nor none")
		}
		parent = &p
	}
	org, top := v.Scope().Organization, in.ParentID == "none"
	var rows []listedCategory
	var total int64
	err := v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &rows, pageOfCategories, org, parent, top, after, in.Limit+1, in.Offset())
		if in.WantTotal() {
			tenant.QueueValue(b, &total, countCategories, org, parent, top)
		}
	})
	if err != nil {
		return none, err
	}
	p, err := api.Page(ctx, in.ListParams, rows, func(c listedCategory) any { return c.SortKey })
	out := page.Page[Category]{Data: make([]Category, len(p.Data)), NextCursor: p.NextCursor}
	for i, c := range p.Data {
		out.Data[i] = c.Category
	}
	if in.WantTotal() {
		out.Total = &total
	}
	return out, err
}

func readCategory(ctx context.Context, q reader, category id.ID) (Category, error) {
	c, err := tenant.One[Category](ctx, q, selectCategory, q.Scope().Organization, category)
	return c, tenant.NotFound(err, "category")
}

func (f *Feature) getCategory(ctx context.Context, v tenant.View, in *categoryPath) (Category, error) {
	return readCategory(ctx, v, in.CategoryID)
}

func (f *Feature) createCategory(ctx context.Context, tx *tenant.Tx, in *createCategory) (Category, error) {
	b, org := in.Body, tx.Scope().Organization
	c := Category{ID: id.New(), ParentID: b.ParentID, Slug: b.Slug, Name: b.Name, Description: b.Description, ImageURL: b.ImageURL, Position: b.Position}
	if err := c.tidy(); err != nil {
		return c, err
	}
	if c.ParentID != nil {
		if err := checkParent(ctx, tx, *c.ParentID, nil); err != nil {
			return c, err
		}
	}
	slugs := []string{c.Slug}
	if c.Slug == "" {
		slugs = categorySlugs(c.Name)
	}
	for range len(slugs) {
		_, err := tenant.Value[id.ID](ctx, tx, insertCategory, org, c.ID, c.ParentID, slugs, c.Name, c.Description, c.ImageURL, c.Position)
		if errors.Is(err, tenant.ErrNoRows) {
			continue
		}
		if err != nil {
			return c, refineCategory(err, c.Slug)
		}
		if c, err = readCategory(ctx, tx, c.ID); err != nil {
			return c, err
		}
		return c, CategoryCreated.Emit(ctx, tx, c)
	}
	return c, errCategorySlugTaken(slugs[0])
}

// categorySlugs lists slugs that the name suggests, best first.
func categorySlugs(name string) []string {
	base := slugOf(name, 90)
	if base == "" {
		base = "category"
	}
	slugs := []string{base}
	for n := 2; n < 1000; n++ {
		slugs = append(slugs, fmt.Sprintf("%s-%d", base, n))
	}
	return slugs
}

func (c *Category) tidy() (err error) {
	if c.Name, err = line.Clean("/name", c.Name, 200); err != nil {
		return err
	}
	if c.ImageURL != nil && *c.ImageURL == "" {
		c.ImageURL = nil
	}
	if c.ImageURL != nil {
		return checkURL("/image_url", *c.ImageURL)
	}
	return nil
}

// checkParent holds a new parent against the rules of the tree, under the lock
// of the tree.
func checkParent(ctx context.Context, tx *tenant.Tx, parent id.ID, category *id.ID) error {
	org := tx.Scope().Organization
	if _, err := tenant.Exec(ctx, tx, lockTree, org); err != nil {
		return err
	}
	type ancestry struct {
		Found  bool `db:"found"`
		Cycle  bool `db:"cycle"`
		Levels int  `db:"levels"`
	}
	a, err := tenant.One[ancestry](ctx, tx, selectAncestry, org, parent, category)
	switch {
	case err != nil:
		return err
	case !a.Found:
		return fault.Invalidf("/parent_id", "there is no such category")
	case a.Cycle:
		return fault.Invalidf("/parent_id", "a category cannot be below itself")
	case a.Levels > maxDepth:
		return fault.Invalidf("/parent_id", "there are at most %d levels of categories", maxDepth)
	}
	return nil
}

func (f *Feature) patchCategory(ctx context.Context, tx *tenant.Tx, in *patchCategory) (Category, error) {
	org, b := tx.Scope().Organization, in.Body
	if b.ParentID.Present {
		// The tree first, then its rows, in one order for all.
		if _, err := tenant.Exec(ctx, tx, lockTree, org); err != nil {
			return Category{}, err
		}
	}
	was, err := heldCategory(ctx, tx, in.CategoryID, in.IfMatch)
	if err != nil {
		return was, err
	}
	now := was
	b.Name.Set(&now.Name)
	b.Slug.Set(&now.Slug)
	b.ParentID.SetPtr(&now.ParentID)
	b.Description.Set(&now.Description)
	b.ImageURL.SetPtr(&now.ImageURL)
	b.Position.Set(&now.Position)
	if err := now.tidy(); err != nil {
		return was, err
	}
	if reflect.DeepEqual(was, now) {
		return was, nil
	}
	if now.ParentID != nil && (was.ParentID == nil || *was.ParentID != *now.ParentID) {
		if err := checkParent(ctx, tx, *now.ParentID, &now.ID); err != nil {
			return was, err
		}
	}
	if _, err := tenant.Exec(ctx, tx, updateCategory, org, now.ID, now.ParentID, now.Slug, now.Name, now.Description, now.ImageURL, now.Position); err != nil {
		return was, refineCategory(err, now.Slug)
	}
	if now, err = readCategory(ctx, tx, now.ID); err != nil {
		return was, err
	}
	return now, CategoryUpdated.EmitChange(ctx, tx, was, now)
}

func heldCategory(ctx context.Context, tx *tenant.Tx, category id.ID, match api.IfMatch) (Category, error) {
	if _, err := tenant.Value[id.ID](ctx, tx, lockCategory, tx.Scope().Organization, category); err != nil {
		return Category{}, tenant.NotFound(err, "category")
	}
	c, err := readCategory(ctx, tx, category)
	if err == nil && !match.Matches(c.Version) {
		err = fault.StaleVersion(c)
	}
	return c, err
}

func (f *Feature) removeCategory(ctx context.Context, tx *tenant.Tx, in *categoryMatch) (api.None, error) {
	c, err := heldCategory(ctx, tx, in.CategoryID, in.IfMatch)
	if err != nil {
		return api.None{}, err
	}
	_, err = tenant.Exec(ctx, tx, deleteCategory, tx.Scope().Organization, c.ID)
	switch tenant.Constraint(err) {
	case "category_has_children":
		return api.None{}, fault.Conflictf("category_has_children", "Other categories are below this one. Move or delete them first.").Because(err)
	case "product_category_unknown":
		return api.None{}, fault.Conflictf("category_has_products", "Products are in this category. Move or delete them first.").Because(err)
	}
	if err != nil {
		return api.None{}, err
	}
	return api.None{}, CategoryDeleted.Emit(ctx, tx, c)
}

// refineCategory says in words what a constraint says by its name.
func refineCategory(err error, slug string) error {
	switch tenant.Constraint(err) {
	case "category_slug_taken":
		return errCategorySlugTaken(slug)
	case "category_has_children", "category_parent_itself":
		return fault.Invalidf("/parent_id", "there is no such category").Because(err)
	}
	return err
}

func errCategorySlugTaken(slug string) error {
	return fault.Conflictf("category_slug_taken", "Another category has the slug %s. Choose another one.", slug)
}
