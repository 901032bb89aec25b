package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// keys collects a field of every row of a list.
func (r *reply) keys(field string) []string {
	r.t.Helper()
	out := []string{}
	rows, _ := r.at("data").([]any)
	for _, row := range rows {
		v, _ := row.(m)[field].(string)
		out = append(out, v)
	}
	return out
}

func TestProjectsLifecycle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")

	made := ann.post("/v1/projects", m{"name": "Website relaunch", "description": "All *new*."}).want(201)
	path := "/v1/projects/" + made.str("id")
	for field, want := range map[string]string{
		"key": "WR", "status": "active", "visibility": "open", "owner_id": ann.user, "your_role": "lead", "description": "All *new*.",
	} {
		if got := made.str(field); got != want {
			t.Errorf("%s is %q, want %q", field, got, want)
		}
	}
	if made.header("Location") != path || made.header("ETag") != `"1"` {
		t.Errorf("Location %q, ETag %q", made.header("Location"), made.header("ETag"))
	}
	if got := ann.get(path).want(200).str("name"); got != "Website relaunch" {
		t.Errorf("read back the name %q", got)
	}

	patched := ann.patch(path, m{"name": "Website", "color": "#3366cc"}, `If-Match: "1"`).want(200)
	if patched.str("name") != "Website" || patched.num("version") != 2 || patched.header("ETag") != `"2"` {
		t.Errorf("patched: %s", patched.body)
	}
	stale := ann.patch(path, m{"name": "Old"}, `If-Match: "1"`).want(412).code("version_conflict")
	if stale.num("current.version") != 2 || stale.str("current.your_role") != "lead" {
		t.Errorf("412 shows %s", stale.body)
	}
	if again := ann.patch(path, m{"name": "Website"}).want(200); again.num("version") != 2 {
		t.Errorf("a change that changes nothing made version %d", again.num("version"))
	}
	replaced := ann.put(path, m{"name": "Site", "status": "archived"}).want(200)
	if replaced.at("color") != nil || replaced.str("description") != "" || replaced.str("key") != "WR" || replaced.at("archived_at") == nil {
		t.Errorf("replaced: %s", replaced.body)
	}
	ann.delete(path, `If-Match: "1"`).want(412)
	ann.delete(path).want(204)
	ann.get(path).want(404).code("not_found")
	ann.patch(path, m{"name": "X"}).want(404)
	ann.delete(path).want(404)
	if n := ann.get("/v1/projects").want(200).len("data"); n != 0 {
		t.Errorf("%d projects are listed after the only one was deleted", n)
	}
	if got := ann.get("/v1/projects?status=trashed").want(200).str("data.0.id"); got != made.str("id") {
		t.Errorf("the trash lists %q", got)
	}
	ann.post("/v1/projects", m{"name": "Other", "key": "WR"}).want(409).code("project_key_taken")
	restored := ann.post(path+"/restore", nil).want(200)
	if restored.str("status") != "archived" || restored.at("deleted_at") != nil {
		t.Errorf("restored: %s", restored.body)
	}
	ann.post(path+"/restore", nil).want(200)
	ann.patch(path, m{"status": "active"}).want(200)

	var types []string
	for _, row := range w.sql(`select type from event_log where type like 'project.%' order by id`) {
		types = append(types, row["type"].(string))
	}
	want := []string{"project.created", "project.member_added", "project.updated", "project.archived", "project.deleted", "project.restored", "project.unarchived"}
	if !slices.Equal(types, want) {
		t.Errorf("events are %v, want %v", types, want)
	}
	prev := w.sql(`select previous, project_id::text as project, subject_id::text as subject, data ? 'your_role' as viewers from event_log where type = 'project.updated'`)[0]
	if fmt.Sprint(prev["previous"]) != "map[color:<nil> name:Website relaunch]" || prev["project"] != prev["subject"] || prev["viewers"] != false {
		t.Errorf("project.updated says %v", prev)
	}
}

