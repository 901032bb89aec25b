package catalog

import (
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/id"
)

type productPath struct {
	ProductID id.ID `path:"product_id" ref:"product" doc:"The product."`
}

type productMatch struct {
	ProductID id.ID       `path:"product_id" ref:"product" doc:"The product."`
	IfMatch   api.IfMatch `header:"If-Match"`
}

type createProduct struct{ Body productBody }

type replaceProduct struct {
	ProductID id.ID       `path:"product_id" ref:"product" doc:"The product."`
	IfMatch   api.IfMatch `header:"If-Match"`
	Body      productBody
}

// productBody is a product as a client gives all of it.
type productBody struct {
	Name           string     `json:"name" minLength:"1" maxLength:"300" example:"Linen shirt"`
	Slug           string     `json:"slug,omitempty" minLength:"1" maxLength:"200" pattern:"^[a-z0-9]+(-[a-z0-9]+)*$" doc:"Made from the name if absent; in a change it stays."`
	Description    string     `json:"description,omitempty" maxLength:"50000" doc:"Markdown."`
	Status         string     `json:"status,omitempty" enum:"draft,active,archived" doc:"draft if absent; in a change it stays."`
	Currency       string     `json:"currency,omitempty" maxLength:"3" pattern:"^[A-Z]{3}$" doc:"That of the price, else the organisation's default one; in a change it stays."`
	Category       string     `json:"category,omitempty" maxLength:"100" doc:"The slug of its category."`
	CategoryID     *id.ID     `json:"category_id,omitempty" nullable:"true" ref:"category" doc:"Its category by id, instead."`
	ImageURLs      []string   `json:"image_urls,omitempty" nullable:"false" maxItems:"50" minLength:"1" maxLength:"2048" example:"[\"https://example.com/shirt.jpg\"]"`
	Options        []Option   `json:"options,omitempty" nullable:"false" maxItems:"3" doc:"In what its variants differ; needs variants."`
	Attributes     Attributes `json:"attributes,omitempty"`
	Tags           []string   `json:"tags,omitempty" nullable:"false" maxItems:"50" minLength:"1" maxLength:"100" pattern:"^[^,]*[^\\s,][^,]*$"`
	Brand          string     `json:"brand,omitempty" maxLength:"200"`
	TaxClass       string     `json:"tax_class,omitempty" maxLength:"50" doc:"standard if absent."`
	SEOTitle       string     `json:"seo_title,omitempty" maxLength:"300"`
	SEODescription string     `json:"seo_description,omitempty" maxLength:"1000"`
	PublishAt      *time.Time `json:"publish_at,omitempty" nullable:"true"`
	UnpublishAt    *time.Time `json:"unpublish_at,omitempty" nullable:"true"`

	// The only variant of a product without options.
	Price        api.Optional[Price]  `json:"price" required:"false" doc:"Of its only variant; a product with several has variants instead."`
	SKU          api.Optional[string] `json:"sku" required:"false" nullable:"true" maxLength:"100" doc:"Of its only variant."`
	Barcode      api.Optional[string] `json:"barcode" required:"false" nullable:"true" maxLength:"100" doc:"Of its only variant."`
	WeightGrams  api.Optional[int]    `json:"weight_grams" required:"false" minimum:"0" maximum:"10000000" doc:"Of its only variant."`
	InitialStock int                  `json:"initial_stock,omitempty" minimum:"0" maximum:"1000000000" doc:"How many of its only variant lie in the default location; only for a new product."`

	Variants []listedVariant `json:"variants,omitempty" nullable:"false" minItems:"1" maxItems:"100" doc:"All its variants. In a change those without an id are new, and those left out are deleted; if absent they all stay."`
}

type listedVariant struct {
	ID               *id.ID             `json:"id,omitempty" ref:"variant" doc:"A variant that is there already."`
	SKU              *string            `json:"sku,omitempty" nullable:"true" maxLength:"100"`
	Barcode          *string            `json:"barcode,omitempty" nullable:"true" maxLength:"100"`
	Title            string             `json:"title,omitempty" maxLength:"300" doc:"Made from the options if absent."`
	Price            Price              `json:"price"`
	CompareAtPrice   *Price             `json:"compare_at_price,omitempty" nullable:"true"`
	Cost             *Price             `json:"cost,omitempty" nullable:"true"`
	Options          Choice             `json:"options,omitempty"`
	WeightGrams      int                `json:"weight_grams,omitempty" minimum:"0" maximum:"10000000"`
	ImageURL         *string            `json:"image_url,omitempty" nullable:"true" maxLength:"2048"`
	RequiresShipping api.Optional[bool] `json:"requires_shipping" required:"false" doc:"true if absent."`
	TrackStock       api.Optional[bool] `json:"track_stock" required:"false" doc:"true if absent."`
	InitialStock     int                `json:"initial_stock,omitempty" minimum:"0" maximum:"1000000000" doc:"How many lie in the default location; only for a new variant."`
}

