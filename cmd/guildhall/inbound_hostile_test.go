package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// TestInboundRefusalsAreAlike sends what proves nothing to sources of all
// states: the answers must not differ.
func TestInboundRefusalsAreAlike(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	create := func(body m) *reply { return ann.post("/v1/inbound-sources", body).want(201) }
	const secret = "a secret of sixteen"
	live := create(m{"name": "Live", "kind": "standard_webhooks"})
	off := create(m{"name": "Off", "kind": "standard_webhooks", "enabled": false})
	gone := create(m{"name": "Gone", "kind": "standard_webhooks"})
	ann.delete(gone.header("Location")).want(204)
	bob := w.person("bob").organization("Closed")
	closed := bob.post("/v1/inbound-sources", m{"name": "Closed", "kind": "standard_webhooks"}).want(201)
	bob.delete("/v1/organization").want(204)
	paths := []string{"/v1/inbound/" + id.New().String(), "/v1/inbound/00000000-0000-0000-0000-000000000000", inboundPath(live)}
	for _, kind := range []m{{"kind": "stripe"}, {"kind": "github", "secret": secret}, {"kind": "hmac", "secret": secret, "hmac": m{"header": "X-S", "algorithm": "sha512"}}} {
		kind["name"] = "x"
		paths = append(paths, inboundPath(create(kind)))
	}
	before := w.sql(`select count(*) from event_log`)[0]["count"]
	var want string
	refused := func(what string, r *reply) {
		t.Helper()
		r.want(401).code("invalid_signature")
		got := r.essence("no id") + strings.Join(headerNames(r), " ")
		if want == "" {
			want = got
		}
		if got != want {
			t.Errorf("%s is told apart:\n%s\n%s", what, got, want)
		}
	}
	for _, source := range []*reply{off, gone, closed} {
		refused(source.str("name"), sendStandard(w, source, "msg", "{}")) // well signed
	}
	other := standardHeaders(t, "whsec_"+base64.StdEncoding.EncodeToString([]byte("nobody knows this secret")), "msg", "{}", time.Now())
	for _, path := range paths {
		refused(path, w.nobody().post(path, "{}"))
		refused(path, w.nobody().post(path, nil))
		refused(path, w.nobody().post(path, "{}", other...))
		refused(path, w.nobody().post(path, "\x00\xff", "Content-Type: nonsense"))
		refused(path, ann.post(path, "{}"))
		w.nobody().post(path, strings.Repeat("x", 1<<20+1)).want(413).code("too_large")
	}
	refused("a body that was changed", w.nobody().post(inboundPath(live), "{} ", standardHeaders(t, live.str("secret"), "msg", "{}", time.Now())...))
	refused("an old one", w.nobody().post(inboundPath(live), "{}", standardHeaders(t, live.str("secret"), "msg", "{}", time.Now().Add(-6*time.Minute))...))
	w.nobody().post("/v1/inbound/none", "{}").want(422)
	w.nobody().get(inboundPath(live)).want(405)
	if after := w.sql(`select count(*) from event_log`)[0]["count"]; after != before {
		t.Errorf("%v events became %v", before, after)
	}
	if n := w.sql(`select count(*) from inbound_messages`)[0]["count"]; n != int64(0) {
		t.Errorf("%v messages were kept", n)
	}
	ann.patch(off.header("Location"), m{"enabled": true}).want(200)
	sendStandard(w, off, "msg", "{}").want(201)
}