func TestProjectsRefuse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	eve := w.person("eve").organization("Evil")
	path := "/v1/projects/" + ann.post("/v1/projects", m{"name": "P", "key": "P1"}).want(201).str("id")
	const nowhere = "0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07"

	for name, r := range map[string]*reply{
		"no name":          ann.post("/v1/projects", m{}),
		"empty name":       ann.post("/v1/projects", m{"name": ""}),
		"long name":        ann.post("/v1/projects", m{"name": strings.Repeat("x", 201)}),
		"bad key":          ann.post("/v1/projects", m{"name": "x", "key": "lower"}),
		"unknown field":    ann.post("/v1/projects", m{"name": "x", "version": 3}),
		"foreign owner":    ann.post("/v1/projects", m{"name": "x", "owner_id": eve.user}),
		"null name":        ann.patch(path, m{"name": nil}),
		"bad status":       ann.patch(path, m{"status": "done"}),
		"owner to foreign": ann.patch(path, m{"owner_id": eve.user}),
		"bad filter":       ann.get("/v1/projects?status=open"),
		"bad order":        ann.get("/v1/projects?sort=color"),
		"foreign member":   ann.post(path+"/members", m{"user_id": eve.user}),
		"bad role":         ann.post(path+"/members", m{"user_id": ann.user, "role": "owner"}),
	} {
		if r.status != 422 || r.str("code") != "validation_failed" {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	foreign, random := ann.post(path+"/members", m{"user_id": eve.user}), ann.post(path+"/members", m{"user_id": nowhere})
	if foreign.str("errors.0.message") != random.str("errors.0.message") || foreign.str("errors.0.pointer") != "/user_id" {
		t.Errorf("a foreign and a random person differ: %s %s", foreign.body, random.body)
	}
	for _, suffix := range []string{"", "/members", "/states", "/members/" + ann.user, "/states/done"} {
		eve.get(path + suffix).want(404)
		eve.get("/v1/projects/" + nowhere + suffix).want(404)
	}
	eve.patch(path, m{"name": "mine"}).want(404)
	eve.post(path+"/join", nil).want(404)
	w.nobody().get(path).want(401)
}

// TestProjectsPrivate walks every way to a private project as somebody who is
// not named in it, and then as somebody who is.
func TestProjectsPrivate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.person("ann").organization("Acme")
	bob := w.join(owner, w.person("bob"), "member")
	carl := w.join(owner, w.person("carl"), "member")
	gus := w.join(owner, w.person("gus"), "guest")

	id := bob.post("/v1/projects", m{"name": "Secret", "visibility": "private"}).want(201).str("id")
	path := "/v1/projects/" + id
	openID := bob.post("/v1/projects", m{"name": "Open"}).want(201).str("id")

	for _, c := range []*client{owner, carl, gus} {
		c.get(path).want(404)
		c.get(path + "/members").want(404)
		c.get(path + "/members/" + bob.user).want(404)
		c.get(path + "/states").want(404)
		if got := c.get("/v1/projects?search=secret").want(200).len("data"); got != 0 {
			t.Errorf("%s finds the private project", c.name)
		}
	}
	for _, c := range []*client{owner, carl} {
		c.patch(path, m{"name": "x"}).want(404)
		c.put(path, m{"name": "x"}).want(404)
		c.delete(path).want(404)
		c.post(path+"/members", m{"user_id": c.user}).want(404)
		c.patch(path+"/members/"+bob.user, m{"role": "viewer"}).want(404)
		c.delete(path + "/members/" + bob.user).want(404)
		c.post(path+"/states", m{"name": "S", "group": "started"}).want(404)
		c.delete(path + "/states/review").want(404)
	}
	// In an open project members contribute, guests must be named, admins lead.
	if got := carl.get("/v1/projects/" + openID).want(200).str("your_role"); got != "contributor" {
		t.Errorf("a member of the organisation is %q in an open project", got)
	}
	carl.patch("/v1/projects/"+openID, m{"name": "x"}).want(403).code("permission_denied")
	gus.get("/v1/projects/" + openID).want(404)
	if got := owner.get("/v1/projects/" + openID).want(200).str("your_role"); got != "lead" {
		t.Errorf("the organisation's owner is %q in an open project", got)
	}

	bob.post(path+"/members", m{"user_id": carl.user, "role": "viewer"}).want(201)
	bob.post("/v1/projects/"+openID+"/members", m{"user_id": gus.user}).want(201)
	if got := carl.get(path).want(200).str("your_role"); got != "viewer" {
		t.Errorf("the new viewer is %q", got)
	}
	if got := carl.patch(path, m{"name": "x"}).want(403); got.str("permission") != "project:lead" {
		t.Errorf("the 403 names %q", got.str("permission"))
	}
	if got := gus.get("/v1/projects").want(200).keys("id"); !slices.Equal(got, []string{openID}) {
		t.Errorf("the guest sees %v", got)
	}
	carl.delete(path + "/members/" + carl.user).want(204)
	carl.get(path).want(404)
}

