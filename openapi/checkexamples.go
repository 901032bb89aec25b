package openapi

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// CheckExamples holds every example and default of the document against its
// schema, so that what a reader copies is accepted.
func (v *Validator) CheckExamples() error {
	var errs []error
	check := func(where []string, values ...any) {
		schema, err := v.schema(pointerTo(where...))
		for _, value := range values {
			if err == nil {
				err = schema.Validate(value)
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("an example at %s: %w", strings.Join(where, " "), err))
		}
	}
	eachMedia(v.doc, nil, func(where []string, media object) {
		where = append(where, "schema")
		if e, ok := media["example"]; ok {
			check(where, e)
		}
		all, _ := media["examples"].(object)
		for _, e := range all {
			check(where, e.(object)["value"])
		}
		offers(media["schema"], where, check)
	})
	for name, s := range sub(sub(v.doc, "components"), "schemas") {
		offers(s, []string{"components", "schemas", name}, check)
	}
	return errors.Join(errs...)
}

// offers passes the values that a schema and its parts offer of themselves.
func offers(v any, where []string, check func([]string, ...any)) {
	s, ok := v.(object)
	if !ok {
		return
	}
	values, _ := s["examples"].([]any)
	if d, ok := s["default"]; ok {
		values = append(slices.Clone(values), d)
	}
	if len(values) > 0 {
		check(where, values...)
	}
	below := func(keys ...string) []string { return append(slices.Clone(where), keys...) }
	offers(s["items"], below("items"), check)
	offers(s["additionalProperties"], below("additionalProperties"), check)
	props, _ := s["properties"].(object)
	for name, p := range props {
		offers(p, below("properties", name), check)
	}
}

// eachMedia calls fn for every media type, parameter and header that has a
// schema, with its place.
func eachMedia(v any, where []string, fn func([]string, object)) {
	switch v := v.(type) {
	case []any:
		for i, e := range v {
			eachMedia(e, append(slices.Clone(where), fmt.Sprint(i)), fn)
		}
	case object:
		if _, ok := v["schema"].(object); ok {
			fn(slices.Clone(where), v)
			return
		}
		for k, e := range v {
			if k != "schemas" && k != "example" && k != "examples" {
				eachMedia(e, append(slices.Clone(where), k), fn)
			}
		}
	}
}
