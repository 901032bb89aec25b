package expr

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

const taskUpdated = `{
	"id": "0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07", "type": "task.updated", "timestamp": "2026-03-01T09:30:00.123Z",
	"organization_id": "0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c08", "sequence": 4711, "schema_version": 1,
	"subject": {"type": "task", "id": "0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c09"},
	"actor": {"type": "user", "id": null},
	"data": {"title": "Müller's order", "status": "done", "priority_rank": 3, "amount": 100, "weight": 2.5, "share": 2.0,
		"big": 9223372036854775807, "huge": 92233720368547758070, "small": -0.5, "exponent": 1e2,
		"assignee": null, "labels": ["red", "urgent"], "done": true, "address": {"city": "Bern", "lines": [{"n": 1}, {"n": 2}]}, "due-date": "2026-03-05"},
	"previous": {"status": "pending", "assignee": null}}`

const taskCreated = `{"type": "task.created", "data": {"title": "New", "priority_rank": 1}}`

func decode(t testing.TB, raw string) map[string]any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader([]byte(raw)))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestMatch runs each condition on an event whose numbers are json.Number and
// on the same with float64: there is no difference to see.
func TestMatch(t *testing.T) {
	t.Parallel()
	exact := decode(t, taskUpdated)
	var loose map[string]any
	if err := json.Unmarshal([]byte(taskUpdated), &loose); err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]any{ // true, false, or part of the error
		`true`:                         true,
		`event.type == "task.updated"`: true,
		`event.type == 'task.created'`: false,
		`event.type.startsWith("task.") && event.actor.type != "system"`: true,
		`event["type"] == "task.updated"`:                                true,
		`event.data["due-date"] == "2026-03-05"`:                         true,
		// Numbers.
		`event.data.priority_rank > 2`:                                                   true,
		`event.data.priority_rank > 2.5`:                                                 true,
		`event.data.priority_rank >= 3.0 && event.data.priority_rank <= 3`:               true,
		`2 < event.data.priority_rank`:                                                   true,
		`event.data.amount == 100`:                                                       true,
		`event.data.amount == 100.0`:                                                     true,
		`event.data.amount != 100`:                                                       false,
		`100u == event.data.amount`:                                                      true,
		`event.data.amount % 2 == 0 && event.data.amount / 3 == 33`:                      true,
		`event.data.amount * 2 - 50 > 100`:                                               true,
		`event.data.amount + event.data.priority_rank == 103`:                            true,
		`event.data.weight == 2.5 && event.data.weight > 2 && event.data.weight < 3`:     true,
		`event.data.weight * 2.0 == 5.0`:                                                 true,
		`double(event.data.amount) * 1.5 == 150.0`:                                       true,
		`event.data.share == 2 && event.data.share == 2.0 && event.data.share in [2]`:    true,
		`event.data.exponent == 100`:                                                     true,
		`event.data.small < 0 && event.data.small > -1`:                                  true,
		`event.data.huge > 9223372036854775807`:                                          true,
		`event.data.amount in [1, 10, 100]`:                                              true,
		`event.data.amount in [1.0, 100.0]`:                                              true,
		`event.sequence >= 4711 && event.schema_version == 1`:                            true,
		`event.data.amount * 1.5 > 100.0`:                                                "type that this does not work with",
		`event.data.amount + "x" == "100x"`:                                              "type that this does not work with",
		`event.data.priority_rank > "2"`:                                                 "type that this does not work with",
		`event.data.amount * 1000000000000000000 > 0`:                                    "overflow",
		`event.data.amount / 0 == 1`:                                                     "division by zero",
		`event.data.big == 9223372036854775807`:                                          exactOnly,
		`int(event.data.title) == 1`:                                                     "line 1",
		`event.data.amount == "100"`:                                                     false, // values of two kinds are never equal
		`string(event.data.amount) == "100"`:                                             true,
		`[1, 2, event.data.priority_rank].exists(n, n > 2.9)`:                            true,
		`event.data.address.lines.map(l, l.n).filter(n, n >= 2).size() == 1`:             true,
		`event.data.address.lines.exists_one(l, l.n == 2)`:                               true,
		`event.data.address.lines.all(l, l.n > 1)`:                                       false,
		`event.data.address == {"city": "Bern", "lines": [{"n": 1}, {"n": 2}]}`:          true,
		`event.data.address.lines[1].n == 2`:                                             true,
		`event.data.address.lines[2].n == 2`:                                             "index out of bounds",
		`event.data.address.lines.size() == 2 && size(event.data.labels) == 2`:           true,
		`event.data.labels.exists(l, l.startsWith("urg")) && "red" in event.data.labels`: true,
		`"title" in event.data && !("nothing" in event.data)`:                            true,
		// What is there and what is not.
		`has(event.data.title) && !has(event.data.nothing)`:                        true,
		`has(event.data.nothing.at.all)`:                                           false,
		`has(event.data.assignee) && event.data.assignee == null`:                  true,
		`has(event.previous.status) && event.previous.status != event.data.status`: true,
		`event.data.nothing == 1`:                                                  "line 1, column 11: no such key: nothing",
		`event.data.title.city == "x"`:                                             "no such key",
		`event.data.nothing == 1 || event.type == "task.updated"`:                  true, // one side is enough
		`event.data.nothing == 1 && event.type == "task.created"`:                  false,
		`event.actor.id == null`:                                                   true,
		`event.data.done`:                                                          true,
		`!event.data.done`:                                                         false,
		`event.data.title`:                                                         "type string, not true or false",
		`event.data.done ? event.data.amount > 1 : false`:                          true,
		// Strings and times.
		`event.data.title.contains("order") && event.data.title.endsWith("er")`:            true,
		`event.data.title.matches("^M.ller")`:                                              true,
		`matches(event.data.title, "(?i)ORDER")`:                                           true,
		`event.data.title.size() == 14`:                                                    true,
		`timestamp(event.timestamp) > timestamp("2026-01-01T00:00:00Z")`:                   true,
		`timestamp(event.timestamp).getDayOfWeek() == 0`:                                   true,
		`timestamp(event.timestamp).getHours("Europe/Zurich") == 10`:                       true,
		`timestamp(event.timestamp) - timestamp("2026-03-01T00:00:00Z") < duration("12h")`: true,
		"event.type == 'task.updated' // the only one\n\t&& event.data.done":               true,
	} {
		c, err := Compile(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		check(t, source, "json.Number", c, exact, want)
		if want != exactOnly {
			check(t, source, "float64", c, loose, want)
		}
	}
}

