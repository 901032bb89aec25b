package event

import (
	"encoding/json"
	"fmt"

	"github.com/guildhall-dev/guildhall/internal/date"
)

// Down turns data of one version of a type into data of the version before, in
// place. It is also given the previous of an event, which has only some of the
// members, so it does nothing about those that are not there.
type Down func(data map[string]json.RawMessage) error

// Revision is a change of a type's data that its readers cannot be left to
// cope with: a field is gone, or means something else.
type Revision struct {
	Day  date.Date // the day on which the version with this change came out
	Down Down
}

// Revised says that the data of the type broke with its past: T is the newer
// form, which came out on the day (YYYY-MM-DD). Revisions follow each other
// from the oldest to the newest; the first makes version 2.
//
//	Created = event.Define[Task]("task.created", "A task was made.").
//		Revised("2027-02-01", stateWasStatus)
//
// The log keeps what was emitted, in the version that it had then. A field that
// is only added needs no revision.
func (e Of[T]) Revised(day string, down Down) Of[T] {
	d, err := date.Parse(day)
	if err != nil {
		panic(fmt.Sprintf("event %s: Revised: %v", e.Name, err))
	}
	if n := len(e.Revisions); n > 0 && !e.Revisions[n-1].Day.Before(d) {
		panic(fmt.Sprintf("event %s: Revised(%s) comes after the revision of %s; the oldest comes first, one a day", e.Name, d, e.Revisions[n-1].Day))
	}
	e.Revisions = append(e.Revisions, Revision{Day: d, Down: down})
	e.Version = 1 + len(e.Revisions)
	return e
}

// VersionOn is the version that was current at the end of a day.
func (t *Type) VersionOn(day date.Date) int {
	v := 1
	for _, r := range t.Revisions {
		if !day.Before(r.Day) {
			v++
		}
	}
	return v
}

// At returns an event of this type as it would have been emitted on a day: with
// its data and previous in the version that was current then. It starts from
// the version that the event was stored with, and never goes up: an event that
// is older than the day stays as it is.
func (t *Type) At(day date.Date, e Event) (Event, error) {
	want := t.VersionOn(day)
	if e.SchemaVersion <= want {
		return e, nil
	}
	if e.SchemaVersion > t.Version {
		return e, fmt.Errorf("event %s is of version %d of %s, this binary knows %d", e.ID, e.SchemaVersion, t.Name, t.Version)
	}
	steps := t.Revisions[want-1 : e.SchemaVersion-1]
	var err error
	if e.Data, err = lower(e.Data, steps); err == nil {
		e.Previous, err = lower(e.Previous, steps)
	}
	if err != nil {
		return e, fmt.Errorf("event %s from version %d of %s to %d: %w", e.ID, e.SchemaVersion, t.Name, want, err)
	}
	e.SchemaVersion = want
	return e, nil
}

// lower takes the newest of the steps first.
func lower(raw json.RawMessage, steps []Revision) (json.RawMessage, error) {
	if len(raw) == 0 {
		return raw, nil
	}
	var data map[string]json.RawMessage
	if err := json.Unmarshal(raw, &data); err != nil {
		return nil, err
	}
	for i := len(steps) - 1; i >= 0; i-- {
		if err := steps[i].Down(data); err != nil {
			return nil, fmt.Errorf("the revision of %s: %w", steps[i].Day, err)
		}
	}
	return json.Marshal(data)
}
