package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/guildhall-dev/guildhall/internal/id"
)

// standardHeaders signs a body as Standard Webhooks says.
func standardHeaders(t testing.TB, secret, msg, body string, at time.Time) []string {
	t.Helper()
	lib, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := lib.Sign(msg, at, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return []string{"webhook-id: " + msg, fmt.Sprintf("webhook-timestamp: %d", at.Unix()), "webhook-signature: " + signature}
}

// sendStandard delivers a body to a source that was just made.
func sendStandard(w *world, source *reply, msg, body string) *reply {
	w.t.Helper()
	return w.nobody().post(inboundPath(source), body, standardHeaders(w.t, source.str("secret"), msg, body, time.Now())...)
}

// inboundPath is the address of a source without the host.
func inboundPath(source *reply) string {
	source.t.Helper()
	path, ok := strings.CutPrefix(source.str("url"), "http://guildhall.test")
	if !ok {
		source.t.Fatalf("the url is %q", source.str("url"))
	}
	return path
}

func hmacHex(secret string, parts ...string) string {
	h := hmac.New(sha256.New, []byte(secret))
	for _, p := range parts {
		h.Write([]byte(p))
	}
	return hex.EncodeToString(h.Sum(nil))
}

func stripeHeader(secret, body string, at time.Time) string {
	return fmt.Sprintf("Stripe-Signature: t=%d,v1=%s", at.Unix(), hmacHex(secret, fmt.Sprint(at.Unix(), "."), body))
}

// receivedEvents are the events of messages, oldest first.
func receivedEvents(c *client) []any {
	c.w.t.Helper()
	c.w.settle()
	return c.get("/v1/events?type=inbound_message.received&limit=200").want(200).at("data").([]any)
}

func TestInboundSources(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	member := w.join(ann, w.person("ben"), "member")

	made := ann.post("/v1/inbound-sources", m{"name": "Shop", "kind": "standard_webhooks"}).want(201)
	one := made.header("Location")
	if !strings.HasPrefix(made.str("secret"), "whsec_") || made.header("Cache-Control") != "no-store" || inboundPath(made) != "/v1/inbound/"+made.str("id") {
		t.Fatalf("%s", made.body)
	}
	for _, r := range []*reply{ann.get(one).want(200), ann.get("/v1/inbound-sources?include=total").want(200)} {
		if bytes.Contains(r.body, []byte("whsec_")) || bytes.Contains(r.body, []byte(`"secret"`)) {
			t.Errorf("the secret is shown again: %s", r.body)
		}
	}
	for _, path := range []string{one, "/v1/inbound-sources", "/v1/inbound-messages"} {
		member.get(path).want(403).code("permission_denied")
	}
	member.post("/v1/inbound-sources", m{"name": "Mine", "kind": "standard_webhooks"}).want(403)

	ann.patch(one, m{"name": "Webshop", "tolerance_seconds": 60}, `If-Match: "1"`).want(200)
	ann.patch(one, m{"name": "Shop"}, `If-Match: "1"`).want(412).code("version_conflict")
	ann.patch(one, m{"name": "Webshop"}).want(200) // nothing changes
	if got := ann.get(one).want(200); got.num("version") != 2 || got.str("name") != "Webshop" {
		t.Errorf("%s", got.body)
	}
	ann.delete(one, `If-Match: "1"`).want(412).code("version_conflict")
	ann.delete(one, `If-Match: "2"`).want(204)
	ann.get(one).want(404)
	w.settle()
	var types []string
	events := ann.get("/v1/events?type=inbound_source.*").want(200)
	for i := range events.len("data") {
		types = append(types, events.str(fmt.Sprintf("data.%d.type", i)))
	}
	if want := []string{"inbound_source.created", "inbound_source.updated", "inbound_source.deleted"}; !slices.Equal(types, want) {
		t.Errorf("the feed has %v", types)
	}
	if bytes.Contains(events.body, []byte("whsec_")) || events.str("data.1.previous.name") != "Shop" {
		t.Errorf("%s", events.body)
	}
}

func TestInboundSourcesRefuseWhatCannotWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	const secret = "a secret of sixteen"
	hmacSettings := m{"header": "X-Signature"}
	for what, c := range map[string]struct {
		body    m
		pointer string
	}{
		"no secret for GitHub":  {m{"name": "x", "kind": "github"}, "/secret"},
		"no secret for HMAC":    {m{"name": "x", "kind": "hmac", "hmac": hmacSettings}, "/secret"},
		"a short secret":        {m{"name": "x", "kind": "github", "secret": "short"}, "/secret"},
		"a secret of no base64": {m{"name": "x", "kind": "standard_webhooks", "secret": "whsec_not base64 at all"}, "/secret"},
		"a secret of few bytes": {m{"name": "x", "kind": "standard_webhooks", "secret": "whsec_AAAAAAAAAAAA"}, "/secret"},
		"no settings":           {m{"name": "x", "kind": "hmac", "secret": secret}, "/hmac"},
		"settings for another":  {m{"name": "x", "kind": "github", "secret": secret, "hmac": hmacSettings}, "/hmac"},
		"a header of two words": {m{"name": "x", "kind": "hmac", "secret": secret, "hmac": m{"header": "X Signature"}}, "/hmac/header"},
		"another algorithm":     {m{"name": "x", "kind": "hmac", "secret": secret, "hmac": m{"header": "X", "algorithm": "md5"}}, "/hmac/algorithm"},
		"another kind":          {m{"name": "x", "kind": "paypal"}, "/kind"},
		"no tolerance":          {m{"name": "x", "kind": "stripe", "tolerance_seconds": 0}, "/tolerance_seconds"},
		"a tolerance of a day":  {m{"name": "x", "kind": "stripe", "tolerance_seconds": 86400}, "/tolerance_seconds"},
		"null for the settings": {m{"name": "x", "kind": "stripe", "hmac": nil}, "/hmac"},
		"an address of its own": {m{"name": "x", "kind": "stripe", "url": "https://example.com"}, "/url"},
	} {
		r := ann.post("/v1/inbound-sources", c.body).want(422).code("validation_failed")
		if r.str("errors.0.pointer") != c.pointer || bytes.Contains(r.body, []byte(secret)) {
			t.Errorf("%s: %s", what, r.body)
		}
	}
	custom := ann.post("/v1/inbound-sources", m{"name": "x", "kind": "hmac", "secret": secret, "enabled": false, "hmac": m{"header": "X-Signature", "id_header": "X-Id"}}).want(201)
	if custom.at("enabled") != false || custom.at("secret") != nil || custom.str("hmac.algorithm") != "sha256" || custom.str("hmac.encoding") != "hex" {
		t.Errorf("%s", custom.body)
	}
	got := ann.patch(custom.header("Location"), m{"hmac": m{"prefix": "v0="}}).want(200)
	if got.str("hmac.prefix") != "v0=" || got.str("hmac.id_header") != "X-Id" || got.str("hmac.header") != "X-Signature" {
		t.Errorf("a patch of one setting: %s", got.body)
	}
	stripe := ann.post("/v1/inbound-sources", m{"name": "x", "kind": "stripe"}).want(201)
	ann.patch(stripe.header("Location"), m{"hmac": m{"prefix": "x"}}).want(422)
	ann.post(stripe.header("Location")+"/rotate-secret", m{}).want(422)
}

