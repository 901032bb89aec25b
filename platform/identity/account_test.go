package identity

import (
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
)

func TestOwnAccount(t *testing.T) {
	b := setup(t)
	access, _ := b.person("ann@example.com")
	patch := func(body m, headers ...string) *reply {
		t.Helper()
		return b.call(t, "PATCH", "/v1/users/me", access, body, headers...)
	}
	r := patch(m{"username": "Anna", "time_zone": "Europe/Berlin"}).want(200)
	if r.str("username") != "Anna" || r.str("time_zone") != "Europe/Berlin" || r.str("locale") != "en" || r.header.Get("ETag") != `"2"` {
		t.Errorf("patched: %s", r.raw)
	}
	for _, same := range []m{{}, {"username": "Anna"}, {"email": "ann@example.com"}} {
		patch(same).want(200)
	}
	stale := patch(m{"username": "Anne"}, "If-Match", `"1"`).want(412, "version_conflict")
	if row, ok := stale.body["current"].(map[string]any); !ok || row["username"] != "Anna" {
		t.Errorf("no current row: %s", stale.raw)
	}
	patch(m{"username": "Anne"}, "If-Match", `"2"`).want(200)
	for _, bad := range []m{
		{"time_zone": "Nowhere/At all"}, {"time_zone": "Local"}, {"time_zone": "Europe/Atlantis"}, {"locale": "English!"}, {"username": nil},
		{"username": " "}, {"email": "nope"}, {"version": 7}, {"operator": true}, {"email_verified": true}, {"time_zone": "../../etc/passwd"},
	} {
		patch(bad).want(422, "validation_failed")
	}
	put := m{"username": "Ann", "email": "ann@example.com", "locale": "de-AT", "time_zone": "UTC"}
	r = b.call(t, "PUT", "/v1/users/me", access, put).want(200)
	if r.str("locale") != "de-AT" || r.str("username") != "Ann" || r.body["pending_email"] != nil {
		t.Errorf("put: %s", r.raw)
	}
	delete(put, "locale")
	b.call(t, "PUT", "/v1/users/me", access, put).want(422, "validation_failed")

	// Changes of different fields at once: none is lost.
	var g errgroup.Group
	for _, body := range []m{{"username": "A"}, {"locale": "fr"}, {"time_zone": "Asia/Tokyo"}} {
		g.Go(func() error { return b.call(t, "PATCH", "/v1/users/me", access, body).is(200) })
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	r = b.get("/v1/users/me", access).want(200)
	if r.str("username") != "A" || r.str("locale") != "fr" || r.str("time_zone") != "Asia/Tokyo" {
		t.Errorf("a change was lost: %s", r.raw)
	}
}

func TestNewAddress(t *testing.T) {
	b := setup(t)
	access, _ := b.person("ann@example.com")
	b.post("/v1/auth/confirm-email", "", m{"token": b.mailed("Confirm your e-mail address").token}).want(200)
	patch := func(body m) *reply { return b.call(t, "PATCH", "/v1/users/me", access, body) }

	patch(m{"email": "new@example.com"}).want(422, "validation_failed")
	r := patch(m{"email": "new@example.com", "current_password": "not the password"}).want(422, "validation_failed")
	if !strings.Contains(r.raw, "/current_password") || strings.Contains(r.raw, "not the password") {
		t.Errorf("refused: %s", r.raw)
	}
	b.post("/v1/auth/password-reset", "", m{"email": "ann@example.com"}).want(200)
	oldReset := b.mailed("Choose a new password").token

	first := patch(m{"email": "new@example.com", "current_password": goodPassword}).want(200)
	if first.str("email") != "ann@example.com" || first.str("pending_email") != "new@example.com" || first.body["email_verified"] != true {
		t.Errorf("before the confirmation: %s", first.raw)
	}
	replaced := b.mailed("Confirm your e-mail address")
	if replaced.to != "new@example.com" {
		t.Fatalf("mailed to %s", replaced.to)
	}
	patch(m{"email": "newer@example.com", "current_password": goodPassword}).want(200)
	b.post("/v1/auth/confirm-email", "", m{"token": replaced.token}).want(422, "token_invalid")

	good := b.mailed("Confirm your e-mail address")
	b.post("/v1/auth/confirm-email", "", m{"token": good.token}).want(200)
	r = b.get("/v1/users/me", access).want(200)
	if r.str("email") != "newer@example.com" || r.body["pending_email"] != nil || r.body["email_verified"] != true {
		t.Errorf("after the confirmation: %s", r.raw)
	}
	if b.mailed("Your e-mail address was changed").to != "ann@example.com" {
		t.Error("the old address was not told")
	}
	// What was mailed to the old address opens nothing any more.
	b.post("/v1/auth/password-reset/confirm", "", m{"token": oldReset, "password": "another password"}).want(422, "token_invalid")
	b.login("newer@example.com", goodPassword)
	b.post("/v1/auth/login", "", m{"email": "ann@example.com", "password": goodPassword}).want(401)
}

func TestNewAddressIsWithdrawn(t *testing.T) {
	b := setup(t)
	access, _ := b.person("ann@example.com")
	patch := func(body m) *reply { return b.call(t, "PATCH", "/v1/users/me", access, body) }
	patch(m{"email": "new@example.com", "current_password": goodPassword}).want(200)
	link := b.mailed("Confirm your e-mail address")
	r := patch(m{"email": "ann@example.com"}).want(200)
	if r.body["pending_email"] != nil || r.str("email") != "ann@example.com" {
		t.Errorf("still pending: %s", r.raw)
	}
	b.post("/v1/auth/confirm-email", "", m{"token": link.token}).want(422, "token_invalid")
	again := patch(m{"email": "ann@example.com"}).want(200)
	if again.body["version"] != r.body["version"] {
		t.Errorf("nothing to withdraw, and yet a new version: %s", again.raw)
	}

	// The same address in other letters may be another mailbox: it is confirmed.
	patch(m{"email": "Ann@Example.com"}).want(422, "validation_failed")
	if r = patch(m{"email": "Ann@Example.com", "current_password": goodPassword}).want(200); r.str("pending_email") != "Ann@Example.com" {
		t.Errorf("other letters: %s", r.raw)
	}
	link = b.mailed("Confirm your e-mail address")
	b.post("/v1/auth/confirm-email", "", m{"token": link.token}).want(200)
	if r = b.get("/v1/users/me", access).want(200); link.to != "Ann@Example.com" || r.str("email") != "Ann@Example.com" || r.body["pending_email"] != nil {
		t.Errorf("after the confirmation: %s", r.raw)
	}
	b.login("ann@example.com", goodPassword)
}

// A thief who asked for an address of his own does not get it confirmed after
// the password has changed: neither by the link nor by another one.
func TestNewAddressEndsWithThePassword(t *testing.T) {
	b := setup(t)
	access, _ := b.person("ann@example.com")
	password := goodPassword
	for _, change := range []func(to string){
		func(to string) {
			b.post("/v1/auth/password-reset", "", m{"email": "ann@example.com"}).want(200)
			b.post("/v1/auth/password-reset/confirm", "", m{"token": b.mailed("Choose a new password").token, "password": to}).want(200)
		},
		func(to string) {
			b.post("/v1/users/me/password", access, m{"current_password": password, "password": to}).want(204)
		},
	} {
		b.call(t, "PATCH", "/v1/users/me", access, m{"email": "thief@example.com", "current_password": password}).want(200)
		link := b.mailed("Confirm your e-mail address")
		if link.to != "thief@example.com" {
			t.Fatalf("mailed to %s", link.to)
		}
		before := b.get("/v1/users/me", access).want(200)
		change(password + "!")
		password += "!"
		access, _ = b.login("ann@example.com", password)
		if r := b.get("/v1/users/me", access).want(200); r.body["pending_email"] != nil || r.body["version"] == before.body["version"] {
			t.Errorf("still waits: %s", r.raw)
		}
		b.post("/v1/auth/confirm-email", "", m{"token": link.token}).want(422, "token_invalid")
		b.post("/v1/auth/confirm-email/resend", access, nil).want(200)
	}
	if n := b.number(`select count(*) from mail_tokens where email = 'thief@example.com'`); n != 2 {
		t.Errorf("%d links for the thief", n)
	}
}

func TestNewAddressThatIsTakenMeanwhile(t *testing.T) {
	b := setup(t)
	access, _ := b.person("ann@example.com")
	b.call(t, "PATCH", "/v1/users/me", access, m{"email": "bob@example.com", "current_password": goodPassword}).want(200)
	link := b.mailed("Confirm your e-mail address")
	if link.to != "bob@example.com" {
		t.Fatalf("mailed to %s", link.to)
	}
	b.person("Bob@Example.com")
	for range 2 {
		b.post("/v1/auth/confirm-email", "", m{"token": link.token}).want(409, "email_taken")
	}
	if r := b.get("/v1/users/me", access).want(200); r.str("email") != "ann@example.com" {
		t.Errorf("took it over: %s", r.raw)
	}
}

func TestChangePassword(t *testing.T) {
	b := setup(t)
	access, refresh := b.person("ann@example.com")
	otherAccess, otherRefresh := b.login("ann@example.com", goodPassword)
	b.post("/v1/auth/password-reset", "", m{"email": "ann@example.com"}).want(200)
	oldReset := b.mailed("Choose a new password").token

	change := func(from, to string) *reply {
		return b.post("/v1/users/me/password", access, m{"current_password": from, "password": to})
	}
	change("not the password", "a new password").want(422, "validation_failed")
	change(goodPassword, "short").want(422, "validation_failed")
	change(goodPassword, "a new password").want(204)
	b.get("/v1/users/me", access).want(200)
	b.get("/v1/users/me", otherAccess).want(401)
	b.post("/v1/auth/refresh", "", m{"refresh_token": otherRefresh}).want(401)
	b.post("/v1/auth/refresh", "", m{"refresh_token": refresh}).want(200)
	b.post("/v1/auth/login", "", m{"email": "ann@example.com", "password": goodPassword}).want(401)
	b.login("ann@example.com", "a new password")
	b.post("/v1/auth/password-reset/confirm", "", m{"token": oldReset, "password": "another password"}).want(422, "token_invalid")
	b.mailed("Your password was changed")

	// A stolen access token is no way to guess the password without end.
	refused := 0
	for range 8 {
		if change("not the password", "a new password").status == 429 {
			refused++
		}
	}
	if refused < 3 {
		t.Errorf("%d of 8 guesses were refused", refused)
	}
}

func TestTwoPasswordsAtOnce(t *testing.T) {
	b := setup(t)
	access, _ := b.person("ann@example.com")
	replies := make([]*reply, 3)
	var g errgroup.Group
	for i := range replies {
		g.Go(func() error {
			replies[i] = b.call(t, "POST", "/v1/users/me/password", access, m{"current_password": goodPassword, "password": "password number " + string(rune('0'+i))})
			return nil
		})
	}
	_ = g.Wait()
	won := -1
	for i, r := range replies {
		switch r.status {
		case 204:
			if won >= 0 {
				t.Error("two changes from one password won")
			}
			won = i
		case 409, 422: // too late for the old password, at its check or after it
		default:
			t.Errorf("%d %s", r.status, r.raw)
		}
	}
	if won < 0 {
		t.Fatal("nobody won")
	}
	b.login("ann@example.com", "password number "+string(rune('0'+won)))
}

func TestSessions(t *testing.T) {
	b := setup(t)
	access, _ := b.person("ann@example.com")
	phone, _ := b.login("ann@example.com", goodPassword)
	tablet, _ := b.login("ann@example.com", goodPassword)
	stranger, _ := b.person("bob@example.com")
	list := b.get("/v1/users/me/sessions?include=total", access).want(200)
	rows := list.body["data"].([]any)
	if len(rows) != 3 || list.body["total"] != 3.0 {
		t.Fatalf("sessions: %s", list.raw)
	}
	current := 0
	for i, row := range rows {
		if row.(map[string]any)["current"] == true {
			current++
			if i != 2 {
				t.Error("not newest first")
			}
		}
	}
	if current != 1 {
		t.Errorf("%d current sessions", current)
	}
	page := b.get("/v1/users/me/sessions?limit=2", access).want(200)
	rest := b.get("/v1/users/me/sessions?limit=2&cursor="+page.str("next_cursor"), access).want(200)
	if len(page.body["data"].([]any)) != 2 || len(rest.body["data"].([]any)) != 1 || rest.body["next_cursor"] != nil {
		t.Errorf("pages: %s %s", page.raw, rest.raw)
	}
	third := rows[0].(map[string]any)["id"].(string) // the tablet
	del := func(path, token string) *reply { return b.call(t, "DELETE", path, token, nil) }
	foreign := del("/v1/users/me/sessions/"+third, stranger).want(404, "not_found")
	random := del("/v1/users/me/sessions/0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07", stranger).want(404, "not_found")
	if foreign.body["detail"] != random.body["detail"] {
		t.Error("a foreign session is told from a random one")
	}
	del("/v1/users/me/sessions/"+third, access).want(204)
	del("/v1/users/me/sessions/"+third, access).want(404)
	b.get("/v1/users/me", tablet).want(401)
	b.get("/v1/users/me", phone).want(200)
	del("/v1/users/me/sessions", access).want(204)
	b.get("/v1/users/me", phone).want(401)
	b.get("/v1/users/me", access).want(200)
	b.get("/v1/users/me", stranger).want(200)
}
