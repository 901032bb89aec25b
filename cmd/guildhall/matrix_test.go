package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/id"
)

// slot is a place of an operation where an id goes in.
type slot struct {
	kind  string // of the thing meant: the ref tag
	where string // path, query or body
	name  string // parameter, or JSON name within the body (dotted)
	list  bool
}

func (s slot) String() string { return s.where + " " + s.name + " (" + s.kind + ")" }

var idType = reflect.TypeFor[id.ID]()

// slots finds every id of an operation's input by its ref tag, and complains
// about one without.
func slots(in reflect.Type) (found []slot, complaints []string) {
	for i := range in.NumField() {
		f := in.Field(i)
		switch {
		case f.Anonymous:
			s, c := slots(f.Type)
			found, complaints = append(found, s...), append(complaints, c...)
		case f.Name == "Body":
			s, c := bodySlots(f.Type, "")
			found, complaints = append(found, s...), append(complaints, c...)
		default:
			for _, where := range []string{"path", "query"} {
				name, _, _ := strings.Cut(f.Tag.Get(where), ",")
				if name == "" {
					continue
				}
				if ref := f.Tag.Get("ref"); ref != "" {
					found = append(found, slot{ref, where, name, false})
				} else if f.Type == idType {
					complaints = append(complaints, where+" parameter "+name+" is an id without a ref tag")
				}
			}
		}
	}
	return found, complaints
}

func bodySlots(t reflect.Type, prefix string) (found []slot, complaints []string) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil, nil
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		inner, list := f.Type, false
		for inner != idType {
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			} else if inner.Kind() == reflect.Slice {
				inner, list = inner.Elem(), true
			} else if v, ok := optionalOf(inner); ok {
				inner = v
			} else {
				break
			}
		}
		switch ref := f.Tag.Get("ref"); {
		case ref != "":
			found = append(found, slot{ref, "body", prefix + name, list})
		case inner == idType:
			complaints = append(complaints, "body field "+prefix+name+" is an id without a ref tag")
		case inner.Kind() == reflect.Struct && inner.PkgPath() != "time":
			s, c := bodySlots(inner, prefix+name+".")
			found, complaints = append(found, s...), append(complaints, c...)
		}
	}
	return found, complaints
}

// optionalOf returns T of an api.Optional[T].
func optionalOf(t reflect.Type) (reflect.Type, bool) {
	if t.Kind() != reflect.Struct || !strings.HasPrefix(t.Name(), "Optional[") {
		return nil, false
	}
	f, ok := t.FieldByName("Value")
	return f.Type, ok
}

// request is a call of an operation with every slot filled.
type request struct {
	op    api.Registered
	path  map[string]string
	query map[string]string
	body  map[string]any // nil without one
}

// sample makes a valid request of an operation out of its schema: required
// fields from their examples, ids from the seeds.
func sample(doc *huma.OpenAPI, op api.Registered, all []slot, ids map[string]string) request {
	r := request{op: op, path: map[string]string{}, query: map[string]string{}}
	item := doc.Paths[op.Path()]
	var ho *huma.Operation
	for method, o := range map[string]*huma.Operation{"GET": item.Get, "POST": item.Post, "PUT": item.Put, "PATCH": item.Patch, "DELETE": item.Delete} {
		if method == op.Method() {
			ho = o
		}
	}
	for _, p := range ho.Parameters {
		if p.In == "path" {
			r.path[p.Name] = fmt.Sprint(example(doc, p.Schema, p.Name))
		} else if p.In == "query" && p.Required {
			r.query[p.Name] = fmt.Sprint(example(doc, p.Schema, p.Name))
		}
	}
	if ho.RequestBody != nil {
		body, _ := example(doc, ho.RequestBody.Content["application/json"].Schema, "body").(map[string]any)
		r.body = body
	}
	for _, s := range all {
		own, ok := ids[s.kind]
		if !ok {
			continue
		}
		if s.where == "path" {
			r.path[s.name] = own
		} else if s.where == "body" && !strings.Contains(s.name, ".") && r.body != nil {
			if _, required := r.body[s.name]; required {
				r.setBody(s, own)
			}
		}
	}
	return r
}

