package catalog

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/money"
	"github.com/guildhall-dev/guildhall/operation"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Import is a file of products that was read in, or is being read.
type Import struct {
	ID         id.ID       `db:"id" json:"id"`
	DryRun     bool        `db:"dry_run" json:"dry_run" doc:"Nothing was changed."`
	Total      int         `db:"total" json:"total" minimum:"0" maximum:"1000000" doc:"How many products the file has."`
	Done       int         `db:"done" json:"done" minimum:"0" maximum:"1000000" doc:"How many are through."`
	Created    int         `db:"created" json:"created" minimum:"0" maximum:"1000000"`
	Updated    int         `db:"updated" json:"updated" minimum:"0" maximum:"1000000"`
	Unchanged  int         `db:"unchanged" json:"unchanged" minimum:"0" maximum:"1000000"`
	Failed     int         `db:"failed" json:"failed" minimum:"0" maximum:"1000000" doc:"How many were left as they are, for an error."`
	Errors     []LineError `db:"errors" json:"errors" nullable:"false" maxItems:"1000" doc:"The first thousand, in the order of the file."`
	CreatedAt  time.Time   `db:"created_at" json:"created_at"`
	FinishedAt *time.Time  `db:"finished_at" json:"finished_at" nullable:"true"`
}

// EventSubject implements event.Subjected.
func (i Import) EventSubject() event.Subject { return event.Subject{ID: i.ID} }

var importStarted = event.DefineInternal[Import]("product_import.started", "A file of products was sent.")

const (
	importCols = `id, dry_run, total, done, created, updated, unchanged, failed, errors, created_at, finished_at`

	insertImport = `insert into product_imports (tenant_id, id, dry_run, source, total, created_by_kind, created_by_id)
	values ($1, $2, $3, $4, $5, $6, $7) returning ` + importCols
	selectImport = `select ` + importCols + ` from product_imports where tenant_id = $1 and id = $2`
	selectSource = `select i.source, i.done, i.created_by_kind, i.created_by_id, i.dry_run from product_imports i where i.tenant_id = $1 and i.id = $2`
	lockImport   = `select i.done from product_imports i where i.tenant_id = $1 and i.id = $2 for no key update`
	moveImport   = `update product_imports set done = $3, created = created + $4, updated = updated + $5, unchanged = unchanged + $6, failed = failed + $7,
		errors = case when jsonb_array_length(errors) + jsonb_array_length($8::jsonb) <= 1000 then errors || $8::jsonb else errors end,
		source = case when $3 < total then source end, finished_at = case when $3 >= total then now() end
	where tenant_id = $1 and id = $2`
	forgetImports = `delete from product_imports where tenant_id = $1 and created_at < now() - interval '30 days'`

	selectBySlug = `select p.id from products p where p.tenant_id = $1 and p.slug = $2 and p.deleted_at is null`
	selectBySKU  = `select v.sku_key, v.product_id from product_variants v where v.tenant_id = $1 and v.sku_key = any($2::text[]) and v.deleted_at is null`
)

type exportProducts struct {
	Filter
	Bounds
	Status []string `query:"status" maxItems:"3" enum:"draft,active,archived" doc:"States, separated by commas."`
}

// exportPage is how many products one statement of an export reads.
const exportPage = 200

// export writes what a filter matches, the oldest first.
func (f *Feature) export(ctx context.Context, v tenant.View, in *exportProducts, w io.Writer) error {
	lines := csv.NewWriter(w)
	if err := lines.Write(slices.Concat(productColumns, variantColumns)); err != nil {
		return err
	}
	key := sortKeyOf("created_at")
	var at *place
	for {
		s, err := productsOf(v.Scope().Organization, in.Bounds.into(in.Filter), "p.price_from", selection{})
		if err != nil {
			return err
		}
		s.anyOf("p.status", in.Status)
		if at != nil {
			s.after(key, *at)
		}
		rows, err := tenant.List[Product](ctx, v, pageOf(s, key, exportPage, 0), s.args...)
		if err != nil {
			return err
		}
		for _, p := range rows {
			if err := lines.WriteAll(recordsOf(p)); err != nil {
				return err
			}
		}
		if lines.Flush(); lines.Error() != nil || len(rows) < exportPage {
			return lines.Error()
		}
		last := placeOf("created_at", rows[len(rows)-1])
		at = &last
	}
}

