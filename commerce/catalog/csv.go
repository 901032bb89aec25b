package catalog

import (
	"bytes"
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
	"unicode/utf8"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/money"
)

// The columns of a file of products, one variant a line. Those of the product
// stand in the first of its lines; in the others they are the same or empty.
var (
	productColumns = []string{"product", "name", "description", "status", "category", "brand", "tags", "image_urls", "attributes", "tax_class",
		"seo_title", "seo_description", "publish_at", "unpublish_at", "currency", "option1_name", "option2_name", "option3_name"}
	variantColumns = []string{"sku", "barcode", "title", "option1_value", "option2_value", "option3_value", "price", "compare_at_price", "cost",
		"weight_grams", "variant_image_url", "requires_shipping", "track_stock"}
	importColumns = append(slices.Concat(productColumns, variantColumns), "initial_stock")
)

// Bounds of a file.
const (
	maxImportBytes = 5 << 20
	maxImportRows  = 20_000
)

// formulaLike are texts that a spreadsheet would compute; they are written with
// an apostrophe before them, which is taken away again where they are read.
var formulaLike = regexp.MustCompile(`^'*[=+\-@\t\r]`)

func guard(cell string) string {
	if formulaLike.MatchString(cell) {
		return "'" + cell
	}
	return cell
}

func unguard(cell string) string {
	if rest, ok := strings.CutPrefix(cell, "'"); ok && formulaLike.MatchString(rest) {
		return rest
	}
	return cell
}

// writeAmount gives an amount in major units, with all digits of the currency.
func writeAmount(m money.Money) string {
	text, _, _ := strings.Cut(m.String(), " ")
	return text
}

var amountForm = regexp.MustCompile(`^([0-9]{1,13})(?:\.([0-9]{1,4}))?$`)

// readAmount reads what writeAmount writes; a currency's last digits may be left
// out.
func readAmount(text, currency string) (money.Money, error) {
	digits := money.Digits(currency)
	parts := amountForm.FindStringSubmatch(strings.TrimSpace(text))
	if parts == nil || len(parts[2]) > digits {
		return money.Money{}, fmt.Errorf("expected an amount of %s such as %s", currency, writeAmount(money.Money{Amount: 1999, Currency: currency}))
	}
	n, err := strconv.ParseInt(parts[1]+parts[2]+strings.Repeat("0", digits-len(parts[2])), 10, 64)
	if err != nil || n > money.Max {
		return money.Money{}, fmt.Errorf("expected an amount of %s at most", writeAmount(money.Money{Amount: money.Max, Currency: currency}))
	}
	return money.Money{Amount: n, Currency: currency}, nil
}

