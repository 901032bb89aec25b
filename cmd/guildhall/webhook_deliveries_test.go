package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// hookYard is an organisation with a project and what its tests of deliveries
// have in common.
type hookYard struct {
	*world
	t       *testing.T
	ada     *client
	project string
}

func newHookYard(t *testing.T) *hookYard {
	t.Helper()
	w := hookWorld(t)
	y := &hookYard{world: w, t: t, ada: w.person("ada").organization("Yard")}
	y.project = y.ada.post("/v1/projects", m{"name": "Roof", "key": "ROOF"}).want(201).str("id")
	w.settle()
	return y
}

// tasks makes tasks and lets their events be heard and sent.
func (y *hookYard) tasks(n int) (ids []string) {
	y.t.Helper()
	for i := range n {
		ids = append(ids, y.ada.post("/v1/projects/"+y.project+"/tasks", m{"title": fmt.Sprint("Tile ", i)}).want(201).str("id"))
	}
	y.settle()
	return ids
}

// deliveries reads a whole list page by page; query is "status=failed" or the
// like.
func (y *hookYard) deliveries(hook, query string) (rows []listedDelivery) {
	y.t.Helper()
	path := "/v1/webhook-endpoints/" + hook + "/deliveries?limit=3&" + query
	for next := path; next != ""; {
		var p struct {
			Data []listedDelivery
			Next *string `json:"next_cursor"`
		}
		y.ada.get(next).want(200).into(&p)
		rows = append(rows, p.Data...)
		if next = ""; p.Next != nil {
			next = path + "&cursor=" + *p.Next
		}
	}
	return rows
}

type listedDelivery struct {
	ID       *string
	EventID  string `json:"event_id"`
	Type     string `json:"event_type"`
	Sequence int64
	Status   string
	Reason   *string
	Attempts int
}

// replay asks for a replay, runs it, and returns the operation.
func (y *hookYard) replay(hook string, body m) *reply {
	y.t.Helper()
	op := y.ada.post("/v1/webhook-endpoints/"+hook+"/replay", body).want(202).str("id")
	y.settle()
	return y.ada.get("/v1/operations/" + op).want(200)
}

// patch changes an endpoint.
func (y *hookYard) patch(hook string, body m) {
	y.t.Helper()
	y.ada.patch("/v1/webhook-endpoints/"+hook, body).want(200)
}

// whole fails if the queue holds a delivery twice, an event has two deliveries,
// or the dispositions do not add up.
func (y *hookYard) whole(hook string) map[string]int64 {
	y.t.Helper()
	for _, twice := range y.sql(`select event_id::text, count(*) from webhook_deliveries where endpoint_id::text = $1 group by 1 having count(*) > 1`, hook) {
		y.t.Errorf("event %v has %v deliveries", twice["event_id"], twice["count"])
	}
	for _, lost := range y.sql(`select d.id::text, d.status from webhook_deliveries d where d.endpoint_id::text = $1
		and (d.status in ('pending', 'failed')) <> exists (select from webhook_queue q where q.tenant_id = d.tenant_id and q.delivery_id = d.id)`, hook) {
		y.t.Errorf("delivery %v is %v and the queue says otherwise", lost["id"], lost["status"])
	}
	return y.ada.dispositions(hook)
}

