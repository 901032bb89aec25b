package openapi

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/guildhall-dev/guildhall/api"
)

// root is a schema that the outside world fills in, and the Go field it is
// made of.
type root struct {
	schema any
	field  string
}

// operation returns the object of an operation.
func (g *generator) operation(op api.Registered) object {
	return sub(sub(sub(g.doc, "paths"), op.Path()), strings.ToLower(op.Method()))
}

// requestRoots are the schemas of an operation's parameters and body.
func (g *generator) requestRoots(op api.Registered) []root {
	var roots []root
	doc := g.operation(op)
	list, _ := doc["parameters"].([]any)
	for _, p := range list {
		param, _ := p.(object)
		if param["$ref"] == nil {
			roots = append(roots, root{param["schema"], paramField(op.In, param)})
		}
	}
	body, _ := doc["requestBody"].(object)
	content, _ := body["content"].(object)
	for _, mt := range sorted(content) {
		media, _ := content[mt].(object)
		roots = append(roots, root{media["schema"], fmt.Sprintf("%s.Body", op.In)})
		break // the others share its schema
	}
	return roots
}

// paramField names the Go field of a parameter.
func paramField(in reflect.Type, param object) string {
	name, _ := param["name"].(string)
	where, _ := param["in"].(string)
	for _, f := range reflect.VisibleFields(in) {
		if tag, _, _ := strings.Cut(f.Tag.Get(where), ","); tag == name && tag != "" {
			return fmt.Sprintf("%s.%s", in, f.Name)
		}
	}
	return fmt.Sprintf("%s (%s %s)", in, where, name)
}

// checkRequests refuses text and lists without a limit that requests are held
// to: one that only the document knew would be a lie.
func (g *generator) checkRequests() {
	seen := map[string]bool{}
	for _, op := range g.router.Operations() {
		for _, r := range g.requestRoots(op) {
			g.checkRequest(r.schema, r.field, nil, seen)
		}
	}
}

// checkRequest checks a schema that stands for a Go field; t is the struct that
// it describes, if it does.
func (g *generator) checkRequest(v any, field string, t reflect.Type, seen map[string]bool) {
	s, ok := v.(object)
	if !ok {
		return
	}
	if name, ok := componentName(s); ok {
		if seen[name] {
			return
		}
		seen[name] = true
		if t = g.types[name]; t != nil && t.Name() != "" {
			field = t.String()
		}
		g.checkRequest(g.schemas()[name], field, t, seen)
		return
	}
	format, _ := s["format"].(string)
	switch {
	case is(s, "string") && s["maxLength"] == nil && s["enum"] == nil && s["const"] == nil && formatLength[format] == 0:
		g.fail(`%s is text in a request without a limit: add maxLength:"…" (or enum) to its tag`, field)
	case is(s, "array") && s["maxItems"] == nil:
		g.fail(`%s is a list in a request without a limit: add maxItems:"…" to its tag`, field)
	}
	g.checkRequest(s["items"], field+"[]", nil, seen)
	g.checkRequest(s["additionalProperties"], field+"[key]", nil, seen)
	for _, k := range []string{"oneOf", "anyOf", "allOf"} {
		list, _ := s[k].([]any)
		for _, e := range list {
			g.checkRequest(e, field, t, seen)
		}
	}
	props, _ := s["properties"].(object)
	for _, name := range sorted(props) {
		g.checkRequest(props[name], field+"."+fieldOf(t, name), nil, seen)
	}
}

// fieldOf names the Go field behind a property.
func fieldOf(t reflect.Type, property string) string {
	if t != nil && t.Kind() == reflect.Struct {
		if f, ok := jsonFields(t)[property]; ok {
			return f.Name
		}
	}
	return property
}
