package main

import (
	"bytes"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
)

// board is an organisation with an open project WEB, a private one SEC that
// only its owner sees, a member and a guest.
type board struct {
	*world
	ann, ben, gus *client
	web, secret   string
}

func newBoard(t *testing.T) *board {
	t.Helper()
	w := newWorld(t)
	b := &board{world: w}
	b.ann = w.person("ann").organization("Acme")
	b.ben = w.join(b.ann, w.person("ben"), "member")
	b.gus = w.join(b.ann, w.person("gus"), "guest")
	b.web = b.ann.post("/v1/projects", m{"name": "Website", "key": "WEB"}).want(201).str("id")
	b.secret = b.ann.post("/v1/projects", m{"name": "Secret", "key": "SEC", "visibility": "private"}).want(201).str("id")
	return b
}

func (b *board) in(project string) string { return "/v1/projects/" + project + "/tasks" }

func (b *board) task(body m) *reply {
	b.t.Helper()
	return b.ann.post(b.in(b.web), body).want(201)
}

func TestTasksLifecycle(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	made := b.task(m{"title": "Write the notes", "labels": []string{"Docs"}, "due_date": "2026-03-01"})
	path := "/v1/tasks/" + made.str("id")
	for field, want := range map[string]string{
		"key": "WEB-1", "status": "pending", "state_group": "unstarted", "priority": "none", "project_id": b.web, "due_date": "2026-03-01",
		"created_by.type": "user", "created_by.id": b.ann.user, "labels.0": "Docs", "description": "",
	} {
		if got := made.str(field); got != want {
			t.Errorf("%s is %q, want %q", field, got, want)
		}
	}
	for _, field := range []string{"assigned_to_id", "parent_id", "start_date", "completed_at", "deleted_at"} {
		if !bytes.Contains(made.body, []byte(`"`+field+`":null`)) {
			t.Errorf("%s is not shown as null: %s", field, made.body)
		}
	}
	if made.header("Location") != path || made.header("ETag") != `"1"` {
		t.Errorf("Location %q, ETag %q", made.header("Location"), made.header("ETag"))
	}
	if read := b.ben.get(path).want(200); !bytes.Equal(read.body, made.body) {
		t.Errorf("read back\n%s\nnot\n%s", read.body, made.body)
	}

	done := b.ben.patch(path, m{"status": "done", "assigned_to_id": b.ben.user}, `If-Match: "1"`, "Content-Type: application/merge-patch+json").want(200)
	if done.at("completed_at") == nil || done.header("ETag") != `"2"` || done.str("assigned_to_id") != b.ben.user {
		t.Errorf("patched: %s", done.body)
	}
	cleared := b.ben.patch(path, m{"assigned_to_id": nil, "due_date": nil, "status": "review"}).want(200)
	if cleared.at("assigned_to_id") != nil || cleared.at("due_date") != nil || cleared.at("completed_at") != nil {
		t.Errorf("cleared: %s", cleared.body)
	}
	replaced := b.ben.put(path, m{"title": "All new"}).want(200)
	if replaced.len("labels") != 0 || replaced.str("status") != "review" || replaced.str("title") != "All new" || replaced.num("version") != 4 {
		t.Errorf("replaced: %s", replaced.body)
	}
	b.ben.delete(path, `If-Match: "1"`).want(412).code("version_conflict")
	b.ben.delete(path, `If-Match: "4"`).want(204)
	b.ben.get(path).want(404).code("not_found")
	if got := b.ben.get("/v1/tasks?deleted=true").want(200).str("data.0.id"); got != made.str("id") {
		t.Errorf("the trash lists %q", got)
	}
	b.ben.post(path+"/restore", nil).want(200)
	b.ben.get(path).want(200)

	b.settle()
	var types []string
	for _, e := range b.ann.get("/v1/events?limit=200").want(200).at("data").([]any) {
		if e := e.(m); e["subject"].(m)["id"] == made.str("id") {
			types = append(types, e["type"].(string))
		}
	}
	if want := []string{"task.created", "task.updated", "task.updated", "task.updated", "task.deleted", "task.restored"}; !slices.Equal(types, want) {
		t.Errorf("the feed tells %q, want %q", types, want)
	}
}

