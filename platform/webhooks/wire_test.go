package webhooks

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"pgregory.net/rapid"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
)

const publicURL = "https://guildhall.test"

// happened is an event as the log has it: with the blanks that Postgres puts
// into JSON, and in the time zone of its session.
func happened() event.Event {
	subject, actor, sequence := id.MustParse("0190a1b2-0000-7000-8000-000000000002"), id.MustParse("0190a1b2-0000-7000-8000-000000000003"), int64(42)
	return event.Event{
		ID: id.MustParse("0190a1b2-0000-7000-8000-000000000001"), Type: "task.updated",
		Timestamp:      time.Date(2026, 7, 1, 14, 0, 0, 123456000, time.FixedZone("", 2*3600)),
		OrganizationID: id.MustParse("0190a1b2-0000-7000-8000-000000000004"), Sequence: &sequence,
		Subject: event.SubjectRef{Type: "task", ID: &subject}, Actor: event.ActorRef{Type: "user", ID: &actor}, SchemaVersion: 1,
		Data: json.RawMessage(`{"id": "0190a1b2-0000-7000-8000-000000000002", "title": "<b> & Grüße", "amount": 12345678901234567890}`), Previous: json.RawMessage(`{"title": "a"}`),
	}
}

func written(t testing.TB, settings Endpoint, e event.Event) message {
	t.Helper()
	m, err := (target{Endpoint: settings}).compose(e, publicURL)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const head = `{"id":"0190a1b2-0000-7000-8000-000000000001","type":"task.updated","timestamp":"2026-07-01T12:00:00.123456Z",` +
	`"organization_id":"0190a1b2-0000-7000-8000-000000000004","sequence":42,"subject":{"type":"task","id":"0190a1b2-0000-7000-8000-000000000002"},` +
	`"actor":{"type":"user","id":"0190a1b2-0000-7000-8000-000000000003"},"schema_version":1,`

const (
	wholeBody = head + `"data":{"id":"0190a1b2-0000-7000-8000-000000000002","title":"<b> & Grüße","amount":12345678901234567890},"previous":{"title":"a"}}`
	thinBody  = head + `"url":"https://guildhall.test/v1/events/0190a1b2-0000-7000-8000-000000000001"}`
)

func TestBodyIsTheEvent(t *testing.T) {
	t.Parallel()
	cloud := func(data string) string {
		return `{"specversion":"1.0","id":"0190a1b2-0000-7000-8000-000000000001","source":"https://guildhall.test/v1/organizations/0190a1b2-0000-7000-8000-000000000004",` +
			`"type":"task.updated","subject":"task/0190a1b2-0000-7000-8000-000000000002","time":"2026-07-01T12:00:00.123456Z","datacontenttype":"application/json",` +
			`"data":` + data + `,"organizationid":"0190a1b2-0000-7000-8000-000000000004","partitionkey":"0190a1b2-0000-7000-8000-000000000002",` +
			`"sequence":"0000000000000042","schemaversion":"1"}`
	}
	for _, c := range []struct {
		settings    Endpoint
		content, is string
	}{
		{Endpoint{Payload: "full", Envelope: "standard"}, "application/json", wholeBody},
		{Endpoint{Payload: "thin", Envelope: "standard"}, "application/json", thinBody},
		{Endpoint{Payload: "full", Envelope: "cloudevents"}, "application/cloudevents+json", cloud(wholeBody)},
		{Endpoint{Payload: "thin", Envelope: "cloudevents"}, "application/cloudevents+json", cloud(thinBody)},
	} {
		m := written(t, c.settings, happened())
		if string(m.Body) != c.is || m.ContentType != c.content {
			t.Errorf("%s %s:\n%s %s\nwant\n%s", c.settings.Payload, c.settings.Envelope, m.ContentType, m.Body, c.is)
		}
		if again := written(t, c.settings, happened()); !bytes.Equal(again.Body, m.Body) {
			t.Errorf("%s %s: not the same bytes again", c.settings.Payload, c.settings.Envelope)
		}
	}
}

// An event without a number, a subject or a person shows null, and no header.
func TestBodyOfAnEventWithoutASequence(t *testing.T) {
	t.Parallel()
	e := happened()
	e.Sequence, e.Subject.ID, e.Actor = nil, nil, event.ActorRef{Type: "system"}
	for _, envelope := range []string{"standard", "cloudevents"} {
		m := written(t, Endpoint{Envelope: envelope}, e)
		if !bytes.Contains(m.Body, []byte(`"sequence":null,"subject":{"type":"task","id":null},"actor":{"type":"system","id":null}`)) || bytes.Contains(m.Body, []byte("partitionkey")) {
			t.Errorf("%s: %s", envelope, m.Body)
		}
		sent, _ := target{}.header(m, 1, time.Now())
		if _, there := sent["Webhook-Sequence"]; there {
			t.Errorf("%s: a sequence in %v", envelope, sent)
		}
	}
}

func TestLargeBodiesGoThin(t *testing.T) {
	t.Parallel()
	for _, envelope := range []string{"standard", "cloudevents"} {
		e := happened()
		e.Data = json.RawMessage(`""`)
		room := maxBody - len(written(t, Endpoint{Envelope: envelope}, e).Body)
		for over, thin := range map[int]bool{0: false, 1: true, 10 << 20: true} {
			e.Data = json.RawMessage(`"` + strings.Repeat("x", room+over) + `"`)
			m := written(t, Endpoint{Payload: "full", Envelope: envelope}, e)
			if got := bytes.Contains(m.Body, []byte(`"url":"https://guildhall.test/v1/events/`)) && len(m.Body) < 2000; got != thin {
				t.Errorf("%s: %d over: thin %v, %d bytes", envelope, over, got, len(m.Body))
			}
		}
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	m := written(t, Endpoint{}, happened())
	now := time.Unix(1_800_000_000, 999)
	to := target{Header: map[string]string{"X-Token": "hunter2", "authorization": "Bearer hunter2", "webhook-id": "forged"}, Secrets: [][]byte{[]byte("a")}}
	to.Signature = "v1"
	sent, shown := to.header(m, 7, now)
	for name, want := range map[string]string{
		"webhook-id": m.EventID.String(), "webhook-timestamp": "1800000000", "webhook-type": "task.updated", "webhook-sequence": "42",
		"webhook-attempt": "7", "webhook-test": "", "Content-Type": "application/json", "X-Token": "hunter2", "Authorization": "Bearer hunter2",
	} {
		if got := sent.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if strings.Contains(fmt.Sprint(shown), "hunter2") || shown.Get("X-Token") != "***" || shown.Get("webhook-id") != m.EventID.String() || len(shown) != len(sent) {
		t.Errorf("shown: %v", shown)
	}
	m.Example = true
	if sent, _ = to.header(m, 1, now); sent.Get("webhook-test") != "true" {
		t.Errorf("an example: %v", sent)
	}
}

// The published library accepts every v1 signature, and the standard library's
// Ed25519 every v1a one, whichever of the secrets and keys a receiver holds:
// before, during and after a rotation.
func TestPublishedLibraryAcceptsTheSignatures(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		to := target{Endpoint: Endpoint{Signature: rapid.SampledFrom([]string{"v1", "v1a", "both"}).Draw(t, "signature"), Envelope: rapid.SampledFrom([]string{"standard", "cloudevents"}).Draw(t, "envelope")}}
		to.Secrets = rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 24, 64), 1, 5).Draw(t, "secrets")
		for _, seed := range rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 32, 32), 1, 3).Draw(t, "seeds") {
			to.Keys = append(to.Keys, ed25519.NewKeyFromSeed(seed))
		}
		e := happened()
		e.Data, _ = json.Marshal(rapid.String().Draw(t, "data"))
		m, err := to.compose(e, publicURL)
		if err != nil {
			t.Fatal(err)
		}
		sent, _ := to.header(m, 1, time.Now())
		for _, secret := range to.Secrets {
			receiver, err := standardwebhooks.NewWebhook("whsec_" + base64.StdEncoding.EncodeToString(secret))
			if err != nil {
				t.Fatal(err)
			}
			if err := receiver.Verify(m.Body, sent); (err == nil) != (to.Signature != "v1a") {
				t.Fatalf("%s: %v", to.Signature, err)
			}
			if err := receiver.Verify(append(slices.Clone(m.Body), ' '), sent); err == nil {
				t.Fatal("another body is accepted")
			}
		}
		for _, key := range to.Keys {
			if got := verifies(key.Public().(ed25519.PublicKey), sent, m.Body); got != (to.Signature != "v1") {
				t.Fatalf("%s: v1a %v", to.Signature, got)
			}
		}
	})
}

// verifies is what a receiver with the JWKS page does.
func verifies(key ed25519.PublicKey, h http.Header, body []byte) bool {
	content := fmt.Sprintf("%s.%s.%s", h.Get("webhook-id"), h.Get("webhook-timestamp"), body)
	for s := range strings.FieldsSeq(h.Get("webhook-signature")) {
		raw, found := strings.CutPrefix(s, "v1a,")
		signature, err := base64.StdEncoding.DecodeString(raw)
		if found && err == nil && ed25519.Verify(key, []byte(content), signature) {
			return true
		}
	}
	return false
}
