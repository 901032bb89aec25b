package webhooks

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/operation"
	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	// A delivery that waits for its next attempt may be under way right now. Locks
	// are taken in the order of who records an attempt: the endpoint's place in
	// line, the queue, the delivery.
	lockQueued = `select q.delivery_id from webhook_queue q
		where q.tenant_id = $1 and q.endpoint_id = $2 and q.delivery_id = any($3::uuid[]) order by q.delivery_id for update`

	// $5 may hold a null: due at once.
	reopenDeliveries = `update webhook_deliveries d set status = 'pending', reason = null, next_attempt_at = coalesce(u.due_at, now())
		from unnest($2::date[], $3::uuid[], $5::timestamptz[]) as u (day, id, due_at)
		where d.tenant_id = $1 and d.day = any($2::date[]) and d.day = u.day and d.id = u.id and d.status = any($4::text[])
		returning d.id, d.attempts`

	selectToResend = `select ` + deliveryCols + `, d.example, p.enabled, p.include_private, coalesce(e.subject_type, '') as subject_type, e.subject_id,
			e.id is not null or d.example is not null as there
		from webhook_deliveries d
		join webhook_endpoints p on p.tenant_id = d.tenant_id and p.id = d.endpoint_id and p.deleted_at is null
		left join event_log e on e.tenant_id = d.tenant_id and e.day = $4 and e.id = d.event_id
		where d.tenant_id = $1 and d.day = $2 and d.id = $3`

	// What is left of replays that were cancelled goes with the next one.
	forgetReplays = `delete from webhook_replays r where r.tenant_id = $1 and r.endpoint_id = $2 and not exists (
		select from operations o where o.tenant_id = r.tenant_id and o.id = r.operation_id and o.status in ('queued', 'running'))`

	insertReplay = `insert into webhook_replays (tenant_id, id, endpoint_id, operation_id, since, until, statuses, event_types, rate, first_day, through, last_sequence)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`

	selectHeard = `select coalesce((select w.heard_sequence from webhook_progress w where w.tenant_id = $1), 0)`

	// A paused delivery may be older than what made it wait: the event happened,
	// the endpoint was paused, the event was heard.
	firstPaused = `select n.sequence, n.event_id from (
			select d.sequence, d.event_id from webhook_deliveries d
			where d.tenant_id = $1 and d.endpoint_id = $2 and d.day >= $3 and d.status = 'paused' and d.id >= $4 and d.sequence > 0
			order by d.id limit 1000) n
		order by n.sequence limit 1`
)

// The statuses of which a replay is made where none is named: what the
// receiver has not got and would have.
func defaultStatuses() []string { return []string{"failed", "exhausted", "paused"} }

// Replay is the start of a replay, as the audit log shows it.
type Replay struct {
	EndpointID  id.ID      `json:"endpoint_id" ref:"webhook_endpoint"`
	OperationID id.ID      `json:"operation_id" ref:"operation"`
	Since       time.Time  `json:"since"`
	Until       *time.Time `json:"until" nullable:"true"`
	Status      []string   `json:"status" maxItems:"6"`
	Types       []string   `json:"types" maxItems:"50"`
	Rate        *int       `json:"rate" nullable:"true"`
}

// EventSubject implements event.Subjected.
func (r Replay) EventSubject() event.Subject { return event.Subject{ID: r.EndpointID} }

var (
	replayStarted    = event.DefineInternal[Replay]("webhook_endpoint.replayed", "Somebody started to send events to a webhook endpoint again.")
	deliveryReplayed = event.DefineInternal[Delivery]("webhook_delivery.replayed", "Somebody sent a webhook delivery again.")
)

func replayEvents() []*event.Type { return api.Events(replayStarted.Type, deliveryReplayed.Type) }