// exactOnly is true with json.Number; a float64 has lost the last digits.
const exactOnly = 1

func check(t *testing.T, source, numbers string, c *Condition, event map[string]any, want any) {
	t.Helper()
	got, err := c.Match(t.Context(), event)
	switch want := want.(type) {
	case string:
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s with %s: %v, %v; want an error with %q", source, numbers, got, err, want)
		}
	default:
		if err != nil || got != (want != false) {
			t.Errorf("%s with %s: %v, %v; want %v", source, numbers, got, err, want)
		}
	}
}

func TestMatchWithoutPrevious(t *testing.T) {
	t.Parallel()
	created := decode(t, taskCreated)
	for source, want := range map[string]any{
		`has(event.previous.status)`: false, `has(event.previous)`: false,
		`has(event.previous.status) && event.previous.status == "done"`: false,
		`event.type == "task.updated" && event.previous.status == "x"`:  false,
		`event.previous.status == "done"`:                               "no such key: previous",
		`event.data.big == 9223372036854775807`:                         "no such key: big",
	} {
		c, err := Compile(source)
		if err != nil {
			t.Fatal(err)
		}
		check(t, source, "", c, created, want)
	}
}

func TestCompileSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		``:                               "the condition is empty",
		" \n":                            "the condition is empty",
		"event.type == '\xff'":           "not valid UTF-8",
		strings.Repeat("x", MaxSource+1): "longer than 2000 characters",
		`event.data.amount + 1`:          "type int; it must give true or false",
		`event.data.weight * 2.0 == 5`:   "for '==' applied to '(double, int)'",
		`1`:                              "type int; it must give true or false",
		`"yes"`:                          "type string; it must give true or false",
		`event`:                          "type map(string, dyn); it must give true or false",
		`event.type = "x"`:               "line 1, column 12: ",
		"event.type == 'x' &&\n  (event.data.a > 1": "line 2, column ",
		`evnt.type == "x"`:                          "line 1, column 1: undeclared reference to 'evnt'",
		`event.tpye == "x"`:                         `line 1, column 6: event has no member "tpye"; it has actor, data`,
		`has(event.prev)`:                           `event has no member "prev"`,
		`event.actor.name == "x"`:                   `event.actor has no member "name"; it has id, type`,
		`"a" > 1`:                                   "line 1, column 5: found no matching overload for '>' applied to '(string, int)'",
		`!1`:                                        "for '!' applied to",
		`1 in 2`:                                    "for 'in' applied to",
		`event.type.lower() == "x"`:                 "undeclared reference to 'lower'",
		`has(event)`:                                "has() asks for a member",
		`has(event.a.b.c.d.e.f.g.h.i.j.k.l.m)`:      "at most 10 levels",
		`event.type.matches("(")`:                   "no regular expression",
		`event.type.matches("a{1001}")`:             "no regular expression",
		`event.data.a ? "a" : 1`:                    "line 1, column 14: found no matching overload for '?:'",
		`event.type <=> "x"`:                        "line 1, column 14: ",
		strings.Repeat("(", 200):                    "nested too deeply",
		`[1].all(a, [1].all(b, [1].all(c, [1].all(d, true))))`:      "nesting",
		`event.type.matches(event.data.pattern)`:                    "must be written out",
		`event.type.matches("` + strings.Repeat(".{900}", 3) + `")`: "too large",
		`event.type.matches("((a{30}){30})b{200}")`:                 "too large",
	} {
		_, err := Compile(source)
		switch {
		case err == nil || !strings.Contains(err.Error(), want):
			t.Errorf("%.80s: %v; want %q", source, err, want)
		case len(err.Error()) > 1000 || strings.Contains(err.Error(), "<input>"):
			t.Errorf("%.80s: not fit for a reader: %v", source, err)
		}
	}
}