// TestProjectsPrivateEvents: the feed tells of a private project only those
// who see it today, its beginning and its end included.
func TestProjectsPrivateEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.person("ann").organization("Acme")
	bob := w.join(owner, w.person("bob"), "member")
	carl := w.join(owner, w.person("carl"), "member")
	id := bob.post("/v1/projects", m{"name": "Secret", "visibility": "private"}).want(201).str("id")
	told := func(c *client) (types []string) {
		t.Helper()
		w.settle()
		for _, row := range c.get("/v1/events?limit=200").want(200).at("data").([]any) {
			if e := row.(m); e["subject"].(m)["id"] == id {
				types = append(types, e["type"].(string))
			}
		}
		return types
	}
	created := []string{"project.created", "project.member_added"}
	if got := told(bob); !slices.Equal(got, created) {
		t.Errorf("its lead is told %v", got)
	}
	for _, c := range []*client{owner, carl} {
		if got := told(c); got != nil {
			t.Errorf("%s, who is not named in it, is told %v", c.name, got)
		}
	}
	bob.post("/v1/projects/"+id+"/members", m{"user_id": carl.user}).want(201)
	if got := told(carl); !slices.Equal(got, append(created, "project.member_added")) {
		t.Errorf("its new member is told %v", got)
	}
	bob.delete("/v1/projects/" + id + "/members/" + carl.user).want(204)
	bob.delete("/v1/projects/" + id).want(204)
	if got := told(carl); got != nil {
		t.Errorf("its former member is told %v", got)
	}
	if got := told(bob); !slices.Equal(got, append(created, "project.member_added", "project.member_removed", "project.deleted")) {
		t.Errorf("its lead is told %v", got)
	}
}

// TestProjectsStateInUse deletes a state that tasks are in.
func TestProjectsStateInUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	path := "/v1/projects/" + ann.post("/v1/projects", m{"name": "P"}).want(201).str("id")
	task := "/v1/tasks/" + ann.post(path+"/tasks", m{"title": "T", "status": "review"}).want(201).str("id")

	ann.delete(path + "/states/review").want(409).code("state_in_use")
	ann.delete(path + "/states/review?replace_with=done").want(204)
	if got := ann.get(task).want(200); got.str("status") != "done" || got.at("completed_at") == nil {
		t.Errorf("the task is %s", got.body)
	}
	row := w.sql(`select data->>'replaced_state' as old, data->>'replaced_with' as new from event_log where type = 'project.states_changed'`)[0]
	if row["old"] != "review" || row["new"] != "done" {
		t.Errorf("the event says %v", row)
	}
	// Tasks of an archived project rest; its settings do not.
	ann.patch(path, m{"status": "archived"}).want(200)
	ann.patch(task, m{"title": "U"}).want(409).code("project_archived")
	ann.patch(path, m{"name": "Q"}).want(200)
	ann.delete(path).want(204)
	ann.get(task).want(404)
	ann.post(path+"/restore", nil).want(200)
	ann.get(task).want(200)
}

// Tasks of an archived project rest, whatever becomes of its states.
func TestProjectsStatesOfAnArchive(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	task := "/v1/tasks/" + b.task(m{"title": "x", "status": "review"}).str("id")
	project := "/v1/projects/" + b.web
	b.ann.patch(project, m{"status": "archived"}).want(200)
	b.ann.delete(project + "/states/review?replace_with=done").want(409).code("project_archived")
	b.ann.delete(project + "/states/review").want(409).code("state_in_use")
	b.ann.delete(project + "/states/cancelled").want(204)
	if got := b.ann.get(task).want(200); got.str("status") != "review" || got.num("version") != 1 {
		t.Errorf("the task changed: %s", got.body)
	}
	b.ann.patch(project, m{"status": "active"}).want(200)
	b.ann.delete(project + "/states/review?replace_with=done").want(204)
}