func (f *Feature) replayOperations(r *api.Router) {
	api.Write(r, api.Op{
		ID: "replay-webhook-delivery", Route: "POST /webhook-deliveries/{webhook_delivery_id}/replay", Can: mayManage, Status: 202,
		Emits: api.Events(deliveryReplayed.Type), Errors: []string{"409 webhook_delivery_pending", "409 webhook_endpoint_disabled", "409 webhook_event_gone",
			"409 webhook_event_private: The event belongs to a private project, and the endpoint does not include those."},
		Summary: "Send a webhook delivery again",
		Doc: "Puts the delivery into the queue under the same webhook-id, whatever became of it and whatever the filter says of it today; " +
			"its retries begin anew. An event of a private project is sent only while the endpoint includes those. One that waits for its next attempt is sent now. One that no attempt was made at yet is on its way already.",
	}, f.replayDelivery)
	api.Write(r, api.Op{
		ID: "replay-webhook-endpoint", Route: "POST /webhook-endpoints/{webhook_endpoint_id}/replay", Can: mayManage, Status: 202,
		Emits: api.Events(replayStarted.Type), Errors: []string{"409 webhook_endpoint_disabled"},
		Summary: "Send events to a webhook endpoint again",
		Doc: "Starts an operation that sends the events of a time again, in the order of their numbers, up to the last one that was held against " +
			"the endpoint when it was asked for. Without status it sends what the receiver has not got: failed, exhausted and paused. " +
			"delivered sends again what was delivered. filtered and no_match send what was left out then and what the endpoint's event_types, " +
			"filter and include_private let through now; no_match also reaches events from before the endpoint was made and events whose deliveries are no longer kept. " +
			"Events of private projects are sent only while the endpoint includes those. The webhook-id of an event stays the same, so a receiver knows what it has. " +
			"rate spreads the deliveries over time; without it they are queued a few thousand at a time, behind what is due already. " +
			"Cancelling stops what is not queued yet. With dry_run nothing is sent: 200 with the count.",
	}, f.replayEndpoint)
}

type resend struct {
	Delivery
	Example        []byte `db:"example"`
	Enabled        bool   `db:"enabled"`
	IncludePrivate bool   `db:"include_private"`
	SubjectType    string `db:"subject_type"`
	SubjectID      *id.ID `db:"subject_id"`
	There          bool   `db:"there"`
}

// subject is the key under which it was queued at first.
func (d resend) subject() string {
	if d.Example != nil {
		return exampleKey(d.EventID)
	}
	return subjectKey(event.Event{Subject: event.SubjectRef{Type: d.SubjectType, ID: d.SubjectID}})
}

func (f *Feature) replayDelivery(ctx context.Context, tx *tenant.Tx, in *deliveryPath) (Delivery, error) {
	org, day := tx.Scope().Organization, event.Day(in.DeliveryID)
	found, err := findDelivery(ctx, tx, org, in.DeliveryID)
	if err != nil {
		return found, err
	}
	d, err := tenant.One[resend](ctx, tx, selectToResend, org, day, in.DeliveryID, event.Day(found.EventID))
	switch {
	case err != nil:
		return found, tenant.NotFound(err, "webhook delivery")
	case !d.Enabled:
		return found, endpointDisabled()
	case !d.There:
		return found, fault.Conflictf("webhook_event_gone", "The event of this delivery is no longer in the log.")
	}
	private, err := event.Private(ctx, tx, tx.Scope().Organization, []event.Event{{ID: d.EventID}})
	if err != nil {
		return found, err
	}
	if private[d.EventID] && !d.IncludePrivate {
		return found, fault.Conflictf("webhook_event_private", "The event belongs to a private project. Set include_private of the endpoint first.")
	}
	if _, err := tenant.Value[bool](ctx, tx, lockDispatch, org, d.EndpointID); err != nil && !errors.Is(err, tenant.ErrNoRows) {
		return found, err
	}
	if _, err := tenant.Values[id.ID](ctx, tx, lockQueued, org, d.EndpointID, []id.ID{in.DeliveryID}); err != nil {
		return found, err
	}
	reopened, err := tenant.One[reopenedDelivery](ctx, tx, reopenDeliveries, org, []time.Time{day}, []id.ID{in.DeliveryID},
		[]string{"delivered", "failed", "exhausted", "filtered", "paused"}, []*time.Time{nil})
	if errors.Is(err, tenant.ErrNoRows) {
		return found, fault.Conflictf("webhook_delivery_pending", "This delivery is on its way already.")
	}
	if err != nil {
		return found, err
	}
	send := queued{Endpoint: d.EndpointID, Delivery: in.DeliveryID, Event: d.EventID, Made: reopened.Attempts, Example: d.Example,
		Subject: d.subject()}
	if err := f.enqueue(ctx, tx, []queued{send}); err != nil {
		return found, err
	}
	now, err := findDelivery(ctx, tx, org, in.DeliveryID)
	if err != nil {
		return found, err
	}
	return now, deliveryReplayed.Emit(ctx, tx, now)
}

