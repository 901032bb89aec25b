package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
)

func TestOrganizationLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann")
	made := ann.post("/v1/organizations", m{"name": "Müller & Söhne"}).want(201)
	if made.str("slug") != "muller-sohne" || made.str("role") != "owner" || made.str("default_currency") != "EUR" || made.num("version") != 1 {
		t.Errorf("made %s", made.body)
	}
	if made.header("Location") != "/v1/organization" || made.header("ETag") != `"1"` {
		t.Errorf("Location %q, ETag %q", made.header("Location"), made.header("ETag"))
	}
	org := ann.in("muller-sohne")
	org.get("/v1/organization").want(200)
	if second := ann.post("/v1/organizations", m{"name": "Müller Söhne"}).want(201); !strings.HasPrefix(second.str("slug"), "muller-sohne-") {
		t.Errorf("the second slug is %q", second.str("slug"))
	}
	ann.post("/v1/organizations", m{"name": "X", "slug": "muller-sohne"}).want(409).code("organization_slug_taken")
	ann.post("/v1/organizations", m{"name": "X", "slug": id.New().String()}).want(422)
	ann.post("/v1/organizations", m{"name": "X", "slug": "No"}).want(422)
	ann.post("/v1/organizations", m{"name": "a\nb"}).want(422)
	ann.post("/v1/organizations", m{"name": " "}).want(422)
	ann.get("/v1/organization").want(400).code("organization_required")
	if n := ann.get("/v1/organizations?include=total").want(200); n.len("data") != 2 || n.num("total") != 2 || n.str("data.0.role") != "owner" {
		t.Errorf("ann's organisations: %s", n.body)
	}
	first := ann.get("/v1/organizations?limit=1").want(200)
	if rest := ann.get("/v1/organizations?limit=1&cursor=" + first.str("next_cursor")).want(200); rest.len("data") != 1 || rest.at("next_cursor") != nil {
		t.Errorf("the second page: %s", rest.body)
	}

	org.patch("/v1/organization", m{"name": "Müller"}, `If-Match: "1"`).want(200)
	stale := org.patch("/v1/organization", m{"name": "Meier"}, `If-Match: "1"`).want(412).code("version_conflict")
	if stale.str("current.name") != "Müller" || stale.str("current.role") != "owner" {
		t.Errorf("current is %s", stale.body)
	}
	org.patch("/v1/organization", m{"slug": "muller"}).want(200)
	org.get("/v1/organization").want(404).code("organization_not_found")
	org = ann.in("muller")
	if o := org.patch("/v1/organization", m{"default_currency": "CHF"}).want(200); o.str("default_currency") != "CHF" || o.num("version") != 4 {
		t.Errorf("patched %s", o.body)
	}

	for _, r := range []*reply{
		org.patch("/v1/organization", m{"default_currency": "ZZZ"}),
		ann.post("/v1/organizations", m{"name": "X", "default_currency": "ZZZ"}),
	} {
		if r.want(422); r.str("errors.0.pointer") != "/default_currency" {
			t.Errorf("no currency: %s", r.body)
		}
	}

	org.delete("/v1/organization", `If-Match: "1"`).want(412)
	org.delete("/v1/organization").want(204)
	org.get("/v1/organization").want(404).code("organization_not_found")
	bin := ann.get("/v1/organizations?deleted=true").want(200)
	if bin.len("data") != 1 || bin.str("data.0.deleted_at") == "" {
		t.Fatalf("the bin: %s", bin.body)
	}
	restore := "/v1/organizations/" + bin.str("data.0.id") + "/restore"
	bob := w.person("bob")
	bob.post(restore, nil).want(404)
	ann.post(restore, nil).want(200)
	ann.post(restore, nil).want(409).code("organization_not_deleted")
	org.get("/v1/organization").want(200)
	org.delete("/v1/organization").want(204)
	w.sql(`update organizations set deleted_at = now() - interval '30 days 1 second' where slug = 'muller'`)
	ann.post(restore, nil).want(409).code("organization_restore_over")

	w.settle()
	want := "organization.created member.added organization.updated organization.updated organization.updated organization.deleted organization.restored organization.deleted"
	if got := w.eventTypes(bin.str("data.0.id")); got != want {
		t.Errorf("events\n%s, want\n%s", got, want)
	}
}

