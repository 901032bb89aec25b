package main

import (
	"fmt"
	"strings"
	"testing"
)

// A plugin is installed with consent, and asked about single and bulk changes
// alike.
func TestPluginHooks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("ACME")
	project := ann.post("/v1/projects", m{"name": "P"}).want(201).str("id")
	w.installProbe(ann, m{"refuse": "forbidden"})
	tasks := "/v1/projects/" + project + "/tasks"

	no := ann.post(tasks, m{"title": "a forbidden thing"}).want(422)
	if no.str("code") != "plugin_refused" || no.str("detail") != "The word forbidden is not used here." || no.str("plugin") != "probe" {
		t.Errorf("refused with %s", no.body)
	}
	made := ann.post(tasks, m{"title": "label: paint", "labels": []string{"red"}}).want(201)
	if made.str("title") != "paint" || !strings.Contains(string(made.body), `"probed"`) {
		t.Errorf("not amended: %s", made.body)
	}
	task := made.str("id")
	ann.patch("/v1/tasks/"+task, m{"title": "forbidden"}).want(422)
	ann.put("/v1/tasks/"+task, m{"title": "forbidden"}).want(422)
	if got := ann.patch("/v1/tasks/"+task, m{"title": "label: other"}).want(200); got.str("title") != "other" {
		t.Errorf("not amended: %s", got.body)
	}
	// An amendment of what cannot be amended is ignored, since the organisation
	// agreed to allow on failure.
	ann.post(tasks, m{"title": "number: 8"}).want(201)
	// A hook reads; it cannot write.
	if got := ann.post(tasks, m{"title": "write: it"}).want(422); !strings.Contains(got.str("detail"), "must not change anything") {
		t.Errorf("a hook wrote: %s", got.body)
	}

	second := ann.post(tasks, m{"title": "fine"}).want(201).str("id")
	w.app.features.plugins.Settle(t.Context())
	id := ann.get("/v1/plugin-installations").want(200).str("data.0.id")
	ann.patch("/v1/plugin-installations/"+id, m{"settings": m{"refuse": "fine"}}).want(200)
	bulk := ann.post("/v1/tasks/bulk", m{"task_ids": []string{task, second}, "set": m{"priority": "high"}}).want(200)
	if bulk.num("results.0.status") != 200 || bulk.num("results.1.status") != 422 || bulk.str("results.1.error.code") != "plugin_refused" {
		t.Errorf("bulk: %s", bulk.body)
	}

	// A move into another project is asked about, and titles are cleaned whoever
	// wrote them.
	other := ann.post("/v1/projects", m{"name": "Q"}).want(201).str("id")
	if got := ann.post("/v1/tasks/"+second+"/move", m{"project_id": other}).want(422); got.str("code") != "plugin_refused" {
		t.Errorf("moved: %s", got.body)
	}
	for sent, want := range map[string]string{"  spaced ": "spaced", "label:  amended": "amended"} {
		if got := ann.patch("/v1/tasks/"+task, m{"title": sent}).want(200); got.str("title") != want {
			t.Errorf("%q became %q", sent, got.str("title"))
		}
	}
	ann.post("/v1/tasks/"+task+"/move", m{"project_id": other}).want(200)

	comment := ann.post("/v1/tasks/"+task+"/comments", m{"body": "that is fine"}).want(422)
	if comment.str("code") != "plugin_refused" {
		t.Errorf("comment: %s", comment.body)
	}
	// Suspended, it is not asked any more; with the next call already.
	ann.patch("/v1/plugin-installations/"+id, m{"status": "suspended"}).want(200)
	ann.post("/v1/tasks/"+task+"/comments", m{"body": "that is fine"}).want(201)
	ann.delete("/v1/plugin-installations/" + id).want(204)
}

