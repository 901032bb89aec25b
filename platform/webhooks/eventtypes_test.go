package webhooks

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/date"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// crate is in its second version: "state" was "status" until 2027-02-01.
type crate struct {
	State string `json:"state"`
}

func (crate) EventSubject() event.Subject { return event.Subject{ID: id.New()} }

func catalogueOfCrates(t *testing.T) *Feature {
	sent := event.Define[crate]("crate.sent", "A crate left.").Revised("2027-02-01", func(data map[string]json.RawMessage) error {
		if v, ok := data["state"]; ok {
			delete(data, "state")
			data["status"] = v
		}
		return nil
	})
	entry := CatalogueEntry{Type: sent.Type,
		Schemas: map[int]json.RawMessage{1: json.RawMessage(`{"title":"old"}`), 2: json.RawMessage(`{"title":"new"}`)},
		Example: json.RawMessage(`{"id":"0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07","type":"crate.sent","schema_version":2,"data":{"state":"sent"},"previous":{"state":"packed"}}`)}
	f, err := New(Deps{
		EventTypes: func() []*event.Type { return []*event.Type{sent.Type} },
		Catalogue:  func() ([]CatalogueEntry, error) { return []CatalogueEntry{entry}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestEventTypeInAnEarlierVersion(t *testing.T) {
	t.Parallel()
	f := catalogueOfCrates(t)
	read := func(version int) (EventType, error) {
		return f.getEventType(t.Context(), tenant.View{}, &getEventType{EventType: "crate.sent", Version: version})
	}
	for version, want := range map[int][]string{
		0: {`"state":"sent"`, `"state":"packed"`, `"schema_version":2`, "new"}, 2: {`"state":"sent"`, `"schema_version":2`, "new"},
		1: {`"status":"sent"`, `"status":"packed"`, `"schema_version":1`, "old"},
	} {
		got, err := read(version)
		if err != nil || got.Current != 2 || version != 0 && got.Version != version {
			t.Errorf("version %d: %+v, %v", version, got, err)
		}
		for _, w := range want {
			if !strings.Contains(string(got.Example)+string(got.Schema), w) {
				t.Errorf("version %d lacks %s: %s %s", version, w, got.Example, got.Schema)
			}
		}
	}
	if got, err := read(3); err == nil {
		t.Errorf("version 3: %+v", got)
	}
}

func TestEventAsOfADay(t *testing.T) {
	t.Parallel()
	f := catalogueOfCrates(t)
	for day, want := range map[string]string{"2027-01-31": `{"status":"sent"}`, "2027-02-01": `{"state":"sent"}`} {
		d, err := date.Parse(day)
		if err != nil {
			t.Fatal(err)
		}
		for name, data := range map[string]string{"crate.sent": want, "crate.unheard_of": `{"state":"sent"}`} {
			got, err := f.asOf(d, event.Event{Type: name, SchemaVersion: 2, Data: json.RawMessage(`{"state":"sent"}`)})
			if err != nil || string(got.Data) != data {
				t.Errorf("%s on %s: %s, %v; want %s", name, day, got.Data, err, data)
			}
		}
	}
}

func TestExampleOf(t *testing.T) {
	t.Parallel()
	f := catalogueOfCrates(t)
	if got, ok := f.exampleOf("crate.sent"); !ok || !strings.Contains(string(got), "crate.sent") {
		t.Errorf("%s, %v", got, ok)
	}
	if got, ok := f.exampleOf("crate.vanished"); ok {
		t.Errorf("an event that is not has the example %s", got)
	}
}
