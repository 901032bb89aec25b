package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// drain reads the feed from the cursor to its end and returns the events'
// numbers and the last cursor.
func drain(t testing.TB, c *client, query, after string) (numbers []int64, next string) {
	t.Helper()
	for {
		var page struct {
			Data       []struct{ Sequence int64 }
			NextCursor string `json:"next_cursor"`
		}
		r := c.get("/v1/events?" + query + "&after=" + after).want(200).into(&page)
		if after = page.NextCursor; after == "" {
			t.Fatalf("no cursor: %s", r.body)
		}
		if len(page.Data) == 0 {
			return numbers, after
		}
		for _, e := range page.Data {
			numbers = append(numbers, e.Sequence)
		}
	}
}

// gapFree fails the test unless the numbers are first, first+1, …, last.
func gapFree(t testing.TB, numbers []int64, first, last int64) {
	t.Helper()
	if int64(len(numbers)) != last-first+1 {
		t.Fatalf("read %d events, not %d to %d", len(numbers), first, last)
	}
	for i, n := range numbers {
		if n != first+int64(i) {
			t.Fatalf("number %d stands where %d should: gap or double", n, first+int64(i))
		}
	}
}

// Writers commit in any order while the relay numbers and a reader polls: the
// reader sees every event once, in order, without a gap.
func TestFeedMissesNothingUnderLoad(t *testing.T) {
	t.Parallel()
	p := newWorkplace(t)
	p.settle()
	before, cursor := drain(t, p.ann, "limit=7", "")
	gapFree(t, before, 1, int64(len(before)))

	writers, each := 8, count(15, 200)
	ctx, done := context.WithCancel(context.Background())
	var g, relay errgroup.Group
	for i := range writers {
		who := []*client{p.ann, p.ben}[i%2]
		g.Go(func() error {
			for n := range each {
				r, err := who.try("POST", "/v1/tasks/"+p.task+"/comments", m{"body": fmt.Sprintf("%d of %d", n, i)})
				if err != nil {
					return err
				}
				if r.status != 201 {
					return fmt.Errorf("%d %s", r.status, r.body)
				}
			}
			return nil
		})
	}
	for range 2 { // two replicas relay in turns
		relay.Go(func() error {
			for ctx.Err() == nil {
				if _, err := p.app.relay.Once(context.Background()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	want := len(before) + writers*each
	got := slices.Clone(before)
	limit := time.Now().Add(2 * time.Minute)
	for len(got) < want && time.Now().Before(limit) {
		all, _ := drain(t, p.ann, "limit=200", "")
		gapFree(t, all, 1, int64(len(all))) // from the beginning, at any moment
		var more []int64
		more, cursor = drain(t, p.ann, "limit=13", cursor)
		got = append(got, more...)
		gapFree(t, got, 1, int64(len(got)))
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	done()
	if err := relay.Wait(); err != nil {
		t.Fatal(err)
	}
	gapFree(t, got, 1, int64(want))
}

func TestFeedShowsWhatTheCallerMaySee(t *testing.T) {
	t.Parallel()
	p := newWorkplace(t)
	secret := p.ann.post("/v1/projects", m{"name": "Secret", "visibility": "private"}).want(201).str("id")
	hidden := p.newTask(secret, "Hidden")
	p.settle()
	subjects := func(c *client) string {
		t.Helper()
		return string(c.get("/v1/events?limit=200").want(200).body)
	}
	if !strings.Contains(subjects(p.ann), hidden) {
		t.Error("a member of the private project does not see its events")
	}
	if got := subjects(p.ben); strings.Contains(got, hidden) || strings.Contains(got, secret) || !strings.Contains(got, p.task) {
		t.Errorf("a stranger to the private project sees %s", got)
	}
	if got := subjects(p.cem); strings.Contains(got, p.task) || strings.Contains(got, p.project) {
		t.Errorf("a guest sees events of a project he was not added to: %s", got)
	}
	event := p.ann.get("/v1/events?type=task.created&limit=200").want(200)
	path := "/v1/events/" + event.str("data.1.id")
	if e := p.ann.get(path).want(200); e.str("subject.id") != hidden || e.str("data.title") != "Hidden" {
		t.Fatalf("%s", e.body)
	}
	foreign, random := p.ben.get(path).want(404), p.ben.get("/v1/events/0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07").want(404)
	if foreign.str("detail") != random.str("detail") {
		t.Errorf("%s, %s", foreign.body, random.body)
	}
	// Added today, he sees what happened before.
	p.ann.post("/v1/projects/"+secret+"/members", m{"user_id": p.ben.user}).want(201)
	p.ben.get(path).want(200)
	// A moved task needs both projects.
	p.ann.post("/v1/tasks/"+hidden+"/move", m{"project_id": p.project}).want(200)
	p.settle()
	if moved := p.cem.get("/v1/events?type=task.moved").want(200); moved.len("data") != 0 {
		t.Errorf("%s", moved.body)
	}
	// The end of a project is told to those who saw it.
	p.ann.delete("/v1/projects/" + secret).want(204)
	p.settle()
	if r := p.ben.get("/v1/events?type=project.deleted").want(200); r.len("data") != 1 {
		t.Errorf("%s", r.body)
	}
}

func TestFeedNeedsTheRightToTheSubject(t *testing.T) {
	t.Parallel()
	p := newWorkplace(t)
	p.settle()
	key := p.ann.post("/v1/api-keys", m{"name": "poller", "permissions": []string{"events.read", "projects.read"}}).want(201)
	c := p.ann.with(key.str("key"))
	r := c.get("/v1/events?limit=200").want(200)
	for i := range r.len("data") {
		if subject := r.str(fmt.Sprintf("data.%d.subject.type", i)); subject != "project" {
			t.Errorf("a key that may read projects sees %s", subject)
		}
	}
	if r.len("data") == 0 {
		t.Error("it sees nothing")
	}
}

// An invitation names an address and a role: only who may list invitations is
// told of it, in the feed, by id and in activity.
func TestFeedTellsOfInvitationsWhoManagesMembers(t *testing.T) {
	t.Parallel()
	p := newWorkplace(t)
	p.ann.post("/v1/invitations", m{"email": "stranger@example.test", "role": "admin"}).want(201)
	p.settle()
	weak := p.ann.post("/v1/api-keys", m{"name": "poller", "permissions": []string{"events.read", "members.read", "projects.read"}}).want(201)
	strong := p.ann.post("/v1/api-keys", m{"name": "sync", "permissions": []string{"events.read", "members.manage", "projects.read"}}).want(201)
	told := p.ann.get("/v1/events?type=invitation.created&limit=200").want(200)
	at := "/v1/events/" + told.str(fmt.Sprintf("data.%d.id", told.len("data")-1))
	lists := []string{"/v1/events?limit=200", "/v1/activity?limit=200"}
	for name, c := range map[string]*client{"a guest": p.cem, "a member": p.ben, "a key that reads members": p.ann.with(weak.str("key"))} {
		for _, path := range lists {
			if body := string(c.get(path).want(200).body); strings.Contains(body, "stranger@") || strings.Contains(body, `"invitation.`) {
				t.Errorf("%s sees invitations in %s: %s", name, path, body)
			}
		}
		c.get(at).want(404)
	}
	for _, c := range []*client{p.ann, p.ann.with(strong.str("key"))} {
		for _, path := range lists {
			if body := string(c.get(path).want(200).body); !strings.Contains(body, "stranger@") {
				t.Errorf("who manages members misses the invitation in %s: %s", path, body)
			}
		}
		c.get(at).want(200)
	}
}

func TestFeedParameters(t *testing.T) {
	t.Parallel()
	p := newWorkplace(t)
	p.comment(p.ann, "x")
	p.settle()
	types := func(query string) string {
		t.Helper()
		r := p.ann.get("/v1/events?limit=200" + query).want(200)
		var out []string
		for i := range r.len("data") {
			out = append(out, r.str(fmt.Sprintf("data.%d.type", i)))
		}
		return strings.Join(out, ",")
	}
	if got := types("&type=task.created"); got != "task.created" {
		t.Error(got)
	}
	for _, q := range []string{"&type=task.*&type=comment.*", "&type=task.*,comment.created"} {
		if got := types(q); got != "task.created,comment.created" {
			t.Errorf("%s: %s", q, got)
		}
	}
	if got := types("&type=*"); got != types("") {
		t.Error(got)
	}
	p.ann.get("/v1/events?type=task").want(422)
	p.ann.get("/v1/events?after=abc").want(400).code("bad_request")
	p.ann.get("/v1/events?cursor=abc").want(422)
	p.ann.get("/v1/events?limit=0").want(422)
	other := p.person("dan").organization("Other")
	p.settle()
	_, cursor := drain(t, p.ann, "", "")
	other.get("/v1/events?after=" + cursor).want(400)
	p.ann.get("/v1/events?type=task.*&after=" + cursor).want(400)
	if again, _ := drain(t, p.ann, "", cursor); len(again) != 0 {
		t.Errorf("after the end come %v", again)
	}
}

// A stretch of events that the caller may not see, longer than one statement
// looks through, does not hide what follows, and no request walks all of it.
func TestFeedPassesALongHiddenStretch(t *testing.T) {
	t.Parallel()
	p := newWorkplace(t)
	secret := p.ann.post("/v1/projects", m{"name": "Secret", "visibility": "private"}).want(201).str("id")
	p.settle()
	_, cursor := drain(t, p.ben, "", "")
	const n = 23_500 // of which one request looks through 20,000
	p.sql(`insert into event_log (tenant_id, day, id, sequence, type, public, schema_version, subject_type, subject_id, project_id,
			actor_kind, operation, request_id, source_address, occurred_at, data)
		select $1, (now() at time zone 'UTC')::date, gen_random_uuid(), c.last_sequence + g, 'project.updated', true, 1, 'project', $2, $2, 'system', 'x', 'x', '', now(), '{}'
		from event_counters c, generate_series(1, $3::int) g where c.tenant_id = $1`, p.ann.org, secret, n)
	// Their ids would tell another day; the feed takes the day of the last one.
	p.sql(`update event_log set id = (substr((select max(e.id::text) from event_log e where e.tenant_id = $1 and e.actor_kind <> 'system'), 1, 14) || substr(id::text, 15))::uuid
		where tenant_id = $1 and operation = 'x'`, p.ann.org)
	p.sql(`update event_counters set last_sequence = last_sequence + $2 where tenant_id = $1`, p.ann.org, n)
	p.newTask(p.project, "after the stretch")
	p.settle()
	r := p.ben.get("/v1/events?after=" + cursor).want(200)
	if r.len("data") != 0 || r.str("next_cursor") == cursor {
		t.Fatalf("one request looks through all of it: %s", r.body)
	}
	r = p.ben.get("/v1/events?after=" + r.str("next_cursor")).want(200)
	if r.len("data") != 1 || r.str("data.0.data.title") != "after the stretch" {
		t.Fatalf("%s", r.body)
	}
	end := r.str("next_cursor")
	if r = p.ben.get("/v1/events?after=" + end).want(200); r.len("data") != 0 || r.str("next_cursor") != end {
		t.Fatalf("at the end: %s", r.body)
	}
	all, _ := drain(t, p.ann, "limit=200", "")
	gapFree(t, all, 1, int64(len(all)))
	if len(all) < n {
		t.Fatalf("a member of the project reads %d events", len(all))
	}
}

// Around midnight a smaller number may belong to the later day, also where that
// is the last day that one statement looks at.
func TestFeedKeepsItsOrderAcrossMidnight(t *testing.T) {
	t.Parallel()
	p := newWorkplace(t)
	p.settle()
	before, cursor := drain(t, p.ann, "", "")
	for i, day := range []int{7, 8, 7, 8, 9, 8, 10} {
		p.sql(`insert into event_log (tenant_id, day, id, sequence, type, public, schema_version, subject_type, subject_id,
				actor_kind, operation, request_id, source_address, occurred_at, data)
			select $1, d.day, (lpad(to_hex(extract(epoch from d.day at time zone 'UTC')::bigint * 1000 + $3::int), 12, '0') || '7' || substr(md5($3::text), 1, 19))::uuid,
				$2::bigint + $3::int, 'project.updated', true, 1, 'project', $4, 'system', 'x', 'x', '', now(), '{}'
			from (select (now() at time zone 'UTC')::date::timestamp + make_interval(days => $5::int) as day) d`,
			p.ann.org, len(before), i+1, p.project, day)
	}
	for _, limit := range []string{"limit=1", "limit=3", "limit=200"} {
		after, _ := drain(t, p.ann, limit, cursor)
		gapFree(t, after, int64(len(before))+1, int64(len(before))+7)
	}
}

// A reader whose place is no longer kept goes on where the log begins.
func TestFeedBeginsWhereTheLogBegins(t *testing.T) {
	t.Parallel()
	p := newWorkplace(t)
	p.settle()
	p.sql(`update event_log set sequence = sequence + 100000 where tenant_id = $1`, p.ann.org)
	all, _ := drain(t, p.ann, "limit=3", "")
	gapFree(t, all, 100001, 100000+int64(len(all)))
	if len(all) == 0 {
		t.Fatal("nothing was read")
	}
}

// What changes rows beside the operation on them is told as well: a member who
// leaves takes no trace of himself along, and a label is on many tasks.
func TestFeedTellsOfWhatComesAlong(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	var kept []string
	for i := range 3 {
		kept = append(kept, b.task(m{"title": fmt.Sprint(i), "assigned_to_id": b.ben.user, "labels": []string{"docs"}}).str("id"))
	}
	b.ann.delete("/v1/tasks/" + kept[2]).want(204)
	owned := b.ann.post("/v1/projects", m{"name": "Ben's", "owner_id": b.ben.user}).want(201)
	b.settle()
	after := ""
	tell := func(query string) *reply {
		t.Helper()
		b.settle()
		r := b.ann.get("/v1/events?limit=200&" + query + "&after=" + after).want(200)
		return r
	}
	after = b.ann.get("/v1/events?limit=200").want(200).str("next_cursor")
	b.ann.delete("/v1/members/" + b.ben.user).want(204)
	told := map[string]bool{}
	for _, e := range tell("").at("data").([]any) {
		e := e.(map[string]any)
		previous, _ := e["previous"].(map[string]any)
		data := e["data"].(map[string]any)
		switch {
		case e["type"] == "task.updated" && previous["assigned_to_id"] == b.ben.user && data["assigned_to_id"] == nil && len(previous) == 1:
			told[data["id"].(string)] = true
		case e["type"] == "project.updated" && previous["owner_id"] == b.ben.user && data["owner_id"] == nil && len(previous) == 1:
			told[data["id"].(string)] = true
		case e["type"] != "member.removed":
			t.Errorf("told of %v", e)
		}
	}
	if len(told) != 3 || !told[kept[0]] || !told[kept[1]] || !told[owned.str("id")] {
		t.Errorf("told of %v", told)
	}
	if now := b.ann.get(owned.header("Location")).want(200); now.num("version") != owned.num("version")+1 {
		t.Errorf("who lost its owner is at version %d, was at %d", now.num("version"), owned.num("version"))
	}
	if n := len(b.sql(`select from tasks where lost_assignee_id is not null union all select from projects where lost_owner_id is not null`)); n != 0 {
		t.Errorf("%d rows still remember", n)
	}

	label := "/v1/labels/" + b.ann.get("/v1/labels").want(200).str("data.0.id")
	b.ann.patch(label, m{"name": "papers"}).want(200)
	b.ann.delete(label).want(204)
	b.settle()
	labels := b.ann.get("/v1/events?type=label.*").want(200)
	if labels.len("data") != 2 || labels.str("data.0.previous.name") != "docs" || labels.str("data.0.data.project_id") != b.web || labels.str("data.1.type") != "label.deleted" {
		t.Errorf("told of the label: %s", labels.body)
	}
	if n := b.gus.get("/v1/events?type=label.*").want(200).len("data"); n != 0 {
		t.Errorf("a guest is told %d things of a label that he does not see", n)
	}
}
