package main

import (
	"context"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/guildhall-dev/guildhall/internal/fault"
)

func TestIdentityRoleIsThatOfTheChosenOrganization(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann")
	if r := ann.get("/v1/users/me").want(200); r.at("role") != nil || r.str("username") != "ann" || r.str("email") != ann.email {
		t.Errorf("without an organisation: %s", r.body)
	}
	org := ann.organization("Acme")
	if r := org.get("/v1/users/me").want(200); r.str("role") != "owner" {
		t.Errorf("in it: %s", r.body)
	}
	bob := w.join(org, w.person("bob"), "guest")
	if r := bob.get("/v1/users/me").want(200); r.str("role") != "guest" || r.header("ETag") != `"1"` {
		t.Errorf("as a guest: %s", r.body)
	}
	// A key is not a person.
	key := org.post("/v1/api-keys", m{"name": "ci", "permissions": []string{"organizations.read"}}).want(201).str("key")
	for _, path := range []string{"/v1/users/me", "/v1/users/me/sessions"} {
		org.with(key).get(path).want(403).code("permission_denied")
	}
	if w.app.features.identity.SetOperator(context.Background(), strings.ToUpper(ann.email)) != nil {
		t.Error("ann did not become an operator")
	}
	if err := w.app.features.identity.SetOperator(context.Background(), "nobody@example.test"); !fault.Is(err, fault.NotFound) {
		t.Errorf("an operator who does not exist: %v", err)
	}
}

func TestIdentityLocaleIsALanguage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann")
	for _, good := range []string{"de-CH", "zh-Hant-TW", "en"} {
		if r := ann.patch("/v1/users/me", m{"locale": good}).want(200); r.str("locale") != good {
			t.Errorf("%s: %s", good, r.body)
		}
	}
	for _, bad := range []string{"xx", "en-99", "de-XYZW-ABCD"} {
		if r := ann.patch("/v1/users/me", m{"locale": bad}).want(422); r.str("errors.0.pointer") != "/locale" {
			t.Errorf("%s: %s", bad, r.body)
		}
	}
	ann.put("/v1/users/me", m{"username": "ann", "email": ann.email, "locale": "xx", "time_zone": "UTC"}).want(422)
}

func TestIdentityAsksForThePasswordInASentence(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann")
	for password, want := range map[string]string{
		"":                "The input is not valid: your current password is needed for this change.",
		"not my password": "The input is not valid: this is not your current password.",
	} {
		r := ann.patch("/v1/users/me", m{"email": "ann@example.org", "current_password": password}).want(422)
		if r.str("detail") != want || r.str("errors.0.pointer") != "/current_password" {
			t.Errorf("%q: %s", password, r.body)
		}
	}
}

func TestIdentityRevokedSessionCountsAtOnceOnEveryReplica(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann")
	org := ann.organization("Acme")
	second := newWorldOn(t, w.db, w.app.cfg.DataDir)
	there := *org
	there.w = second
	for range 3 { // every cache is warm
		org.get("/v1/organization").want(200)
		there.get("/v1/organization").want(200)
	}
	elsewhere := *ann
	elsewhere.login()
	elsewhere.delete("/v1/users/me/sessions").want(204)
	for _, c := range []*client{org, &there} {
		c.get("/v1/organization").want(401).code("unauthenticated")
		c.patch("/v1/organization", m{"name": "Mine"}).want(401)
		c.get("/v1/users/me").want(401)
		c.post("/v1/auth/logout", nil).want(401)
	}
	elsewhere.in(org.org).get("/v1/organization").want(200)
}

func TestIdentityFailedLoginIsInTheAuditLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann")
	org := ann.organization("Acme")
	bob := w.person("bob")
	w.join(org, bob, "member")
	foreign := w.person("eve").organization("Other")
	for range 3 {
		w.nobody().post("/v1/auth/login", m{"email": bob.email, "password": "not the password"}).want(401).code("invalid_credentials")
	}
	w.settle()
	found := org.get("/v1/audit-log?type=session.denied").want(200)
	if found.len("data") != 1 || found.str("data.0.subject.id") != bob.user || found.str("data.0.actor.type") != "system" {
		t.Errorf("the audit log: %s", found.body)
	}
	if r := foreign.get("/v1/audit-log?type=session.denied").want(200); r.len("data") != 0 {
		t.Errorf("another organisation sees it: %s", r.body)
	}
	if r := org.get("/v1/events?limit=200").want(200); strings.Contains(string(r.body), "session.denied") {
		t.Error("the public feed shows it")
	}
}

func TestIdentityRefreshRacesNeverRevoke(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann")
	token := ann.login().str("refresh_token")
	for round := range count(3, 1000) {
		var mu sync.Mutex
		successors := map[string]bool{}
		var g errgroup.Group
		for range 20 {
			g.Go(func() error {
				r, err := w.nobody().try("POST", "/v1/auth/refresh", m{"refresh_token": token})
				if err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				if r.status != 200 {
					t.Errorf("round %d: %d %s", round, r.status, r.body)
					return nil
				}
				successors[r.str("refresh_token")] = true
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if len(successors) != 1 {
			t.Fatalf("round %d: %d successors", round, len(successors))
		}
		for next := range successors {
			token = next
		}
	}
	if rows := w.sql(`select 1 from identity_log where type = 'session.reused'`); len(rows) != 0 {
		t.Error("a false alarm")
	}
}

func TestIdentitySecretsAreNowhereInTheDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann")
	pair := ann.login()
	w.nobody().post("/v1/auth/password-reset", m{"email": ann.email}).want(200)
	w.settle()
	secrets := []string{testPassword, pair.str("access_token"), pair.str("refresh_token")}
	for _, mail := range w.mails(ann.email) {
		if _, rest, ok := strings.Cut(mail.Text, "#token="); ok {
			token, _, _ := strings.Cut(rest, "\n")
			secrets = append(secrets, strings.TrimSpace(token))
		}
	}
	if len(secrets) != 5 {
		t.Fatalf("%d secrets", len(secrets))
	}
	tables := w.sql(`select format('%I.%I', n.nspname, c.relname) as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where n.nspname in ('guildhall', 'river') and c.relkind in ('r', 'p')`)
	for _, table := range tables {
		name := table["name"].(string)
		for _, secret := range secrets {
			if rows := w.sql(`select 1 from ` + name + ` x where x::text like '%` + secret + `%'`); len(rows) != 0 {
				t.Errorf("%s holds a secret in clear", name)
			}
		}
	}
}