// A new key of a project is that of its tasks, whose rows stay as they are.
func TestProjectsNewKey(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	task := "/v1/tasks/" + b.task(m{"title": "x"}).str("id")
	b.ann.patch("/v1/projects/"+b.web, m{"key": "SITE"}).want(200)
	if got := b.ann.get(task).want(200); got.str("key") != "SITE-1" || got.header("ETag") != `"1"` {
		t.Errorf("key %s, ETag %s", got.str("key"), got.header("ETag"))
	}
}

func TestProjectsVisibilityChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.person("ann").organization("Acme")
	bob := w.join(owner, w.person("bob"), "member")
	carl := w.join(owner, w.person("carl"), "admin")
	path := "/v1/projects/" + bob.post("/v1/projects", m{"name": "P"}).want(201).str("id")

	// carl leads it as an admin; once it is private he does so by name.
	if got := carl.patch(path, m{"visibility": "private"}).want(200).str("your_role"); got != "lead" {
		t.Errorf("who made it private is %q", got)
	}
	owner.get(path).want(404)
	if got := bob.get(path + "/members").want(200).keys("user_id"); !slices.Equal(got, []string{bob.user, carl.user}) {
		t.Errorf("members are %v", got)
	}
	// A new owner who is not named in it is from now on.
	bob.patch(path, m{"owner_id": owner.user}).want(200)
	if got := owner.get(path).want(200).str("your_role"); got != "lead" {
		t.Errorf("the new owner is %q", got)
	}
	bob.patch(path, m{"visibility": "open"}).want(200)
	rows := w.sql(`select previous->>'visibility' as old from event_log where type = 'project.updated' and previous ? 'visibility' order by id`)
	if len(rows) != 2 || rows[0]["old"] != "open" || rows[1]["old"] != "private" {
		t.Errorf("the changes of visibility were told as %v", rows)
	}
}

func TestProjectsJoin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.person("ann").organization("Acme")
	bob := w.join(owner, w.person("bob"), "member")
	id := bob.post("/v1/projects", m{"name": "Secret", "visibility": "private", "description": "hidden"}).want(201).str("id")
	path := "/v1/projects/" + id

	bob.get("/v1/projects/private").want(403)
	bob.post(path+"/join", nil).want(403)
	listed := owner.get("/v1/projects/private?include=total").want(200)
	if listed.str("data.0.id") != id || listed.str("data.0.owner_id") != bob.user || listed.num("total") != 1 || strings.Contains(string(listed.body), "hidden") {
		t.Errorf("private projects: %s", listed.body)
	}
	if n := len(w.sql(`select from event_log where type = 'record.read' and operation = 'list-private-projects'`)); n != 1 {
		t.Errorf("the list left %d traces", n)
	}
	if got := owner.post(path+"/join", nil).want(200).str("your_role"); got != "lead" {
		t.Errorf("who joined is %q", got)
	}
	if n := len(w.sql(`select from event_log where type = 'project.member_added' and actor_id::text = $1 and project_id::text = $2`, owner.user, id)); n != 1 {
		t.Errorf("the joining was told %d times", n)
	}
	owner.post(path+"/join", nil).want(200)
	owner.get(path).want(200)
}

func TestProjectsMembers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	bob := w.join(ann, w.person("bob"), "member")
	path := "/v1/projects/" + ann.post("/v1/projects", m{"name": "P", "visibility": "private"}).want(201).str("id")

	added := ann.post(path+"/members", m{"user_id": bob.user}).want(201)
	if added.str("role") != "contributor" || added.str("username") != "bob" || added.header("Location") != path+"/members/"+bob.user {
		t.Errorf("added: %s", added.body)
	}
	ann.post(path+"/members", m{"user_id": bob.user}).want(409).code("project_member_exists")
	if got := bob.get(added.header("Location")).want(200).str("role"); got != "contributor" {
		t.Errorf("read back the role %q", got)
	}
	bob.patch(path+"/members/"+bob.user, m{"role": "lead"}).want(403)
	bob.delete(path + "/members/" + ann.user).want(403)

	ann.patch(path+"/members/"+ann.user, m{"role": "viewer"}).want(409).code("last_lead")
	ann.delete(path + "/members/" + ann.user).want(409).code("last_lead")
	ann.patch(path+"/members/"+bob.user, m{"role": "lead"}).want(200)
	ann.delete(path + "/members/" + ann.user).want(204)
	ann.get(path).want(404)
	bob.delete(path + "/members/" + ann.user).want(404)

	// Who leaves the organisation leaves its projects.
	open := "/v1/projects/" + ann.post("/v1/projects", m{"name": "Open", "owner_id": bob.user}).want(201).str("id")
	if got := ann.get(open + "/members?limit=1").want(200); got.len("data") != 1 || got.str("next_cursor") == "" {
		t.Errorf("first page of members: %s", got.body)
	}
	ann.delete("/v1/members/" + bob.user).want(204)
	if got := ann.get(open + "/members?include=total").want(200); got.num("total") != 1 || got.str("data.0.user_id") != ann.user {
		t.Errorf("members after one left the organisation: %s", got.body)
	}
	if ann.get(open).want(200).at("owner_id") != nil {
		t.Error("the project is still owned by somebody who left")
	}
}

