package inbound

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stripe/stripe-go/v76/webhook"
	"pgregory.net/rapid"
)

const tolerance = 5 * time.Minute

// takes reports whether a scheme takes a request at a time.
func takes(s scheme, h http.Header, body []byte, now time.Time, secrets ...[]byte) bool {
	s.Tolerance = tolerance
	return s.matches(s.read(h.Get, body), now, secrets)
}

func key(t *testing.T, kind, text string) []byte {
	t.Helper()
	raw, _, err := settleSecret(kind, text, false)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

const standardSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// standardHeaders signs a body with the published library.
func standardHeaders(t *testing.T, id string, at time.Time, body []byte) http.Header {
	t.Helper()
	lib, err := standardwebhooks.NewWebhook(standardSecret)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := lib.Sign(id, at, body)
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", strconv.FormatInt(at.Unix(), 10))
	h.Set("Webhook-Signature", signature)
	return h
}

func TestStandardWebhooksAsItsLibrarySigns(t *testing.T) {
	t.Parallel()
	now, body := time.Now(), []byte(`{"type":"invoice.paid"}`)
	good := func(id string, at time.Time) http.Header { return standardHeaders(t, id, at, body) }
	s, raw := scheme{Kind: kindStandard}, key(t, kindStandard, standardSecret)
	if !takes(s, good("msg_1", now), body, now, raw) || !takes(s, good("msg_1", now), body, now, []byte("another"), raw) {
		t.Error("the library's signature is refused")
	}
	if c := s.read(good("msg_1", now).Get, body); c.id != "msg_1" {
		t.Errorf("the id is %q", c.id)
	}
	older := http.Header{}
	for name, v := range good("msg_1", now) {
		older["Svix-"+strings.TrimPrefix(name, "Webhook-")] = v
	}
	if !takes(s, older, body, now, raw) {
		t.Error("the names from before the standard are refused")
	}
	for _, off := range []time.Duration{-tolerance + time.Second, tolerance - time.Second} {
		if !takes(s, good("msg_1", now.Add(off)), body, now, raw) {
			t.Errorf("a time %s off is refused", off)
		}
	}
	several := good("msg_1", now)
	several.Set("Webhook-Signature", "v1,AAAA v2,xxx v1a,AAAA "+several.Get("Webhook-Signature"))
	if !takes(s, several, body, now, raw) {
		t.Error("a good signature among others is refused")
	}
}

func TestStandardWebhooksRefusals(t *testing.T) {
	t.Parallel()
	now, body := time.Now(), []byte(`{"type":"invoice.paid"}`)
	good := func(id string, at time.Time) http.Header { return standardHeaders(t, id, at, body) }
	s, raw := scheme{Kind: kindStandard}, key(t, kindStandard, standardSecret)
	for what, change := range map[string]func(http.Header){
		"no id":              func(h http.Header) { h.Del("Webhook-Id") },
		"another id":         func(h http.Header) { h.Set("Webhook-Id", "msg_2") },
		"no time":            func(h http.Header) { h.Del("Webhook-Timestamp") },
		"another time":       func(h http.Header) { h.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix()+1, 10)) },
		"a time in words":    func(h http.Header) { h.Set("Webhook-Timestamp", "now") },
		"no signature":       func(h http.Header) { h.Del("Webhook-Signature") },
		"an empty signature": func(h http.Header) { h.Set("Webhook-Signature", "v1,") },
		"another version":    func(h http.Header) { h.Set("Webhook-Signature", "v1a"+h.Get("Webhook-Signature")[2:]) },
		"no version":         func(h http.Header) { h.Set("Webhook-Signature", h.Get("Webhook-Signature")[3:]) },
		"half a signature":   func(h http.Header) { h.Set("Webhook-Signature", h.Get("Webhook-Signature")[:20]) },
		"too many signatures": func(h http.Header) {
			h.Set("Webhook-Signature", strings.Repeat("v1,AAAA ", maxClaims)+h.Get("Webhook-Signature"))
		},
	} {
		h := good("msg_1", now)
		if change(h); takes(s, h, body, now, raw) {
			t.Errorf("%s is taken", what)
		}
	}
	for _, off := range []time.Duration{-tolerance - 2*time.Second, tolerance + 2*time.Second} {
		if takes(s, good("msg_1", now.Add(off)), body, now, raw) {
			t.Errorf("a time %s off is taken", off)
		}
	}
	if takes(s, good("msg_1", now), append(body, ' '), now, raw) || takes(s, good("msg_1", now), body, now, []byte("another")) {
		t.Error("another body or another secret is taken")
	}
	if h := good("msg.1", now); takes(s, h, body, now, raw) {
		t.Error("an id with a dot is taken: the same bytes could be cut in another place")
	}
}

