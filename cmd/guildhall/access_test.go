package main

import (
	"strings"
	"testing"
	"time"
)

func TestCustomRoles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	bob := w.join(ann, w.person("bob"), "admin")
	list := bob.get("/v1/roles").want(200)
	if list.len("data") != 4 || list.str("data.0.key") != "owner" || list.at("data.0.id") != nil || list.at("data.3.guest") != true {
		t.Errorf("roles: %s", list.body)
	}
	made := bob.post("/v1/roles", m{"name": "Front Desk (EU)", "permissions": []string{"members.read", "roles.read", "members.read"}, "guest": true}).want(201)
	if made.str("key") != "front_desk_eu" || made.len("permissions") != 2 || made.at("builtin") != false {
		t.Errorf("made: %s", made.body)
	}
	at := made.header("Location")
	if r := bob.post("/v1/roles", m{"name": "Front desk EU", "permissions": []string{}}).want(409).code("role_key_taken"); r.str("detail") != "A role with this key exists. Give another key." {
		t.Errorf("taken: %s", r.body)
	}
	bob.post("/v1/roles", m{"name": "Owner", "permissions": []string{}}).want(409).code("role_key_taken")
	unknown := bob.post("/v1/roles", m{"name": "X", "permissions": []string{"members.read", "nothing.read"}}).want(422)
	if unknown.str("errors.0.pointer") != "/permissions/1" {
		t.Errorf("unknown: %s", unknown.body)
	}
	if r := bob.post("/v1/roles", m{"name": "X", "permissions": []string{"organizations.manage"}}).want(403).code("permission_denied"); r.str("permission") != "organizations.manage" {
		t.Errorf("denied: %s", r.body)
	}
	bob.patch(at, m{"permissions": []string{"organizations.manage"}}).want(403)

	cleo := w.join(ann, w.person("cleo"), "front_desk_eu")
	cleo.get("/v1/roles").want(200)
	cleo.get("/v1/api-keys").want(403)
	if r := bob.patch(at, m{"permissions": []string{"api_keys.read"}}, `If-Match: "1"`).want(200); r.num("version") != 2 {
		t.Errorf("patched: %s", r.body)
	}
	bob.patch(at, m{"name": "Y"}, `If-Match: "1"`).want(412)
	cleo.get("/v1/roles").want(403)
	cleo.get("/v1/api-keys").want(200)
	bob.delete(at).want(409).code("role_in_use")
	ann.patch("/v1/members/"+cleo.user, m{"role": "guest"}).want(200)
	ann.post("/v1/invitations", m{"email": "x@example.test", "role": "front_desk_eu"}).want(201)
	bob.delete(at).want(409).code("role_in_use")
	ann.delete("/v1/invitations/" + ann.get("/v1/invitations?status=pending").want(200).str("data.0.id")).want(204)
	bob.delete(at).want(204)
	bob.get(at).want(404)

	// A role that exceeds an admin's rights is none of an admin's business.
	high := ann.post("/v1/roles", m{"name": "High", "permissions": []string{"organizations.manage"}}).want(201)
	bob.patch(high.header("Location"), m{"permissions": []string{}}).want(403)
	if r := bob.delete(high.header("Location")).want(403).code("permission_denied"); r.str("permission") != "organizations.manage" {
		t.Errorf("deleted: %s", r.body)
	}
	bob.patch("/v1/members/"+cleo.user, m{"role": "high"}).want(403)
	ann.patch("/v1/members/"+cleo.user, m{"role": "high"}).want(200)
	bob.patch("/v1/members/"+cleo.user, m{"role": "guest"}).want(403)
	bob.delete("/v1/members/" + cleo.user).want(403)

	perms := cleo.get("/v1/permissions?limit=2&include=total").want(200)
	next := cleo.get("/v1/permissions?limit=2&cursor=" + perms.str("next_cursor")).want(200)
	if perms.len("data") != 2 || perms.num("total") < 10 || next.str("data.0.key") <= perms.str("data.1.key") {
		t.Errorf("permissions: %s, then %s", perms.body, next.body)
	}
	if all := ann.get("/v1/permissions").want(200); !strings.Contains(string(all.body), `"roles":["owner","high"]`) {
		t.Errorf("permissions: %s", all.body)
	}
	ann.patch("/v1/members/"+cleo.user, m{"role": "guest"}).want(200)
	ann.delete(high.header("Location")).want(204)
}

// A guest who may manage members and roles makes none that sees more than guests.
func TestGuestsGiveNoMoreThanTheyAre(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	rights := []string{"members.read", "members.manage", "roles.read", "roles.manage"}
	ann.post("/v1/roles", m{"name": "Desk", "permissions": rights, "guest": true}).want(201)
	open := ann.post("/v1/roles", m{"name": "Open", "permissions": []string{}}).want(201).header("Location")
	desk := w.join(ann, w.person("desk"), "desk")
	for _, r := range []*reply{
		desk.post("/v1/roles", m{"name": "Wide", "permissions": []string{}}),
		desk.patch(open, m{"name": "Wide"}),
		desk.delete(open),
		desk.post("/v1/invitations", m{"email": "x@example.test", "role": "open"}),
	} {
		if r.want(403).code("permission_denied"); r.str("permission") != "caller:member" {
			t.Errorf("a guest: %s", r.body)
		}
	}
	desk.post("/v1/roles", m{"name": "Narrow", "permissions": []string{"members.read"}, "guest": true}).want(201)
}

func TestExplainAccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	bob := w.join(ann, w.person("bob"), "guest")
	own := ann.get("/v1/access/explain?permission=roles.read").want(200)
	if own.at("allowed") != true || own.str("rule.0") != "member" || own.str("reason") != "The role owner includes member, which holds roles.read." {
		t.Errorf("explained: %s", own.body)
	}
	no := ann.get("/v1/access/explain?permission=roles.manage&user=" + bob.user).want(200)
	if no.at("allowed") != false || no.len("rule") != 0 || !strings.Contains(no.str("reason"), "guest does not hold roles.manage") {
		t.Errorf("explained: %s", no.body)
	}
	ann.get("/v1/access/explain?permission=nothing.read").want(422)
	ann.get("/v1/access/explain?permission=roles.read&user=" + w.person("eve").user).want(404)
	bob.get("/v1/access/explain?permission=roles.read").want(403)
}

func TestAPIKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	bob := w.join(ann, w.person("bob"), "member")
	made := bob.post("/v1/api-keys", m{"name": "Sync", "permissions": []string{"members.read", "api_keys.write"}}, "Idempotency-Key: k").want(201)
	again := bob.post("/v1/api-keys", m{"name": "Sync", "permissions": []string{"members.read", "api_keys.write"}}, "Idempotency-Key: k").want(201)
	if made.str("key") == "" || again.str("key") != made.str("key") || made.at("expires_at") != nil || made.at("last_used_at") != nil {
		t.Errorf("made %s, then %s", made.body, again.body)
	}
	at := made.header("Location")
	if shown := bob.get(at).want(200); shown.at("key") != nil {
		t.Errorf("the key is shown again: %s", shown.body)
	}
	for _, row := range w.sql(`select coalesce(data::text, '') as s from event_log union all select encode(coalesce(body, ''), 'escape') from idempotency_keys`) {
		if strings.Contains(row["s"].(string), made.str("key")) {
			t.Error("the key is stored in clear")
		}
	}
	bob.post("/v1/api-keys", m{"name": "X", "permissions": []string{}}).want(422)
	if r := bob.post("/v1/api-keys", m{"name": "X", "permissions": []string{"members.manage"}}).want(422); r.str("errors.0.pointer") != "/permissions/0" {
		t.Errorf("not held: %s", r.body)
	}
	bob.post("/v1/api-keys", m{"name": "X", "permissions": []string{"nothing.read"}}).want(422)
	bob.post("/v1/api-keys", m{"name": "X", "permissions": []string{"members.read"}, "expires_at": "2020-01-01T00:00:00Z"}).want(422)

	key := bob.with(made.str("key"))
	bare := key.in("")
	bare.get("/v1/members").want(200)
	key.get("/v1/members").want(200)
	bare.get("/v1/roles").want(403).code("permission_denied")
	for _, r := range []*reply{
		bare.get("/v1/organizations"),
		bare.post("/v1/api-keys", m{"name": "X", "permissions": []string{"members.read"}}),
	} {
		if r.want(403).code("permission_denied"); r.str("permission") != "caller:person" {
			t.Errorf("a key where a person is needed: %s", r.body)
		}
	}
	key.in(w.person("zoe").organization("Other").org).get("/v1/members").want(404).code("organization_not_found")
	if bob.get(at).want(200).str("last_used_at") == "" {
		t.Error("the use was not recorded")
	}

	if mine := ann.post("/v1/api-keys", m{"name": "Ann's", "permissions": []string{"members.read"}}).want(201); mine.status == 201 {
		bob.get(mine.header("Location")).want(404)
		bob.delete(mine.header("Location")).want(404)
		if bob.get("/v1/api-keys?include=total").want(200).num("total") != 1 || ann.get("/v1/api-keys").want(200).len("data") != 2 {
			t.Error("the lists show the wrong keys")
		}
	}
	soon := bob.post("/v1/api-keys", m{"name": "Soon", "permissions": []string{"members.read"}, "expires_at": time.Now().Add(time.Hour)}).want(201)
	brief := bob.with(soon.str("key"))
	brief.get("/v1/members").want(200)
	w.sql(`update api_keys set expires_at = now() - interval '1 second' where id = $1`, soon.str("id"))
	brief.get("/v1/members").want(401)

	ann.delete(at).want(204)
	bare.get("/v1/members").want(401).code("unauthenticated")
	bob.delete(at).want(404)
}

func TestRevokedSessionIsOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w2 := newWorldOn(t, w.db, w.app.cfg.DataDir)
	ann := w.person("ann").organization("Acme")
	there := *ann
	there.w = w2
	ann.get("/v1/members").want(200)
	there.get("/v1/members").want(200)
	ann.in("").post("/v1/auth/logout", m{}).want(204)
	for _, c := range []*client{ann, &there} {
		c.get("/v1/members").want(401).code("unauthenticated")
		c.get("/v1/organizations").want(401)
	}
}

// The right to delete an organisation is not the role owner, and says so.
func TestOwnersOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	ann.post("/v1/roles", m{"key": "closer", "name": "Closer", "permissions": []string{"organizations.manage", "members.manage"}}).want(201)
	bob := w.join(ann, w.person("bob"), "closer")
	refused := func(r *reply) {
		t.Helper()
		if got := r.want(403).code("permission_denied").str("permission"); got != "role:owner" {
			t.Errorf("%s needs %q", r.what, got)
		}
	}
	refused(bob.patch("/v1/members/"+bob.user, m{"role": "owner"}))
	bob.delete("/v1/organization").want(204)
	refused(bob.in("").post("/v1/organizations/"+ann.org+"/restore", nil))
	ann.in("").post("/v1/organizations/"+ann.org+"/restore", nil).want(200)
}
