package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// A stored reply is given again only to who may still see what it is about.
func TestReplayAsksForTheProjectAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	bob := w.join(ann, w.person("bob"), "member")
	project := ann.post("/v1/projects", m{"name": "Hidden", "visibility": "private"}).want(201).str("id")
	ann.post("/v1/projects/"+project+"/members", m{"user_id": bob.user, "role": "contributor"}).want(201)
	path, key := "/v1/projects/"+project+"/tasks", "Idempotency-Key: k"
	first := bob.post(path, m{"title": "x"}, key).want(201)
	if again := bob.post(path, m{"title": "x"}, key).want(201); again.str("id") != first.str("id") || again.header("Idempotency-Replayed") != "true" {
		t.Fatalf("the repeat gave %s", again.body)
	}
	ann.delete("/v1/projects/" + project + "/members/" + bob.user).want(204)
	bob.post(path, m{"title": "x"}, key).want(404).code("not_found")
	// Nor is it given to somebody else, or for another request.
	ann.post(path, m{"title": "x"}, key).want(201)
	ann.post(path, m{"title": "y"}, key).want(422).code("idempotency_mismatch")
	ann.post(path, m{"title": "x"}, "Idempotency-Key:").want(422)
	ann.post(path, m{"title": "x"}, "Idempotency-Key: "+strings.Repeat("k", 256)).want(422)
	w.nobody().post("/v1/auth/register", m{"username": "x", "email": "x@example.test", "password": testPassword}).want(201)
}