// Who is named a viewer of an open project must not become a contributor by
// leaving it.
func TestProjectsLeaving(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	vic := w.join(ann, w.person("vic"), "member")
	gus := w.join(ann, w.person("gus"), "guest")
	made := ann.post("/v1/projects", m{"name": "P"}).want(201).str("id")
	path := "/v1/projects/" + made
	place := path + "/members/" + vic.user
	name := func(who *client, role string) {
		t.Helper()
		ann.post(path+"/members", m{"user_id": who.user, "role": role}).want(201)
	}
	name(vic, "viewer")
	if got := vic.delete(place).want(403).code("permission_denied").str("permission"); got != "project:lead" {
		t.Errorf("leaving needs %q", got)
	}
	vic.post(path+"/tasks", m{"title": "x"}).want(403)
	ann.delete(place).want(204)
	vic.post(path+"/tasks", m{"title": "x"}).want(201)

	for _, role := range []string{"contributor", "lead"} {
		name(vic, role)
		vic.delete(place).want(204)
	}
	// A guest is nothing in a project that does not name him.
	name(gus, "viewer")
	gus.delete(path + "/members/" + gus.user).want(403) // a guest does not hold projects.write
	ann.patch(path, m{"visibility": "private"}).want(200)
	name(vic, "viewer")
	vic.delete(place).want(204)
	vic.get(path).want(404)
}

func TestProjectsList(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	for _, name := range []string{"delta", "Alpha", "100%_done", "charlie", "Bravo"} {
		ann.post("/v1/projects", m{"name": name, "status": map[bool]string{true: "archived", false: "active"}[name == "charlie"]}).want(201)
	}
	list := func(query string) []string {
		t.Helper()
		return ann.get("/v1/projects?" + query).want(200).keys("name")
	}
	for query, want := range map[string][]string{
		"":                       {"100%_done", "Alpha", "Bravo", "charlie", "delta"},
		"sort=-name":             {"delta", "charlie", "Bravo", "Alpha", "100%_done"},
		"sort=created_at":        {"delta", "Alpha", "100%_done", "charlie", "Bravo"},
		"sort=-created_at":       {"Bravo", "charlie", "100%_done", "Alpha", "delta"},
		"status=archived":        {"charlie"},
		"status=active&limit=2":  {"100%_done", "Alpha"},
		"search=A":               {"Alpha", "Bravo", "charlie", "delta"},
		"search=%25":             {"100%_done"},
		"search=0%25_":           {"100%_done"},
		"search=_":               {"100%_done"},
		"search=%5C":             {},
		"limit=2&page=2":         {"Bravo", "charlie"},
		"visibility=private":     {},
		"status=trashed":         {},
		"search=no+such+project": {},
	} {
		if got := list(query); !slices.Equal(got, want) {
			t.Errorf("?%s lists %v, want %v", query, got, want)
		}
	}
	for _, sort := range []string{"name", "-name", "key", "-key", "created_at", "-created_at", "updated_at", "-updated_at"} {
		all := list("sort=" + sort)
		var walked []string
		for cursor := ""; ; {
			r := ann.get("/v1/projects?limit=2&sort=" + sort + cursor).want(200)
			walked = append(walked, r.keys("name")...)
			next := r.str("next_cursor")
			if next == "" {
				break
			}
			cursor = "&cursor=" + next
		}
		if !slices.Equal(walked, all) {
			t.Errorf("sort=%s walks %v, lists %v", sort, walked, all)
		}
	}
	r := ann.get("/v1/projects?limit=2&include=total").want(200)
	if r.num("total") != 5 {
		t.Errorf("total is %d, want 5", r.num("total"))
	}
	ann.get("/v1/projects?limit=2&sort=-name&cursor=" + r.str("next_cursor")).want(400).code("bad_request")
	ann.get("/v1/projects?limit=2&page=2&cursor=" + r.str("next_cursor")).want(400)
	ann.get("/v1/projects?limit=201").want(422)
}

