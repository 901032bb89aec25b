package inbound

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/seal"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/tenant/tenanttest"
)

// TestPurgeTakesAllThatIsOld gives each of three organisations messages of
// today and more old ones than a batch takes.
func TestPurgeTakesAllThatIsOld(t *testing.T) {
	t.Parallel()
	ctx, d := context.Background(), tenanttest.New(t)
	db, err := tenant.Open(ctx, tenant.Options{URL: d.WorkerURL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	super, err := pgxpool.New(ctx, d.SuperURL+"&search_path=guildhall")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(super.Close)
	insert := func(org id.ID, days, n int) {
		t.Helper()
		_, err := super.Exec(ctx, `insert into inbound_messages (tenant_id, id, source_id, source_name, kind, external_id, content_type, payload_encoding, payload, size)
			select $1, overlay(gen_random_uuid()::text placing $2 from 1 for 15)::uuid, $1, 'x', 'hmac', $2 || i, '', 'json', '{}', 2 from generate_series(1, $3::integer) i`,
			org, id.Floor(time.Now().AddDate(0, 0, -days)).String()[:15], n)
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, slug := range []string{"one", "two", "three"} {
		org := id.New()
		if _, err := super.Exec(ctx, `insert into organizations (tenant_id, slug, name) values ($1, $2, $2)`, org, slug); err != nil {
			t.Fatal(err)
		}
		insert(org, 0, 10)
		insert(org, keepDays-1, 10)
		insert(org, keepDays+1, purgeBatch/2+10)
	}
	keys, err := seal.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	f, err := New(Deps{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.purgeMessages(ctx, db); err != nil {
		t.Fatal(err)
	}
	var left, old int
	const count = `select count(*), count(*) filter (where id < $1) from inbound_messages`
	if err := super.QueryRow(ctx, count, id.Floor(time.Now().AddDate(0, 0, -keepDays))).Scan(&left, &old); err != nil {
		t.Fatal(err)
	}
	if left != 60 || old != 0 {
		t.Errorf("%d messages are left, %d of them old", left, old)
	}
}
