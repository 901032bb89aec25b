package webhooks

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/date"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

// CatalogueEntry is what is published of one type of event.
type CatalogueEntry struct {
	Type    *event.Type
	Schemas map[int]json.RawMessage // by version: JSON Schema of the whole event
	Example json.RawMessage         // a whole event, in the current version
}

// EventType is a type of event as the API shows it.
type EventType struct {
	Type        string          `json:"type" maxLength:"100" pattern:"^[a-z_]+\\.[a-z_.]+$" example:"task.created"`
	Description string          `json:"description" maxLength:"500" example:"A task was made."`
	Subject     string          `json:"subject" maxLength:"50" pattern:"^[a-z_]+$" example:"task" doc:"The kind of thing that it is about."`
	Version     int             `json:"version" minimum:"1" maximum:"1000" example:"1" doc:"The version of its data that schema and example are of."`
	Current     int             `json:"current_version" minimum:"1" maximum:"1000" example:"1" doc:"The version in which it is emitted today."`
	Schema      json.RawMessage `json:"schema" doc:"JSON Schema (2020-12) of the whole event, which refers to nothing outside itself."`
	Example     json.RawMessage `json:"example" doc:"A whole event."`
}

func (f *Feature) catalogueOperations(r *api.Router) {
	const why = " Every member may read it: it says what can happen in any organisation, not what did."
	api.Read(r, api.Op{
		ID: "list-event-types", Route: "GET /event-types", Summary: "List the types of events", AnyMember: true,
		Doc: "Lists every public event with its JSON Schema and an example, by name. " +
			"Members may be added to an event at any time; what else changes makes a new version, and an endpoint goes on to get the version of its schema_date." + why,
	}, f.listEventTypes)
	api.Read(r, api.Op{
		ID: "get-event-type", Route: "GET /event-types/{event_type}", Summary: "Read a type of event", AnyMember: true,
		Doc:    "Answers with one type of event, in the current version or in an earlier one." + why,
		Errors: []string{"404 not_found"},
	}, f.getEventType)
}

type listEventTypes struct{ api.ListParams }

func (f *Feature) listEventTypes(ctx context.Context, _ tenant.View, in *listEventTypes) (page.Page[EventType], error) {
	var none page.Page[EventType]
	var last string
	if _, err := in.Position(ctx, &last); err != nil {
		return none, err
	}
	all, err := f.Catalogue()
	if err != nil {
		return none, fmt.Errorf("webhooks: the catalogue of events: %w", err)
	}
	from, found := slices.BinarySearchFunc(all, last, func(e CatalogueEntry, name string) int { return cmp.Compare(e.Type.Name, name) })
	if found {
		from++
	}
	rows := []EventType{}
	for _, e := range all[min(from+in.Offset(), len(all)):] {
		if len(rows) > in.Limit {
			break
		}
		rows = append(rows, e.current())
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(e EventType) any { return e.Type })
	if in.WantTotal() {
		n := int64(len(all))
		out.Total = &n
	}
	return out, err
}

type getEventType struct {
	EventType string `path:"event_type" maxLength:"100" pattern:"^[a-z_]+\\.[a-z_.]+$" example:"task.created" doc:"Its name."`
	Version   int    `query:"version" minimum:"1" maximum:"1000" doc:"An earlier version of its data."`
}

func (f *Feature) getEventType(_ context.Context, _ tenant.View, in *getEventType) (EventType, error) {
	e, err := f.catalogued(in.EventType)
	if err != nil {
		return EventType{}, err
	}
	if in.Version == 0 {
		return e.current(), nil
	}
	return e.in(in.Version)
}

func (f *Feature) catalogued(name string) (e CatalogueEntry, err error) {
	all, err := f.Catalogue()
	if err != nil {
		return e, fmt.Errorf("webhooks: the catalogue of events: %w", err)
	}
	i := slices.IndexFunc(all, func(e CatalogueEntry) bool { return e.Type.Name == name })
	if i < 0 {
		return e, fault.NotFoundf("event type")
	}
	return all[i], nil
}

func (e CatalogueEntry) current() EventType {
	t := e.Type
	return EventType{t.Name, t.Doc, t.Subject, t.Version, t.Version, e.Schemas[t.Version], e.Example}
}

// in is the type as it was in a version.
func (e CatalogueEntry) in(version int) (EventType, error) {
	out := e.current()
	if version == e.Type.Version {
		return out, nil
	}
	schema, ok := e.Schemas[version]
	if !ok {
		return out, fault.NotFoundf("version of the event type")
	}
	var example event.Event
	if err := json.Unmarshal(e.Example, &example); err != nil {
		return out, fmt.Errorf("webhooks: the example of %s: %w", e.Type.Name, err)
	}
	example, err := e.Type.At(e.Type.Revisions[version-1].Day.AddDays(-1), example)
	if err != nil {
		return out, err
	}
	out.Version, out.Schema = version, schema
	out.Example, err = json.Marshal(example)
	return out, err
}

// exampleOf is a whole event of a public type, made up, in the current version;
// false if there is no such type.
func (f *Feature) exampleOf(name string) (json.RawMessage, bool) {
	e, err := f.catalogued(name)
	return e.Example, err == nil
}

// asOf gives an event in the version of its schema that was current on a day.
// One whose type this binary does not know stays as it is.
func (f *Feature) asOf(day date.Date, e event.Event) (event.Event, error) {
	if t := f.typeOf(e); t != nil {
		return t.At(day, e)
	}
	return e, nil
}

// typeOf is the type of an event, or the family that it is of; nil if this binary
// knows neither.
func (f *Feature) typeOf(e event.Event) *event.Type {
	if t := f.typeByName()[e.Type]; t != nil {
		return t
	}
	for _, t := range f.EventTypes() {
		if t.Family != "" && t.Subject == e.Subject.Type {
			return t
		}
	}
	return nil
}