type patchProduct struct {
	ProductID id.ID       `path:"product_id" ref:"product" doc:"The product."`
	IfMatch   api.IfMatch `header:"If-Match"`
	Body      struct {
		Name           api.Optional[string]          `json:"name" required:"false" minLength:"1" maxLength:"300"`
		Slug           api.Optional[string]          `json:"slug" required:"false" minLength:"1" maxLength:"200" pattern:"^[a-z0-9]+(-[a-z0-9]+)*$"`
		Description    api.Optional[string]          `json:"description" required:"false" maxLength:"50000" doc:"Markdown."`
		Status         api.Optional[string]          `json:"status" required:"false" enum:"draft,active,archived"`
		Currency       api.Optional[string]          `json:"currency" required:"false" maxLength:"3" pattern:"^[A-Z]{3}$" doc:"Another one needs the prices of all variants with it."`
		Category       api.Optional[string]          `json:"category" required:"false" nullable:"true" maxLength:"100" doc:"The slug of its category; null for none."`
		CategoryID     api.Optional[id.ID]           `json:"category_id" required:"false" nullable:"true" ref:"category" doc:"Its category by id, instead; null for none."`
		ImageURLs      api.Optional[[]string]        `json:"image_urls" required:"false" maxItems:"50" minLength:"1" maxLength:"2048"`
		Options        api.Optional[[]Option]        `json:"options" required:"false" maxItems:"3" doc:"The variants must have values of exactly these."`
		Attributes     api.Optional[attributesPatch] `json:"attributes" required:"false"`
		Tags           api.Optional[[]string]        `json:"tags" required:"false" maxItems:"50" minLength:"1" maxLength:"100" pattern:"^[^,]*[^\\s,][^,]*$"`
		Brand          api.Optional[string]          `json:"brand" required:"false" maxLength:"200"`
		TaxClass       api.Optional[string]          `json:"tax_class" required:"false" minLength:"1" maxLength:"50"`
		SEOTitle       api.Optional[string]          `json:"seo_title" required:"false" maxLength:"300"`
		SEODescription api.Optional[string]          `json:"seo_description" required:"false" maxLength:"1000"`
		PublishAt      api.Optional[time.Time]       `json:"publish_at" required:"false" nullable:"true"`
		UnpublishAt    api.Optional[time.Time]       `json:"unpublish_at" required:"false" nullable:"true"`
		Price          api.Optional[Price]           `json:"price" required:"false" doc:"Of its only variant."`
		SKU            api.Optional[string]          `json:"sku" required:"false" nullable:"true" maxLength:"100" doc:"Of its only variant."`
		Barcode        api.Optional[string]          `json:"barcode" required:"false" nullable:"true" maxLength:"100" doc:"Of its only variant."`
		WeightGrams    api.Optional[int]             `json:"weight_grams" required:"false" minimum:"0" maximum:"10000000" doc:"Of its only variant."`
		Variants       api.Optional[[]listedVariant] `json:"variants" required:"false" minItems:"1" maxItems:"100" doc:"All its variants: those without an id are new, those left out are deleted."`
	}
}

type variantPath struct {
	VariantID id.ID `path:"variant_id" ref:"variant" doc:"The variant."`
}

type variantMatch struct {
	VariantID id.ID       `path:"variant_id" ref:"variant" doc:"The variant."`
	IfMatch   api.IfMatch `header:"If-Match"`
}

type createVariant struct {
	ProductID id.ID `path:"product_id" ref:"product" doc:"The product."`
	Body      struct {
		SKU              *string            `json:"sku,omitempty" nullable:"true" maxLength:"100"`
		Barcode          *string            `json:"barcode,omitempty" nullable:"true" maxLength:"100"`
		Title            string             `json:"title,omitempty" maxLength:"300" doc:"Made from the options if absent."`
		Price            Price              `json:"price"`
		CompareAtPrice   *Price             `json:"compare_at_price,omitempty" nullable:"true"`
		Cost             *Price             `json:"cost,omitempty" nullable:"true"`
		Options          Choice             `json:"options,omitempty"`
		WeightGrams      int                `json:"weight_grams,omitempty" minimum:"0" maximum:"10000000"`
		ImageURL         *string            `json:"image_url,omitempty" nullable:"true" maxLength:"2048"`
		RequiresShipping api.Optional[bool] `json:"requires_shipping" required:"false" doc:"true if absent."`
		TrackStock       api.Optional[bool] `json:"track_stock" required:"false" doc:"true if absent."`
		InitialStock     int                `json:"initial_stock,omitempty" minimum:"0" maximum:"1000000000" doc:"How many lie in the default location."`
	}
}

type patchVariant struct {
	VariantID id.ID       `path:"variant_id" ref:"variant" doc:"The variant."`
	IfMatch   api.IfMatch `header:"If-Match"`
	Body      struct {
		SKU              api.Optional[string] `json:"sku" required:"false" nullable:"true" maxLength:"100"`
		Barcode          api.Optional[string] `json:"barcode" required:"false" nullable:"true" maxLength:"100"`
		Title            api.Optional[string] `json:"title" required:"false" maxLength:"300" doc:"Empty to have it made from the options."`
		Price            api.Optional[Price]  `json:"price" required:"false"`
		CompareAtPrice   api.Optional[Price]  `json:"compare_at_price" required:"false" nullable:"true"`
		Cost             api.Optional[Price]  `json:"cost" required:"false" nullable:"true"`
		Options          api.Optional[Choice] `json:"options" required:"false" doc:"A value of each option of the product."`
		WeightGrams      api.Optional[int]    `json:"weight_grams" required:"false" minimum:"0" maximum:"10000000"`
		ImageURL         api.Optional[string] `json:"image_url" required:"false" nullable:"true" maxLength:"2048"`
		RequiresShipping api.Optional[bool]   `json:"requires_shipping" required:"false"`
		TrackStock       api.Optional[bool]   `json:"track_stock" required:"false"`
		Position         api.Optional[int]    `json:"position" required:"false" minimum:"1" maximum:"100" doc:"Its place among the variants of the product, from 1."`
	}
}

type listVariants struct {
	api.ListParams
	ProductID id.ID `path:"product_id" ref:"product" doc:"The product."`
}
