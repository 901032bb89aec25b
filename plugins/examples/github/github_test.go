package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/guildhall-dev/guildhall/plugins/sdk"
	"github.com/guildhall-dev/guildhall/plugins/sdk/plugintest"
)

// settle tells each side of the other until nothing happens any more: every
// delivery twice, the later ones first, and every event twice.
func settle(t *testing.T, h *plugintest.Host, hub *fakeHub, g *hall) {
	t.Helper()
	for round := 0; ; round++ {
		hooks, events := hub.takeHooks(), g.takeEvents()
		if len(hooks)+len(events)+len(h.Tasks()) == 0 {
			return
		}
		if round > 5 {
			t.Fatalf("it goes on and on: %d deliveries, %d events, %v", len(hooks), len(events), h.Tasks())
		}
		for range 2 {
			for i := range hooks {
				deliver(t, h, hooks[len(hooks)-1-i], http.StatusOK)
			}
			for _, e := range events {
				if done, err := h.Hear(e); err != nil || done != 1 {
					t.Fatalf("heard %d of %s: %v", done, e.Type, err)
				}
			}
		}
		if _, err := h.RunTasks(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
}

func deliver(t *testing.T, h *plugintest.Host, d hook, want int) {
	t.Helper()
	if r, err := h.Receive("github", d.header, d.body); err != nil || r.Status != want {
		t.Errorf("delivered %.80s: %+v, %v", d.body, r, err)
	}
}

// same holds both sides against each other, and against how many there should be.
func same(t *testing.T, hub *fakeHub, g *hall, n int) {
	t.Helper()
	there, here := hub.state(), g.state()
	if there != here || strings.Count(here, "\n")+1 != n {
		t.Errorf("GitHub has\n%s\nand Guildhall has\n%s\nwhich should be %d", there, here, n)
	}
}

func TestIssuesBecomeTasks(t *testing.T) {
	t.Parallel()
	h, hub, g := world(t, nil)
	hub.somebody(func() { hub.add("Paint", "the\r\ndoor") })
	settle(t, h, hub, g)
	if got := g.state(); got != "Paint|the\ndoor|pending" {
		t.Fatalf("the tasks are %s", got)
	}
	hub.edits(1, "edited", func(i *fakeIssue) { i.Title = "Paint it"; *i.Body = "all" })
	settle(t, h, hub, g)
	same(t, hub, g, 1)
	hub.edits(1, "closed", func(i *fakeIssue) { i.State = "closed" })
	settle(t, h, hub, g)
	same(t, hub, g, 1)
	hub.edits(1, "reopened", func(i *fakeIssue) { i.State = "open" })
	hub.edits(1, "edited", func(i *fakeIssue) { i.Title = "Paint it black" })
	settle(t, h, hub, g)
	same(t, hub, g, 1)
	if hub.writes != 0 || g.writes != 4 {
		t.Errorf("%d writes there, %d here", hub.writes, g.writes)
	}
	if len(h.Denied()) > 0 {
		t.Errorf("denied %q", h.Denied())
	}
}

func TestTasksBecomeIssues(t *testing.T) {
	t.Parallel()
	h, hub, g := world(t, nil)
	g.somebody(func() {
		g.add("Order", "paint", "pending", sdk.Reference{})
		g.add("Was done before", "", "done", sdk.Reference{})
		g.add(strings.Repeat("x", 400), "", "pending", sdk.Reference{}).ProjectID = "another"
	})
	settle(t, h, hub, g)
	if got := hub.state(); got != "Order|paint|pending" {
		t.Fatalf("the issues are %s", got)
	}
	g.edits(1, func(t *hallTask) { t.Title, t.Status = "Order more", "done" })
	settle(t, h, hub, g)
	if got := hub.state(); got != "Order more|paint|done" || hub.writes != 2 || g.writes != 0 {
		t.Errorf("the issues are %s, %d writes there, %d here", got, hub.writes, g.writes)
	}
	// Who asks whether an issue changed that did not is told so, for nothing.
	reads := hub.reads
	g.edits(1, func(t *hallTask) { t.Title = "Order more" })
	settle(t, h, hub, g)
	if hub.reads != reads {
		t.Errorf("it read the issue %d times more", hub.reads-reads)
	}
}

func TestBothChange(t *testing.T) {
	t.Parallel()
	h, hub, g := world(t, nil)
	hub.somebody(func() { hub.add("Paint", "door") })
	settle(t, h, hub, g)
	hub.edits(1, "edited", func(i *fakeIssue) { i.Title = "Paint twice" })
	g.edits(1, func(t *hallTask) { t.Title, t.Description, t.Status = "Paint thrice", "door and wall", "done" })
	settle(t, h, hub, g)
	same(t, hub, g, 1)
	if got := g.state(); got != "Paint twice|door and wall|done" {
		t.Errorf("together they are %s", got)
	}
}

func TestAtTheSameTime(t *testing.T) {
	t.Parallel()
	h, hub, g := world(t, nil)
	hub.somebody(func() { hub.add("Paint", "door") })
	g.somebody(func() { g.add("Order", "paint", "pending", sdk.Reference{}) })
	hooks, events := hub.takeHooks(), g.takeEvents()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			d := newHook("issues", fmt.Sprintf("again-%d", i), hooks[0].body)
			if r, err := h.Receive("github", d.header, d.body); err != nil || r.Status != http.StatusOK {
				t.Errorf("delivered: %+v, %v", r, err)
			}
		})
		all.Go(func() {
			if _, err := h.Hear(events[0]); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	settle(t, h, hub, g)
	same(t, hub, g, 2)
}

func TestALostAnswer(t *testing.T) {
	t.Parallel()
	h, hub, g := world(t, nil)
	g.somebody(func() { g.add("Order", "paint", "pending", sdk.Reference{}) })
	e := g.takeEvents()[0]
	hub.hangUp = true
	if done, err := h.Hear(e); done != 0 || err == nil {
		t.Fatalf("heard %d, %v", done, err)
	}
	if done, err := h.Hear(e); done != 1 || err != nil {
		t.Fatalf("heard %d, %v", done, err)
	}
	settle(t, h, hub, g)
	same(t, hub, g, 1)
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	h, hub, g := world(t, nil)
	g.somebody(func() { g.add("Order", "paint", "pending", sdk.Reference{}) })
	hub.limited = 1
	if done, err := h.Hear(g.takeEvents()[0]); done != 1 || err != nil {
		t.Fatalf("heard %d, %v", done, err)
	}
	waiting := h.Tasks()
	if len(waiting) != 1 || time.Until(waiting[0].At) < 5*time.Minute {
		t.Fatalf("waits: %+v", waiting)
	}
	settle(t, h, hub, g)
	same(t, hub, g, 1)
	hub.limited = 1
	if err := h.RunSchedule("reconcile"); err != nil {
		t.Error(err)
	}
}

func TestReconcile(t *testing.T) {
	t.Parallel()
	h, hub, g := world(t, nil)
	hub.somebody(func() {
		for n := range 120 {
			hub.add(fmt.Sprintf("Issue %03d", n), "")
		}
		hub.issues[3].PullRequest = m{"url": "x"}
		hub.issues[3].Title = "pull"
	})
	hub.takeHooks() // the webhook did not work
	reconcile := func(n int) {
		t.Helper()
		if err := h.RunSchedule("reconcile"); err != nil {
			t.Fatal(err)
		}
		if got := len(strings.Split(g.state(), "\n")); got != n || strings.Contains(g.state(), "pull") {
			t.Errorf("%d tasks, want %d", got, n)
		}
	}
	reconcile(119)
	writes := g.writes
	reconcile(119)
	if g.writes != writes || hub.writes != 0 {
		t.Errorf("nothing changed, and it wrote %d and %d times", g.writes-writes, hub.writes)
	}
	hub.edits(7, "edited", func(i *fakeIssue) { i.Title = "Edited" })
	hub.edits(9, "closed", func(i *fakeIssue) { i.State = "closed" })
	hub.somebody(func() { hub.add("New", "") })
	hub.takeHooks()
	reconcile(120)
	if got := g.state(); !strings.Contains(got, "Edited||pending") || !strings.Contains(got, "Issue 008||done") || !strings.Contains(got, "New||pending") {
		t.Errorf("not healed: %s", got)
	}
}

func TestStrangers(t *testing.T) {
	t.Parallel()
	h, hub, g := world(t, nil)
	g.somebody(func() { g.add("Secret", "plan", "pending", sdk.Reference{}) })
	settle(t, h, hub, g)
	// Somebody copies the marker of an issue into one of their own.
	copied := *hub.issues[0].Body
	hub.somebody(func() { hub.add("Mine", copied) })
	hub.somebody(func() { hub.add("Forged", strings.Replace(copied, "000000000001 ", "000000000002 ", 1)) })
	settle(t, h, hub, g)
	if got := g.state(); !strings.Contains(got, "Secret|plan|pending") || len(strings.Split(got, "\n")) != 3 {
		t.Errorf("the tasks are %s", got)
	}

	hub.somebody(func() { hub.add("Unsigned", "") })
	d := hub.takeHooks()[0]
	for _, signature := range []string{"", "sha256=", "sha256=00", "sha1=" + d.header.Get("X-Hub-Signature-256")[7:]} {
		bad := hook{d.header.Clone(), d.body}
		bad.header.Set("X-Hub-Signature-256", signature)
		deliver(t, h, bad, http.StatusUnauthorized)
	}
	deliver(t, h, hook{d.header, append(d.body, ' ')}, http.StatusUnauthorized)
	deliver(t, h, newHook("ping", "p", []byte(`{"zen": "x"}`)), http.StatusOK)
	deliver(t, h, newHook("issues", "o", []byte(`{"action": "opened", "issue": {"number": 1}, "repository": {"full_name": "evil/web"}}`)), http.StatusAccepted)
	deliver(t, h, newHook("issues", "f", []byte(`payload=%7B%7D`)), http.StatusBadRequest)
	deliver(t, h, newHook("push", "x", []byte(`{}`)), http.StatusAccepted)
}

func TestGone(t *testing.T) {
	t.Parallel()
	h, hub, g := world(t, nil)
	hub.somebody(func() { hub.add("Paint", "") })
	settle(t, h, hub, g)
	now := time.Now()
	g.edits(1, func(t *hallTask) { t.DeletedAt = &now })
	settle(t, h, hub, g)
	hub.edits(1, "edited", func(i *fakeIssue) { i.Title = "Paint it" })
	settle(t, h, hub, g)
	if got := g.state(); got != "Paint||pending" || hub.writes != 0 {
		t.Errorf("the tasks are %s; %d writes there", got, hub.writes)
	}
}

func TestComments(t *testing.T) {
	t.Parallel()
	h, hub, g := world(t, m{"comments": "both"})
	hub.somebody(func() {
		i := hub.add("Paint", "")
		hub.tell("issue_comment", "created", i, m{"id": 7, "body": "In @[all](user:0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07) red?", "user": m{"login": "ann"}})
	})
	settle(t, h, hub, g)
	g.somebody(func() {
		g.happens("comment.created", "0198c1f2-7b1e-7c3a-9d52-0000000000c1", m{"task_id": g.tasks[0].ID, "project_id": project, "body": "Yes, @ann."}, sdk.Reference{})
	})
	settle(t, h, hub, g)
	if len(g.comments) != 1 || g.comments[0] != "**ann** on GitHub:\n\nIn @[all](0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07) red?" {
		t.Errorf("comments here: %q", g.comments)
	}
	if c := hub.comments[1]; len(c) != 1 || !strings.HasPrefix(c[0], "Yes, @\u200bann.\n\n<!-- guildhall comment ") {
		t.Errorf("comments there: %q", c)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	h, hub, _ := world(t, nil)
	for want, more := range map[string]m{
		"/base_url": {"base_url": "github"}, "/closed_status": {"closed_status": "pending"}, "/webhook_secret": {"webhook_secret": "short"}, "/repo": {"repo": "acme"},
	} {
		s := m{"repo": repo, "token": "token", "webhook_secret": secret, "project_id": project, "base_url": hub.URL}
		for k, v := range more {
			s[k] = v
		}
		if bad, err := h.CheckSettings(s); err != nil || len(bad) != 1 || bad[0].Pointer != want {
			t.Errorf("%s: %v, %v", want, bad, err)
		}
	}
}

func TestConform(t *testing.T) {
	t.Parallel()
	plugintest.Conform(t.Context(), plugintest.Load(t, plugintest.Options{}), plugintest.Trial{}).Require(t)
}