// Copies of one request that meet on two replicas have one effect.
func TestIdempotencyAcrossReplicas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w2 := newWorldOn(t, w.db, w.app.cfg.DataDir)
	ann := w.person("ann").organization("Acme")
	project := ann.post("/v1/projects", m{"name": "P"}).want(201).str("id")
	there := *ann
	there.w = w2
	for round := range count(5, 1000) {
		var g errgroup.Group
		answers := make([]*reply, 20)
		for i := range answers {
			g.Go(func() (err error) {
				answers[i], err = []*client{ann, &there}[i%2].try("POST", "/v1/projects/"+project+"/tasks", m{"title": "x"}, fmt.Sprint("Idempotency-Key: ", round))
				return err
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		for _, r := range answers {
			if r.want(201); string(r.body) != string(answers[0].body) {
				t.Fatalf("two answers:\n%s\n%s", r.body, answers[0].body)
			}
		}
	}
	n := ann.get("/v1/projects/" + project + "/tasks?include=total").want(200).num("total")
	if n != int64(count(5, 1000)) {
		t.Fatalf("%d tasks", n)
	}
	proved(t, "%d keys, 20 copies each on two replicas: %d effects, equal answers", n, n)
}

// What is not text gets no further than the door, wherever it stands.
func TestHostileAddresses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	for _, path := range []string{
		"/v1/tasks?search=%00", "/v1/projects?search=%ff", "/v1/audit-log?operation=%ff", "/v1/tasks?%ff=1", "/v1/tasks/%00", "/v1/projects?cursor=%00",
	} {
		if r := ann.do("GET", path, nil); r.status < 400 || r.status > 499 {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	ann.do("POST", "/v1/auth/login", m{"email": ann.email, "password": testPassword}, "User-Agent: \xff\xfe").want(200)
}

// Bad credentials cost their address tokens. An empty bucket refuses further
// ones, and keys that nobody has seen before, but nobody who has proven who he
// is.
func TestRateLimitOfBadCredentials(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, "GUILDHALL_RATE_LIMIT=on")
	ann := w.person("ann").organization("Acme")
	key := func() string {
		return ann.post("/v1/api-keys", m{"name": "k", "permissions": []string{"tasks.read"}}).want(201).str("key")
	}
	used := ann.with(key())
	used.get("/v1/tasks").want(200)
	ben := w.person("ben")
	stranger := w.nobody().with("nonsense")
	seen := map[int]int{}
	for range 300 {
		r, err := stranger.try("GET", "/v1/tasks", nil)
		if err != nil {
			t.Fatal(err)
		}
		if seen[r.status]++; r.status == http.StatusTooManyRequests && r.header("Retry-After") == "" {
			t.Fatal("a 429 without Retry-After")
		}
	}
	if seen[401] < 150 || seen[429] < 50 {
		t.Fatalf("answers: %v", seen)
	}
	exhaust := func() {
		for range 1000 {
			if r, err := stranger.try("GET", "/v1/tasks", nil); err != nil || r.status == http.StatusTooManyRequests {
				return
			}
		}
	}
	for range 3 {
		for _, good := range []func(){
			func() { ann.get("/v1/tasks").want(200) },
			func() { used.get("/v1/tasks").want(200) },
			func() { used.in("").get("/v1/tasks").want(200) }, // not in the cache, but seen to be good
			func() { ben.get("/v1/users/me").want(200) },      // its signature is good
		} {
			exhaust()
			good()
		}
	}
	// The bucket fills again meanwhile, so one of several new keys is enough.
	for range 20 {
		unused := ann.with(key())
		exhaust()
		if r := unused.get("/v1/tasks"); r.status == http.StatusTooManyRequests {
			r.code("rate_limited")
			return
		}
	}
	t.Error("keys that were never seen pass the limit of an address that sends bad ones")
}

// An export by somebody whose rights were computed anew still comes whole.
func TestExportAfterARoleChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	ann.get("/v1/audit-log/export").want(200)
	ann.post("/v1/roles", m{"key": "extra", "name": "Extra", "permissions": []string{}}).want(201)
	if r := ann.get("/v1/audit-log/export").want(200); !strings.Contains(string(r.body), "role.created") {
		t.Fatalf("the export lacks the change: %.200s", r.body)
	}
}

// A first start that was cut before it could show the password is made whole by
// the next one; one that was shown is left alone.
func TestDemoSurvivesACut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	if err := w.app.demo(ctx, brokenPipe{}); err == nil {
		t.Fatal("the demonstration went on without its reader")
	}
	if wanted, err := w.app.wantsDemo(ctx); err != nil || !wanted {
		t.Fatalf("after the cut: %v, %v", wanted, err)
	}
	var shown bytes.Buffer
	if err := w.app.demo(ctx, &shown); err != nil {
		t.Fatal(err)
	}
	password := regexp.MustCompile(`password +(\S+)`).FindStringSubmatch(shown.String())
	if password == nil {
		t.Fatalf("no password in %q", shown.String())
	}
	c := w.nobody()
	c.token = c.post("/v1/auth/login", m{"email": demoOwner, "password": password[1]}).want(200).str("access_token")
	if n := c.get("/v1/tasks?include=total").want(200).num("total"); n != 40 {
		t.Errorf("%d tasks", n)
	}
	if n := c.get("/v1/members").want(200).len("data"); n != 2 {
		t.Errorf("%d members", n)
	}
	if n := c.get("/v1/projects").want(200).len("data"); n != 2 {
		t.Errorf("%d projects", n)
	}
	if wanted, err := w.app.wantsDemo(ctx); err != nil || wanted {
		t.Errorf("a whole demonstration is wanted again: %v, %v", wanted, err)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// A value that no column or answer can hold, or that would be taken for one
// that is not there, is refused where it stands.
func TestValuesOutOfBounds(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	task := "/v1/tasks/" + b.task(m{"title": "x", "due_date": "1000-01-01"}).str("id")
	b.ann.patch(task, m{"due_date": "9999-12-31"}).want(200)
	key := func(at string) any { return m{"name": "k", "permissions": []string{"tasks.read"}, "expires_at": at} }
	b.ann.post("/v1/api-keys", key("9999-12-31T23:59:59Z")).want(201)
	none := "00000000-0000-0000-0000-000000000000"
	for _, c := range []struct {
		answer  *reply
		pointer string
	}{
		{b.ann.post(b.in(b.web), m{"title": "x", "due_date": "0000-01-01"}), "/due_date"},
		{b.ann.patch(task, m{"start_date": "0999-12-31"}), "/start_date"},
		{b.ann.post("/v1/tasks/bulk", m{"task_ids": []string{task[len("/v1/tasks/"):]}, "set": m{"due_date": "0001-01-01"}}), "/set/due_date"},
		{b.ann.get("/v1/tasks?due_before=0001-01-01"), "query.due_before"},
		{b.ann.get("/v1/tasks?due_after=0000-02-29"), "query.due_after"},
		{b.ann.get("/v1/tasks?project_id=" + none), "query.project_id"},
		{b.ann.post("/v1/api-keys", key("9999-12-31T23:59:59-01:00")), "/expires_at"},
		{b.ann.post("/v1/api-keys", key("0001-01-01T00:00:00+01:00")), "/expires_at"},
		{b.ann.get("/v1/audit-log?actor=" + none), "query.actor"},
		{b.ann.get("/v1/audit-log?subject=" + none), "query.subject"},
		{b.ann.get("/v1/audit-log?to=0001-01-01T00:00:00Z"), "query.to"},
		{b.ann.get("/v1/audit-log/export?from=0001-01-01T00:00:00Z"), "query.from"},
		{b.ann.get("/v1/access/explain?permission=tasks.read&user=" + none), "query.user"},
	} {
		if got := c.answer.want(422).str("errors.0.pointer"); got != c.pointer {
			t.Errorf("%s points at %q: %s", c.answer.what, got, c.answer.body)
		}
	}
	if got := b.ann.get("/v1/tasks?sort=-due_date&limit=1").want(200); got.len("data") != 1 {
		t.Errorf("tasks: %s", got.body)
	}
}

// A name in which nothing can be seen, or that breaks a line, is refused
// wherever people give one; blanks around it are dropped.
func TestNamesCanBeRead(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	task := "/v1/tasks/" + b.task(m{"title": "x", "labels": []string{"docs"}}).str("id")
	label := "/v1/labels/" + b.ann.get("/v1/labels").want(200).str("data.0.id")
	project := "/v1/projects/" + b.web
	role := "/v1/roles/" + b.ann.post("/v1/roles", m{"name": "Support", "permissions": []string{}}).want(201).str("id")
	for _, bad := range []string{"\u00a0", "\u2003 ", "a\tb", "a\u2028b", "\u200b"} {
		for pointer, answers := range map[string][]*reply{
			"/title": {b.ann.post(b.in(b.web), m{"title": bad}), b.ann.patch(task, m{"title": bad}), b.ann.put(task, m{"title": bad})},
			"/name": {
				b.ann.post("/v1/projects", m{"name": bad, "key": "BAD"}), b.ann.patch(project, m{"name": bad}), b.ann.put(project, m{"name": bad}),
				b.ann.post(project+"/states", m{"name": bad, "key": "bad", "group": "started"}), b.ann.patch(project+"/states/review", m{"name": bad}),
				b.ann.post("/v1/organizations", m{"name": bad}), b.ann.patch("/v1/organization", m{"name": bad}),
				b.ann.post("/v1/roles", m{"name": bad, "key": "bad", "permissions": []string{}}), b.ann.patch(role, m{"name": bad}),
				b.ann.post("/v1/api-keys", m{"name": bad, "permissions": []string{"tasks.read"}}),
			},
			"/username": {b.ann.patch("/v1/users/me", m{"username": bad})},
		} {
			for _, r := range answers {
				if got := r.want(422).str("errors.0.pointer"); got != pointer {
					t.Errorf("%s with the name %q points at %s: %s", r.what, bad, got, r.body)
				}
			}
		}
		if bad == "a\tb" || bad == "a\u2028b" { // blanks between the words of a label become one
			continue
		}
		b.ann.patch(task, m{"labels": []string{"docs", bad}}).want(422)
		b.ann.patch(label, m{"name": bad}).want(422)
	}
	if got := b.ann.patch(task, m{"title": "\u00a0x y\u3000", "labels": []string{"two\u00a0 words"}}).want(200); got.str("title") != "x y" || got.str("labels.0") != "two words" {
		t.Errorf("tidied: %s", got.body)
	}
}

// Any number of probes at once ask the database once.
func TestReadinessIsAskedOnceASecond(t *testing.T) {
	t.Parallel()
	var l lately
	var asked atomic.Int32
	boom := errors.New("boom")
	question := func() error { asked.Add(1); return boom }
	var g errgroup.Group
	for range 50 {
		g.Go(func() error {
			if err := l.ask(time.Hour, question); !errors.Is(err, boom) {
				return fmt.Errorf("answered %v", err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil || asked.Load() != 1 {
		t.Errorf("asked %d times, %v", asked.Load(), err)
	}
	if err := l.ask(0, func() error { return nil }); err != nil {
		t.Errorf("an old answer was given: %v", err)
	}

	w := newWorld(t)
	for range 3 {
		if r, err := w.nobody().try("GET", "/readyz", nil); err != nil || r.status != http.StatusOK {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	w.app.readiness.asked = time.Time{}
	w.app.db.Close()
	if r, err := w.nobody().try("GET", "/readyz", nil); err != nil || r.status != http.StatusServiceUnavailable {
		t.Fatalf("without a database: %+v, %v", r, err)
	}
}
