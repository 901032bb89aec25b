package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Every public event reaches the endpoint once, in order, with its number.
func TestWebhooksDeliverTheLog(t *testing.T) {
	t.Parallel()
	w := hookWorld(t)
	ada := w.person("ada").organization("Hall")
	r := newReceiver(t)
	hook := ada.hook(r.url, nil).str("id")
	project := ada.post("/v1/projects", m{"name": "Roof", "key": "ROOF"}).want(201).str("id")
	task := ada.post("/v1/projects/"+project+"/tasks", m{"title": "Tiles"}).want(201).str("id")
	ada.patch("/v1/tasks/"+task, m{"title": "Slates"}).want(200)
	w.settle()
	wantLog(t, ada, r.accepted(), 1)
	if d := ada.dispositions(hook); d["delivered"] != d["total"] || d["total"] == 0 {
		t.Errorf("dispositions %v", d)
	}
}

// wantLog holds what a receiver accepted against the feed from a number on:
// all of it, once, the same bytes of data.
func wantLog(t *testing.T, c *client, got []received, from int64) {
	t.Helper()
	want := map[string]json.RawMessage{}
	for _, e := range c.feed() {
		if e.Sequence >= from {
			want[e.ID] = e.Data
		}
	}
	seen := map[string]bool{}
	for _, g := range got {
		data, ok := want[g.id]
		if !ok {
			t.Errorf("event %s (%d) was sent and is not in the feed", g.id, g.sequence)
			continue
		}
		seen[g.id] = true
		var e struct {
			Data json.RawMessage `json:"data"`
		}
		if err := json.Unmarshal(g.body, &e); err != nil || !sameJSON(e.Data, data) {
			t.Errorf("event %d: sent %s, the feed has %s", g.sequence, e.Data, data)
		}
	}
	if len(seen) != len(want) {
		t.Errorf("%d events came, the feed has %d", len(seen), len(want))
	}
}

func sameJSON(a, b []byte) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return bytes.Equal(a, b)
	}
	p, _ := json.Marshal(x)
	q, _ := json.Marshal(y)
	return bytes.Equal(p, q)
}

type fedEvent struct {
	ID       string          `json:"id"`
	Type     string          `json:"type"`
	Sequence int64           `json:"sequence"`
	Data     json.RawMessage `json:"data"`
}

// feed reads the whole pull feed.
func (c *client) feed() (out []fedEvent) {
	c.w.t.Helper()
	for after := ""; ; {
		path := "/v1/events?limit=200"
		if after != "" {
			path += "&after=" + after
		}
		var page struct {
			Data []fedEvent `json:"data"`
			Next string     `json:"next_cursor"`
		}
		c.get(path).want(200).into(&page)
		if len(page.Data) == 0 {
			return out
		}
		out, after = append(out, page.Data...), page.Next
	}
}

// verifyJS verifies one delivery per line of standard input with the published
// JavaScript library and prints a line for each it refuses.
const verifyJS = `
const {Webhook} = require("standardwebhooks");
let text = "";
process.stdin.on("data", d => text += d).on("end", () => {
	for (const line of text.split("\n").filter(Boolean)) {
		const {secrets, headers, body} = JSON.parse(line);
		const ok = secrets.some(s => { try { new Webhook(s).verify(body, headers); return true } catch { return false } });
		if (!ok) console.log("refused " + headers["webhook-id"]);
	}
});`

