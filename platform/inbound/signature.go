package inbound

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/hex"
	"hash"
	"strconv"
	"strings"
	"time"
)

// maxClaims bounds how many signatures of one request are looked at.
const maxClaims = 16

// scheme is how a sender signs.
type scheme struct {
	Kind      string
	HMAC      *InboundHMAC // of kind hmac
	Tolerance time.Duration
}

// headers reads a header of the request, "" where there is none.
type headers func(name string) string

// claim is what a request says of its own signature. One that is not well
// formed claims nothing: it has no MACs.
type claim struct {
	signed [][]byte // the parts of what was signed, in order
	macs   [][]byte // what the sender says is the MAC of that
	timed  bool     // the scheme signs a time
	at     time.Time
	id     string // the sender's id of the event, where a header holds it
}

// read finds the claim of a request.
func (s scheme) read(h headers, body []byte) claim {
	switch s.Kind {
	case kindStandard:
		return readStandard(h, body)
	case kindStripe:
		return readStripe(h("Stripe-Signature"), body)
	case kindGitHub:
		return claim{signed: [][]byte{body}, macs: macsOf(h("X-Hub-Signature-256"), "sha256=", hex.DecodeString), id: h("X-GitHub-Delivery")}
	}
	return s.HMAC.read(h, body)
}

// readStandard reads Standard Webhooks 1.0, also under the names that its
// headers had before it was a standard.
func readStandard(h headers, body []byte) claim {
	prefix := "webhook-"
	if h(prefix+"id") == "" {
		prefix = "svix-"
	}
	c := claim{id: h(prefix + "id")}
	timestamp := h(prefix + "timestamp")
	c.timedAt(timestamp)
	c.signed = [][]byte{[]byte(c.id + "." + timestamp + "."), body}
	// A dot in the id would let another cut of the same bytes pass as well.
	if c.id == "" || strings.Contains(c.id, ".") {
		return c
	}
	for _, part := range strings.Fields(h(prefix + "signature")) {
		if text, ok := strings.CutPrefix(part, "v1,"); ok {
			c.add(decodeBase64(text))
		}
	}
	return c
}

// readStripe reads "t=1492774577,v1=5257a8…,v1=…,v0=…": one v1 for each secret
// that the endpoint has at Stripe. The schemes beside v1 prove nothing.
func readStripe(header string, body []byte) claim {
	var c claim
	timestamp := ""
	for _, part := range strings.Split(header, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch {
		case name == "t" && timestamp == "":
			timestamp = value
		case name == "v1":
			c.add(hex.DecodeString(value))
		}
	}
	c.timedAt(timestamp)
	c.signed = [][]byte{[]byte(timestamp + "."), body}
	return c
}

func (h *InboundHMAC) read(get headers, body []byte) claim {
	decode := hex.DecodeString
	if h.Encoding == "base64" {
		decode = decodeBase64
	}
	c := claim{signed: [][]byte{body}, macs: macsOf(get(h.Header), h.Prefix, decode)}
	if h.TimestampHeader != "" {
		timestamp := get(h.TimestampHeader)
		c.timedAt(timestamp)
		c.signed = [][]byte{[]byte(timestamp + "."), body}
	}
	if h.IDHeader != "" {
		c.id = get(h.IDHeader)
	}
	return c
}

// macsOf reads a header that holds one signature after a prefix.
func macsOf(header, prefix string, decode func(string) ([]byte, error)) [][]byte {
	var c claim
	if text, ok := strings.CutPrefix(strings.TrimSpace(header), prefix); ok {
		c.add(decode(text))
	}
	return c.macs
}

func (c *claim) add(mac []byte, err error) {
	if err == nil && len(mac) > 0 && len(c.macs) < maxClaims {
		c.macs = append(c.macs, mac)
	}
}

// timedAt notes the signed time; one that is no number lies in a distant past.
func (c *claim) timedAt(unixSeconds string) {
	c.timed = true
	if n, err := strconv.ParseInt(unixSeconds, 10, 64); err == nil {
		c.at = time.Unix(n, 0)
	}
}

// matches reports whether the claim is true for one of the secrets. It computes
// the MAC with each of them, whatever it found before.
func (s scheme) matches(c claim, now time.Time, secrets [][]byte) bool {
	found := 0
	for _, secret := range secrets {
		m := hmac.New(s.hash(), secret)
		for _, part := range c.signed {
			m.Write(part)
		}
		want := m.Sum(nil)
		for _, mac := range c.macs {
			found |= subtle.ConstantTimeCompare(mac, want)
		}
	}
	fresh := !c.timed || !c.at.Before(now.Add(-s.Tolerance)) && !c.at.After(now.Add(s.Tolerance))
	return found == 1 && fresh
}

func (s scheme) hash() func() hash.Hash {
	if s.HMAC != nil {
		switch s.HMAC.Algorithm {
		case "sha1":
			return sha1.New
		case "sha512":
			return sha512.New
		}
	}
	return sha256.New
}