func headerNames(r *reply) []string {
	var names []string
	for name := range r.head {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// TestInboundRefusalsTakeTheSameTime compares unknown addresses with sources
// that refuse, small bodies and large ones.
func TestInboundRefusalsTakeTheSameTime(t *testing.T) {
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	live := inboundPath(ann.post("/v1/inbound-sources", m{"name": "Live", "kind": "standard_webhooks"}).want(201))
	rounds, within := count(60, 1000), 1.6
	for _, size := range []int{100, 500_000} {
		body := strings.Repeat("x", size)
		var took [2][]time.Duration // unknown, known
		for i := range 2 * rounds {
			known := (i + i/2) % 2 // first as often as second
			path := []string{"/v1/inbound/" + id.New().String(), live}[known]
			start := time.Now()
			w.nobody().post(path, body, "webhook-id: x", "webhook-timestamp: 1", "webhook-signature: v1,AAAA").want(401)
			took[known] = append(took[known], time.Since(start))
		}
		slices.Sort(took[0])
		slices.Sort(took[1])
		unknown, known := took[0][rounds/2], took[1][rounds/2]
		ratio := float64(known) / float64(unknown)
		t.Logf("%d bytes: known %v, unknown %v, ratio %.3f", size, known, unknown, ratio)
		if ratio > within || ratio < 1/within {
			t.Errorf("%d bytes: medians %v and %v tell known from unknown", size, known, unknown)
		}
	}
}

// TestInboundRaceKeepsOne delivers the same message many times at once: one is
// kept and told of, and every answer names it.
func TestInboundRaceKeepsOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	source := ann.post("/v1/inbound-sources", m{"name": "Shop", "kind": "standard_webhooks"}).want(201)
	path, copies, rounds := inboundPath(source), 50, count(3, 100)
	for round := range rounds {
		msg := fmt.Sprint("msg_", round)
		head := standardHeaders(t, source.str("secret"), msg, "{}", time.Now())
		var g errgroup.Group
		var mu sync.Mutex
		ids, made := map[string]int{}, 0
		for range copies {
			g.Go(func() error {
				r, err := w.nobody().try("POST", path, "{}", head...)
				if err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				if ids[r.str("id")]++; r.status == http.StatusCreated {
					made++
				} else if r.status != http.StatusOK {
					return fmt.Errorf("status %d: %s", r.status, r.body)
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if len(ids) != 1 || made != 1 {
			t.Fatalf("%d copies got the ids %v, %d of them as the first", copies, ids, made)
		}
	}
	if n := w.sql(`select count(*) from inbound_messages`)[0]["count"]; n != int64(rounds) {
		t.Errorf("%v messages were kept of %d", n, rounds)
	}
	if n := len(receivedEvents(ann)); n != rounds {
		t.Errorf("%d events of %d messages", n, rounds)
	}
	proved(t, "%d messages, %d copies of each at once: one message and one event each", rounds, copies)
}

// TestInboundTakesHostileBodies signs the bodies that no other operation may
// take: each is kept as it was, and what the log cannot hold is kept as base64.
func TestInboundTakesHostileBodies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	source := ann.post("/v1/inbound-sources", m{"name": "Shop", "kind": "standard_webhooks"}).want(201)
	bodies := hostile(map[string]any{"type": "x", "id": "y"})
	bodies["numbers"] = "[" + strings.Repeat("1e400,", 200) + "1e-400]"
	bodies["more numbers"] = "[" + strings.Repeat("1e400,", 1000) + "1e131071]"
	bodies["naughty"] = naughtyJSON(t)
	bodies["a megabyte"] = `{"type": "big", "pad": "` + strings.Repeat("é", (1<<20-27)/2) + `"}`
	kept := 0
	for what, body := range bodies {
		r := sendStandard(w, source, strings.ReplaceAll(what, " ", "_"), body)
		if len(body) > 1<<20 {
			r.want(413)
			continue
		}
		kept++
		got := ann.get("/v1/inbound-messages/" + r.want(201).str("id")).want(200)
		var in struct {
			Encoding string `json:"payload_encoding"`
			Payload  json.RawMessage
		}
		got.into(&in)
		if back := inboundBody(t, in.Encoding, in.Payload); back != body && compacted(back) != compacted(body) {
			t.Errorf("%s: %.100q came back as %.100q", what, body, back)
		}
	}
	events := 0
	for _, e := range receivedEvents(ann) {
		data := e.(map[string]any)["data"].(map[string]any)
		none := slices.Contains([]any{"a_megabyte", "deep_arrays", "null"}, data["external_id"]) // two are too large
		if events++; (data["payload"] == nil) != none {
			t.Errorf("the payload of %v in its event is %.100v", data["external_id"], data["payload"])
		}
	}
	if events != kept {
		t.Errorf("%d events of %d messages", events, kept)
	}
}

// inboundBody is the body that a payload stands for.
func inboundBody(t *testing.T, encoding string, payload json.RawMessage) string {
	t.Helper()
	if encoding == "json" {
		return string(payload)
	}
	var text string
	if err := json.Unmarshal(payload, &text); err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func compacted(body string) string {
	var out bytes.Buffer
	if json.Compact(&out, []byte(body)) != nil {
		return "not JSON"
	}
	return out.String()
}

func naughtyJSON(t *testing.T) string {
	t.Helper()
	raw, err := json.Marshal(naughty(t))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestInboundLimitsStrangers(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t)
	path := "/v1/inbound/" + id.New().String()
	for range 300 {
		r := w.nobody().post(path, "{}")
		if r.status == http.StatusTooManyRequests {
			if r.code("rate_limited").header("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			return
		}
		r.want(401)
	}
	t.Error("300 strangers in a row were let in")
}

// TestInboundMessagesArePurged ages messages of two organisations and lets the
// purge take them.
func TestInboundMessagesArePurged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"ann", "bob"} {
		owner := w.person(name).organization(name)
		source := owner.post("/v1/inbound-sources", m{"name": "Shop", "kind": "standard_webhooks"}).want(201)
		for i := range 5 {
			sendStandard(w, source, fmt.Sprint("msg_", i), "{}").want(201)
		}
	}
	for i, days := range []int{40, 31, 29} {
		w.sql(`update inbound_messages set id = overlay(id::text placing $1 from 1 for 13)::uuid where external_id = $2`,
			id.Floor(time.Now().AddDate(0, 0, -days)).String()[:13], fmt.Sprint("msg_", i))
	}
	ctx := context.Background()
	for _, want := range []int64{3, 1, 0} {
		n, err := tenant.Value[int64](ctx, w.app.workDB.Global(), `select purge_inbound_messages(30, 3)`)
		if err != nil || n != want {
			t.Fatalf("a batch of the purge took %d, want %d: %v", n, want, err)
		}
	}
	left := w.sql(`select count(*) as n, min(external_id) as least from inbound_messages`)[0]
	if left["n"] != int64(6) || left["least"] != "msg_2" {
		t.Errorf("what is left: %v", left)
	}
	if _, err := tenant.Value[int64](ctx, w.app.workDB.Global(), `select purge_inbound_messages(0, 3)`); err == nil {
		t.Error("the purge takes what came today")
	}
	if _, err := tenant.Value[int64](ctx, w.app.db.Global(), `select purge_inbound_messages(30, 3)`); err == nil {
		t.Error("serve may purge")
	}
}

// TestInboundGuide runs what the guide for integrators tells to type.
func TestInboundGuide(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	key := ann.post("/v1/api-keys", m{"name": "k", "permissions": []string{"inbound_sources.manage", "inbound_messages.read"}}).want(201).str("key")
	_, rest, begun := strings.Cut(readPage(t, "docs/guides/integrators.md"), "<!-- inbound: begin")
	walk, _, ended := strings.Cut(rest, "<!-- inbound: end")
	if !begun || !ended {
		t.Fatal("the guide has no section between its markers")
	}
	sh, last := newTerminal(t, "URL="+w.url, "KEY="+key), ""
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(walk, -1) {
		last = sh.run(block[1])
	}
	lines := strings.Split(strings.TrimSpace(last), "\n")
	if len(lines) != 3 || !strings.Contains(lines[0], `"duplicate":false`) || !strings.Contains(lines[1], `"duplicate":true`) ||
		!strings.Contains(lines[2], `"external_id":"1"`) || strings.Count(lines[2], `"source_name"`) != 1 {
		t.Errorf("the guide prints:\n%s", last)
	}
}
