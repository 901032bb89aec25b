package tenanttest

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/guildhall-dev/guildhall/openapi/events"
)

// selectEvents gives public events in the form of the API. It leaves out the
// rows that tests put into the log themselves; one that the relay has not come
// to yet counts as numbered.
const selectEvents = `select e.type, jsonb_build_object('id', e.id, 'type', e.type, 'timestamp', e.occurred_at, 'organization_id', e.tenant_id,
	'sequence', coalesce(e.sequence, 1), 'subject', jsonb_build_object('type', e.subject_type, 'id', e.subject_id),
	'actor', jsonb_build_object('type', e.actor_kind, 'id', e.actor_id), 'schema_version', e.schema_version, 'data', e.data)
	|| case when e.previous is null then '{}' else jsonb_build_object('previous', e.previous) end
	from guildhall.event_log e where e.public and e.data is not null and not (e.data = '{}' and e.request_id = 'x') order by e.id`

// mostComplaints bounds what one test is told.
const mostComplaints = 5

// checkEvents fails the test if an event in its database is not what was
// published of its type and version. Types of which nothing is published are
// the test's own.
func checkEvents(t testing.TB, db Database) {
	if _, measuring := t.(*testing.B); measuring || t.Failed() {
		return
	}
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, db.SuperURL)
	if err != nil {
		t.Errorf("tenanttest: look at the events of the test: %v", err)
		return
	}
	defer conn.Close(ctx)
	complaints, err := eventComplaints(ctx, conn)
	if err != nil {
		t.Errorf("tenanttest: look at the events of the test: %v", err)
	}
	for _, c := range complaints[:min(len(complaints), mostComplaints)] {
		t.Error(c)
	}
	if more := len(complaints) - mostComplaints; more > 0 {
		t.Errorf("and %d more events are not what was published of them", more)
	}
}

func eventComplaints(ctx context.Context, conn *pgx.Conn) (complaints []string, err error) {
	var exists bool
	if err := conn.QueryRow(ctx, `select to_regclass('guildhall.event_log') is not null`).Scan(&exists); err != nil || !exists {
		return nil, err // a test of the migrations has taken it away
	}
	rows, err := conn.Query(ctx, selectEvents)
	if err != nil {
		return nil, err
	}
	var name string
	var raw []byte
	_, err = pgx.ForEachRow(rows, []any{&name, &raw}, func() error {
		if !events.Published(name) {
			return nil
		}
		if err := events.Check(raw); err != nil {
			complaints = append(complaints, err.Error()+"\n"+string(raw))
		}
		return nil
	})
	return complaints, err
}
