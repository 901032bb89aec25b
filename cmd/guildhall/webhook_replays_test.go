package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

func TestWebhookReplayOfARange(t *testing.T) {
	t.Parallel()
	y := newHookYard(t)
	before := time.Now()
	y.tasks(3) // before there is an endpoint
	r := newReceiver(t)
	hook := y.ada.hook(r.url, m{"event_types": []string{"task.*"}, "filter": `event.data.title != "Tile 1"`, "retry_schedule": []int{0}, "max_in_flight": 1}).str("id")
	y.settle()
	start := time.Now()
	y.tasks(3)
	r.answers(func(received) int { return 500 })
	y.tasks(1)
	r.answers(func(received) int { return 204 })
	path := "/v1/webhook-endpoints/" + hook + "/replay"
	dry := func(more m) int64 {
		t.Helper()
		body := m{"since": start, "dry_run": true}
		for k, v := range more {
			body[k] = v
		}
		a := y.ada.post(path, body).want(200)
		if a.at("complete") != true {
			t.Errorf("%s", a.body)
		}
		return a.num("count")
	}
	for want, c := range map[int64]m{
		1: {}, // exhausted
		3: {"status": []string{"delivered", "exhausted"}},
		0: {"status": []string{"filtered"}}, // the filter is still the same
		2: {"status": []string{"delivered"}, "types": []string{"task.created"}},
	} {
		if got := dry(c); got != want {
			t.Errorf("%v: %d would be sent, want %d", c, got, want)
		}
	}
	if got := dry(m{"status": []string{"delivered"}, "types": []string{"project.*"}}); got != 0 {
		t.Errorf("%d of a type that was not sent", got)
	}
	if got := dry(m{"since": before, "status": []string{"no_match"}}); got != 2 { // the filter holds one of three back
		t.Errorf("%d from before the endpoint, want 2", got)
	}
	if got := dry(m{"status": []string{"delivered"}, "until": start.Add(time.Microsecond)}); got != 0 {
		t.Errorf("%d in an empty time", got)
	}
	if r.count() != 2+2 {
		t.Errorf("a dry run sent something: %d attempts", r.count())
	}
	y.ada.post(path, m{"since": start, "until": start}).want(422).code("validation_failed")
	y.ada.post(path, m{"since": start, "status": []string{"pending"}}).want(422)
	y.ada.post(path, m{}).want(422)

	o := y.replay(hook, m{"since": start})
	if o.str("status") != "done" || o.num("done") != 1 || o.num("total") != 1 || o.str("kind") != "webhook_endpoint.replay" {
		t.Errorf("%s", o.body)
	}
	y.patch(hook, m{"filter": ""})
	y.replay(hook, m{"since": before, "status": []string{"no_match", "filtered"}})
	d := y.whole(hook)
	if d["delivered"] != 4 || d["filtered"] != 0 {
		t.Errorf("%v", d)
	}
	var order []int64
	for _, g := range r.accepted()[3:] {
		order = append(order, g.sequence)
	}
	if len(order) != 4 || !slices.IsSorted(order) {
		t.Errorf("events came in the order %v", order)
	}
	log := y.ada.get("/v1/audit-log?type=webhook_endpoint.replayed").want(200)
	if log.len("data") != 2 || log.str("data.1.actor.id") != y.ada.user || log.str("data.1.data.status.0") != "failed" || log.str("data.1.data.operation_id") != o.str("id") {
		t.Errorf("%s", log.body)
	}
}

