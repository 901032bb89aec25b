package main

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
)

// workplace is an organisation with one open project, one task in it, an owner
// and two members.
type workplace struct {
	*world
	ann, ben, cem *client
	project, task string
}

func newWorkplace(t *testing.T) *workplace {
	t.Helper()
	w := newWorld(t)
	p := &workplace{world: w}
	p.ann = w.person("ann").organization("Acme")
	p.ben = w.join(p.ann, w.person("ben"), "member")
	p.cem = w.join(p.ann, w.person("cem"), "guest")
	p.project = p.ann.post("/v1/projects", m{"name": "Website"}).want(201).str("id")
	p.task = p.newTask(p.project, "Write it")
	return p
}

func (p *workplace) newTask(project, title string) string {
	p.t.Helper()
	return p.ann.post("/v1/projects/"+project+"/tasks", m{"title": title}).want(201).str("id")
}

func (p *workplace) comment(c *client, body string) *reply {
	p.t.Helper()
	return c.post("/v1/tasks/"+p.task+"/comments", m{"body": body}).want(201)
}

func mentioning(c *client) string { return fmt.Sprintf("@[%s](user:%s)", c.name, c.user) }

func reaction(comment, emoji string) string {
	return "/v1/comments/" + comment + "/reactions/" + url.PathEscape(emoji)
}

func TestCommentsMakeThreads(t *testing.T) {
	t.Parallel()
	p := newWorkplace(t)
	list := "/v1/tasks/" + p.task + "/comments"
	root := p.comment(p.ann, "First")
	if root.header("Location") != "/v1/comments/"+root.str("id") || root.header("ETag") != `"1"` || root.str("visibility") != "internal" ||
		root.str("created_by.id") != p.ann.user || root.str("project_id") != p.project {
		t.Fatalf("%s, Location %q", root.body, root.header("Location"))
	}
	reply := p.ben.post(list, m{"body": "A reply", "parent_id": root.str("id")}).want(201)
	p.comment(p.ben, "Second")

	p.ann.post(list, m{"body": "x", "parent_id": reply.str("id")}).want(422).code("validation_failed")
	p.ann.post(list, m{"body": "x", "parent_id": p.task}).want(422).code("validation_failed")
	elsewhere := p.newTask(p.project, "Other")
	p.ann.post("/v1/tasks/"+elsewhere+"/comments", m{"body": "x", "parent_id": root.str("id")}).want(422)
	p.ann.post(list, m{"body": "x", "parent_id": root.str("id"), "visibility": "customer"}).want(422)
	p.ann.post(list, m{"body": " \n"}).want(422)
	p.ann.post(list, m{"body": strings.Repeat("ü", 20_001)}).want(422)

	bodies := func(query string) string {
		t.Helper()
		r := p.ann.get(list + query).want(200)
		var out []string
		for i := range r.len("data") {
			out = append(out, r.str(fmt.Sprintf("data.%d.body", i)))
		}
		return strings.Join(out, ",")
	}
	if got := bodies("?include=total"); got != "First,A reply,Second" {
		t.Errorf("oldest first: %s", got)
	}
	if got := bodies("?sort=-created_at"); got != "Second,A reply,First" {
		t.Errorf("newest first: %s", got)
	}
	if got := bodies("?parent_id=" + root.str("id")); got != "First,A reply" {
		t.Errorf("the thread: %s", got)
	}
	if got := bodies("?page=2&limit=2"); got != "Second" {
		t.Errorf("page 2: %s", got)
	}
	first := p.ann.get(list + "?limit=2&include=total").want(200)
	if first.num("total") != 3 {
		t.Errorf("total %d", first.num("total"))
	}
	if got := bodies("?limit=2&cursor=" + first.str("next_cursor")); got != "Second" {
		t.Errorf("by cursor: %s", got)
	}
}

