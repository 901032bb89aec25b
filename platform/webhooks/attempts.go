package webhooks

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/date"
	"github.com/guildhall-dev/guildhall/tenant"
)

// DeliveryWithAttempts is a delivery and every attempt at it.
type DeliveryWithAttempts struct {
	Delivery
	AttemptLog []Attempt `json:"attempt_log" nullable:"false" maxItems:"50" doc:"The attempts in their order; the newest 50 of them."`
}

// Attempt is one POST of a delivery.
type Attempt struct {
	Number     int              `json:"number" minimum:"1" maximum:"2147483647" doc:"Counts from 1, through retries and replays."`
	StartedAt  time.Time        `json:"started_at"`
	DurationMS int              `json:"duration_ms" minimum:"0" maximum:"2147483647" doc:"Milliseconds until the answer was read, or the attempt given up."`
	Request    AttemptRequest   `json:"request"`
	Response   *AttemptResponse `json:"response" doc:"Null if no answer came."`
	Error      *string          `json:"error" nullable:"true" maxLength:"1100" example:"the connection was refused: nothing listens at example.com:443" doc:"Why it failed, in words; null if it was delivered."`
}

// AttemptRequest is what was sent.
type AttemptRequest struct {
	URL     string            `json:"url" format:"uri" maxLength:"2048" example:"https://example.com/hooks/guildhall"`
	Headers map[string]string `json:"headers" doc:"As they were sent, names in lower case; the values of your own headers are not shown."`
	Body    *string           `json:"body" nullable:"true" maxLength:"1048576" doc:"Composed again from the event; null if that is gone or the caller may not see it."`
}

// AttemptResponse is what was answered.
type AttemptResponse struct {
	StatusCode int               `json:"status_code" minimum:"100" maximum:"999" example:"200"`
	Headers    map[string]string `json:"headers" doc:"Names in lower case."`
	Body       string            `json:"body" maxLength:"65536" doc:"The first 16 KiB."`
	Base64     bool              `json:"base64" doc:"Whether body is base64, because it is not text."`
	Truncated  bool              `json:"truncated" doc:"Whether there was more."`
}

// attemptsShown bounds an answer: each attempt has a body of up to 256 KiB that
// was sent and one of 16 KiB that came back.
const attemptsShown = 50

const (
	selectAttempts = `select a.number, a.started_at, a.duration_ms, a.url, a.request_headers, a.status_code, a.response_headers,
			a.response_body, a.response_truncated, a.error, s.payload, s.envelope, s.schema_date
		from webhook_attempts a
		left join webhook_settings s on s.tenant_id = a.tenant_id and s.endpoint_id = $4 and s.version = a.settings_version
		where a.tenant_id = $1 and a.day = $2 and a.delivery_id = $3
		order by a.number desc limit $5`

	selectExample = `select d.example from webhook_deliveries d where d.tenant_id = $1 and d.day = $2 and d.id = $3 and d.example is not null`

	// The event, to those who see today the project it happened in and the one
	// it came from.
	selectVisibleEvent = `select ` + event.Cols + ` from event_log e where e.tenant_id = $1 and e.day = $2 and e.id = $3
		and (e.project_id is null or exists (
			select from project_sight s where s.tenant_id = e.tenant_id and s.project_id = e.project_id))
		and (e.previous_project_id is null or exists (
			select from project_sight s where s.tenant_id = e.tenant_id and s.project_id = e.previous_project_id))`
)

// attempted is a row of webhook_attempts with the settings that shaped its body.
type attempted struct {
	Number          int               `db:"number"`
	StartedAt       time.Time         `db:"started_at"`
	DurationMS      int               `db:"duration_ms"`
	URL             string            `db:"url"`
	RequestHeaders  map[string]string `db:"request_headers"`
	StatusCode      *int              `db:"status_code"`
	ResponseHeaders map[string]string `db:"response_headers"`
	ResponseBody    []byte            `db:"response_body"`
	Truncated       bool              `db:"response_truncated"`
	Error           *string           `db:"error"`
	Payload         *string           `db:"payload"`
	Envelope        *string           `db:"envelope"`
	SchemaDate      *date.Date        `db:"schema_date"`
}

