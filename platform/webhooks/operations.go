package webhooks

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/date"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/outbound"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

// endpointsMost is how many endpoints an organisation may have: each event is
// held against all of them.
const endpointsMost = 100

func (f *Feature) endpointOperations(r *api.Router) {
	blocked := "422 url_blocked: The address cannot be called from here: it is not public, or not one of http or https."
	api.Read(r, api.Op{
		ID: "list-webhook-endpoints", Route: "GET /webhook-endpoints", Can: mayRead,
		Summary: "List webhook endpoints", Doc: "In the order of their creation.",
	}, f.listEndpoints)
	api.Write(r, api.Op{
		ID: "create-webhook-endpoint", Route: "POST /webhook-endpoints", Can: mayManage, Secret: true, Emits: api.Events(EndpointCreated.Type),
		Summary: "Create a webhook endpoint", Doc: "The answer holds the secret under which deliveries are signed. Events that happen from now on are sent.",
		Errors: []string{blocked, "409 webhook_endpoint_limit: The organisation has 100 endpoints."},
	}, f.createEndpoint, f.checkNew)
	api.Read(r, api.Op{
		ID: "get-webhook-endpoint", Route: "GET /webhook-endpoints/{webhook_endpoint_id}", Can: mayRead,
		Summary: "Get a webhook endpoint", Doc: "One endpoint, without its secret and the values of its headers.",
	}, f.getEndpoint)
	api.Write(r, api.Op{
		ID: "update-webhook-endpoint", Route: "PATCH /webhook-endpoints/{webhook_endpoint_id}", Can: mayManage, Emits: api.Events(EndpointUpdated.Type),
		Summary: "Change a webhook endpoint", Doc: "Sets the fields that the body names, from the next event on. With enabled false it is paused; with true it goes on, and what was held back meanwhile can be replayed.",
		Errors: []string{blocked},
	}, f.updateEndpoint, f.checkChange)
	api.Write(r, api.Op{
		ID: "delete-webhook-endpoint", Route: "DELETE /webhook-endpoints/{webhook_endpoint_id}", Can: mayManage, Emits: api.Events(EndpointDeleted.Type),
		Summary: "Delete a webhook endpoint", Doc: "Nothing is sent to it any more, not even what is due already. It cannot be restored.",
	}, f.deleteEndpoint)
	api.Read(r, api.Op{
		ID: "get-webhook-secret", Route: "GET /webhook-endpoints/{webhook_endpoint_id}/secret", Can: mayManage, Secret: true, Audited: true,
		Summary: "Show the secret of a webhook endpoint", Doc: "The current secret; one that was rotated out is not shown again.",
	}, f.getSecret)
	api.Write(r, api.Op{
		ID: "rotate-webhook-secret", Route: "POST /webhook-endpoints/{webhook_endpoint_id}/rotate-secret", Can: mayManage, Secret: true, Status: 200,
		Emits:   api.Events(SecretRotated.Type),
		Summary: "Replace the secret of a webhook endpoint", Doc: "Until the overlap is over, deliveries are signed with the old secret too. With an overlap of 0 every earlier secret ends at once, or within a second at an endpoint that is just being sent to.",
		Errors: []string{"409 webhook_secret_limit: Five secrets of the endpoint are valid already."},
	}, f.rotateSecret)
	f.trialOperations(r)
	f.keyOperations(r)
}

type listEndpoints struct{ api.ListParams }

func (f *Feature) listEndpoints(ctx context.Context, v tenant.View, in *listEndpoints) (page.Page[Endpoint], error) {
	var after *id.ID
	if _, err := in.Position(ctx, &after); err != nil {
		return page.Page[Endpoint]{}, err
	}
	var rows []Endpoint
	var total int64
	org := v.Scope().Organization
	err := v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &rows, selectEndpoints, org, after, in.Limit+1, in.Offset())
		if in.WantTotal() {
			tenant.QueueValue(b, &total, countEndpoints, org)
		}
	})
	if err != nil {
		return page.Page[Endpoint]{}, err
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(e Endpoint) any { return e.ID })
	if in.WantTotal() {
		out.Total = &total
	}
	return out, err
}

type endpointPath struct {
	EndpointID id.ID `path:"webhook_endpoint_id" ref:"webhook_endpoint" doc:"The endpoint."`
}