// A receiver built on the published libraries accepts every v1 signature, and
// one built on Ed25519 and the JWKS page every v1a, before, during and after a
// rotation of the secret and of the keys.
func TestWebhookSignaturesVerifyElsewhere(t *testing.T) {
	t.Parallel()
	w := hookWorld(t)
	ada := w.person("ada").organization("Hall")
	r := newReceiver(t)
	made := ada.hook(r.url, m{"signature": "both"})
	hook, first := made.str("id"), made.str("secret")
	project := ada.post("/v1/projects", m{"name": "Roof", "key": "ROOF"}).want(201).str("id")
	checked := 0
	step := func(secrets ...string) {
		t.Helper()
		r.mu.Lock()
		r.got = nil
		r.mu.Unlock()
		for i := range 5 {
			ada.post("/v1/projects/"+project+"/tasks", m{"title": fmt.Sprintf("Tile %d: ü <b>", i), "description": "\u2028 \\ \""}).want(201)
		}
		w.settle()
		got := r.accepted()
		if len(got) < 5 {
			t.Fatalf("%d deliveries came", len(got))
		}
		for _, s := range secrets { // each of them alone verifies
			verifyGo(t, s, got)
			verifyNode(t, s, got)
		}
		verifyKeys(t, w, ada.org, got)
		checked += len(got)
	}
	w.settle()
	step(first)
	second := ada.post("/v1/webhook-endpoints/"+hook+"/rotate-secret", m{"overlap_hours": 24}).want(200).str("secret")
	ada.post("/v1/webhook-keys/rotate", m{"overlap_hours": 24}).want(200)
	step(first, second)
	w.sql(`update webhook_secrets set expires_at = now() - interval '1 second' where expires_at is not null`)
	w.sql(`update webhook_keys set expires_at = now() - interval '1 second' where expires_at is not null`)
	step(second)
	if err := verifierOf(t, first).Verify(r.accepted()[0].body, r.accepted()[0].header); err == nil {
		t.Error("the secret that was replaced still verifies")
	}
	third := ada.post("/v1/webhook-endpoints/"+hook+"/rotate-secret", m{"overlap_hours": 0}).want(200).str("secret")
	step(third)
	proved(t, "%d deliveries signed v1 and v1a, before, during and after two rotations: none refused by the Go and JavaScript libraries or by Ed25519 with the JWKS page", checked)
}

func verifierOf(t *testing.T, secret string) *standardwebhooks.Webhook {
	t.Helper()
	v, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func verifyGo(t *testing.T, secret string, got []received) {
	t.Helper()
	v := verifierOf(t, secret)
	for _, g := range got {
		if err := v.Verify(g.body, g.header); err != nil {
			t.Errorf("the Go library refuses event %d: %v", g.sequence, err)
		}
	}
}

func verifyNode(t *testing.T, secret string, got []received) {
	t.Helper()
	var in bytes.Buffer
	for _, g := range got {
		line, err := json.Marshal(m{"secrets": []string{secret}, "body": string(g.body), "headers": m{
			"webhook-id": g.header.Get("Webhook-Id"), "webhook-timestamp": g.header.Get("Webhook-Timestamp"), "webhook-signature": g.header.Get("Webhook-Signature")}})
		if err != nil {
			t.Fatal(err)
		}
		in.Write(append(line, '\n'))
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "-e", verifyJS)
	cmd.Dir, cmd.Stdin = root, &in
	out, err := cmd.CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("the JavaScript library: %v %s", err, out)
	}
}

// verifyKeys verifies v1a with nothing but the standard library and the page
// of public keys.
func verifyKeys(t *testing.T, w *world, org string, got []received) {
	t.Helper()
	var page struct {
		Keys []struct {
			Kty, Crv, X string
		} `json:"keys"`
	}
	w.nobody().get("/v1/organizations/" + org + "/webhook-jwks.json").want(200).into(&page)
	for _, g := range got {
		content := g.id + "." + g.header.Get("Webhook-Timestamp") + "." + string(g.body)
		ok := false
		for _, s := range strings.Fields(g.header.Get("Webhook-Signature")) {
			raw, is := strings.CutPrefix(s, "v1a,")
			if !is {
				continue
			}
			sig, err := base64.StdEncoding.DecodeString(raw)
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range page.Keys {
				pub, err := base64.RawURLEncoding.DecodeString(k.X)
				if err != nil || k.Kty != "OKP" || k.Crv != "Ed25519" {
					t.Fatalf("key %+v: %v", k, err)
				}
				ok = ok || ed25519.Verify(pub, []byte(content), sig)
			}
		}
		if !ok {
			t.Errorf("no key of the page verifies event %d: %s", g.sequence, g.header.Get("Webhook-Signature"))
		}
	}
}

