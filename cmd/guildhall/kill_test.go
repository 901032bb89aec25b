package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestKillLosesNothing ends guildhall, its Postgres, or both with kill -9 while
// people write, again and again. What was acknowledged must be there, once;
// what was not may be sent again under its key; and the log of events must
// have neither gap nor duplicate.
func TestKillLosesNothing(t *testing.T) {
	t.Parallel()
	in := newInstance(t, "GUILDHALL_RATE_LIMIT=off", "GUILDHALL_DEMO=off")
	p := in.start(time.Minute)
	k := newKillTest(t, in, p)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 0))
	rounds := count(3, 50)
	var longest time.Duration
	for round := range rounds {
		k.writeUntilKilled(p, round%3, time.Duration(chance.Int64N(int64(1500*time.Millisecond))))
		p = in.start(10 * time.Second)
		longest = max(longest, p.took)
		k.moveTo(p)
		for _, w := range k.writers {
			w.again()
		}
	}
	k.check()
	p.stop(syscall.SIGINT)
	writes := 0
	for _, w := range k.writers {
		writes += len(w.done)
	}
	proved(t, "%d kills, %d acknowledged writes, %d of them sent again, the longest start took %s",
		rounds, writes, k.repeats(), longest.Round(time.Millisecond))
}

type killTest struct {
	t       *testing.T
	in      *instance
	people  []*client
	project string
	writers []*writer
}

// writer is one person's program: it sends one write after the other and
// remembers what was answered.
type writer struct {
	t       *testing.T
	client  *client
	project string
	number  int
	sent    int
	done    []write
	open    *write // sent, not answered
	repeats int
}

// write is one request under a key of its own.
type write struct {
	method, path, key string
	body              m
	kind              string // create, patch, comment
	task              string // of a patch and a comment; of a create once answered
	answer            *reply
}

func newKillTest(t *testing.T, in *instance, p *process) *killTest {
	world := p.world()
	ada, ben := world.person("Ada"), world.person("Ben")
	ada = ada.organization("Hall")
	in.sql(`with u as (update guildhall.users set email_verified_at = now() returning id) select count(*) from u`) // who invites has a confirmed address
	ada.post("/v1/invitations", m{"email": ben.email, "role": "member"}).want(201)
	ben.post("/v1/invitations/accept", m{"token": in.invitation(ben.email)}).want(200)
	ben = ben.in(ada.org)
	k := &killTest{t: t, in: in, people: []*client{ada, ben}}
	k.project = ada.post("/v1/projects", m{"name": "Roof", "key": "ROOF"}).want(201).str("id")
	for i := range 6 {
		k.writers = append(k.writers, &writer{t: t, client: k.people[i%2], project: k.project, number: i})
	}
	return k
}

// moveTo logs everybody in to the process that runs now.
func (k *killTest) moveTo(p *process) {
	world := p.world()
	for _, c := range k.people {
		c.w = world
		c.login()
	}
}

// writeUntilKilled lets all write for a while and then kills: 0 guildhall,
// 1 its Postgres first and guildhall right after, 2 Postgres alone, at which
// guildhall ends by itself.
func (k *killTest) writeUntilKilled(p *process, what int, after time.Duration) {
	k.t.Helper()
	var all sync.WaitGroup
	for _, w := range k.writers {
		all.Go(w.run)
	}
	<-time.After(after)
	switch what {
	case 0:
		p.kill()
	case 1:
		_ = syscall.Kill(p.server, syscall.SIGKILL)
		p.kill()
	case 2:
		_ = syscall.Kill(p.server, syscall.SIGKILL)
		p.wait(30 * time.Second)
		if p.cmd.ProcessState.Success() {
			k.t.Errorf("guildhall lost its database and called it a success:\n%s", p.log)
		}
	}
	all.Wait()
}

// run writes until one goes unanswered.
func (w *writer) run() {
	for w.send(w.next()) {
	}
}