func TestProjectsStates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	bob := w.join(ann, w.person("bob"), "member")
	path := "/v1/projects/" + ann.post("/v1/projects", m{"name": "P"}).want(201).str("id") + "/states"
	order := func() string { t.Helper(); return strings.Join(bob.get(path).want(200).keys("key"), " ") }
	expect := func(want string) {
		t.Helper()
		if got := order(); got != want {
			t.Errorf("states are %q, want %q", got, want)
		}
	}
	expect("backlog pending in_progress review done cancelled")
	bob.post(path, m{"name": "QA", "group": "started"}).want(403)

	made := ann.post(path, m{"name": "In Test!", "group": "started", "color": "#00ff00"}).want(201)
	if made.str("key") != "in_test" || made.header("Location") != path+"/in_test" {
		t.Errorf("made: %s", made.body)
	}
	expect("backlog pending in_progress review in_test done cancelled")
	ann.post(path, m{"name": "in test", "group": "completed"}).want(409).code("state_key_taken")
	ann.post(path, m{"name": "日本", "group": "completed"}).want(422)
	ann.post(path, m{"name": "A", "group": "completed", "after": "nope"}).want(422)
	ann.post(path, m{"name": "Idea", "key": "idea", "group": "backlog", "after": "backlog"}).want(201)
	expect("backlog idea pending in_progress review in_test done cancelled")
	ann.patch(path+"/in_test", m{"after": nil, "name": "Testing", "color": nil}).want(200)
	expect("in_test backlog idea pending in_progress review done cancelled")
	if s := bob.get(path + "/in_test").want(200); s.str("name") != "Testing" || s.at("color") != nil {
		t.Errorf("patched: %s", s.body)
	}
	ann.patch(path+"/nope", m{"name": "x"}).want(404)

	ann.delete(path + "/pending").want(409).code("state_is_default")
	ann.patch(path+"/pending", m{"is_default": false}).want(409).code("state_is_default")
	ann.patch(path+"/backlog", m{"is_default": true}).want(200)
	if bob.get(path+"/pending").want(200).at("is_default") != false || bob.get(path+"/backlog").at("is_default") != true {
		t.Error("the default did not move")
	}
	ann.delete(path + "/pending?replace_with=pending").want(422)
	ann.delete(path + "/pending?replace_with=nope").want(422)
	ann.delete(path + "/pending?replace_with=idea").want(204)
	ann.delete(path + "/review").want(204)
	ann.delete(path + "/review").want(404)
	expect("in_test backlog idea in_progress done cancelled")
	for i := bob.get(path).len("data"); i < 50; i++ {
		ann.post(path, m{"name": fmt.Sprintf("s%d", i), "group": "started"}).want(201)
	}
	ann.post(path, m{"name": "one more", "group": "started"}).want(409).code("too_many_states")
}

// TestProjectsRaceForKey lets many ask for one key, and many for a key of the
// same name: one gets the first, each gets one of the second.
func TestProjectsRaceForKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	n := count(20, 100)
	statuses := race(t, n, func(int) (*reply, error) { return ann.try("POST", "/v1/projects", m{"name": "One", "key": "ONE"}) })
	if statuses[201] != 1 || statuses[409] != n-1 {
		t.Errorf("one key was answered %v", statuses)
	}
	statuses = race(t, n, func(int) (*reply, error) { return ann.try("POST", "/v1/projects", m{"name": "Web shop"}) })
	if statuses[201] != n {
		t.Errorf("one name was answered %v", statuses)
	}
	if got := w.sql(`select count(*) as n from projects where key like 'WS%'`)[0]["n"]; got != int64(n) {
		t.Errorf("%v keys were made of one name, want %d", got, n)
	}
}