func TestCommentsKeepTheirHistory(t *testing.T) {
	t.Parallel()
	p := newWorkplace(t)
	path := "/v1/comments/" + p.comment(p.ben, "one").str("id")
	p.ben.patch(path, m{"body": "two"}, `If-Match: "1"`).want(200)
	p.ben.patch(path, m{"body": "late"}, `If-Match: "1"`).want(412).code("version_conflict")
	p.ben.patch(path, m{}).want(200)
	p.ben.patch(path, m{"body": nil}).want(422)
	p.ben.patch(path, m{"body": "three"}, `If-Match: "2"`).want(200)
	p.ann.patch(path, m{"body": "by a lead"}).want(403).code("permission_denied")
	r := p.ann.get(path + "/history?include=total").want(200)
	if r.num("total") != 3 || r.str("data.0.body") != "three" || r.num("data.0.version") != 3 || r.str("data.2.body") != "one" || r.num("data.2.version") != 1 {
		t.Fatalf("%s", r.body)
	}
	next := p.ann.get(path + "/history?limit=2").want(200).str("next_cursor")
	if r := p.ann.get(path + "/history?limit=2&cursor=" + next).want(200); r.len("data") != 1 || r.str("data.0.body") != "one" {
		t.Fatalf("%s", r.body)
	}
	if c := p.ann.get(path).want(200); c.str("edited_at") == "" || c.str("body") != "three" {
		t.Fatalf("%s", c.body)
	}
}

func TestCommentsMentionWhoSeesTheTask(t *testing.T) {
	t.Parallel()
	p := newWorkplace(t)
	stranger := p.person("zoe")
	body := "hi " + mentioning(p.ben) + mentioning(p.cem) + mentioning(stranger) + mentioning(p.ann) + mentioning(p.ben)
	names := func(r *reply) string {
		var out []string
		for i := range r.len("mentions") {
			for _, c := range []*client{p.ann, p.ben, p.cem, stranger} {
				if c.user == r.str(fmt.Sprintf("mentions.%d", i)) {
					out = append(out, c.name)
				}
			}
		}
		return strings.Join(out, ",")
	}
	// A guest is told only in projects he was added to.
	c := p.comment(p.ann, body)
	if got := names(c); got != "ben,ann" {
		t.Errorf("mentioned %s", got)
	}
	p.ann.post("/v1/projects/"+p.project+"/members", m{"user_id": p.cem.user, "role": "viewer"}).want(201)
	if got := names(p.ann.patch("/v1/comments/"+c.str("id"), m{"body": body + "!"}).want(200)); got != "ben,cem,ann" {
		t.Errorf("mentioned after the guest was added: %s", got)
	}
	p.ann.patch("/v1/projects/"+p.project, m{"visibility": "private"}).want(200)
	if got := names(p.comment(p.ann, body)); got != "cem,ann" {
		t.Errorf("mentioned in a private project: %s", got)
	}
}

func TestCommentsAreDeleted(t *testing.T) {
	t.Parallel()
	p := newWorkplace(t)
	list := "/v1/tasks/" + p.task + "/comments"
	root := p.comment(p.ben, "root").str("id")
	reply := p.ann.post(list, m{"body": "reply", "parent_id": root}).want(201).str("id")
	p.ben.delete("/v1/comments/" + reply).want(403)
	p.ann.put(reaction(root, "👍"), nil).want(200)
	p.ann.delete("/v1/comments/"+root, `If-Match: "1"`).want(412)
	p.ann.delete("/v1/comments/" + root).want(204) // a lead deletes
	p.ann.delete("/v1/comments/" + root).want(404)
	p.ben.get("/v1/comments/" + root).want(404)
	p.ben.get("/v1/comments/" + root + "/history").want(404)
	p.ann.post(list, m{"body": "x", "parent_id": root}).want(422)
	r := p.ben.get(list).want(200)
	if r.len("data") != 2 || r.str("data.0.body") != "" || r.str("data.0.deleted_at") == "" || r.len("data.0.reactions") != 0 {
		t.Fatalf("a deleted comment with replies: %s", r.body)
	}
	p.ann.delete("/v1/comments/" + reply).want(204)
	if r := p.ben.get(list + "?include=total").want(200); r.len("data") != 0 || r.num("total") != 0 {
		t.Fatalf("a thread without living comments: %s", r.body)
	}
}

func TestCommentsFollowTheProject(t *testing.T) {
	t.Parallel()
	p := newWorkplace(t)
	c := p.comment(p.ben, "hello").str("id")
	list, path := "/v1/tasks/"+p.task+"/comments", "/v1/comments/"+c
	forAll := func(who *client, want int) {
		t.Helper()
		who.get(list).want(want)
		who.get(path).want(want)
		who.get(path + "/history").want(want)
	}
	write := func(who *client, want int) {
		t.Helper()
		who.post(list, m{"body": "x"}).want(want)
		who.patch(path, m{"body": "x"}).want(want)
		who.put(reaction(c, "👀"), nil).want(want)
		who.delete(reaction(c, "👀")).want(want)
		who.delete(path).want(want)
	}
	forAll(p.cem, 404) // a guest who was not added
	write(p.cem, 404)
	p.ann.post("/v1/projects/"+p.project+"/members", m{"user_id": p.cem.user, "role": "viewer"}).want(201)
	forAll(p.cem, 200)
	write(p.cem, 403)

	p.ann.patch("/v1/projects/"+p.project, m{"status": "archived"}).want(200)
	forAll(p.ben, 200)
	write(p.ben, 409)
	p.ben.post(list, m{"body": "x"}).want(409).code("project_archived")
	p.ann.patch("/v1/projects/"+p.project, m{"status": "active"}).want(200)

	p.ann.patch("/v1/projects/"+p.project, m{"visibility": "private"}).want(200)
	forAll(p.ben, 404)
	write(p.ben, 404)
	p.ann.delete("/v1/tasks/" + p.task).want(204)
	forAll(p.ann, 404)
}