func TestWebhookDeliveriesAreListed(t *testing.T) {
	t.Parallel()
	y := newHookYard(t)
	r := newReceiver(t)
	hook := y.ada.hook(r.url, m{"event_types": []string{"task.*"}, "filter": `event.data.title != "Tile 1"`}).str("id")
	y.settle()
	start := time.Now()
	y.tasks(5)
	secret := y.ada.post("/v1/projects", m{"name": "Hidden", "key": "HID", "visibility": "private"}).want(201).str("id")
	y.ada.post("/v1/projects/"+secret+"/tasks", m{"title": "Nobody hears"}).want(201)
	y.settle()
	r.answers(func(received) int { return 500 })
	y.tasks(1)
	y.patch(hook, m{"enabled": false})
	y.tasks(2)

	all := y.deliveries(hook, "")
	if len(all) != 8 || !slices.IsSortedFunc(all, func(a, b listedDelivery) int { return int(b.Sequence - a.Sequence) }) {
		t.Fatalf("%d deliveries, or not newest first: %+v", len(all), all)
	}
	for status, n := range map[string]int{"delivered": 4, "filtered": 2, "exhausted": 1, "paused": 1, "pending": 0, "failed": 0} {
		got := y.deliveries(hook, "status="+status)
		if len(got) != n {
			t.Errorf("%d are %s, want %d", len(got), status, n)
		}
		for _, d := range got {
			if d.Status != status || (d.Reason == nil) != (status == "delivered") || d.ID == nil {
				t.Errorf("listed under %s: %+v", status, d)
			}
		}
		if total := y.ada.get("/v1/webhook-endpoints/" + hook + "/deliveries?limit=1&include=total&status=" + status).want(200).num("total"); total != int64(n) {
			t.Errorf("the total of %s is %d, want %d", status, total, n)
		}
	}
	y.listMissed(hook)

	at := url.QueryEscape(start.Format(time.RFC3339Nano))
	if got := len(y.deliveries(hook, "since="+at)); got != 8 {
		t.Errorf("%d since the start", got)
	}
	if got := len(y.deliveries(hook, "until="+at)) + len(y.deliveries(hook, "since=2046-01-01T00:00:00Z")); got != 0 {
		t.Errorf("%d before the start or in the future", got)
	}
	if got := len(y.deliveries(hook, "type=task.created")); got != 8 {
		t.Errorf("%d of task.created", got)
	}
	if got := len(y.deliveries(hook, "type=t_sk.created,project.*")); got != 0 {
		t.Errorf("%d of types that it never had", got)
	}
	second := y.ada.get("/v1/webhook-endpoints/" + hook + "/deliveries?limit=5&page=2").want(200)
	if second.len("data") != 3 || second.str("data.0.id") != *all[5].ID {
		t.Errorf("the second page: %s", second.body)
	}
	cursor := y.ada.get("/v1/webhook-endpoints/" + hook + "/deliveries?limit=1").want(200).str("next_cursor")
	y.ada.get("/v1/webhook-endpoints/" + hook + "/deliveries?status=failed&cursor=" + cursor).want(400).code("bad_request")
}

// listMissed holds what has no delivery against the log.
func (y *hookYard) listMissed(hook string) {
	y.t.Helper()
	d := y.whole(hook)
	missed := y.deliveries(hook, "status=no_match")
	if int64(len(missed)) != d["no_match"] || len(missed) == 0 {
		y.t.Errorf("%d events without a delivery are listed, %d counted", len(missed), d["no_match"])
	}
	private := 0
	for i, e := range missed {
		if e.ID != nil || e.Status != "no_match" || e.Reason == nil || i > 0 && e.Sequence >= missed[i-1].Sequence {
			y.t.Errorf("%+v", e)
			continue
		}
		if isTask := strings.HasPrefix(e.Type, "task."); isTask != strings.Contains(*e.Reason, "private") {
			y.t.Errorf("%s was left out because: %s", e.Type, *e.Reason)
		} else if isTask {
			private++
		}
	}
	if private != 1 {
		y.t.Errorf("%d were left out as private", private)
	}
	first := y.ada.get("/v1/webhook-endpoints/" + hook + "/deliveries?status=no_match&include=total&type=project.*&limit=1").want(200)
	if first.num("total") < 1 || !strings.HasPrefix(first.str("data.0.event_type"), "project.") {
		y.t.Errorf("of projects: %s", first.body)
	}
	defer y.missedInALongLog(hook)
	paged := y.ada.get("/v1/webhook-endpoints/" + hook + "/deliveries?status=no_match&limit=1&page=2").want(200)
	if paged.str("data.0.event_id") != missed[1].EventID {
		y.t.Errorf("the second page: %s", paged.body)
	}
}