// With ordering by subject a failing event holds back the later ones of its
// subject and no other.
func TestWebhookOrderUnderLoad(t *testing.T) {
	t.Parallel()
	w := hookWorld(t)
	ada := w.person("ada").organization("Hall")
	project := ada.post("/v1/projects", m{"name": "Roof", "key": "ROOF"}).want(201).str("id")
	subjects, changes := count(60, 1000), 4
	r := newReceiver(t)
	var mu sync.Mutex
	tries := map[string]int{}
	r.answers(func(g received) int {
		h := fnv.New32()
		h.Write([]byte(g.id))
		if h.Sum32()%20 != 0 { // 5 % fail, up to three times
			return 204
		}
		mu.Lock()
		defer mu.Unlock()
		if tries[g.id]++; tries[g.id] <= int(h.Sum32()/20%3)+1 {
			return 500
		}
		return 204
	})
	hook := ada.hook(r.url, m{"ordering": "by_subject", "event_types": []string{"task.*"}}).str("id")
	w.settle()
	tasks := make([]string, subjects)
	var writers sync.WaitGroup
	for p := range 4 {
		writers.Go(func() {
			for i := p; i < subjects; i += 4 {
				tasks[i] = ada.post("/v1/projects/"+project+"/tasks", m{"title": "T0"}).want(201).str("id")
			}
			for n := range changes {
				for i := p; i < subjects; i += 4 {
					ada.patch("/v1/tasks/"+tasks[i], m{"title": fmt.Sprint("T", n+1)}).want(200)
				}
			}
		})
	}
	relayed := make(chan struct{})
	go func() {
		writers.Wait()
		close(relayed)
	}()
	for open := true; open; { // the product works while people write
		select {
		case <-relayed:
			open = false
		default:
		}
		w.settle()
	}
	for range 20 { // failures of the last moment
		w.settle()
		if d := ada.dispositions(hook); d["pending"]+d["failed"] == 0 {
			break
		}
	}
	last, inversions, failed := map[string]int64{}, 0, 0
	for _, g := range r.all() {
		if g.status != 204 {
			failed++
			if g.sequence < last[g.subject] {
				inversions++
			}
			continue
		}
		if g.sequence <= last[g.subject] {
			inversions++
		}
		last[g.subject] = g.sequence
	}
	if inversions > 0 {
		t.Errorf("%d inversions", inversions)
	}
	d := ada.dispositions(hook)
	if want := int64(subjects * (changes + 1)); d["delivered"] != want {
		t.Errorf("%v, want %d delivered", d, want)
	}
	if failed == 0 {
		t.Error("nothing failed, so nothing was shown")
	}
	proved(t, "%d subjects, %d events, %d failed attempts: %d inversions", subjects, d["delivered"], failed, inversions)
}

// What comes while an endpoint is paused is held back, visible, and replayed:
// the receiver ends with exactly the log.
func TestWebhookPauseAndReplay(t *testing.T) {
	t.Parallel()
	w := hookWorld(t)
	ada := w.person("ada").organization("Hall")
	r := newReceiver(t)
	hook := ada.hook(r.url, m{"ordering": "by_subject"}).str("id")
	project := ada.post("/v1/projects", m{"name": "Roof", "key": "ROOF"}).want(201).str("id")
	work := func(n int) {
		for i := range n {
			task := ada.post("/v1/projects/"+project+"/tasks", m{"title": "a"}).want(201).str("id")
			ada.patch("/v1/tasks/"+task, m{"title": fmt.Sprint("b", i)}).want(200)
		}
		w.settle()
	}
	work(10)
	ada.patch("/v1/webhook-endpoints/"+hook, m{"enabled": false}).want(200)
	work(25)
	before := r.count()
	d := ada.dispositions(hook)
	if d["paused"] < 50 {
		t.Fatalf("while paused: %v", d)
	}
	work(5)
	if r.count() != before {
		t.Fatal("a paused endpoint was called")
	}
	on := ada.patch("/v1/webhook-endpoints/"+hook, m{"enabled": true}).want(200)
	since := on.str("catch_up_since")
	if since == "" {
		t.Fatalf("it does not say from where to catch up: %s", on.body)
	}
	body := m{"since": since, "status": []string{"paused"}, "dry_run": true}
	planned := ada.post("/v1/webhook-endpoints/"+hook+"/replay", body).want(200).num("count")
	body["dry_run"] = false
	op := ada.post("/v1/webhook-endpoints/"+hook+"/replay", body).want(202).str("id")
	w.settle()
	if o := ada.get("/v1/operations/" + op).want(200); o.str("status") != "done" || o.num("done") != planned {
		t.Errorf("planned %d: %s", planned, o.body)
	}
	wantLog(t, ada, r.accepted(), 1)
	seen := map[string]bool{}
	for _, g := range r.accepted() {
		if seen[g.id] {
			t.Errorf("event %d came twice", g.sequence)
		}
		seen[g.id] = true
	}
	d = ada.dispositions(hook)
	if d["delivered"] != d["total"] {
		t.Errorf("in the end: %v", d)
	}
	proved(t, "%d events while paused, replayed: the receiver has the %d events of the log, each once", planned, len(seen))
}

