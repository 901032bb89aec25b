package webhooks

import (
	"context"
	"net/url"
	"reflect"
	"time"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/date"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Endpoint is where events are sent.
type Endpoint struct {
	ID             id.ID      `db:"id" json:"id" ref:"webhook_endpoint"`
	URL            string     `db:"url" json:"url" format:"uri" maxLength:"2048" example:"https://example.com/hooks/guildhall"`
	Description    string     `db:"description" json:"description" maxLength:"500"`
	EventTypes     []string   `db:"event_types" json:"event_types" maxItems:"100" doc:"Exact types or prefixes such as task.*; empty is every public event."`
	Filter         string     `db:"filter" json:"filter" maxLength:"2000" doc:"A CEL condition on the variable event; empty lets every event of the types through."`
	Headers        []string   `db:"header_names" json:"headers" maxItems:"20" doc:"The names of the headers that are sent along. Their values are never shown."`
	Enabled        bool       `db:"enabled" json:"enabled"`
	Ordering       string     `db:"ordering" json:"ordering" enum:"none,by_subject"`
	Payload        string     `db:"payload" json:"payload" enum:"full,thin"`
	Envelope       string     `db:"envelope" json:"envelope" enum:"standard,cloudevents"`
	Signature      string     `db:"signature" json:"signature" enum:"v1,v1a,both"`
	IncludePrivate bool       `db:"include_private" json:"include_private"`
	RateLimit      *int       `db:"rate_limit" json:"rate_limit" nullable:"true" minimum:"1" maximum:"10000" doc:"Attempts per second at most; null is no limit."`
	MaxInFlight    *int       `db:"max_in_flight" json:"max_in_flight" nullable:"true" minimum:"1" maximum:"100" doc:"Attempts at the same time at most; null adapts to the endpoint."`
	TimeoutSeconds int        `db:"timeout_seconds" json:"timeout_seconds" minimum:"1" maximum:"30"`
	RetrySchedule  []int      `db:"retry_schedule" json:"retry_schedule" nullable:"true" maxItems:"20" doc:"Seconds to wait before each attempt after the first; null is the default plan of ten retries over 76 hours."`
	SchemaDate     date.Date  `db:"schema_date" json:"schema_date" doc:"Events come in the versions of their schemas that were current on this day."`
	DisabledReason *string    `db:"disabled_reason" json:"disabled_reason" nullable:"true" enum:"manual,gone,failing" doc:"Why it is not enabled: somebody paused it, it answered 410, or it failed for five days."`
	DisabledAt     *time.Time `db:"disabled_at" json:"disabled_at" nullable:"true"`
	CatchUpSince   *time.Time `db:"catch_up_since" json:"catch_up_since" nullable:"true" doc:"Events since then were held back while it was paused; replay with this since and status paused to catch up."`
	Version        int64      `db:"version" json:"version" minimum:"1" maximum:"9007199254740991"`
	CreatedAt      time.Time  `db:"created_at" json:"created_at"`
	UpdatedAt      time.Time  `db:"updated_at" json:"updated_at"`
}

const endpointCols = `id, url, description, event_types, filter, header_names, enabled, ordering, payload, envelope, signature,
	include_private, rate_limit, max_in_flight, timeout_seconds, retry_schedule, schema_date, disabled_reason, disabled_at,
	catch_up_since, version, created_at, updated_at`

// RowVersion implements the ETag.
func (e Endpoint) RowVersion() int64 { return e.Version }

// Location is the endpoint's path.
func (e Endpoint) Location() string { return "/v1/webhook-endpoints/" + e.ID.String() }

// EventSubject implements event.Subjected.
func (e Endpoint) EventSubject() event.Subject { return event.Subject{ID: e.ID} }

// told is the endpoint as its events show it. They go to all other endpoints
// too, and path and query of a webhook's address are often a secret: "/..."
// stands for them, which keeps it a URL.
func (e Endpoint) told() Endpoint {
	u, err := url.Parse(e.URL)
	switch {
	case err != nil || u.Host == "": // it was checked when it was saved
		e.URL = ""
	case u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/":
		e.URL = u.Scheme + "://" + u.Host + "/..."
	}
	return e
}

// tellChange records a change that was made, also where it shows in no field:
// another value of a header, another path of the address.
func tellChange(ctx context.Context, tx *tenant.Tx, was, now Endpoint) error {
	was, now = was.told(), now.told()
	moved := was
	moved.Version, moved.UpdatedAt = now.Version, now.UpdatedAt
	if reflect.DeepEqual(moved, now) {
		return EndpointUpdated.Emit(ctx, tx, now)
	}
	return EndpointUpdated.EmitChange(ctx, tx, was, now)
}

// The events of endpoints.
var (
	EndpointCreated  = event.Define[Endpoint]("webhook_endpoint.created", "A webhook endpoint was created.")
	EndpointUpdated  = event.Define[Endpoint]("webhook_endpoint.updated", "The settings of a webhook endpoint changed.")
	EndpointDisabled = event.Define[Endpoint]("webhook_endpoint.disabled", "A webhook endpoint was disabled because it answered 410 or failed for five days.")
	EndpointDeleted  = event.Define[Endpoint]("webhook_endpoint.deleted", "A webhook endpoint was deleted.")
	SecretRotated    = event.Define[Endpoint]("webhook_endpoint.secret_rotated", "The secret of a webhook endpoint was replaced.")
)
