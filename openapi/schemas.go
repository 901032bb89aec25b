package openapi

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
)

// eachSchema calls fn for every schema below a node of the document. names are
// the members whose keys are names and not keywords: a property called "type"
// is not the type of anything.
func eachSchema(doc object, fn func(object)) {
	comp := sub(doc, "components")
	for _, s := range sub(comp, "schemas") {
		walk(s, fn)
	}
	for _, kind := range []string{"headers", "parameters", "responses"} {
		for _, o := range sub(comp, kind) {
			inContainer(o, fn)
		}
	}
	inContainer(doc["paths"], fn)
	inContainer(doc["webhooks"], fn)
}

// inContainer looks for schemas in what is not itself one: operations,
// parameters, responses, media types.
func inContainer(v any, fn func(object)) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			inContainer(e, fn)
		}
	case object:
		for k, e := range v {
			switch k {
			case "schema":
				walk(e, fn)
			case "example", "examples", "security":
			default:
				inContainer(e, fn)
			}
		}
	}
}

// walk calls fn for a schema and all that it is made of.
func walk(v any, fn func(object)) {
	s, ok := v.(object)
	if !ok {
		return
	}
	fn(s)
	for _, k := range []string{"items", "additionalProperties", "not"} {
		walk(s[k], fn)
	}
	for _, k := range []string{"oneOf", "anyOf", "allOf"} {
		list, _ := s[k].([]any)
		for _, e := range list {
			walk(e, fn)
		}
	}
	if props, ok := s["properties"].(object); ok {
		for _, e := range props {
			walk(e, fn)
		}
	}
}

// is reports whether the schema's type is or includes t.
func is(s object, t string) bool {
	if s["type"] == t {
		return true
	}
	list, _ := s["type"].([]any)
	return slices.Contains(list, any(t))
}

// noNUL is true of every text: a NUL character is refused for the whole API.
const noNUL = `^[^\x00]*$`

// formatLength is the longest text of a format that bounds itself.
var formatLength = map[string]int{"uuid": 36, "date": 10, "date-time": 35, "ipv4": 15, "ipv6": 45}

// fill completes what an answer leaves open. Requests have passed
// checkRequests before, so for them only what follows from the type is added.
func fill(s object) {
	set := func(key string, value any) {
		if s[key] == nil {
			s[key] = value
		}
	}
	if is(s, "string") && s["enum"] == nil && s["const"] == nil {
		format, _ := s["format"].(string)
		n := formatLength[format]
		switch {
		case format == "email":
			n = 254
		case strings.HasPrefix(format, "uri"):
			n = 2048
		case n == 0:
			n = 65535
		}
		set("maxLength", n)
		if format == "" {
			set("pattern", noNUL)
		}
	}
	if is(s, "array") {
		set("maxItems", 1000)
	}
	if is(s, "integer") {
		low, high := json.Number("-9223372036854775808"), json.Number("9223372036854775807")
		if s["format"] == "int32" {
			low, high = "-2147483648", "2147483647"
		}
		set("format", "int64")
		if s["exclusiveMinimum"] == nil {
			set("minimum", low)
		}
		if s["exclusiveMaximum"] == nil {
			set("maximum", high)
		}
	}
	if enum, ok := s["enum"].([]any); ok && is(s, "null") && !slices.Contains(enum, nil) {
		s["enum"] = append(enum, nil)
	}
}

// settleNull says of answers where null may stand. The library knows it only of
// plain scalars; encoding/json writes null for every nil pointer. What a
// request may hold stays as the library checks it.
func (g *generator) settleNull() {
	asked := g.requestSchemas()
	for name, t := range g.types {
		if asked[name] || t == nil || t.Kind() != reflect.Struct {
			continue
		}
		schema, _ := g.schemas()[name].(object)
		props, _ := schema["properties"].(object)
		for key, f := range jsonFields(t) {
			prop, ok := props[key].(object)
			_, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if ok && f.Type.Kind() == reflect.Pointer && !strings.Contains(options, "omit") && f.Tag.Get("nullable") != "false" {
				allowNull(prop)
			}
		}
	}
}

func allowNull(s object) {
	if target, ok := s["$ref"]; ok {
		delete(s, "$ref")
		s["oneOf"] = []any{object{"$ref": target}, object{"type": "null"}}
		return
	}
	if t, ok := s["type"].(string); ok && t != "" {
		s["type"] = []any{t, "null"}
	}
}

// jsonFields are the fields of a struct by the name that they have in JSON;
// embedded structs count as their outer one's.
func jsonFields(t reflect.Type) map[string]reflect.StructField {
	out := map[string]reflect.StructField{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" || f.Anonymous && name == "" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		out[name] = f
	}
	return out
}

// requestSchemas names the schemas that a request may hold.
func (g *generator) requestSchemas() map[string]bool {
	asked := map[string]bool{}
	var visit func(v any)
	visit = func(v any) {
		walk(v, func(s object) {
			name, ok := componentName(s)
			if ok && !asked[name] {
				asked[name] = true
				visit(g.schemas()[name])
			}
		})
	}
	for _, op := range g.router.Operations() {
		for _, root := range g.requestRoots(op) {
			visit(root.schema)
		}
	}
	return asked
}

func componentName(s object) (string, bool) {
	target, _ := s["$ref"].(string)
	return strings.CutPrefix(target, schemaPrefix)
}
