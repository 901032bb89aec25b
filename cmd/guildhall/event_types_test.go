package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/openapi"
	"github.com/guildhall-dev/guildhall/openapi/events"
)

// goldenEvents holds the published schema of every version of every event.
var goldenEvents = filepath.Join("..", "..", "openapi", "events")

// TestGoldenEventSchemas keeps the promise of a published version: nothing of
// it is taken back. What is added needs `make generate`, anything else a
// revision.
func TestGoldenEventSchemas(t *testing.T) {
	t.Parallel()
	a, err := newSpecimen()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := a.document()
	if err != nil {
		t.Fatal(err)
	}
	published, err := openapi.EventSchemas(doc)
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]*event.Type{}
	for _, e := range a.features.eventTypes() {
		types[e.Name] = e
	}
	known := map[string]bool{}
	for _, p := range published {
		for v := 1; v <= p.Version; v++ {
			known[events.File(p.Type, v)] = true
		}
		goldenEvent(t, p)
		earlierVersions(t, types[p.Type], p)
	}
	files, err := os.ReadDir(goldenEvents)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if filepath.Ext(f.Name()) == ".json" && !known[f.Name()] {
			t.Errorf("openapi/events/%s is of no event and version of this tree: receivers wait for it and the log holds it, so it stays; if no release ever had it, delete the file", f.Name())
		}
	}
}

// goldenEvent holds a current version against its file.
func goldenEvent(t *testing.T, p openapi.EventSchema) {
	path := filepath.Join(goldenEvents, events.File(p.Type, p.Version))
	committed, err := os.ReadFile(path)
	missing := errors.Is(err, os.ErrNotExist)
	if err != nil && !missing {
		t.Error(err)
		return
	}
	if !missing {
		if complaint := brokenPromise(p, committed); complaint != "" {
			t.Error(complaint)
			return
		}
	}
	switch {
	case bytes.Equal(committed, p.Schema):
	case os.Getenv("GUILDHALL_UPDATE") != "":
		if err := os.WriteFile(path, p.Schema, 0o644); err != nil {
			t.Error(err)
		}
	case missing:
		t.Errorf("the event %s of version %d has no published schema: run `make generate`", p.Type, p.Version)
	default:
		t.Errorf("the schema of the event %s of version %d has grown: run `make generate`, and tell receivers in a line in CHANGELOG.md", p.Type, p.Version)
	}
}

// brokenPromise says what a schema takes back of the published one of the same
// version, and what to do about it.
func brokenPromise(p openapi.EventSchema, committed []byte) string {
	broken, err := openapi.Breaks(committed, p.Schema)
	if err != nil {
		return fmt.Sprintf("the event %s: %v", p.Type, err)
	}
	if len(broken) == 0 {
		return ""
	}
	return fmt.Sprintf("the event %s breaks what version %d of it promises:\n\t%s\n"+
		"Receivers were written for that version and the log holds events of it. Add a revision where the event is defined, with the day and the way back:\n"+
		"\t.Revised(\"YYYY-MM-DD\", func(data map[string]json.RawMessage) error { … })\n"+
		"and run `make generate`. If no release ever had this version, delete openapi/events/%s and run `make generate`.",
		p.Type, p.Version, strings.Join(broken, "\n\t"), events.File(p.Type, p.Version))
}

// earlierVersions converts the example down to each earlier version and holds
// it against what was published of that.
func earlierVersions(t *testing.T, e *event.Type, p openapi.EventSchema) {
	for v := p.Version - 1; v >= 1; v-- {
		schema, err := os.ReadFile(filepath.Join(goldenEvents, events.File(p.Type, v)))
		if err != nil {
			t.Errorf("version %d of the event %s: %v: the file of an earlier version stays as it was released", v, p.Type, err)
			continue
		}
		var example event.Event
		if err := json.Unmarshal(p.Example, &example); err != nil {
			t.Fatal(err)
		}
		if example, err = e.At(e.Revisions[v-1].Day.AddDays(-1), example); err != nil {
			t.Error(err)
			continue
		}
		raw, err := json.Marshal(example)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(schema, raw); err != nil {
			t.Errorf("the event %s, taken back to version %d, is not what was published: %v", p.Type, v, err)
		}
	}
}