// missedInALongLog asks for a page by its number where the numbers go on for
// long: one answer ends early, and its cursor leads to what is left.
func (y *hookYard) missedInALongLog(hook string) {
	y.t.Helper()
	y.sql(`update webhook_progress set heard_sequence = 350_000`)
	list := "/v1/webhook-endpoints/" + hook + "/deliveries?status=no_match&type=project.*&limit=1"
	for _, query := range []string{"", "&page=1", "&page=2&include=total"} {
		rows, answers := 0, 0
		for next := list + query; next != "" && rows == 0; answers++ {
			got := y.ada.get(next).want(200)
			if rows, next = got.len("data"), ""; got.at("next_cursor") != nil {
				next = list + "&cursor=" + got.str("next_cursor")
			}
			if got.at("total") != nil {
				y.t.Errorf("%s counted to the end: %s", query, got.body)
			}
		}
		if rows != 1 || answers != 4 {
			y.t.Errorf("%q: %d events after %d answers, want the first one in the fourth", query, rows, answers)
		}
	}
}

func TestWebhookDeliveryShowsItsAttempts(t *testing.T) {
	t.Parallel()
	y := newHookYard(t)
	answers := make(chan func(http.ResponseWriter), 10)
	var sent [][]byte // read while nothing is sent
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		sent = append(sent, body)
		(<-answers)(w)
	}))
	t.Cleanup(srv.Close)
	hook := y.ada.hook(srv.URL, m{"event_types": []string{"task.*"}, "max_in_flight": 1, "headers": m{"X-Key": "hush"}}).str("id")
	y.settle()
	answers <- func(w http.ResponseWriter) { w.WriteHeader(503); fmt.Fprint(w, "ärgerlich") }
	answers <- func(w http.ResponseWriter) { w.WriteHeader(500); _, _ = w.Write([]byte{0xff, 0x00, 0x01}) }
	answers <- func(w http.ResponseWriter) {
		w.Header().Set("X-Seen", "yes")
		fmt.Fprint(w, strings.Repeat("ü", 10_000))
	}
	task := y.tasks(1)[0]
	for range 5 {
		y.settle()
	}
	delivery := *y.deliveries(hook, "")[0].ID
	path := "/v1/webhook-deliveries/" + delivery
	var got struct {
		Status     string
		Attempts   int
		AttemptLog []struct {
			Number  int
			Request struct {
				URL     string
				Headers map[string]string
				Body    *string
			}
			Response struct {
				StatusCode int `json:"status_code"`
				Headers    map[string]string
				Body       string
				Base64     bool
				Truncated  bool
			}
			Error *string
		} `json:"attempt_log"`
	}
	whole := y.ada.get(path).want(200).into(&got)
	if got.Status != "delivered" || got.Attempts != 3 || len(got.AttemptLog) != 3 {
		t.Fatalf("%s", whole.body)
	}
	for i, a := range got.AttemptLog {
		h := a.Request.Headers
		if a.Number != i+1 || a.Request.URL != srv.URL || a.Request.Body == nil || *a.Request.Body != string(sent[i]) {
			t.Errorf("attempt %d is not what was sent: %+v", i+1, a.Request)
		}
		if h["x-key"] != "***" || h["webhook-id"] == "" || h["webhook-attempt"] != strconv.Itoa(i+1) {
			t.Errorf("headers of attempt %d: %v", i+1, h)
		}
		if (a.Error == nil) != (i == 2) {
			t.Errorf("attempt %d: error %v", i+1, a.Error)
		}
	}
	a, b, c := got.AttemptLog[0].Response, got.AttemptLog[1].Response, got.AttemptLog[2].Response
	if a.StatusCode != 503 || a.Body != "ärgerlich" || a.Base64 || a.Truncated {
		t.Errorf("text: %+v", a)
	}
	if raw, err := base64.StdEncoding.DecodeString(b.Body); !b.Base64 || err != nil || string(raw) != "\xff\x00\x01" {
		t.Errorf("binary: %+v", b)
	}
	if !c.Truncated || c.Base64 || c.Headers["x-seen"] != "yes" || strings.Trim(c.Body, "ü") != "" || len(c.Body) < 16_000 {
		t.Errorf("long: %d bytes, %v", len(c.Body), c.Headers)
	}

	// A test event is in no log, and is shown and sent again like any other.
	answers <- func(w http.ResponseWriter) { w.WriteHeader(204) }
	answers <- func(w http.ResponseWriter) { w.WriteHeader(204) }
	trial := "/v1/webhook-deliveries/" + y.ada.post("/v1/webhook-endpoints/"+hook+"/test", m{"event_type": "task.created"}).want(202).str("delivery_id")
	y.settle()
	y.ada.post(trial+"/replay", nil).want(202)
	y.settle()
	shown := y.ada.get(trial).want(200)
	if shown.num("attempts") != 2 || shown.at("sequence") != nil || shown.str("attempt_log.0.request.body") != string(sent[3]) || string(sent[3]) != string(sent[4]) {
		t.Errorf("%s", shown.body)
	}
	y.whole(hook)

	// A refused connection has no answer; a purged event has no body.
	srv.Close()
	y.ada.post(path+"/replay", nil).want(202)
	y.settle()
	y.sql(`delete from event_log where type = 'task.created' and subject_id::text = $1`, task)
	after := y.ada.get(path).want(200)
	if after.at("attempt_log.3.response") != nil || !strings.Contains(after.str("attempt_log.3.error"), "refused") || after.at("attempt_log.0.request.body") != nil {
		t.Errorf("%s", after.body)
	}
}

