package openapi

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Breaks lists what a schema of events does to those who were promised another
// one under the same version: receivers, who were written for the first, and
// the log, whose events of the first are sent again under the second. Each line
// begins with a JSON pointer into the event.
//
// Breaking: a member that is gone or no longer certain, or that is new and
// said to be always there; another type, format or constant; a limit that is
// tighter or a value of an enum that is gone. Not breaking: new members that may
// be absent, looser limits, more values of an enum, other words.
func Breaks(was, is []byte) ([]string, error) {
	before, err := decode(was)
	if err != nil {
		return nil, err
	}
	after, err := decode(is)
	if err != nil {
		return nil, err
	}
	c := comparison{was: before, is: after, seen: map[[2]string]bool{}}
	c.schema("", before, after)
	slices.Sort(c.found)
	return slices.Compact(c.found), nil
}

type comparison struct {
	was, is object
	seen    map[[2]string]bool // pairs of references, since schemas may contain themselves
	found   []string
}

func (c *comparison) add(at, format string, args ...any) {
	if at == "" {
		at = "/"
	}
	c.found = append(c.found, at+": "+fmt.Sprintf(format, args...))
}

func (c *comparison) schema(at string, was, is object) {
	wasRef, _ := was["$ref"].(string)
	isRef, _ := is["$ref"].(string)
	if wasRef != "" && isRef != "" {
		if pair := [2]string{wasRef, isRef}; c.seen[pair] {
			return
		} else {
			c.seen[pair] = true
		}
	}
	was, is = resolve(c.was, was), resolve(c.is, is)
	if t, u := typesOf(was), typesOf(is); !slices.Equal(t, u) {
		c.add(at, "was of type %s, is of type %s", orAny(t), orAny(u))
		return
	}
	c.scalars(at, was, is)
	c.members(at, was, is)
	for _, k := range []string{"items", "additionalProperties"} {
		c.below(at+"/*", was[k], is[k])
	}
	for _, k := range []string{"oneOf", "anyOf", "allOf"} {
		a, _ := was[k].([]any)
		b, _ := is[k].([]any)
		if len(a) != len(b) {
			c.add(at, "had %d forms in %s, has %d", len(a), k, len(b))
			continue
		}
		for i := range a {
			c.below(at, a[i], b[i])
		}
	}
}

// below compares two parts that may each be a schema, true, false or absent,
// which is the same as true.
func (c *comparison) below(at string, was, is any) {
	a, described := was.(object)
	b, describes := is.(object)
	switch {
	case described && describes:
		c.schema(at, a, b)
	case was == false && is != false:
		c.add(at, "there was none, now there may be some")
	case was != false && is == false:
		c.add(at, "there was one, now there is none")
	case described != describes:
		c.add(at, "was described as %s, is described as %s", short(was), short(is))
	}
}

func (c *comparison) members(at string, was, is object) {
	before, _ := was["properties"].(object)
	after, _ := is["properties"].(object)
	sure := func(s object, name string) bool {
		list, _ := s["required"].([]any)
		return slices.Contains(list, any(name))
	}
	for _, name := range sorted(before) {
		here := at + "/" + name
		next, ok := after[name].(object)
		if !ok {
			c.add(here, "is gone")
			continue
		}
		if sure(was, name) && !sure(is, name) {
			c.add(here, "was always there, now it may be absent")
		}
		if !sure(was, name) && sure(is, name) {
			c.add(here, "could be absent, now it is said to be always there, which is not true of the events in the log")
		}
		c.below(here, before[name], next)
	}
	for _, name := range sorted(after) {
		if _, old := before[name]; !old && sure(is, name) {
			c.add(at+"/"+name, `is new and said to be always there, which is not true of the events in the log: tag it required:"false"`)
		}
	}
}

// scalars compares what is said of a value itself.
func (c *comparison) scalars(at string, was, is object) {
	for _, k := range []string{"const", "format", "pattern", "multipleOf", "uniqueItems"} {
		if a, b := short(was[k]), short(is[k]); a != b && (k != "pattern" || b != "null") {
			c.add(at, "%s was %s, is %s", k, a, b)
		}
	}
	values, _ := was["enum"].([]any)
	now, bounded := is["enum"].([]any)
	for _, v := range values {
		if bounded && !slices.ContainsFunc(now, func(n any) bool { return short(n) == short(v) }) {
			c.add(at, "can no longer be %s", short(v))
		}
	}
	if was["enum"] == nil && bounded {
		c.add(at, "could be anything, now only one of %s", short(is["enum"]))
	}
	for _, k := range []string{"maxLength", "maxItems", "maxProperties", "maximum", "exclusiveMaximum"} {
		if is[k] != nil && (was[k] == nil || numeric(is[k]) < numeric(was[k])) {
			c.add(at, "%s was %s, is %s", k, short(was[k]), short(is[k]))
		}
	}
	for _, k := range []string{"minLength", "minItems", "minProperties", "minimum", "exclusiveMinimum"} {
		if is[k] != nil && (was[k] == nil || numeric(is[k]) > numeric(was[k])) {
			c.add(at, "%s was %s, is %s", k, short(was[k]), short(is[k]))
		}
	}
}

func numeric(v any) float64 {
	n, _ := json.Number(fmt.Sprint(v)).Float64()
	return n
}

func typesOf(s object) []string {
	switch t := s["type"].(type) {
	case string:
		return []string{t}
	case []any:
		var out []string
		for _, e := range t {
			out = append(out, fmt.Sprint(e))
		}
		slices.Sort(out)
		return out
	}
	return nil
}

func orAny(types []string) string {
	if len(types) == 0 {
		return "any"
	}
	return strings.Join(types, " or ")
}

func short(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(clip(raw))
}
