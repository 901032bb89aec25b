// Package openapi makes the published document of what the operations and
// events say of themselves, and serves it. The committed openapi.json is a
// golden file: a difference there is a change of the contract.
//
// The library's own document is the start. It is decorated as a JSON copy,
// because the registry's live schemas are what requests are validated with: a
// limit added there would be enforced at once, and a limit added only here is
// never claimed for a request. So a request without enforced limits fails the
// making of the document, while answers are completed here.
package openapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/event"
)

// contractVersion is info.version: the version of the contract, which is not
// that of the binary. It moves with the headings of CHANGELOG.md.
const contractVersion = "1.0.0"

// Tag is a chapter of the reference: a feature, what it is for, and its events.
type Tag struct {
	Name   string // the tag of its operations
	Doc    string // one sentence
	Events []*event.Type
}

// object is a JSON object of the document.
type object = map[string]any

// generator holds a document while it is made.
type generator struct {
	router *api.Router
	tags   []Tag
	doc    object
	types  map[string]reflect.Type // of the schemas under components
	errs   []string
}

// Document returns the OpenAPI 3.1 document of the router's operations and the
// tags' public events, as indented JSON with sorted keys. It fails with a
// list of everything that is missing, named by Go field or operation.
func Document(r *api.Router, tags []Tag) ([]byte, error) {
	g, err := newGenerator(r, tags)
	if err != nil {
		return nil, err
	}
	g.nameBodies()
	g.head()
	g.events()
	g.operations()
	g.settleNull()
	g.checkRequests()
	eachSchema(g.doc, fill)
	g.examples()
	prune(g.doc)
	if len(g.errs) > 0 {
		slices.Sort(g.errs)
		return nil, fmt.Errorf("the OpenAPI document is not complete:\n%s", strings.Join(slices.Compact(g.errs), "\n"))
	}
	return encode(g.doc)
}

func newGenerator(r *api.Router, tags []Tag) (*generator, error) {
	raw, err := json.Marshal(r.OpenAPI())
	if err != nil {
		return nil, fmt.Errorf("openapi: encode the library's document: %w", err)
	}
	doc, err := decode(raw)
	if err != nil {
		return nil, err
	}
	g := &generator{router: r, tags: tags, doc: doc, types: map[string]reflect.Type{}}
	reg := r.OpenAPI().Components.Schemas
	for name := range reg.Map() {
		g.types[name] = reg.TypeFromRef(schemaPrefix + name)
	}
	if sub(g.doc, "components")["schemas"] == nil {
		sub(g.doc, "components")["schemas"] = object{}
	}
	return g, nil
}

const schemaPrefix = "#/components/schemas/"

// register adds the schemas of a type and returns a reference to it. It uses a
// registry of its own: the live one is read by requests that run meanwhile.
func (g *generator) register(t reflect.Type, hint string) object {
	reg := huma.NewMapRegistry(schemaPrefix, api.SchemaName)
	s, err := toObject(reg.Schema(t, true, hint))
	if err != nil {
		g.fail("%s: %v", t, err)
	}
	for name, schema := range reg.Map() {
		of := reg.TypeFromRef(schemaPrefix + name)
		if known, ok := g.types[name]; ok {
			if known != of {
				g.fail("the schema %s stands for both %s and %s: rename one of them", name, known, of)
			}
			continue
		}
		g.types[name] = of
		if g.schemas()[name], err = toObject(schema); err != nil {
			g.fail("%s: %v", of, err)
		}
	}
	return s
}

func (g *generator) fail(format string, args ...any) {
	g.errs = append(g.errs, fmt.Sprintf(format, args...))
}

func (g *generator) components(kind string) object { return sub(sub(g.doc, "components"), kind) }
func (g *generator) schemas() object               { return g.components("schemas") }

// resolve follows a reference inside the document.
func (g *generator) resolve(o object) object { return resolve(g.doc, o) }

func resolve(doc, o object) object {
	for {
		ref, ok := o["$ref"].(string)
		if !ok {
			return o
		}
		at := any(doc)
		for _, part := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
			m, _ := at.(object)
			at = m[part]
		}
		next, ok := at.(object)
		if !ok {
			return object{}
		}
		o = next
	}
}

// sub returns the object under a key, made if it is missing.
func sub(o object, key string) object {
	if m, ok := o[key].(object); ok {
		return m
	}
	m := object{}
	o[key] = m
	return m
}

func ref(kind, name string) object { return object{"$ref": "#/components/" + kind + "/" + name} }

func decode(raw []byte) (object, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var doc object
	if err := dec.Decode(&doc); err != nil {
		return nil, fmt.Errorf("openapi: decode: %w", err)
	}
	return doc, nil
}

func toObject(v any) (object, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("openapi: encode: %w", err)
	}
	return decode(raw)
}

func encode(doc object) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return nil, fmt.Errorf("openapi: encode: %w", err)
	}
	return buf.Bytes(), nil
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Handler serves a document that is made once, on first use.
func Handler(doc func() ([]byte, error)) http.Handler {
	once := sync.OnceValues(doc)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := once()
		if err != nil {
			http.Error(w, "the document could not be made", http.StatusInternalServerError)
			return
		}
		sum := sha256.Sum256(body)
		tag := `"` + hex.EncodeToString(sum[:8]) + `"`
		w.Header().Set("ETag", tag)
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("Access-Control-Allow-Origin", "*")
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	})
}