func TestWebhookDeliveriesBelongToTheOrganization(t *testing.T) {
	t.Parallel()
	y := newHookYard(t)
	r := newReceiver(t)
	hook := y.ada.hook(r.url, m{"include_private": true}).str("id")
	y.settle()
	y.tasks(1)
	delivery := *y.deliveries(hook, "")[0].ID
	list, one := "/v1/webhook-endpoints/"+hook, "/v1/webhook-deliveries/"+delivery

	eve := y.person("eve").organization("Elsewhere")
	for _, path := range []string{list + "/deliveries", list + "/deliveries?status=no_match", list + "/dispositions", one} {
		eve.get(path).want(404).code("not_found")
	}
	eve.post(one+"/replay", nil).want(404)
	eve.post(list+"/replay", m{"since": "2026-01-01T00:00:00Z"}).want(404)

	member := y.join(y.ada, y.person("bob"), "member")
	member.get(list + "/deliveries").want(403)
	role := y.ada.post("/v1/roles", m{"key": "watcher", "name": "Watcher", "permissions": []string{"webhooks.read", "operations.read"}}).want(201).str("key")
	watcher := y.join(y.ada, y.person("wil"), role)
	if seen := watcher.get(one).want(200); seen.at("attempt_log.0.request.body") != nil {
		t.Errorf("who may not manage webhooks is shown a body: %s", seen.body)
	}
	watcher.get(list + "/dispositions").want(200)
	watcher.post(one+"/replay", nil).want(403)
	watcher.post(list+"/replay", m{"since": "2026-01-01T00:00:00Z", "dry_run": true}).want(403)

	// An administrator sees that a private task was sent, not what it says.
	secret := y.ada.post("/v1/projects", m{"name": "Hidden", "key": "HID", "visibility": "private"}).want(201).str("id")
	y.ada.post("/v1/projects/"+secret+"/tasks", m{"title": "Hush"}).want(201)
	y.settle()
	newest := "/v1/webhook-deliveries/" + *y.deliveries(hook, "type=task.created")[0].ID
	admin := y.join(y.ada, y.person("amy"), "admin")
	if body := y.ada.get(newest).want(200).str("attempt_log.0.request.body"); !strings.Contains(body, "Hush") {
		t.Errorf("who is in the project does not see what was sent: %q", body)
	}
	if seen := admin.get(newest).want(200); strings.Contains(string(seen.body), "Hush") {
		t.Errorf("who is not in the project sees what was sent: %s", seen.body)
	}

	y.ada.delete("/v1/webhook-endpoints/" + hook).want(204)
	for _, path := range []string{list + "/deliveries", list + "/dispositions", one} {
		y.ada.get(path).want(404)
	}
}

