package event_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/date"
	"github.com/guildhall-dev/guildhall/internal/id"
)

// parcel is in its third version: "state" was "status" until 2027-02-01, and
// weight was in kilograms until 2028-06-15.
type parcel struct {
	ID    id.ID  `json:"id"`
	State string `json:"state"`
	Grams int64  `json:"grams"`
}

func (p parcel) EventSubject() event.Subject { return event.Subject{ID: p.ID} }

func stateWasStatus(data map[string]json.RawMessage) error {
	if v, ok := data["state"]; ok {
		delete(data, "state")
		data["status"] = v
	}
	return nil
}

func gramsWereKilograms(data map[string]json.RawMessage) error {
	v, ok := data["grams"]
	if !ok {
		return nil
	}
	var grams float64
	if err := json.Unmarshal(v, &grams); err != nil {
		return err
	}
	delete(data, "grams")
	kilograms, err := json.Marshal(grams / 1000)
	data["kilograms"] = kilograms
	return err
}

var parcelSent = event.Define[parcel]("parcel.sent", "A parcel left.").
	Revised("2027-02-01", stateWasStatus).
	Revised("2028-06-15", gramsWereKilograms)

func TestEventInTheVersionOfADay(t *testing.T) {
	t.Parallel()
	if parcelSent.Version != 3 {
		t.Fatalf("the version is %d", parcelSent.Version)
	}
	v3 := event.Event{SchemaVersion: 3, Data: json.RawMessage(`{"grams":1500,"state":"sent","big":9007199254740993}`), Previous: json.RawMessage(`{"state":"packed"}`)}
	v2 := event.Event{SchemaVersion: 2, Data: json.RawMessage(`{"kilograms":2,"state":"sent"}`)}
	v1 := event.Event{SchemaVersion: 1, Data: json.RawMessage(`{"kilograms":2,"status":"sent"}`), Previous: json.RawMessage(`{"status":"packed"}`)}
	for _, c := range []struct {
		day            string
		stored         event.Event
		version        int
		data, previous string
	}{
		{"2026-01-01", v3, 1, `{"big":9007199254740993,"kilograms":1.5,"status":"sent"}`, `{"status":"packed"}`},
		{"2027-01-31", v3, 1, `{"big":9007199254740993,"kilograms":1.5,"status":"sent"}`, `{"status":"packed"}`},
		{"2027-02-01", v3, 2, `{"big":9007199254740993,"kilograms":1.5,"state":"sent"}`, `{"state":"packed"}`},
		{"2028-06-14", v3, 2, `{"big":9007199254740993,"kilograms":1.5,"state":"sent"}`, `{"state":"packed"}`},
		{"2028-06-15", v3, 3, string(v3.Data), string(v3.Previous)},
		{"2030-01-01", v3, 3, string(v3.Data), string(v3.Previous)},
		{"2026-01-01", v2, 1, `{"kilograms":2,"status":"sent"}`, ""},
		{"2027-02-01", v2, 2, string(v2.Data), ""},
		{"2030-01-01", v2, 2, string(v2.Data), ""}, // it never goes up
		{"2026-01-01", v1, 1, string(v1.Data), string(v1.Previous)},
		{"2030-01-01", v1, 1, string(v1.Data), string(v1.Previous)},
	} {
		day, err := date.Parse(c.day)
		if err != nil {
			t.Fatal(err)
		}
		before := string(c.stored.Data)
		got, err := parcelSent.At(day, c.stored)
		if err != nil || got.SchemaVersion != c.version || string(got.Data) != c.data || string(got.Previous) != c.previous {
			t.Errorf("version %d on %s: version %d, %s, %s, %v", c.stored.SchemaVersion, c.day, got.SchemaVersion, got.Data, got.Previous, err)
		}
		if string(c.stored.Data) != before {
			t.Errorf("on %s the stored data was changed to %s", c.day, c.stored.Data)
		}
	}
}

func TestThinEventHasNothingToConvert(t *testing.T) {
	t.Parallel()
	got, err := parcelSent.At(date.Date{}, event.Event{SchemaVersion: 3})
	if err != nil || got.SchemaVersion != 1 || got.Data != nil || got.Previous != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRevisionThatFails(t *testing.T) {
	t.Parallel()
	broken := event.Define[parcel]("parcel.lost", "It is gone.").Revised("2027-02-01", func(map[string]json.RawMessage) error { return errors.New("no") })
	for _, e := range []event.Event{
		{SchemaVersion: 2, Data: json.RawMessage(`{}`)},
		{SchemaVersion: 2, Data: json.RawMessage(`[]`)},
		{SchemaVersion: 3, Data: json.RawMessage(`{}`)}, // of a newer binary
	} {
		if got, err := broken.At(date.Date{}, e); err == nil || !strings.Contains(err.Error(), "parcel.lost") {
			t.Errorf("version %d: %+v, %v", e.SchemaVersion, got, err)
		}
	}
}

func TestRevisionsStandInOrder(t *testing.T) {
	t.Parallel()
	for _, days := range [][]string{{"2027-02-30"}, {"2027-02-01", "2027-02-01"}, {"2027-02-01", "2026-01-01"}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("revisions of %v were accepted", days)
				}
			}()
			e := event.Define[parcel]("parcel.opened", "It is open.")
			for _, d := range days {
				e = e.Revised(d, stateWasStatus)
			}
		}()
	}
}
