package main

import (
	"fmt"
	"sync"
	"testing"
)

// A listener whose job died with its process is found by its waiting batches.
func TestWebhookListenerJobThatDied(t *testing.T) {
	t.Parallel()
	w := hookWorld(t)
	ada := w.person("ada").organization("Hall")
	r := newReceiver(t)
	ada.hook(r.url, m{"event_types": []string{"project.created"}})
	w.settle()
	ada.post("/v1/projects", m{"name": "Roof", "key": "ROOF"}).want(201)
	if _, err := w.app.relay.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.sql(`update river.river_job set state = 'running', attempted_at = now() where kind = 'event.listen' and state = 'available'`)
	ada.post("/v1/projects", m{"name": "Wall", "key": "WALL"}).want(201)
	w.settle()
	if r.count() != 0 {
		t.Fatal("something came although the job is taken for running")
	}
	w.sql(`update event_batches set created_at = created_at - interval '10 seconds'`)
	w.settle()
	if r.count() != 2 {
		t.Errorf("%d events came, want 2", r.count())
	}
}

// A process at work hears and sends what it relays without jobs, one event
// after the other.
func TestWebhookAtWorkNeedsNoJobs(t *testing.T) {
	t.Parallel()
	w := hookWorld(t)
	ada := w.person("ada").organization("Hall")
	r := newReceiver(t)
	came := make(chan struct{}, 1)
	r.answers(func(received) int { came <- struct{}{}; return 204 })
	ada.hook(r.url, m{"event_types": []string{"task.created"}})
	project := ada.post("/v1/projects", m{"name": "Roof", "key": "ROOF"}).want(201).str("id")
	w.settle()
	w.sql(`delete from river_job`)
	defer w.atWork()()
	const events = 20
	for range events {
		ada.post("/v1/projects/"+project+"/tasks", m{"title": "a"}).want(201)
		<-came
	}
	// A machine that stands still for seconds has ticks send one.
	if n := w.sql(`select count(*) from river_job where kind in ('event.listen', 'webhooks.drain')`)[0]["count"].(int64); n > events/5 {
		t.Errorf("%d jobs for %d events", n, events)
	}
}

// However many ask at once, one organisation's endpoints get their share of the
// drains and no more.
func TestWebhookClaimsUnderRace(t *testing.T) {
	t.Parallel()
	w := hookWorld(t)
	ada := w.person("ada").organization("Hall")
	r := newReceiver(t)
	for range 40 {
		ada.hook(r.url, nil)
	}
	w.settle()
	w.sql(`update webhook_dispatch set due_at = now() - interval '1 minute'`)
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			if _, err := w.super.Exec(t.Context(), `select * from guildhall.claim_webhook_endpoint(30, 12)`); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := w.sql(`select count(*) from webhook_dispatch where lease_until > now()`)[0]["count"]; n != int64(12) {
		t.Errorf("%d endpoints are under lease, want 12", n)
	}
}

// Who was sent for an endpoint gets that one, however long others are due, and
// waits for it while an event is being fanned out to it. Where it has a drain or
// its organisation has enough, the others are served.
func TestWebhookClaimsWhatItWasSentFor(t *testing.T) {
	t.Parallel()
	w := hookWorld(t)
	ada := w.person("ada")
	a, b := ada.organization("Hall"), ada.organization("Yard")
	r := newReceiver(t)
	mine, other := a.hook(r.url, nil).str("id"), b.hook(r.url, nil).str("id")
	w.settle()
	reset := func() {
		w.sql(`update webhook_dispatch set lease_until = null, due_at = now() - case when endpoint_id = $1 then interval '1 second' else interval '1 minute' end`, mine)
	}
	claim := func(most int) (endpoint string) {
		if err := w.super.QueryRow(t.Context(), `select coalesce(endpoint_id::text, 'again') from guildhall.claim_webhook_endpoint(30, $3,
			(select tenant_id from guildhall.webhook_dispatch where endpoint_id = $1::uuid), $2::uuid)`, mine, mine, most).Scan(&endpoint); err != nil {
			t.Error(err)
		}
		return endpoint
	}
	reset()
	if got := claim(12); got != mine {
		t.Errorf("got %s, want its own", got)
	}
	if got := claim(12); got != other { // its own has a drain
		t.Errorf("got %s, want the other", got)
	}
	reset()
	tx, err := w.super.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `select from guildhall.webhook_dispatch where endpoint_id = $1 for update`, mine); err != nil {
		t.Fatal(err)
	}
	if got := claim(12); got != "again" {
		t.Errorf("got %s while its own is locked", got)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := claim(12); got != mine {
		t.Errorf("got %s, want its own after it was unlocked", got)
	}
}