// A failing endpoint's deliveries wait for their next attempt, then are
// exhausted; 410 disables it at once.
func TestWebhookFailures(t *testing.T) {
	t.Parallel()
	w := hookWorld(t)
	ada := w.person("ada").organization("Hall")
	failing, gone := newReceiver(t), newReceiver(t)
	failing.answers(func(received) int { return 500 })
	gone.answers(func(received) int { return http.StatusGone })
	f := ada.hook(failing.url, m{"retry_schedule": []int{0, 0}, "event_types": []string{"project.created"}}).str("id")
	g := ada.hook(gone.url, m{"event_types": []string{"project.created"}}).str("id")
	w.settle()
	ada.post("/v1/projects", m{"name": "Roof", "key": "ROOF"}).want(201)
	w.settle()
	if d := ada.dispositions(f); d["exhausted"] != 1 || failing.count() != 3 {
		t.Errorf("after three attempts: %v, %d attempts", d, failing.count())
	}
	for i, a := range failing.all() {
		if a.attempt != i+1 || a.id != failing.all()[0].id {
			t.Errorf("attempt %d of %s came as number %d", a.attempt, a.id, i+1)
		}
	}
	e := ada.get("/v1/webhook-endpoints/" + g).want(200)
	if e.at("enabled") != false || e.str("disabled_reason") != "gone" {
		t.Errorf("after 410: %s", e.body)
	}
	types := []string{}
	for _, e := range ada.feed() {
		types = append(types, e.Type)
	}
	if !slices.Contains(types, "webhook_endpoint.disabled") {
		t.Errorf("the log does not tell of it: %v", types)
	}
	if mails := w.mails(ada.email); len(mails) == 0 || !strings.Contains(mails[len(mails)-1].Text, "410") {
		t.Errorf("the owner got no mail about it: %v", mails)
	}
}

// A private project's events go only to endpoints that were granted them.
func TestWebhookPrivateProjects(t *testing.T) {
	t.Parallel()
	w := hookWorld(t)
	ada := w.person("ada").organization("Hall")
	open, all := newReceiver(t), newReceiver(t)
	o := ada.hook(open.url, m{"event_types": []string{"task.*"}}).str("id")
	a := ada.hook(all.url, m{"event_types": []string{"task.*"}, "include_private": true}).str("id")
	project := ada.post("/v1/projects", m{"name": "Secret", "key": "SEC", "visibility": "private"}).want(201).str("id")
	ada.post("/v1/projects/"+project+"/tasks", m{"title": "Hidden"}).want(201)
	w.settle()
	if open.count() != 0 || all.count() != 1 {
		t.Errorf("%d and %d came, want 0 and 1", open.count(), all.count())
	}
	if d := ada.dispositions(o); d["no_match"] != d["total"] {
		t.Errorf("without the grant: %v", d)
	}
	if d := ada.dispositions(a); d["delivered"] != 1 {
		t.Errorf("with the grant: %v", d)
	}
}

