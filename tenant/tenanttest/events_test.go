package tenanttest

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// TestEventsOfATestAreChecked puts a row of a published type into the log that
// is not what was published, and takes it away before the test ends.
func TestEventsOfATestAreChecked(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, New(t).SuperURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	const insert = `insert into guildhall.event_log (tenant_id, day, id, type, public, schema_version, subject_type, subject_id, actor_kind, operation, request_id, source_address, occurred_at, data)
		values (gen_random_uuid(), current_date, gen_random_uuid(), $1, true, $2, 'role', gen_random_uuid(), 'system', '', '', '', now(), '{"id": 7}')`
	for _, c := range []struct {
		name    string
		version int
		want    string // "" is no complaint
	}{
		{"role.created", 1, "/data/id"},
		{"role.created", 2, "no published schema of version 2"},
		{"thing.made", 1, ""},
	} {
		if _, err := conn.Exec(ctx, insert, c.name, c.version); err != nil {
			t.Fatal(err)
		}
		found, err := eventComplaints(ctx, conn)
		if err != nil || len(found) != min(len(c.want), 1) || c.want != "" && !strings.Contains(found[0], c.want) {
			t.Errorf("%s of version %d: %q, %v; want %q", c.name, c.version, found, err, c.want)
		}
		if _, err := conn.Exec(ctx, `delete from guildhall.event_log`); err != nil {
			t.Fatal(err)
		}
	}
}
