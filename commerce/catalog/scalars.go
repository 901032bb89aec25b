package catalog

import (
	"maps"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/text/unicode/norm"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/line"
	"github.com/guildhall-dev/guildhall/internal/money"
)

// Price is an amount as a client gives it; the currency may be left out.
type Price struct {
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
}

// Schema stands in its place, so that null can be allowed beside it.
func (Price) Schema(huma.Registry) *huma.Schema {
	low, high, three := 0.0, float64(money.Max), 3
	amount := &huma.Schema{Type: huma.TypeInteger, Format: "int64", Minimum: &low, Maximum: &high, Examples: []any{1999}, Description: "In minor units of the currency: cents for EUR, yen for JPY."}
	code := &huma.Schema{Type: huma.TypeString, MaxLength: &three, Pattern: "^[A-Z]{3}$", Examples: []any{"EUR"}, Description: "ISO 4217 code; the product's if it is left out, and it must be the same."}
	s := &huma.Schema{Type: huma.TypeObject, AdditionalProperties: false, Required: []string{"amount"},
		Properties: map[string]*huma.Schema{"amount": amount, "currency": code},
		Examples:   []any{map[string]any{"amount": 1999, "currency": "EUR"}}}
	s.PrecomputeMessages()
	return s
}

// in returns the amount, which must be in the currency.
func (p Price) in(pointer, currency string) (money.Money, error) {
	if p.Currency != "" && p.Currency != currency {
		return money.Money{}, fault.Invalidf(pointer+"/currency", "all prices of the product are in %s", currency)
	}
	return money.Money{Amount: p.Amount, Currency: currency}, nil
}

// Attributes describe a product for filters and tables: each is a text, a
// number or a yes or no.
type Attributes map[string]any

const (
	maxAttributes     = 50
	maxAttributeValue = 500
)

var attributeName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,49}$`)

// Schema describes the object.
func (Attributes) Schema(huma.Registry) *huma.Schema {
	most, length := maxAttributes, maxAttributeValue
	value := &huma.Schema{OneOf: []*huma.Schema{
		{Type: huma.TypeString, MaxLength: &length}, {Type: huma.TypeNumber}, {Type: huma.TypeBoolean},
	}}
	s := &huma.Schema{Type: huma.TypeObject, MaxProperties: &most, AdditionalProperties: value,
		Description: "What it is like, by name: texts, numbers, or true and false. Names have lower-case letters, digits and underscores.",
		Examples:    []any{map[string]any{"colour": "red", "weight_kg": 1.5, "organic": true}}}
	s.PrecomputeMessages()
	for _, v := range value.OneOf {
		v.PrecomputeMessages()
	}
	return s
}

func (a Attributes) check() error {
	if len(a) > maxAttributes {
		return fault.Invalidf("/attributes", "there are at most %d attributes", maxAttributes)
	}
	for _, name := range slices.Sorted(maps.Keys(a)) {
		at := "/attributes/" + pointerToken(name)
		if !attributeName.MatchString(name) {
			return fault.Invalidf(at, "an attribute's name has lower-case letters, digits and underscores, 50 at most")
		}
		switch v := a[name].(type) {
		case bool:
		case string:
			if utf8.RuneCountInString(v) > maxAttributeValue {
				return fault.Invalidf(at, "expected %d characters at most", maxAttributeValue)
			}
		case float64:
			if math.Abs(v) > 1e15 {
				return fault.Invalidf(at, "expected a number between -1e15 and 1e15")
			}
		default:
			return fault.Invalidf(at, "expected a text, a number, true or false")
		}
	}
	return nil
}

// Choice is one value of each option of a product.
type Choice map[string]string

const (
	maxOptions     = 3
	maxVariants    = 100
	maxValues      = 100
	maxOptionName  = 50
	maxOptionValue = 100
)

// Schema describes the object.
func (Choice) Schema(huma.Registry) *huma.Schema {
	most, length := maxOptions, maxOptionValue
	value := &huma.Schema{Type: huma.TypeString, MaxLength: &length}
	s := &huma.Schema{Type: huma.TypeObject, MaxProperties: &most, AdditionalProperties: value,
		Description: "One value of each option of the product, by the option's name.", Examples: []any{map[string]any{"Size": "M"}}}
	s.PrecomputeMessages()
	value.PrecomputeMessages()
	return s
}

// pointerToken writes a name into a JSON pointer.
func pointerToken(s string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(s)
}

// fold is the form in which names are compared.
func fold(s string) string { return strings.ToLower(norm.NFC.String(s)) }

// spelled are letters that lose no mark and become others.
var spelled = strings.NewReplacer("ß", "ss", "æ", "ae", "œ", "oe", "ø", "o", "đ", "d", "ł", "l", "þ", "th", "ð", "d", "ı", "i")

// slugOf makes an address out of a name: lower case, ASCII, words joined by a
// dash; "" if nothing of the name is left.
func slugOf(name string, most int) string {
	var b strings.Builder
	dash := false
	for _, r := range norm.NFKD.String(spelled.Replace(strings.ToLower(name))) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			if dash && b.Len() > 0 {
				b.WriteByte('-')
			}
			dash = false
			b.WriteRune(r)
		case unicode.Is(unicode.Mn, r) || r == '\'' || r == '’':
		default:
			dash = true
		}
		if b.Len() >= most {
			break
		}
	}
	return strings.Trim(b.String()[:min(b.Len(), most)], "-")
}

// cleanTags trims tags and drops those that stand twice; their order stays.
func cleanTags(tags []string) ([]string, error) {
	out := make([]string, 0, len(tags))
	seen := map[string]bool{}
	for i, t := range tags {
		t, err := line.Clean(pointerAt("/tags", i), t, 100)
		if err != nil {
			return nil, err
		}
		if strings.Contains(t, ",") {
			return nil, fault.Invalidf(pointerAt("/tags", i), "a tag has no comma")
		}
		if !seen[fold(t)] {
			seen[fold(t)] = true
			out = append(out, t)
		}
	}
	return out, nil
}

// checkURL takes absolute web addresses only.
func checkURL(pointer, text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || len(text) > 2048 {
		return fault.Invalidf(pointer, "expected a web address that begins with https:// or http://")
	}
	return nil
}

// attributesPatch changes attributes: those that it names are set, null takes
// one away, the others stay.
type attributesPatch map[string]any

// Schema describes the object.
func (attributesPatch) Schema(r huma.Registry) *huma.Schema {
	s := Attributes{}.Schema(r)
	s.AdditionalProperties.(*huma.Schema).OneOf[0].Nullable = true
	s.Description += " Those that are named are set, null takes one away, the others stay."
	return s
}

// applied returns the attributes after the change.
func (c attributesPatch) applied(a Attributes) Attributes {
	out := Attributes{}
	maps.Copy(out, a)
	for name, v := range c {
		if v == nil {
			delete(out, name)
		} else {
			out[name] = v
		}
	}
	return out
}
