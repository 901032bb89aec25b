package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const mostSchema = 32 << 10

// propertiesOf are the properties of a schema that are schemas with keywords.
// It reads maps: names of Go's fields would fit in any case of letters.
func propertiesOf(schema json.RawMessage) map[string]map[string]any {
	var s map[string]any
	if json.Unmarshal(schema, &s) != nil {
		return nil
	}
	all, _ := s["properties"].(map[string]any)
	out := map[string]map[string]any{}
	for name, p := range all {
		if keywords, ok := p.(map[string]any); ok {
			out[name] = keywords
		}
	}
	return out
}

// compileObject compiles an author's schema of an object. References are not
// allowed: they can make a small schema very costly.
func compileObject(c *checker, at string, raw json.RawMessage) *jsonschema.Schema {
	if len(raw) > mostSchema {
		c.say(at, "is too large: %d of at most %d bytes", len(raw), mostSchema)
		return nil
	}
	var top map[string]any
	if json.Unmarshal(raw, &top) != nil {
		return nil // the manifest's schema says it
	}
	before := len(c.bad)
	if top["type"] != "object" {
		c.say(at+"/type", `has to be "object"`)
	}
	noReferences(c, at, top)
	if len(c.bad) > before {
		return nil
	}
	s, err := compile(raw)
	var invalid *jsonschema.SchemaValidationError
	var fields *jsonschema.ValidationError
	switch {
	case err == nil:
		return s
	case errors.As(err, &invalid) && errors.As(invalid.Err, &fields):
		for _, f := range explain(nil, fields) {
			c.say(at+f.Pointer, "is not JSON Schema: %s", f.Message)
		}
	default:
		c.say(at, "is not a usable JSON Schema: %s", err)
	}
	return nil
}

func noReferences(c *checker, at string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			here := at + pointer(clip(name))
			if _, text := inner.(string); text && slices.Contains([]string{"$ref", "$dynamicRef", "$recursiveRef", "$id", "$anchor", "$dynamicAnchor"}, name) {
				c.say(here, "references are not allowed here: write the schema out")
			}
			if dialect, text := inner.(string); text && name == "$schema" && dialect != "https://json-schema.org/draft/2020-12/schema" {
				c.say(here, "is not https://json-schema.org/draft/2020-12/schema")
			}
			noReferences(c, here, inner)
		}
	case []any:
		for i, inner := range v {
			noReferences(c, fmt.Sprintf("%s/%d", at, i), inner)
		}
	}
}

func compileInto(c *checker, at, name string, raw json.RawMessage, into *map[string]*jsonschema.Schema) {
	s := compileObject(c, at, raw)
	if s == nil {
		return
	}
	if *into == nil {
		*into = map[string]*jsonschema.Schema{}
	}
	(*into)[name] = s
}

// noSettings is the schema of the settings of a plugin that has none.
const noSettings = `{"type": "object", "additionalProperties": false}`

func compileSettings(c *checker, raw json.RawMessage) *jsonschema.Schema {
	if len(raw) == 0 {
		return compileObject(c, "/settings", json.RawMessage(noSettings))
	}
	for name, p := range propertiesOf(raw) {
		secret, has := p["x-secret"]
		if !has {
			continue
		}
		at := "/settings/properties" + pointer(clip(name))
		if _, ok := secret.(bool); !ok {
			c.say(at+"/x-secret", "is neither true nor false")
		}
		if p["type"] != "string" {
			c.say(at+"/type", `has to be "string": only a string can be secret`)
		}
	}
	var top map[string]any
	if json.Unmarshal(raw, &top) == nil {
		nestedSecrets(c, "/settings", top, 0)
	}
	return compileObject(c, "/settings", raw)
}

// nestedSecrets refuses secrets that are no property of the settings
// themselves: they would be stored in clear.
func nestedSecrets(c *checker, at string, value any, depth int) {
	switch v := value.(type) {
	case map[string]any:
		if _, marked := v["x-secret"]; marked && depth != 2 {
			c.say(at+"/x-secret", "only a property of the settings themselves can be secret")
		}
		for name, inner := range v {
			next := depth + 1
			if depth == 0 && name != "properties" {
				next = deepest
			}
			nestedSecrets(c, at+pointer(clip(name)), inner, next)
		}
	case []any:
		for i, inner := range v {
			nestedSecrets(c, fmt.Sprintf("%s/%d", at, i), inner, deepest)
		}
	}
}

// SecretFields lists the properties of the settings that are secret, sorted.
func (m *Manifest) SecretFields() []string {
	var out []string
	for name, p := range propertiesOf(m.Settings) {
		if p["x-secret"] == true {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// CheckSettings returns what is wrong with an organisation's settings; nothing
// if they fit. A plugin without settings takes only {}.
func (m *Manifest) CheckSettings(settings json.RawMessage) []FieldError {
	return against(m.settings, settings)
}

// CheckInput returns what is wrong with the input of the action with the name.
func (m *Manifest) CheckInput(action string, input json.RawMessage) []FieldError {
	s := m.inputs[action]
	if s == nil {
		return []FieldError{{"", "there is no action " + clip(action)}}
	}
	return against(s, input)
}

// CheckEmit returns what is wrong with the data of the plugin's event with the
// name.
func (m *Manifest) CheckEmit(name string, data json.RawMessage) []FieldError {
	s := m.emits[name]
	if s == nil {
		return []FieldError{{"", "the manifest has no event " + clip(name)}}
	}
	return against(s, data)
}

func against(s *jsonschema.Schema, raw json.RawMessage) []FieldError {
	if len(raw) > mostSettings {
		return []FieldError{{"", fmt.Sprintf("is too large: %d of at most %d bytes", len(raw), mostSettings)}}
	}
	if s == nil {
		return []FieldError{{"", "the manifest was not read with ParseManifest"}}
	}
	return hold(s, raw)
}
