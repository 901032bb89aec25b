package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
)

// hostile are bodies that no operation may accept, made from a good one.
func hostile(good map[string]any) map[string]string {
	raw, _ := json.Marshal(good)
	object := string(raw)
	inner := strings.TrimSuffix(strings.TrimPrefix(object, "{"), "}")
	out := map[string]string{
		"empty":              "",
		"not JSON":           "{",
		"array":              "[]",
		"string":             `"x"`,
		"null":               "null",
		"number":             "1",
		"two values":         object + object,
		"trailing":           object + "x",
		"unknown field":      `{"` + strings.Repeat("z", 12) + `":1` + comma(inner) + `}`,
		"prototype":          `{"__proto__":{"a":1}` + comma(inner) + `}`,
		"ten megabytes":      `{"pad":"` + strings.Repeat("a", 10<<20) + `"` + comma(inner) + `}`,
		"deep arrays":        `{"pad":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + comma(inner) + `}`,
		"deep objects":       `{"pad":` + strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000) + comma(inner) + `}`,
		"not UTF-8":          `{"pad":"` + "\xff\xfe" + `"` + comma(inner) + `}`,
		"half a surrogate":   `{"pad":"\ud83d"` + comma(inner) + `}`,
		"NUL in a key":       `{"a\u0000b":1` + comma(inner) + `}`,
		"NaN":                `{"pad":NaN` + comma(inner) + `}`,
		"comment":            `{/* */` + inner + `}`,
		"byte order mark":    "\ufeff" + object,
		"single quotes":      strings.ReplaceAll(object, `"`, `'`), // of {} it is {} again
		"exponent bomb":      `{"pad":1e999999` + comma(inner) + `}`,
		"XML":                `<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>`,
		"form":               "title=x&name=y",
		"constructor":        `{"constructor":{"prototype":{}}` + comma(inner) + `}`,
		"ten thousand keys":  `{` + manyKeys(10_000) + comma(inner) + `}`,
		"leading zero":       `{"pad":01` + comma(inner) + `}`,
		"control characters": "{\"pad\":\"\x01\"" + comma(inner) + `}`,
	}
	if inner == "" {
		delete(out, "single quotes")
	}
	for name, v := range good {
		value, _ := json.Marshal(v)
		rest := map[string]any{}
		for k, x := range good {
			if k != name {
				rest[k] = x
			}
		}
		others, _ := json.Marshal(rest)
		tail := comma(strings.TrimSuffix(strings.TrimPrefix(string(others), "{"), "}"))
		out["twice "+name] = fmt.Sprintf(`{"%s":%s,"%s":%s%s}`, name, value, name, value, tail)
		out["upper case "+name] = fmt.Sprintf(`{"%s":%s%s}`, strings.ToUpper(name), value, tail)
		out["both cases "+name] = fmt.Sprintf(`{"%s":%s,"%s":%s%s}`, name, value, strings.ToUpper(name), value, tail)
		out["object "+name] = fmt.Sprintf(`{"%s":{"$gt":""}%s}`, name, tail)
		out["number "+name] = fmt.Sprintf(`{"%s":12345678901234567890123%s}`, name, tail)
		if _, isString := v.(string); isString {
			out["NUL "+name] = fmt.Sprintf(`{"%s":"a\u0000b"%s}`, name, tail)
			out["raw NUL "+name] = fmt.Sprintf("{\"%s\":\"a\x00b\"%s}", name, tail)
			out["too long "+name] = fmt.Sprintf(`{"%s":"%s"%s}`, name, strings.Repeat("x", 60_000), tail)
			out["array "+name] = fmt.Sprintf(`{"%s":["x"]%s}`, name, tail)
			out["null "+name] = fmt.Sprintf(`{"%s":null%s}`, name, tail)
		}
	}
	return out
}