func TestTasksRefuse(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	path := "/v1/tasks/" + b.task(m{"title": "x"}).str("id")
	stranger := b.person("stranger").organization("Other")
	theirs := stranger.post("/v1/projects", m{"name": "Theirs"}).want(201).str("id")
	foreign := stranger.post(b.in(theirs), m{"title": "foreign"}).want(201).str("id")
	for _, c := range []struct {
		body    m
		pointer string
	}{
		{m{"title": ""}, "/title"}, {m{"title": "   "}, "/title"}, {m{"title": strings.Repeat("x", 501)}, "/title"}, {m{"title": nil}, "/title"},
		{m{"Title": "x"}, "/Title"}, {m{"priority": "huge"}, "/priority"}, {m{"due_date": "2026-02-30"}, "/due_date"},
		{m{"status": "nowhere"}, "/status"}, {m{"assigned_to_id": stranger.user}, "/assigned_to_id"}, {m{"parent_id": foreign}, "/parent_id"},
		{m{"labels": make([]string, 21)}, "/labels"}, {m{"due_date": "2026-01-01", "start_date": "2026-01-02"}, "/start_date"},
	} {
		r := b.ann.patch(path, c.body).want(422).code("validation_failed")
		if got := r.str("errors.0.pointer"); !strings.HasPrefix(got, c.pointer) && !strings.Contains(string(r.body), c.pointer) {
			t.Errorf("%v: %s", c.body, r.body)
		}
	}
	b.ann.patch(path, m{"labels": []string{"docs"}}).want(200)
	label := "/v1/labels/" + b.ann.get("/v1/labels").want(200).str("data.0.id")
	comma, replaced := []string{"docs", "a,b"}, m{"title": "x", "labels": []string{"docs", ","}}
	for pointer, r := range map[string]*reply{
		"/labels/1": b.ann.patch(path, m{"labels": comma}), "/labels/1 ": b.ann.put(path, replaced), " /labels/1": b.ann.post(b.in(b.web), replaced),
		"/name":             b.ann.patch(label, m{"name": "a,b"}),
		"/set/labels_add/1": b.ann.post("/v1/tasks/bulk", m{"task_ids": []string{path[len("/v1/tasks/"):]}, "set": m{"labels_add": comma}}),
	} {
		if got := r.want(422).str("errors.0.pointer"); got != strings.TrimSpace(pointer) {
			t.Errorf("a comma in a label at %s: %s", pointer, r.body)
		}
	}
	b.ann.get("/v1/tasks?sort=color").want(422)
	b.ann.get("/v1/tasks?assigned_to=somebody").want(422)
	b.ann.get("/v1/tasks?limit=201").want(422)
	b.ann.get("/v1/tasks?cursor=bogus").want(400).code("bad_request")
	b.ann.post(path+"/move", m{"before": foreign}).want(422)
	b.ann.post(path+"/move", m{"project_id": theirs}).want(422)
	if got := b.ann.get(path).want(200).num("version"); got != 2 {
		t.Errorf("version %d after refusals", got)
	}
	b.ann.patch("/v1/projects/"+b.web, m{"status": "archived"}).want(200)
	b.ann.patch(path, m{"title": "y"}).want(409).code("project_archived")
	b.ann.post(b.in(b.web), m{"title": "y"}).want(409).code("project_archived")
	b.ann.get(path).want(200)
}

