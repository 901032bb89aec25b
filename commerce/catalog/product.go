package catalog

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/line"
	"github.com/guildhall-dev/guildhall/internal/money"
)

// The states of a product.
const (
	draft    = "draft"
	active   = "active"
	archived = "archived"
)

// Lengths of names.
const (
	maxName  = 300
	maxSlug  = 200
	maxBrand = 200
	maxSKU   = 100
)

// Product is what is sold, with all its variants.
type Product struct {
	ID             id.ID       `db:"id" json:"id"`
	Slug           string      `db:"slug" json:"slug" maxLength:"200" pattern:"^[a-z0-9]+(-[a-z0-9]+)*$" example:"linen-shirt" doc:"Its name in addresses; unique in the organisation."`
	Name           string      `db:"name" json:"name" minLength:"1" maxLength:"300" example:"Linen shirt"`
	Description    string      `db:"description" json:"description" maxLength:"50000" doc:"Markdown."`
	Status         string      `db:"status" json:"status" enum:"draft,active,archived" example:"active" doc:"Only what is active is sold."`
	Price          money.Money `db:"price" json:"price" doc:"The least price of its variants."`
	Currency       string      `db:"currency" json:"currency" maxLength:"3" pattern:"^[A-Z]{3}$" example:"EUR" doc:"ISO 4217 code, of the prices of all its variants."`
	Category       *string     `db:"category" json:"category" nullable:"true" maxLength:"100" pattern:"^[a-z0-9]+(-[a-z0-9]+)*$" example:"shirts" doc:"The slug of its category."`
	CategoryID     *id.ID      `db:"category_id" json:"category_id" nullable:"true" doc:"Its category."`
	StockQuantity  int64       `db:"stock_quantity" json:"stock_quantity" minimum:"0" maximum:"9007199254740991" example:"12" doc:"How many of all its variants are to be had, in all locations; it moves without a new version."`
	ImageURLs      []string    `db:"image_urls" json:"image_urls" nullable:"false" maxItems:"50" maxLength:"2048" doc:"Addresses of pictures, the first one leads."`
	Options        []Option    `db:"options" json:"options" nullable:"false" maxItems:"3" doc:"In what its variants differ."`
	Attributes     Attributes  `db:"attributes" json:"attributes"`
	Tags           []string    `db:"tags" json:"tags" nullable:"false" maxItems:"50" maxLength:"100"`
	Brand          string      `db:"brand" json:"brand" maxLength:"200" example:"Acme"`
	TaxClass       string      `db:"tax_class" json:"tax_class" maxLength:"50" example:"standard" doc:"The class that tax rates go by."`
	SEOTitle       string      `db:"seo_title" json:"seo_title" maxLength:"300" doc:"For search engines; the name if empty."`
	SEODescription string      `db:"seo_description" json:"seo_description" maxLength:"1000" doc:"For search engines."`
	PublishAt      *time.Time  `db:"publish_at" json:"publish_at" nullable:"true" doc:"Not sold before."`
	UnpublishAt    *time.Time  `db:"unpublish_at" json:"unpublish_at" nullable:"true" doc:"Not sold from then on."`
	Variants       []Variant   `db:"variants" json:"variants" nullable:"false" maxItems:"100" doc:"What can be put into a cart, in their order."`
	Version        int64       `db:"version" json:"version" minimum:"1" maximum:"9007199254740991" example:"1" doc:"Counts the changes, of its variants too; also its ETag."`
	CreatedAt      time.Time   `db:"created_at" json:"created_at"`
	UpdatedAt      time.Time   `db:"updated_at" json:"updated_at"`
}

// Option is one thing in which variants differ.
type Option struct {
	Name   string   `json:"name" minLength:"1" maxLength:"50" example:"Size"`
	Values []string `json:"values" nullable:"false" minItems:"1" maxItems:"100" minLength:"1" maxLength:"100" example:"[\"S\",\"M\",\"L\"]" doc:"In the order in which a shop shows them."`
}