type importProducts struct {
	DryRun  bool `query:"dry_run" doc:"Say what would be done, and do nothing."`
	RawBody []byte
}

type importArgs struct {
	Import id.ID `json:"import_id"`
}

var importOperation = operation.Define[importArgs]("product.import")

func (f *Feature) startImport(ctx context.Context, tx *tenant.Tx, in *importProducts) (operation.Operation, error) {
	bundles, err := readBundles(in.RawBody)
	if err != nil {
		return operation.Operation{}, err
	}
	s := tx.Scope()
	if _, err := tenant.Exec(ctx, tx, forgetImports, s.Organization); err != nil {
		return operation.Operation{}, err
	}
	made := importArgs{id.New()}
	o, err := importOperation.Start(ctx, f.queue, tx, made)
	if err != nil {
		return o, err
	}
	var by *id.ID
	if !s.Actor.ID.IsZero() {
		by = &s.Actor.ID
	}
	i, err := tenant.One[Import](ctx, tx, insertImport, s.Organization, made.Import, in.DryRun, string(in.RawBody), len(bundles), string(s.Actor.Kind), by)
	if err != nil {
		return o, err
	}
	url := "/v1/product-imports/" + i.ID.String()
	o.ResultURL = &url
	return o, importStarted.Emit(ctx, tx, i)
}

type importPath struct {
	ImportID id.ID `path:"product_import_id" ref:"product_import" doc:"The import."`
}

func (f *Feature) getImport(ctx context.Context, v tenant.View, in *importPath) (Import, error) {
	i, err := tenant.One[Import](ctx, v, selectImport, v.Scope().Organization, in.ImportID)
	return i, tenant.NotFound(err, "import")
}

// importStep is how many products one transaction takes in.
const importStep = 20

// runImport takes in the products of a file, some in each transaction, together
// with the counts of them: so what a killed process left behind goes on behind
// the last that is counted, and none is counted twice.
func (f *Feature) runImport(ctx context.Context, p *operation.Progress, args importArgs) (operation.Result, error) {
	var r operation.Result
	type source struct {
		Source *string `db:"source"`
		Done   int     `db:"done"`
		Kind   string  `db:"created_by_kind"`
		By     *id.ID  `db:"created_by_id"`
		DryRun bool    `db:"dry_run"`
	}
	org := p.Scope.Organization
	src, err := tenant.One[source](ctx, p.DB.View(p.Scope), selectSource, org, args.Import)
	if err != nil {
		return r, tenant.NotFound(err, "import")
	}
	if src.Source != nil {
		bundles, err := readBundles([]byte(*src.Source))
		if err != nil {
			return r, err
		}
		scope := p.Scope
		if scope.Actor.Kind = tenant.Kind(src.Kind); src.By != nil {
			scope.Actor.ID = *src.By
		}
		for done := src.Done; done < len(bundles) || done == 0; {
			err := p.DB.Write(ctx, scope, func(tx *tenant.Tx) (err error) {
				done, err = f.importSome(ctx, tx, args.Import, bundles, src.DryRun)
				return err
			})
			if err == nil {
				err = p.Set(ctx, int64(done), int64(len(bundles)), done)
			}
			if err != nil {
				return r, err
			}
			if len(bundles) == 0 {
				break
			}
		}
	}
	i, err := tenant.One[Import](ctx, p.DB.View(p.Scope), selectImport, org, args.Import)
	if err != nil {
		return r, err
	}
	r.ResultURL = "/v1/product-imports/" + i.ID.String()
	if i.Failed > 0 {
		r.ErrorsURL = r.ResultURL
	}
	r.Message = fmt.Sprintf("%d products: %d made, %d changed, %d as they were, %d with errors.", i.Total, i.Created, i.Updated, i.Unchanged, i.Failed)
	return r, nil
}

var errDryRun = errors.New("catalog: a dry run")