func example(doc *huma.OpenAPI, s *huma.Schema, name string) any {
	if s.Ref != "" {
		s = doc.Components.Schemas.SchemaFromRef(s.Ref)
	}
	switch {
	case s.Type == huma.TypeObject:
		out := map[string]any{}
		for _, req := range s.Required {
			out[req] = example(doc, s.Properties[req], req)
		}
		return out
	case len(s.Examples) > 0:
		return s.Examples[0]
	case len(s.Enum) > 0:
		return s.Enum[0]
	case s.Default != nil:
		return s.Default
	case s.Type == huma.TypeArray:
		return []any{example(doc, s.Items, name)}
	case s.Type == huma.TypeInteger || s.Type == huma.TypeNumber:
		return 1
	case s.Type == huma.TypeBoolean:
		return false
	case s.Format == "date":
		return "2026-03-01"
	case s.Format == "date-time":
		return "2046-03-01T00:00:00Z"
	case s.Format == "email":
		return "somebody@example.test"
	}
	text := "sample"
	if s.MinLength != nil && len(text) < *s.MinLength {
		text = strings.Repeat("sample", *s.MinLength)
	}
	return text
}

func (r request) setBody(s slot, v string) {
	at := r.body
	parts := strings.Split(s.name, ".")
	for _, p := range parts[:len(parts)-1] {
		next, ok := at[p].(map[string]any)
		if !ok {
			next = map[string]any{}
			at[p] = next
		}
		at = next
	}
	if at[parts[len(parts)-1]] = any(v); s.list {
		at[parts[len(parts)-1]] = []any{v}
	}
}

// with returns a copy with one slot set.
func (r request) with(s slot, v string) request {
	c := request{op: r.op, path: map[string]string{}, query: map[string]string{}}
	for k, x := range r.path {
		c.path[k] = x
	}
	for k, x := range r.query {
		c.query[k] = x
	}
	if r.body != nil {
		raw, _ := json.Marshal(r.body)
		_ = json.Unmarshal(raw, &c.body)
	}
	switch s.where {
	case "path":
		c.path[s.name] = v
	case "query":
		c.query[s.name] = v
	case "body":
		if c.body == nil {
			c.body = map[string]any{}
		}
		c.setBody(s, v)
	}
	return c
}

func (r request) url() string {
	path := r.op.Path()
	for name, v := range r.path {
		path = strings.ReplaceAll(path, "{"+name+"}", v)
	}
	sep := "?"
	for _, name := range slices.Sorted(maps.Keys(r.query)) {
		path += sep + name + "=" + r.query[name]
		sep = "&"
	}
	return path
}

func (r request) send(c *client) *reply {
	if r.body == nil {
		return c.do(r.op.Method(), r.url(), nil)
	}
	return c.do(r.op.Method(), r.url(), r.body)
}

var variable = regexp.MustCompile(`"(request_id|created_at|updated_at)":"[^"]*"`)

// essence is what two answers must share: status and body, without the id that
// was asked for and what differs from call to call.
func (r *reply) essence(asked string) string {
	body := bytes.ReplaceAll(r.body, []byte(asked), []byte("ID"))
	return fmt.Sprint(r.status, " ", string(variable.ReplaceAll(body, nil)))
}