// hostile conditions are refused, or they end soon.
func hostile() map[string]string {
	fill := func(open, middle, shut string) string {
		n := (MaxSource - len(middle)) / (len(open) + len(shut))
		return strings.Repeat(open, n) + middle + strings.Repeat(shut, n)
	}
	fold := func(f string, depth int) string {
		s := "true"
		for i := range depth {
			s = fmt.Sprintf("event.data.list.%s(x%d, %s)", f, i, s)
		}
		return s
	}
	return map[string]string{
		"parentheses": fill("(", "true", ")"), "open parentheses": fill("(", "", ""), "lists": fill("[", "1", "]") + "==1",
		"maps": fill("{1:", "1", "}"), "open maps": fill("{", "", ""), "not": fill("!", "true", ""), "minus": fill("-", "1", "") + "==1",
		"question": fill("true?", "true", ":true"), "else": fill("true?true:", "true", ""), "and": fill("true&&", "true", ""), "or": fill("", "false", "||true"),
		"and or": fill("true||false&&", "true", ""), "plus": fill("1+", "1", "")[:1990] + "1==1", "compare": fill("1<", "2", ""), "members": fill("", "event", ".a"),
		"index": fill("event[", "'a'", "]"), "calls": fill("size(", "event", ")"), "dyn": fill("dyn(", "1", ")") + "==1", "dots": fill(".", "a", ""),
		"quotes": fill("'", "", ""), "raw": fill("r'", "", "'"), "backslash": "'" + fill(`\`, "", "")[:1900], "unicode": fill("é", "", ""), "zeros": fill("0", "", ""), "operators": fill("<=>!&|", "", ""),
		"macros": fill("has(", "event.a", ")"), "all": fold("all", 3), "deep": fold("all", 40), "exists one": fold("exists_one", 3), "map": strings.Replace(fold("map", 3), "true", "1", 1) + ".size() > 0", "filter": fold("filter", 4) + ".size() > 0",
		"literal loops": strings.Repeat("[1,2,3,4,5,6,7,8,9].all(x,", 3) + "true" + strings.Repeat(")", 3), "literal maps": fill("[1,2].map(x,", "1", ")") + "==[]",
		"equal loops": "event.data.list.all(x, event.data.list.all(y, event == event))", "in loops": "event.data.list.all(x, event.data.list.all(y, !(event.data in [event.data, event.data.list])))",
		"list in list": "event.data.list.all(x, !(event.data.list in [event.data.list, event]))",
		"text loops":   "event.data.list.all(x, event.data.list.all(y, size(event.data.text) > 1))",
		"doubling":     strings.Repeat("event.data.list.map(x, event.data.text + event.data.text).size() > 0 && ", 20) + "true",
		"contains":     "event.data.list.all(x, !event.data.text.contains(event.data.text + 'x'))", "convert": "event.data.list.all(x, size(bytes(event.data.text)) > 0)",
		"zones": "event.data.list.all(x, timestamp('2026-01-01T00:00:00Z').getHours('Europe/Zurich') == 1)",
		"regex": `event.data.text.matches("(a?){400}b")`, "long regex": `event.data.text.matches("a+b")`, "regex loops": `event.data.list.all(x, event.data.text.matches("(a|a)*b"))`, "classes": `event.data.text.matches("` + strings.Repeat(`\\pL?`, 200) + `x")`,
		"patterns": strings.Repeat(`event.type.matches("a{1000}")||`, 60) + "true",
		"nul":      "event.type == '\x00'", "bidi": "event.type == '\u202e'", "exponent": "1e999 > 1.0", "int": "99999999999999999999 > 1", "has": fill("has(event.data", ".a", ")"),
	}
}

// multiplying conditions describe, in a few characters, values that no computer
// could look through: each level shares the one before. They are made of every
// way to build a value and every way to look at one.
func multiplying() map[string]string {
	many := func(v string, n int) string { return strings.TrimSuffix(strings.Repeat(v+",", n), ",") }
	nest := func(n int, use string) string {
		return fmt.Sprintf("[event.data].exists(a, [[%s]].exists(b, [[%s]].exists(c, %s)))", many("a", n), many("b", n), use)
	}
	out := map[string]string{
		"compare": nest(300, "["+many("c", 150)+"] == ["+many("c", 150)+"]"), "differ": nest(300, "["+many("c", 150)+"] != ["+many("c", 150)+"]"),
		"search": nest(300, "["+many("c", 50)+"] in [["+many("c", 50)+"]]"), "search deep": nest(300, "c in ["+many("c", 200)+"]"),
		"maps":         nest(300, `{"x":[`+many("c", 150)+`]} == {"x":[`+many("c", 150)+"]}"),
		"maps in maps": `[{"x":event.data}].exists(a, [{"p":a,"q":a,"r":a,"s":a,"t":a}].exists(b, [{"p":[` + many("b", 200) + `]}].exists(c, [` + many("c", 200) + `] == [` + many("c", 200) + `])))`,
		"size":         nest(300, "size(["+many("c", 100)+"]) == 1"), "index": nest(300, "{'k': true}[dyn(c)]"), "index of event": nest(300, "event.data[c]"),
		"index of list": nest(300, "[true][dyn(c)]"), "key": nest(300, "{c: true} == {}"), "two keys": nest(300, "size({c: 1, c: 2}) == 1"), "key of a map": nest(300, "dyn(c) in {'k': true}"),
		"text": nest(300, "string(dyn(c)) == ''"), "type": nest(300, "type(c) == type([])"), "less": nest(300, "dyn(c) < dyn(c)"), "give": nest(300, "dyn(c)"), "as a number": nest(300, "int(dyn(c)) == 1"),
	}
	// Each round makes more of what the one before made.
	sum := func(v string, n int) string { return strings.TrimSuffix(strings.Repeat(v+"+", n), "+") }
	for name, round := range map[string]string{
		"join": ".map(x, " + sum("x", 30) + ")", "join lists": ".map(x, [" + sum("x", 30) + "] + [x])", "join texts": ".map(x, [" + sum("string(x[0])", 40) + "])",
		"share": ".map(x, [" + many("x", 250) + "])", "map of map": ".map(x, [[" + many("x", 100) + "].map(y, y)])", "filter": ".map(x, [" + many("x", 200) + "].filter(y, true))",
		"maps": `.map(x, {"a":[` + many("x", 200) + `]})`, "nothing": ".map(x, x + [] + " + sum("[]", 30) + ")",
	} {
		for look, end := range map[string]string{
			"all": ".all(x, size(x) > 0)", "equal": " == [dyn([['a']])]", "in": ".all(x, x in [x, [x]])", "itself": ".exists(x, x == x)",
			"at": ".all(x, dyn(x)[0] == dyn(x)[0])", "contains": ".all(x, dyn(x).contains('b'))", "size": ".size() == 1", "joined": ".all(x, size(dyn(x) + dyn(x)) == 1)",
		} {
			for depth := range 4 {
				out[fmt.Sprintf("%s, %s, %d", name, look, depth)] = "[['a']]" + strings.Repeat(round, depth) + end
			}
		}
	}
	out["deep types"] = "[['a']]" + strings.Repeat(".map(x, [x + x] + [x])", 80) + " == []"
	return out
}

// TestSharedValuesDoNotMultiply: what is too large to be looked at is refused
// before it is looked at.
func TestSharedValuesDoNotMultiply(t *testing.T) {
	t.Parallel()
	event := decode(t, taskCreated)
	refused := 0
	for name, source := range multiplying() {
		begun := time.Now()
		c, err := Compile(source)
		if err == nil {
			_, err = c.Match(t.Context(), event)
		}
		if took := time.Since(begun); took > 2*time.Second { // unbounded, these take from 20 s to for ever
			t.Errorf("%s takes %s: %.120v", name, took, err)
		} else if took > 50*time.Millisecond {
			t.Logf("%-20s %8s: %.120v", name, took.Round(time.Microsecond), err)
		}
		if err != nil && strings.Contains(err.Error(), "too many steps") {
			refused++
		}
	}
	if refused < 12 {
		t.Errorf("only %d of %d were refused", refused, len(multiplying()))
	}
}

// TestMatchEndsWithItsCaller: a condition stops when nobody waits for it.
func TestMatchEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	c, err := Compile("event.data.list.all(x, event.data.list.all(y, true))")
	if err != nil {
		t.Fatal(err)
	}
	list := make([]any, 50)
	event := map[string]any{"data": map[string]any{"list": list}}
	if _, err := c.Match(t.Context(), event); err == nil || !strings.Contains(err.Error(), "too many steps") {
		t.Fatalf("with a caller: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Match(gone, event); !errors.Is(err, context.Canceled) {
		t.Fatalf("without a caller: %v", err)
	}
}

func TestHostileConditionsEnd(t *testing.T) {
	t.Parallel()
	list := make([]any, 2000)
	for i := range list {
		list[i] = map[string]any{"n": json.Number(fmt.Sprint(i)), "text": strings.Repeat("b", 100)}
	}
	event := map[string]any{"type": "x.y", "data": map[string]any{"list": list, "text": strings.Repeat("a", 200_000)}}
	var slowest time.Duration
	for name, source := range hostile() {
		begun := time.Now()
		c, err := Compile(source)
		compiled := time.Since(begun)
		if err == nil {
			_, err = c.Match(t.Context(), event)
		}
		took := time.Since(begun)
		slowest = max(slowest, took)
		t.Logf("%-20s compile %8s, match %8s: %.120v", name, compiled.Round(time.Microsecond), (took - compiled).Round(time.Microsecond), err)
		if took > 5*time.Second { // unbounded, these take minutes
			t.Errorf("%s takes %s", name, took)
		}
	}
	t.Logf("the slowest of %d takes %s", len(hostile()), slowest)
}

func TestConditionIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	cache, err := NewCache(10)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			event := decode(t, taskUpdated)
			event["sequence"] = json.Number(fmt.Sprint(g))
			for i := range 200 {
				c, err := cache.Get(fmt.Sprintf("event.sequence == %d && event.data.labels.exists(l, l == 'red')", i%16))
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := c.Match(t.Context(), event); err != nil || got != (i%16 == g) {
					t.Errorf("goroutine %d, condition %d: %v, %v", g, i%16, got, err)
				}
			}
		})
	}
	wg.Wait()
	if _, err := cache.Get("1 +"); err == nil {
		t.Error("a condition that does not compile was returned")
	}
	cache.compiled.CleanUp()
	if n := cache.compiled.EstimatedSize(); n > 10 {
		t.Errorf("the cache holds %d conditions, 10 are allowed", n)
	}
}

func BenchmarkMatch(b *testing.B) {
	c, err := Compile(`event.type == "task.updated" && has(event.previous.status) && event.data.priority_rank > 2 && "red" in event.data.labels`)
	if err != nil {
		b.Fatal(err)
	}
	event := decode(b, taskUpdated)
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := c.Match(b.Context(), event); err != nil || !ok {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	for b.Loop() {
		if _, err := Compile(`event.type == "task.updated" && has(event.previous.status) && event.data.priority_rank > 2`); err != nil {
			b.Fatal(err)
		}
	}
}
