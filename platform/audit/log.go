package audit

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Entry is a line of the audit log: an event with where it came from.
type Entry struct {
	event.Event
	Public        bool   `db:"public" json:"public" doc:"Whether it also stands in the feed; the others are for the audit log alone."`
	ProjectID     *id.ID `db:"project_id" json:"project_id" nullable:"true" doc:"The project it happened in."`
	Redacted      bool   `db:"redacted" json:"redacted" doc:"Whether data and previous are withheld, because it happened in a project that the caller does not see."`
	Operation     string `db:"operation" json:"operation" maxLength:"200" example:"create-task" doc:"The operation or the job that did it."`
	RequestID     string `db:"request_id" json:"request_id" maxLength:"100" example:"0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07" doc:"The request, as in the X-Request-Id header."`
	SourceAddress string `db:"source_address" json:"source_address" maxLength:"100" example:"192.0.2.7" doc:"The client's address; empty for background work."`
	Occurrences   int    `db:"occurrences" json:"occurrences" minimum:"1" maximum:"2147483647" doc:"How often it happened within the minute; more than 1 only for denied calls and reads."`
}

// Filter selects lines of the audit log.
type Filter struct {
	Type          []string  `query:"type,explode" maxItems:"50" maxLength:"500" pattern:"^(\\*|[a-z_]+\\.([a-z_]+\\.)?(\\*|[a-z0-9_.]+))(,(\\*|[a-z_]+\\.([a-z_]+\\.)?(\\*|[a-z0-9_.]+)))*$" doc:"Only these types: a name such as call.denied or all of a subject as task.*; repeated, or separated by commas." example:"[\"call.denied\"]"`
	Actor         id.ID     `query:"actor" ref:"user" doc:"Only what this person or API key did."`
	Subject       id.ID     `query:"subject" ref:"task" doc:"Only what was done to this."`
	Operation     string    `query:"operation" maxLength:"200" doc:"Only what this operation did." example:"create-task"`
	SourceAddress string    `query:"source_address" maxLength:"100" doc:"Only what came from this address." example:"192.0.2.7"`
	From          time.Time `query:"from" doc:"Only what happened at this time or later."`
	To            time.Time `query:"to" doc:"Only what happened before this time."`
}

func (f Filter) args() []any {
	w := parseTypes(f.Type)
	return []any{w.types, w.subjects, orNull(f.Actor), orNull(f.Subject), orNull(f.Operation), orNull(f.SourceAddress), orNull(f.From), orNull(f.To)}
}

func orNull[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// narrow leaves out the days that cannot hold what the filter asks for. An
// event's day is that of its id, which is made after the transaction began, on
// a clock that may be a little behind the database's.
func (f Filter) narrow(r reach) reach {
	if d := f.From.UTC().Truncate(24*time.Hour).AddDate(0, 0, -1); !f.From.IsZero() && d.After(r.oldest) {
		r.oldest = d
	}
	if d := f.To.UTC().Truncate(24*time.Hour).AddDate(0, 0, 1); !f.To.IsZero() && d.Before(r.newest) {
		r.newest = d
	}
	return r
}

type listAuditLog struct {
	api.ListParams
	Filter
}

func listLog(ctx context.Context, v tenant.View, in *listAuditLog) (page.Page[Entry], error) {
	var none page.Page[Entry]
	r, err := reachOf(ctx, in.ListParams, time.Time{})
	if err != nil {
		return none, err
	}
	rows, err := collect[Entry](ctx, v, in.ListParams, in.narrow(r), logRows, in.args()...)
	if err != nil {
		return none, err
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(e Entry) any { return e.ID })
	if err != nil {
		return none, err
	}
	out.Total, err = total(ctx, v, in.ListParams, in.narrow(r).oldest, countLog, in.args()...)
	return out, err
}

type exportAuditLog struct{ Filter }

// exportPage is how many lines one statement of an export reads.
const exportPage = 500

func exportLog(ctx context.Context, v tenant.View, in *exportAuditLog, w io.Writer) error {
	p := api.ListParams{Limit: exportPage}
	r, err := reachOf(ctx, p, time.Time{})
	if err != nil {
		return err
	}
	r = in.narrow(r)
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	for {
		rows, err := collect[Entry](ctx, v, p, r, logRows, in.args()...)
		if err != nil {
			return err
		}
		for _, e := range rows[:min(len(rows), exportPage)] {
			if err := lines.Encode(e); err != nil {
				return err
			}
			r.before = e.ID
		}
		if len(rows) <= exportPage {
			return nil
		}
		r.newest = event.Day(r.before)
	}
}