func (f *Feature) getEndpoint(ctx context.Context, v tenant.View, in *endpointPath) (Endpoint, error) {
	e, err := tenant.One[Endpoint](ctx, v, selectEndpoint, v.Scope().Organization, in.EndpointID)
	return e, tenant.NotFound(err, "webhook endpoint")
}

type createEndpoint struct {
	Body struct {
		URL string `json:"url" format:"uri" minLength:"1" maxLength:"2048" example:"https://example.com/hooks/guildhall" doc:"Where events are sent: http or https, any port, a public address."`
		EndpointSettings
	}
}

func (f *Feature) checkNew(ctx context.Context, in *createEndpoint) error {
	if err := in.Body.check(f.EventTypes()); err != nil {
		return err
	}
	return f.checkURL(ctx, in.Body.URL)
}

// checkURL refuses an address that the sender would refuse to call. It may ask
// a name server.
func (f *Feature) checkURL(ctx context.Context, url string) error {
	err := f.Outbound.CheckURL(ctx, url)
	var b *outbound.BlockedError
	if !errors.As(err, &b) {
		return err
	}
	refused := fault.Invalidf("/url", "%s", b.Reason)
	refused.Code, refused.Message = "url_blocked", "The address of an endpoint cannot be this one: "+b.Reason+"."
	return refused
}

// NewEndpoint is an endpoint at its creation.
type NewEndpoint struct {
	Endpoint
	Secret string `json:"secret" maxLength:"100" pattern:"^whsec_" example:"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=" doc:"Signs the deliveries: base64 of 32 bytes behind whsec_."`
}

func (f *Feature) createEndpoint(ctx context.Context, tx *tenant.Tx, in *createEndpoint) (NewEndpoint, error) {
	now, org := tx.Now(), tx.Scope().Organization
	e := Endpoint{
		ID: id.New(), URL: in.Body.URL, EventTypes: []string{}, Enabled: true, Ordering: "none", Payload: "full", Envelope: "standard",
		Signature: "v1", TimeoutSeconds: 15, SchemaDate: date.Of(now.UTC()),
	}
	in.Body.apply(&e)
	if !e.Enabled {
		pause(&e, now)
	}
	headers, _, err := mergeHeaders(nil, in.Body.Headers.Value)
	if err != nil {
		return NewEndpoint{}, err
	}
	e.Headers = namesOf(headers)
	if err := f.mayBecome(ctx, tx, Endpoint{}, e); err != nil {
		return NewEndpoint{}, err
	}
	sealedHeaders, err := f.sealHeaders(org, e.ID, headers)
	if err != nil {
		return NewEndpoint{}, err
	}
	secret, err := f.newSecret(org, e.ID)
	if err != nil {
		return NewEndpoint{}, err
	}
	e, err = insert(ctx, tx, e, sealedHeaders, secret.ID, secret.Sealed)
	if errors.Is(err, tenant.ErrNoRows) {
		return NewEndpoint{}, fault.Conflictf("webhook_endpoint_limit", "An organisation has %d webhook endpoints at most. Delete one first.", endpointsMost)
	}
	if err != nil {
		return NewEndpoint{}, err
	}
	return NewEndpoint{e, secret.text()}, EndpointCreated.Emit(ctx, tx, e.told())
}

// mayBecome checks what needs the old and the new state of an endpoint, and
// makes the organisation's keys where they are needed first.
func (f *Feature) mayBecome(ctx context.Context, tx *tenant.Tx, was, now Endpoint) error {
	if date.Of(tx.Now().UTC()).Before(now.SchemaDate) {
		return fault.Invalidf("/schema_date", "expected a day that is not in the future")
	}
	// Who may not join private projects must not have them sent to an address of
	// their choice, nor what is queued of them if the endpoint gives them up in the
	// same breath.
	if (now.IncludePrivate && !was.IncludePrivate || was.IncludePrivate && was.URL != now.URL) && !api.Can(ctx, joinsPrivate) {
		return fault.Deniedf(joinsPrivate.Key)
	}
	if now.Signature != was.Signature && now.Signature != "v1" {
		return f.keyOfOrganization(ctx, tx)
	}
	return nil
}

// joinsPrivate is the right to join private projects, which the feature of
// projects defines.
var joinsPrivate = authz.Permission{Key: "projects.manage"}