func TestStripeAsItsLibrarySigns(t *testing.T) {
	t.Parallel()
	const secret = "whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH"
	now, body := time.Now(), []byte(`{"id":"evt_1","object":"event","type":"invoice.paid"}`)
	signed := func(secret string, at time.Time, scheme string) string {
		return webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: body, Secret: secret, Timestamp: at, Scheme: scheme}).Header
	}
	header := func(v string) http.Header { return http.Header{"Stripe-Signature": {v}} }
	s, raw := scheme{Kind: kindStripe}, key(t, kindStripe, secret)
	good := signed(secret, now, "v1")
	mac := good[strings.Index(good, "v1="):]
	for what, h := range map[string]string{
		"as it is":                   good,
		"with spaces":                strings.ReplaceAll(good, ",", ", "),
		"while its secret rolls":     signed("whsec_another", now, "v1") + "," + mac,
		"with the scheme of samples": good + ",v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39",
		"a little old":               signed(secret, now.Add(-tolerance+time.Second), "v1"),
	} {
		if !takes(s, header(h), body, now, raw) {
			t.Errorf("refused %s: %s", what, h)
		}
	}
	for what, h := range map[string]string{
		"nothing":                   "",
		"no time":                   mac,
		"a second time before":      "t=" + strconv.FormatInt(now.Unix()-1, 10) + "," + good,
		"no signature":              good[:strings.Index(good, ",")],
		"another scheme":            signed(secret, now, "v0"),
		"another secret":            signed("whsec_another", now, "v1"),
		"the secret without prefix": signed(strings.TrimPrefix(secret, "whsec_"), now, "v1"),
		"too old":                   signed(secret, now.Add(-tolerance-2*time.Second), "v1"),
		"too new":                   signed(secret, now.Add(tolerance+2*time.Second), "v1"),
		"no hex":                    "t=" + strconv.FormatInt(now.Unix(), 10) + ",v1=xyz",
	} {
		if takes(s, header(h), body, now, raw) {
			t.Errorf("taken %s: %s", what, h)
		}
	}
	if takes(s, header(good), bytes.ToUpper(body), now, raw) {
		t.Error("another body is taken")
	}
}

// The example of GitHub's documentation, "Validating webhook deliveries".
func TestGitHubAsItsDocumentationSays(t *testing.T) {
	t.Parallel()
	s, raw := scheme{Kind: kindGitHub}, key(t, kindGitHub, "It's a Secret to Everybody")
	body := []byte("Hello, World!")
	header := func(v string) http.Header {
		return http.Header{"X-Hub-Signature-256": {v}, "X-Github-Delivery": {"72d3162e-cc78-11e3-81ab-4c9367dc0958"}}
	}
	const mac = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
	if h := header("sha256=" + mac); !takes(s, h, body, time.Now(), raw) || s.read(h.Get, body).id != "72d3162e-cc78-11e3-81ab-4c9367dc0958" {
		t.Error("the documented example is refused")
	}
	for _, bad := range []string{"", mac, "sha1=" + mac, "sha256=", "sha256=" + mac[:62], "sha256=" + mac + "00"} {
		if takes(s, header(bad), body, time.Now(), raw) {
			t.Errorf("%q is taken", bad)
		}
	}
	if takes(s, header("sha256="+mac), []byte("Hello, World"), time.Now(), raw) {
		t.Error("another body is taken")
	}
}

