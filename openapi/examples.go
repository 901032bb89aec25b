package openapi

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// examples puts an example into every request and answer of JSON. They are made
// of what the fields say of themselves (example, default, enum, format), so
// they stay true when a field changes.
func (g *generator) examples() {
	for path, p := range sub(g.doc, "paths") {
		for method, o := range p.(object) {
			op := o.(object)
			at := strings.ToUpper(method) + " " + path
			if body, ok := op["requestBody"].(object); ok {
				g.exampleIn(body, at+" request", true)
			}
			for status, r := range sub(op, "responses") {
				g.exampleIn(r.(object), at+" "+status, false)
			}
			list, _ := op["parameters"].([]any)
			for _, q := range list {
				g.parameterExample(q.(object), at)
			}
		}
	}
	for name, p := range sub(g.doc, "webhooks") {
		g.exampleIn(p.(object)["post"].(object)["requestBody"].(object), "webhook "+name, false)
	}
}

func (g *generator) exampleIn(container object, at string, request bool) {
	content, _ := container["content"].(object)
	for mt, m := range content {
		media := m.(object)
		if media["example"] != nil || media["examples"] != nil {
			continue
		}
		if mt != "application/json" && mt != "application/merge-patch+json" {
			media["example"] = "{}\n"
			continue
		}
		e := sampler{g: g, request: request, at: at}
		media["example"] = e.sample(media["schema"], "", "")
	}
}

// parameterExample gives required parameters a value to show; the examples of
// optional ones stay in their schema, so that nobody sends them by accident.
func (g *generator) parameterExample(param object, at string) {
	if param["in"] != "path" {
		return
	}
	e := sampler{g: g, request: true, at: at}
	param["example"] = e.sample(param["schema"], fmt.Sprint(param["name"]), "")
}

// sampler makes one example.
type sampler struct {
	g       *generator
	request bool
	at      string
	open    []string // components that are being made, against recursion
}

// sample returns a value that the schema accepts. key is the name of the
// property, owner that of the schema which has it.
func (e *sampler) sample(v any, key, owner string) any {
	s, _ := v.(object)
	if name, ok := componentName(s); ok {
		if slices.Contains(e.open, name) {
			return nil
		}
		e.open = append(e.open, name)
		out := e.sample(e.g.schemas()[name], key, name)
		e.open = e.open[:len(e.open)-1]
		return out
	}
	if given, ok := given(s); ok {
		if s["format"] == "uuid" && given == sampleID {
			return sampleUUID(key, owner)
		}
		return given
	}
	for _, k := range []string{"oneOf", "anyOf"} {
		if list, ok := s[k].([]any); ok && len(list) > 0 {
			return e.sample(list[0], key, owner)
		}
	}
	if is(s, "null") && !e.request {
		return nil
	}
	switch {
	case is(s, "object"):
		return e.object(s, owner)
	case is(s, "array"):
		return e.array(s, key, owner)
	case is(s, "string"):
		return e.text(s, key, owner)
	case is(s, "integer"), is(s, "number"):
		return number(s)
	case is(s, "boolean"):
		return true
	}
	return object{}
}

// given is the value that the schema itself offers.
func given(s object) (any, bool) {
	if list, ok := s["examples"].([]any); ok && len(list) > 0 {
		return list[0], true
	}
	for _, k := range []string{"const", "default"} {
		if s[k] != nil {
			return s[k], true
		}
	}
	if list, ok := s["enum"].([]any); ok && len(list) > 0 {
		return list[0], true
	}
	return nil, false
}

// object fills the properties. A request shows what is required and what has a
// value of its own to offer; an answer shows everything.
func (e *sampler) object(s object, owner string) any {
	props, _ := s["properties"].(object)
	required := map[string]bool{}
	list, _ := s["required"].([]any)
	for _, n := range list {
		required[fmt.Sprint(n)] = true
	}
	out := object{}
	fill := func(all bool) {
		for _, name := range sorted(props) {
			p, _ := props[name].(object)
			value, offered := given(p)
			offered = offered && value != sampleID // which says nothing of this field
			if !all && !required[name] && !offered {
				continue
			}
			if v := e.sample(p, name, owner); v != nil || is(p, "null") || p["oneOf"] != nil {
				out[name] = v
			}
		}
	}
	fill(!e.request)
	if len(out) == 0 {
		fill(true)
	}
	return out
}

func (e *sampler) array(s object, key, owner string) any {
	n := max(1, intOf(s["minItems"]))
	out := []any{}
	for range n {
		if v := e.sample(s["items"], strings.TrimSuffix(key, "s"), owner); v != nil {
			out = append(out, v)
		}
	}
	return out
}

// text finds a string that fits format, pattern and length.
func (e *sampler) text(s object, key, owner string) any {
	format, _ := s["format"].(string)
	switch format {
	case "uuid":
		return sampleUUID(key, owner)
	case "date":
		return "2026-03-01"
	case "date-time":
		return "2026-03-01T09:30:00Z"
	case "email":
		return "person@example.org"
	case "uri":
		return "https://example.org/" + key
	case "uri-reference":
		return "/" + key
	}
	words := strings.ReplaceAll(key, "_", " ")
	tries := []string{sentenceOr(words, "Example"), words, "example", "EXAMPLE", "EX", "en", "EUR", "1", "a", strings.Repeat("a", max(1, intOf(s["minLength"])))}
	pattern, _ := s["pattern"].(string)
	form, err := regexp.Compile(pattern)
	if err != nil {
		e.g.fail("%s: %s.%s: pattern %q: %v", e.at, owner, key, pattern, err)
		return ""
	}
	for _, t := range tries {
		n := len([]rune(t))
		if form.MatchString(t) && n >= intOf(s["minLength"]) && (s["maxLength"] == nil || n <= intOf(s["maxLength"])) {
			return t
		}
	}
	e.g.fail("%s: no example fits %s.%s: add example:\"…\" to its tag", e.at, owner, key)
	return ""
}

func sentenceOr(words, otherwise string) string {
	if words == "" {
		return otherwise
	}
	return strings.ToUpper(words[:1]) + words[1:]
}

func number(s object) any {
	low, high := json.Number("1"), s["maximum"]
	if s["minimum"] != nil {
		if m, err := json.Number(fmt.Sprint(s["minimum"])).Float64(); err == nil && m > 1 {
			low = json.Number(fmt.Sprint(s["minimum"]))
		}
	}
	if high != nil {
		if m, err := json.Number(fmt.Sprint(high)).Float64(); err == nil && m < 1 {
			return high
		}
	}
	return low
}

func intOf(v any) int {
	var n int
	_, _ = fmt.Sscan(fmt.Sprint(v), &n)
	return n
}

// sampleID is the example that every id has by its type.
const sampleID = "0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07"

// sampleUUID is the same id for the same thing all over the document: the
// project_id of a task is the id of the project.
func sampleUUID(key, owner string) string {
	if key == "id" && owner != "" {
		key = strings.ToLower(owner) + "_id"
	}
	d := digest(key)
	return "0198c1f2-7b1e-7" + d[:3] + "-9" + d[3:6] + "-" + d[6:18]
}