// pause notes why and since when nothing is sent.
func pause(e *Endpoint, now time.Time) {
	manual := "manual"
	e.DisabledReason, e.DisabledAt = &manual, &now
	if e.CatchUpSince == nil {
		e.CatchUpSince = &now
	}
}

type patchEndpoint struct {
	EndpointID id.ID       `path:"webhook_endpoint_id" ref:"webhook_endpoint" doc:"The endpoint."`
	IfMatch    api.IfMatch `header:"If-Match"`
	Body       struct {
		URL api.Optional[string] `json:"url" required:"false" format:"uri" minLength:"1" maxLength:"2048" doc:"Where events are sent: http or https, any port, a public address."`
		EndpointSettings
	}
}

func (f *Feature) checkChange(ctx context.Context, in *patchEndpoint) error {
	if err := in.Body.check(f.EventTypes()); err != nil || !in.Body.URL.Present {
		return err
	}
	return f.checkURL(ctx, in.Body.URL.Value)
}

func (f *Feature) updateEndpoint(ctx context.Context, tx *tenant.Tx, in *patchEndpoint) (Endpoint, error) {
	was, err := lockForChange(ctx, tx, in.EndpointID)
	if err != nil {
		return Endpoint{}, err
	}
	if !in.IfMatch.Matches(was.Version) {
		return Endpoint{}, fault.StaleVersion(was.Endpoint)
	}
	org, now := tx.Scope().Organization, was.Endpoint
	in.Body.URL.Set(&now.URL)
	in.Body.apply(&now)
	switch {
	case was.Enabled && !now.Enabled:
		pause(&now, tx.Now())
	case !was.Enabled && now.Enabled:
		now.DisabledReason, now.DisabledAt = nil, nil
	}
	sealed, resealed := was.SealedHeaders, false
	if len(in.Body.Headers.Value) > 0 {
		var headers map[string]string
		if headers, err = f.openHeaders(org, was.ID, was.SealedHeaders); err != nil {
			return Endpoint{}, err
		}
		if headers, resealed, err = mergeHeaders(headers, in.Body.Headers.Value); err != nil {
			return Endpoint{}, err
		}
		now.Headers = namesOf(headers)
		if sealed, err = f.sealHeaders(org, was.ID, headers); err != nil {
			return Endpoint{}, err
		}
	}
	if reflect.DeepEqual(now, was.Endpoint) && !resealed {
		return now, nil
	}
	if err := f.mayBecome(ctx, tx, was.Endpoint, now); err != nil {
		return Endpoint{}, err
	}
	if now, err = storeChange(ctx, tx, now, sealed); err != nil {
		return Endpoint{}, err
	}
	if err := f.settle(ctx, tx, was.Endpoint, now); err != nil {
		return Endpoint{}, err
	}
	return now, tellChange(ctx, tx, was.Endpoint, now)
}

// settle brings what is queued in line with the new settings.
func (f *Feature) settle(ctx context.Context, tx *tenant.Tx, was, now Endpoint) error {
	org := tx.Scope().Organization
	if was.Enabled && !now.Enabled {
		if _, err := tenant.Exec(ctx, tx, holdDispatch, org, now.ID); err != nil {
			return err
		}
	}
	if now.Enabled && (!was.Enabled || was.URL != now.URL) {
		if _, err := tenant.Exec(ctx, tx, forgetHealth, org, now.ID); err != nil {
			return err
		}
	}
	if was.Ordering != now.Ordering {
		return f.reorder(ctx, tx, now.ID)
	}
	if now.Enabled && (!was.Enabled || was.URL != now.URL) {
		return f.wake(ctx, tx, []id.ID{now.ID})
	}
	return nil
}

type deleteEndpointInput struct {
	EndpointID id.ID       `path:"webhook_endpoint_id" ref:"webhook_endpoint" doc:"The endpoint."`
	IfMatch    api.IfMatch `header:"If-Match"`
}

