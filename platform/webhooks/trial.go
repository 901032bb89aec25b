package webhooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

const insertTrial = `insert into webhook_deliveries (tenant_id, day, id, endpoint_id, event_id, event_type, settings_version, status, example)
	values ($1, $2, $3, $4, $5, $6, $7, 'pending', $8)`

func (f *Feature) trialOperations(r *api.Router) {
	api.Write(r, api.Op{
		ID: "test-webhook-endpoint", Route: "POST /webhook-endpoints/{webhook_endpoint_id}/test", Can: mayManage, Status: 202,
		Summary: "Send an example to a webhook endpoint", Doc: "Sends a made-up event of the type, whatever the endpoint's types and filter are. It is signed, tried again and shown among the deliveries like any other; its sequence is null, and it is in no log.",
		Errors: []string{"409 webhook_endpoint_disabled: Nothing is sent to an endpoint that is not enabled."},
	}, f.sendTrial)
}

type sendTrial struct {
	EndpointID id.ID `path:"webhook_endpoint_id" ref:"webhook_endpoint" doc:"The endpoint."`
	Body       struct {
		EventType string `json:"event_type" minLength:"1" maxLength:"100" example:"task.created" doc:"A public type of event."`
	}
}

// TrialDelivery names the delivery of an example.
type TrialDelivery struct {
	DeliveryID id.ID `json:"delivery_id" doc:"GET /v1/webhook-deliveries/{webhook_delivery_id} tells what came of it."`
}

func (f *Feature) sendTrial(ctx context.Context, tx *tenant.Tx, in *sendTrial) (TrialDelivery, error) {
	l, err := lockForChange(ctx, tx, in.EndpointID)
	if err != nil {
		return TrialDelivery{}, err
	}
	t, err := publicType(f.EventTypes(), "/event_type", in.Body.EventType)
	if err != nil {
		return TrialDelivery{}, err
	}
	if !l.Enabled {
		return TrialDelivery{}, fault.Conflictf("webhook_endpoint_disabled", "Nothing is sent to this endpoint while it is not enabled. Set enabled to true first.")
	}
	e, err := f.trial(tx, t)
	if err != nil {
		return TrialDelivery{}, fmt.Errorf("webhooks: the example of %s: %w", t.Name, err)
	}
	raw, err := json.Marshal(e)
	if err != nil {
		return TrialDelivery{}, fmt.Errorf("webhooks: encode the example of %s: %w", t.Name, err)
	}
	delivery := id.New()
	if _, err := tenant.Exec(ctx, tx, insertTrial, tx.Scope().Organization, event.Day(delivery), delivery, l.ID, e.ID, e.Type, l.Version, raw); err != nil {
		return TrialDelivery{}, err
	}
	q := queued{Endpoint: l.ID, Delivery: delivery, Event: e.ID, Subject: exampleKey(e.ID), Example: raw}
	return TrialDelivery{delivery}, f.enqueue(ctx, tx, []queued{q})
}

// exampleKey gives each example a subject of its own, so that it waits for
// nothing.
func exampleKey(example id.ID) string { return "example:" + example.String() }

// trial is the published example of a type, as if the caller had caused it now.
func (f *Feature) trial(tx *tenant.Tx, t *event.Type) (e event.Event, err error) {
	raw, ok := f.exampleOf(t.Name)
	if !ok {
		return e, errors.New("the catalogue does not know it")
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return e, err
	}
	s := tx.Scope()
	e.ID, e.Timestamp, e.OrganizationID, e.Sequence, e.Actor = id.New(), tx.Now().UTC(), s.Organization, nil, event.ActorRef{Type: string(s.Actor.Kind)}
	if !s.Actor.ID.IsZero() {
		e.Actor.ID = &s.Actor.ID
	}
	return e, nil
}