// What goes past a hook by another way is asked about there: the new name of a
// label, and a task that comes out of a private project, which the plugin was not
// asked about before.
func TestPluginHooksHaveNoWayRound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("ACME")
	w.addPlugin(probeBundle(t, "1.0.0", func(man m) {
		man["hooks"] = append(man["hooks"].([]m), m{"hook": "label.will_change", "on_failure": "refuse", "why": "To look at names.", "deadline_ms": 200})
	}))
	ann.post("/v1/plugin-installations", m{"plugin_id": "probe", "grants": probeGrants("hook:label.will_change", "hook:label.will_change:refuse"), "settings": m{"refuse": "forbidden"}}).want(201)
	open := ann.post("/v1/projects", m{"name": "Open"}).want(201).str("id")
	private := ann.post("/v1/projects", m{"name": "Private", "visibility": "private"}).want(201).str("id")

	task := ann.post("/v1/projects/"+private+"/tasks", m{"title": "a forbidden thing"}).want(201).str("id")
	ann.post("/v1/tasks/"+task+"/move", m{"project_id": open}).want(422).code("plugin_refused")
	ann.patch("/v1/tasks/"+task, m{"title": "a thing"}).want(200)
	ann.post("/v1/tasks/"+task+"/move", m{"project_id": open}).want(200)
	ann.patch("/v1/tasks/"+task, m{"labels": []string{"red"}}).want(200)

	label := ann.get("/v1/labels?project_id=" + open).want(200).str("data.0.id")
	ann.patch("/v1/labels/"+label, m{"name": "forbidden"}).want(422).code("plugin_refused")
	if got := ann.patch("/v1/labels/"+label, m{"name": "tidy:  blue", "color": "#2563eb"}).want(200); got.str("name") != "blue" {
		t.Errorf("not amended: %s", got.body)
	}
	ann.patch("/v1/labels/"+label, m{"color": "#ffffff"}).want(200)
	if got := ann.get("/v1/tasks/" + task).want(200); got.str("labels.0") != "blue" {
		t.Errorf("the task carries %s", got.body)
	}
}

// Actions and channels run outside of a transaction, and still nobody runs one
// whose log-in has ended.
func TestPluginActionsNeedALiveLogIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("ACME")
	at := "/v1/plugin-installations/" + w.installProbe(ann, m{})
	project := ann.post("/v1/projects", m{"name": "P"}).want(201).str("id")
	task := ann.post("/v1/projects/"+project+"/tasks", m{"title": "t"}).want(201).str("id")
	run := m{"input": m{}, "subject": m{"type": "task", "id": task}}
	bob := w.join(ann, w.person("bob"), "admin")
	bob.post(at+"/actions/call", run).want(200)
	ann.patch("/v1/members/"+bob.user, m{"role": "guest"}).want(200) // another role: looked at anew
	if r := bob.post(at+"/actions/call", run); r.status != 403 && r.status != 404 {
		t.Errorf("as a guest: %d %s", r.status, r.body)
	}
	ann.post(at+"/actions/call", run).want(200)
	ann.post(at+"/channels/probe/test", m{"to": "ann"}).want(200)
	ann.post("/v1/auth/logout", nil).want(204)
	ann.post(at+"/actions/call", run).want(401)
	ann.post(at+"/channels/probe/test", m{"to": "ann"}).want(401)
}