// importSome takes in the next products and returns how many are through.
func (f *Feature) importSome(ctx context.Context, tx *tenant.Tx, imp id.ID, bundles []bundle, dry bool) (int, error) {
	org := tx.Scope().Organization
	from, err := tenant.Value[int](ctx, tx, lockImport, org, imp)
	if err != nil {
		return 0, err
	}
	to := min(from+importStep, len(bundles))
	counts, wrong := map[string]int{}, []LineError{}
	for _, b := range bundles[min(from, to):to] {
		outcome, errs, err := f.importOne(ctx, tx, b, dry)
		if err != nil {
			return 0, err
		}
		counts[outcome]++
		wrong = append(wrong, errs...)
	}
	_, err = tenant.Exec(ctx, tx, moveImport, org, imp, to, counts["created"], counts["updated"], counts["unchanged"], counts["failed"], wrong)
	return to, err
}

// importOne takes in one product under a savepoint: what is wrong with it does
// not keep the others out.
func (f *Feature) importOne(ctx context.Context, tx *tenant.Tx, b bundle, dry bool) (outcome string, errs []LineError, err error) {
	t := taking{bundle: b}
	err = tx.Try(ctx, func() (err error) {
		if outcome, err = f.take(ctx, tx, &t); err == nil && dry {
			err = errDryRun
		}
		return err
	})
	if err == nil || errors.Is(err, errDryRun) {
		return outcome, nil, nil
	}
	var bad *cellError
	if errors.As(err, &bad) {
		return "failed", []LineError{bad.LineError}, nil
	}
	w := fault.As(err)
	if w == nil || w.Kind == fault.Internal || w.Kind == fault.Unavailable {
		return "", nil, err
	}
	if len(w.Fields) == 0 {
		return "failed", []LineError{{b.records[0].line, "", w.Message}}, nil
	}
	return "failed", []LineError{t.locate(w.Fields[0])}, nil
}

// cellError is what is wrong with a cell.
type cellError struct{ LineError }

func (e *cellError) Error() string {
	return fmt.Sprintf("line %d, %s: %s", e.Line, e.Column, e.Message)
}

func wrongCell(r record, column, format string, args ...any) error {
	return &cellError{LineError{r.line, column, fmt.Sprintf(format, args...)}}
}

// taking is a product on its way in: the variants of its lines by their places.
type taking struct {
	bundle
	lines map[int]record // by place among the variants
}

// locate says where in the file a complaint about a product belongs.
func (t *taking) locate(w fault.Field) LineError {
	parts := strings.Split(strings.TrimPrefix(w.Pointer, "/"), "/")
	line, column := t.records[0].line, parts[0]
	if len(parts) > 2 && parts[0] == "variants" {
		if i, err := strconv.Atoi(parts[1]); err == nil {
			if r, there := t.lines[i]; there {
				line = r.line
			}
			column = parts[2]
		}
	}
	if !slices.Contains(importColumns, column) {
		column = map[string]string{"options": "option1_value", "image_url": "variant_image_url"}[column]
	}
	return LineError{line, column, w.Message}
}

var slugForm = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// take makes or changes the product of a bundle.
func (f *Feature) take(ctx context.Context, tx *tenant.Tx, t *taking) (string, error) {
	if t.slug != "" && (!slugForm.MatchString(t.slug) || len(t.slug) > maxSlug) {
		return "", wrongCell(t.records[0], "product", "expected a slug such as linen-shirt")
	}
	product, err := t.find(ctx, tx)
	if err != nil {
		return "", err
	}
	if product == nil {
		p := Product{ID: id.New(), Status: draft}
		stock, err := t.fill(ctx, tx, &p)
		if err != nil {
			return "", err
		}
		_, err = f.make(ctx, tx, p, t.slug, stock)
		return "created", err
	}
	was, err := held(ctx, tx, *product)
	if err != nil {
		return "", err
	}
	now, err := f.change(ctx, tx, was, func(p *Product) (initial, error) { return t.fill(ctx, tx, p) })
	if err == nil && now.Version == was.Version {
		return "unchanged", nil
	}
	return "updated", err
}

