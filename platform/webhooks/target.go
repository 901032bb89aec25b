package webhooks

import (
	"crypto/ed25519"
	"net/http"
	"time"

	"github.com/guildhall-dev/guildhall/internal/id"
)

// target is an endpoint as the sender needs it: with its secrets opened.
type target struct {
	Endpoint
	Organization id.ID
	Header       map[string]string    // custom headers
	Secrets      [][]byte             // raw bytes of every unexpired secret, newest first
	Keys         []ed25519.PrivateKey // of every unexpired key pair of the organisation, newest first; for v1a
}

// message is one event as it goes to one endpoint: the same bytes at every
// attempt with the same settings.
type message struct {
	EventID     id.ID
	Type        string
	Sequence    *int64
	Example     bool // sent by the test operation
	ContentType string
	Body        []byte
}

// outcome is what one attempt came to.
type outcome struct {
	Started        time.Time
	Duration       time.Duration
	RequestHeader  http.Header // as sent, values of custom headers replaced by "***"
	StatusCode     int         // 0 where there was no answer
	ResponseHeader http.Header
	ResponseBody   []byte // first 16 KiB
	Truncated      bool
	Error          string        // in words, "" where it was delivered
	Delivered      bool          // 2xx
	Gone           bool          // 410
	SlowDown       bool          // 429, 502, 503, 504 or a timeout: send less at once
	RetryAfter     time.Duration // asked for by the answer, at most 24 h; 0 = not asked
}
