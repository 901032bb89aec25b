package openapi

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/guildhall-dev/guildhall/event"
)

// events writes one webhook for each public event, named by its type, and the
// schema of its envelope, which the feed uses as well.
func (g *generator) events() {
	g.register(reflect.TypeFor[event.Event](), "Event")
	webhooks := sub(g.doc, "webhooks")
	for _, m := range g.tags {
		for _, e := range m.Events {
			if e.Internal {
				continue
			}
			if webhooks[e.Name] != nil {
				g.fail("event %s is listed by two features", e.Name)
			}
			webhooks[e.Name] = object{"post": object{
				"operationId": "receive-" + strings.NewReplacer(".", "-", "_", "-").Replace(e.Name),
				"summary":     e.Name,
				"description": strings.TrimSuffix(e.Doc, ".") + ".\n\nThe same object stands in the feed of `GET /v1/events`.",
				"tags":        []any{m.Name},
				"security":    []any{object{}},
				"requestBody": object{"required": true, "content": object{
					"application/json": object{"schema": g.envelope(e)},
				}},
				"responses": object{
					"2XX": object{"description": "Received. Any answer between 200 and 299 will do."},
					"4XX": object{"description": "Not taken; it is sent again later."},
				},
			}}
		}
	}
}

// envelope adds the schema of one type of event: the common one with what is
// certain of this type.
func (g *generator) envelope(e *event.Type) object {
	name := camel(e.Name) + "Event"
	if g.schemas()[name] != nil {
		g.fail("event %s: there is a schema %s already; rename that type", e.Name, name)
		return ref("schemas", name)
	}
	common := g.resolve(ref("schemas", "Event"))
	props := maps.Clone(sub(common, "properties"))
	props["type"] = object{"type": "string", "const": e.Name}
	if e.Family != "" {
		props["type"] = object{"type": "string", "pattern": e.Family, "maxLength": 100, "examples": []any{e.Subject + ".chat.message_posted"}}
	}
	sequence := maps.Clone(sub(props, "sequence"))
	sequence["type"] = "integer"
	sequence["description"] = "Number in the organisation's public log, without gaps."
	sequence["examples"] = []any{4711}
	props["sequence"] = sequence
	props["schema_version"] = object{"type": "integer", "format": "int32", "const": e.Version, "minimum": 1, "maximum": 1000}
	data := g.register(e.Data, name+"Data")
	row, _ := componentName(data)
	subjectID := maps.Clone(sub(props, "id"))
	subjectID["examples"] = []any{sampleUUID("id", row)}
	delete(subjectID, "description")
	props["subject"] = object{
		"type": "object", "additionalProperties": false, "required": []any{"type", "id"},
		"properties": object{"type": object{"type": "string", "const": e.Subject}, "id": subjectID},
	}
	data["description"] = "The full row, after the change; the last state when it was deleted."
	props["data"] = data
	props["previous"] = object{
		"type": "object", "additionalProperties": true,
		"description": "The old values of the fields that changed, under the names that they have in data.",
	}
	required := []any{}
	for _, p := range sorted(props) {
		if p != "previous" {
			required = append(required, p)
		}
	}
	g.schemas()[name] = object{
		"type": "object", "description": e.Doc, "additionalProperties": false, "properties": props, "required": required,
	}
	return ref("schemas", name)
}

// camel makes TaskCreated of task.created.
func camel(s string) string {
	parts := strings.FieldsFunc(s, func(r rune) bool { return r == '.' || r == '_' || r == '-' })
	for i, p := range parts {
		parts[i] = strings.ToUpper(p[:1]) + p[1:]
	}
	return strings.Join(parts, "")
}

// emitted lists the names of an operation's events, in order.
func emitted(types []*event.Type) []any {
	var names []string
	for _, t := range types {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	out := []any{}
	for _, n := range names {
		out = append(out, n)
	}
	return out
}
