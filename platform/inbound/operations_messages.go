package inbound

import (
	"context"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

type listMessagesInput struct {
	api.ListParams
	Source id.ID     `query:"source" ref:"inbound_source" doc:"Only what this source sent."`
	Type   string    `query:"type" maxLength:"200" doc:"Only what its sender calls so." example:"invoice.paid"`
	Since  time.Time `query:"since" doc:"Only what was received at this time or later."`
}

func (in listMessagesInput) filters() (source *id.ID, kind *string, since *id.ID) {
	if !in.Source.IsZero() {
		source = &in.Source
	}
	if in.Type != "" {
		kind = &in.Type
	}
	if in.Since.Unix() > 0 { // no id is older than that
		floor := id.Floor(in.Since)
		since = &floor
	}
	return source, kind, since
}

func (f *Feature) listMessages(ctx context.Context, v tenant.View, in *listMessagesInput) (page.Page[InboundMessage], error) {
	var last *id.ID
	if _, err := in.Position(ctx, &last); err != nil {
		return page.Page[InboundMessage]{}, err
	}
	var rows []InboundMessage
	var total int64
	org := v.Scope().Organization
	source, kind, since := in.filters()
	err := v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &rows, listMessages, org, source, kind, since, last, in.Limit+1, in.Offset())
		if in.WantTotal() {
			tenant.QueueValue(b, &total, countMessages, org, source, kind, since)
		}
	})
	if err != nil {
		return page.Page[InboundMessage]{}, err
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(m InboundMessage) any { return m.ID })
	if in.WantTotal() {
		out.Total = &total
	}
	return out, err
}

type messagePath struct {
	MessageID id.ID `path:"inbound_message_id" ref:"inbound_message" doc:"The message."`
}

func (f *Feature) getMessage(ctx context.Context, v tenant.View, in *messagePath) (FullInboundMessage, error) {
	m, err := tenant.One[FullInboundMessage](ctx, v, selectMessage, v.Scope().Organization, in.MessageID)
	return m, tenant.NotFound(err, "inbound message")
}