// find finds the product that is there already: by its slug, or by the SKU of
// one of its lines. An SKU of another product is refused.
func (t *taking) find(ctx context.Context, tx *tenant.Tx) (*id.ID, error) {
	org := tx.Scope().Organization
	var product *id.ID
	if t.slug != "" {
		switch p, err := tenant.Value[id.ID](ctx, tx, selectBySlug, org, t.slug); {
		case err == nil:
			product = &p
		case !errors.Is(err, tenant.ErrNoRows):
			return nil, err
		}
	}
	keys, lines := []string{}, map[string]record{}
	for _, r := range t.records {
		if sku, _ := r.cell("sku"); strings.TrimSpace(sku) != "" {
			key := fold(strings.TrimSpace(sku))
			if other, twice := lines[key]; twice {
				return nil, wrongCell(r, "sku", "the SKU stands in line %d already", other.line)
			}
			keys, lines[key] = append(keys, key), r
		}
	}
	type owner struct {
		Key     string `db:"sku_key"`
		Product id.ID  `db:"product_id"`
	}
	owners, err := tenant.List[owner](ctx, tx, selectBySKU, org, keys)
	if err != nil {
		return nil, err
	}
	for _, o := range owners {
		switch {
		case product == nil && t.slug == "":
			product = &o.Product
		case product == nil || *product != o.Product:
			return nil, wrongCell(lines[o.Key], "sku", "another product has a variant of this SKU")
		}
	}
	return product, nil
}

// fill writes what the lines say into p; what the file has no column for stays.
func (t *taking) fill(ctx context.Context, tx *tenant.Tx, p *Product) (initial, error) {
	first := t.records[0]
	for _, r := range t.records[1:] {
		for _, c := range productColumns {
			if v, _ := r.cell(c); v != "" && v != first.cells[c] {
				return nil, wrongCell(r, c, "line %d says otherwise of the same product", first.line)
			}
		}
	}
	if err := p.takeHead(ctx, tx, first); err != nil {
		return nil, err
	}
	if err := t.options(p); err != nil {
		return nil, err
	}
	t.lines = map[int]record{}
	stock := initial{}
	taken := map[id.ID]int{}
	for _, r := range t.records {
		i, err := p.placeFor(r)
		if err != nil {
			return nil, err
		}
		if i < 0 {
			continue
		}
		if line, twice := taken[p.Variants[i].ID]; twice {
			return nil, wrongCell(r, "option1_value", "line %d is the same variant", line)
		}
		taken[p.Variants[i].ID], t.lines[i] = r.line, r
		n, err := p.Variants[i].take(r, p)
		if err != nil {
			return nil, err
		}
		if n > 0 && p.Variants[i].Version == 0 {
			stock[p.Variants[i].ID] = n
		}
	}
	return stock, nil
}

// takeHead sets the fields of the product itself.
func (p *Product) takeHead(ctx context.Context, tx *tenant.Tx, r record) error {
	fresh := p.Version == 0
	for column, dst := range map[string]*string{"name": &p.Name, "status": &p.Status, "tax_class": &p.TaxClass} {
		if v, _ := r.cell(column); strings.TrimSpace(v) != "" {
			*dst = strings.TrimSpace(v)
		}
	}
	if !slices.Contains([]string{draft, active, archived}, p.Status) {
		return wrongCell(r, "status", "expected draft, active or archived")
	}
	for column, dst := range map[string]*string{"description": &p.Description, "brand": &p.Brand, "seo_title": &p.SEOTitle, "seo_description": &p.SEODescription} {
		// A reader of CSV ends lines in one way.
		if v, there := r.cell(column); there && v != strings.ReplaceAll(*dst, "\r\n", "\n") {
			*dst = v
		}
	}
	if len([]rune(p.Description)) > 50_000 || len([]rune(p.SEODescription)) > 1000 {
		return wrongCell(r, "description", "expected 50000 characters at most, and 1000 in seo_description")
	}
	if v, there := r.cell("tags"); there {
		p.Tags = parted(v, ",")
	}
	if v, there := r.cell("image_urls"); there {
		p.ImageURLs = strings.Fields(v)
	}
	if len(p.Tags) > 50 || len(p.ImageURLs) > 50 {
		return wrongCell(r, "tags", "expected at most 50 tags, and 50 image_urls")
	}
	if v, there := r.cell("attributes"); there {
		p.Attributes = Attributes{}
		if strings.TrimSpace(v) != "" && json.Unmarshal([]byte(v), &p.Attributes) != nil {
			return wrongCell(r, "attributes", `expected a JSON object such as {"color": "red"}`)
		}
	}
	for column, dst := range map[string]**time.Time{"publish_at": &p.PublishAt, "unpublish_at": &p.UnpublishAt} {
		if err := takeTime(r, column, dst); err != nil {
			return err
		}
	}
	if err := p.takeCategory(ctx, tx, r); err != nil {
		return err
	}
	code := strings.TrimSpace(r.cells["currency"])
	switch {
	case fresh && code == "":
		var err error
		p.Currency, err = tenant.Value[string](ctx, tx, selectDefaultCurrency, tx.Scope().Organization)
		return err
	case fresh:
		p.Currency = code
	case code != "" && code != p.Currency:
		return wrongCell(r, "currency", "the product is priced in %s", p.Currency)
	}
	return nil
}

