package audit

import (
	"context"
	"slices"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/date"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Bounds of what one statement looks through: a caller who sees little of a
// busy organisation must not make it walk the whole log, and one who is far
// behind must not make the planner open every partition.
const (
	window     = 2000 // numbers
	windowDays = 8
	// windows bounds one request: who sees little of a long stretch is led
	// through it by the cursor.
	windows = 10
)

// feed is the list envelope of the pull feed: its cursor is never null.
type feed struct {
	Data       []event.Event `json:"data" nullable:"false" maxItems:"200" doc:"Events in the order of their numbers; none with the cursor that was sent when there is nothing new; none with another cursor while the way leads through what the caller may not see."`
	NextCursor string        `json:"next_cursor" maxLength:"2048" doc:"Poll with it as after."`
}

type listEvents struct {
	After string   `query:"after" maxLength:"2048" doc:"next_cursor of the answer before; none begins at the oldest event that is kept. It belongs to one organisation and one type filter."`
	Type  []string `query:"type,explode" maxItems:"50" maxLength:"500" pattern:"^(\\*|[a-z_]+\\.([a-z_]+\\.)?(\\*|[a-z0-9_.]+))(,(\\*|[a-z_]+\\.([a-z_]+\\.)?(\\*|[a-z0-9_.]+)))*$" doc:"Only these types: a name such as task.created or all of a subject as task.*; repeated, or separated by commas." example:"[\"task.*\"]"`
	Limit int      `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many events an answer holds."`
}

// place is where a reader of the feed stands: the number it has read up to,
// and the day of that event. Numbers are given in the order of writing, so a
// larger number belongs to the same day or a later one, give or take a
// transaction around midnight: days less than one apart may be out of order.
type place struct {
	Sequence int64     `json:"s"`
	Day      date.Date `json:"d"`
}

type numbered struct {
	Sequence int64 `db:"sequence"`
	ID       id.ID `db:"id"`
}

func (n numbered) place() place { return place{n.Sequence, date.Of(event.Day(n.ID))} }

func readFeed(ctx context.Context, v tenant.View, in *listEvents) (feed, error) {
	var at place
	if _, err := (api.ListParams{Cursor: in.After}).Position(ctx, &at); err != nil {
		return feed{}, err
	}
	rows, at, err := follow(ctx, v, at, parseTypes(in.Type), subjects(ctx), in.Limit)
	if err != nil {
		return feed{}, err
	}
	next, err := api.NextCursor(ctx, at)
	return feed{Data: rows, NextCursor: next}, err
}

// follow reads on from a place until it has events, is at the end or has looked
// through enough for one request; the place that it returns tells which. Numbers
// have no gap and become visible in order, so what a statement sees below its
// last event is all there will ever be.
func follow(ctx context.Context, v tenant.View, at place, w wanted, subjects []string, limit int) ([]event.Event, place, error) {
	org := v.Scope().Organization
	for range windows {
		var rows []event.Event
		var end []numbered
		// A smaller number is at most a day later than a larger one: all that
		// belongs below the end is looked at if that stays a day behind.
		past, from, to := at.Sequence+window+1, at.Day.AddDays(-1), at.Day.AddDays(windowDays)
		err := v.Snapshot(ctx, func(b *tenant.Batch) {
			tenant.QueueList(b, &rows, feedRows, org, at.Sequence, past, from, to, subjects, w.types, w.subjects, limit)
			tenant.QueueList(b, &end, feedEnd, org, at.Sequence, past, from, to.AddDays(-1))
		})
		if err != nil {
			return nil, at, err
		}
		if len(end) == 0 {
			// Nothing new, or the next event is days away.
			next, err := tenant.List[numbered](ctx, v, feedNext, org, at.Sequence, from)
			if err != nil || len(next) == 0 {
				return []event.Event{}, at, err
			}
			at = place{next[0].Sequence - 1, date.Of(event.Day(next[0].ID))}
			continue
		}
		at = end[0].place()
		whole := len(rows)
		rows = slices.DeleteFunc(rows, func(e event.Event) bool { return *e.Sequence > at.Sequence })
		if len(rows) > 0 {
			if last := rows[len(rows)-1]; whole == limit {
				at = numbered{*last.Sequence, last.ID}.place()
			}
			return rows, at, nil
		}
	}
	return []event.Event{}, at, nil
}

type eventPath struct {
	EventID id.ID `path:"event_id" ref:"event" doc:"The event's id."`
}

func getEvent(ctx context.Context, v tenant.View, in *eventPath) (event.Event, error) {
	e, err := tenant.One[event.Event](ctx, v, selectEvent, v.Scope().Organization, event.Day(in.EventID), in.EventID, subjects(ctx))
	return e, tenant.NotFound(err, "event")
}

// today is the newest day of the log: that of an id made now.
func today() time.Time { return event.Day(id.New()) }