func TestWebhookDeliveryIsReplayed(t *testing.T) {
	t.Parallel()
	y := newHookYard(t)
	r := newReceiver(t)
	hook := y.ada.hook(r.url, m{"event_types": []string{"task.*"}, "filter": `event.data.title != "Tile 1"`, "retry_schedule": []int{3600}, "max_in_flight": 1}).str("id")
	y.settle()
	y.tasks(2)
	filtered, delivered := y.deliveries(hook, "")[0], y.deliveries(hook, "")[1]
	path := func(d listedDelivery) string { return "/v1/webhook-deliveries/" + *d.ID + "/replay" }

	again := y.ada.post(path(delivered), nil).want(202)
	if again.str("status") != "pending" || again.num("attempts") != 1 || again.str("next_attempt_at") == "" {
		t.Errorf("%s", again.body)
	}
	y.ada.post(path(delivered), nil).want(409).code("webhook_delivery_pending")
	y.ada.post(path(filtered), nil).want(202)
	y.settle()
	got := r.accepted()
	if len(got) != 3 || got[1].id != got[0].id || got[1].attempt != 2 || string(got[1].body) != string(got[0].body) || got[2].id != filtered.EventID {
		t.Fatalf("%d came: %+v", len(got), got)
	}

	// One that waits for its next attempt is sent at once, and its retries begin anew.
	r.answers(func(received) int { return 500 })
	y.tasks(1)
	failed := y.deliveries(hook, "status=failed")[0]
	y.ada.post(path(failed), nil).want(202)
	y.settle()
	if now := y.deliveries(hook, "status=failed"); len(now) != 1 || now[0].Attempts != 2 {
		t.Errorf("%+v", now)
	}
	r.answers(func(received) int { return 204 })
	y.ada.post(path(failed), nil).want(202)
	y.settle()
	if d := y.whole(hook); d["delivered"] != 3 || d["failed"] != 0 {
		t.Errorf("%v", d)
	}

	y.patch(hook, m{"enabled": false})
	y.ada.post(path(delivered), nil).want(409).code("webhook_endpoint_disabled")
	y.ada.post("/v1/webhook-endpoints/"+hook+"/replay", m{"since": "2026-01-01T00:00:00Z"}).want(409).code("webhook_endpoint_disabled")
	y.patch(hook, m{"enabled": true})
	y.sql(`delete from event_log where id::text = $1`, delivered.EventID)
	y.ada.post(path(delivered), nil).want(409).code("webhook_event_gone")

	log := y.ada.get("/v1/audit-log?type=webhook_delivery.replayed").want(200)
	if log.len("data") != 4 || log.str("data.0.actor.id") != y.ada.user || log.str("data.0.data.id") != *failed.ID {
		t.Errorf("%s", log.body)
	}
}

// Who replays 20 times at once gets one more attempt.
func TestWebhookDeliveryReplayRace(t *testing.T) {
	t.Parallel()
	y := newHookYard(t)
	r := newReceiver(t)
	hook := y.ada.hook(r.url, m{"event_types": []string{"task.*"}}).str("id")
	y.settle()
	y.tasks(1)
	path := "/v1/webhook-deliveries/" + *y.deliveries(hook, "")[0].ID + "/replay"
	var g errgroup.Group
	won := make(chan int, 100)
	for range 20 {
		g.Go(func() error {
			res, err := y.ada.try("POST", path, nil)
			if err == nil && res.status != 202 && res.status != 409 {
				err = fmt.Errorf("status %d: %s", res.status, res.body)
			}
			if err == nil && res.status == 202 {
				won <- 1
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	y.settle()
	if len(won) != 1 || r.count() != 2 {
		t.Errorf("%d replays won, %d attempts came", len(won), r.count())
	}
	y.whole(hook)
}
