package inbound

import (
	"cmp"
	"time"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
)

// The kinds of sources: how a sender signs.
const (
	kindStandard = "standard_webhooks"
	kindStripe   = "stripe"
	kindGitHub   = "github"
	kindHMAC     = "hmac"
)

// InboundSource is one foreign service that may send.
type InboundSource struct {
	ID               id.ID        `db:"id" json:"id" ref:"inbound_source"`
	Name             string       `db:"name" json:"name" maxLength:"200" example:"Payments"`
	Kind             string       `db:"kind" json:"kind" enum:"standard_webhooks,stripe,github,hmac" doc:"How the sender signs."`
	URL              string       `db:"-" json:"url" format:"uri" maxLength:"2048" doc:"What the sender is to be given as the address." example:"https://guildhall.example.com/v1/inbound/0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07"`
	HMAC             *InboundHMAC `db:"hmac" json:"hmac" doc:"Of kind hmac alone."`
	ToleranceSeconds int          `db:"tolerance_seconds" json:"tolerance_seconds" minimum:"10" maximum:"3600" example:"300" doc:"How far the time in a signature may be from now; of no account where a scheme signs none."`
	Enabled          bool         `db:"enabled" json:"enabled"`
	SecretSetAt      *time.Time   `db:"secret_set_at" json:"secret_set_at" doc:"When the present secret was set; null while a source waits for its first one and takes nothing."`
	Version          int64        `db:"version" json:"version" minimum:"1" maximum:"9007199254740991" example:"1" doc:"Counts the changes; also its ETag."`
	CreatedAt        time.Time    `db:"created_at" json:"created_at"`
	UpdatedAt        time.Time    `db:"updated_at" json:"updated_at"`
}

// InboundHMAC says how a sender of no known scheme signs: it puts the HMAC of the body
// into a header. With a timestamp header, the HMAC is over the timestamp, a dot
// and the body, since a time that is not signed would prove nothing.
type InboundHMAC struct {
	Header          string `json:"header" minLength:"1" maxLength:"100" pattern:"^[A-Za-z0-9_-]+$" doc:"The header with the signature." example:"X-Signature"`
	Algorithm       string `json:"algorithm" required:"false" enum:"sha256,sha512,sha1" default:"sha256" example:"sha256"`
	Encoding        string `json:"encoding" required:"false" enum:"hex,base64" default:"hex" example:"hex"`
	Prefix          string `json:"prefix" required:"false" maxLength:"50" doc:"What stands before the signature in its header." example:"sha256="`
	TimestampHeader string `json:"timestamp_header" required:"false" maxLength:"100" pattern:"^[A-Za-z0-9_-]*$" doc:"The header with the time in Unix seconds. If there is one, timestamp.body is what is signed, with a dot between them."`
	IDHeader        string `json:"id_header" required:"false" maxLength:"100" pattern:"^[A-Za-z0-9_-]*$" doc:"The header with the sender's id of the event. Without one, equal bodies are taken for the same event."`
}

// settled fills in what was left out.
func (h InboundHMAC) settled() *InboundHMAC {
	h.Algorithm, h.Encoding = cmp.Or(h.Algorithm, "sha256"), cmp.Or(h.Encoding, "hex")
	return &h
}

// RowVersion implements the ETag.
func (s InboundSource) RowVersion() int64 { return s.Version }

// Location is the source's path.
func (s InboundSource) Location() string { return "/v1/inbound-sources/" + s.ID.String() }

// EventSubject implements event.Subjected.
func (s InboundSource) EventSubject() event.Subject { return event.Subject{ID: s.ID} }

// NewInboundSource is the answer to adding one: the only time that a secret is shown.
type NewInboundSource struct {
	InboundSource
	Secret *string `json:"secret" maxLength:"100" doc:"The secret that was made, to be given to the sender; null where you named one. It is never shown again." example:"whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"`
}

// RotatedInboundSecret is the answer to a new secret.
type RotatedInboundSecret struct {
	Secret            *string    `json:"secret" maxLength:"100" doc:"The secret that was made, to be given to the sender; null where you named one. It is never shown again." example:"whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"`
	PreviousExpiresAt *time.Time `json:"previous_expires_at" doc:"Until when the secret before is good as well; null where none is."`
}

// The events of sources.
var (
	SourceCreated = event.Define[InboundSource]("inbound_source.created", "A source of inbound webhooks was added.")
	SourceUpdated = event.Define[InboundSource]("inbound_source.updated", "A source of inbound webhooks changed, or got a new secret.")
	SourceDeleted = event.Define[InboundSource]("inbound_source.deleted", "A source of inbound webhooks was removed.")
)

// checkHMAC holds the settings against the kind.
func checkHMAC(kind string, h *InboundHMAC) error {
	switch {
	case kind == kindHMAC && h == nil:
		return fault.Invalidf("/hmac", "a source of kind hmac says how its sender signs: hmac is required")
	case kind != kindHMAC && h != nil:
		return fault.Invalidf("/hmac", "the kind %s says how its sender signs; hmac is for the kind hmac", kind)
	}
	return nil
}