// validate holds a value against a schema that stands for itself, as a receiver
// would.
func validate(schema, value []byte) error {
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return err
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(value))
	if err != nil {
		return err
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("mem:///schema.json", parsed); err != nil {
		return err
	}
	s, err := c.Compile("mem:///schema.json")
	if err != nil {
		return err
	}
	return s.Validate(v)
}

// selectEmitted leaves out the rows that tests put into the log themselves.
const selectEmitted = `select ` + event.Cols + ` from guildhall.event_log e
	where e.public and e.data is not null and not (e.data = '{}' and e.request_id = 'x') order by e.id`

// eventComplaints holds every public event in a world's log against the
// published schema of its type and version.
func eventComplaints(ctx context.Context, w *world) (found []string, checked int, err error) {
	v, err := conformance()
	if err != nil {
		return nil, 0, err
	}
	rows, err := w.super.Query(ctx, selectEmitted)
	if err != nil {
		return nil, 0, err
	}
	events, err := pgx.CollectRows(rows, pgx.RowToStructByName[event.Event])
	if err != nil {
		return nil, 0, err
	}
	one := int64(1)
	for _, e := range events {
		if e.Sequence == nil { // the relay has not come to it yet
			e.Sequence = &one
		}
		raw, err := json.Marshal(e)
		if err != nil {
			return nil, 0, err
		}
		if err := v.CheckEvent(raw); err != nil {
			found = append(found, fmt.Sprintf("%v\n%s", err, raw))
		}
	}
	return found, len(events), nil
}

// checkEvents runs at the end of every world: whatever a test made happen, its
// events are what was published of them.
func (w *world) checkEvents() {
	if _, measuring := w.t.(*testing.B); measuring || w.t.Failed() {
		return
	}
	found, _, err := eventComplaints(context.Background(), w)
	if err != nil {
		w.t.Errorf("the events in the log could not be checked: %v", err)
	}
	for i, complaint := range found {
		if i == 5 {
			w.t.Errorf("and %d more events are not what was published of them", len(found)-i)
			break
		}
		w.t.Errorf("an event is not what was published of it: %s", complaint)
	}
}

// TestEventCheckBites damages events in the log, one at a time, and makes sure
// that each is found.
func TestEventCheckBites(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada").organization("Acme")
	project := ada.post("/v1/projects", m{"name": "P"}).want(201).str("id")
	task := ada.post("/v1/projects/"+project+"/tasks", m{"title": "T"}).want(201).str("id")
	ada.patch("/v1/tasks/"+task, m{"title": "U"}).want(200)
	ctx := context.Background()
	if found, checked, err := eventComplaints(ctx, w); err != nil || len(found) != 0 || checked < 4 {
		t.Fatalf("before: %d events, %q, %v", checked, found, err)
	}
	for _, c := range []struct{ set, undo, want string }{
		{`data = data - 'title'`, `data = data || '{"title": "U"}'`, "title"},
		{`data = data || '{"title": 7}'`, `data = data || '{"title": "U"}'`, "/data/title"},
		{`data = data || '{"secret": 7}'`, `data = data - 'secret'`, "secret"},
		{`data = data || '{"due_date": "soon"}'`, `data = data || '{"due_date": null}'`, "/data/due_date"},
		{`previous = '{"title": 7}'`, `previous = '{"title": "T"}'`, "/previous/title"},
		{`previous = '{"nothing": 7}'`, `previous = '{"title": "T"}'`, "/previous/nothing"},
		{`schema_version = 2`, `schema_version = 1`, "/schema_version"},
		{`type = 'task.vanished'`, `type = 'task.updated'`, `no event "task.vanished"`},
	} {
		where := ` where subject_id = $1 and type in ('task.updated', 'task.vanished')`
		w.sql(`update event_log set `+c.set+where, task)
		found, _, err := eventComplaints(ctx, w)
		if err != nil || len(found) != 1 || !strings.Contains(found[0], c.want) || !strings.Contains(found[0], task) {
			t.Errorf("%s: %q, %v; want one complaint with %s", c.set, found, err, c.want)
		}
		w.sql(`update event_log set `+c.undo+where, task)
	}
}