func TestTasksBulkTakesEachOnce(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	one, two := b.task(m{"title": "1"}).str("id"), b.task(m{"title": "2"}).str("id")
	twice := b.ann.post("/v1/tasks/bulk", m{"task_ids": []string{one, two, strings.ToUpper(one)}, "set": m{"priority": "low"}}).want(422)
	if twice.code("validation_failed").str("errors.0.pointer") != "/task_ids/2" {
		t.Errorf("an id in two spellings: %s", twice.body)
	}
	b.ann.post("/v1/tasks/bulk", m{"task_ids": []string{one, strings.ToUpper(two)}, "set": m{"priority": "low"}}).want(200)
}

func TestTasksMergeOrShowTheCurrentRow(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	path := "/v1/tasks/" + b.task(m{"title": "old"}).str("id")
	b.ann.patch(path, m{"title": "ann's"}, `If-Match: "1"`).want(200)
	merged := b.ben.patch(path, m{"priority": "high"}, `If-Match: "1"`).want(200)
	if merged.str("title") != "ann's" || merged.str("priority") != "high" || merged.header("ETag") != `"3"` {
		t.Errorf("merged: %s", merged.body)
	}
	stale := b.ben.patch(path, m{"title": "ben's", "description": "x"}, `If-Match: "1"`).want(412).code("version_conflict")
	if stale.str("current.title") != "ann's" || stale.num("current.version") != 3 {
		t.Errorf("412 shows %s", stale.body)
	}
	b.ben.put(path, m{"title": "ben's"}, `If-Match: "1"`).want(412)
}