// next makes up a write: new tasks, other titles and comments for tasks that
// were answered before.
func (w *writer) next() write {
	w.sent++
	n := write{method: http.MethodPost, key: fmt.Sprintf("w%d-%d-%d", w.number, w.sent, rand.Uint64())}
	old := ""
	if created := w.of("create"); len(created) > 0 {
		old = created[w.sent*7%len(created)].task
	}
	switch {
	case old != "" && w.sent%5 == 1:
		n.kind, n.task, n.path, n.body = "comment", old, "/v1/tasks/"+old+"/comments", m{"body": n.key}
	case old != "" && w.sent%5 > 2:
		n.kind, n.method, n.task, n.path, n.body = "patch", http.MethodPatch, old, "/v1/tasks/"+old, m{"title": n.key}
	default:
		n.kind, n.path, n.body = "create", "/v1/projects/"+w.project+"/tasks", m{"title": "new", "description": n.key}
	}
	return n
}

func (w *writer) of(kind string) (out []write) {
	for _, d := range w.done {
		if d.kind == kind {
			out = append(out, d)
		}
	}
	return out
}

// send reports whether the server answered the write. A dying server may cut
// the connection or say 5xx; both leave the write open.
func (w *writer) send(n write) bool {
	r, err := w.client.try(n.method, n.path, n.body, "Idempotency-Key: "+n.key)
	if err != nil || r.status >= 500 {
		w.open = &n
		return false
	}
	if r.status != http.StatusCreated && r.status != http.StatusOK {
		w.t.Errorf("%s %s: status %d: %s", n.method, n.path, r.status, r.body)
		return false
	}
	n.answer = r
	if n.kind == "create" {
		n.task = r.str("id")
	}
	w.done = append(w.done, n)
	return true
}

// again sends what was left open under its key, and the last answered write
// too, which must answer the same.
func (w *writer) again() {
	w.t.Helper()
	if len(w.done) > 0 {
		last := w.done[len(w.done)-1]
		r := w.client.do(last.method, last.path, last.body, "Idempotency-Key: "+last.key)
		if r.status != last.answer.status || string(r.body) != string(last.answer.body) {
			w.t.Errorf("%s %s again: %d %s, before %d %s", last.method, last.path, r.status, r.body, last.answer.status, last.answer.body)
		}
	}
	if w.open == nil {
		return
	}
	n := *w.open
	if w.open = nil; !w.send(n) {
		w.t.Fatalf("%s %s is refused when it is sent again", n.method, n.path)
	}
	w.repeats++
}

func (k *killTest) repeats() (n int) {
	for _, w := range k.writers {
		n += w.repeats
	}
	return n
}

// check holds what was answered against what is there.
func (k *killTest) check() {
	k.t.Helper()
	k.in.until(4*time.Minute, "everything is relayed and heard", func() bool {
		return k.in.sql(`select (select count(*) from guildhall.event_pending) + (select count(*) from guildhall.event_batches)`) == 0
	})
	if n := k.in.sql(`select count(*) from river.river_job where state in ('discarded', 'cancelled')`); n != 0 {
		k.t.Errorf("%d jobs were given up", n)
	}
	expected := k.expected()
	k.checkTasks(expected)
	k.checkEvents(expected)
	k.checkWatchers(expected)
}

// fate is what should have become of a task.
type fate struct {
	description, title string
	number             int64
	patches            int
	comments           map[string]bool // ids
	commenters         map[string]bool
}

func (k *killTest) expected() map[string]*fate {
	out := map[string]*fate{}
	for _, w := range k.writers {
		for _, d := range w.done {
			f := out[d.task]
			switch d.kind {
			case "create":
				if f != nil {
					k.t.Errorf("two creates were answered with task %s", d.task)
				}
				out[d.task] = &fate{
					description: d.key, title: "new", number: d.answer.num("number"), comments: map[string]bool{}, commenters: map[string]bool{},
				}
			case "patch":
				f.title, f.patches = d.key, f.patches+1
			case "comment":
				f.comments[d.answer.str("id")] = true
				f.commenters[w.client.user] = true
			}
		}
	}
	return out
}

