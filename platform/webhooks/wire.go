package webhooks

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/event"
)

const (
	maxBody = 256 << 10 // bytes; a larger body goes thin

	payloadThin         = "thin"
	envelopeCloudEvents = "cloudevents"
	signatureV1         = "v1"
	signatureV1a        = "v1a"

	contentJSON        = "application/json"
	contentCloudEvents = "application/cloudevents+json"
)

// body is an event as a receiver gets it. URL is set where data and previous
// are left out: there they can be fetched.
type body struct {
	event.Event
	URL string `json:"url,omitempty"`
}

// cloudEvent is the envelope of CloudEvents 1.0 in structured JSON mode. Its
// data is the whole body, so that a receiver that unwraps it has what the
// other envelope would have brought. What follows data are extensions.
type cloudEvent struct {
	SpecVersion     string    `json:"specversion"`
	ID              string    `json:"id"`
	Source          string    `json:"source"`
	Type            string    `json:"type"`
	Subject         string    `json:"subject,omitempty"`
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"`
	Data            body      `json:"data"`
	OrganizationID  string    `json:"organizationid"`
	PartitionKey    string    `json:"partitionkey,omitempty"` // of equal keys the order matters
	Sequence        string    `json:"sequence,omitempty"`     // of fixed width: the extension is compared as text
	SchemaVersion   string    `json:"schemaversion"`
}

// compose writes the event as the endpoint wants it: the same bytes for the
// same event and settings.
func (t target) compose(e event.Event, publicURL string) (message, error) {
	publicURL = strings.TrimSuffix(publicURL, "/")
	e.Timestamp = e.Timestamp.UTC()
	m := message{EventID: e.ID, Type: e.Type, Sequence: e.Sequence, ContentType: contentJSON}
	if t.Envelope == envelopeCloudEvents {
		m.ContentType = contentCloudEvents
	}
	var err error
	if t.Payload != payloadThin {
		if m.Body, err = t.encode(body{Event: e}, publicURL); err != nil {
			return message{}, err
		}
		if len(m.Body) <= maxBody {
			return m, nil
		}
	}
	e.Data, e.Previous = nil, nil
	m.Body, err = t.encode(body{Event: e, URL: publicURL + "/v1/events/" + e.ID.String()}, publicURL)
	return m, err
}

func (t target) encode(b body, publicURL string) ([]byte, error) {
	var envelope any = b
	if t.Envelope == envelopeCloudEvents {
		envelope = wrap(b, publicURL)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false) // as on the feed
	if err := enc.Encode(envelope); err != nil {
		return nil, fmt.Errorf("webhooks.compose(%s): %w", b.ID, err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

func wrap(b body, publicURL string) cloudEvent {
	c := cloudEvent{
		SpecVersion: "1.0", ID: b.ID.String(), Source: publicURL + "/v1/organizations/" + b.OrganizationID.String(),
		Type: b.Type, Time: b.Timestamp, DataContentType: contentJSON, Data: b,
		OrganizationID: b.OrganizationID.String(), SchemaVersion: strconv.Itoa(b.SchemaVersion),
	}
	if b.Subject.ID != nil {
		c.PartitionKey = b.Subject.ID.String()
		c.Subject = b.Subject.Type + "/" + c.PartitionKey
	}
	if b.Sequence != nil {
		c.Sequence = fmt.Sprintf("%016d", *b.Sequence)
	}
	return c
}

// header returns what goes over the wire at attempt number, signed at now, and
// the same fit to be shown: with "***" for the values of custom headers.
func (t target) header(m message, number int, now time.Time) (sent, shown http.Header) {
	timestamp := strconv.FormatInt(now.Unix(), 10)
	own := http.Header{
		"Content-Type":      {m.ContentType},
		"Webhook-Id":        {m.EventID.String()},
		"Webhook-Timestamp": {timestamp},
		"Webhook-Signature": {t.sign(m.EventID.String(), timestamp, m.Body)},
		"Webhook-Type":      {m.Type},
		"Webhook-Attempt":   {strconv.Itoa(number)},
	}
	if m.Sequence != nil {
		own["Webhook-Sequence"] = []string{strconv.FormatInt(*m.Sequence, 10)}
	}
	if m.Example {
		own["Webhook-Test"] = []string{"true"}
	}
	sent, shown = make(http.Header, len(own)+len(t.Header)+1), make(http.Header, len(own)+len(t.Header))
	for name, value := range t.Header {
		sent.Set(name, value)
		shown.Set(name, "***")
	}
	maps.Copy(sent, own) // after the custom ones: a signature is never somebody else's
	maps.Copy(shown, own)
	return sent, shown
}

// sign returns one signature for each secret and key that has not expired, as
// Standard Webhooks 1.0 lists them: a receiver accepts any of them.
func (t target) sign(id, timestamp string, body []byte) string {
	content := make([]byte, 0, len(id)+len(timestamp)+len(body)+2)
	content = fmt.Appendf(content, "%s.%s.", id, timestamp)
	content = append(content, body...)
	var list []string
	if t.Signature != signatureV1a {
		for _, secret := range t.Secrets {
			mac := hmac.New(sha256.New, secret)
			mac.Write(content)
			list = append(list, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
		}
	}
	if t.Signature != signatureV1 {
		for _, key := range t.Keys {
			list = append(list, "v1a,"+base64.StdEncoding.EncodeToString(ed25519.Sign(key, content)))
		}
	}
	return strings.Join(list, " ")
}