type reopenedDelivery struct {
	ID       id.ID `db:"id"`
	Attempts int   `db:"attempts"`
}

func endpointDisabled() error {
	return fault.Conflictf("webhook_endpoint_disabled", "The endpoint is not enabled. Enable it, then replay.")
}

type replayInput struct {
	EndpointID id.ID `path:"webhook_endpoint_id" ref:"webhook_endpoint" doc:"The endpoint's id."`
	Body       struct {
		Since  time.Time `json:"since" doc:"Events that happened at this time or later."`
		Until  time.Time `json:"until,omitempty" doc:"Events that happened before this time."`
		Status []string  `json:"status,omitempty" maxItems:"6" enum:"failed,exhausted,paused,filtered,no_match,delivered" doc:"What became of them; none is failed, exhausted and paused."`
		Types  []string  `json:"types,omitempty" maxItems:"50" maxLength:"100" pattern:"^(\\*|[a-z_]+\\.([a-z_]+\\.)?(\\*|[a-z0-9_.]+))$" example:"[\"task.*\"]" doc:"Only events of these types: a name such as task.created or all of a subject as task.*."`
		Rate   int       `json:"rate,omitempty" minimum:"1" maximum:"10000" doc:"Deliveries per second at most."`
		DryRun bool      `json:"dry_run,omitempty" doc:"Only count."`
	}
}

// ReplayAnswer is the operation that replays, or what a dry run counted.
type ReplayAnswer struct {
	ID        *id.ID     `json:"id,omitempty" ref:"operation"`
	Kind      string     `json:"kind,omitempty" maxLength:"100" example:"webhook_endpoint.replay"`
	Status    string     `json:"status,omitempty" enum:"queued,running,done,failed,cancelled"`
	Done      *int64     `json:"done,omitempty" minimum:"0" maximum:"9007199254740991" doc:"How many deliveries are queued so far."`
	CreatedAt *time.Time `json:"created_at,omitempty"`
	Count     *int64     `json:"count,omitempty" minimum:"0" maximum:"9007199254740991" doc:"After a dry run: how many deliveries would be sent."`
	Complete  *bool      `json:"complete,omitempty" doc:"After a dry run: false if so many events are concerned that it counted only the first part of them."`
}

// ResponseStatus is 200 for a dry run.
func (a ReplayAnswer) ResponseStatus() int {
	if a.Count != nil {
		return 200
	}
	return 202
}

// ResponseStatuses tells the document of both.
func (ReplayAnswer) ResponseStatuses() []int { return []int{202, 200} }

func (f *Feature) replayEndpoint(ctx context.Context, tx *tenant.Tx, in *replayInput) (ReplayAnswer, error) {
	none, org := ReplayAnswer{}, tx.Scope().Organization
	r, err := tenant.One[rule](ctx, tx, selectRule, org, in.EndpointID)
	if err != nil {
		return none, tenant.NotFound(err, "webhook endpoint")
	}
	if !in.Body.Until.IsZero() && !in.Body.Until.After(in.Body.Since) {
		return none, fault.Invalidf("/until", "until must be later than since")
	}
	if !r.Enabled && !in.Body.DryRun {
		return none, endpointDisabled()
	}
	p, err := f.plan(ctx, tx, in)
	if err != nil {
		return none, err
	}
	if in.Body.DryRun {
		count, complete, err := f.countReplay(ctx, tx, r, p)
		return ReplayAnswer{Count: &count, Complete: &complete}, err
	}
	o, err := replayOperation.Start(ctx, f.Queue, tx, replayArgs{p.ID})
	if err != nil {
		return none, err
	}
	tx.Queue(forgetReplays, org, p.EndpointID)
	tx.Queue(insertReplay, org, p.ID, p.EndpointID, o.ID, p.Since, p.Until, p.Statuses, p.EventTypes, p.Rate, p.FirstDay, p.Through, p.Last)
	started := Replay{EndpointID: p.EndpointID, OperationID: o.ID, Since: p.Since, Until: p.Until, Status: p.Statuses, Types: in.Body.Types, Rate: p.Rate}
	if started.Types == nil {
		started.Types = []string{}
	}
	return answerOf(o), replayStarted.Emit(ctx, tx, started)
}