// TestProjectsRaceForLastLead lets all leads of a private project leave, step
// down and remove each other at once: one of them must remain.
func TestProjectsRaceForLastLead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	leads := []*client{ann}
	for i := range 5 {
		leads = append(leads, w.join(ann, w.person(fmt.Sprintf("lead%d", i)), "member"))
	}
	for range count(3, 30) {
		path := "/v1/projects/" + ann.post("/v1/projects", m{"name": "P", "visibility": "private"}).want(201).str("id")
		for _, c := range leads[1:] {
			ann.post(path+"/members", m{"user_id": c.user, "role": "lead"}).want(201)
		}
		race(t, 3*len(leads), func(i int) (*reply, error) {
			c, next := leads[i%len(leads)], leads[(i+1)%len(leads)]
			switch i / len(leads) {
			case 0:
				return c.try("DELETE", path+"/members/"+c.user, nil)
			case 1:
				return c.try("PATCH", path+"/members/"+c.user, m{"role": "contributor"})
			}
			return c.try("DELETE", path+"/members/"+next.user, nil)
		})
		id := strings.TrimPrefix(path, "/v1/projects/")
		if got := w.sql(`select count(*) as n from project_members where project_id::text = $1 and role = 'lead'`, id)[0]["n"]; got == int64(0) {
			t.Fatal("a private project has no lead left")
		}
	}
}

// race does n calls at once and counts their statuses; a 5xx fails the test.
func race(t *testing.T, n int, do func(i int) (*reply, error)) map[int]int {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	statuses := map[int]int{}
	for i := range n {
		wg.Go(func() {
			r, err := do(i)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				t.Error(err)
			case r.status >= 500:
				t.Errorf("%s: %d %s", r.what, r.status, r.body)
			default:
				statuses[r.status]++
			}
		})
	}
	wg.Wait()
	return statuses
}

func TestProjectsPurge(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	old := ann.post("/v1/projects", m{"name": "Old"}).want(201).str("id")
	fresh := ann.post("/v1/projects", m{"name": "Fresh"}).want(201).str("id")
	kept := ann.post("/v1/projects", m{"name": "Kept"}).want(201).str("id")
	task := ann.post("/v1/projects/"+old+"/tasks", m{"title": "Gone with it", "labels": []string{"red"}}).want(201).str("id")
	ann.post("/v1/tasks/"+task+"/comments", m{"body": "This too"}).want(201)
	ann.delete("/v1/projects/" + old).want(204)
	ann.delete("/v1/projects/" + fresh).want(204)
	w.sql(`update projects set deleted_at = now() - interval '31 days' where id::text = $1`, old)

	ann.post("/v1/projects/"+old+"/restore", nil).want(404)
	if got := ann.get("/v1/projects?status=trashed").want(200).keys("id"); !slices.Equal(got, []string{fresh}) {
		t.Errorf("the trash lists %v", got)
	}
	// The clock runs when the workers start.
	if err := w.app.workers.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.until("the old project is purged", func() bool {
		return len(w.sql(`select from projects where id::text = $1`, old)) == 0
	})
	if err := w.app.workers.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	left := w.sql(`select id::text from projects order by id`)
	if len(left) != 2 || left[0]["id"] != fresh || left[1]["id"] != kept {
		t.Errorf("projects left: %v", left)
	}
	for _, row := range w.sql(`select type, project_id::text, data is null and previous is null as blank from event_log where project_id is not null`) {
		if blank := row["project_id"] == old; row["blank"] != blank {
			t.Errorf("%s of %v: blank is %v", row["type"], row["project_id"], row["blank"])
		}
	}
	if n := len(w.sql(`select from event_log where type = 'project.purged' and subject_id::text = $1 and not public`, old)); n != 1 {
		t.Errorf("the purge was recorded %d times", n)
	}
	for _, table := range []string{"project_states", "project_members", "tasks", "task_counters", "comments"} {
		column := map[bool]string{true: "task_id", false: "project_id"}[table == "comments"]
		if n := len(w.sql(`select from `+table+` where `+column+`::text in ($1, $2)`, old, task)); n != 0 {
			t.Errorf("%d rows of %s outlived their project", n, table)
		}
	}
}