func TestCommentReactions(t *testing.T) {
	t.Parallel()
	p := newWorkplace(t)
	c := p.comment(p.ann, "vote").str("id")
	p.ann.put(reaction(c, "👍"), nil).want(200)
	again := p.ann.put(reaction(c, "👍"), nil).want(200)
	if again.num("version") != 2 {
		t.Errorf("a second reaction of the same kind made version %d", again.num("version"))
	}
	r := p.ben.put(reaction(c, "👍"), nil).want(200)
	if r.len("reactions") != 1 || r.num("reactions.0.count") != 2 || r.at("reactions.0.mine") != true || r.str("reactions.0.emoji") != "👍" {
		t.Fatalf("%s", r.body)
	}
	p.ben.put(reaction(c, "with space"), nil).want(422)
	p.ben.put(reaction(c, strings.Repeat("x", 33)), nil).want(422)
	p.ben.put(reaction(c, "a\x00b"), nil).want(400)
	p.ann.delete(reaction(c, "👍")).want(204)
	p.ann.delete(reaction(c, "👍")).want(404)
	if r := p.ann.get("/v1/comments/" + c).want(200); r.num("reactions.0.count") != 1 || r.at("reactions.0.mine") != false {
		t.Fatalf("%s", r.body)
	}
}

// However many are first with a kind at once, a comment takes twenty kinds.
func TestCommentReactionsRace(t *testing.T) {
	t.Parallel()
	p := newWorkplace(t)
	c := p.comment(p.ann, "vote").str("id")
	n := count(40, 100)
	status := make([]int, n)
	var g errgroup.Group
	for i := range n {
		who := []*client{p.ann, p.ben}[i%2]
		g.Go(func() error {
			r, err := who.try("PUT", reaction(c, fmt.Sprintf(":r%d:", i)), nil)
			if err == nil {
				status[i] = r.status
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	ok := 0
	for i, s := range status {
		switch s {
		case 200:
			ok++
		case 409:
		default:
			t.Errorf("reaction %d answered %d", i, s)
		}
	}
	if got := p.ann.get("/v1/comments/" + c).want(200).len("reactions"); got != 20 || ok != 20 {
		t.Fatalf("%d kinds stand, %d were accepted", got, ok)
	}
	p.ann.put(reaction(c, ":one-more:"), nil).want(409).code("comment_reactions_full")
}

func TestCommentEvents(t *testing.T) {
	t.Parallel()
	p := newWorkplace(t)
	p.settle()
	c := p.comment(p.ann, "one "+mentioning(p.ben)).str("id")
	p.ann.put(reaction(c, "👍"), nil).want(200)
	p.ann.patch("/v1/comments/"+c, m{"body": "two"}).want(200)
	p.ann.delete("/v1/comments/" + c).want(204)
	p.settle()
	r := p.ben.get("/v1/events?type=comment.*").want(200)
	if r.len("data") != 3 {
		t.Fatalf("%s", r.body)
	}
	for path, want := range map[string]string{
		"data.0.type": "comment.created", "data.0.data.task_id": p.task, "data.0.data.mentions.0": p.ben.user, "data.0.subject.id": c,
		"data.1.type": "comment.updated", "data.1.previous.body": "one " + mentioning(p.ben), "data.1.data.body": "two",
		"data.2.type": "comment.deleted", "data.2.data.body": "two",
	} {
		if got := r.str(path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	if r.at("data.1.data.reactions.0.mine") != false {
		t.Error("an event tells whose reaction it was")
	}
	if r := p.ann.get("/v1/audit-log?type=comment.reacted").want(200); r.len("data") != 1 || r.at("data.0.sequence") != nil {
		t.Errorf("the reaction in the audit log: %s", r.body)
	}
}