func answerOf(o operation.Operation) ReplayAnswer {
	return ReplayAnswer{ID: &o.ID, Kind: o.Kind, Status: o.Status, Done: &o.Done, CreatedAt: &o.CreatedAt}
}

// replayPlan is a replay and how far it has come: the numbers up to Through are
// done.
type replayPlan struct {
	ID         id.ID      `db:"id"`
	EndpointID id.ID      `db:"endpoint_id"`
	Since      time.Time  `db:"since"`
	Until      *time.Time `db:"until"`
	Statuses   []string   `db:"statuses"`
	EventTypes []string   `db:"event_types"` // patterns for LIKE
	Rate       *int       `db:"rate"`        // per second
	FirstDay   time.Time  `db:"first_day"`   // of the events
	Through    int64      `db:"through"`
	Last       int64      `db:"last_sequence"`
	Queued     int64      `db:"queued"`
	Expected   *int64     `db:"expected"`
	NextDueAt  *time.Time `db:"next_due_at"` // of the next delivery under a rate
}

// plan turns what was asked for into numbers of the log.
func (f *Feature) plan(ctx context.Context, tx *tenant.Tx, in *replayInput) (replayPlan, error) {
	org, b := tx.Scope().Organization, in.Body
	p := replayPlan{ID: id.New(), EndpointID: in.EndpointID, Since: b.Since, Until: orNull(b.Until), Statuses: b.Status,
		EventTypes: likes(b.Types), Rate: orNull(b.Rate), FirstDay: event.Day(floor(b.Since.Add(-transactionAtMost)))}
	if len(p.Statuses) == 0 {
		p.Statuses = defaultStatuses()
	}
	var err error
	if p.Last, err = tenant.Value[int64](ctx, tx, selectHeard, org); err != nil {
		return p, err
	}
	first, err := numberAt(ctx, tx, org, firstSince, b.Since)
	if err != nil {
		return p, err
	}
	if slices.Contains(p.Statuses, "paused") {
		if first, err = f.orPaused(ctx, tx, &p, first); err != nil {
			return p, err
		}
	}
	if !b.Until.IsZero() {
		last, err := numberAt(ctx, tx, org, lastBefore, b.Until)
		if err != nil {
			return p, err
		}
		if last == nil {
			last = new(int64)
		}
		p.Last = min(p.Last, *last)
	}
	if p.Through = p.Last; first != nil {
		p.Through = min(*first-1, p.Last)
	}
	return p, nil
}

// orPaused returns the first number of the range when deliveries that were
// held back since belong to it too, however old their events are.
func (f *Feature) orPaused(ctx context.Context, tx *tenant.Tx, p *replayPlan, first *int64) (*int64, error) {
	type oldest struct {
		Sequence int64 `db:"sequence"`
		EventID  id.ID `db:"event_id"`
	}
	from := floor(p.Since.Add(-transactionAtMost))
	h, err := tenant.One[oldest](ctx, tx, firstPaused, tx.Scope().Organization, p.EndpointID, f.oldestDay(from), from)
	if errors.Is(err, tenant.ErrNoRows) {
		return first, nil
	}
	if err != nil {
		return nil, err
	}
	if first == nil || h.Sequence < *first {
		first = &h.Sequence
	}
	if d := event.Day(h.EventID).AddDate(0, 0, -1); d.Before(p.FirstDay) {
		p.FirstDay = d
	}
	return first, nil
}
