package webhooks

import (
	"fmt"
	"net/http"
	"time"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/date"
)

// LocalRequest returns the headers and the body with which an endpoint of the
// default settings and this secret (its raw bytes) would get the event at the
// attempt, counted from 1. guildhall listen sends them to an application on the
// developer's machine, which so cannot tell it from the product; example says
// that the event did not happen.
func LocalRequest(e event.Event, secret []byte, publicURL string, attempt int, example bool, now time.Time) (http.Header, []byte, error) {
	t := target{Secrets: [][]byte{secret}}
	t.Payload, t.Envelope, t.Signature, t.SchemaDate = "full", "standard", signatureV1, date.Of(now)
	m, err := t.compose(e, publicURL)
	if err != nil {
		return nil, nil, fmt.Errorf("webhooks.LocalRequest: %w", err)
	}
	m.Example = example
	sent, _ := t.header(m, attempt, now)
	return sent, m.Body, nil
}