func TestHMACAsTheSourceDescribesIt(t *testing.T) {
	t.Parallel()
	now, body, secret := time.Now(), []byte("\x00 any bytes \xff"), []byte("a secret of sixteen")
	hashes := map[string]func() hash.Hash{"sha256": sha256.New, "sha512": sha512.New, "sha1": sha1.New}
	encodings := map[string]func([]byte) string{"hex": hex.EncodeToString, "base64": base64.StdEncoding.EncodeToString}
	for algorithm, h := range hashes {
		for encoding, encode := range encodings {
			for _, prefix := range []string{"", algorithm + "="} {
				for _, timed := range []bool{false, true} {
					s := InboundHMAC{Header: "X-Sum", Algorithm: algorithm, Encoding: encoding, Prefix: prefix, IDHeader: "X-Event"}
					head, signed := http.Header{"X-Event": {"17"}}, string(body)
					if timed {
						s.TimestampHeader = "X-Time"
						head.Set("X-Time", strconv.FormatInt(now.Unix(), 10))
						signed = head.Get("X-Time") + "." + signed
					}
					m := hmac.New(h, secret)
					m.Write([]byte(signed))
					head.Set("X-Sum", prefix+encode(m.Sum(nil)))
					name := fmt.Sprintf("%s, %s, %q, timed %v", algorithm, encoding, prefix, timed)
					one := scheme{Kind: kindHMAC, HMAC: &s}
					if !takes(one, head, body, now, secret) || one.read(head.Get, body).id != "17" {
						t.Errorf("%s is refused", name)
					}
					if takes(one, head, body[1:], now, secret) || takes(one, head, body, now, secret[1:]) {
						t.Errorf("%s is taken for another body or secret", name)
					}
					if late := now.Add(tolerance + 2*time.Second); takes(one, head, body, late, secret) == timed {
						t.Errorf("%s does not look at its time", name)
					}
					for other := range hashes {
						s := s
						if s.Algorithm = other; other != algorithm && takes(scheme{Kind: kindHMAC, HMAC: &s}, head, body, now, secret) {
							t.Errorf("%s is taken for %s", name, other)
						}
					}
				}
			}
		}
	}
}

// Whatever stands in the headers, reading them ends and proves nothing.
func TestNoiseProvesNothing(t *testing.T) {
	t.Parallel()
	names := []string{"Webhook-Id", "Webhook-Timestamp", "Webhook-Signature", "Stripe-Signature", "X-Hub-Signature-256", "X-Sum"}
	now := time.Now()
	rapid.Check(t, func(t *rapid.T) {
		h := http.Header{}
		for _, name := range names {
			h.Set(name, rapid.OneOf(rapid.String(), rapid.StringMatching(`(t=|v1=|v1,|sha256=|,| |=|[0-9a-f]{2,64}|`+strconv.FormatInt(now.Unix(), 10)+`)*`)).Draw(t, name))
		}
		body := rapid.SliceOf(rapid.Byte()).Draw(t, "body")
		for _, s := range []scheme{{Kind: kindStandard}, {Kind: kindStripe}, {Kind: kindGitHub}, {Kind: kindHMAC, HMAC: &InboundHMAC{Header: "X-Sum"}}} {
			if takes(s, h, body, now, []byte("one secret"), []byte("another")) {
				t.Fatalf("%s takes %v", s.Kind, h)
			}
		}
	})
}

func TestSettleSecret(t *testing.T) {
	t.Parallel()
	raw, shown, err := settleSecret(kindStandard, "", false)
	if err != nil || shown == nil || len(raw) != generatedSize || !slices.Equal(key(t, kindStandard, *shown), raw) {
		t.Errorf("made %v, shown %v: %v", raw, shown, err)
	}
	for _, kind := range []string{kindStripe, kindGitHub, kindHMAC} {
		if raw, shown, err := settleSecret(kind, "whsec_as it is, to the letter", true); string(raw) != "whsec_as it is, to the letter" || shown != nil || err != nil {
			t.Errorf("%s: %q, %v, %v", kind, raw, shown, err)
		}
		raw, shown, err := settleSecret(kind, "", true)
		if raw != nil || shown != nil || (err == nil) != (kind == kindStripe) {
			t.Errorf("%s without a secret: %q, %v, %v", kind, raw, shown, err)
		}
		if _, _, err := settleSecret(kind, "", false); err == nil {
			t.Errorf("%s is rotated to nothing", kind)
		}
	}
	for _, bad := range []string{"whsec_AAAA", "whsec_" + strings.Repeat("A", 90), "whsec_no base64 at all, is it?"} {
		if _, _, err := settleSecret(kindStandard, bad, false); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