// What cannot be purged in one organisation keeps nothing from the others.
func TestProjectsPurgePassesTrouble(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann")
	for i := range 4 {
		org := ann.organization(fmt.Sprint("Org ", i))
		project := org.post("/v1/projects", m{"name": "P"}).want(201).str("id")
		task := org.post("/v1/projects/"+project+"/tasks", m{"title": "T"}).want(201).str("id")
		org.delete("/v1/tasks/" + task).want(204)
	}
	w.sql(`update tasks set deleted_at = now() - interval '31 days'`)
	w.sql(`create function trouble() returns trigger language plpgsql as $$ begin raise exception 'trouble'; end $$`)
	w.sql(`create trigger trouble before delete on tasks for each row when (old.tenant_id = '` + w.sql(`select min(tenant_id::text) as id from tasks`)[0]["id"].(string) + `') execute function trouble()`)
	if err := w.app.workers.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.until("the other three are purged", func() bool { return len(w.sql(`select from tasks`)) == 1 })
	if err := w.app.workers.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// until polls until the condition holds.
func (w *world) until(what string, holds func() bool) {
	w.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatalf("waited 30 s until %s", what)
		}
	}
}

// TestProjectsReleaseWhoLosesSight takes people out of sight in each way and
// looks at what they owned and were to do.
func TestProjectsReleaseWhoLosesSight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	bob := w.join(ann, w.person("bob"), "member")
	carl := w.join(ann, w.person("carl"), "member")
	gus := w.join(ann, w.person("gus"), "guest")
	path := "/v1/projects/" + ann.post("/v1/projects", m{"name": "P", "owner_id": bob.user}).want(201).str("id")
	ann.post(path+"/members", m{"user_id": gus.user}).want(201)
	tasks := map[*client]string{}
	for _, c := range []*client{ann, bob, carl, gus} {
		tasks[c] = "/v1/tasks/" + ann.post(path+"/tasks", m{"title": "x", "assigned_to_id": c.user}).want(201).str("id")
	}
	trashed := "/v1/tasks/" + ann.post(path+"/tasks", m{"title": "y", "assigned_to_id": carl.user}).want(201).str("id")
	ann.delete(trashed).want(204)
	expect := func(when string, assigned ...*client) {
		t.Helper()
		w.settle()
		for c, task := range tasks {
			got := ann.get(task).want(200)
			if held := got.at("assigned_to_id") != nil; held != slices.Contains(assigned, c) {
				t.Errorf("%s: %s", when, got.body)
			}
		}
	}

	// Who leaves an open project still sees it, unless he is a guest.
	bob.delete(path + "/members/" + bob.user).want(204)
	expect("bob left the open project", ann, bob, carl, gus)
	if got := ann.get(path).want(200).at("owner_id"); got != bob.user {
		t.Errorf("the owner is %v", got)
	}
	ann.delete(path + "/members/" + gus.user).want(204)
	expect("the guest was removed", ann, bob, carl)

	version := ann.get(path).num("version")
	got := ann.patch(path, m{"visibility": "private"}).want(200)
	if got.at("owner_id") != nil || got.num("version") != version+2 {
		t.Errorf("made private: %s", got.body)
	}
	expect("it is private", ann)
	if got := ann.get(tasks[carl]); got.num("version") != 2 {
		t.Errorf("carl's task: %s", got.body)
	}
	ann.patch(tasks[carl], m{"assigned_to_id": ann.user}, `If-Match: "1"`).want(412)
	ann.patch(tasks[carl], m{"title": "merged"}, `If-Match: "1"`).want(200)
	if got := ann.post(trashed+"/restore", nil).want(200); got.at("assigned_to_id") != nil {
		t.Errorf("restored: %s", got.body)
	}
	told := w.sql(`select subject_id from event_log where type = 'task.updated' and previous->>'assigned_to_id' is not null and data->>'assigned_to_id' is null`)
	if len(told) != 3 {
		t.Errorf("%d events tell of it, want those of bob, carl and the guest", len(told))
	}

	// Who is named stays, and so does an owner whom the call itself names.
	ann.patch(path, m{"visibility": "open"}).want(200)
	ann.put(path, m{"name": "P", "visibility": "private", "owner_id": carl.user}).want(200)
	if got := carl.get(path).want(200); got.str("owner_id") != carl.user || got.str("your_role") != "lead" {
		t.Errorf("carl sees %s", got.body)
	}
	ann.patch(tasks[carl], m{"assigned_to_id": carl.user}).want(200)
	ann.delete(path + "/members/" + carl.user).want(204)
	expect("carl was removed", ann)
	if got := ann.get(path).want(200).at("owner_id"); got != nil {
		t.Errorf("the owner is %v", got)
	}
}
