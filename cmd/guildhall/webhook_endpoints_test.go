package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"golang.org/x/sync/errgroup"

	"github.com/guildhall-dev/guildhall/tenant"
)

const endpoints = "/v1/webhook-endpoints"

// receiving starts a world whose webhooks may reach this machine.
func receiving(t testing.TB) *world {
	t.Helper()
	return newWorldOf(t, "GUILDHALL_OUTBOUND_ALLOW=127.0.0.0/8", "GUILDHALL_RATE_LIMIT=off")
}

// answering is a receiver that answers one status to all.
func answering(t testing.TB, status int) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	t.Cleanup(srv.Close)
	return srv.URL
}

// pausedHook makes an endpoint to which nothing is sent.
func (c *client) pausedHook(more m) *reply {
	c.w.t.Helper()
	body := m{"url": "https://example.com/hook", "enabled": false}
	for k, v := range more {
		body[k] = v
	}
	return c.post(endpoints, body).want(201)
}

func TestWebhookEndpointLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")

	plain := ann.post(endpoints, m{"url": "https://example.com/hook", "enabled": false}).want(201)
	for field, want := range map[string]any{
		"url": "https://example.com/hook", "description": "", "filter": "", "ordering": "none", "payload": "full", "envelope": "standard",
		"signature": "v1", "include_private": false, "rate_limit": nil, "max_in_flight": nil, "timeout_seconds": json.Number("15"),
		"retry_schedule": nil, "schema_date": time.Now().UTC().Format(time.DateOnly), "disabled_reason": "manual", "version": json.Number("1"),
	} {
		if got := plain.at(field); got != want {
			t.Errorf("%s is %v, want %v", field, got, want)
		}
	}
	if plain.len("event_types") != 0 || plain.len("headers") != 0 || plain.str("disabled_at") == "" || plain.str("catch_up_since") == "" {
		t.Errorf("made %s", plain.body)
	}
	path := endpoints + "/" + plain.str("id")
	if plain.header("Location") != path || plain.header("ETag") != `"1"` || plain.header("Cache-Control") != "no-store" {
		t.Errorf("headers %v", plain.head)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(plain.str("secret"), "whsec_"))
	if err != nil || len(raw) != 32 {
		t.Errorf("secret %q: %v", plain.str("secret"), err)
	}

	full := ann.pausedHook(m{
		"description": "Warehouse", "event_types": []string{"task.created", "comment.*", "task.created"}, "filter": `event.type != "task.updated"`,
		"headers":  m{"authorization": "Bearer hush-hush", "x-tenant": "7"},
		"ordering": "by_subject", "payload": "thin", "envelope": "cloudevents", "signature": "both", "include_private": true, "rate_limit": 50,
		"max_in_flight": 5, "timeout_seconds": 3, "retry_schedule": []int{0, 60, 3600}, "schema_date": "2026-03-01",
	})
	got := ann.get(endpoints + "/" + full.str("id")).want(200)
	if got.header("ETag") != `"1"` || got.at("secret") != nil || got.len("event_types") != 2 || got.str("headers.0") != "Authorization" || got.str("headers.1") != "X-Tenant" {
		t.Errorf("read %s", got.body)
	}
	for field, want := range map[string]string{"ordering": "by_subject", "payload": "thin", "envelope": "cloudevents", "signature": "both", "schema_date": "2026-03-01", "description": "Warehouse"} {
		if got.str(field) != want {
			t.Errorf("%s is %q, want %q", field, got.str(field), want)
		}
	}
	if got.num("rate_limit") != 50 || got.num("max_in_flight") != 5 || got.num("timeout_seconds") != 3 || got.len("retry_schedule") != 3 || got.at("include_private") != true {
		t.Errorf("read %s", got.body)
	}

	list := ann.get(endpoints + "?include=total&limit=1").want(200)
	if list.num("total") != 2 || list.str("data.0.id") != plain.str("id") || list.str("next_cursor") == "" {
		t.Errorf("list %s", list.body)
	}
	if next := ann.get(endpoints + "?limit=1&cursor=" + list.str("next_cursor")).want(200); next.str("data.0.id") != full.str("id") || next.at("next_cursor") != nil {
		t.Errorf("next page %s", next.body)
	}

	ann.delete(path, `If-Match: "7"`).want(412).code("version_conflict")
	ann.delete(path).want(204)
	ann.delete(path).want(404)
	for _, gone := range []string{path, path + "/secret"} {
		ann.get(gone).want(404).code("not_found")
	}
	ann.patch(path, m{"description": "x"}).want(404)
	ann.post(path+"/rotate-secret", nil).want(404)
	if list := ann.get(endpoints + "?include=total").want(200); list.num("total") != 1 {
		t.Errorf("list %s", list.body)
	}
	if rows := w.sql(`select count(*) as n from webhook_secrets where endpoint_id = $1`, plain.str("id")); rows[0]["n"] != int64(0) {
		t.Errorf("%v secrets outlive their endpoint", rows[0]["n"])
	}
	w.settle()
	feed := ann.get("/v1/events?type=webhook_endpoint.*&limit=200").want(200)
	types := []string{}
	for i := range feed.len("data") {
		types = append(types, feed.str(fmt.Sprint("data.", i, ".type")))
	}
	if !slices.Equal(types, []string{"webhook_endpoint.created", "webhook_endpoint.created", "webhook_endpoint.deleted"}) {
		t.Errorf("the feed has %q", types)
	}
}

func TestWebhookEndpointChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	hook := ann.pausedHook(m{"headers": m{"X-A": "hush-1", "X-B": "hush-2"}})
	path := endpoints + "/" + hook.str("id")

	changed := ann.patch(path, m{"description": "Now with words", "event_types": []string{"task.*"}, "rate_limit": 5}, `If-Match: "1"`).want(200)
	if changed.num("version") != 2 || changed.header("ETag") != `"2"` || changed.str("event_types.0") != "task.*" || changed.num("rate_limit") != 5 || changed.len("headers") != 2 {
		t.Errorf("changed %s", changed.body)
	}
	stale := ann.patch(path, m{"description": "x"}, `If-Match: "1"`).want(412).code("version_conflict")
	if stale.num("current.version") != 2 || stale.str("current.description") != "Now with words" {
		t.Errorf("stale: %s", stale.body)
	}
	if same := ann.patch(path, m{"description": "Now with words", "headers": m{"x-a": "hush-1", "X-Never": nil}}).want(200); same.num("version") != 2 {
		t.Errorf("a change of nothing made version %d", same.num("version"))
	}
	// Only the value changes: it shows nowhere, and counts all the same.
	if v := ann.patch(path, m{"headers": m{"x-a": "hush-3"}}).want(200); v.num("version") != 3 {
		t.Errorf("a new value of a header made version %d", v.num("version"))
	}
	less := ann.patch(path, m{"headers": m{"x-a": nil, "X-C": "hush-4"}, "rate_limit": nil, "event_types": []string{}}).want(200)
	if less.at("rate_limit") != nil || less.len("event_types") != 0 || less.len("headers") != 2 || less.str("headers.0") != "X-B" || less.str("headers.1") != "X-C" {
		t.Errorf("changed %s", less.body)
	}
	if none := ann.patch(path, m{"headers": m{"X-B": nil, "X-C": nil}}).want(200); none.len("headers") != 0 {
		t.Errorf("changed %s", none.body)
	}
	ann.patch(path, m{"retry_schedule": []int{1, 2}}).want(200)
	if def := ann.patch(path, m{"retry_schedule": nil}).want(200); def.at("retry_schedule") != nil || def.num("version") != 7 {
		t.Errorf("changed %s", def.body)
	}
	// Each version is kept, for what became of an event under it.
	if rows := w.sql(`select count(*) as n, max(version) as last from webhook_settings where endpoint_id = $1`, hook.str("id")); rows[0]["n"] != int64(7) || rows[0]["last"] != int64(7) {
		t.Errorf("settings: %v", rows[0])
	}

	// The path of an address stays out of the events, and a change of it does not.
	if moved := ann.patch(path, m{"url": "https://example.com/secret-5"}).want(200); moved.str("url") != "https://example.com/secret-5" || moved.num("version") != 8 {
		t.Errorf("moved: %s", moved.body)
	}
	w.settle()
	feed := ann.get("/v1/events?type=webhook_endpoint.updated").want(200)
	if feed.str("data.6.data.url") != "https://example.com/..." || feed.at("data.6.previous") != nil || strings.Contains(string(feed.body), "secret-5") {
		t.Errorf("feed: %s", feed.body)
	}
	if feed.len("data") != 7 || feed.str("data.0.previous.description") != "" || feed.at("data.0.previous.rate_limit") != nil || feed.at("data.1.previous") != nil || feed.str("data.2.previous.headers.0") != "X-A" {
		t.Errorf("feed: %s", feed.body)
	}
	// The values stand nowhere in clear.
	for _, row := range w.sql(`select e::text as t from event_log e union all select e::text from webhook_endpoints e union all select s::text from webhook_settings s`) {
		if strings.Contains(row["t"].(string), "hush-") {
			t.Errorf("a header's value is in clear: %.300s", row["t"])
		}
	}
}

func TestWebhookEndpointRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	path := endpoints + "/" + ann.pausedHook(nil).str("id")
	many := m{}
	for i := range 21 {
		many[fmt.Sprint("X-", i)] = "v"
	}
	for name, c := range map[string]struct {
		body    m
		pointer string
	}{
		"unknown type":          {m{"event_types": []string{"task.created", "task.craeted"}}, "/event_types/1"},
		"unknown noun":          {m{"event_types": []string{"tusk.*"}}, "/event_types/0"},
		"internal type":         {m{"event_types": []string{"call.denied"}}, "/event_types/0"},
		"a filter that is none": {m{"filter": "event.type =="}, "/filter"},
		"a filter of text":      {m{"filter": `"text"`}, "/filter"},
		"long filter":           {m{"filter": strings.Repeat("a", 2001)}, "/filter"},
		"reserved header":       {m{"headers": m{"webhook-id": "x"}}, "/headers/webhook-id"},
		"header of the body":    {m{"headers": m{"Content-Type": "x"}}, "/headers/Content-Type"},
		"header twice":          {m{"headers": m{"X-A": "1", "x-a": "2"}}, "/headers/x-a"},
		"header with a line":    {m{"headers": m{"X-A": "1\r\nX-B: 2"}}, "/headers/X-A"},
		"header name":           {m{"headers": m{"X A": "1"}}, "/headers"},
		"empty header":          {m{"headers": m{"X-A": ""}}, "/headers/X-A"},
		"long header":           {m{"headers": m{"X-A": strings.Repeat("a", 2001)}}, "/headers/X-A"},
		"many headers":          {m{"headers": many}, "/headers"},
		"ordering":              {m{"ordering": "fifo"}, "/ordering"},
		"signature":             {m{"signature": "v2"}, "/signature"},
		"no timeout":            {m{"timeout_seconds": 0}, "/timeout_seconds"},
		"long timeout":          {m{"timeout_seconds": 31}, "/timeout_seconds"},
		"rate":                  {m{"rate_limit": 0}, "/rate_limit"},
		"in flight":             {m{"max_in_flight": 101}, "/max_in_flight"},
		"empty schedule":        {m{"retry_schedule": []int{}}, "/retry_schedule"},
		"wait of two days":      {m{"retry_schedule": []int{5, 172800}}, "/retry_schedule/1"},
		"schema of tomorrow":    {m{"schema_date": time.Now().UTC().AddDate(0, 0, 2).Format(time.DateOnly)}, "/schema_date"},
		"no day":                {m{"schema_date": "yesterday"}, "/schema_date"},
		"null description":      {m{"description": nil}, "/description"},
		"unknown field":         {m{"secret": "whsec_mine"}, "/secret"},
	} {
		with := m{"url": "https://example.com/hook"}
		for k, v := range c.body {
			with[k] = v
		}
		for _, r := range []*reply{ann.post(endpoints, with), ann.patch(path, c.body)} {
			if r.want(422).code("validation_failed").str("errors.0.pointer") != c.pointer {
				t.Errorf("%s: %s, want a complaint about %s", name, r.body, c.pointer)
			}
		}
	}
	if r := ann.post(endpoints, m{"url": "https://example.com", "event_types": []string{"task.craeted"}}).want(422); !strings.Contains(r.str("errors.0.message"), `"task.created"`) {
		t.Errorf("no suggestion in %s", r.body)
	}
	ann.post(endpoints, m{}).want(422)
	ann.post(endpoints, m{"url": ""}).want(422)
	ann.post(endpoints, m{"url": "https://example.com/" + strings.Repeat("a", 2100)}).want(422)
	if got := ann.get(path).want(200); got.num("version") != 1 {
		t.Errorf("a refused change left %s", got.body)
	}
}

// An address inside is refused when it is saved, with the reason, whatever its
// spelling.
func TestWebhookEndpointAddresses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	path := endpoints + "/" + ann.pausedHook(nil).str("id")
	for _, url := range []string{
		"http://127.0.0.1/hook", "http://127.0.0.1:5432", "https://localhost/", "http://LOCALHOST.:80/", "http://api.localhost/", "http://[::1]/", "http://[::ffff:127.0.0.1]/",
		"http://[::ffff:7f00:1]/", "http://10.1.2.3/", "http://172.16.0.1/", "http://192.168.1.1/", "http://169.254.169.254/latest/meta-data/", "http://100.64.0.1/",
		"http://0.0.0.0/", "http://[fd00::1]/", "http://[fe80::1]/", "http://[64:ff9b::7f00:1]/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/",
		"http://127.1/", "http://168.63.129.16/", "http://192.0.2.1/", "http://224.0.0.1/", "http://255.255.255.255/", "http://user:secret@example.com/",
		"ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "javascript:alert(1)", "http://", "http:///hook", "http://１２７.0.0.1/",
	} {
		for _, r := range []*reply{ann.post(endpoints, m{"url": url}), ann.patch(path, m{"url": url})} {
			if r.want(422).code("url_blocked"); r.str("errors.0.pointer") != "/url" || len(r.str("errors.0.message")) < 10 {
				t.Errorf("%s: %s", url, r.body)
			}
		}
	}
	for _, url := range []string{"//example.com/hook", "example.com/hook", "/hook", "http://[::1", "http://a b/"} {
		if r := ann.post(endpoints, m{"url": url}).want(422); r.str("errors.0.pointer") != "/url" {
			t.Errorf("%s: %s", url, r.body)
		}
	}
	// What is refused does not tell what a name resolves to here.
	if r := ann.post(endpoints, m{"url": "http://localhost/"}).want(422); strings.Contains(string(r.body), "127.0.0.1") {
		t.Errorf("the answer tells too much: %s", r.body)
	}
	if n := ann.get(endpoints + "?include=total").want(200).num("total"); n != 1 {
		t.Errorf("%d endpoints were saved", n)
	}
	// The operator may open a range.
	w2 := receiving(t)
	bob := w2.person("bob").organization("Bobs")
	bob.post(endpoints, m{"url": "http://127.0.0.1:1/hook"}).want(201)
	bob.post(endpoints, m{"url": "http://127.0.0.1:1/hook", "headers": m{"Host": "x"}}).want(422)
	bob.post(endpoints, m{"url": "http://10.0.0.1/hook"}).want(422).code("url_blocked")
}