// What happened in a private project is sent again only while the endpoint
// includes those.
func TestWebhookReplayKeepsPrivateProjectsPrivate(t *testing.T) {
	t.Parallel()
	y := newHookYard(t)
	r := newReceiver(t)
	start := time.Now()
	hook := y.ada.hook(r.url, m{"event_types": []string{"task.*"}, "include_private": true}).str("id")
	secret := y.ada.post("/v1/projects", m{"name": "Hidden", "key": "HID", "visibility": "private"}).want(201).str("id")
	y.ada.post("/v1/projects/"+secret+"/tasks", m{"title": "Hush"}).want(201)
	y.settle()
	if r.count() != 1 {
		t.Fatalf("%d came", r.count())
	}
	all := []string{"delivered", "no_match"}
	y.patch(hook, m{"include_private": false})
	if o := y.replay(hook, m{"since": start, "status": all}); o.num("done") != 0 {
		t.Errorf("%s", o.body)
	}
	one := "/v1/webhook-deliveries/" + *y.deliveries(hook, "")[0].ID + "/replay"
	y.ada.post(one, nil).want(409).code("webhook_event_private")
	y.patch(hook, m{"include_private": true})
	if o := y.replay(hook, m{"since": start, "status": all}); o.num("done") != 1 || r.count() != 2 {
		t.Errorf("%d came, %s", r.count(), o.body)
	}
}

// An event that happened before the endpoint was paused and was heard after it
// belongs to what is caught up.
func TestWebhookCatchUpMissesNothing(t *testing.T) {
	t.Parallel()
	y := newHookYard(t)
	r := newReceiver(t)
	hook := y.ada.hook(r.url, m{"event_types": []string{"task.*"}}).str("id")
	y.settle()
	y.ada.post("/v1/projects/"+y.project+"/tasks", m{"title": "Before"}).want(201)
	y.patch(hook, m{"enabled": false}) // nothing was heard yet
	y.ada.post("/v1/projects/"+y.project+"/tasks", m{"title": "After"}).want(201)
	y.settle()
	on := y.ada.patch("/v1/webhook-endpoints/"+hook, m{"enabled": true}).want(200)
	since := on.str("catch_up_since")

	y.replay(hook, m{"since": since, "status": []string{"paused"}, "types": []string{"project.*"}})
	if got := y.ada.get("/v1/webhook-endpoints/" + hook).want(200); got.str("catch_up_since") != since {
		t.Errorf("a replay of something else forgot from where to catch up: %s", got.body)
	}
	if o := y.replay(hook, m{"since": since}); o.num("done") != 2 || r.count() != 2 {
		t.Errorf("%d came, %s", r.count(), o.body)
	}
	got := y.ada.get("/v1/webhook-endpoints/" + hook).want(200)
	if got.at("catch_up_since") != nil || got.num("version") != on.num("version")+1 {
		t.Errorf("after catching up: %s", got.body)
	}
	y.tasks(1) // the version that catching up made is applied
	if d := y.whole(hook); d["delivered"] != 3 {
		t.Errorf("%v", d)
	}
}

