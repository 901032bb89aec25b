package main

import "testing"

// Who becomes a guest, by a role of his own or by a change of it, is taken off
// what he does not see any more, and keeps what he was added to.
func TestMemberWhoBecomesAGuestLosesHisTasks(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	role := b.ann.post("/v1/roles", m{"name": "Helper", "permissions": []string{"projects.read", "projects.write", "tasks.read", "tasks.write"}}).want(201)
	cid, dora := b.join(b.ann, b.person("cid"), "helper"), b.join(b.ann, b.person("dora"), "helper")
	theirs := b.ann.post("/v1/projects", m{"name": "Where all are named", "key": "NAMED"}).want(201).header("Location")
	people := []*client{b.ben, cid, dora}
	lost, kept, owned := map[*client]string{}, map[*client]string{}, map[*client]string{}
	for _, p := range people {
		b.ann.post(theirs+"/members", m{"user_id": p.user, "role": "contributor"}).want(201)
		lost[p] = b.task(m{"title": "in an open project", "assigned_to_id": p.user}).header("Location")
		kept[p] = b.ann.post(theirs+"/tasks", m{"title": "in one that names him", "assigned_to_id": p.user}).want(201).header("Location")
		owned[p] = b.ann.post("/v1/projects", m{"name": "Owned", "owner_id": p.user}).want(201).header("Location")
		b.ann.delete(owned[p] + "/members/" + p.user).want(204) // who owns an open project may leave it
	}
	check := func(p *client, guest bool) {
		t.Helper()
		b.settle()
		if got := b.ann.get(lost[p]).want(200); (got.at("assigned_to_id") == nil) != guest {
			t.Errorf("the task that is out of sight: %s", got.body)
		}
		if got := b.ann.get(owned[p]).want(200); (got.at("owner_id") == nil) != guest {
			t.Errorf("the project that is out of sight: %s", got.body)
		}
		if got := b.ann.get(kept[p]).want(200); got.at("assigned_to_id") != p.user {
			t.Errorf("the task in sight: %s", got.body)
		}
	}
	for _, p := range people {
		check(p, false)
	}
	b.ann.patch("/v1/members/"+b.ben.user, m{"role": "guest"}).want(200)
	b.ben.get(lost[b.ben]).want(404)
	check(b.ben, true)
	check(cid, false)
	b.ann.patch(role.header("Location"), m{"description": "Helps."}).want(200)
	check(cid, false)
	b.ann.patch(role.header("Location"), m{"guest": true}).want(200)
	cid.get(lost[cid]).want(404)
	check(cid, true)
	check(dora, true)
	told := b.ann.get("/v1/events?type=task.updated&limit=200").want(200)
	if told.len("data") != 3 || told.str("data.0.previous.assigned_to_id") != b.ben.user || told.str("data.0.actor.type") != "system" {
		t.Errorf("the feed tells: %s", told.body)
	}
}