// What retention takes out of the queue leaves nothing behind it waiting, and
// one that waits for its next attempt is sent at once when somebody asks.
func TestWebhookSubjectGoesOn(t *testing.T) {
	t.Parallel()
	w := hookWorld(t)
	ada := w.person("ada").organization("Hall")
	r := newReceiver(t)
	r.answers(func(received) int { return 500 })
	hook := ada.hook(r.url, m{"event_types": []string{"task.*"}, "ordering": "by_subject", "retry_schedule": []int{3600, 3600}}).str("id")
	project := ada.post("/v1/projects", m{"name": "Roof", "key": "ROOF"}).want(201).str("id")
	task := ada.post("/v1/projects/"+project+"/tasks", m{"title": "a"}).want(201).str("id")
	for i := range 3 {
		ada.patch("/v1/tasks/"+task, m{"title": fmt.Sprint("b", i)}).want(200)
	}
	w.settle()
	if r.count() != 1 {
		t.Fatalf("%d attempts, want the first of the subject alone", r.count())
	}
	failed := ada.get("/v1/webhook-endpoints/" + hook + "/deliveries?status=failed").want(200).str("data.0.id")
	if one := ada.get("/v1/webhook-deliveries/" + failed).want(200); one.str("next_attempt_at") == "" {
		t.Errorf("the one that failed has no next attempt: %s", one.body)
	}
	behind := ada.get("/v1/webhook-endpoints/" + hook + "/deliveries?status=pending").want(200)
	for i := range 3 {
		if at := behind.str(fmt.Sprintf("data.%d.next_attempt_at", i)); behind.str(fmt.Sprintf("data.%d.id", i)) == "" || at != "" {
			t.Errorf("one that waits behind it has its next attempt at %q", at)
		}
	}
	ada.post("/v1/webhook-deliveries/"+failed+"/replay", nil).want(202)
	w.settle()
	if r.count() != 2 {
		t.Errorf("%d attempts after the replay, want 2", r.count())
	}
	r.answers(func(received) int { return 204 })
	w.sql(`update webhook_queue set day = day - 40 where position = (select min(position) from webhook_queue)`)
	w.sql(`select purge_webhook_queue(current_date - 30)`)
	w.settle()
	if got := len(r.accepted()); got != 3 {
		t.Errorf("%d came after the head was purged, want the 3 behind it", got)
	}
	if n := w.sql(`select count(*) from webhook_queue`)[0]["count"]; n != int64(0) {
		t.Errorf("%d are left in the queue", n)
	}
}

// A retry that falls due while the organisation is in the bin is sent once it
// is out again.
func TestWebhookRetryOfARestoredOrganization(t *testing.T) {
	t.Parallel()
	w := hookWorld(t)
	person := w.person("ada")
	ada := person.organization("Hall")
	r := newReceiver(t)
	r.answers(func(received) int { return 500 })
	hook := ada.hook(r.url, m{"event_types": []string{"project.created"}, "retry_schedule": []int{3600, 3600}}).str("id")
	ada.post("/v1/projects", m{"name": "Roof", "key": "ROOF"}).want(201)
	w.settle()
	if r.count() != 1 {
		t.Fatalf("%d attempts", r.count())
	}
	ada.delete("/v1/organization").want(204)
	w.sql(`update webhook_queue set due_at = now()`)
	w.sql(`update webhook_dispatch set due_at = now()`)
	w.settle()
	if due := w.sql(`select due_at::text from webhook_dispatch`)[0]["due_at"]; due != "infinity" {
		t.Fatalf("the endpoint of an organisation in the bin is due at %v", due)
	}
	before := r.count()
	w.sql(`update webhook_queue set due_at = now()`)
	r.answers(func(received) int { return 204 })
	person.post("/v1/organizations/"+ada.org+"/restore", nil).want(200)
	w.settle()
	if r.count() != before+1 {
		t.Errorf("%d attempts after it was restored, want one", r.count()-before)
	}
	if d := ada.dispositions(hook); d["delivered"] != 1 {
		t.Errorf("%v", d)
	}
}

// Whatever left an endpoint with a queue and never due is found, the others are
// left alone, and retention wakes those whose turn it brought.
func TestWebhookStrandedQueues(t *testing.T) {
	t.Parallel()
	w := hookWorld(t)
	ada := w.person("ada").organization("Hall")
	r := newReceiver(t)
	hooks := map[string]string{}
	for _, name := range []string{"stranded", "subject", "paused", "deleted", "waiting"} {
		hooks[name] = ada.hook(r.url, m{"event_types": []string{"task.*"}, "ordering": "by_subject", "retry_schedule": []int{3600}}).str("id")
	}
	r.answers(func(received) int { return 500 })
	project := ada.post("/v1/projects", m{"name": "Roof", "key": "ROOF"}).want(201).str("id")
	task := ada.post("/v1/projects/"+project+"/tasks", m{"title": "a"}).want(201).str("id")
	ada.patch("/v1/tasks/"+task, m{"title": "b"}).want(200)
	w.settle()
	ada.patch("/v1/webhook-endpoints/"+hooks["paused"], m{"enabled": false}).want(200)
	r.answers(func(received) int { return 204 })
	w.sql(`update webhook_dispatch set due_at = 'infinity' where endpoint_id::text <> $1`, hooks["waiting"])
	w.sql(`update webhook_queue set due_at = now() where due_at <> 'infinity' and endpoint_id::text <> $1`, hooks["waiting"])
	w.sql(`delete from webhook_queue where due_at <> 'infinity' and endpoint_id::text = $1`, hooks["subject"])
	w.sql(`update webhook_endpoints set deleted_at = now() where id::text = $1`, hooks["deleted"])
	w.settle()
	left := map[string]int64{}
	for name, hook := range hooks {
		left[name] = w.sql(`select count(*) from webhook_queue where endpoint_id::text = $1`, hook)[0]["count"].(int64)
	}
	for name, want := range map[string]int64{"stranded": 0, "subject": 0, "paused": 2, "deleted": 2, "waiting": 2} {
		if left[name] != want {
			t.Errorf("%s: %d are left in the queue, want %d", name, left[name], want)
		}
	}
	w.sql(`update webhook_queue set day = day - 40 where endpoint_id::text = $1 and due_at <> 'infinity'`, hooks["waiting"])
	w.sql(`update webhook_dispatch set due_at = 'infinity'`)
	w.sql(`select purge_webhook_queue(current_date - 30)`)
	if due := w.sql(`select due_at <= now() as due from webhook_dispatch where endpoint_id::text = $1`, hooks["waiting"])[0]["due"]; due != true {
		t.Error("the endpoint of a subject whose turn came sleeps on")
	}
}