// recordsOf gives the lines of a product in a file.
func recordsOf(p Product) [][]string {
	attributes := ""
	if len(p.Attributes) > 0 {
		raw, _ := json.Marshal(p.Attributes) // of texts, numbers and booleans
		attributes = string(raw)
	}
	category := ""
	if p.Category != nil {
		category = *p.Category
	}
	head := []string{p.Slug, p.Name, p.Description, p.Status, category, p.Brand, strings.Join(p.Tags, ","), strings.Join(p.ImageURLs, " "), attributes, p.TaxClass,
		p.SEOTitle, p.SEODescription, writeTime(p.PublishAt), writeTime(p.UnpublishAt), p.Currency, "", "", ""}
	for i, o := range p.Options {
		head[len(head)-maxOptions+i] = o.Name
	}
	records := make([][]string, len(p.Variants))
	for i, v := range p.Variants {
		row := slices.Clone(head)
		if i > 0 {
			row = make([]string, len(head))
			row[0] = p.Slug
		}
		row = append(row, text(v.SKU), text(v.Barcode), v.Title)
		for n := range maxOptions {
			value := ""
			if n < len(p.Options) {
				value = v.Options[p.Options[n].Name]
			}
			row = append(row, value)
		}
		row = append(row, writeAmount(v.Price), amountOrNone(v.CompareAtPrice), amountOrNone(v.Cost), strconv.Itoa(v.WeightGrams), text(v.ImageURL),
			strconv.FormatBool(v.RequiresShipping), strconv.FormatBool(v.TrackStock))
		for j := range row {
			row[j] = guard(row[j])
		}
		records[i] = row
	}
	return records
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func amountOrNone(m *money.Money) string {
	if m == nil {
		return ""
	}
	return writeAmount(*m)
}

func writeTime(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// record is a line of a file.
type record struct {
	line  int
	cells map[string]string // by column; what the file has no column for is not in it
}

// cell returns a cell and whether the file has its column.
func (r record) cell(column string) (string, bool) {
	v, there := r.cells[column]
	return v, there
}

// bundle are the lines of one product.
type bundle struct {
	slug    string
	records []record
}

// LineError says what is wrong in one line of a file.
type LineError struct {
	Line    int    `json:"line" minimum:"1" maximum:"10000000" example:"7" doc:"The line of the file, the names of the columns being the first."`
	Column  string `json:"column" maxLength:"50" example:"price" doc:"Empty if it is about the line as a whole."`
	Message string `json:"message" maxLength:"1000" example:"expected an amount of EUR such as 19.99"`
}

// readBundles reads a file of products. What is wrong with its form is an error
// of the whole: then nothing of it can be trusted.
func readBundles(source []byte) ([]bundle, error) {
	source = bytes.TrimPrefix(source, []byte("\ufeff"))
	if !utf8.Valid(source) || bytes.IndexByte(source, 0) >= 0 {
		return nil, fault.Invalidf("", "the file is not text in UTF-8")
	}
	r := csv.NewReader(bytes.NewReader(source))
	r.ReuseRecord = true
	names, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, fault.Invalidf("", "the file is empty")
	}
	if err != nil {
		return nil, badForm(err)
	}
	columns := make([]string, len(names))
	for i, n := range names {
		columns[i] = strings.ToLower(strings.TrimSpace(n))
		if !slices.Contains(importColumns, columns[i]) {
			return nil, fault.Invalidf("/1", "there is no column %q; there are %s", shortened(n), strings.Join(importColumns, ", "))
		}
		if slices.Index(columns, columns[i]) < i {
			return nil, fault.Invalidf("/1", "the column %s stands twice", columns[i])
		}
	}
	if !slices.Contains(columns, "product") && !slices.Contains(columns, "sku") && !slices.Contains(columns, "name") {
		return nil, fault.Invalidf("/1", "one of the columns product, sku and name must be there")
	}
	var bundles []bundle
	places := map[string]int{}
	for n := 0; ; n++ {
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			return bundles, nil
		}
		if err != nil {
			return nil, badForm(err)
		}
		if n == maxImportRows {
			return nil, fault.Invalidf("", "a file has at most %d lines", maxImportRows)
		}
		at, _ := r.FieldPos(0)
		rec := record{at, make(map[string]string, len(columns))}
		for i, c := range columns {
			rec.cells[c] = unguard(strings.Clone(cells[i]))
		}
		slug := strings.TrimSpace(rec.cells["product"])
		key := slug
		if slug == "" {
			// Lines of one name in a row, or each on its own.
			key = "\x00" + fold(strings.TrimSpace(rec.cells["name"]))
			if key == "\x00" {
				key = fmt.Sprintf("\x00\x00%d", at)
			}
		}
		i, there := places[key]
		if !there {
			i = len(bundles)
			places[key] = i
			bundles = append(bundles, bundle{slug: slug})
		}
		bundles[i].records = append(bundles[i].records, rec)
	}
}

func shortened(s string) string { return string([]rune(s)[:min(len([]rune(s)), 60)]) }

func badForm(err error) error {
	var p *csv.ParseError
	if errors.As(err, &p) {
		return fault.Invalidf("/"+strconv.Itoa(p.Line), "line %d cannot be read: %s", p.Line, p.Err)
	}
	return fault.Invalidf("", "the file cannot be read as CSV")
}