// Variant is what can be put into a cart.
type Variant struct {
	ID               id.ID        `json:"id"`
	ProductID        id.ID        `json:"product_id"`
	SKU              *string      `json:"sku" nullable:"true" maxLength:"100" example:"LS-M" doc:"The merchant's number of it; unique in the organisation, in whatever case."`
	Barcode          *string      `json:"barcode" nullable:"true" maxLength:"100" example:"4006381333931"`
	Title            string       `json:"title" maxLength:"300" example:"M" doc:"The values of its options, unless it was given another one."`
	Price            money.Money  `json:"price"`
	CompareAtPrice   *money.Money `json:"compare_at_price" doc:"What it cost before; shown struck through."`
	Cost             *money.Money `json:"cost" doc:"What the organisation pays for it; never shown in the shop."`
	Options          Choice       `json:"options"`
	StockQuantity    int64        `json:"stock_quantity" minimum:"0" maximum:"9007199254740991" example:"12" doc:"How many are to be had, in all locations; it moves without a new version."`
	WeightGrams      int          `json:"weight_grams" minimum:"0" maximum:"10000000" example:"350"`
	ImageURL         *string      `json:"image_url" nullable:"true" maxLength:"2048"`
	RequiresShipping bool         `json:"requires_shipping"`
	TrackStock       bool         `json:"track_stock" doc:"false: it is sold without counting, as a service is."`
	Position         int          `json:"position" minimum:"1" maximum:"1000000" example:"1" doc:"Orders the variants of the product; there may be gaps."`
	Version          int64        `json:"version" minimum:"1" maximum:"9007199254740991" example:"1" doc:"Counts the changes of the variant; also its ETag."`
}

// RowVersion implements api.Versioned.
func (p Product) RowVersion() int64 { return p.Version }

// Location implements api.Located.
func (p Product) Location() string { return "/v1/products/" + p.ID.String() }

// EventSubject implements event.Subjected.
func (p Product) EventSubject() event.Subject { return event.Subject{ID: p.ID} }

// RowVersion implements api.Versioned.
func (v Variant) RowVersion() int64 { return v.Version }

// Location implements api.Located.
func (v Variant) Location() string { return "/v1/variants/" + v.ID.String() }

// The events of a product. What happens to a variant happens to its product.
var (
	Created = event.Define[Product]("product.created", "A product was made.")
	Updated = event.Define[Product]("product.updated", "A product or one of its variants changed.")
	Deleted = event.Define[Product]("product.deleted", "A product was deleted with its variants.")
)

// clone returns a copy whose variants can be changed without changing p's.
func (p Product) clone() Product {
	p.Variants = slices.Clone(p.Variants)
	for i := range p.Variants {
		p.Variants[i].Options = maps.Clone(p.Variants[i].Options)
	}
	return p
}

// titleOf is what a variant is called that was given no name.
func titleOf(options []Option, c Choice) string {
	values := make([]string, 0, len(options))
	for _, o := range options {
		if v := c[o.Name]; v != "" {
			values = append(values, v)
		}
	}
	return cmp.Or(strings.Join(values, " / "), "Default")
}

// forgetTitles takes away the titles that were made, so that tidy makes them of
// the options as they are then.
func (p *Product) forgetTitles() {
	for i, v := range p.Variants {
		if v.Title == titleOf(p.Options, v.Options) {
			p.Variants[i].Title = ""
		}
	}
}

