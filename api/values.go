package api

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
)

// What is well formed may still be nothing that a column or an answer can hold,
// or the very value by which Go knows that a parameter was not given. These
// checks refuse both in one place, by the formats of the published schemas.

// Times and dates are accepted from the year 1000 up to the year 9999, in UTC:
// four digits, as RFC 3339 writes them, and never Go's zero time.
const minYear, maxYear = 1000, 9999

// odd says why a value that fits its format is refused all the same, or "".
func odd(format, text string) string {
	layout := time.RFC3339
	switch format {
	case "date":
		layout = time.DateOnly
	case "date-time":
	case "uuid":
		if v, err := id.Parse(text); err == nil && v.IsZero() {
			return "the nil UUID is the id of nothing; leave the parameter out"
		}
		return ""
	default:
		return ""
	}
	t, err := time.Parse(layout, text)
	if y := t.UTC().Year(); err == nil && (y < minYear || y > maxYear) {
		return fmt.Sprintf("the year must be between %d and %d", minYear, maxYear)
	}
	return "" // or another check says what is wrong
}

// queryForm is the format of each query parameter that has one.
type queryForm map[string]string

func queryFormOf(op *huma.Operation) queryForm {
	f := queryForm{}
	for _, p := range op.Parameters {
		if p.In == "query" && p.Schema != nil && p.Schema.Format != "" {
			f[p.Name] = p.Schema.Format
		}
	}
	return f
}

// check refuses a parameter that would be taken for one that is not there.
func (f queryForm) check(u url.URL) error {
	if len(f) == 0 || u.RawQuery == "" {
		return nil
	}
	for name, values := range u.Query() {
		for _, v := range values {
			if why := odd(f[name], v); why != "" {
				return fault.Invalidf("query."+name, "%s", why)
			}
		}
	}
	return nil
}

// holdsTimes reports whether a value of the schema may hold a time or a date.
func holdsTimes(s *huma.Schema, all huma.Registry, above ...*huma.Schema) bool {
	if s != nil && s.Ref != "" {
		s = all.SchemaFromRef(s.Ref)
	}
	if s == nil || slices.Contains(above, s) {
		return false
	}
	if s.Format == "date" || s.Format == "date-time" || holdsTimes(s.Items, all, append(above, s)...) {
		return true
	}
	for _, p := range s.Properties {
		if holdsTimes(p, all, append(above, s)...) {
			return true
		}
	}
	return false
}

// refuseTimes refuses times and dates out of bounds, wherever they stand.
func refuseTimes(body []byte, s *huma.Schema, all huma.Registry, at string) error {
	if s != nil && s.Ref != "" {
		s = all.SchemaFromRef(s.Ref)
	}
	var text string
	var items []json.RawMessage
	var members map[string]json.RawMessage
	switch {
	case s == nil:
	case s.Format == "date" || s.Format == "date-time":
		if json.Unmarshal(body, &text) != nil {
			return nil
		}
		if why := odd(s.Format, text); why != "" {
			return fault.Invalidf(at, "%s", why)
		}
	case s.Items != nil && json.Unmarshal(body, &items) == nil:
		for i, raw := range items {
			if err := refuseTimes(raw, s.Items, all, fmt.Sprintf("%s/%d", at, i)); err != nil {
				return err
			}
		}
	case len(s.Properties) > 0 && json.Unmarshal(body, &members) == nil:
		for name, raw := range members {
			if err := refuseTimes(raw, s.Properties[name], all, at+"/"+name); err != nil {
				return err
			}
		}
	}
	return nil
}