func TestInboundStandardWebhooks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	source := ann.post("/v1/inbound-sources", m{"name": "Shop", "kind": "standard_webhooks"}).want(201)
	const body = `{"type": "order.paid", "data": {"total": 12.50, "big": 12345678901234567890}}`
	first := sendStandard(w, source, "msg_1", body).want(201)
	if first.at("duplicate") != false {
		t.Errorf("%s", first.body)
	}
	for _, again := range []string{body, `{"type": "order.paid", "attempt": 2}`} {
		if r := sendStandard(w, source, "msg_1", again).want(200); r.str("id") != first.str("id") || r.at("duplicate") != true {
			t.Errorf("a repeat: %s", r.body)
		}
	}
	second := sendStandard(w, source, "msg_2", body).want(201)

	got := ann.get("/v1/inbound-messages/" + first.str("id")).want(200)
	if got.str("external_id") != "msg_1" || got.str("type") != "order.paid" || got.str("kind") != "standard_webhooks" || got.str("source_name") != "Shop" ||
		got.str("content_type") != "application/json" || got.str("payload_encoding") != "json" || got.num("size") != int64(len(body)) ||
		got.at("payload.data.big") != json.Number("12345678901234567890") {
		t.Errorf("%s", got.body)
	}
	events := receivedEvents(ann)
	if len(events) != 2 {
		t.Fatalf("%d events of two messages", len(events))
	}
	event := events[0].(map[string]any)
	data := event["data"].(map[string]any)
	if event["subject"].(map[string]any)["id"] != first.str("id") || event["actor"].(map[string]any)["type"] != "system" ||
		data["id"] != first.str("id") || data["source_id"] != source.str("id") || data["external_id"] != "msg_1" ||
		data["payload"].(map[string]any)["data"].(map[string]any)["total"] != json.Number("12.50") {
		t.Errorf("the event is %v", event)
	}
	if who := ann.get("/v1/audit-log?operation=deliver-inbound-message").want(200); who.len("data") != 2 || who.str("data.0.source_address") != "127.0.0.1" {
		t.Errorf("the audit log says %s", who.body)
	}

	for query, want := range map[string]int{
		"":                             2,
		"?type=order.paid":             2,
		"?type=order.sent":             0,
		"?source=" + source.str("id"):  2,
		"?source=" + id.New().String(): 0,
		"?since=2999-01-01T00:00:00Z":  0,
		"?since=1969-01-01T00:00:00Z":  2,
		"?since=" + ago(time.Minute):   2,
		"?include=total&limit=1":       1,
		"?limit=1&page=2":              1,
		"?since=" + ago(-time.Minute):  0,
		"?type=order.paid&source=" + source.str("id") + "&since=" + ago(time.Minute): 2,
	} {
		r := ann.get("/v1/inbound-messages" + query).want(200)
		if r.len("data") != want || bytes.Contains(r.body, []byte(`"payload"`)) || strings.Contains(query, "total") && r.num("total") != 2 {
			t.Errorf("%s: %s", query, r.body)
		}
	}
	page := ann.get("/v1/inbound-messages?limit=1").want(200)
	next := ann.get("/v1/inbound-messages?limit=1&cursor=" + page.str("next_cursor")).want(200)
	if page.str("data.0.id") != second.str("id") || next.str("data.0.id") != first.str("id") || next.at("next_cursor") != nil {
		t.Errorf("pages: %s %s", page.body, next.body)
	}
}