func (f *Feature) getDelivery(ctx context.Context, v tenant.View, in *deliveryPath) (DeliveryWithAttempts, error) {
	var out DeliveryWithAttempts
	org, day := v.Scope().Organization, event.Day(in.DeliveryID)
	d, err := findDelivery(ctx, v, org, in.DeliveryID)
	if err != nil {
		return out, err
	}
	var now []Delivery
	var tried []attempted
	var events []event.Event
	var examples []example
	err = v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &now, selectDelivery, org, day, in.DeliveryID)
		tenant.QueueList(b, &tried, selectAttempts, org, day, in.DeliveryID, d.EndpointID, attemptsShown)
		if api.Can(ctx, mayManage) {
			tenant.QueueList(b, &events, selectVisibleEvent, org, event.Day(d.EventID), d.EventID)
			tenant.QueueList(b, &examples, selectExample, org, day, in.DeliveryID)
		}
	})
	if err != nil {
		return out, err
	}
	if len(now) == 0 { // gone between the two reads
		return out, tenant.NotFound(tenant.ErrNoRows, "webhook delivery")
	}
	for _, e := range examples {
		var decoded event.Event
		if err := json.Unmarshal(e.Example, &decoded); err != nil {
			return out, err
		}
		events = append(events, decoded)
	}
	out.Delivery = now[0]
	out.AttemptLog, err = attemptLog(tried, events, f.bodyFor)
	return out, err
}

type example struct {
	Example json.RawMessage `db:"example"`
}

// shape is what decides over the bytes of an event's body.
type shape struct {
	payload, envelope string
	day               date.Date
}

// bodyFor writes the event as an endpoint of these settings gets it.
func (f *Feature) bodyFor(s shape, e event.Event) ([]byte, error) {
	e, err := f.asOf(s.day, e)
	if err != nil {
		return nil, err
	}
	m, err := target{Endpoint: Endpoint{Payload: s.payload, Envelope: s.envelope, SchemaDate: s.day}}.compose(e, f.PublicURL)
	return m.Body, err
}

// attemptLog turns rows, newest first, into the log. The body is composed once
// for each shape that the settings had.
func attemptLog(tried []attempted, events []event.Event, compose func(shape, event.Event) ([]byte, error)) ([]Attempt, error) {
	bodies := map[shape]*string{}
	log := make([]Attempt, 0, len(tried))
	for _, a := range slices.Backward(tried) {
		shown := a.show()
		if len(events) > 0 && a.Payload != nil {
			s := shape{*a.Payload, *a.Envelope, *a.SchemaDate}
			if _, known := bodies[s]; !known {
				body, err := compose(s, events[0])
				if err != nil {
					return nil, err
				}
				text := string(body)
				bodies[s] = &text
			}
			shown.Request.Body = bodies[s]
		}
		log = append(log, shown)
	}
	return log, nil
}

func (a attempted) show() Attempt {
	out := Attempt{
		Number: a.Number, StartedAt: a.StartedAt, DurationMS: a.DurationMS, Error: a.Error,
		Request: AttemptRequest{URL: a.URL, Headers: a.RequestHeaders},
	}
	if a.StatusCode == nil {
		return out
	}
	out.Response = &AttemptResponse{StatusCode: *a.StatusCode, Headers: a.ResponseHeaders, Body: string(a.ResponseBody), Truncated: a.Truncated}
	if out.Response.Headers == nil {
		out.Response.Headers = map[string]string{}
	}
	if !isText(a.ResponseBody, a.Truncated) {
		out.Response.Body, out.Response.Base64 = base64.StdEncoding.EncodeToString(a.ResponseBody), true
	} else if a.Truncated {
		out.Response.Body = strings.ToValidUTF8(out.Response.Body, "")
	}
	return out
}

// isText reports whether an answer can be shown as it is. Where it was cut, the
// cut may have gone through a character.
func isText(b []byte, cut bool) bool {
	if slices.Contains(b, 0) {
		return false
	}
	for end := len(b); end >= 0 && end > len(b)-utf8.UTFMax; end-- {
		if utf8.Valid(b[:end]) {
			return true
		}
		if !cut {
			return false
		}
	}
	return false
}