type taskRow struct {
	ID          string `json:"id"`
	Number      int64  `json:"number"`
	Title       string `json:"title"`
	Description string `json:"description"`
}

func (k *killTest) checkTasks(expected map[string]*fate) {
	k.t.Helper()
	rows := everyRow[taskRow](k.people[0], "/v1/projects/"+k.project+"/tasks?limit=200")
	if len(rows) != len(expected) {
		k.t.Errorf("%d tasks are there, %d were answered", len(rows), len(expected))
	}
	numbers := map[int64]bool{}
	for _, r := range rows {
		f := expected[r.ID]
		switch {
		case f == nil:
			k.t.Errorf("nobody was told of task %d", r.Number)
		case r.Title != f.title || r.Description != f.description || r.Number != f.number:
			k.t.Errorf("task %+v, want %+v", r, *f)
		}
		if numbers[r.Number] {
			k.t.Errorf("two tasks have number %d", r.Number)
		}
		numbers[r.Number] = true
	}
}

type eventRow struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	Sequence int64  `json:"sequence"`
	Subject  struct {
		ID string `json:"id"`
	} `json:"subject"`
}

func (k *killTest) checkEvents(expected map[string]*fate) {
	k.t.Helper()
	seen, ids := map[string]int{}, map[string]bool{}
	var last int64
	for after := ""; ; {
		path := "/v1/events?limit=200"
		if after != "" {
			path += "&after=" + after
		}
		r := k.people[0].get(path).want(200)
		var page struct {
			Data []eventRow `json:"data"`
			Next string     `json:"next_cursor"`
		}
		r.into(&page)
		for _, e := range page.Data {
			if e.Sequence != last+1 {
				k.t.Fatalf("event %d follows %d", e.Sequence, last)
			}
			if last++; ids[e.ID] {
				k.t.Errorf("event %s is there twice", e.ID)
			}
			ids[e.ID] = true
			seen[e.Type+" "+e.Subject.ID]++
		}
		if after = page.Next; len(page.Data) == 0 {
			break
		}
	}
	if n := k.in.sql(`select max(last_sequence) from guildhall.event_counters`); int64(n) != last {
		k.t.Errorf("the feed ends at %d, the counter at %d", last, n)
	}
	want := map[string]int{}
	for id, f := range expected {
		want["task.created "+id]++
		if f.patches > 0 {
			want["task.updated "+id] = f.patches
		}
		for c := range f.comments {
			want["comment.created "+c]++
		}
	}
	for what, n := range want {
		if seen[what] != n {
			k.t.Errorf("%s: %d events, want %d", what, seen[what], n)
		}
	}
	for what, n := range seen {
		kind, _, _ := strings.Cut(what, " ")
		if want[what] == 0 && (kind == "task.created" || kind == "task.updated" || kind == "comment.created") {
			k.t.Errorf("%s: %d events of nothing that was answered", what, n)
		}
	}
}

// checkWatchers sees that the listener heard of every comment: who comments
// watches the task.
func (k *killTest) checkWatchers(expected map[string]*fate) {
	k.t.Helper()
	for id, f := range expected {
		if len(f.commenters) == 0 {
			continue
		}
		watches := map[string]bool{}
		for _, r := range everyRow[watcherRow](k.people[0], "/v1/tasks/"+id+"/watchers?limit=200") {
			watches[r.UserID] = true
		}
		for who := range f.commenters {
			if !watches[who] {
				k.t.Errorf("%s commented on task %d and does not watch it", who, f.number)
			}
		}
	}
}

type watcherRow struct {
	UserID string `json:"user_id"`
}

// everyRow follows a list to its end; the path has a query.
func everyRow[T any](c *client, path string) (out []T) {
	c.w.t.Helper()
	for next := ""; ; {
		var page struct {
			Data []T             `json:"data"`
			Next json.RawMessage `json:"next_cursor"`
		}
		c.get(path + next).want(200).into(&page)
		out = append(out, page.Data...)
		cursor, err := strconv.Unquote(string(page.Next))
		if err != nil { // null
			return out
		}
		next = "&cursor=" + cursor
	}
}
