package api

import (
	"strings"
	"testing"
)

func TestCheckJSON(t *testing.T) {
	t.Parallel()
	for body, says := range map[string]string{
		`{"a":1,"b":[1,{"a":2}]}`:   "",
		`{"a":{"a":1},"b":{"a":1}}`: "",
		`"\ud83d\ude00"`:            "",
		`"\\ud83d is text"`:         "",
		`[]`:                        "",
		`{"a":1,"a":2}`:             "twice",
		`[{"b":{"a":1,"a":2}}]`:     "twice",
		`{"a":1,"\u0061":2}`:        "twice",
		`{"a":"x\u0000"}`:           "NUL",
		`{"a\u0000":1}`:             "NUL",
		`"\ud83d"`:                  "surrogate",
		`"\ude00\ud83d"`:            "surrogate",
		`"a\ud83d\\\ude00b"`:        "surrogate",
		"\"\xff\"":                  "UTF-8",
		`{"a":1}{"b":2}`:            "follows",
		`{"a":1} x`:                 "syntax",
		`{"a":`:                     "too early",
		strings.Repeat("[", 40) + "1" + strings.Repeat("]", 40): "nested",
	} {
		got := checkJSON([]byte(body))
		if (says == "") != (got == "") || !strings.Contains(got, says) {
			t.Errorf("%.60q: %q, want one about %q", body, got, says)
		}
	}
}

func TestPointer(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"body": "", "body.title": "/title", "body.items[3].tags": "/items/3/tags", "query.limit": "query.limit", "path.task_id": "path.task_id",
	} {
		if got := pointer(in); got != want {
			t.Errorf("pointer(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestOpNeedsAPermission(t *testing.T) {
	t.Parallel()
	op := Op{ID: "x", Route: "GET /things", Summary: "s", Doc: "d"}
	if err := op.check(); err == nil || !strings.Contains(err.Error(), "has no permission: set Can") {
		t.Fatalf("an operation without permission passed: %v", err)
	}
	op.Access = Public
	if err := op.check(); err != nil {
		t.Fatal(err)
	}
}

func TestIfMatch(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]IfMatch{`"3"`: {Set: true, Version: 3}, `W/"3"`: {Set: true, Version: 3}, `*`: {}} {
		var m IfMatch
		if err := m.UnmarshalText([]byte(in)); err != nil || m != want {
			t.Errorf("%s: %v, %v", in, m, err)
		}
	}
	for _, bad := range []string{`3`, `"x"`, `"-1"`, `""`} {
		if err := new(IfMatch).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func TestParseSort(t *testing.T) {
	t.Parallel()
	keys, err := ParseSort("-priority,due_date", "priority", "due_date")
	if err != nil || len(keys) != 2 || !keys[0].Desc || keys[0].Field != "priority" || keys[1].Desc {
		t.Fatalf("%v, %v", keys, err)
	}
	for _, bad := range []string{"nope", "priority,priority", "priority,,due_date", "--priority"} {
		if _, err := ParseSort(bad, "priority", "due_date"); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