// tidy brings all that a client may say of a product into one form and holds it
// against the rules; each complaint points at its field.
func (p *Product) tidy() (err error) {
	if p.Name, err = line.Clean("/name", p.Name, maxName); err != nil {
		return err
	}
	if p.Brand, err = optionalLine("/brand", p.Brand, maxBrand); err != nil {
		return err
	}
	if p.SEOTitle, err = optionalLine("/seo_title", p.SEOTitle, maxName); err != nil {
		return err
	}
	if p.TaxClass, err = line.Clean("/tax_class", cmp.Or(p.TaxClass, "standard"), 50); err != nil {
		return err
	}
	if p.Tags, err = cleanTags(p.Tags); err != nil {
		return err
	}
	if p.ImageURLs == nil {
		p.ImageURLs = []string{}
	}
	for i, u := range p.ImageURLs {
		if err := checkURL(pointerAt("/image_urls", i), u); err != nil {
			return err
		}
	}
	if p.Attributes == nil {
		p.Attributes = Attributes{}
	}
	if err := p.Attributes.check(); err != nil {
		return err
	}
	if !money.Known(p.Currency) {
		return fault.Invalidf("/currency", "there is no currency of that code in ISO 4217")
	}
	if p.PublishAt != nil && p.UnpublishAt != nil && !p.PublishAt.Before(*p.UnpublishAt) {
		return fault.Invalidf("/unpublish_at", "unpublish_at must come after publish_at")
	}
	if err := p.tidyOptions(); err != nil {
		return err
	}
	return p.tidyVariants()
}

func optionalLine(pointer, text string, most int) (string, error) {
	if strings.TrimSpace(text) == "" {
		return "", nil
	}
	return line.Clean(pointer, text, most)
}

func pointerAt(list string, i int) string { return fmt.Sprintf("%s/%d", list, i) }

func (p *Product) tidyOptions() error {
	if len(p.Options) > maxOptions {
		return fault.Invalidf("/options", "a product has at most %d options", maxOptions)
	}
	options := make([]Option, 0, len(p.Options))
	names := map[string]bool{}
	for i, o := range p.Options {
		at := pointerAt("/options", i)
		name, err := line.Clean(at+"/name", o.Name, maxOptionName)
		if err != nil {
			return err
		}
		if names[fold(name)] {
			return fault.Invalidf(at+"/name", "this option stands twice")
		}
		names[fold(name)] = true
		if len(o.Values) == 0 || len(o.Values) > maxValues {
			return fault.Invalidf(at+"/values", "an option has 1 to %d values", maxValues)
		}
		values := make([]string, len(o.Values))
		seen := map[string]bool{}
		for j, v := range o.Values {
			if values[j], err = line.Clean(pointerAt(at+"/values", j), v, maxOptionValue); err != nil {
				return err
			}
			if seen[fold(values[j])] {
				return fault.Invalidf(pointerAt(at+"/values", j), "this value stands twice")
			}
			seen[fold(values[j])] = true
		}
		options = append(options, Option{name, values})
	}
	p.Options = options
	return nil
}

func (p *Product) tidyVariants() error {
	switch {
	case len(p.Variants) == 0:
		return errLastVariant()
	case len(p.Variants) > maxVariants:
		return fault.Invalidf("/variants", "a product has at most %d variants", maxVariants)
	}
	combinations, skus := map[string]bool{}, map[string]bool{}
	last := 0
	for i := range p.Variants {
		v, at := &p.Variants[i], pointerAt("/variants", i)
		if err := v.tidy(at, p.Options); err != nil {
			return err
		}
		if v.Price.Currency != p.Currency {
			return fault.Invalidf(at+"/price/currency", "all prices of the product are in %s", p.Currency)
		}
		key := v.optionKey()
		if combinations[key] {
			return fault.Conflictf("variant_options_taken", "Another variant of the product is %s already.", titleOf(p.Options, v.Options))
		}
		combinations[key] = true
		if v.SKU != nil {
			if skus[fold(*v.SKU)] {
				return errSKUTaken(*v.SKU)
			}
			skus[fold(*v.SKU)] = true
		}
		v.Position = max(v.Position, last+1)
		last = v.Position
	}
	low := slices.MinFunc(p.Variants, func(a, b Variant) int { return cmp.Compare(a.Price.Amount, b.Price.Amount) })
	p.Price = low.Price
	return nil
}