// An organisation grants by name: nothing more than is asked for, nothing that
// the admin does not hold, and everything that is needed.
func TestPluginConsent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("ACME")
	w.addPlugin(probeBundle(t, "1.0.0", nil))
	install := func(c *client, grants []string, settings m) *reply {
		return c.post("/v1/plugin-installations", m{"plugin_id": "probe", "grants": grants, "settings": settings})
	}

	if got := ann.get("/v1/plugins").want(200); got.str("data.0.id") != "probe" || got.str("data.0.version") != "1.0.0" || got.len("data.0.asks") != 22 {
		t.Errorf("the catalogue: %s", got.body)
	}
	if got := install(ann, []string{"tasks.read"}, m{}).want(422); got.str("errors.0.pointer") != "/grants" {
		t.Errorf("too little was enough: %s", got.body)
	}
	if got := install(ann, append(probeGrants(), "members.manage"), m{}).want(422); !strings.Contains(got.str("detail"), "does not ask for members.manage") {
		t.Errorf("too much was taken: %s", got.body)
	}
	if got := install(ann, probeGrants(), m{"unknown": 1}).want(422); !strings.HasPrefix(got.str("errors.0.pointer"), "/settings") {
		t.Errorf("settings: %s", got.body)
	}
	if got := install(ann, probeGrants(), m{"secret": "wrong"}).want(422); got.str("errors.0.pointer") != "/settings/secret" {
		t.Errorf("the plugin was not asked about its settings: %s", got.body)
	}
	bob := w.join(ann, w.person("bob"), "member")
	install(bob, probeGrants(), m{}).want(403)
	role := ann.post("/v1/roles", m{"key": "integrator", "name": "Integrator", "permissions": []string{"plugins.read", "plugins.manage", "tasks.read"}}).want(201)
	cat := w.join(ann, w.person("cat"), role.str("key"))
	if got := install(cat, probeGrants(), m{}).want(422); !strings.Contains(got.str("detail"), "you do not hold projects.read") {
		t.Errorf("granted what she does not hold: %s", got.body)
	}

	made := install(ann, probeGrants(), m{"secret": "hidden treasure"}).want(201)
	id := made.str("id")
	if strings.Contains(string(made.body), "treasure") || made.str("secrets_set.0") != "secret" {
		t.Errorf("a secret is shown: %s", made.body)
	}
	install(ann, probeGrants(), m{}).want(409).code("plugin_already_installed")
	w.settle()
	if log := ann.get("/v1/audit-log?limit=200").want(200); strings.Contains(string(log.body), "treasure") {
		t.Error("a secret is in the log")
	}
	// Settings are merged; the secret stays.
	if got := ann.patch("/v1/plugin-installations/"+id, m{"settings": m{"refuse": "x"}}).want(200); got.str("secrets_set.0") != "secret" {
		t.Errorf("the secret is gone: %s", got.body)
	}
	stale := ann.patch("/v1/plugin-installations/"+id, m{"auto_update": false}, `If-Match: "1"`)
	stale.want(412).code("version_conflict")
	// A version that asks for the same under harder terms asks for more.
	w.addPlugin(probeBundle(t, "1.1.0", func(man m) {
		man["hooks"].([]m)[0]["on_failure"] = "refuse"
		man["actions"].([]m)[0]["permission"] = "tasks.read"
	}))
	if got := ann.get("/v1/plugin-installations/" + id).want(200); fmt.Sprint(got.at("update.new_grants")) != "[action:call:tasks.read hook:task.will_create:refuse]" {
		t.Errorf("the harder version asks for nothing: %s", got.body)
	}
	ann.post("/v1/plugin-installations/"+id+"/upgrade", m{}).want(422)
	// Who may not join private projects cannot send elsewhere what a plugin sees of
	// them.
	at := "/v1/plugin-installations/" + id
	ann.patch(at, m{"grants": probeGrants("private_projects")}).want(200)
	cat.patch(at, m{"settings": m{"url": "https://elsewhere.example"}}).want(403).code("permission_denied")
	cat.patch(at, m{"grants": probeGrants("private_projects", "host-setting:/url")}).want(403).code("permission_denied")
	cat.post(at+"/upgrade", m{"grants": []string{"action:call:tasks.read", "hook:task.will_create:refuse"}}).want(403).code("permission_denied")
	cat.patch(at, m{"auto_update": false}).want(200)
	cat.patch(at, m{"grants": probeGrants()}).want(200)
	cat.patch(at, m{"settings": m{"url": "https://elsewhere.example"}}).want(200)
	// A field that a version calls a secret is sealed by the move to it, and stays so
	// on the way back. The same version again is no upgrade.
	w.addPlugin(probeBundle(t, "1.2.0", func(man m) {
		man["settings"].(m)["properties"].(m)["url"] = m{"type": "string", "x-secret": true}
	}))
	if got := ann.post(at+"/upgrade", m{"version": "1.2.0"}).want(200); strings.Contains(string(got.body), "elsewhere") || fmt.Sprint(got.at("secrets_set")) != "[secret url]" {
		t.Errorf("a new secret is shown: %s", got.body)
	}
	if got := ann.post(at+"/upgrade", m{"settings": m{"secret": nil}}).want(200); got.str("previous_version") != "1.0.0" || fmt.Sprint(got.at("secrets_set")) != "[url]" {
		t.Errorf("settings alone were an upgrade: %s", got.body)
	}
	if got := ann.post(at+"/upgrade", m{"version": "1.0.0"}).want(200); strings.Contains(string(got.body), "elsewhere") {
		t.Errorf("a secret is shown on the way back: %s", got.body)
	}
	if got := ann.get("/v1/plugins/probe").want(200); got.str("versions.2.version") != "1.0.0" || got.len("versions.2.asks") != 22 || got.len("versions.1.asks") != 23 {
		t.Errorf("what the versions ask for: %s", got.body)
	}
	// Another organisation sees the catalogue, and nothing of this one.
	eve := w.person("eve").organization("OTHER")
	eve.get("/v1/plugin-installations/" + id).want(404)
	eve.post("/v1/plugin-installations/"+id+"/actions/call", m{"input": m{}}).want(404)
}

