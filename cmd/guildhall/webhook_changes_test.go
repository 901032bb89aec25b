package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// gate is a receiver that lets each attempt wait until it is told what to
// answer.
type gate struct {
	url  string
	came chan *waitingAttempt
	shut chan struct{}
}

type waitingAttempt struct {
	header http.Header
	body   []byte
	answer chan int
}

func newGate(t testing.TB) *gate {
	g := &gate{came: make(chan *waitingAttempt, 1000), shut: make(chan struct{})}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		a := &waitingAttempt{r.Header.Clone(), body, make(chan int, 1)}
		g.came <- a
		select {
		case code := <-a.answer:
			w.WriteHeader(code)
		case <-g.shut:
			w.WriteHeader(http.StatusNoContent)
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(sync.OnceFunc(func() { close(g.shut) }))
	g.url = srv.URL
	return g
}

// next waits for an attempt.
func (g *gate) next(t testing.TB) *waitingAttempt {
	t.Helper()
	select {
	case a := <-g.came:
		return a
	case <-time.After(20 * time.Second):
		t.Fatal("no attempt came")
		return nil
	}
}

// create makes tasks, one after the other.
func (c *client) create(project string, n int) {
	c.w.t.Helper()
	for range n {
		c.post("/v1/projects/"+project+"/tasks", m{"title": "Tile"}).want(201)
	}
}

func (w *world) number(sql string, args ...any) int64 {
	w.t.Helper()
	for _, v := range w.sql(sql, args...)[0] {
		return v.(int64)
	}
	return 0
}

// What waits behind a delivery that is under way when the endpoint becomes
// ordered gets its turn.
func TestWebhookBecomesOrderedWhileSending(t *testing.T) {
	t.Parallel()
	y := newHookYard(t)
	g := newGate(t)
	hook := y.ada.hook(g.url, m{"event_types": []string{"task.*"}, "timeout_seconds": 30}).str("id")
	y.settle()
	defer y.atWork()()
	// Retention, which runs once at the start, would put the queue right.
	waitFor(t, 30*time.Second, "retention has run", func() bool {
		return y.number(`select count(*) from river_job where kind = 'webhooks.drop_partitions' and state = 'completed'`) > 0
	})
	task := y.ada.post("/v1/projects/"+y.project+"/tasks", m{"title": "One"}).want(201).str("id")
	first := g.next(t)
	y.ada.create(y.project, 1)
	other := g.next(t) // keeps the drain at work, and so what repairs away
	y.patch(hook, m{"ordering": "by_subject"})
	y.ada.patch("/v1/tasks/"+task, m{"title": "Two"}).want(200)
	waiting := func() int64 { return y.number(`select count(*) from webhook_queue where due_at = 'infinity'`) }
	waitFor(t, 20*time.Second, "the second event waits", func() bool { return waiting() == 1 })
	first.answer <- 204
	waitFor(t, 20*time.Second, "the second event takes its turn", func() bool { return waiting() == 0 })
	other.answer <- 204
	g.next(t).answer <- 204
	waitFor(t, 20*time.Second, "nothing is queued", func() bool { return y.number(`select count(*) from webhook_queue`) == 0 })
}

// Of what failed under way when the endpoint became ordered, the first of a
// subject goes first.
func TestWebhookBecomesOrderedWhileFailing(t *testing.T) {
	t.Parallel()
	y := newHookYard(t)
	g := newGate(t)
	hook := y.ada.hook(g.url, m{"event_types": []string{"task.*"}, "timeout_seconds": 30, "retry_schedule": []int{1, 1, 1, 1, 1}}).str("id")
	y.settle()
	defer y.atWork()()
	task := y.ada.post("/v1/projects/"+y.project+"/tasks", m{"title": "One"}).want(201).str("id")
	first := g.next(t)
	y.ada.patch("/v1/tasks/"+task, m{"title": "Two"}).want(200)
	second := g.next(t)
	y.patch(hook, m{"ordering": "by_subject"})
	waiting := func() int64 { return y.number(`select count(*) from webhook_queue where due_at = 'infinity'`) }
	waitFor(t, 20*time.Second, "the second event waits", func() bool { return waiting() == 1 })
	second.answer <- 500
	waitFor(t, 20*time.Second, "its failure is recorded", func() bool { return y.number(`select count(*) from webhook_attempts`) == 1 })
	if waiting() != 1 {
		t.Error("the second event is to be sent again while the first is under way")
	}
	first.answer <- 500
	for _, code := range []int{500, 500, 204} {
		a := g.next(t)
		if got, want := a.header.Get("Webhook-Id"), first.header.Get("Webhook-Id"); got != want {
			t.Fatalf("%s came, want %s, which is the first", got, want)
		}
		if code == 204 && waiting() != 1 {
			t.Error("the second event does not wait for the first")
		}
		a.answer <- code
	}
	last := g.next(t)
	if got, want := last.header.Get("Webhook-Id"), second.header.Get("Webhook-Id"); got != want {
		t.Errorf("%s came, want %s, which is the second", got, want)
	}
	last.answer <- 204
	waitFor(t, 20*time.Second, "nothing is queued", func() bool { return y.number(`select count(*) from webhook_queue`) == 0 })
}

// What was learnt of an endpoint before it was disabled and enabled is
// forgotten, also by a drain that is at work meanwhile.
func TestWebhookHealthIsForgottenWhileSending(t *testing.T) {
	t.Parallel()
	y := newHookYard(t)
	g := newGate(t)
	hook := y.ada.hook(g.url, m{"event_types": []string{"task.created"}, "retry_schedule": []int{3600}}).str("id")
	y.settle()
	stop := sync.OnceFunc(y.atWork())
	defer stop()
	y.ada.create(y.project, 2)
	failed, slow := g.next(t), g.next(t)
	failed.answer <- 500
	waitFor(t, 20*time.Second, "the failure is recorded", func() bool { return y.number(`select count(*) from webhook_attempts`) == 1 })
	y.patch(hook, m{"enabled": false})
	y.patch(hook, m{"enabled": true})
	y.ada.create(y.project, 1)
	var third *waitingAttempt
	select {
	case third = <-g.came:
		slow.answer <- 500
	case <-time.After(8 * time.Second): // the drain's time was over: another one comes
		slow.answer <- 500
		third = g.next(t)
	}
	waitFor(t, 20*time.Second, "the second failure is recorded", func() bool { return y.number(`select count(*) from webhook_attempts`) == 2 })
	third.answer <- 204
	waitFor(t, 20*time.Second, "the endpoint is given back", func() bool {
		return y.number(`select count(*) from webhook_dispatch where lease_until is null`) == 1 && y.number(`select count(*) from webhook_attempts`) == 3
	})
	stop()
	if d := y.sql(`select window_failed, window_delivered, failing_since is null as well from webhook_dispatch`)[0]; d["window_failed"] != int32(0) || d["well"] != true {
		t.Errorf("the health says %v; the failures were before it was enabled", d)
	}
}

// After a rotation without an overlap nothing is signed with the old secret but
// what was sent in that second, however much was fetched before.
func TestWebhookRotationReachesWhatIsFetched(t *testing.T) {
	t.Parallel()
	y := newHookYard(t)
	r := newReceiver(t)
	made := y.ada.hook(r.url, m{"event_types": []string{"task.created"}, "rate_limit": 2})
	y.settle()
	defer y.atWork()()
	y.ada.create(y.project, 8)
	waitFor(t, 20*time.Second, "the first came", func() bool { return r.count() > 0 })
	rotated := y.ada.post("/v1/webhook-endpoints/"+made.str("id")+"/rotate-secret", m{"overlap_hours": 0}).want(200).str("secret")
	after := time.Now().Add(time.Second)
	waitFor(t, 30*time.Second, "all came", func() bool { return r.count() == 8 })
	verifier, late := verifierOf(t, rotated), 0
	for _, g := range r.all() {
		if g.at.Before(after) {
			continue
		}
		if late++; verifier.Verify(g.body, g.header) != nil {
			t.Errorf("event %d came %s after the rotation and is not signed with the new secret", g.sequence, g.at.Sub(after)+time.Second)
		}
	}
	if late == 0 {
		t.Error("all came before the rotation")
	}
}

// Organisations whose receivers never answer leave room for one that has
// nothing under way.
func TestWebhookSlowOrganizationsLeaveRoom(t *testing.T) {
	t.Parallel()
	w := hookWorld(t)
	person := w.person("ada")
	var hanging atomic.Int64
	shut := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		hanging.Add(1)
		select {
		case <-shut:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(srv.Close)
	const organizations, each = 6, 12
	slow := make([]*client, organizations)
	projects := make([]string, organizations)
	for i := range slow {
		slow[i] = person.organization(fmt.Sprint("Slow ", i))
		for range each {
			slow[i].hook(srv.URL, m{"event_types": []string{"task.created"}, "timeout_seconds": 30})
		}
		projects[i] = slow[i].post("/v1/projects", m{"name": "Roof", "key": "ROOF"}).want(201).str("id")
	}
	fresh, r := person.organization("Fresh"), newReceiver(t)
	fresh.hook(r.url, m{"event_types": []string{"task.created"}})
	project := fresh.post("/v1/projects", m{"name": "Roof", "key": "ROOF"}).want(201).str("id")
	w.settle()
	stop := w.atWork()
	defer func() { close(shut); stop() }()
	for i, c := range slow {
		c.create(projects[i], 1)
	}
	waitFor(t, 30*time.Second, "the slow ones hang", func() bool { return hanging.Load() >= 48 })
	began := time.Now()
	fresh.create(project, 1)
	waitFor(t, 8*time.Second, "the fresh organisation's event came", func() bool { return r.count() == 1 })
	proved(t, "beside %d endpoints that never answer another organisation's first event came after %s", hanging.Load(), time.Since(began).Round(time.Millisecond))
}

// A drain that turns to other endpoints and stays with one that never answers
// keeps nothing from the endpoint that it was sent for.
func TestWebhookSlowEndpointsHoldUpNoOther(t *testing.T) {
	t.Parallel()
	w := hookWorld(t)
	ada := w.person("ada")
	slow, quick := ada.organization("Slow"), ada.organization("Quick")
	var hangs atomic.Bool
	var hanging atomic.Int64
	shut := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if !hangs.Load() {
			rw.WriteHeader(http.StatusInternalServerError)
			return
		}
		hanging.Add(1)
		select {
		case <-shut:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(srv.Close)
	const rounds = 6
	for range rounds {
		slow.hook(srv.URL, m{"event_types": []string{"task.created"}, "timeout_seconds": 30, "retry_schedule": []int{3600}})
	}
	r := newReceiver(t)
	hook := quick.hook(r.url, m{"event_types": []string{"task.created"}}).str("id")
	project := quick.post("/v1/projects", m{"name": "Roof", "key": "ROOF"}).want(201).str("id")
	slow.create(slow.post("/v1/projects", m{"name": "Roof", "key": "ROOF"}).want(201).str("id"), 1)
	w.settle() // each slow one has an event that is to be sent once more
	hangs.Store(true)
	stop := w.atWork()
	defer func() { close(shut); stop() }()
	var longest time.Duration
	send := func() {
		n, began := r.count(), time.Now()
		quick.create(project, 1)
		waitFor(t, 20*time.Second, "the event came", func() bool { return r.count() > n })
		longest = max(longest, time.Since(began))
	}
	send()
	for n := range int64(rounds) {
		// Due, and the ticks take it for served: only a drain that looks around finds it.
		w.sql(`with one as (
				select tenant_id, endpoint_id from webhook_dispatch where endpoint_id <> $1 and (lease_until is null or lease_until < now()) and due_at < 'infinity' limit 1
			), q as (
				update webhook_queue q set due_at = now() from one where q.tenant_id = one.tenant_id and q.endpoint_id = one.endpoint_id
			)
			update webhook_dispatch d set due_at = now(), nudged_at = now() + interval '1 hour'
			from one where d.tenant_id = one.tenant_id and d.endpoint_id = one.endpoint_id`, hook)
		send()
		waitFor(t, 20*time.Second, "a drain hangs", func() bool { return hanging.Load() > n })
		for range 3 {
			send()
			waitFor(t, 20*time.Second, "the endpoint is given back", func() bool {
				return w.number(`select count(*) from webhook_dispatch where endpoint_id = $1 and lease_until is null`, hook) == 1
			})
		}
	}
	if longest > 2*time.Second { // a tick comes after three
		t.Errorf("an event came after %s", longest)
	}
	proved(t, "while drains hung with %d endpoints, another's %d events came within %s each", hanging.Load(), r.count(), longest.Round(time.Millisecond))
}

// Settings change at random while deliveries are under way; in the end nothing
// is stuck, and every event is accounted for.
func TestWebhookChangesWhileSending(t *testing.T) {
	t.Parallel()
	y := newHookYard(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 0))
	var failing atomic.Bool
	answer := func(g received) int {
		if failing.Load() && g.sequence%3 == 0 {
			return 500
		}
		return 204
	}
	receivers := []*receiver{newReceiver(t), newReceiver(t)}
	var hooks []string
	for _, r := range receivers {
		r.answers(answer)
		hooks = append(hooks, y.ada.hook(r.url, m{"event_types": []string{"task.*"}, "retry_schedule": []int{0, 0, 1, 1, 1, 1, 1}}).str("id"))
	}
	hidden := y.ada.post("/v1/projects", m{"name": "Hidden", "key": "HID", "visibility": "private"}).want(201).str("id")
	y.settle()
	stop := sync.OnceFunc(y.atWork())
	defer stop()
	var made []string
	steps := count(60, 2000)
	for range steps {
		hook := hooks[chance.IntN(len(hooks))]
		switch chance.IntN(10) {
		case 0:
			y.patch(hook, m{"enabled": chance.IntN(3) > 0})
		case 1, 2:
			y.patch(hook, m{"ordering": []string{"none", "by_subject"}[chance.IntN(2)]})
		case 3:
			y.patch(hook, m{"include_private": chance.IntN(2) == 0})
		case 4:
			y.patch(hook, m{"url": receivers[chance.IntN(len(receivers))].url})
		case 5:
			failing.Store(chance.IntN(2) == 0)
		case 6:
			y.ada.post("/v1/webhook-endpoints/"+hook+"/rotate-secret", m{"overlap_hours": 0}).want(200)
		default:
			project := []string{y.project, hidden}[chance.IntN(2)]
			if len(made) < 4 || chance.IntN(4) == 0 {
				made = append(made, y.ada.post("/v1/projects/"+project+"/tasks", m{"title": "One"}).want(201).str("id"))
			}
			for i := range 3 {
				y.ada.patch("/v1/tasks/"+made[chance.IntN(len(made))], m{"title": fmt.Sprint("Two ", i, chance.IntN(1000))}).want(200)
			}
		}
	}
	failing.Store(false)
	for _, hook := range hooks {
		y.patch(hook, m{"enabled": true})
	}
	waitFor(t, time.Minute, "nothing is under way", func() bool {
		return y.number(`select (select count(*) from event_pending) + (select count(*) from event_batches) + (select count(*) from webhook_queue)
			+ (select count(*) from webhook_dispatch where lease_until is not null) as n`) == 0
	})
	stop()
	var figures []string
	for _, hook := range hooks {
		d := y.whole(hook)
		if d["pending"] != 0 || d["failed"] != 0 {
			t.Errorf("%v", d)
		}
		raw, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		figures = append(figures, string(raw))
	}
	proved(t, "%d random changes and events while sending: nothing was stuck, %s", steps, strings.Join(figures, ", "))
}