// TestTasksIdempotency sends one POST many times at once under one key.
func TestTasksIdempotency(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	answers := make([]*reply, 50)
	var g errgroup.Group
	for i := range answers {
		g.Go(func() (err error) {
			answers[i], err = b.ann.try("POST", b.in(b.web), m{"title": "once", "labels": []string{"a"}}, "Idempotency-Key: key-1")
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, r := range answers {
		if r.want(201); !bytes.Equal(r.body, answers[0].body) || r.header("ETag") != answers[0].header("ETag") || r.header("Location") != answers[0].header("Location") {
			t.Fatalf("two answers:\n%s\n%s", r.body, answers[0].body)
		}
	}
	if n := b.ann.get(b.in(b.web) + "?include=total").want(200).num("total"); n != 1 {
		t.Errorf("%d tasks", n)
	}
	b.ann.post(b.in(b.web), m{"title": "another"}, "Idempotency-Key: key-1").want(422).code("idempotency_mismatch")
	proved(t, "%d copies of one POST at once under one key: one task, equal answers; another body: 422", len(answers))
}

// A reply about rows of several projects is replayed only to who still sees
// them all, whatever it says of each.
func TestTasksIdempotencyAsksForAllProjects(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	hidden := b.ann.post("/v1/projects", m{"name": "Hidden", "visibility": "private"}).want(201).header("Location")
	b.ann.post(hidden+"/members", m{"user_id": b.ben.user, "role": "lead"}).want(201)
	ids := []string{b.task(m{"title": "open"}).str("id"), b.ann.post(hidden+"/tasks", m{"title": "secret"}).want(201).str("id")}
	calls := func() []*reply {
		return []*reply{
			b.ben.post("/v1/tasks/bulk", m{"task_ids": ids, "set": m{"priority": "high"}}, "Idempotency-Key: 1"),
			b.ben.post("/v1/tasks/bulk", m{"task_ids": ids, "set": m{"status": "nowhere"}}, "Idempotency-Key: 2"),
			b.ben.post(hidden+"/states", m{"name": "Secret state", "group": "started"}, "Idempotency-Key: 3"),
			b.ben.post("/v1/tasks/bulk", m{"task_ids": ids[:1], "set": m{"priority": "low"}}, "Idempotency-Key: 4"),
		}
	}
	first := calls()
	if first[1].want(200).num("results.1.status") != 422 {
		t.Fatalf("the second answer: %s", first[1].body)
	}
	for i, r := range calls() {
		if r.want([]int{200, 200, 201, 200}[i]); !bytes.Equal(r.body, first[i].body) || r.header("Idempotency-Replayed") != "true" {
			t.Errorf("call %d: %s", i, r.body)
		}
	}
	b.ann.delete(hidden + "/members/" + b.ben.user).want(204)
	for i, r := range calls() {
		if r.want([]int{404, 404, 404, 200}[i]); i < 3 {
			r.code("not_found")
		}
	}
}

// TestTasksConcurrentCreates makes many tasks in one project at once.
// What a request asks of the row's version is part of the request.
func TestTasksIdempotencyKnowsIfMatch(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	task := "/v1/tasks/" + b.task(m{"title": "x"}).str("id")
	change := func(match string) *reply {
		return b.ann.patch(task, m{"title": "y"}, "Idempotency-Key: key-2", "If-Match: "+match)
	}
	change(`"1"`).want(200)
	if got := change(`"1"`).want(200); got.header("Idempotency-Replayed") != "true" {
		t.Error("the repeat was not a replay")
	}
	change(`"2"`).want(422).code("idempotency_mismatch")
}

func TestTasksConcurrentCreates(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	n := count(100, 1000)
	answers := make([]*reply, n)
	var g errgroup.Group
	g.SetLimit(100)
	for i := range answers {
		g.Go(func() (err error) {
			answers[i], err = []*client{b.ann, b.ben}[i%2].try("POST", b.in(b.web), m{"title": fmt.Sprint("task ", i)})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	numbers, places := map[int64]bool{}, map[string]bool{}
	for _, r := range answers {
		r.want(201)
		numbers[r.num("number")], places[r.str("position")] = true, true
	}
	if len(numbers) != n || len(places) != n {
		t.Errorf("%d creates gave %d numbers and %d places", n, len(numbers), len(places))
	}
	proved(t, "%d creates in one project, 100 at a time: %d numbers, %d places, no error", n, len(numbers), len(places))
}

func TestTasksAreListedInPages(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	for i := range 7 {
		b.task(m{"title": fmt.Sprint("t", i), "priority": []string{"low", "urgent", "none"}[i%3], "labels": []string{"l"}})
	}
	b.ann.post(b.in(b.secret), m{"title": "hidden"}).want(201)
	first := b.ben.get("/v1/tasks?sort=-priority,title&limit=3&include=total").want(200)
	if first.num("total") != 7 || !slices.Equal(first.keys("title"), []string{"t1", "t4", "t0"}) {
		t.Errorf("first page: %s", first.body)
	}
	var titles []string
	next := "/v1/tasks?sort=-priority,title&limit=3"
	for next != "" {
		page := b.ben.get(next).want(200)
		titles = append(titles, page.keys("title")...)
		next = ""
		if c := page.str("next_cursor"); c != "" {
			next = "/v1/tasks?sort=-priority,title&limit=3&cursor=" + url.QueryEscape(c)
			if !strings.Contains(page.header("Link"), `rel="next"`) {
				t.Errorf("Link %q", page.header("Link"))
			}
		}
	}
	if !slices.Equal(titles, []string{"t1", "t4", "t0", "t3", "t6", "t2", "t5"}) {
		t.Errorf("walked %q", titles)
	}
	b.ben.get("/v1/tasks?sort=title&limit=3&cursor=" + url.QueryEscape(first.str("next_cursor"))).want(400)
	if got := b.ben.get(b.in(b.web) + "?page=3&limit=3").want(200).keys("title"); !slices.Equal(got, []string{"t6"}) {
		t.Errorf("page 3: %q", got)
	}
	if got := b.ben.get(b.in(b.web) + "?status=pending,review&label=L&search=WEB-2").want(200).keys("title"); !slices.Equal(got, []string{"t1"}) {
		t.Errorf("filtered: %q", got)
	}
	b.ben.get(b.in(b.secret)).want(404)
	if n := b.ben.get("/v1/tasks?project_id=" + b.secret).want(200).len("data"); n != 0 {
		t.Errorf("%d tasks of a private project", n)
	}
	if got := b.ben.get(b.in(b.web) + "?assigned_to=me").want(200).len("data"); got != 0 {
		t.Errorf("%d tasks of ben", got)
	}
}

// Every cursor that is given is taken, however long what the rows sort by is.
func TestTasksCursorsAreBounded(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	var want []string
	for i, c := range []string{"<", "\U0001F600", "ü", `"`} {
		for range 2 {
			want = append(want, b.task(m{"title": strings.Repeat(c, 500/len([]rune(c))), "priority": "low", "due_date": fmt.Sprint("2026-03-0", 1+i)}).str("id"))
		}
	}
	b.sql(`update tasks set position = position || repeat('z', 1980)`)
	b.ann.post("/v1/projects", m{"name": strings.Repeat("\U0001F600", 200)}).want(201)
	b.ann.post("/v1/projects", m{"name": strings.Repeat("<", 200)}).want(201)
	for _, sort := range []string{"title", "-title", "position", "title,position,-due_date,start_date,created_at,updated_at,priority,number"} {
		var walked []string
		for cursor := ""; ; {
			r := b.ann.get(b.in(b.web) + "?limit=1&sort=" + sort + cursor).want(200)
			walked = append(walked, r.keys("id")...)
			if r.str("next_cursor") == "" || len(walked) > len(want) {
				break
			}
			cursor = "&cursor=" + r.str("next_cursor")
		}
		slices.Sort(walked)
		if slices.Sort(want); !slices.Equal(walked, want) {
			t.Errorf("sort=%s walks %d tasks of %d", sort, len(walked), len(want))
		}
	}
	names := map[string]bool{}
	for cursor := ""; len(names) < 4; {
		r := b.ann.get("/v1/projects?limit=1" + cursor).want(200)
		names[r.str("data.0.name")] = true
		cursor = "&cursor=" + r.str("next_cursor")
	}
}

func TestTasksFollowTheProjectsRights(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	open := "/v1/tasks/" + b.task(m{"title": "open"}).str("id")
	hidden := "/v1/tasks/" + b.ann.post(b.in(b.secret), m{"title": "hidden", "labels": []string{"hush"}}).want(201).str("id")
	for _, path := range []string{hidden, hidden + "/watchers"} {
		b.ben.get(path).want(404).code("not_found")
	}
	b.ben.patch(hidden, m{"title": "x"}).want(404)
	b.ben.post(hidden+"/move", m{"status": "done"}).want(404)
	b.ben.put(hidden+"/watchers/me", nil).want(404)
	b.ben.delete(hidden).want(404)
	b.ben.post(b.in(b.secret), m{"title": "x"}).want(404)
	if n := b.ben.get("/v1/labels").want(200).len("data"); n != 0 {
		t.Errorf("ben sees %d labels of a private project", n)
	}
	// A guest sees nothing that he was not added to, and a viewer only reads.
	b.gus.get(open).want(404)
	if n := b.gus.get("/v1/tasks").want(200).len("data"); n != 0 {
		t.Errorf("a guest sees %d tasks", n)
	}
	b.ann.patch(open, m{"assigned_to_id": b.gus.user}).want(422)
	b.ann.post("/v1/projects/"+b.web+"/members", m{"user_id": b.gus.user, "role": "viewer"}).want(201)
	b.gus.get(open).want(200)
	b.gus.patch(open, m{"title": "x"}).want(403).code("permission_denied")
	b.gus.post(b.in(b.web), m{"title": "x"}).want(403).code("permission_denied")
	b.gus.delete(open).want(403)
	b.ann.patch(open, m{"assigned_to_id": b.gus.user}).want(200)
	if got := b.gus.get("/v1/tasks?assigned_to=me").want(200).keys("title"); !slices.Equal(got, []string{"open"}) {
		t.Errorf("a guest's own tasks: %q", got)
	}
	b.ann.patch("/v1/projects/"+b.web+"/members/"+b.gus.user, m{"role": "contributor"}).want(200)
	b.gus.patch(open, m{"title": "theirs"}).want(200)
	bulk := b.gus.post("/v1/tasks/bulk", m{"task_ids": []string{strings.TrimPrefix(hidden, "/v1/tasks/"), strings.TrimPrefix(open, "/v1/tasks/")},
		"set": m{"status": "done", "labels_add": []string{"swept"}}}).want(200)
	if bulk.num("results.0.status") != 404 || bulk.str("results.0.error.code") != "not_found" || bulk.str("results.1.task.status") != "done" {
		t.Errorf("bulk: %s", bulk.body)
	}
}

func TestTasksMove(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	var ids []string
	for i := range 4 {
		ids = append(ids, b.task(m{"title": fmt.Sprint(i)}).str("id"))
	}
	moved := b.ben.post("/v1/tasks/"+ids[3]+"/move", m{"before": ids[1], "status": "in_progress"}, `If-Match: "1"`).want(200)
	if moved.str("status") != "in_progress" || moved.num("version") != 2 {
		t.Errorf("moved: %s", moved.body)
	}
	b.ben.post("/v1/tasks/"+ids[0]+"/move", m{"after": ids[2]}).want(200)
	if got := b.ben.get(b.in(b.web)).want(200).keys("title"); !slices.Equal(got, []string{"3", "1", "2", "0"}) {
		t.Errorf("order %q", got)
	}
	b.ben.post("/v1/tasks/"+ids[3]+"/move", m{"before": ids[1]}, `If-Match: "1"`).want(412)
	b.ben.post("/v1/tasks/"+ids[3]+"/move", m{"before": ids[1], "after": ids[2]}).want(422)
	b.ben.post("/v1/tasks/"+ids[3]+"/move", m{"project_id": b.secret}).want(422)
	gone := b.ann.post("/v1/tasks/"+ids[3]+"/move", m{"project_id": b.secret}).want(200)
	if gone.str("key") != "SEC-1" || gone.str("project_id") != b.secret || gone.str("status") != "in_progress" {
		t.Errorf("in another project: %s", gone.body)
	}
	b.ben.get("/v1/tasks/" + ids[3]).want(404)

	// Everything to one place at once.
	var g errgroup.Group
	for i := range 40 {
		g.Go(func() error {
			r, err := b.ann.try("POST", "/v1/tasks/"+ids[i%2]+"/move", m{"after": ids[2]})
			if err == nil && r.status != 200 {
				err = fmt.Errorf("%d %s", r.status, r.body)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := b.ann.get(b.in(b.web)).want(200).keys("title"); len(got) != 3 || got[0] != "2" {
		t.Errorf("order %q", got)
	}
}

func TestTasksAreWatched(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	path := "/v1/tasks/" + b.task(m{"title": "x", "assigned_to_id": b.ben.user}).str("id")
	watchers := func() []string {
		names := b.ann.get(path + "/watchers").want(200).keys("username")
		slices.Sort(names)
		return names
	}
	if got := watchers(); !slices.Equal(got, []string{"ann", "ben"}) {
		t.Errorf("creator and assignee: %q", got)
	}
	b.ben.delete(path + "/watchers/me").want(204)
	b.ben.delete(path + "/watchers/me").want(204)
	if got := watchers(); !slices.Equal(got, []string{"ann"}) {
		t.Errorf("without ben: %q", got)
	}
	b.ben.put(path+"/watchers/me", nil).want(200)
	b.ben.put(path+"/watchers/me", nil).want(200)
	b.ben.delete(path + "/watchers/me").want(204)
	b.ben.post(path+"/comments", m{"body": "hello"}).want(201)
	b.settle()
	if got := watchers(); !slices.Equal(got, []string{"ann", "ben"}) {
		t.Errorf("after a comment: %q", got)
	}
}

func TestTasksLoseAStateThatIsDeleted(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	path := "/v1/tasks/" + b.task(m{"title": "x", "status": "review"}).str("id")
	b.ann.delete("/v1/projects/" + b.web + "/states/review?replace_with=done").want(204)
	if got := b.ann.get(path).want(200); got.str("status") != "done" || got.at("completed_at") == nil {
		t.Errorf("its state went: %s", got.body)
	}
}

// A label belongs to a project: it says nothing to who does not see that, and
// who may not change the project's tasks may not change it.
func TestTasksLabelsFollowTheProject(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	hidden := "/v1/tasks/" + b.ann.post(b.in(b.secret), m{"title": "hidden", "labels": []string{"Acquire-MegaCorp"}}).want(201).str("id")
	own := b.ben.post(b.in(b.web), m{"title": "own", "labels": []string{"acquire-megacorp", "docs"}}).want(201)
	if own.str("labels.0") != "acquire-megacorp" {
		t.Errorf("the answer spells like a project that ben does not see: %s", own.body)
	}
	theirs := "/v1/labels/" + b.ann.get("/v1/labels?project_id="+b.secret).want(200).str("data.0.id")
	listed := b.ben.get("/v1/labels").want(200)
	if got := listed.keys("name"); !slices.Equal(got, []string{"acquire-megacorp", "docs"}) || listed.str("data.0.project_id") != b.web {
		t.Errorf("ben sees %s", listed.body)
	}
	b.ben.patch(theirs, m{"name": "x"}).want(404)
	b.ben.delete(theirs).want(404)
	mine, docs := "/v1/labels/"+listed.str("data.0.id"), "/v1/labels/"+listed.str("data.1.id")
	b.ben.patch(docs, m{"name": "ACQUIRE-megacorp"}).want(409).code("label_name_taken")
	b.ben.patch(docs, m{"name": "papers"}).want(200)
	b.ben.delete(mine).want(204)
	if got := b.ann.get(hidden).want(200).str("labels.0"); got != "Acquire-MegaCorp" {
		t.Errorf("the hidden task carries %q now", got)
	}
	if got := b.ann.get(b.in(b.web) + "?label=Papers").want(200).keys("title"); !slices.Equal(got, []string{"own"}) {
		t.Errorf("found by its label: %q", got)
	}
	// The board of labels goes page by page, over all projects.
	if got := b.ann.get("/v1/labels?limit=1&include=total").want(200); got.num("total") != 2 ||
		b.ann.get("/v1/labels?limit=1&cursor="+got.str("next_cursor")).want(200).str("data.0.name") != "papers" {
		t.Errorf("first page: %s", got.body)
	}
	// A task takes the names of its labels along, and no more.
	b.ann.post(hidden+"/move", m{"project_id": b.web}).want(200)
	if got := b.ann.get("/v1/labels?project_id=" + b.web).want(200).keys("name"); !slices.Equal(got, []string{"Acquire-MegaCorp", "papers"}) {
		t.Errorf("labels after the move: %q", got)
	}
	if got := b.ann.get("/v1/labels?project_id=" + b.secret).want(200).len("data"); got != 1 {
		t.Errorf("%d labels in the project that it left", got)
	}
	// Viewers and archived projects.
	b.ann.post("/v1/projects/"+b.web+"/members", m{"user_id": b.ben.user, "role": "viewer"}).want(201)
	b.ben.patch(docs, m{"name": "x"}).want(403).code("permission_denied")
	b.ben.delete(docs).want(403)
	b.ann.patch("/v1/projects/"+b.web, m{"status": "archived"}).want(200)
	b.ann.patch(docs, m{"color": "#112233"}).want(409).code("project_archived")
	b.ann.delete(docs).want(409).code("project_archived")
}
