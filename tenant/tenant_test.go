package tenant_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/tenant/tenanttest"
)

const insertOrganization = `insert into organizations (tenant_id, slug, name) values ($1, $2, $3)`

// organization makes an organisation with nothing in it.
func organization(t *testing.T, db *tenant.DB) tenant.Scope {
	t.Helper()
	s := tenant.ForSystem(id.New())
	err := db.Write(context.Background(), s, func(tx *tenant.Tx) error {
		_, err := tenant.Exec(context.Background(), tx, insertOrganization, s.Organization, "o-"+s.Organization.String(), "O")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestViewSeesOneOrganization(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db := tenanttest.New(t).Open(t)
	a, b := organization(t, db), organization(t, db)
	for _, s := range []tenant.Scope{a, b} {
		got, err := tenant.Values[id.ID](ctx, db.View(s), `select tenant_id from organizations`)
		if err != nil || len(got) != 1 || got[0] != s.Organization {
			t.Fatalf("organisation %s sees %v, %v", s.Organization, got, err)
		}
	}
}

func TestNoTenantIsAnError(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db := tenanttest.New(t).Open(t)
	s := organization(t, db)
	// Once on a fresh connection, once on one that has had a tenant.
	for range 2 {
		if got, err := tenant.Values[id.ID](ctx, db.Global(), `select tenant_id from organizations`); err == nil {
			t.Fatalf("without a tenant the table gave %v", got)
		}
		if _, err := tenant.Values[id.ID](ctx, db.View(s), `select tenant_id from organizations`); err != nil {
			t.Fatal(err)
		}
	}
}

func TestViewCannotWrite(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db := tenanttest.New(t).Open(t)
	s := organization(t, db)
	_, err := tenant.Exec(ctx, db.View(s), `update organizations set name = 'x'`)
	if err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Fatalf("a view wrote: %v", err)
	}
}

func TestWriteRollsBack(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db := tenanttest.New(t).Open(t)
	s := organization(t, db)
	boom := errors.New("boom")
	err := db.Write(ctx, s, func(tx *tenant.Tx) error {
		if _, err := tenant.Exec(ctx, tx, `update organizations set name = 'changed'`); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatal(err)
	}
	name, err := tenant.Value[string](ctx, db.View(s), `select name from organizations`)
	if err != nil || name != "O" {
		t.Fatalf("name is %q, %v", name, err)
	}
}

func TestTryUndoesOneStep(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db := tenanttest.New(t).Open(t)
	s := organization(t, db)
	err := db.Write(ctx, s, func(tx *tenant.Tx) error {
		failed := tx.Try(ctx, func() error {
			_, err := tenant.Exec(ctx, tx, insertOrganization, s.Organization, "other", "again")
			return err
		})
		if f := fault.As(failed); f == nil || f.Code != "organizations_pkey" {
			t.Errorf("the step gave %v", failed)
		}
		_, err := tenant.Exec(ctx, tx, `update organizations set name = 'after'`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if name, _ := tenant.Value[string](ctx, db.View(s), `select name from organizations`); name != "after" {
		t.Fatalf("name is %q", name)
	}
}

// What Postgres gives up is run again; what it gives up every time is busy.
func TestDeadlocksAreTriedAgain(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db := tenanttest.New(t).Open(t)
	s := organization(t, db)
	for _, code := range []string{"40001", "40P01"} {
		for _, failures := range []int{3, 100} {
			tries := 0
			err := db.Write(ctx, s, func(tx *tenant.Tx) error {
				if tries++; tries > failures {
					return nil
				}
				_, err := tenant.Exec(ctx, tx, `do $$ begin raise exception 'given up' using errcode = '`+code+`'; end $$`)
				return err
			})
			if f := fault.As(err); tries != 4 || failures < 4 && err != nil || failures > 4 && (f == nil || f.Kind != fault.Unavailable || f.RetryAfter == 0) {
				t.Errorf("%s, %d times: %v after %d attempts", code, failures, err, tries)
			}
		}
	}
}

func TestStaleAuthorisation(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db := tenanttest.New(t).Open(t)
	s := organization(t, db)
	user := id.New()
	err := db.Write(ctx, s, func(tx *tenant.Tx) error {
		_, err := tenant.Exec(ctx, tx, `insert into members (tenant_id, user_id, role) values ($1, $2, 'member')`, s.Organization, user)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var session id.ID
	err = db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) error {
		session = id.New()
		if _, err := tenant.Exec(ctx, tx, `insert into users (id, username, email, email_key, password_hash) values ($1, 'u', 'u@x.y', $2, '')`, user, user.String()); err != nil {
			return err
		}
		_, err := tenant.Exec(ctx, tx, `insert into sessions (id, user_id, nonce, expires_at) values ($1, $2, '', now() + interval '1 day')`, session, user)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	person := s
	person.Everything, person.User, person.Actor = false, user, tenant.Actor{Kind: tenant.User, ID: user}
	person.Check = &tenant.Check{Epoch: 1, MemberVersion: 1, Session: session}
	read := func() error {
		_, err := tenant.Value[string](ctx, db.View(person), `select name from organizations`)
		return err
	}
	write := func() error {
		return db.Write(ctx, person, func(tx *tenant.Tx) error {
			_, err := tenant.Exec(ctx, tx, `update organizations set name = 'by a stale person' where false`)
			return err
		})
	}
	if err := errors.Join(read(), write()); err != nil {
		t.Fatal(err)
	}
	change := map[string]string{
		"epoch":   `update organizations set epoch = epoch + 1`,
		"member":  `update members set version = version + 1`,
		"session": `update sessions set revoked_at = now()`,
	}
	undo := map[string]string{
		"epoch":   `update organizations set epoch = epoch - 1`,
		"member":  `update members set version = version - 1`,
		"session": `update sessions set revoked_at = null`,
	}
	run := func(sql string) {
		err := db.Write(ctx, s, func(tx *tenant.Tx) error { _, err := tenant.Exec(ctx, tx, sql); return err })
		if err != nil {
			t.Fatal(err)
		}
	}
	for what := range change {
		run(change[what])
		if err := read(); !errors.Is(err, tenant.ErrStale) {
			t.Errorf("after a change of the %s a read gave %v", what, err)
		}
		if err := write(); !errors.Is(err, tenant.ErrStale) {
			t.Errorf("after a change of the %s a write gave %v", what, err)
		}
		run(undo[what])
	}
	if err := errors.Join(read(), write()); err != nil {
		t.Fatal(err)
	}
}

func TestSnapshotIsOnePicture(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db := tenanttest.New(t).Open(t)
	s := organization(t, db)
	var names []struct {
		Name string `db:"name"`
	}
	var n int64
	err := db.View(s).Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &names, `select name from organizations`)
		tenant.QueueValue(b, &n, `select count(*) from organizations`)
	})
	if err != nil || len(names) != 1 || n != 1 {
		t.Fatalf("%v %d %v", names, n, err)
	}
}

func TestOpenRefusesPrivilege(t *testing.T) {
	t.Parallel()
	d := tenanttest.New(t)
	if _, err := tenant.Open(context.Background(), tenant.Options{URL: d.SuperURL}); err == nil || !strings.Contains(err.Error(), "superuser") {
		t.Fatalf("a superuser was let in: %v", err)
	}
}
