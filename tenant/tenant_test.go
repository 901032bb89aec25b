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

func TestStaleShoppers(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db := tenanttest.New(t).Open(t)
	s, other := organization(t, db), organization(t, db)
	key, customer, session := id.New(), id.New(), id.New()
	run := func(sql string, args ...any) {
		t.Helper()
		err := db.Write(ctx, s, func(tx *tenant.Tx) error { _, err := tenant.Exec(ctx, tx, sql, args...); return err })
		if err != nil {
			t.Fatal(err)
		}
	}
	run(`insert into storefront_keys (tenant_id, id, name, created_by_kind) values ($1, $2, 'k', 'system')`, s.Organization, key)
	run(`insert into customers (tenant_id, id, email, email_key) values ($1, $2, 'a@b.c', 'a@b.c')`, s.Organization, customer)
	run(`insert into customer_sessions (tenant_id, customer_id, id, nonce, expires_at) values ($1, $2, $3, '', now() + interval '1 day')`, s.Organization, customer, session)
	shopper := tenant.Scope{Organization: s.Organization, Actor: tenant.Actor{Kind: tenant.Shopper, ID: key}, Check: &tenant.Check{Storefront: key, StorefrontVersion: 1}}
	person := shopper
	person.Actor, person.Check = tenant.Actor{Kind: tenant.Customer, ID: customer}, &tenant.Check{Storefront: key, StorefrontVersion: 1, Session: session}
	try := func(as tenant.Scope) error {
		_, read := tenant.Value[string](ctx, db.View(as), `select name from organizations`)
		write := db.Write(ctx, as, func(*tenant.Tx) error { return nil })
		if (read == nil) != (write == nil) {
			t.Errorf("read: %v, write: %v", read, write)
		}
		return read
	}
	if err := errors.Join(try(shopper), try(person)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		change, undo string
		shopper      bool // counts for who is not logged in too
	}{
		{`update storefront_keys set revoked_at = now()`, `update storefront_keys set revoked_at = null`, true},
		{`update storefront_keys set version = 2`, `update storefront_keys set version = 1`, true},
		{`update organizations set deleted_at = now()`, `update organizations set deleted_at = null`, true},
		{`update customers set deleted_at = now()`, `update customers set deleted_at = null`, false},
		{`update customer_sessions set revoked_at = now()`, `update customer_sessions set revoked_at = null`, false},
		{`update customer_sessions set expires_at = now() - interval '1 s'`, `update customer_sessions set expires_at = now() + interval '1 day'`, false},
	} {
		run(c.change)
		if err := try(shopper); errors.Is(err, tenant.ErrStale) != c.shopper {
			t.Errorf("%s: a shopper got %v", c.change, err)
		}
		if err := try(person); !errors.Is(err, tenant.ErrStale) {
			t.Errorf("%s: a customer got %v", c.change, err)
		}
		run(c.undo)
	}
	if err := errors.Join(try(shopper), try(person)); err != nil {
		t.Fatal(err)
	}
	shopper.Organization, person.Organization = other.Organization, other.Organization
	if !errors.Is(try(shopper), tenant.ErrStale) || !errors.Is(try(person), tenant.ErrStale) {
		t.Error("a key opens another organisation")
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
