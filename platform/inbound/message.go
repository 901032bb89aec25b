package inbound

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
)

// InboundMessage is what a source sent, without the payload.
type InboundMessage struct {
	ID              id.ID     `db:"id" json:"id" ref:"inbound_message"`
	SourceID        id.ID     `db:"source_id" json:"source_id" ref:"inbound_source"`
	SourceName      string    `db:"source_name" json:"source_name" maxLength:"200" example:"Payments" doc:"The source's name when it was received."`
	Kind            string    `db:"kind" json:"kind" enum:"standard_webhooks,stripe,github,hmac"`
	ExternalID      string    `db:"external_id" json:"external_id" maxLength:"255" example:"evt_1NG8Du2eZvKYlo2CUI79vXWy" doc:"The sender's id of the event; sha256: and a hash of the body where it has none."`
	Type            *string   `db:"type" json:"type" maxLength:"200" example:"invoice.paid" doc:"What the sender calls the event: type in the body, or X-GitHub-Event; null where neither says it."`
	ContentType     string    `db:"content_type" json:"content_type" maxLength:"200" example:"application/json" doc:"As the sender said; empty where it said none."`
	PayloadEncoding string    `db:"payload_encoding" json:"payload_encoding" enum:"json,base64" doc:"json: payload is the JSON that was sent. base64: it is a text with the bytes of the body in base64, because they were no JSON, or JSON with NUL characters, keys that stand twice, or numbers of hundreds of digits."`
	Size            int       `db:"size" json:"size" minimum:"0" maximum:"1048576" example:"1742" doc:"Bytes of the body."`
	ReceivedAt      time.Time `db:"received_at" json:"received_at"`
}

// FullInboundMessage is a message with its payload.
type FullInboundMessage struct {
	InboundMessage
	Payload json.RawMessage `db:"payload" json:"payload" doc:"What was sent, see payload_encoding. In an event it is null where it is larger than 256 KiB: GET /v1/inbound-messages/{id} has all of it."`
}

// Location is the message's path.
func (m FullInboundMessage) Location() string { return "/v1/inbound-messages/" + m.ID.String() }

// EventSubject implements event.Subjected.
func (m FullInboundMessage) EventSubject() event.Subject { return event.Subject{ID: m.ID} }

// MessageReceived tells of each message once.
var MessageReceived = event.Define[FullInboundMessage]("inbound_message.received", "A foreign service sent something, and signed it.")

// maxEventPayload bounds what one event brings into the feed and to listeners,
// which read events by the hundred.
const maxEventPayload = 256 << 10

// forEvent is the message as its event carries it.
func (m FullInboundMessage) forEvent() FullInboundMessage {
	if len(m.Payload) > maxEventPayload {
		m.Payload = nil
	}
	return m
}

// stripeSample is the id of every event that Stripe sends as a sample; it tells
// none from another.
const stripeSample = "evt_00000000000000"

// compose makes the message of a request whose signature was good.
func compose(s scheme, c claim, h headers, body []byte) FullInboundMessage {
	contentType := word(h("Content-Type"), 200)
	p := payloadOf(s.Kind, contentType, body)
	m := FullInboundMessage{Payload: p.text, InboundMessage: InboundMessage{
		ID: id.New(), Kind: s.Kind, ContentType: contentType, PayloadEncoding: p.encoding, Size: len(body),
	}}
	var said struct{ ID, Type any }
	if p.encoding == "json" {
		said.ID, said.Type = member(p.text, "id"), member(p.text, "type")
	}
	external := c.id
	if s.Kind == kindStripe {
		if external, _ = said.ID.(string); external == stripeSample {
			external = ""
		}
	}
	m.ExternalID = externalID(external, body)
	kind, _ := said.Type.(string)
	if s.Kind == kindGitHub {
		kind = h("X-GitHub-Event")
	}
	if kind = word(kind, 200); kind != "" {
		m.Type = &kind
	}
	return m
}

// member returns a member of a JSON object, nil if there is none.
func member(object json.RawMessage, name string) any {
	var all map[string]json.RawMessage
	if json.Unmarshal(object, &all) != nil {
		return nil
	}
	var v any
	_ = json.Unmarshal(all[name], &v) // absent: nil
	return v
}

// externalID is what tells one event of the sender from another: its id, the
// id's hash where it cannot be kept as it is, or the hash of the body.
func externalID(sent string, body []byte) string {
	if kept := word(sent, 255); kept != "" {
		return kept
	}
	of := body
	if sent != "" {
		of = []byte(sent)
	}
	sum := sha256.Sum256(of)
	return "sha256:" + hex.EncodeToString(sum[:])
}
