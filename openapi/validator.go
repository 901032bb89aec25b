package openapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Validator holds live answers against a document. It is safe for concurrent
// use; each schema is compiled once, when it is first needed.
type Validator struct {
	doc    object
	routes []route

	mu       sync.Mutex
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema
}

type route struct {
	method string
	parts  []string // of the path; "{…}" fits anything
	path   string
}

// resource is the name under which the document's schemas are compiled.
const resource = "mem:///openapi.json"

// NewValidator returns a validator of the document that Document made.
func NewValidator(document []byte) (*Validator, error) {
	whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		return nil, fmt.Errorf("openapi.NewValidator: %w", err)
	}
	doc, ok := whole.(object)
	if !ok {
		return nil, errors.New("openapi.NewValidator: the document is not an object")
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(resource, doc); err != nil {
		return nil, fmt.Errorf("openapi.NewValidator: %w", err)
	}
	v := &Validator{doc: doc, compiler: c, schemas: map[string]*jsonschema.Schema{}}
	for path, p := range sub(doc, "paths") {
		for method := range p.(object) {
			v.routes = append(v.routes, route{strings.ToUpper(method), strings.Split(path, "/"), path})
		}
	}
	return v, nil
}

// Check reports what an answer does that the document does not say: an
// undeclared status, code or content type, or a body that its schema refuses.
// Addresses outside of /v1/ are not in the document and always pass, and so
// does HEAD. path may carry a query.
func (v *Validator) Check(method, path string, status int, contentType string, body []byte) error {
	path, _, _ = strings.Cut(path, "?")
	if method == "HEAD" {
		return nil
	}
	if !strings.HasPrefix(path, "/v1/") {
		return nil
	}
	at, ok := v.find(method, path)
	if !ok {
		if status == 404 || status == 405 {
			return v.checkBody(pointerTo("components", "schemas", "Problem"), fmt.Sprintf("%s %s: %d", method, path, status), body)
		}
		return fmt.Errorf("%s %s answers %d, but the document has no such operation", method, path, status)
	}
	name := fmt.Sprintf("%s %s: %d", method, at.path, status)
	where := []string{"paths", at.path, strings.ToLower(method), "responses"}
	responses := sub(sub(sub(sub(v.doc, "paths"), at.path), strings.ToLower(method)), "responses")
	res, ok := responses[fmt.Sprint(status)].(object)
	if _, any := responses["default"]; !ok && any {
		return nil // somebody else's answer
	}
	if !ok {
		return fmt.Errorf("%s is not declared; the document has %s. A literal names further answers in Errors", name, strings.Join(sorted(responses), ", "))
	}
	where = append(where, fmt.Sprint(status))
	if target, ok := res["$ref"].(string); ok {
		where = strings.Split(strings.TrimPrefix(target, "#/"), "/")
		res = resolve(v.doc, res)
	}
	return v.checkResponse(res, where, name, contentType, body)
}

func (v *Validator) checkResponse(res object, where []string, name, contentType string, body []byte) error {
	content, _ := res["content"].(object)
	if len(content) == 0 {
		if len(bytes.TrimSpace(body)) > 0 {
			return fmt.Errorf("%s has a body, the document says there is none: %s", name, clip(body))
		}
		return nil
	}
	mt, _, err := mime.ParseMediaType(contentType)
	if err != nil || content[mt] == nil {
		return fmt.Errorf("%s is of type %q, the document says %s", name, contentType, strings.Join(sorted(content), ", "))
	}
	if mt != "application/json" && mt != problemType {
		return nil
	}
	if err := v.checkBody(pointerTo(append(where, "content", mt, "schema")...), name, body); err != nil {
		return err
	}
	codes, declared := res["x-codes"].([]any)
	var problem struct{ Code string }
	if declared && json.Unmarshal(body, &problem) == nil && !slices.Contains(codes, any(problem.Code)) {
		status := name[strings.LastIndexByte(name, ' ')+1:]
		return fmt.Errorf(`%s has the code %q, which the document does not name: add "%s %s" to Errors of the operation's literal`, name, problem.Code, status, problem.Code)
	}
	return nil
}

// find returns the route of a path; a literal part beats a template.
func (v *Validator) find(method, path string) (best route, ok bool) {
	parts := strings.Split(path, "/")
	score := -1
	for _, r := range v.routes {
		if r.method != method || len(r.parts) != len(parts) {
			continue
		}
		literal := 0
		for i, p := range r.parts {
			if strings.HasPrefix(p, "{") && parts[i] != "" {
				continue
			}
			if p != parts[i] {
				literal = -1
				break
			}
			literal += 1 << (len(parts) - i)
		}
		if literal > score {
			best, ok, score = r, true, literal
		}
	}
	return best, ok
}

func (v *Validator) checkBody(at, name string, body []byte) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s: the body is not JSON (%w): %s", name, err, clip(body))
	}
	schema, err := v.schema(at)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := schema.Validate(value); err != nil {
		return fmt.Errorf("%s: the body is not what the document says: %w\n%s", name, err, clip(body))
	}
	return nil
}

// schema compiles the schema at a place of the document.
func (v *Validator) schema(at string) (*jsonschema.Schema, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if s := v.schemas[at]; s != nil {
		return s, nil
	}
	s, err := v.compiler.Compile(resource + at)
	if err != nil {
		return nil, fmt.Errorf("compile the schema %s: %w", at, err)
	}
	v.schemas[at] = s
	return s, nil
}

// pointerTo is the fragment that names a place in the document.
func pointerTo(parts ...string) string {
	var b strings.Builder
	b.WriteByte('#')
	for _, p := range parts {
		p = strings.NewReplacer("~", "~0", "/", "~1").Replace(p)
		b.WriteString("/" + url.PathEscape(p))
	}
	return b.String()
}

func clip(b []byte) []byte {
	if len(b) > 2000 {
		return append(slices.Clone(b[:2000]), "…"...)
	}
	return b
}
