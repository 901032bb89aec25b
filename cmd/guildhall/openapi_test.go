package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/guildhall-dev/guildhall/openapi"
)

// goldenDocument is the committed contract.
var goldenDocument = filepath.Join("..", "..", "openapi", "openapi.json")

func TestGoldenOpenAPI(t *testing.T) {
	t.Parallel()
	doc := specimenDocument(t)
	if os.Getenv("GUILDHALL_UPDATE") != "" {
		if err := os.WriteFile(goldenDocument, doc, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	committed, err := os.ReadFile(goldenDocument)
	if err != nil {
		t.Fatalf("%v: run `make generate`", err)
	}
	if bytes.Equal(committed, doc) {
		return
	}
	was, is := strings.Split(string(committed), "\n"), strings.Split(string(doc), "\n")
	line := 0
	for line < min(len(was), len(is)) && was[line] == is[line] {
		line++
	}
	t.Fatalf("openapi/openapi.json is not the document of this tree: the contract changed at line %d.\nwas: %s\nis:  %s\n"+
		"If that is meant, run `make generate`, and tell the readers of the API in a line in CHANGELOG.md.",
		line+1, at(was, line), at(is, line))
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return strings.TrimSpace(lines[i])
	}
	return "(nothing)"
}

func TestOpenAPICommand(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ flag, want string }{{"3.1", `"openapi": "3.1.0"`}, {"3.0", `"openapi": "3.0.3"`}} {
		var out, errOut bytes.Buffer
		if err := run(context.Background(), []string{"openapi", "--version", c.flag}, nil, &out, &errOut); err != nil {
			t.Fatalf("%v\n%s", err, &errOut)
		}
		if !json.Valid(out.Bytes()) || !strings.Contains(out.String(), c.want) {
			t.Errorf("openapi --version %s prints no such document", c.flag)
		}
	}
	if err := run(context.Background(), []string{"openapi", "--version", "2"}, nil, &bytes.Buffer{}, &bytes.Buffer{}); err == nil {
		t.Error("openapi --version 2 was accepted")
	}
}

// conformance is the validator of this tree's document; the harness asks it
// about every answer.
var conformance = sync.OnceValues(func() (*openapi.Validator, error) {
	a, err := newSpecimen()
	if err != nil {
		return nil, err
	}
	doc, err := a.document()
	if err != nil {
		return nil, err
	}
	return openapi.NewValidator(doc)
})

// conform fails the test if an answer is not what the document says.
func conform(t testing.TB, method, path string, r *reply) {
	t.Helper()
	v, err := conformance()
	if err != nil {
		t.Error(err)
		return
	}
	if err := v.Check(method, path, r.status, r.header("Content-Type"), r.body); err != nil {
		t.Errorf("the answer breaks the contract: %v", err)
	}
}

// TestOpenAPIIsComplete holds the document against the operations and events
// that it is of: nothing may be missing, and nothing may be there for nobody.
func TestOpenAPIIsComplete(t *testing.T) {
	t.Parallel()
	a, err := newSpecimen()
	if err != nil {
		t.Fatal(err)
	}
	raw := specimenDocument(t)
	var doc published
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	for _, op := range a.router.Operations() {
		doc.Paths[op.Path()][strings.ToLower(op.Method())].complete(t, op.ID, doc.tags())
	}
	for _, m := range a.features.modules {
		for _, e := range m.Events {
			hook := doc.Webhooks[e.Name]["post"]
			switch {
			case e.Internal && hook.OperationID != "":
				t.Errorf("the internal event %s stands under webhooks", e.Name)
			case !e.Internal:
				hook.example(t, "event "+e.Name, hook.RequestBody)
			}
		}
		for _, op := range a.router.Operations() {
			for _, e := range op.Emits {
				if _, ok := doc.Webhooks[e.Name]; !ok && !e.Internal {
					t.Errorf("%s emits %s, which no module lists in Events", op.ID, e.Name)
				}
			}
		}
	}
	for kind, all := range doc.Components {
		for name := range all {
			if kind != "securitySchemes" && !bytes.Contains(raw, []byte(`"#/components/`+kind+`/`+name+`"`)) {
				t.Errorf("nothing uses components/%s/%s", kind, name)
			}
		}
	}
	v, err := openapi.NewValidator(raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.CheckExamples(); err != nil {
		t.Error(err)
	}
}

// TestDocumentPages asks for the documents and for the page of every code that
// the document names.
func TestDocumentPages(t *testing.T) {
	t.Parallel()
	a, err := newSpecimen()
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		a.handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		return rec
	}
	for path, want := range map[string]int{
		"/openapi.json": 200, "/openapi-3.0.json": 200, "/docs": 200, "/docs/errors": 200, "/docs/errors/none": 404,
	} {
		if got := get(path); got.Code != want {
			t.Errorf("GET %s: %d, want %d", path, got.Code, want)
		}
	}
	var doc struct {
		Components struct {
			Responses map[string]struct {
				Codes []string `json:"x-codes"`
			}
		}
	}
	if err := json.Unmarshal(get("/openapi.json").Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	for name, r := range doc.Components.Responses {
		if len(r.Codes) == 0 {
			t.Errorf("the response %s names no code", name)
		}
		for _, code := range r.Codes {
			if got := get("/docs/errors/" + code); got.Code != http.StatusOK {
				t.Errorf("the code %s has no page: %d", code, got.Code)
			}
		}
	}
}

func specimenDocument(t *testing.T) []byte {
	t.Helper()
	a, err := newSpecimen()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := a.document()
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// published is what these tests read of the document.
type published struct {
	Tags       []struct{ Name, Description string }
	Paths      map[string]map[string]operationEntry
	Webhooks   map[string]map[string]operationEntry
	Components map[string]map[string]any
}

type operationEntry struct {
	OperationID string `json:"operationId"`
	Summary     string
	Description string
	Tags        []string
	Security    []map[string][]string
	Permission  string `json:"x-permission"`
	Access      string `json:"x-access"`
	RequestBody *body  `json:"requestBody"`
	Responses   map[string]body
}

type body struct {
	Content map[string]struct {
		Schema   any
		Example  any
		Examples map[string]any
	}
}

func (d published) tags() []string {
	var names []string
	for _, tag := range d.Tags {
		names = append(names, tag.Name)
	}
	return names
}

func (o operationEntry) complete(t *testing.T, id string, tags []string) {
	t.Helper()
	if o.OperationID != id || o.Summary == "" || o.Description == "" || len(o.Tags) != 1 || !slices.Contains(tags, o.Tags[0]) {
		t.Errorf("%s: operationId, summary, description or tag is missing", id)
	}
	if (o.Access == "public") != (len(o.Security) == 1 && len(o.Security[0]) == 0) || o.Access != "organization" && o.Permission != "" {
		t.Errorf("%s: access %q with security %v and permission %q", id, o.Access, o.Security, o.Permission)
	}
	o.example(t, id+" request", o.RequestBody)
	for status, r := range o.Responses {
		o.example(t, id+" "+status, &r)
	}
	for _, status := range []string{"400", "401", "422", "429", "500"} {
		if _, ok := o.Responses[status]; !ok {
			t.Errorf("%s does not declare %s", id, status)
		}
	}
}

func (o operationEntry) example(t *testing.T, name string, b *body) {
	t.Helper()
	if b == nil {
		return
	}
	for mt, media := range b.Content {
		if media.Example == nil && media.Examples == nil || media.Schema == nil {
			t.Errorf("%s: %s has no example or no schema", name, mt)
		}
	}
}