func (f *Feature) deleteEndpoint(ctx context.Context, tx *tenant.Tx, in *deleteEndpointInput) (api.None, error) {
	was, err := lockForChange(ctx, tx, in.EndpointID)
	if err != nil {
		return api.None{}, err
	}
	if !in.IfMatch.Matches(was.Version) {
		return api.None{}, fault.StaleVersion(was.Endpoint)
	}
	if _, err := tenant.Exec(ctx, tx, deleteEndpoint, tx.Scope().Organization, was.ID); err != nil {
		return api.None{}, err
	}
	if err := empty.Enqueue(ctx, f.Queue, tx, endpointArgs{was.ID}); err != nil {
		return api.None{}, err
	}
	return api.None{}, EndpointDeleted.Emit(ctx, tx, was.told())
}

// EndpointSecret is the secret of an endpoint.
type EndpointSecret struct {
	Secret   string `json:"secret" maxLength:"100" pattern:"^whsec_" example:"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=" doc:"Signs the deliveries: base64 of 32 bytes behind whsec_."`
	endpoint id.ID
}

// EventSubject lets the trace of a read say whose secret was read.
func (s EndpointSecret) EventSubject() event.Subject { return event.Subject{ID: s.endpoint} }

func (f *Feature) getSecret(ctx context.Context, v tenant.View, in *endpointPath) (EndpointSecret, error) {
	type row struct {
		ID     id.ID  `db:"id"`
		Secret []byte `db:"secret"`
	}
	org := v.Scope().Organization
	s, err := tenant.One[row](ctx, v, selectSecret, org, in.EndpointID)
	if err != nil {
		return EndpointSecret{}, tenant.NotFound(err, "webhook endpoint")
	}
	raw, err := f.Keys.Open(s.Secret, placeOfSecret(org, in.EndpointID, s.ID))
	if err != nil {
		return EndpointSecret{}, err
	}
	return EndpointSecret{secretText(raw), in.EndpointID}, nil
}

// overlap is how long what was replaced goes on to sign.
type overlap struct {
	OverlapHours api.Optional[int] `json:"overlap_hours" required:"false" minimum:"0" maximum:"168" example:"24" doc:"For how many hours what is replaced stays valid beside the new one; left out, 24."`
}

func (o *overlap) hours() int {
	if o == nil || !o.OverlapHours.Present {
		return 24
	}
	return o.OverlapHours.Value
}

type rotateSecret struct {
	EndpointID id.ID `path:"webhook_endpoint_id" ref:"webhook_endpoint" doc:"The endpoint."`
	Body       *overlap
}

// RotatedSecret is the new secret of an endpoint.
type RotatedSecret struct {
	Secret            string     `json:"secret" maxLength:"100" pattern:"^whsec_" example:"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=" doc:"The new secret."`
	PreviousExpiresAt *time.Time `json:"previous_expires_at" nullable:"true" doc:"Until when deliveries are signed with the secret before, too."`
}

// validMost is how many secrets of an endpoint, or keys of an organisation, are
// valid at once: each is one more signature in the header.
const validMost = 5

// ended is what became of the ones before.
type ended struct {
	Unexpired         int        `db:"unexpired"`
	PreviousExpiresAt *time.Time `db:"previous_expires_at"`
}

func (f *Feature) rotateSecret(ctx context.Context, tx *tenant.Tx, in *rotateSecret) (RotatedSecret, error) {
	l, err := lockForChange(ctx, tx, in.EndpointID)
	if err != nil {
		return RotatedSecret{}, err
	}
	org := tx.Scope().Organization
	before, err := tenant.One[ended](ctx, tx, expireSecrets, org, l.ID, in.Body.hours())
	if err != nil {
		return RotatedSecret{}, err
	}
	if before.Unexpired >= validMost {
		return RotatedSecret{}, fault.Conflictf("webhook_secret_limit",
			"%d secrets of this endpoint are valid already. Wait until one expires, or rotate with overlap_hours 0, which ends them all.", validMost)
	}
	s, err := f.newSecret(org, l.ID)
	if err != nil {
		return RotatedSecret{}, err
	}
	if _, err := tenant.Exec(ctx, tx, insertSecret, org, l.ID, s.ID, s.Sealed); err != nil {
		return RotatedSecret{}, err
	}
	e, err := tenant.One[Endpoint](ctx, tx, touchEndpoint, org, l.ID)
	if err != nil {
		return RotatedSecret{}, err
	}
	return RotatedSecret{s.text(), before.PreviousExpiresAt}, SecretRotated.Emit(ctx, tx, e.told())
}