// eventTypes lists what was logged in an organisation, in order.
func (w *world) eventTypes(org string) string {
	var types []string
	for _, r := range w.sql(`select type from event_log where tenant_id = $1 order by id`, org) {
		types = append(types, r["type"].(string))
	}
	return strings.Join(types, " ")
}

// However many at once, a person comes to belong to as many organisations as one
// may, and no more.
func TestOrganizationLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann, other := w.person("ann"), w.person("other").organization("Other")
	w.sql(`with o as (insert into organizations (tenant_id, slug, name) select gen_random_uuid(), 'full-' || n, 'Full' from generate_series(1, 197) n returning tenant_id)
		insert into members (tenant_id, user_id, role) select o.tenant_id, $1::uuid, 'owner' from o`, ann.user)
	other.post("/v1/invitations", m{"email": ann.email, "role": "member"}).want(201)
	w.settle()
	var g errgroup.Group
	var mu sync.Mutex
	seen := map[int]int{}
	for i := range 12 {
		g.Go(func() error {
			r, err := ann.try("POST", "/v1/organizations", m{"name": fmt.Sprint("Race ", i)})
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if seen[r.status]++; r.status == 409 {
				r.code("organization_limit")
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if seen[201] != 3 || seen[409] != 9 {
		t.Errorf("answers: %v", seen)
	}
	mails := w.mails(ann.email)
	token := invitationToken.FindStringSubmatch(mails[len(mails)-1].Text)[1]
	ann.post("/v1/invitations/accept", m{"token": token}).want(409).code("organization_limit")
	ann.in("full-1").delete("/v1/organization").want(204) // one in the bin can come back, so it counts
	if r := ann.post("/v1/invitations/accept", m{"token": token}).want(409).code("organization_limit"); !strings.Contains(r.str("detail"), "in the bin counts") {
		t.Errorf("no word of the bin: %s", r.body)
	}
	w.sql(`delete from members where user_id = $1::uuid and tenant_id = (select tenant_id from organizations where slug = 'full-2')`, ann.user)
	ann.post("/v1/invitations/accept", m{"token": token}).want(200)
	ann.post("/v1/invitations/accept", m{"token": token}).want(200) // a repeat takes no more room
}

func TestSlugRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann")
	var g errgroup.Group
	n := count(20, 100)
	status := make([]int, n)
	for i := range n {
		g.Go(func() error {
			body := m{"name": "Race"}
			if i%2 == 0 {
				body["slug"] = "race-one"
			}
			r, err := ann.try("POST", "/v1/organizations", body)
			if err == nil {
				status[i] = r.status
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	made := 0
	for i, s := range status {
		if i%2 == 0 && s == 201 {
			made++
		} else if i%2 == 1 && s != 201 {
			t.Errorf("a name without a slug answers %d", s)
		}
	}
	if made != 1 {
		t.Errorf("%d organisations have one slug: %v", made, status)
	}
}

func TestMembers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	bob := w.join(ann, w.person("bob"), "admin")
	cleo := w.join(ann, w.person("cleo"), "guest")
	list := bob.get("/v1/members?include=total").want(200)
	if list.num("total") != 3 || list.str("data.0.user_id") != ann.user || list.str("data.1.email") != bob.email || list.str("data.2.role") != "guest" {
		t.Errorf("members: %s", list.body)
	}
	if r := bob.get("/v1/members?role=admin&search=BOB").want(200); r.len("data") != 1 {
		t.Errorf("searched: %s", r.body)
	}
	cleo.patch("/v1/members/"+cleo.user, m{"role": "member"}).want(403).code("permission_denied")
	cleo.delete("/v1/members/" + bob.user).want(403)
	bob.patch("/v1/members/"+id.New().String(), m{"role": "member"}).want(404).code("not_found")
	bob.patch("/v1/members/"+cleo.user, m{"role": "nothing"}).want(422)
	bob.patch("/v1/members/"+cleo.user, m{"role": "owner"}).want(403)
	bob.patch("/v1/members/"+ann.user, m{"role": "member"}).want(403)
	bob.delete("/v1/members/" + ann.user).want(403)
	if r := bob.patch("/v1/members/"+cleo.user, m{"role": "member"}, `If-Match: "1"`).want(200); r.str("role") != "member" || r.header("ETag") != `"2"` {
		t.Errorf("patched: %s", r.body)
	}
	bob.patch("/v1/members/"+cleo.user, m{"role": "guest"}, `If-Match: "1"`).want(412)
	if cleo.get("/v1/organization").want(200).str("role") != "member" {
		t.Error("the new role does not count")
	}
	ann.patch("/v1/members/"+ann.user, m{"role": "admin"}).want(409).code("last_owner")
	ann.delete("/v1/members/" + ann.user).want(409).code("last_owner")
	ann.patch("/v1/members/"+bob.user, m{"role": "owner"}).want(200)
	ann.delete("/v1/members/" + ann.user).want(204)
	ann.get("/v1/organization").want(404).code("organization_not_found")
	cleo.delete("/v1/members/" + cleo.user).want(204)
	bob.delete("/v1/members/" + bob.user).want(409).code("last_owner")
}

// A guest knows the people of his projects and nobody else, in the list, one by
// one and in the feed.
func TestGuestsSeeThePeopleOfTheirProjects(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	bob := w.join(ann, w.person("bob"), "member")
	cleo := w.join(ann, w.person("cleo"), "guest")
	dan := w.join(ann, w.person("dan"), "guest")
	key := ann.with(ann.post("/v1/api-keys", m{"name": "k", "permissions": []string{"members.read"}}).want(201).str("key"))
	sees := func(c *client, want ...*client) {
		t.Helper()
		list := c.get("/v1/members?include=total").want(200)
		if list.len("data") != len(want) || list.num("total") != int64(len(want)) {
			t.Errorf("%s sees %s", c.name, list.body)
		}
		for _, other := range []*client{ann, bob, cleo, dan} {
			status := 404
			if slices.Contains(want, other) {
				status = 200
			}
			c.get("/v1/members/" + other.user).want(status)
			if got := strings.Contains(string(list.body), other.email); got != (status == 200) {
				t.Errorf("%s sees the address of %s: %v", c.name, other.name, got)
			}
		}
	}
	sees(cleo, cleo)
	sees(bob, ann, bob, cleo, dan)
	sees(key, ann, bob, cleo, dan)
	foreign, random := cleo.get("/v1/members/"+bob.user).want(404), cleo.get("/v1/members/"+id.New().String()).want(404)
	if foreign.str("detail") != random.str("detail") {
		t.Errorf("%s, %s", foreign.body, random.body)
	}

	// An open project that cleo was not added to shows her nobody.
	other := ann.post("/v1/projects", m{"name": "Other"}).want(201).str("id")
	ann.post("/v1/projects/"+other+"/members", m{"user_id": dan.user, "role": "viewer"}).want(201)
	shared := "/v1/projects/" + bob.post("/v1/projects", m{"name": "Shared"}).want(201).str("id")
	bob.post(shared+"/members", m{"user_id": cleo.user, "role": "viewer"}).want(201)
	sees(cleo, bob, cleo)
	sees(dan, ann, dan)
	if r := cleo.get("/v1/members?search=ann&include=total").want(200); r.num("total") != 0 || r.len("data") != 0 {
		t.Errorf("searched: %s", r.body)
	}

	w.settle()
	for _, path := range []string{"/v1/events?limit=200", "/v1/activity?limit=200"} {
		body := string(cleo.get(path).want(200).body)
		if strings.Contains(body, ann.email) || strings.Contains(body, dan.email) || strings.Contains(body, `"member.`) {
			t.Errorf("%s tells a guest of members: %s", path, body)
		}
		if body := string(bob.get(path).want(200).body); !strings.Contains(body, `"member.added"`) {
			t.Errorf("%s tells a member of no members: %s", path, body)
		}
	}
	bob.delete(shared).want(204)
	sees(cleo, cleo)
	ann.post("/v1/roles", m{"name": "Desk", "permissions": []string{"members.read", "members.manage"}, "guest": true}).want(201)
	ann.patch("/v1/members/"+dan.user, m{"role": "desk"}).want(200)
	sees(dan, ann, bob, cleo, dan)
}

func TestRemovedMemberIsOutEverywhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w2 := newWorldOn(t, w.db, w.app.cfg.DataDir)
	ann := w.person("ann").organization("Acme")
	bob := w.join(ann, w.person("bob"), "admin")
	there := *bob
	there.w = w2
	key := bob.post("/v1/api-keys", m{"name": "k", "permissions": []string{"members.read"}}).want(201).str("key")
	for _, c := range []*client{bob, &there, bob.with(key), there.with(key)} {
		c.get("/v1/members").want(200)
	}
	ann.patch("/v1/members/"+bob.user, m{"role": "guest"}).want(200)
	there.get("/v1/roles").want(403).code("permission_denied")
	there.with(key).get("/v1/members").want(200)
	ann.patch("/v1/members/"+bob.user, m{"role": "admin"}).want(200)
	there.get("/v1/roles").want(200)
	ann.delete("/v1/members/" + bob.user).want(204)
	bob.get("/v1/members").want(404).code("organization_not_found")
	there.get("/v1/members").want(404).code("organization_not_found")
	there.with(key).get("/v1/members").want(401).code("unauthenticated")
	w.settle()

	// Back with less, neither old callers nor old keys come back.
	w.join(ann, bob, "guest")
	there.get("/v1/members").want(200)
	there.get("/v1/roles").want(403)
	there.with(key).get("/v1/members").want(401)

	// Nor does a replica that heard of neither the end nor the new beginning.
	cleo := w.join(ann, w.person("cleo"), "admin")
	away := *cleo
	away.w = w2
	away.get("/v1/roles").want(200)
	ann.delete("/v1/members/" + cleo.user).want(204)
	w.join(ann, cleo, "guest")
	away.get("/v1/roles").want(403)
}

func TestLastOwnerRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.person("owner").organization("Acme")
	w.sql(`update users set email_verified_at = now()`) // who did not confirm an address invites few
	owners := []*client{first}
	for range count(7, 29) {
		owners = append(owners, w.join(first, w.person("owner"), "owner"))
	}
	for round := range count(2, 10) {
		var g errgroup.Group
		status := make([]int, len(owners))
		for i, o := range owners {
			g.Go(func() error {
				method, body := "PATCH", any(m{"role": "member"})
				if i%2 == 0 && round%2 == 1 {
					method, body = "DELETE", nil
				}
				r, err := o.try(method, "/v1/members/"+o.user, body)
				if err == nil {
					status[i] = r.status
				}
				return err
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		left := w.sql(`select user_id from members where tenant_id = $1 and role = 'owner'`, first.org)
		if len(left) != 1 {
			t.Fatalf("round %d: %d owners are left; answers %v", round, len(left), status)
		}
		w.sql(`insert into members (tenant_id, user_id, role, version) select o.tenant_id, u.id, 'owner', o.removed_version + 1 from users u, organizations o
			where o.tenant_id = $1 on conflict (tenant_id, user_id) do update set role = 'owner', version = members.version + 1`, first.org)
	}
}

var linkToken = regexp.MustCompile(`#token=([A-Za-z0-9_-]+)`)

// invitation returns the token that was mailed last.
func (w *world) invitation(email string) string {
	w.t.Helper()
	w.settle()
	mails := w.mails(email)
	for i := len(mails) - 1; i >= 0; i-- {
		if found := linkToken.FindStringSubmatch(mails[i].Text); found != nil && strings.HasPrefix(mails[i].Subject, "Invitation to ") {
			return found[1]
		}
	}
	w.t.Fatalf("no invitation was mailed to %s", email)
	return ""
}

// Invitations are no way to write to strangers without end: neither in loops,
// nor from many organisations, nor in words of one's own.
func TestInvitationsAreCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Win at www.evil.example")
	ann.patch("/v1/users/me", m{"username": "Visit https://evil.example"}).want(200)
	ben := w.person("ben").organization("Other")
	w.sql(`update users set email_verified_at = now()`)
	invite := func(c *client, to string) *reply {
		return c.post("/v1/invitations", m{"email": to, "role": "member"})
	}
	made := invite(ann, "Bob@example.net").want(201)
	for range 2 {
		ann.post(made.header("Location")+"/resend", nil).want(200)
	}
	for range 2 {
		ann.delete(made.header("Location")).want(204)
		made = invite(ann, "bob@example.net").want(201)
	}
	busy := ann.post(made.header("Location")+"/resend", nil).want(429).code("rate_limited")
	if s := busy.header("Retry-After"); s == "" || !strings.Contains(busy.str("detail"), "This address") {
		t.Errorf("Retry-After %s: %s", s, busy.body)
	}
	ann.delete(made.header("Location")).want(204)
	invite(ann, "bob@example.net").want(429)
	// What others sent is nobody's business, but there is an end to it.
	theirs := invite(ben, "BOB@example.net").want(201)
	ben.delete(theirs.header("Location")).want(204)
	invite(ben, "eve@example.net").want(201)
	w.settle()
	mails := w.mails("bob@example.net")
	if len(mails) > 6 {
		t.Errorf("%d mails", len(mails))
	}
	for _, mail := range append(mails, w.mails("Bob@example.net")...) {
		if strings.Contains(mail.Text+mail.Subject, "evil.example") || strings.Count(mail.Text, "://") != 1 {
			t.Errorf("a letter leads elsewhere: %s\n%s", mail.Subject, mail.Text)
		}
	}

	age := func(by string) { w.sql(`update invitation_sends set sent_at = sent_at - $1::text::interval`, by) }
	age("1 hour")
	invite(ben, "bob@example.net").want(201)
	// Of the day only the figures are left to come: 5 times 20 from ann.
	w.sql(`insert into invitation_sends (id, subject, sent_at) select gen_random_uuid(), subject, min(sent_at)
		from invitation_sends, generate_series(1, 95) group by subject, generate_series having count(*) = 5`)
	if r := invite(ann, "cid@example.net").want(429).code("rate_limited"); !strings.Contains(r.str("detail"), "You have sent") {
		t.Errorf("the inviter: %s", r.body)
	}
	dan := w.join(ben, w.person("dan"), "admin")
	w.sql(`insert into members (tenant_id, user_id, role) values ($1::text::uuid, $2::text::uuid, 'admin')`, ann.org, dan.user)
	invite(dan.in(ann.org), "cid@example.net").want(201)
	w.sql(`insert into invitation_sends (id, subject, sent_at) select gen_random_uuid(), subject, min(sent_at)
		from invitation_sends, generate_series(1, 199) group by subject, generate_series having count(*) = 101`)
	if r := invite(dan.in(ann.org), "dora@example.net").want(429).code("rate_limited"); !strings.Contains(r.str("detail"), "This organisation") {
		t.Errorf("the organisation: %s", r.body)
	}
	age("1 day")
	invite(ann, "dora@example.net").want(201)
	age("1 day")
	w.settle()

	fay := w.person("fay").organization("Hers") // whose address is not confirmed
	for n := range 20 {
		invite(fay, fmt.Sprintf("guest%d@example.net", n)).want(201)
	}
	if r := invite(fay, "guest20@example.net").want(429); !strings.Contains(r.str("detail"), "your own e-mail address is confirmed") {
		t.Errorf("the inviter who is not confirmed: %s", r.body)
	}
}

func TestInvitations(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	bob, eve := w.person("bob"), w.person("eve")
	shout := strings.ToUpper(bob.email)
	made := ann.post("/v1/invitations", m{"email": shout, "role": "member"}).want(201)
	ann.get(made.header("Location")).want(200)
	if r := ann.post("/v1/invitations", m{"email": bob.email, "role": "guest"}).want(409).code("invitation_pending"); r.str("detail") != "This address is already invited." {
		t.Errorf("invited twice: %s", r.body)
	}
	ann.post("/v1/invitations", m{"email": ann.email, "role": "guest"}).want(409).code("already_member")
	ann.post("/v1/invitations", m{"email": "x@example.test", "role": "nothing"}).want(422)
	ann.post("/v1/invitations", m{"email": "Bob <b@example.test>", "role": "member"}).want(422)
	old := w.invitation(bob.email)
	accept := func(c *client, token string) *reply {
		return c.post("/v1/invitations/accept", m{"token": token})
	}
	w.nobody().post("/v1/invitations/accept", m{"token": old}).want(401)
	accept(eve, old).want(403).code("invitation_for_another")
	accept(bob, old[:len(old)-2]+"AA").want(404).code("not_found")
	accept(bob, "AAAA").want(404)

	ann.post(made.header("Location")+"/resend", nil).want(200)
	token := w.invitation(bob.email)
	accept(bob, old).want(404)
	w.sql(`update invitations set expires_at = now() - interval '1 second'`)
	accept(bob, token).want(409).code("invitation_expired")
	if ann.get("/v1/invitations?status=expired&include=total").want(200).num("total") != 1 {
		t.Error("the list shows no expired invitation")
	}
	made = ann.post("/v1/invitations", m{"email": bob.email, "role": "guest"}).want(201)
	token = w.invitation(bob.email)
	ann.delete(made.header("Location")).want(204)
	ann.delete(made.header("Location")).want(409).code("invitation_revoked")
	accept(bob, token).want(409).code("invitation_revoked")

	ann.post("/v1/invitations", m{"email": bob.email, "role": "guest"}).want(201)
	token = w.invitation(bob.email)
	if got := accept(bob, token).want(200); got.str("role") != "guest" || got.str("id") != ann.org {
		t.Errorf("accepted: %s", got.body)
	}
	accept(bob, token).want(200)
	bob.in(ann.org).get("/v1/members").want(200)
	bob.in(ann.org).get("/v1/invitations").want(403)
	ann.delete("/v1/members/" + bob.user).want(204)
	accept(bob, token).want(409).code("invitation_used")

	rows := w.sql(`select count(*) as n from river_job where args::text like '%' || $1 || '%'`, token)
	if rows[0]["n"].(int64) != 0 {
		t.Error("a job holds the token")
	}
}

func TestInvitationIsUsedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	bob := w.person("bob")
	ann.post("/v1/invitations", m{"email": bob.email, "role": "member"}).want(201)
	token := w.invitation(bob.email)
	var g errgroup.Group
	for range count(20, 100) {
		g.Go(func() error {
			r, err := bob.try("POST", "/v1/invitations/accept", m{"token": token})
			if err == nil && r.status != 200 {
				err = fmt.Errorf("answers %d: %s", r.status, r.body)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if got, want := w.eventTypes(ann.org), "organization.created member.added invitation.created invitation.accepted member.added"; got != want {
		t.Errorf("events\n%s, want\n%s", got, want)
	}
}

func TestPurge(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	kept := w.person("zoe").organization("Kept")
	fill := func(c *client) {
		w.join(c, w.person("bob"), "member")
		c.post("/v1/roles", m{"name": "R", "permissions": []string{}}, "Idempotency-Key: a").want(201)
		c.post("/v1/api-keys", m{"name": "k", "permissions": []string{"members.read"}}).want(201)
		c.post("/v1/invitations", m{"email": "x@example.test", "role": "member"}).want(201)
		ids := seedWork(c, c.post("/v1/projects", m{"name": "P"}).want(201).str("id"))
		c.post("/v1/projects/"+ids["project"]+"/tasks", m{"title": "Part", "parent_id": ids["task"], "assigned_to_id": c.user}).want(201)
		c.post("/v1/tasks/"+ids["task"]+"/comments", m{"body": "Reply", "parent_id": ids["comment"]}).want(201)
		w.settle()
	}
	fill(ann)
	fill(kept)
	before := w.rows(kept.org)
	purge := func(org string) {
		t.Helper()
		kind := jobs.Define[struct{}]("organizations.purge")
		err := w.app.db.GlobalWrite(context.Background(), func(tx *tenant.GlobalTx) error {
			return kind.EnqueueFor(context.Background(), w.app.queue, tx, []id.ID{id.MustParse(org)}, []struct{}{{}})
		})
		if err != nil {
			t.Fatal(err)
		}
		w.settle()
	}
	all := w.rows(ann.org)
	if len(all) < 15 {
		t.Fatalf("only %v hold rows", all)
	}
	purge(ann.org)
	ann.delete("/v1/organization").want(204)
	w.settle()
	purge(ann.org) // deleted a moment ago
	w.sql(`update organizations set deleted_at = now() - interval '30 days' where tenant_id = $1`, ann.org)
	purge(ann.org)
	if got := w.rows(ann.org); len(got) < len(all) {
		t.Fatalf("what was not due was purged: %v are left of %v", got, all)
	}
	w.sql(`update organizations set deleted_at = now() - interval '31 days 1 minute' where tenant_id = $1`, ann.org)
	purge(ann.org)
	if got := w.rows(ann.org); len(got) != 0 {
		t.Errorf("rows are left: %v", got)
	}
	if got := w.rows(kept.org); fmt.Sprint(got) != fmt.Sprint(before) {
		t.Errorf("another organisation had %v and has %v", before, got)
	}

	// The functions themselves refuse, whoever calls them.
	call := func(sql string) (done bool, err error) {
		ctx := context.Background()
		err = w.app.workDB.Write(ctx, tenant.ForSystem(id.MustParse(kept.org)), func(tx *tenant.Tx) error {
			done, err = tenant.Value[bool](ctx, tx, sql)
			return err
		})
		return done, err
	}
	for _, sql := range []string{`select purge_organization(10)`, `select purge_organization_log(10)`} {
		if _, err := call(sql); err == nil || !strings.Contains(err.Error(), "not due") {
			t.Errorf("%s in a live organisation: %v", sql, err)
		}
	}

	// Small batches end anywhere between rows that refer to each other.
	w.sql(`update organizations set deleted_at = now() - interval '32 days' where tenant_id = $1`, kept.org)
	for rounds := 0; ; rounds++ {
		done, err := call(`select purge_organization(2)`)
		if err != nil || rounds > 1000 {
			t.Fatalf("round %d: %v", rounds, err)
		}
		if done {
			break
		}
	}
	if got := w.rows(kept.org); len(got) != 0 {
		t.Errorf("rows are left: %v", got)
	}
}

// rows counts what an organisation has in each table that holds any of it.
func (w *world) rows(org string) map[string]int64 {
	w.t.Helper()
	out := map[string]int64{}
	tables := w.sql(`select c.relname::text as name from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'
		where c.relnamespace = 'guildhall'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition`)
	for _, t := range tables {
		name := t["name"].(string)
		if n := w.sql(`select count(*) as n from `+name+` where tenant_id = $1`, org)[0]["n"].(int64); n > 0 {
			out[name] = n
		}
	}
	return out
}
