package webhooks

import (
	"context"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Delivery is what became of an event at an endpoint.
type Delivery struct {
	ID             *id.ID     `db:"id" json:"id" nullable:"true" doc:"Null where the status is no_match: nothing is stored of those."`
	EndpointID     id.ID      `db:"endpoint_id" json:"endpoint_id"`
	EventID        id.ID      `db:"event_id" json:"event_id" doc:"Also the webhook-id of every attempt."`
	EventType      string     `db:"event_type" json:"event_type" maxLength:"100" example:"task.created"`
	Sequence       *int64     `db:"sequence" json:"sequence" nullable:"true" minimum:"1" maximum:"9007199254740991" doc:"The event's number; null for a test event."`
	Status         string     `db:"status" json:"status" enum:"pending,delivered,failed,exhausted,filtered,paused,no_match" doc:"pending: no attempt has failed yet; failed: the next attempt is at next_attempt_at; exhausted: no attempt is left; filtered: the filter stopped it, or it turned private before it was sent; the reason says which; paused: the endpoint was not enabled; no_match: the endpoint's types or its sight of private projects left it out."`
	Reason         *string    `db:"reason" json:"reason" nullable:"true" maxLength:"1100" example:"no answer came within 15s" doc:"Why it was not delivered, in words."`
	Attempts       int        `db:"attempts" json:"attempts" minimum:"0" maximum:"2147483647"`
	NextAttemptAt  *time.Time `db:"next_attempt_at" json:"next_attempt_at" nullable:"true" doc:"Null where no attempt is to come, and where the endpoint is ordered by subject and an earlier delivery of the same subject has to go first."`
	LastAttemptAt  *time.Time `db:"last_attempt_at" json:"last_attempt_at" nullable:"true"`
	LastStatusCode *int       `db:"last_status_code" json:"last_status_code" nullable:"true" minimum:"100" maximum:"999" doc:"What the last attempt was answered; null without an answer."`
	CreatedAt      time.Time  `db:"created_at" json:"created_at" doc:"When the event was held against the endpoint; when it happened where the status is no_match."`
}

// EventSubject implements event.Subjected.
func (d Delivery) EventSubject() event.Subject {
	if d.ID == nil {
		return event.Subject{}
	}
	return event.Subject{ID: *d.ID}
}

const (
	// Who waits behind another of its subject has no time of its own.
	deliveryCols = `d.id, d.endpoint_id, d.event_id, d.event_type, d.sequence, d.status, d.reason, d.attempts,
		case when (select q.due_at from webhook_queue q where q.tenant_id = d.tenant_id and q.delivery_id = d.id) = 'infinity'
			then null else d.next_attempt_at end as next_attempt_at, d.last_attempt_at, d.last_status_code, d.created_at`

	// $3 and $4 the days, $5 ids below, $6 ids from, $7 patterns of types
	deliveriesWhere = `d.tenant_id = $1 and d.endpoint_id = $2 and d.day between $3 and $4 and d.id < $5 and d.id >= $6
		and (cardinality($7::text[]) = 0 or d.event_type like any($7))
		and exists (select from webhook_endpoints p where p.tenant_id = $1 and p.id = $2 and p.deleted_at is null)`

	// With and without a status: the planner chooses an index for each.
	listDeliveries          = `select ` + deliveryCols + ` from webhook_deliveries d where ` + deliveriesWhere + ` order by d.id desc limit $8 offset $9`
	listDeliveriesInStatus  = `select ` + deliveryCols + ` from webhook_deliveries d where ` + deliveriesWhere + ` and d.status = $10 order by d.id desc limit $8 offset $9`
	countDeliveries         = `select count(*) from webhook_deliveries d where ` + deliveriesWhere
	countDeliveriesInStatus = `select count(*) from webhook_deliveries d where ` + deliveriesWhere + ` and d.status = $8`
	selectLiveEndpoint      = `select p.id from webhook_endpoints p where p.tenant_id = $1 and p.id = $2 and p.deleted_at is null`

	selectDelivery = `select ` + deliveryCols + ` from webhook_deliveries d
		join webhook_endpoints p on p.tenant_id = d.tenant_id and p.id = d.endpoint_id and p.deleted_at is null
		where d.tenant_id = $1 and d.day = $2 and d.id = $3`
)

const noMatch = "no_match"

func (f *Feature) deliveryOperations(r *api.Router) {
	api.Read(r, api.Op{
		ID: "list-webhook-deliveries", Route: "GET /webhook-endpoints/{webhook_endpoint_id}/deliveries", Can: mayRead,
		Summary: "List the deliveries of a webhook endpoint",
		Doc: "What became of each event that the endpoint's types matched, newest first. With status=no_match: the events that " +
			"were left out, and why; they are not stored but follow from the log and the settings of the time, and a page of them may " +
			"be short or empty while next_cursor leads on. One answer looks through 100,000 events: a page by number that lies deeper ends " +
			"early, and there is no total where more would have to be counted, or a million without type, since and until.",
	}, f.listDeliveries)
	api.Read(r, api.Op{
		ID: "get-webhook-delivery", Route: "GET /webhook-deliveries/{webhook_delivery_id}", Can: mayRead,
		Summary: "Get a webhook delivery",
		Doc: "A delivery with its attempts: what was sent, what was answered, how long it took. The body that was sent is composed again " +
			"from the event; it is shown to holders of webhooks.manage who see the project in which the event happened.",
	}, f.getDelivery)
	api.Read(r, api.Op{
		ID: "get-webhook-dispositions", Route: "GET /webhook-endpoints/{webhook_endpoint_id}/dispositions", Can: mayRead,
		Summary: "Count what became of events at a webhook endpoint",
		Doc: "Every event from from_sequence to to_sequence stands in exactly one of the figures, so they add up to total. " +
			"At most the newest million events are counted, and none whose deliveries are no longer kept; test events do not count.",
	}, f.dispositions)
	f.replayOperations(r)
}

type deliveryPath struct {
	DeliveryID id.ID `path:"webhook_delivery_id" ref:"webhook_delivery" doc:"The delivery's id."`
}

type listDeliveriesInput struct {
	EndpointID id.ID `path:"webhook_endpoint_id" ref:"webhook_endpoint" doc:"The endpoint's id."`
	api.ListParams
	Status string    `query:"status" enum:"pending,delivered,failed,exhausted,filtered,paused,no_match" doc:"Only deliveries in this status; no_match lists the events that have no delivery."`
	Type   []string  `query:"type,explode" maxItems:"50" maxLength:"500" pattern:"^(\\*|[a-z_]+\\.([a-z_]+\\.)?(\\*|[a-z0-9_.]+))(,(\\*|[a-z_]+\\.([a-z_]+\\.)?(\\*|[a-z0-9_.]+)))*$" doc:"Only events of these types: a name such as task.created or all of a subject as task.*; repeated, or separated by commas." example:"[\"task.*\"]"`
	Since  time.Time `query:"since" doc:"Only what was created at this time or later."`
	Until  time.Time `query:"until" doc:"Only what was created before this time."`
}

func (f *Feature) listDeliveries(ctx context.Context, v tenant.View, in *listDeliveriesInput) (page.Page[Delivery], error) {
	if in.Status == noMatch {
		return f.listMissed(ctx, v, in)
	}
	var none page.Page[Delivery]
	before, after := endOfIDs, id.Nil
	if !in.Since.IsZero() {
		after = floor(in.Since)
	}
	if !in.Until.IsZero() {
		before = floor(in.Until)
	}
	args := []any{v.Scope().Organization, in.EndpointID, f.oldestDay(after), newestDay(before), before, after, likes(in.Type)}
	last := before
	if _, err := in.Position(ctx, &last); err != nil {
		return none, err
	}
	list, count := listDeliveries, countDeliveries
	paged, counted := []any{in.Limit + 1, in.Offset()}, []any{}
	if in.Status != "" {
		list, count = listDeliveriesInStatus, countDeliveriesInStatus
		paged, counted = append(paged, in.Status), append(counted, in.Status)
	}
	rest := append([]any{}, args...)
	rest[3], rest[4] = newestDay(last), last
	rows, err := tenant.List[Delivery](ctx, v, list, append(rest, paged...)...)
	if err == nil && len(rows) == 0 {
		err = endpointExists(ctx, v, v.Scope().Organization, in.EndpointID)
	}
	if err != nil {
		return none, err
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(d Delivery) any { return *d.ID })
	if err == nil && in.WantTotal() {
		out.Total = new(int64)
		*out.Total, err = tenant.Value[int64](ctx, v, count, append(args, counted...)...)
	}
	return out, err
}

// endpointExists tells an endpoint without rows from none.
func endpointExists(ctx context.Context, q tenant.Querier, org, endpoint id.ID) error {
	_, err := tenant.Value[id.ID](ctx, q, selectLiveEndpoint, org, endpoint)
	return tenant.NotFound(err, "webhook endpoint")
}

var endOfIDs = id.MustParse("ffffffff-ffff-ffff-ffff-ffffffffffff")

// today is the newest day of deliveries: that of an id made now.
func today() time.Time { return event.Day(id.New()) }

// oldestDay is the first day that is kept and can hold ids from after on.
func (f *Feature) oldestDay(after id.ID) time.Time {
	kept := today().AddDate(0, 0, -f.RetentionDays)
	if d := event.Day(after); d.After(kept) {
		return d
	}
	return kept
}

// newestDay is the last day that can hold ids below before. Replicas' clocks
// differ a little: an id may be of tomorrow.
func newestDay(before id.ID) time.Time {
	end := today().AddDate(0, 0, 1)
	if d := event.Day(before); d.Before(end) {
		return d
	}
	return end
}

// likes makes patterns for LIKE of types such as task.created and task.*.
func likes(types []string) []string {
	out := []string{}
	for _, t := range types {
		for name := range strings.SplitSeq(t, ",") {
			out = append(out, strings.NewReplacer(`\`, `\\`, `_`, `\_`, `%`, `\%`, `*`, `%`).Replace(name))
		}
	}
	return out
}

// findDelivery returns a delivery of a live endpoint.
func findDelivery(ctx context.Context, q tenant.Querier, org, delivery id.ID) (Delivery, error) {
	d, err := tenant.One[Delivery](ctx, q, selectDelivery, org, event.Day(delivery), delivery)
	return d, tenant.NotFound(err, "webhook delivery")
}