func TestWebhookEndpointRights(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	admin, member := w.join(ann, w.person("ada"), "admin"), w.join(ann, w.person("mia"), "member")
	ann.post("/v1/roles", m{"key": "auditor", "name": "Auditor", "permissions": []string{"webhooks.read", "events.read"}}).want(201)
	ann.post("/v1/roles", m{"key": "plumber", "name": "Plumber", "permissions": []string{"webhooks.read", "webhooks.manage"}}).want(201)
	auditor, plumber := w.join(ann, w.person("aud"), "auditor"), w.join(ann, w.person("plu"), "plumber")
	eve := w.person("eve").organization("Eves")
	private := admin.pausedHook(m{"include_private": true})
	path := endpoints + "/" + private.str("id")

	member.get(endpoints).want(403).code("permission_denied")
	auditor.get(path).want(200)
	auditor.get(path + "/secret").want(403)
	for _, c := range []*client{auditor, member} {
		c.post(endpoints, m{"url": "https://example.com"}).want(403)
		c.patch(path, m{"enabled": true}).want(403)
		c.delete(path).want(403)
		c.post(path+"/rotate-secret", m{}).want(403)
		c.post("/v1/webhook-keys/rotate", m{}).want(403)
	}
	for _, r := range []*reply{eve.get(path), eve.get(path + "/secret"), eve.patch(path, m{"url": "https://eve.example.com"}), eve.delete(path), eve.post(path+"/rotate-secret", m{})} {
		r.want(404).code("not_found")
	}
	// Events of private projects go out only for those who may join such projects.
	plumber.pausedHook(nil)
	for _, r := range []*reply{
		plumber.post(endpoints, m{"url": "https://example.com", "include_private": true}),
		plumber.patch(endpoints+"/"+plumber.pausedHook(nil).str("id"), m{"include_private": true}),
		plumber.patch(path, m{"url": "https://plumber.example.com"}),
		plumber.patch(path, m{"url": "https://plumber.example.com", "include_private": false}),
	} {
		if r.want(403).code("permission_denied").str("permission") != "projects.manage" {
			t.Errorf("refused with %s", r.body)
		}
	}
	plumber.patch(path, m{"description": "touched"}).want(200)
	plumber.get(path + "/secret").want(200)
	w.settle()
	if n := auditor.get("/v1/events?type=webhook_endpoint.*").want(200).len("data"); n != 4 {
		t.Errorf("who may read webhooks is told of %d events, want 4", n)
	}
	if n := member.get("/v1/events?type=webhook_endpoint.*").want(200).len("data"); n != 0 {
		t.Errorf("a member is told of %d events about webhooks", n)
	}
}

func TestWebhookSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	key := "Idempotency-Key: make-one"
	hook := ann.post(endpoints, m{"url": "https://example.com/hook", "enabled": false}, key).want(201)
	again := ann.post(endpoints, m{"url": "https://example.com/hook", "enabled": false}, key).want(201)
	if again.header("Idempotency-Replayed") != "true" || again.str("secret") != hook.str("secret") || again.str("id") != hook.str("id") {
		t.Errorf("the repeat gave %s", again.body)
	}
	path := endpoints + "/" + hook.str("id")
	for range 3 {
		if s := ann.get(path + "/secret").want(200); s.str("secret") != hook.str("secret") || s.header("Cache-Control") != "no-store" {
			t.Errorf("the secret is %s", s.body)
		}
	}
	reads := ann.get("/v1/audit-log?type=record.read").want(200)
	if reads.len("data") != 1 || reads.str("data.0.subject.id") != hook.str("id") || reads.str("data.0.data.operation") != "get-webhook-secret" || reads.num("data.0.occurrences") != 3 {
		t.Errorf("the audit log says %s", reads.body)
	}

	// The overlap: given, default, and none at all.
	valid := func() int64 {
		return w.sql(`select count(*) as n from webhook_secrets where endpoint_id = $1 and (expires_at is null or expires_at > now())`, hook.str("id"))[0]["n"].(int64)
	}
	until := func(r *reply) time.Duration {
		at, err := time.Parse(time.RFC3339, r.str("previous_expires_at"))
		if err != nil {
			t.Fatalf("%v: %s", err, r.body)
		}
		return time.Until(at).Round(time.Minute)
	}
	first := ann.post(path+"/rotate-secret", m{"overlap_hours": 168}, "Idempotency-Key: r").want(200)
	if until(first) != 168*time.Hour || first.str("secret") == hook.str("secret") || valid() != 2 {
		t.Errorf("rotated: %s, %d valid", first.body, valid())
	}
	if r := ann.post(path+"/rotate-secret", m{"overlap_hours": 168}, "Idempotency-Key: r").want(200); r.str("secret") != first.str("secret") || valid() != 2 {
		t.Errorf("the repeat rotated again: %s", r.body)
	}
	if s := ann.get(path + "/secret").want(200); s.str("secret") != first.str("secret") {
		t.Errorf("the current secret is %s", s.body)
	}
	second := ann.post(path+"/rotate-secret", nil).want(200)
	if until(second) != 24*time.Hour || valid() != 3 {
		t.Errorf("rotated: %s, %d valid", second.body, valid())
	}
	// The first ends no later than the second.
	if rows := w.sql(`select count(*) as n from webhook_secrets where endpoint_id = $1 and expires_at > now() + interval '25 hours'`, hook.str("id")); rows[0]["n"] != int64(0) {
		t.Error("an older secret outlives a newer one")
	}
	ann.post(path+"/rotate-secret", m{}).want(200)
	ann.post(path+"/rotate-secret", m{}).want(200)
	ann.post(path+"/rotate-secret", m{}).want(409).code("webhook_secret_limit")
	if valid() != 5 {
		t.Errorf("%d secrets are valid", valid())
	}
	if now := ann.post(path+"/rotate-secret", m{"overlap_hours": 0}).want(200); valid() != 1 || until(now) > 0 {
		t.Errorf("rotated at once: %s, %d valid", now.body, valid())
	}
	for _, bad := range []any{m{"overlap_hours": -1}, m{"overlap_hours": 169}, m{"overlap_hours": nil}, m{"overlap_hours": "1"}, m{"hours": 1}, "[]", "null"} {
		if r := ann.post(path+"/rotate-secret", bad); r.status != 422 {
			t.Errorf("%v: %d %s", bad, r.status, r.body)
		}
	}
	if v := ann.get(path).want(200).num("version"); v != 6 {
		t.Errorf("who is sending would not notice: version %d", v)
	}
	w.settle()
	if n := ann.get("/v1/events?type=webhook_endpoint.secret_rotated").want(200).len("data"); n != 5 {
		t.Errorf("%d rotations are in the log", n)
	}
	// No secret stands in the database in clear.
	for _, s := range []string{hook.str("secret"), first.str("secret"), second.str("secret")} {
		raw, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, "whsec_"))
		found := w.sql(`select (select count(*) from idempotency_keys k where position($1 in k.body) > 0 or position($2 in k.body) > 0)
			+ (select count(*) from webhook_secrets s where position($2 in s.secret) > 0)
			+ (select count(*) from event_log e where position($3 in e::text) > 0) as n`, []byte(s), raw, s)
		if found[0]["n"] != int64(0) {
			t.Errorf("a secret is stored in clear")
		}
	}
}