func comma(s string) string {
	if s == "" {
		return ""
	}
	return "," + s
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"k%d":1,`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

const countRows = `select coalesce(sum((xpath('/row/c/text()', query_to_xml(format('select count(*) as c from guildhall.%I', c.relname), false, true, '')))[1]::text::bigint), 0)::bigint as n
	from pg_class c where c.relnamespace = 'guildhall'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
	and c.relname not in ('event_log', 'event_pending', 'login_throttles', 'identity_log', 'event_batches')`

// TestHostileBodies sends every operation with a body what nobody should: the
// answer is a 4xx problem, and no table has a row more.
func TestHostileBodies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := seedOrganization(w, "hostile")
	doc := w.app.router.OpenAPI()
	before := w.sql(countRows)[0]["n"]
	sent := 0
	for _, op := range w.app.router.Operations() {
		all, _ := slots(op.In)
		r := sample(doc, op, all, s.ids)
		if r.body == nil {
			continue
		}
		for name, p := range requestSchema(doc, op.Path(), op.Method()).Properties {
			if _, there := r.body[name]; !there {
				r.body[name] = example(doc, p, name)
			}
		}
		for what, body := range hostile(r.body) {
			if what == "empty" && !bodyRequired(doc, op.Path(), op.Method()) {
				continue
			}
			if strings.HasPrefix(what, "null ") && mayBeNull(doc, op.Path(), op.Method(), strings.TrimPrefix(what, "null ")) {
				continue
			}
			sent++
			res := s.as(op).do(op.Method(), r.url(), body)
			if res.status < 400 || res.status >= 500 || res.header("Content-Type") != "application/problem+json" {
				t.Errorf("%s, %s: status %d %s: %.300s", op.ID, what, res.status, res.header("Content-Type"), res.body)
			}
		}
		if res := s.as(op).do(op.Method(), r.url(), "a=b", "Content-Type: application/x-www-form-urlencoded"); res.status != http.StatusUnsupportedMediaType {
			t.Errorf("%s as a form: status %d, want 415", op.ID, res.status)
		}
	}
	if after := w.sql(countRows)[0]["n"]; after != before {
		t.Errorf("the tables had %v rows and have %v", before, after)
	}
	proved(t, "%d hostile bodies, each refused with a 4xx problem, no row stored", sent)
}

func requestBody(doc *huma.OpenAPI, path, method string) *huma.RequestBody {
	item := doc.Paths[path]
	return map[string]*huma.Operation{"POST": item.Post, "PUT": item.Put, "PATCH": item.Patch, "DELETE": item.Delete}[method].RequestBody
}

func bodyRequired(doc *huma.OpenAPI, path, method string) bool {
	return requestBody(doc, path, method).Required
}

func requestSchema(doc *huma.OpenAPI, path, method string) *huma.Schema {
	s := requestBody(doc, path, method).Content["application/json"].Schema
	if s.Ref != "" {
		s = doc.Components.Schemas.SchemaFromRef(s.Ref)
	}
	return s
}

func mayBeNull(doc *huma.OpenAPI, path, method, field string) bool {
	p := requestSchema(doc, path, method).Properties[field]
	return p != nil && p.Nullable
}

// naughty reads the Big List of Naughty Strings that npm installed.
func naughty(t *testing.T) []string {
	t.Helper()
	raw, err := os.ReadFile("../../node_modules/big-list-of-naughty-strings/blns.json")
	if err != nil {
		t.Fatalf("%v: run make test, which installs it", err)
	}
	var all []string
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestHostileStrings puts naughty strings into every string field of every
// operation: each is refused with a 4xx, or stored and given back as it was.
func TestHostileStrings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := seedOrganization(w, "naughty")
	doc := w.app.router.OpenAPI()
	all := naughty(t)
	step := count(max(1, len(all)/20), 1)
	slow := count(max(1, len(all)/4), 1) // where each costs the hash of a password
	sent := 0
	for _, op := range w.app.router.Operations() {
		places, _ := slots(op.In)
		r := sample(doc, op, places, s.ids)
		if r.body == nil || op.ID == "delete-organization" {
			continue
		}
		schema, step := requestSchema(doc, op.Path(), op.Method()), step
		if strings.Contains(op.Path(), "/auth/") {
			step = slow
		}
		for field, p := range schema.Properties {
			if p.Type != huma.TypeString || p.Format == "uuid" {
				continue
			}
			for i := 0; i < len(all); i += step {
				c := r.with(slot{where: "body", name: field}, all[i])
				res := c.send(s.as(op))
				sent++
				switch {
				case res.status >= 500:
					t.Errorf("%s.%s = %q: status %d: %s", op.ID, field, all[i], res.status, res.body)
				case res.status < 300 && len(res.body) > 0 && strings.Contains("title description body name", field):
					if got, ok := res.at(field).(string); ok && got != all[i] && got != strings.TrimSpace(all[i]) &&
						got != strings.Join(strings.Fields(all[i]), " ") { // names of labels are one line of single spaces
						t.Errorf("%s.%s: sent %q, stored %q", op.ID, field, all[i], got)
					}
				}
			}
		}
	}
	proved(t, "%d naughty strings, each refused or stored as it was, none an error of ours", sent)
}
