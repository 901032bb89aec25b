package main

import (
	"encoding/json"
	"fmt"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/openapi"
	"github.com/guildhall-dev/guildhall/openapi/events"
	"github.com/guildhall-dev/guildhall/platform/webhooks"
)

// catalogue is what the document says of each public event, with the schemas of
// earlier versions.
func (a *app) catalogue() ([]webhooks.CatalogueEntry, error) {
	types := map[string]*event.Type{}
	for _, t := range a.features.eventTypes() {
		types[t.Name] = t
	}
	doc, err := a.document()
	if err != nil {
		return nil, err
	}
	published, err := openapi.EventSchemas(doc)
	if err != nil {
		return nil, err
	}
	out := make([]webhooks.CatalogueEntry, 0, len(published))
	for _, p := range published {
		t := types[p.Type]
		if t == nil {
			return nil, fmt.Errorf("the document has an event %s that no feature has", p.Type)
		}
		e := webhooks.CatalogueEntry{Type: t, Schemas: map[int]json.RawMessage{p.Version: p.Schema}, Example: p.Example}
		for v := 1; v < t.Version; v++ {
			if e.Schemas[v], err = events.Schema(t.Name, v); err != nil {
				return nil, err
			}
		}
		out = append(out, e)
	}
	return out, nil
}
