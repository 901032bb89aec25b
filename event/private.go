package event

import (
	"context"
	"time"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// A project that is gone for good counts as private: nobody can say any more
// that it was not.
const (
	// IsPrivate is whether an event e is private, in a statement that joins
	// WithProjects.
	IsPrivate = `(e.project_id is not null and p.visibility is distinct from 'open'
			or e.previous_project_id is not null and o.visibility is distinct from 'open')`
	WithProjects = ` left join projects p on p.tenant_id = e.tenant_id and p.id = e.project_id
		left join projects o on o.tenant_id = e.tenant_id and o.id = e.previous_project_id`

	selectPrivate = `select e.id from event_log e` + WithProjects + `
		where e.tenant_id = $1 and e.day = any($2::date[]) and e.id = any($3::uuid[]) and ` + IsPrivate
)

// Private tells which of the events are about a project that is private today,
// or was moved out of one: who was not granted private projects does not get
// them.
func Private(ctx context.Context, q tenant.Querier, organization id.ID, events []Event) (map[id.ID]bool, error) {
	ids, days := make([]id.ID, len(events)), []time.Time{}
	for i, e := range events {
		ids[i] = e.ID
		if d := Day(e.ID); len(days) == 0 || days[len(days)-1] != d {
			days = append(days, d)
		}
	}
	private, err := tenant.Values[id.ID](ctx, q, selectPrivate, organization, days, ids)
	set := make(map[id.ID]bool, len(private))
	for _, p := range private {
		set[p] = true
	}
	return set, err
}
