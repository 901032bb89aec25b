package plugintest

import (
	"encoding/json"
	"slices"
)

// sampleOf makes an object for a schema: of its defaults, constants and examples,
// and, for what has to be there, of something of its type.
func sampleOf(schema json.RawMessage) json.RawMessage {
	var s map[string]any
	if json.Unmarshal(schema, &s) != nil {
		return json.RawMessage("{}")
	}
	raw, err := json.Marshal(sample(s))
	if err != nil {
		return json.RawMessage("{}")
	}
	return raw
}

func sample(s map[string]any) any {
	for _, key := range []string{"const", "default"} {
		if v, ok := s[key]; ok {
			return v
		}
	}
	for _, key := range []string{"examples", "enum"} {
		if all, ok := s[key].([]any); ok && len(all) > 0 {
			return all[0]
		}
	}
	switch s["type"] {
	case "object":
		out := map[string]any{}
		properties, _ := s["properties"].(map[string]any)
		required, _ := s["required"].([]any)
		for name, p := range properties {
			inner, ok := p.(map[string]any)
			if !ok {
				continue
			}
			_, byDefault := inner["default"]
			_, byExample := inner["examples"]
			if byDefault || byExample || slices.Contains(required, any(name)) {
				out[name] = sample(inner)
			}
		}
		return out
	case "array":
		return []any{}
	case "integer", "number":
		if least, ok := s["minimum"]; ok {
			return least
		}
		return 0
	case "boolean":
		return false
	case "null":
		return nil
	}
	return ""
}