// However many come at once, an organisation gets no more than 100.
func TestWebhookEndpointLimitUnderRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	bob := w.person("bob").organization("Bobs")
	hook := m{"url": "https://1.1.1.1/hook", "enabled": false}
	var g errgroup.Group
	g.SetLimit(40)
	made := make([]*reply, 130)
	for i := range made {
		g.Go(func() (err error) {
			made[i], err = ann.try("POST", endpoints, hook)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	ok := 0
	for _, r := range made {
		if r.status == 201 {
			ok++
		} else {
			r.want(409).code("webhook_endpoint_limit")
		}
	}
	if n := ann.get(endpoints + "?include=total").want(200).num("total"); ok != 100 || n != 100 {
		t.Fatalf("%d were made, %d are there", ok, n)
	}
	bob.post(endpoints, hook).want(201) // has a limit of its own
	// Two are deleted, each by several at once: there is room for two.
	for i := range made {
		if made[i].status != 201 || ok == 98 {
			continue
		}
		ok--
		for range 5 {
			g.Go(func() error {
				r, err := ann.try("DELETE", endpoints+"/"+made[i].str("id"), nil)
				if err == nil && r.status != 204 && r.status != 404 {
					err = fmt.Errorf("delete: %d %s", r.status, r.body)
				}
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	ann.post(endpoints, hook).want(201)
	ann.post(endpoints, hook).want(201)
	ann.post(endpoints, hook).want(409).code("webhook_endpoint_limit")
	proved(t, "130 creations by 40 at a time: 100 endpoints, the others 409")
}

func TestWebhookEndpointPause(t *testing.T) {
	t.Parallel()
	w := receiving(t)
	ann := w.person("ann").organization("Acme")
	hook := ann.post(endpoints, m{"url": answering(t, 500), "event_types": []string{"project.created"}, "retry_schedule": []int{3600}}).want(201)
	path := endpoints + "/" + hook.str("id")
	if hook.at("disabled_reason") != nil || hook.at("catch_up_since") != nil || hook.at("enabled") != true {
		t.Errorf("made %s", hook.body)
	}
	ann.post("/v1/projects", m{"name": "One"}).want(201)
	w.settle()
	dispatch := func() map[string]any {
		return w.sql(`select due_at = 'infinity' as idle, failing_since is null and open_until is null as well, due_at <= now() as due,
			(select count(*) from webhook_queue q where q.endpoint_id = d.endpoint_id) as queued from webhook_dispatch d where endpoint_id = $1`, hook.str("id"))[0]
	}
	if d := dispatch(); d["queued"] != int64(1) || d["well"] != false {
		t.Errorf("after a failure: %v", d)
	}
	paused := ann.patch(path, m{"enabled": false}).want(200)
	if paused.str("disabled_reason") != "manual" || paused.str("disabled_at") == "" || paused.str("catch_up_since") == "" {
		t.Errorf("paused: %s", paused.body)
	}
	if d := dispatch(); d["idle"] != true || d["queued"] != int64(1) {
		t.Errorf("while it is paused: %v", d)
	}
	if again := ann.patch(path, m{"enabled": false, "description": "still"}).want(200); again.str("disabled_at") != paused.str("disabled_at") {
		t.Errorf("paused twice: %s", again.body)
	}
	on := ann.patch(path, m{"enabled": true}).want(200)
	if on.at("disabled_reason") != nil || on.at("disabled_at") != nil || on.str("catch_up_since") != paused.str("catch_up_since") {
		t.Errorf("enabled: %s", on.body)
	}
	if d := dispatch(); d["due"] != true || d["well"] != true {
		t.Errorf("after enabling: %v", d)
	}
	w.settle()
	feed := ann.get("/v1/events?type=webhook_endpoint.updated").want(200)
	if feed.len("data") != 3 || feed.at("data.0.previous.enabled") != true || feed.at("data.2.previous.enabled") != false {
		t.Errorf("the feed says %s", feed.body)
	}
	// Deleting takes what is due along.
	ann.delete(path).want(204)
	w.settle()
	if d := dispatch(); d["queued"] != int64(0) || d["idle"] != true {
		t.Errorf("after deleting: %v", d)
	}
}

// Owners and admins are told of an endpoint that wants no more; the mail does
// not repeat what may be secret in the address.
func TestWebhookEndpointIsDisabledWhenGone(t *testing.T) {
	t.Parallel()
	w := receiving(t)
	ann := w.person("ann").organization("Acme")
	admin, member := w.join(ann, w.person("ada"), "admin"), w.join(ann, w.person("mia"), "member")
	gone := answering(t, http.StatusGone)
	hook := ann.post(endpoints, m{"url": gone + "/hook/s3cr3t?key=s3cr3t", "description": "Old shop", "event_types": []string{"project.*"}}).want(201)
	path := endpoints + "/" + hook.str("id")
	ann.post("/v1/projects", m{"name": "One"}).want(201)
	w.settle()
	got := ann.get(path).want(200)
	if got.at("enabled") != false || got.str("disabled_reason") != "gone" || got.str("disabled_at") == "" || got.str("catch_up_since") == "" || got.num("version") != 2 {
		t.Errorf("the endpoint is %s", got.body)
	}
	if e := ann.get("/v1/events?type=webhook_endpoint.disabled").want(200); e.len("data") != 1 || e.str("data.0.data.disabled_reason") != "gone" || e.str("data.0.actor.type") != "system" {
		t.Errorf("the log says %s", e.body)
	}
	about := func(c *client) (n int) {
		for _, mail := range w.mails(c.email) {
			if !strings.Contains(mail.Subject, "A webhook of Acme was disabled") {
				continue
			}
			n++
			host := strings.TrimPrefix(gone, "http://")
			if !strings.Contains(mail.Text, host) || !strings.Contains(mail.Text, "410") || !strings.Contains(mail.Text, path) || !strings.Contains(mail.Text, "Old shop") || strings.Contains(mail.Text, "s3cr3t") {
				t.Errorf("the mail says %s", mail.Text)
			}
		}
		return n
	}
	if about(ann) != 1 || about(admin) != 1 || about(member) != 0 {
		t.Errorf("mails: owner %d, admin %d, member %d; want 1, 1, 0", about(ann), about(admin), about(member))
	}
	// Its settings can be changed while it is disabled, and it can be enabled.
	ann.patch(path, m{"url": answering(t, 204) + "/hook"}).want(200)
	if on := ann.patch(path, m{"enabled": true}).want(200); on.at("disabled_reason") != nil || on.str("catch_up_since") != got.str("catch_up_since") {
		t.Errorf("enabled: %s", on.body)
	}
}

func TestWebhookKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	jwks := "/v1/organizations/" + ann.org + "/webhook-jwks.json"
	nobody := w.nobody()
	set := nobody.get(jwks).want(200)
	if set.len("keys") != 0 || set.header("Cache-Control") != "public, max-age=300" {
		t.Errorf("before there is a key: %v %s", set.head, set.body)
	}
	nobody.get("/v1/organizations/0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07/webhook-jwks.json").want(404).code("not_found")
	ann.pausedHook(nil)
	if n := nobody.get(jwks).want(200).len("keys"); n != 0 {
		t.Errorf("an endpoint with v1 alone made %d keys", n)
	}
	// The first key is made when it is needed first, once.
	plain := ann.pausedHook(nil).str("id")
	var g errgroup.Group
	for i := range 12 {
		g.Go(func() error {
			r, err := ann.try("POST", endpoints, m{"url": "https://1.1.1.1/hook", "enabled": false, "signature": []string{"v1a", "both"}[i%2]})
			if i == 0 {
				r, err = ann.try("PATCH", endpoints+"/"+plain, m{"signature": "both"})
			}
			if err == nil && r.status > 201 {
				err = fmt.Errorf("%d %s", r.status, r.body)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	set = nobody.get(jwks).want(200)
	x, err := base64.RawURLEncoding.DecodeString(set.str("keys.0.x"))
	if set.len("keys") != 1 || err != nil || len(x) != ed25519.PublicKeySize || set.str("keys.0.kty") != "OKP" || set.str("keys.0.crv") != "Ed25519" ||
		set.str("keys.0.use") != "sig" || set.str("keys.0.alg") != "EdDSA" || set.str("keys.0.kid") == "" || strings.Contains(string(set.body), `"d"`) {
		t.Fatalf("the set is %s: %v", set.body, err)
	}
	// A rotation keeps the old key for the overlap.
	rotated := ann.post("/v1/webhook-keys/rotate", m{"overlap_hours": 2}).want(200)
	if at, err := time.Parse(time.RFC3339, rotated.str("previous_expires_at")); err != nil || time.Until(at).Round(time.Minute) != 2*time.Hour || rotated.at("expires_at") != nil {
		t.Errorf("rotated: %s", rotated.body)
	}
	both := nobody.get(jwks).want(200)
	if both.len("keys") != 2 || both.str("keys.0.kid") != rotated.str("id") || both.str("keys.0.x") != rotated.str("public_key") || both.str("keys.1.kid") != set.str("keys.0.kid") {
		t.Errorf("the set is %s", both.body)
	}
	// Those that come at once take turns.
	answers := make([]*reply, 10)
	for i := range answers {
		g.Go(func() (err error) {
			answers[i], err = ann.try("POST", "/v1/webhook-keys/rotate", nil)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	ok := 0
	for _, r := range answers {
		if r.status == 200 {
			ok++
		} else {
			r.want(409).code("webhook_key_limit")
		}
	}
	if n := nobody.get(jwks).want(200).len("keys"); ok != 3 || n != 5 {
		t.Errorf("%d rotations, %d keys; want 3 and 5", ok, n)
	}
	last := ann.post("/v1/webhook-keys/rotate", m{"overlap_hours": 0}).want(200)
	if only := nobody.get(jwks).want(200); only.len("keys") != 1 || only.str("keys.0.kid") != last.str("id") {
		t.Errorf("the set is %s", only.body)
	}
	w.settle()
	if e := ann.get("/v1/events?type=webhook_key.rotated").want(200); e.len("data") != 5 || e.str("data.4.data.id") != last.str("id") || strings.Contains(string(e.body), "seed") {
		t.Errorf("the log says %s", e.body)
	}
	// The first rotation of an organisation without a key makes one.
	bob := w.person("bob").organization("Bobs")
	if r := bob.post("/v1/webhook-keys/rotate", m{}).want(200); r.at("previous_expires_at") != nil {
		t.Errorf("rotated: %s", r.body)
	}
	bob.delete("/v1/organization").want(204)
	nobody.get("/v1/organizations/" + bob.org + "/webhook-jwks.json").want(404)
}

// A deleted endpoint stays until its deliveries are gone too, then nothing of
// it is left.
func TestWebhookEndpointPurge(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	var ids []string
	for range 3 {
		ids = append(ids, ann.pausedHook(nil).str("id"))
	}
	ann.delete(endpoints + "/" + ids[0]).want(204)
	ann.delete(endpoints + "/" + ids[1]).want(204)
	w.sql(`update webhook_endpoints set deleted_at = now() - interval '31 days' where id = $1`, ids[0])
	if _, err := tenant.Value[int64](t.Context(), w.app.db.Global(), `select purge_webhook_endpoints(10)`); err == nil {
		t.Error("serve may purge")
	}
	n, err := tenant.Value[int64](t.Context(), w.app.workDB.Global(), `select purge_webhook_endpoints(10)`)
	if err != nil || n != 1 {
		t.Fatalf("purged %d: %v", n, err)
	}
	left := w.sql(`select e.id::text as id, (select count(*) from webhook_settings s where s.endpoint_id = e.id) + (select count(*) from webhook_dispatch d where d.endpoint_id = e.id) as n
		from webhook_endpoints e order by e.id`)
	if len(left) != 2 || left[0]["id"] != ids[1] || left[0]["n"] != int64(2) {
		t.Errorf("left: %v", left)
	}
	if rows := w.sql(`select count(*) as n from webhook_settings where endpoint_id = $1`, ids[0]); rows[0]["n"] != int64(0) {
		t.Error("settings outlive their endpoint")
	}
}

// An example of any public type is sent at once, signed as the events are, and
// waits for nothing.
func TestWebhookEndpointTest(t *testing.T) {
	t.Parallel()
	w := receiving(t)
	ann := w.person("ann").organization("Acme")
	type attempt struct {
		header http.Header
		body   []byte
	}
	var mu sync.Mutex
	var got []attempt
	status := http.StatusInternalServerError
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		got = append(got, attempt{r.Header, body})
		rw.WriteHeader(status)
	}))
	t.Cleanup(srv.Close)
	hook := ann.post(endpoints, m{"url": srv.URL, "event_types": []string{"project.created"}, "filter": "event.sequence > 1000000", "ordering": "by_subject", "retry_schedule": []int{3600}}).want(201)
	path := endpoints + "/" + hook.str("id")
	sent := map[string]string{} // delivery by event type
	for _, of := range []string{"task.created", "comment.created", "webhook_endpoint.disabled"} {
		sent[of] = ann.post(path+"/test", m{"event_type": of}, "Idempotency-Key: "+of).want(202).str("delivery_id")
		if again := ann.post(path+"/test", m{"event_type": of}, "Idempotency-Key: "+of).want(202); again.str("delivery_id") != sent[of] {
			t.Errorf("the repeat made another delivery: %s", again.body)
		}
	}
	w.settle()
	mu.Lock()
	if len(got) != len(sent) {
		t.Fatalf("%d attempts, want %d", len(got), len(sent))
	}
	secret, err := standardwebhooks.NewWebhook(hook.str("secret"))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range got {
		if err := secret.Verify(a.body, a.header); err != nil {
			t.Errorf("the example is not signed: %v", err)
		}
		var e struct {
			ID, Type, Timestamp string
			OrganizationID      string `json:"organization_id"`
			Sequence            *int64
			Actor               struct{ Type, ID string }
			Data                map[string]any
		}
		if err := json.Unmarshal(a.body, &e); err != nil {
			t.Fatal(err)
		}
		at, _ := time.Parse(time.RFC3339, e.Timestamp)
		if sent[e.Type] == "" || e.ID != a.header.Get("Webhook-Id") || e.OrganizationID != ann.org || e.Sequence != nil || e.Actor.Type != "user" || e.Actor.ID != ann.user ||
			len(e.Data) < 5 || time.Since(at) > time.Minute {
			t.Errorf("the example is %s", a.body)
		}
	}
	mu.Unlock()
	rows := w.sql(`select status, attempts, sequence, example is not null as example from webhook_deliveries where endpoint_id = $1`, hook.str("id"))
	for _, r := range rows {
		if r["status"] != "failed" || r["attempts"] != int32(1) || r["sequence"] != nil || r["example"] != true {
			t.Errorf("a delivery is %v", r)
		}
	}
	if len(rows) != len(sent) {
		t.Errorf("%d deliveries", len(rows))
	}
	// No example is in the log.
	for i, types := 0, ann.get("/v1/events?type=task.created,comment.created,webhook_endpoint.disabled").want(200); i < types.len("data"); i++ {
		t.Errorf("the log holds an example: %s", types.body)
	}

	for name, c := range map[string]struct {
		body    any
		pointer string
	}{
		"misspelt": {m{"event_type": "task.craeted"}, "/event_type"}, "a noun": {m{"event_type": "task.*"}, "/event_type"}, "all": {m{"event_type": "*"}, "/event_type"},
		"internal": {m{"event_type": "call.denied"}, "/event_type"}, "none": {m{}, "/event_type"},
	} {
		if r := ann.post(path+"/test", c.body).want(422).code("validation_failed"); r.str("errors.0.pointer") != c.pointer {
			t.Errorf("%s: %s", name, r.body)
		}
	}
	ann.patch(path, m{"enabled": false}).want(200)
	ann.post(path+"/test", m{"event_type": "task.created"}).want(409).code("webhook_endpoint_disabled")
	ann.delete(path).want(204)
	ann.post(path+"/test", m{"event_type": "task.created"}).want(404)
}
