package openapi

import "fmt"

// Older turns a document of Document into OpenAPI 3.0.3, for tools that read no
// other. What 3.0 cannot say is said otherwise (null, constants) or left out
// (webhooks).
func Older(document []byte) ([]byte, error) {
	doc, err := decode(document)
	if err != nil {
		return nil, err
	}
	doc["openapi"] = "3.0.3"
	delete(doc, "webhooks")
	eachSchema(doc, older)
	trimTags(doc)
	prune(doc)
	return encode(doc)
}

// older rewrites one schema in place.
func older(s object) {
	if list, ok := s["type"].([]any); ok {
		delete(s, "type")
		for _, t := range list {
			if t == "null" {
				s["nullable"] = true
			} else {
				s["type"] = t
			}
		}
	}
	if list, ok := s["examples"].([]any); ok {
		if delete(s, "examples"); len(list) > 0 {
			s["example"] = list[0]
		}
	}
	if c, ok := s["const"]; ok {
		delete(s, "const")
		s["enum"] = []any{c}
	}
	for plain, exclusive := range map[string]string{"minimum": "exclusiveMinimum", "maximum": "exclusiveMaximum"} {
		if v, ok := s[exclusive]; ok {
			s[plain], s[exclusive] = v, true
		}
	}
	if s["contentEncoding"] == "base64" {
		s["format"] = "byte"
	}
	for _, k := range []string{"contentEncoding", "contentMediaType", "patternDescription", "dependentRequired"} {
		delete(s, k)
	}
	olderUnion(s)
	// A reference in 3.0 hides whatever stands beside it.
	if target, ok := s["$ref"]; ok && len(s) > 1 {
		delete(s, "$ref")
		s["allOf"] = []any{object{"$ref": target}}
	}
}

// olderUnion turns "this or null" into a nullable this.
func olderUnion(s object) {
	list, ok := s["oneOf"].([]any)
	if !ok {
		return
	}
	var rest []any
	for _, e := range list {
		if m, _ := e.(object); m["type"] == "null" && len(m) == 1 {
			s["nullable"] = true
		} else {
			rest = append(rest, e)
		}
	}
	if len(rest) != 1 {
		s["oneOf"] = rest
		return
	}
	delete(s, "oneOf")
	s["allOf"] = rest
	if s["type"] == nil {
		s["type"] = "object" // nullable counts only beside a type
	}
}

// trimTags takes out the tags that only webhooks used.
func trimTags(doc object) {
	used := map[string]bool{}
	for _, p := range sub(doc, "paths") {
		for _, o := range p.(object) {
			list, _ := o.(object)["tags"].([]any)
			for _, t := range list {
				used[fmt.Sprint(t)] = true
			}
		}
	}
	tags := []any{}
	all, _ := doc["tags"].([]any)
	for _, t := range all {
		if used[fmt.Sprint(t.(object)["name"])] {
			tags = append(tags, t)
		}
	}
	doc["tags"] = tags
}