// What a plugin does is done with the granted rights, as the plugin, and in its
// organisation alone.
func TestPluginHostCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("ACME")
	eve := w.person("eve").organization("OTHER")
	project := ann.post("/v1/projects", m{"name": "P"}).want(201).str("id")
	hidden := ann.post("/v1/projects", m{"name": "Hidden", "visibility": "private"}).want(201).str("id")
	foreign := eve.post("/v1/projects", m{"name": "Foreign"}).want(201).str("id")
	id := w.installProbe(ann, m{"url": "https://hooks.example.test/x"}, "tasks.write", "host-setting:/url")
	call := func(input m) *reply {
		t.Helper()
		return ann.post("/v1/plugin-installations/"+id+"/actions/call", m{"input": input}).want(200)
	}

	made := call(m{"method": "POST", "path": "/v1/projects/" + project + "/tasks", "body": m{"title": "by a plugin"}})
	task := made.str("output.answer.id")
	if made.str("output.answer.created_by.type") != "plugin" || made.str("output.answer.created_by.id") != id {
		t.Errorf("made by: %s", made.body)
	}
	for what, input := range map[string]m{
		"ungranted":         {"method": "POST", "path": "/v1/projects", "body": m{"name": "No"}},
		"private project":   {"method": "GET", "path": "/v1/projects/" + hidden},
		"foreign project":   {"method": "GET", "path": "/v1/projects/" + foreign},
		"outside":           {"method": "GET", "path": "/v1/users/me"},
		"log-in":            {"method": "POST", "path": "/v1/auth/login", "body": m{"email": "a@example.test", "password": "x"}},
		"host":              {"url": "https://elsewhere.example.test/"},
		"host of a setting": {"url": "http://hooks.example.test/x"},
		"address inside":    {"url": "http://127.0.0.1:1/"},
		"event":             {"emit": "unknown", "value": "x"},
	} {
		if got := call(input); got.str("output.error") == "" {
			t.Errorf("%s: allowed: %s", what, got.body)
		}
	}
	w.settle()
	log := string(ann.get("/v1/audit-log?limit=200").want(200).body)
	for _, fact := range []string{"call.denied", "plugin_call.denied", "plugin_action.ran"} {
		if !strings.Contains(log, fact) {
			t.Errorf("the audit log does not tell of %s", fact)
		}
	}

	call(m{"key": "colour", "value": "red"})
	if got := call(m{"key": "colour"}); got.str("output.value") != "red" {
		t.Errorf("a value: %s", got.body)
	}
	if got := call(m{"secret": "xyzzy"}); got.str("output.value") != "xyzzy" {
		t.Errorf("a secret: %s", got.body)
	}
	first := call(m{"emit": "noticed", "value": "x", "key": "once"}).str("output.event")
	if again := call(m{"emit": "noticed", "value": "x", "key": "once"}).str("output.event"); again != first || first == "" {
		t.Errorf("one key made the events %s and %s", first, again)
	}
	call(m{"later": "soon"})
	w.settle()
	if got := call(m{"key": "later"}); got.str("output.value") != `"soon"` {
		t.Errorf("a task: %s", got.body)
	}
	if got := ann.get("/v1/events?type=plugin.*").want(200); got.str("data.0.type") != "plugin.probe.noticed" || got.str("data.0.data.data.text") != "x" {
		t.Errorf("the event: %s", got.body)
	}
	// What it sees of the machine.
	env := call(m{}).str("output.shadow")
	if !strings.Contains(env, "denied") {
		t.Errorf("read /etc/shadow: %s", env)
	}
	ann.get("/v1/tasks/" + task).want(200)

	// Its action refuses, its channel sends, its address answers.
	ann.post("/v1/plugin-installations/"+id+"/actions/keep", m{}).want(422).code("plugin_refused")
	ann.post("/v1/plugin-installations/"+id+"/actions/keep", m{"input": m{"a": 1}}).want(422).code("validation_failed")
	if got := ann.post("/v1/plugin-installations/"+id+"/channels/probe/test", m{"to": "ann"}).want(200); got.str("external_id") != "sent to ann" {
		t.Errorf("sent: %s", got.body)
	}
	ann.post("/v1/plugin-installations/"+id+"/channels/probe/test", m{"to": "nobody"}).want(422).code("plugin_refused")
	nobody := &client{w: w}
	if got := nobody.post("/v1/plugin-installations/"+id+"/inbound/echo", m{"a": 1}).want(202); !strings.HasPrefix(string(got.body), ann.org) {
		t.Errorf("the address answers %s", got.body)
	}
	nobody.post("/v1/plugin-installations/"+id+"/inbound/other", m{}).want(404)
	if got := ann.get("/v1/plugin-actions?on=task").want(200); got.len("data") != 1 || got.str("data.0.name") != "call" {
		t.Errorf("actions: %s", got.body)
	}
	if got := ann.get("/v1/plugin-installations/" + id + "/health").want(200); got.str("state") != "running" || got.len("points") == 0 {
		t.Errorf("health: %s", got.body)
	}
}
