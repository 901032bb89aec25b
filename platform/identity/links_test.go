package identity

import (
	"context"
	"encoding/base64"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/guildhall-dev/guildhall/internal/id"
)

func TestPasswordReset(t *testing.T) {
	b := setup(t)
	access, refresh := b.person("Ann@example.com")
	known := b.post("/v1/auth/password-reset", "", m{"email": "ann@example.com"}).want(200)
	unknown := b.post("/v1/auth/password-reset", "", m{"email": "nobody@example.com"}).want(200)
	if known.raw != unknown.raw {
		t.Errorf("%s and %s", known.raw, unknown.raw)
	}
	l := b.mailed("Choose a new password")
	if l.to != "Ann@example.com" || !strings.Contains(l.text, "https://guildhall.example.com/reset-password#token="+l.token) {
		t.Fatalf("mail: %+v", l)
	}
	if n := len(b.readMails()); n != 2 { // with the confirmation
		t.Errorf("%d mails", n)
	}
	for range 6 { // somebody guessed meanwhile, and closed the door
		b.post("/v1/auth/login", "", m{"email": "ann@example.com", "password": "not the password"})
	}
	reset := func(password string) *reply {
		return b.call(t, "POST", "/v1/auth/password-reset/confirm", "", m{"token": l.token, "password": password})
	}
	reset("short").want(422, "validation_failed")
	var won atomic.Int32
	var g errgroup.Group
	for range 10 {
		g.Go(func() error {
			r := reset("a new password")
			if r.status == 200 {
				won.Add(1)
				return nil
			}
			return r.is(422, "token_invalid")
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if won.Load() != 1 {
		t.Errorf("the link worked %d times", won.Load())
	}
	b.get("/v1/users/me", access).want(401)
	b.post("/v1/auth/refresh", "", m{"refresh_token": refresh}).want(401)
	access, _ = b.login("ann@example.com", "a new password")
	if r := b.get("/v1/users/me", access).want(200); r.body["email_verified"] != true {
		t.Errorf("who reads the mailbox owns the address: %s", r.raw)
	}
	b.mailed("Your password was changed")
	if n := b.number(`select count(*) from identity_log where type in ('user.registered', 'session.created', 'user.password_reset') and user_id is not null`); n != 3 {
		t.Errorf("%d notes", n)
	}
}

func TestLinksAreRefused(t *testing.T) {
	b := setup(t)
	b.person("ann@example.com")
	confirm := b.mailed("Confirm your e-mail address").token
	b.post("/v1/auth/password-reset", "", m{"email": "ann@example.com"}).want(200)
	reset := b.mailed("Choose a new password").token
	raw, err := base64.RawURLEncoding.DecodeString(reset)
	if err != nil {
		t.Fatal(err)
	}
	with := func(i int) string {
		c := append([]byte{}, raw...)
		c[i] ^= 1
		return base64.RawURLEncoding.EncodeToString(c)
	}
	for _, bad := range []string{confirm, "x", reset[:20], reset + "AAAA", with(0), with(15), with(16), with(len(raw) - 1)} {
		b.post("/v1/auth/password-reset/confirm", "", m{"token": bad, "password": "a new password"}).want(422, "token_invalid")
	}
	b.post("/v1/auth/confirm-email", "", m{"token": reset}).want(422, "token_invalid")
	b.exec(`update mail_tokens set expires_at = now()`)
	b.post("/v1/auth/password-reset/confirm", "", m{"token": reset, "password": "a new password"}).want(422, "token_invalid")
	b.post("/v1/auth/confirm-email", "", m{"token": confirm}).want(422, "token_invalid")
	b.exec(`update mail_tokens set expires_at = now() + interval '1 minute'`)
	b.post("/v1/auth/password-reset/confirm", "", m{"token": reset, "password": "a new password"}).want(200)
}

func TestLettersSayNothingOfTheirCause(t *testing.T) {
	b := setup(t)
	b.post("/v1/auth/register", "", m{"username": "Visit https://evil.example", "email": "ann@example.com", "password": goodPassword}).want(201)
	l := b.mailed("Confirm your e-mail address")
	if strings.Contains(l.text+l.html+l.subject, "evil") {
		t.Error("a registration sends words of its own to strangers")
	}
}

func TestEveryLetterIsComplete(t *testing.T) {
	t.Parallel()
	p, err := newPost()
	if err != nil {
		t.Fatal(err)
	}
	for purpose, let := range p.letters {
		msg, err := p.compose(link{ID: id.New(), Purpose: purpose, Email: "ann@example.com"}, "https://guildhall.example.com", "TOKEN")
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range append([]string{let.button, let.after, "https://guildhall.example.com" + let.path}, let.lines...) {
			if !strings.Contains(msg.Text, want) {
				t.Errorf("%s: the text lacks %q", purpose, want)
			}
		}
		if let.token != strings.Contains(msg.Text, "#token=TOKEN") || let.token != strings.Contains(msg.HTML, "#token=TOKEN") || let.life == 0 {
			t.Errorf("%s: %s", purpose, msg.Text)
		}
	}
	if _, err := p.compose(link{Purpose: "other"}, "", ""); err == nil {
		t.Error("a letter for nothing")
	}
}

func TestPurge(t *testing.T) {
	b := setup(t)
	b.person("ann@example.com")
	b.person("bob@example.com")
	b.post("/v1/auth/login", "", m{"email": "ann@example.com", "password": "not the password"}).want(401)
	counts := func() (n int) {
		return b.number(`select (select count(*) from sessions) + (select count(*) from mail_tokens) + (select count(*) from login_throttles)
			+ (select count(*) from identity_log) + (select count(*) from signing_keys)`)
	}
	before := counts()
	if err := purge(context.Background(), b.app); err != nil {
		t.Fatal(err)
	}
	if counts() != before {
		t.Error("it purged what is still of use")
	}
	b.exec(`update sessions set expires_at = now() - interval '1 hour'`)
	b.exec(`update mail_tokens set expires_at = now() - interval '2 days'`)
	b.exec(`update login_throttles set last_failed_at = now() - interval '2 days'`)
	b.exec(`update identity_log set occurred_at = now() - interval '401 days'`)
	b.exec(`update signing_keys set verifies_until = now()`)
	if err := purge(context.Background(), b.app); err != nil {
		t.Fatal(err)
	}
	if n := counts(); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}