// ago is a time before now, as a parameter.
func ago(d time.Duration) string { return time.Now().Add(-d).UTC().Format(time.RFC3339) }

func TestInboundStripe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	source := ann.post("/v1/inbound-sources", m{"name": "Payments", "kind": "stripe"}).want(201)
	path := inboundPath(source)
	const secret = "whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH"
	const body = `{"id": "evt_1NG8Du", "object": "event", "type": "invoice.paid", "pending_webhooks": 2}`
	send := func(secret, body string) *reply {
		t.Helper()
		return w.nobody().post(path, body, stripeHeader(secret, body, time.Now()))
	}
	if source.at("secret_set_at") != nil || source.at("secret") != nil {
		t.Errorf("%s", source.body)
	}
	send(secret, body).want(401).code("invalid_signature")

	rotate := source.header("Location") + "/rotate-secret"
	if r := ann.post(rotate, m{"secret": secret}).want(200); r.at("secret") != nil || r.at("previous_expires_at") != nil || r.header("Cache-Control") != "no-store" {
		t.Errorf("%s", r.body)
	}
	if ann.get(source.header("Location")).want(200).str("secret_set_at") == "" {
		t.Error("the first secret is not told of")
	}
	first := send(secret, body).want(201)
	// Stripe signs each attempt anew, and what it says of the others changes.
	if r := send(secret, strings.Replace(body, "2}", "1}", 1)).want(200); r.str("id") != first.str("id") {
		t.Errorf("%s", r.body)
	}
	w.nobody().post(path, body, stripeHeader(secret, body, time.Now().Add(-6*time.Minute))).want(401)
	w.nobody().post(path, body, stripeHeader(secret, body, time.Now().Add(6*time.Minute))).want(401)
	if got := ann.get("/v1/inbound-messages/" + first.str("id")).want(200); got.str("external_id") != "evt_1NG8Du" || got.str("type") != "invoice.paid" {
		t.Errorf("%s", got.body)
	}
	// All samples have one id.
	for i, want := range []int{201, 200, 201} {
		send(secret, fmt.Sprintf(`{"id": "evt_00000000000000", "type": "charge.failed", "n": %d}`, i/2)).want(want)
	}
	// Without an id the body tells.
	send(secret, `{"type": "x"}`).want(201)
	send(secret, `{"type": "x"}`).want(200)
	send(secret, `{"type": "y"}`).want(201)
	send(secret, `{"id": 17, "type": {"a": 1}}`).want(201)
	send(secret, `{"id": "a\u0000b"}`).want(201)
	if n := len(receivedEvents(ann)); n != 7 {
		t.Errorf("%d events of 7 messages", n)
	}
}

