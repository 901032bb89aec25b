package openapi

import (
	"encoding/json"
	"strings"
	"testing"
)

const promised = `{
	"type": "object", "required": ["id", "data"],
	"properties": {
		"id": {"type": "string", "format": "uuid", "maxLength": 36},
		"note": {"type": ["string", "null"], "maxLength": 100, "pattern": "^a"},
		"kind": {"type": "string", "enum": ["a", "b"]},
		"name": {"const": "x.y", "type": "string"},
		"count": {"type": "integer", "minimum": 0, "maximum": 10},
		"list": {"type": "array", "items": {"type": "integer"}, "maxItems": 5},
		"free": {"type": "object", "additionalProperties": {"type": "string"}},
		"either": {"oneOf": [{"$ref": "#/$defs/Data"}, {"type": "null"}]},
		"data": {"$ref": "#/$defs/Data", "description": "The row."}
	},
	"$defs": {"Data": {"type": "object", "required": ["title"], "properties": {"title": {"type": "string"}, "inner": {"type": "array", "items": {"$ref": "#/$defs/Data"}}}}}
}`

// change returns the promised schema with one thing replaced.
func change(t *testing.T, from, to string) []byte {
	t.Helper()
	if strings.Count(promised, from) != 1 {
		t.Fatalf("%s does not stand once in the schema", from)
	}
	out := []byte(strings.Replace(promised, from, to, 1))
	if !json.Valid(out) {
		t.Fatalf("%s for %s is no JSON", to, from)
	}
	return out
}

func TestBreaks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ from, to, want string }{ // want "" is an addition
		{`"properties": {"title": {"type": "string"}, `, `"properties": {`, "/data/title: is gone"},
		{`"required": ["id", "data"]`, `"required": ["id"]`, "/data: was always there, now it may be absent"},
		{`"required": ["id", "data"]`, `"required": ["id", "data", "note"]`, "/note: could be absent, now it is said to be always there"},
		{`"required": ["id", "data"],
	"properties": {`, `"required": ["id", "data", "more"], "properties": {"more": {"type": "string"}, `, `/more: is new and said to be always there`},
		{`"properties": {"title": {"type": "string"}`, `"properties": {"title": {"type": "integer"}`, "/data/title: was of type string, is of type integer"},
		{`"type": ["string", "null"]`, `"type": "string"`, "/note: was of type null or string, is of type string"},
		{`"count": {"type": "integer"`, `"count": {"type": ["integer", "null"]`, "/count: was of type integer, is of type integer or null"},
		{`"maxLength": 100`, `"maxLength": 99`, "/note: maxLength was 100, is 99"},
		{`"maximum": 10`, `"maximum": 9`, "/count: maximum was 10, is 9"},
		{`"minimum": 0, `, `"minimum": 1, `, "/count: minimum was 0, is 1"},
		{`"maxItems": 5`, `"maxItems": 5, "minItems": 1`, "/list: minItems was null, is 1"},
		{`"pattern": "^a"`, `"pattern": "^b"`, "/note: pattern was"},
		{`"format": "uuid"`, `"format": "email"`, "/id: format was"},
		{`"enum": ["a", "b"]`, `"enum": ["a"]`, `/kind: can no longer be "b"`},
		{`"const": "x.y"`, `"const": "x.z"`, `/name: const was "x.y", is "x.z"`},
		{`"items": {"type": "integer"}`, `"items": {"type": "string"}`, "/list/*: was of type integer"},
		{`"additionalProperties": {"type": "string"}`, `"additionalProperties": false`, "/free/*: there was one, now there is none"},
		{`"additionalProperties": {"type": "string"}`, `"additionalProperties": true`, "/free/*: was described as"},
		{`{"$ref": "#/$defs/Data"}, {"type": "null"}`, `{"$ref": "#/$defs/Data"}`, "/either: had 2 forms in oneOf, has 1"},

		{`"type": "object", "required": ["id", "data"],
	"properties": {`, `"type": "object", "required": ["data", "id"], "properties": {"more": {"type": "string"}, `, ""},
		{`"enum": ["a", "b"]`, `"enum": ["b", "c", "a"]`, ""},
		{`, "enum": ["a", "b"]`, ``, ""},
		{`"maxLength": 100`, `"maxLength": 101`, ""},
		{`"maxLength": 100, "pattern": "^a"`, `"maxLength": 100`, ""},
		{`"minimum": 0, "maximum": 10`, `"description": "any"`, ""},
		{`"The row."`, `"The whole row."`, ""},
	} {
		got, err := Breaks([]byte(promised), change(t, c.from, c.to))
		switch {
		case err != nil:
			t.Errorf("%s: %v", c.to, err)
		case c.want == "" && len(got) > 0:
			t.Errorf("%s for %s is said to break: %q", c.to, c.from, got)
		case c.want != "" && !strings.Contains(strings.Join(got, "\n"), c.want):
			t.Errorf("%s for %s: %q, want %q", c.to, c.from, got, c.want)
		}
	}
	if got, err := Breaks([]byte(promised), []byte(promised)); err != nil || len(got) > 0 {
		t.Errorf("the same schema: %q, %v", got, err)
	}
	if _, err := Breaks([]byte(promised), []byte("x")); err == nil {
		t.Error("no JSON was accepted")
	}
}

func TestEventSchemasOfADocument(t *testing.T) {
	t.Parallel()
	_, raw := document(t)
	all, err := EventSchemas(raw)
	if err != nil || len(all) != 1 {
		t.Fatalf("%d, %v", len(all), err)
	}
	e := all[0]
	if e.Type != "parcel.sent" || e.Subject != "parcel" || e.Version != 1 || e.Description != "A parcel left the house." {
		t.Errorf("%+v", e)
	}
	for _, not := range []string{"#/components", `"additionalProperties": false`} {
		if strings.Contains(string(e.Schema), not) {
			t.Errorf("the schema has %s", not)
		}
	}
	for _, want := range []string{`"#/$defs/Parcel"`, `"#/$defs/Carrier"`, `"#/$defs/Part"`, moreToCome} {
		if !strings.Contains(string(e.Schema), want) {
			t.Errorf("the schema lacks %s", want)
		}
	}
	v, err := NewValidator(raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.CheckEvent(e.Example); err != nil {
		t.Error(err)
	}
	for from, to := range map[string]string{`"parcel.sent"`: `"parcel.lost"`, `"schema_version": 1`: `"schema_version": 0`, `"previous": {}`: `"previous": {"what": 1}`, `"sequence"`: `"number"`} {
		if !strings.Contains(string(e.Example), from) {
			t.Fatalf("%s is not in %s", from, e.Example)
		}
		if err := v.CheckEvent([]byte(strings.Replace(string(e.Example), from, to, 1))); err == nil {
			t.Errorf("%s for %s was accepted", to, from)
		}
	}
}