func TestEventTypes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada").organization("Acme")
	guest := w.join(ada, w.person("guest"), "guest")

	// The whole catalogue, page by page, is every public event by name.
	var names []string
	for path := "/v1/event-types?limit=7&include=total"; path != ""; {
		r := guest.get(path).want(200)
		for i := range r.len("data") {
			names = append(names, r.str(fmt.Sprintf("data.%d.type", i)))
		}
		if next := r.str("next_cursor"); next != "" {
			path = "/v1/event-types?limit=7&cursor=" + next
		} else {
			path = ""
		}
	}
	var want []string
	for _, e := range w.app.features.eventTypes() {
		want = append(want, e.Name)
	}
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("the catalogue lists %q, want %q", names, want)
	}
	if r := ada.get("/v1/event-types?limit=1&include=total").want(200); r.num("total") != int64(len(want)) {
		t.Errorf("total is %d, want %d", r.num("total"), len(want))
	}
	if r := ada.get("/v1/event-types?limit=3&page=2").want(200); r.str("data.0.type") != want[3] {
		t.Errorf("the second page begins with %s, want %s", r.str("data.0.type"), want[3])
	}

	// Every schema stands for itself and takes its example; the log's events too.
	project := ada.post("/v1/projects", m{"name": "P"}).want(201).str("id")
	ada.post("/v1/projects/"+project+"/tasks", m{"title": "T"}).want(201)
	w.settle()
	for _, name := range want {
		var e struct {
			Type, Description, Subject string
			Version                    int
			Schema, Example            json.RawMessage
		}
		guest.get("/v1/event-types/" + name).want(200).into(&e)
		if e.Type != name || e.Description == "" || !strings.HasPrefix(name, e.Subject+".") || e.Version != 1 {
			t.Errorf("%s: %+v", name, e)
		}
		if err := validate(e.Schema, e.Example); err != nil {
			t.Errorf("the example of %s: %v", name, err)
		}
		var example struct{ Type string }
		if err := json.Unmarshal(e.Example, &example); err != nil {
			t.Fatal(err)
		}
		if err := validate(e.Schema, bytes.Replace(e.Example, []byte(example.Type), []byte("no.such"), 1)); err == nil {
			t.Errorf("the schema of %s takes an event of another type", name)
		}
		live := ada.get("/v1/events?type=" + name + "&limit=1").want(200)
		if live.len("data") == 1 {
			var feed struct{ Data []json.RawMessage }
			live.into(&feed)
			if err := validate(e.Schema, feed.Data[0]); err != nil {
				t.Errorf("%s in the feed: %v", name, err)
			}
		}
	}

	same := ada.get("/v1/event-types/task.created?version=1").want(200)
	if same.num("version") != 1 || same.num("current_version") != 1 || same.str("example.type") != "task.created" {
		t.Errorf("version 1 is %s", same.body)
	}
	ada.get("/v1/event-types/task.created?version=2").want(404).code("not_found")
	ada.get("/v1/event-types/task.vanished").want(404).code("not_found")
	ada.get("/v1/event-types/api_key.created").want(404).code("not_found") // the audit log's alone
	ada.get("/v1/event-types/Task").want(422)
	ada.get("/v1/event-types?cursor=x").want(400).code("bad_request")
	w.nobody().get("/v1/event-types").want(401)
}

// TestBrokenPromiseIsToldInWords changes a published schema as a careless
// commit would.
func TestBrokenPromiseIsToldInWords(t *testing.T) {
	t.Parallel()
	published, err := openapi.EventSchemas(specimenDocument(t))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(published, func(p openapi.EventSchema) bool { return p.Type == "task.created" })
	p := published[i]
	if complaint := brokenPromise(p, p.Schema); complaint != "" {
		t.Fatalf("a schema breaks itself: %s", complaint)
	}
	committed := bytes.ReplaceAll(p.Schema, []byte(`"title"`), []byte(`"headline"`))
	complaint := brokenPromise(p, committed)
	for _, want := range []string{"task.created", "/data/headline: is gone", "/data/title: is new and said to be always there", "Add a revision", "Revised(", "task.created.v1.json"} {
		if !strings.Contains(complaint, want) {
			t.Errorf("%q is not said in:\n%s", want, complaint)
		}
	}
}
