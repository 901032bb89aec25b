package openapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/guildhall-dev/guildhall/openapi/events"
)

// EventSchema is one type of event as it is published: what its receivers may
// rely on.
type EventSchema struct {
	Type        string // "task.created"
	Description string
	Subject     string // "task"
	Version     int
	Schema      json.RawMessage // JSON Schema (2020-12) of the whole event, which refers to nothing outside itself
	Example     json.RawMessage // a whole event
}

// moreToCome tells receivers what a version promises and what not.
const moreToCome = "Members may be added within a version: pass over those that you do not know."

// EventSchemas takes the schemas of all events out of a document that Document
// made, by name. Other than there, members that are not named are allowed: a
// receiver that keeps such a schema must take the events of a later release.
func EventSchemas(document []byte) ([]EventSchema, error) {
	doc, err := decode(document)
	if err != nil {
		return nil, err
	}
	var out []EventSchema
	webhooks := sub(doc, "webhooks")
	for _, name := range sorted(webhooks) {
		e, err := eventSchema(doc, name)
		if err != nil {
			return nil, fmt.Errorf("openapi.EventSchemas(%s): %w", name, err)
		}
		out = append(out, e)
	}
	return out, nil
}

func eventSchema(doc object, name string) (e EventSchema, err error) {
	media := eventMedia(doc, name)
	s := maps.Clone(resolve(doc, sub(media, "schema")))
	props := sub(s, "properties")
	e.Type = name
	e.Description, _ = s["description"].(string)
	e.Subject, _ = sub(sub(sub(props, "subject"), "properties"), "type")["const"].(string)
	if e.Version = intOf(sub(props, "schema_version")["const"]); e.Version == 0 || e.Subject == "" {
		return e, errors.New("the document does not say its version or its subject")
	}
	s["$schema"], s["title"], s["description"] = "https://json-schema.org/draft/2020-12/schema", name, strings.TrimSuffix(e.Description, ".")+". "+moreToCome
	bundled, err := bundle(doc, s)
	if err != nil {
		return e, err
	}
	if e.Schema, err = encode(bundled); err != nil {
		return e, err
	}
	example, _ := media["example"].(object)
	e.Example, err = encode(example)
	return e, err
}

func eventMedia(doc object, name string) object {
	return sub(sub(sub(sub(sub(sub(doc, "webhooks"), name), "post"), "requestBody"), "content"), "application/json")
}

// bundle returns a copy of a schema with the components that it needs under
// $defs, open for further members.
func bundle(doc, s object) (object, error) {
	defs := object{}
	var need func(v any)
	need = func(v any) {
		walk(v, func(s object) {
			if name, ok := componentName(s); ok && defs[name] == nil {
				defs[name] = resolve(doc, s)
				need(defs[name])
			}
		})
	}
	need(s)
	out, err := toObject(s)
	if err != nil {
		return nil, err
	}
	if len(defs) > 0 {
		if out["$defs"], err = toObject(defs); err != nil {
			return nil, err
		}
	}
	settle := func(s object) {
		if name, ok := componentName(s); ok {
			s["$ref"] = "#/$defs/" + name
		}
		if s["additionalProperties"] == false {
			delete(s, "additionalProperties")
		}
	}
	walk(out, settle)
	for _, d := range sub(out, "$defs") {
		walk(d, settle)
	}
	if len(defs) == 0 {
		delete(out, "$defs")
	}
	return out, nil
}

// CheckEvent holds an event against what the document says of its type, more
// strictly than a receiver should: a member that the document does not name is
// an error, and previous may hold only what data has. An event of an earlier
// version is held against the schema that was published then.
func (v *Validator) CheckEvent(body []byte) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("the event is not JSON: %w", err)
	}
	e, _ := value.(object)
	name, _ := e["type"].(string)
	if sub(v.doc, "webhooks")[name] == nil {
		if name = v.family(name); name == "" {
			return fmt.Errorf("the document has no event %q", e["type"])
		}
	}
	if intOf(e["schema_version"]) < intOf(sub(sub(v.event(name), "properties"), "schema_version")["const"]) {
		return events.Check(body)
	}
	where := []string{"webhooks", name, "post", "requestBody", "content", "application/json", "schema"}
	if err := v.checkBody(pointerTo(where...), "event "+name, body); err != nil {
		return err
	}
	previous, _ := e["previous"].(object)
	if len(previous) == 0 {
		return nil
	}
	at, _ := sub(sub(v.event(name), "properties"), "data")["$ref"].(string)
	props := sub(resolve(v.doc, object{"$ref": at}), "properties")
	for _, field := range slices.Sorted(maps.Keys(previous)) {
		if props[field] == nil {
			return fmt.Errorf("event %s: /previous/%s: data has no such member", name, field)
		}
		if previous[field] == nil {
			continue // it was not there before
		}
		schema, err := v.schema(at + "/properties/" + field)
		if err != nil {
			return fmt.Errorf("event %s: %w", name, err)
		}
		if err := schema.Validate(previous[field]); err != nil {
			return fmt.Errorf("event %s: /previous/%s: %w", name, field, err)
		}
	}
	return nil
}

// event is the schema of a type in the document.
func (v *Validator) event(name string) object {
	return resolve(v.doc, sub(eventMedia(v.doc, name), "schema"))
}

// family is the event of the document that stands for a name, "" if there is
// none.
func (v *Validator) family(name string) string {
	for _, known := range sorted(sub(v.doc, "webhooks")) {
		pattern, _ := sub(sub(v.event(known), "properties"), "type")["pattern"].(string)
		if pattern == "" {
			continue
		}
		if ok, err := regexp.MatchString(pattern, name); err == nil && ok {
			return known
		}
	}
	return ""
}