func TestInboundGitHub(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	const secret = "It's a Secret to Everybody"
	source := ann.post("/v1/inbound-sources", m{"name": "Code", "kind": "github", "secret": secret}).want(201)
	send := func(event, delivery, contentType, body string) *reply {
		t.Helper()
		return w.nobody().post(inboundPath(source), body, "X-Hub-Signature-256: sha256="+hmacHex(secret, body),
			"X-GitHub-Event: "+event, "X-GitHub-Delivery: "+delivery, "Content-Type: "+contentType)
	}
	for delivery, c := range map[string]struct{ event, contentType, body, encoding string }{
		"72d3162e-cc78-11e3-81ab-4c9367dc0958": {"ping", "application/json", `{"zen": "Design for failure.", "hook_id": 1}`, "json"},
		"72d3162e-cc78-11e3-81ab-4c9367dc0959": {"push", "application/x-www-form-urlencoded", "payload=%7B%22zen%22%3A%22Design+for+failure.%22%7D", "json"},
		"72d3162e-cc78-11e3-81ab-4c9367dc0960": {"push", "text/plain", "Hello, World!", "base64"},
	} {
		first := send(c.event, delivery, c.contentType, c.body).want(201)
		if r := send(c.event, delivery, c.contentType, c.body).want(200); r.str("id") != first.str("id") {
			t.Errorf("%s", r.body)
		}
		got := ann.get("/v1/inbound-messages/" + first.str("id")).want(200)
		if got.str("external_id") != delivery || got.str("type") != c.event || got.str("payload_encoding") != c.encoding || got.str("content_type") != c.contentType ||
			c.encoding == "json" && got.str("payload.zen") != "Design for failure." ||
			c.encoding == "base64" && got.str("payload") != base64.StdEncoding.EncodeToString([]byte(c.body)) {
			t.Errorf("%s", got.body)
		}
	}
	if n := len(receivedEvents(ann)); n != 3 {
		t.Errorf("%d events of 3 messages", n)
	}
}

func TestInboundHMAC(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	const secret = "a secret of sixteen"
	source := ann.post("/v1/inbound-sources", m{"name": "Own", "kind": "hmac", "secret": secret, "tolerance_seconds": 30, "hmac": m{
		"header": "X-Signature", "prefix": "v0=", "timestamp_header": "X-Time", "id_header": "X-Id",
	}}).want(201)
	send := func(id, body string, at time.Time) *reply {
		t.Helper()
		stamp := fmt.Sprint(at.Unix())
		return w.nobody().post(inboundPath(source), body, "X-Id: "+id, "X-Time: "+stamp, "X-Signature: v0="+hmacHex(secret, stamp, ".", body))
	}
	first := send("1", `{"type": "ready"}`, time.Now()).want(201)
	send("1", "anything", time.Now()).want(200)
	send("2", `{"type": "ready"}`, time.Now()).want(201)
	send("3", `{"type": "ready"}`, time.Now().Add(-40*time.Second)).want(401)
	if got := ann.get("/v1/inbound-messages/" + first.str("id")).want(200); got.str("external_id") != "1" || got.str("type") != "ready" {
		t.Errorf("%s", got.body)
	}
	ann.patch(source.header("Location"), m{"hmac": m{"prefix": "v1="}}).want(200)
	send("4", "{}", time.Now()).want(401)
}

func TestInboundSecretsOverlap(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	source := ann.post("/v1/inbound-sources", m{"name": "Shop", "kind": "standard_webhooks"}).want(201)
	rotate := source.header("Location") + "/rotate-secret"
	number := 0
	send := func(secret string) int {
		t.Helper()
		number++
		msg := fmt.Sprint("msg_", number)
		return w.nobody().post(inboundPath(source), "{}", standardHeaders(t, secret, msg, "{}", time.Now())...).status
	}
	secrets := []string{source.str("secret")}
	for range 2 {
		r := ann.post(rotate, m{"overlap_hours": 1}).want(200)
		until, err := time.Parse(time.RFC3339, r.str("previous_expires_at"))
		if in := time.Until(until); err != nil || in < 59*time.Minute || in > 61*time.Minute {
			t.Fatalf("%s", r.body)
		}
		secrets = append(secrets, r.str("secret"))
	}
	if got := []int{send(secrets[0]), send(secrets[1]), send(secrets[2])}; !slices.Equal(got, []int{401, 201, 201}) {
		t.Errorf("the third, the second and the first before: %v", got)
	}
	w.sql(`update inbound_secrets set expires_at = now() where expires_at is not null`)
	if got := []int{send(secrets[1]), send(secrets[2])}; !slices.Equal(got, []int{401, 201}) {
		t.Errorf("after the overlap: %v", got)
	}
	last := ann.post(rotate, m{"overlap_hours": 0}).want(200)
	if got := []int{send(secrets[2]), send(last.str("secret"))}; !slices.Equal(got, []int{401, 201}) || last.at("previous_expires_at") != nil {
		t.Errorf("without overlap: %v %s", got, last.body)
	}
	// The same request again has the same secret, and makes no second one.
	key := "Idempotency-Key: " + id.New().String()
	if a, b := ann.post(rotate, m{}, key).want(200), ann.post(rotate, m{}, key).want(200); a.str("secret") != b.str("secret") {
		t.Error("a repeated rotation made another secret")
	}
	for _, row := range w.sql(`select secret from inbound_secrets union all select body from idempotency_keys`) {
		if bytes.Contains(row["secret"].([]byte), []byte("whsec_")) {
			t.Error("a secret is stored in clear")
		}
	}
}