func (v *Variant) tidy(at string, options []Option) (err error) {
	if v.SKU, err = lineOrNil(at+"/sku", v.SKU, maxSKU); err != nil {
		return err
	}
	if v.Barcode, err = lineOrNil(at+"/barcode", v.Barcode, maxSKU); err != nil {
		return err
	}
	if v.ImageURL != nil && *v.ImageURL == "" {
		v.ImageURL = nil
	}
	if v.ImageURL != nil {
		if err := checkURL(at+"/image_url", *v.ImageURL); err != nil {
			return err
		}
	}
	if v.Options, err = chosen(at+"/options", options, v.Options); err != nil {
		return err
	}
	if v.Title == "" {
		v.Title = titleOf(options, v.Options)
		v.Title = string([]rune(v.Title)[:min(len([]rune(v.Title)), maxName)])
	}
	if v.Title, err = line.Clean(at+"/title", v.Title, maxName); err != nil {
		return err
	}
	for name, m := range map[string]*money.Money{"price": &v.Price, "compare_at_price": v.CompareAtPrice, "cost": v.Cost} {
		if m != nil && (m.Amount < 0 || m.Amount > money.Max) {
			return fault.Invalidf(at+"/"+name+"/amount", "expected an amount from 0 to %d", int64(money.Max))
		}
	}
	return nil
}

func lineOrNil(pointer string, text *string, most int) (*string, error) {
	if text == nil || strings.TrimSpace(*text) == "" {
		return nil, nil
	}
	clean, err := line.Clean(pointer, *text, most)
	return &clean, err
}

// chosen holds a choice against the options and spells it as they do.
func chosen(at string, options []Option, c Choice) (Choice, error) {
	out := Choice{}
	for name, value := range c {
		i := slices.IndexFunc(options, func(o Option) bool { return fold(o.Name) == fold(strings.TrimSpace(name)) })
		if i < 0 {
			return nil, fault.Invalidf(at+"/"+pointerToken(name), "the product has no option of that name")
		}
		j := slices.IndexFunc(options[i].Values, func(v string) bool { return fold(v) == fold(strings.TrimSpace(value)) })
		if j < 0 {
			return nil, fault.Invalidf(at+"/"+pointerToken(name), "the option %s has no such value", options[i].Name)
		}
		if _, twice := out[options[i].Name]; twice {
			return nil, fault.Invalidf(at+"/"+pointerToken(name), "this option stands twice")
		}
		out[options[i].Name] = options[i].Values[j]
	}
	for _, o := range options {
		if _, there := out[o.Name]; !there {
			return nil, fault.Invalidf(at, "choose a value of the option %s", o.Name)
		}
	}
	return out, nil
}

// optionKey is the combination in one spelling, whatever the order of the
// options; "" without options.
func (v Variant) optionKey() string {
	if len(v.Options) == 0 {
		return ""
	}
	folded := make(map[string]string, len(v.Options))
	for name, value := range v.Options {
		folded[fold(name)] = fold(value)
	}
	key, _ := json.Marshal(folded) // of texts; in the order of the names
	return string(key)
}

// sameAs reports whether a variant says the same as another of the same id.
func (v Variant) sameAs(o Variant) bool {
	o.StockQuantity, o.Version = v.StockQuantity, v.Version
	return reflect.DeepEqual(v, o)
}

func errLastVariant() error {
	return fault.Conflictf("product_needs_variant", "A product has at least one variant. Delete the product, or archive it.")
}

func errSKUTaken(sku string) error {
	if sku == "" {
		return fault.Conflictf("variant_sku_taken", "Another variant has this SKU.")
	}
	return fault.Conflictf("variant_sku_taken", "Another variant has the SKU %s.", sku)
}

func errSlugTaken(slug string) error {
	return fault.Conflictf("product_slug_taken", "Another product has the slug %s. Choose another one.", slug)
}
