package openapi

import (
	"fmt"
	"strings"
)

// nameBodies gives the schemas of unnamed Go structs the name of the one
// operation that they belong to: CreateTaskRequest, whatever the input struct is
// called and in whatever order features are listed. Generated clients show it.
func (g *generator) nameBodies() {
	renamed := map[string]string{}
	for _, op := range g.router.Operations() {
		doc := g.operation(op)
		body, _ := doc["requestBody"].(object)
		g.nameBody(body, camel(op.ID)+"Request", renamed)
		for status, r := range sub(doc, "responses") {
			if res, _ := r.(object); strings.HasPrefix(status, "2") {
				g.nameBody(res, camel(op.ID)+"Response", renamed)
			}
		}
	}
	if len(renamed) > 0 {
		rename(g.doc, renamed)
	}
}

func (g *generator) nameBody(container object, want string, renamed map[string]string) {
	content, _ := container["content"].(object)
	for _, mt := range sorted(content) {
		media, _ := content[mt].(object)
		schema, _ := media["schema"].(object)
		name, ok := componentName(schema)
		t := g.types[name]
		if !ok || name == want || t == nil || t.Name() != "" || renamed[schemaPrefix+name] != "" {
			continue
		}
		if g.schemas()[want] != nil {
			g.fail("the schema %s exists already: give that type another name", want)
			continue
		}
		g.schemas()[want], g.types[want] = g.schemas()[name], t
		delete(g.schemas(), name)
		delete(g.types, name)
		renamed[schemaPrefix+name] = schemaPrefix + want
	}
}

// rename changes references, wherever they stand.
func rename(v any, to map[string]string) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			rename(e, to)
		}
	case object:
		if next := to[fmt.Sprint(v["$ref"])]; next != "" {
			v["$ref"] = next
		}
		for _, e := range v {
			rename(e, to)
		}
	}
}
