package webhooks

import (
	"context"
	"time"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Dispositions says how many events became what at an endpoint.
type Dispositions struct {
	FromSequence int64 `db:"-" json:"from_sequence" minimum:"0" maximum:"9007199254740991" doc:"The number of the first event that is counted."`
	ToSequence   int64 `db:"-" json:"to_sequence" minimum:"0" maximum:"9007199254740991" doc:"The number of the last event that was held against the endpoint; one less than from_sequence if there is none."`
	Total        int64 `db:"-" json:"total" minimum:"0" maximum:"9007199254740991" doc:"How many events that are: the sum of the figures below."`
	Delivered    int64 `db:"delivered" json:"delivered" minimum:"0" maximum:"9007199254740991"`
	Pending      int64 `db:"pending" json:"pending" minimum:"0" maximum:"9007199254740991"`
	Failed       int64 `db:"failed" json:"failed" minimum:"0" maximum:"9007199254740991"`
	Exhausted    int64 `db:"exhausted" json:"exhausted" minimum:"0" maximum:"9007199254740991"`
	Filtered     int64 `db:"filtered" json:"filtered" minimum:"0" maximum:"9007199254740991"`
	Paused       int64 `db:"paused" json:"paused" minimum:"0" maximum:"9007199254740991"`
	NoMatch      int64 `db:"-" json:"no_match" minimum:"0" maximum:"9007199254740991"`
}

// countDispositions is one statement, and so one snapshot: an event that
// becomes something else meanwhile is counted once.
const countDispositions = `select count(*) filter (where d.status = 'delivered') as delivered, count(*) filter (where d.status = 'pending') as pending,
		count(*) filter (where d.status = 'failed') as failed, count(*) filter (where d.status = 'exhausted') as exhausted,
		count(*) filter (where d.status = 'filtered') as filtered, count(*) filter (where d.status = 'paused') as paused
	from webhook_deliveries d
	where d.tenant_id = $1 and d.endpoint_id = $2 and d.day between $3 and $4 and d.sequence between $5 and $6`

// countedAtMost bounds what one answer costs.
const countedAtMost = 1_000_000

type dispositionsInput struct {
	EndpointID id.ID     `path:"webhook_endpoint_id" ref:"webhook_endpoint" doc:"The endpoint's id."`
	Since      time.Time `query:"since" doc:"Only events that happened at this time or later."`
}

func (f *Feature) dispositions(ctx context.Context, v tenant.View, in *dispositionsInput) (Dispositions, error) {
	s, err := f.spanOf(ctx, v, in.EndpointID, in.Since)
	if err != nil {
		return Dispositions{}, err
	}
	from := max(s.First, s.Heard-countedAtMost+1)
	d, err := tenant.One[Dispositions](ctx, v, countDispositions, v.Scope().Organization, in.EndpointID,
		today().AddDate(0, 0, -f.RetentionDays-1), today().AddDate(0, 0, 1), from, s.Heard)
	d.FromSequence, d.ToSequence, d.Total = from, s.Heard, s.Heard-from+1
	d.NoMatch = d.Total - d.Delivered - d.Pending - d.Failed - d.Exhausted - d.Filtered - d.Paused
	return d, err
}