func parted(text, by string) []string {
	out := []string{}
	for part := range strings.SplitSeq(text, by) {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

func takeTime(r record, column string, dst **time.Time) error {
	v, there := r.cell(column)
	if !there {
		return nil
	}
	if v = strings.TrimSpace(v); v == "" {
		*dst = nil
		return nil
	}
	at, err := time.Parse(time.RFC3339, v)
	if err != nil || at.UTC().Year() < 1000 || at.UTC().Year() > 9999 {
		return wrongCell(r, column, "expected a time such as 2026-03-01T09:00:00Z")
	}
	if at = at.Truncate(time.Microsecond); *dst == nil || !at.Equal(**dst) {
		*dst = &at
	}
	return nil
}

func (p *Product) takeCategory(ctx context.Context, tx *tenant.Tx, r record) error {
	slug, there := r.cell("category")
	if slug = strings.TrimSpace(slug); !there || slug == text(p.Category) {
		return nil
	}
	p.Category, p.CategoryID = nil, nil
	if slug == "" {
		return nil
	}
	c, err := findCategory(ctx, tx, slug, nil)
	if err == nil {
		p.Category, p.CategoryID = &c.Slug, &c.ID
	}
	return err
}

// options adds to those of p what its lines name.
func (t *taking) options(p *Product) error {
	first := t.records[0]
	var named []string
	for n := range maxOptions {
		if v := strings.TrimSpace(first.cells[fmt.Sprintf("option%d_name", n+1)]); v != "" {
			named = append(named, v)
		}
	}
	if p.Version != 0 && len(named) > 0 {
		same := slices.EqualFunc(named, p.Options, func(n string, o Option) bool { return fold(n) == fold(o.Name) })
		if !same {
			return wrongCell(first, "option1_name", "the product has other options")
		}
	}
	if p.Version == 0 {
		for _, n := range named {
			p.Options = append(p.Options, Option{Name: n})
		}
	}
	p.Options = slices.Clone(p.Options)
	for i := range p.Options {
		values := slices.Clone(p.Options[i].Values)
		for _, r := range t.records {
			v := strings.TrimSpace(r.cells[fmt.Sprintf("option%d_value", i+1)])
			if v != "" && !slices.ContainsFunc(values, func(x string) bool { return fold(x) == fold(v) }) {
				values = append(values, v)
			}
		}
		p.Options[i].Values = values
	}
	return nil
}

// placeFor finds the variant of a line: by its SKU, else by its options; or
// makes it. A line that names none is about the product alone: -1.
func (p *Product) placeFor(r record) (int, error) {
	if sku := strings.TrimSpace(r.cells["sku"]); sku != "" {
		if i := slices.IndexFunc(p.Variants, func(v Variant) bool { return v.SKU != nil && fold(*v.SKU) == fold(sku) }); i >= 0 {
			return i, nil
		}
	}
	choice := Choice{}
	for n, o := range p.Options {
		if v := strings.TrimSpace(r.cells[fmt.Sprintf("option%d_value", n+1)]); v != "" {
			choice[o.Name] = v
		}
	}
	if p.Version != 0 && len(p.Options) > 0 && len(choice) == 0 {
		for _, c := range variantColumns {
			if r.cells[c] != "" {
				return 0, wrongCell(r, c, "name the variant by its SKU or its options")
			}
		}
		return -1, nil
	}
	key := Variant{Options: choice}.optionKey()
	if i := slices.IndexFunc(p.Variants, func(v Variant) bool { return v.optionKey() == key }); i >= 0 {
		return i, nil
	}
	if len(p.Variants) == maxVariants {
		return 0, wrongCell(r, "", "a product has at most %d variants", maxVariants)
	}
	p.Variants = append(p.Variants, Variant{ID: id.New(), ProductID: p.ID, Options: choice, RequiresShipping: true, TrackStock: true})
	return len(p.Variants) - 1, nil
}

// take sets what a line says of a variant, and returns its first stock.
func (v *Variant) take(r record, p *Product) (stock int, err error) {
	for column, dst := range map[string]**string{"sku": &v.SKU, "barcode": &v.Barcode, "variant_image_url": &v.ImageURL} {
		if cell, there := r.cell(column); there {
			if cell = strings.TrimSpace(cell); cell != text(*dst) {
				*dst = &cell
			}
		}
	}
	if title := strings.TrimSpace(r.cells["title"]); title != "" && title != titleOf(p.Options, v.Options) {
		v.Title = title
	}
	for n, o := range p.Options {
		if value := strings.TrimSpace(r.cells[fmt.Sprintf("option%d_value", n+1)]); value != "" {
			v.Options[o.Name] = value
		}
	}
	switch price := r.cells["price"]; {
	case strings.TrimSpace(price) != "":
		if v.Price, err = readAmount(price, p.Currency); err != nil {
			return 0, wrongCell(r, "price", "%s", err)
		}
	case v.Version == 0:
		return 0, wrongCell(r, "price", "a new variant needs a price")
	}
	for column, dst := range map[string]**money.Money{"compare_at_price": &v.CompareAtPrice, "cost": &v.Cost} {
		cell, there := r.cell(column)
		if !there {
			continue
		}
		if *dst = nil; strings.TrimSpace(cell) == "" {
			continue
		}
		m, err := readAmount(cell, p.Currency)
		if err != nil {
			return 0, wrongCell(r, column, "%s", err)
		}
		*dst = &m
	}
	for column, dst := range map[string]*bool{"requires_shipping": &v.RequiresShipping, "track_stock": &v.TrackStock} {
		switch strings.ToLower(strings.TrimSpace(r.cells[column])) {
		case "":
		case "true", "yes", "1":
			*dst = true
		case "false", "no", "0":
			*dst = false
		default:
			return 0, wrongCell(r, column, "expected true or false")
		}
	}
	for column, n := range map[string]struct {
		dst  *int
		most int
	}{"weight_grams": {&v.WeightGrams, 10_000_000}, "initial_stock": {&stock, 1_000_000_000}} {
		cell := strings.TrimSpace(r.cells[column])
		if cell == "" {
			continue
		}
		if *n.dst, err = strconv.Atoi(cell); err != nil || *n.dst < 0 || *n.dst > n.most {
			return 0, wrongCell(r, column, "expected a whole number from 0 to %d", n.most)
		}
	}
	return stock, nil
}

func (f *Feature) importOperations(r *api.Router) {
	api.Stream(r, api.Op{
		ID: "export-products", Route: "GET /products/export", Can: Read, Summary: "Export products",
		Doc: "As CSV, one line for each variant, with the columns that an import takes. Amounts are in major units, times in UTC. " +
			"A cell that a spreadsheet would compute begins with an apostrophe. Read in again, it changes nothing.",
	}, "text/csv; charset=utf-8", f.export)
	api.Write(r, api.Op{
		ID: "import-products", Route: "POST /products/imports", Can: Write, Status: 202, MaxBody: maxImportBytes, Emits: api.Events(importStarted.Type),
		Summary: "Import products",
		Doc: "Takes CSV (text/csv, UTF-8, up to 5 MiB and 20,000 lines) and answers with an operation; result_url tells what became of each product. " +
			"The first line names the columns: " + strings.Join(importColumns, ", ") + ". Lines with the same product, which is a slug, belong together; " +
			"without one the SKU tells which product is meant, and lines of one name are one new product. A variant is found by its SKU, else by its options; " +
			"what is not found is made. What the file has no column for stays as it is, and so do variants that are not in it. " +
			"A product with an error is left as it is, the others go on.",
	}, f.startImport)
	api.Read(r, api.Op{
		ID: "get-product-import", Route: "GET /product-imports/{product_import_id}", Can: Read, Summary: "Get an import of products",
		Doc: "How many products were made and changed, and what was wrong in which line. It is kept for 30 days.",
	}, f.getImport)
}
