package conformance

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// request is one attempt as it arrived.
type request struct {
	Method, URI, Host string
	Header            http.Header
	Body              []byte
	at                time.Time
}

// clock is how far the timestamp of an attempt may be from its arrival.
const clock = 5 * time.Second

// verify says what is wrong about the attempt by itself.
func (q request) verify(c Credentials, address string) (out []string) {
	complain := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	u, err := url.Parse(address)
	if err != nil {
		return []string{err.Error()}
	}
	if q.Method != http.MethodPost || q.URI != u.RequestURI() || q.Host != u.Host {
		complain("%s %s at %s, want POST %s at %s", q.Method, q.URI, q.Host, u.RequestURI(), u.Host)
	}
	if kind := q.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/json") && !strings.HasPrefix(kind, "application/cloudevents+json") {
		complain("Content-Type %q", kind)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(q.Body, &object); err != nil {
		complain("the body is no JSON object: %v", err)
	}
	for _, name := range []string{"User-Agent", "webhook-id", "webhook-timestamp", "webhook-signature"} {
		if len(q.Header.Values(name)) != 1 || q.Header.Get(name) == "" {
			complain("%s: %q, want one value", name, q.Header.Values(name))
		}
	}
	for _, name := range []string{"Cookie", "Referer", "Proxy-Authorization", "Via", "Forwarded", "X-Forwarded-For"} {
		if v := q.Header.Get(name); v != "" {
			complain("it tells %s: %s", name, v)
		}
	}
	if id := q.Header.Get("webhook-id"); strings.Contains(id, ".") {
		complain("a dot in webhook-id %q: it separates what is signed", id)
	}
	seconds, err := strconv.ParseInt(q.Header.Get("webhook-timestamp"), 10, 64)
	if off := q.at.Sub(time.Unix(seconds, 0)); err != nil || off < -clock || off > clock {
		complain("webhook-timestamp %q at %d", q.Header.Get("webhook-timestamp"), q.at.Unix())
	}
	return append(out, q.signed(c)...)
}

// signed checks the signature as the specification of Standard Webhooks says.
func (q request) signed(c Credentials) (out []string) {
	content := fmt.Sprintf("%s.%s.%s", q.Header.Get("webhook-id"), q.Header.Get("webhook-timestamp"), q.Body)
	secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(c.Secret, "whsec_"))
	if err != nil || c.Secret == "" && len(c.Keys) == 0 {
		return []string{"the sender gave nothing to verify with"}
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(content))
	var v1, v1a bool
	for part := range strings.FieldsSeq(q.Header.Get("webhook-signature")) {
		version, encoded, _ := strings.Cut(part, ",")
		signature, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			out = append(out, fmt.Sprintf("webhook-signature holds %q: %v", part, err))
			continue
		}
		switch version {
		case "v1":
			v1 = v1 || hmac.Equal(signature, mac.Sum(nil))
		case "v1a":
			for _, key := range c.Keys {
				v1a = v1a || ed25519.Verify(key, []byte(content), signature)
			}
		default:
			out = append(out, fmt.Sprintf("webhook-signature holds %q", part))
		}
	}
	if c.Secret != "" && !v1 {
		out = append(out, "no v1 signature is right")
	}
	if len(c.Keys) > 0 && !v1a {
		out = append(out, "no v1a signature is right")
	}
	return out
}

// follows says what is wrong about the attempt as the one after before.
func (q request) follows(before request) (out []string) {
	if a, b := before.Header.Get("webhook-id"), q.Header.Get("webhook-id"); a != b {
		out = append(out, fmt.Sprintf("webhook-id was %s and is %s", a, b))
	}
	if !bytes.Equal(before.Body, q.Body) {
		out = append(out, "the body changed")
	}
	if a, b := before.Header.Get("webhook-timestamp"), q.Header.Get("webhook-timestamp"); b < a {
		out = append(out, fmt.Sprintf("webhook-timestamp went back from %s to %s", a, b))
	}
	return out
}

// extensions looks at what Standard Webhooks does not know.
func (q request) extensions(number int, c testCase) (out []string) {
	got, err := strconv.Atoi(q.Header.Get("webhook-attempt"))
	if err != nil || got < number && !c.resent || got > number && !c.hidden {
		out = append(out, fmt.Sprintf("webhook-attempt %q", q.Header.Get("webhook-attempt")))
	}
	var event struct{ Type string }
	if err := json.Unmarshal(q.Body, &event); err != nil || event.Type == "" || event.Type != q.Header.Get("webhook-type") {
		out = append(out, fmt.Sprintf("webhook-type %q and the body's type %q", q.Header.Get("webhook-type"), event.Type))
	}
	return out
}