// TestMatrix asks every operation, in every place where an id goes in, for what
// belongs to somebody else. New operations are covered by being registered; a
// new kind of thing needs one line in seed.
func TestMatrix(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ours, theirs := seedOrganization(w, "ours"), seedOrganization(w, "theirs")
	private := seedPrivate(w, theirs)
	insider := w.join(theirs.owner, w.person("insider"), "member")
	powerless := w.join(theirs.owner, w.person("powerless"), theirs.emptyRole)
	doc := w.app.router.OpenAPI()
	shops := newShops(w, ours, theirs)
	attempts := 0
	for _, op := range w.app.router.Operations() {
		all, complaints := slots(op.In)
		for _, c := range complaints {
			t.Errorf("operation %s: %s: give it ref:\"<kind>\", so that the matrix can put another organisation's id there", op.ID, c)
		}
		for _, s := range all {
			if _, ok := ours.ids[s.kind]; !ok {
				t.Errorf("operation %s: no seed for ref %q: teach seedOrganization in seed_test.go to make one", op.ID, s.kind)
			}
		}
		// Anonymous.
		own := sample(doc, op, all, theirs.ids)
		attempts++
		if r := own.send(w.nobody()); op.Access != api.Public && r.status != http.StatusUnauthorized {
			t.Errorf("%s as nobody: status %d, want 401: %s", op.ID, r.status, r.body)
		}
		if op.Access == api.Storefront {
			attempts += shops.try(op, all)
			continue
		}
		// A customer is nobody outside of shops.
		attempts++
		if r := own.send(shops.theirs.customer); op.Access != api.Public && r.status != http.StatusUnauthorized {
			t.Errorf("%s as a customer: status %d, want 401: %s", op.ID, r.status, r.body)
		}
		if op.Access != api.InOrganization {
			continue
		}
		// Without the permission.
		if !op.Can.IsZero() {
			attempts++
			if r := own.send(powerless); r.status != http.StatusForbidden || r.str("permission") != op.Can.Key {
				t.Errorf("%s without %s: status %d, want 403 that names it: %s", op.ID, op.Can.Key, r.status, r.body)
			}
		}
		// From another organisation, by its header.
		attempts++
		if r := own.send(ours.owner.in(theirs.owner.org)); r.status != http.StatusNotFound || r.str("code") != "organization_not_found" {
			t.Errorf("%s in a foreign organisation: status %d, want 404: %s", op.ID, r.status, r.body)
		}
		mine := sample(doc, op, all, ours.ids)
		for _, s := range all {
			attempts += compare(t, ours.owner, mine, s, theirs.ids[s.kind], "of another organisation")
			if hidden := private[s.kind]; hidden != "" {
				attempts += compare(t, insider, own, s, hidden, "of a private project")
			}
		}
	}
	proved(t, "%d attempts on %d operations, no leak, foreign and random ids answer alike", attempts, len(w.app.router.Operations()))
}

// compare puts an id into the slot and demands the very answer that a random id
// gets there.
func compare(t testing.TB, as *client, base request, s slot, secret, whose string) int {
	t.Helper()
	if secret == "" || !uuidLike.MatchString(secret) {
		return 0
	}
	random := id.New().String()
	a, b := base.with(s, random).send(as), base.with(s, secret).send(as)
	switch {
	case s.where == "path" && b.status < 400:
		t.Errorf("%s: %s %s was accepted: %d %s", base.op.ID, s, whose, b.status, b.body)
	case a.status >= 500 || b.status >= 500:
		t.Errorf("%s: %s %s: %d, random: %d: %s", base.op.ID, s, whose, b.status, a.status, b.body)
	case a.essence(random) != b.essence(secret):
		t.Errorf("%s: %s %s is told apart from a random one:\n  %s\n  %s", base.op.ID, s, whose, b.essence(secret), a.essence(random))
	}
	return 2
}

var uuidLike = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// TestMatrixBites makes sure that the comparison would find a leak.
func TestMatrixBites(t *testing.T) {
	t.Parallel()
	type leaky struct {
		Project id.ID `path:"project_id"`
		Body    struct {
			Assignee api.Optional[id.ID] `json:"assigned_to_id"`
			Tasks    []id.ID             `json:"task_ids" ref:"task"`
		}
	}
	found, complaints := slots(reflect.TypeFor[leaky]())
	if len(complaints) != 2 || !slices.Equal(found, []slot{{"task", "body", "task_ids", true}}) {
		t.Fatalf("found %v, complaints %q", found, complaints)
	}
	a := &reply{t: t, status: 404, body: []byte(`{"detail":"No such task.","request_id":"1"}`)}
	b := &reply{t: t, status: 404, body: []byte(`{"detail":"No such task.","request_id":"2"}`)}
	c := &reply{t: t, status: 403, body: []byte(`{"detail":"No such task.","request_id":"2"}`)}
	if a.essence("x") != b.essence("y") || a.essence("x") == c.essence("x") {
		t.Fatal("the comparison does not compare")
	}
}