// What is queued is held against the visibility and the settings of the moment
// in which it is sent.
func TestWebhookQueuedEventsTurnPrivate(t *testing.T) {
	t.Parallel()
	y := newHookYard(t)
	for _, ordering := range []string{"none", "by_subject"} {
		mine, theirs := newReceiver(t), newReceiver(t)
		mine.answers(func(received) int { return 500 })
		start := time.Now()
		hook := y.ada.hook(mine.url, m{"event_types": []string{"task.*"}, "include_private": true, "ordering": ordering, "retry_schedule": []int{3600}}).str("id")
		secret := y.ada.post("/v1/projects", m{"name": "Hidden", "key": "HID" + strings.ToUpper(ordering[:1]), "visibility": "private"}).want(201).str("id")
		task := y.ada.post("/v1/projects/"+secret+"/tasks", m{"title": "Hush"}).want(201).str("id")
		y.ada.patch("/v1/tasks/"+task, m{"title": "Hush, hush"}).want(200)
		open := y.tasks(1)
		y.settle()
		tried := mine.count()
		y.patch(hook, m{"include_private": false})
		y.patch(hook, m{"url": theirs.url})
		y.sql(`update webhook_queue set due_at = now() where due_at <> 'infinity'`)
		y.settle()
		for _, g := range theirs.all() {
			if g.subject != "task:"+open[0] {
				t.Errorf("%s: %s was sent though it is private", ordering, g.subject)
			}
		}
		if theirs.count() != 1 {
			t.Errorf("%s: %d came at the new address, want that of the open project", ordering, theirs.count())
		}
		withheld := y.deliveries(hook, "status=filtered")
		if d := y.whole(hook); d["filtered"] != 2 || d["delivered"] != 1 || len(withheld) != 2 {
			t.Errorf("%s: %v", ordering, d)
		}
		for _, d := range withheld {
			if got := y.ada.get("/v1/webhook-deliveries/" + *d.ID).want(200); !strings.Contains(got.str("reason"), "private") {
				t.Errorf("%s: %s", ordering, got.body)
			}
		}
		// It can be asked for once the endpoint may have it.
		y.patch(hook, m{"include_private": true, "url": mine.url})
		mine.answers(func(received) int { return 204 })
		if o := y.replay(hook, m{"since": start, "status": []string{"filtered"}}); o.num("done") != 2 || mine.count() != tried+2 {
			t.Errorf("%s: %d came of %s", ordering, mine.count()-tried, o.body)
		}
		if n := y.sql(`select count(*) from webhook_queue`)[0]["count"]; n != int64(0) {
			t.Errorf("%s: %d are left in the queue", ordering, n)
		}
		y.ada.delete("/v1/webhook-endpoints/" + hook).want(204)
	}
}

// A filter lets through what it says; one that fails stops only its endpoint.
func TestWebhookFilters(t *testing.T) {
	t.Parallel()
	w := hookWorld(t)
	ada := w.person("ada").organization("Hall")
	urgent, broken, plain := newReceiver(t), newReceiver(t), newReceiver(t)
	u := ada.hook(urgent.url, m{"event_types": []string{"task.created"}, "filter": `event.data.priority == "urgent"`}).str("id")
	b := ada.hook(broken.url, m{"event_types": []string{"task.created"}, "filter": `event.data.no_such_field > 3`}).str("id")
	ada.hook(plain.url, m{"event_types": []string{"task.created"}})
	project := ada.post("/v1/projects", m{"name": "Roof", "key": "ROOF"}).want(201).str("id")
	ada.post("/v1/projects/"+project+"/tasks", m{"title": "Leak", "priority": "urgent"}).want(201)
	ada.post("/v1/projects/"+project+"/tasks", m{"title": "Paint"}).want(201)
	w.settle()
	if urgent.count() != 1 || broken.count() != 0 || plain.count() != 2 {
		t.Errorf("%d, %d and %d came, want 1, 0 and 2", urgent.count(), broken.count(), plain.count())
	}
	if d := ada.dispositions(u); d["filtered"] != 1 || d["delivered"] != 1 {
		t.Errorf("filtered: %v", d)
	}
	list := ada.get("/v1/webhook-endpoints/" + b + "/deliveries?status=filtered").want(200)
	if list.len("data") != 2 || !strings.Contains(list.str("data.0.reason"), "filter failed") {
		t.Errorf("the reason is not told: %s", list.body)
	}
}
