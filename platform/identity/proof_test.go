package identity

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// until asks the database again and again until it says yes.
func (b *bundle) until(sql string, args ...any) {
	b.t.Helper()
	for b.number(sql, args...) == 0 {
		if err := b.t.Context().Err(); err != nil {
			b.t.Fatal(err)
		}
	}
}

// whileHeld runs fn, which waits for the person's row, and does sql meanwhile,
// in the transaction that holds the row.
func (b *bundle) whileHeld(email, sql string, fn func() error) {
	b.t.Helper()
	ctx := context.Background()
	var g errgroup.Group
	err := pgx.BeginFunc(ctx, b.super, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `select from users where email_key = $1 for update`, email); err != nil {
			return err
		}
		g.Go(fn)
		b.until(`select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`)
		_, err := tx.Exec(ctx, sql)
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	if err := g.Wait(); err != nil {
		b.t.Error(err)
	}
}

func TestLoginUnderWayDoesNotSurviveAReset(t *testing.T) {
	b := setup(t)
	b.person("ann@example.com")
	b.post("/v1/auth/password-reset", "", m{"email": "ann@example.com"}).want(200)
	token := b.mailed("Choose a new password").token
	other := b.start() // with turns of its own

	release := b.f.hasher.Hold()
	var late *reply
	var g errgroup.Group
	g.Go(func() error {
		late = b.call(t, "POST", "/v1/auth/login", "", m{"email": "ann@example.com", "password": goodPassword})
		return nil
	})
	b.until(`select count(*) from login_throttles where subject = $1`, b.f.throttlesOf("ann@example.com", "192.0.2.1").Pair)
	other.call(t, "POST", "/v1/auth/password-reset/confirm", "", m{"token": token, "password": "a new password"}).want(200)
	release()
	_ = g.Wait()
	late.want(401, "invalid_credentials")
	if n := b.number(`select count(*) from sessions where revoked_at is null`); n != 0 {
		t.Errorf("%d sessions live on after the reset", n)
	}
	b.login("ann@example.com", "a new password")
}

// A log-in waits for a reset that has begun and not ended yet.
func TestLoginWaitsForAReset(t *testing.T) {
	b := setup(t)
	b.person("ann@example.com")
	b.whileHeld("ann@example.com", `with u as (update users set password_hash = '`+b.f.hasher.Decoy()+`') update sessions set revoked_at = now()`, func() error {
		return b.call(t, "POST", "/v1/auth/login", "", m{"email": "ann@example.com", "password": goodPassword}).is(401, "invalid_credentials")
	})
	if n := b.number(`select count(*) from sessions where revoked_at is null`); n != 0 {
		t.Errorf("%d sessions live on", n)
	}
}

// Of two log-ins at once the first makes an old hash anew; the second is as good.
func TestTwoLoginsMakeAHashAnew(t *testing.T) {
	b := setup(t)
	b.person("ann@example.com")
	b.exec(`update users set password_hash = $1`, weakHash(64))
	var g errgroup.Group
	for range 3 { // as many as the door lets in at once
		g.Go(func() error {
			return b.call(t, "POST", "/v1/auth/login", "", m{"email": "ann@example.com", "password": goodPassword}).is(200)
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

func TestChangesOfAnEndedSessionWaitInVain(t *testing.T) {
	const ended, changed = `update sessions set revoked_at = now()`, `update users set password_hash = 'another'`
	b := setup(t)
	access, _ := b.person("ann@example.com")
	address := func(status int, code string) func() error {
		return func() error {
			return b.call(t, "PATCH", "/v1/users/me", access, m{"email": "thief@example.com", "current_password": goodPassword}).is(status, code)
		}
	}
	password := func(status int, code string) func() error {
		return func() error {
			return b.call(t, "POST", "/v1/users/me/password", access, m{"current_password": goodPassword, "password": "a password of a thief"}).is(status, code)
		}
	}
	was := ""
	if err := b.super.QueryRow(context.Background(), `select password_hash from users`).Scan(&was); err != nil {
		t.Fatal(err)
	}
	again := func() {
		b.exec(`update users set password_hash = $1`, was)
		b.exec(`update sessions set revoked_at = null`)
	}
	b.whileHeld("ann@example.com", ended, address(401, "unauthenticated"))
	again()
	b.whileHeld("ann@example.com", changed, address(409, "password_changed"))
	again()
	b.whileHeld("ann@example.com", ended, password(401, "unauthenticated"))
	again()
	b.whileHeld("ann@example.com", changed, password(409, "password_changed"))
	again()
	b.whileHeld("ann@example.com", ended, func() error {
		return b.call(t, "POST", "/v1/auth/confirm-email/resend", access, nil).is(401, "unauthenticated")
	})
	if n := b.number(`select count(*) from users where pending_email is not null or password_hash <> $1`, was); n != 0 {
		t.Error("a session that was over changed the account")
	}
	if n := b.number(`select count(*) from mail_tokens where email = 'thief@example.com' or purpose = 'password'`); n != 0 {
		t.Errorf("%d mails", n)
	}
}