// Replays of all kinds at once, while tasks are made and attempts fail, make no
// second delivery of an event, lose none and send none that nobody asked for.
func TestWebhookReplayRace(t *testing.T) {
	t.Parallel()
	y := newHookYard(t)
	start := time.Now()
	y.tasks(20)
	r := newReceiver(t)
	hook := y.ada.hook(r.url, m{"event_types": []string{"task.*"}, "retry_schedule": []int{0, 3600}}).str("id")
	y.settle()
	r.answers(func(g received) int {
		if g.sequence%7 == 0 && g.attempt < 3 { // not so many that the breaker opens
			return 500
		}
		return 204
	})
	y.tasks(20)
	rounds := count(2, 30)
	for range rounds {
		var g errgroup.Group
		for i := range 8 {
			status := [][]string{{"no_match"}, {"failed"}, {"delivered", "no_match"}, {"failed", "exhausted", "paused"}}[i%4]
			g.Go(func() error {
				res, err := y.ada.try("POST", "/v1/webhook-endpoints/"+hook+"/replay", m{"since": start, "status": status})
				if err == nil && res.status != 202 {
					err = fmt.Errorf("status %d: %s", res.status, res.body)
				}
				return err
			})
		}
		g.Go(func() error {
			_, err := y.ada.try("POST", "/v1/projects/"+y.project+"/tasks", m{"title": "Meanwhile"})
			return err
		})
		for range 4 {
			g.Go(func() error { return y.runDue() })
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		y.settle()
		y.whole(hook)
	}
	y.replay(hook, m{"since": start})
	y.replay(hook, m{"since": start})
	d := y.whole(hook)
	if d["failed"]+d["pending"]+d["exhausted"] != 0 {
		t.Errorf("in the end: %v", d)
	}
	seen := map[string]bool{}
	for _, g := range r.accepted() {
		seen[g.id] = true
	}
	if want := 40 + rounds; len(seen) != want {
		t.Errorf("the receiver has %d events, want %d", len(seen), want)
	}
	proved(t, "%d rounds of 8 replays at once while others write and attempts fail: no event has two deliveries, all are at the receiver", rounds)
}

// runDue runs what is due, as one more worker.
func (y *hookYard) runDue() error {
	if _, err := y.app.relay.Once(y.t.Context()); err != nil {
		return err
	}
	_, err := y.app.workers.RunDue(y.t.Context())
	return err
}

// A worker that dies between a slice and its report leaves the slice queued: the
// next one goes on behind it.
func TestWebhookReplayResumesWhereItStood(t *testing.T) {
	t.Parallel()
	y := newHookYard(t)
	start := time.Now()
	events := y.logged(1200)
	r := newReceiver(t)
	hook := y.ada.hook(r.url, m{"event_types": []string{"task.*"}}).str("id")
	y.settle()
	body := m{"since": start.Add(-time.Minute), "status": []string{"no_match"}, "types": []string{"task.moved"}}
	op := y.ada.post("/v1/webhook-endpoints/"+hook+"/replay", body).want(202).str("id")
	y.sql(`create function die() returns trigger language plpgsql as $$ begin
		if new.done > 0 and new.status = 'running' then raise exception 'the process died'; end if; return new; end $$`)
	y.sql(`create trigger die before update on operations for each row execute function die()`)
	for range 3 {
		if err := y.runDue(); err != nil && !strings.Contains(err.Error(), "the process died") {
			t.Fatal(err)
		}
	}
	if got := y.ada.get("/v1/operations/" + op).want(200); got.str("status") != "running" || got.num("done") != 0 {
		t.Fatalf("%s", got.body)
	}
	y.sql(`drop trigger die on operations`)
	y.sql(`update river_job set state = 'available', finalized_at = null where kind = 'operation.webhook_endpoint.replay'`)
	y.settle()
	o := y.ada.get("/v1/operations/" + op).want(200)
	if o.str("status") != "done" || o.num("done") != int64(events) || o.num("total") != int64(events) {
		t.Errorf("%s", o.body)
	}
	if r.count() != events {
		t.Errorf("%d attempts for %d events", r.count(), events)
	}
	y.whole(hook)
}

// logged writes events into the log at once, numbered as the relay would.
func (y *hookYard) logged(n int) int {
	y.t.Helper()
	y.sql(`with last as (update event_counters set last_sequence = last_sequence + $2 where tenant_id::text = $1 returning last_sequence)
		insert into event_log (tenant_id, day, id, sequence, type, public, schema_version, subject_type, subject_id, actor_kind, operation, request_id, source_address, occurred_at, data)
		select $1::uuid, (now() at time zone 'UTC')::date, (lpad(to_hex((extract(epoch from now()) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(i), 19, '0'))::uuid,
			last.last_sequence - $2 + i, 'task.moved', true, 1, 'task', gen_random_uuid(), 'system', 'test', 'x', '', now(), '{}'
		from last, generate_series(1, $2::int) i`, y.ada.org, n)
	y.sql(`update webhook_progress set heard_sequence = heard_sequence + $2 where tenant_id::text = $1`, y.ada.org, n)
	return n
}

// What is cancelled queues no more; what is queued stays.
func TestWebhookReplayIsCancelled(t *testing.T) {
	t.Parallel()
	y := newHookYard(t)
	start := time.Now().Add(-time.Minute)
	y.logged(1200)
	r := newReceiver(t)
	hook := y.ada.hook(r.url, m{"event_types": []string{"task.*"}}).str("id")
	y.settle()
	body := m{"since": start, "status": []string{"no_match"}, "types": []string{"task.moved"}}
	path := "/v1/webhook-endpoints/" + hook + "/replay"
	early := y.ada.post(path, body).want(202).str("id")
	y.ada.post("/v1/operations/"+early+"/cancel", nil).want(200)
	y.settle()
	if r.count() != 0 {
		t.Errorf("%d came of a replay that was cancelled before it began", r.count())
	}

	op := y.ada.post(path, body).want(202).str("id")
	if left := y.sql(`select from webhook_replays`); len(left) != 1 {
		t.Errorf("%d replays are remembered", len(left))
	}
	y.sql(`create function cancel() returns trigger language plpgsql as $$ begin
		update operations set status = 'cancelled', finished_at = now() where id = new.operation_id; return new; end $$`)
	y.sql(`create trigger cancel after update of through on webhook_replays for each row execute function cancel()`)
	y.settle()
	if o := y.ada.get("/v1/operations/" + op).want(200); o.str("status") != "cancelled" {
		t.Errorf("%s", o.body)
	}
	if n := r.count(); n == 0 || n > 500 {
		t.Errorf("%d came, want the slice that was queued already", n)
	}
	y.whole(hook)
}

// A replay that finds its endpoint disabled says so and leaves the rest.
func TestWebhookReplayEndsWithItsEndpoint(t *testing.T) {
	t.Parallel()
	y := newHookYard(t)
	start := time.Now().Add(-time.Minute)
	y.logged(700)
	r := newReceiver(t)
	hook := y.ada.hook(r.url, m{"event_types": []string{"task.*"}}).str("id")
	y.settle()
	op := y.ada.post("/v1/webhook-endpoints/"+hook+"/replay", m{"since": start, "status": []string{"no_match"}, "types": []string{"task.moved"}}).want(202).str("id")
	y.patch(hook, m{"enabled": false})
	y.settle()
	if o := y.ada.get("/v1/operations/" + op).want(200); o.str("status") != "failed" || !strings.Contains(o.str("message"), "disabled") || r.count() != 0 {
		t.Errorf("%d came: %s", r.count(), o.body)
	}
	y.whole(hook)
}

func TestWebhookReplayHonoursItsRate(t *testing.T) {
	t.Parallel()
	y := newHookYard(t)
	start := time.Now().Add(-time.Minute)
	y.logged(10)
	r := newReceiver(t)
	hook := y.ada.hook(r.url, m{"event_types": []string{"task.*"}}).str("id")
	y.settle()
	y.replay(hook, m{"since": start, "status": []string{"no_match"}, "types": []string{"task.moved"}, "rate": 5})
	y.until("all came", func() bool {
		y.settle()
		return r.count() == 10
	})
	got := r.all()
	if took := got[9].at.Sub(got[0].at); took < 1700*time.Millisecond {
		t.Errorf("10 deliveries at 5 a second took %s", took)
	}
}

// A replay keeps a little ahead of the sender and waits: what is cancelled then
// has not been queued.
func TestWebhookReplayWaitsForTheSender(t *testing.T) {
	t.Parallel()
	y := newHookYard(t)
	start := time.Now().Add(-time.Minute)
	y.logged(6000)
	r := newReceiver(t)
	hook := y.ada.hook(r.url, m{"event_types": []string{"task.*"}}).str("id")
	y.settle()
	y.sql(`update webhook_dispatch set lease_until = now() + interval '1 hour'`) // a sender that does nothing
	for _, c := range []struct {
		more     m
		from, to int64
	}{{m{"rate": 1}, 10, 30}, {m{}, 5000, 5500}} {
		body := m{"since": start, "status": []string{"no_match"}, "types": []string{"task.moved"}}
		for k, v := range c.more {
			body[k] = v
		}
		op := y.ada.post("/v1/webhook-endpoints/"+hook+"/replay", body).want(202).str("id")
		for waits := false; !waits; {
			err := y.runDue()
			if waits = err != nil && strings.Contains(err.Error(), "Snooze"); err != nil && !waits {
				t.Fatal(err)
			}
		}
		o := y.ada.get("/v1/operations/" + op).want(200)
		if o.str("status") != "running" || o.num("done") < c.from || o.num("done") > c.to || o.num("total") < 5900 {
			t.Errorf("%v: %s", c.more, o.body)
		}
		y.ada.post("/v1/operations/"+op+"/cancel", nil).want(200)
	}
	y.whole(hook)
}
