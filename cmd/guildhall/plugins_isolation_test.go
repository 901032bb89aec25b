package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/plugins"
)

// Two organisations run two versions of one plugin at once, each in a process of
// its own: the one that has not agreed to what the new version asks for stays on
// the old one, although it takes updates by itself.
func TestPluginTwoVersionsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addPlugin(probeBundle(t, "1.0.0", nil))
	old, agreed := w.tenant("old", true), w.tenant("agreed", true)
	for _, o := range []tenantOf{old, agreed} {
		o.patch(o.path(), m{"auto_update": true}).want(200)
	}
	w.addPlugin(probeBundle(t, "2.0.0", func(man m) {
		man["permissions"] = append(man["permissions"].([]m), m{"permission": "comments.write", "why": "To answer."})
	}))
	agreed.post(agreed.path()+"/upgrade", m{"grants": []string{"comments.write"}}).want(200)
	w.settle()
	host := w.app.features.plugins
	if err := host.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := old.get(old.path()).want(200); got.str("plugin_version") != "1.0.0" || fmt.Sprint(got.at("update.new_grants")) != "[comments.write]" {
		t.Errorf("without consent: %s", got.body)
	}
	if got := agreed.get(agreed.path()).want(200); got.str("plugin_version") != "2.0.0" {
		t.Errorf("with consent: %s", got.body)
	}
	task := m{"title": "label: x"}
	for range 3 {
		for _, o := range []tenantOf{old, agreed} {
			if got := o.post("/v1/projects/"+o.project+"/tasks", task).want(201); got.str("title") != "x" {
				t.Errorf("not asked: %s", got.body)
			}
		}
	}
	a, b := host.HealthOf(id.MustParse(old.plugin), "probe", "1.0.0"), host.HealthOf(id.MustParse(agreed.plugin), "probe", "2.0.0")
	if a.State != "running" || b.State != "running" || calls(a, "task.will_create") != 3 || calls(b, "task.will_create") != 3 {
		t.Errorf("1.0.0: %+v\n2.0.0: %+v", a, b)
	}
	// Each can do what its organisation agreed to.
	say := func(o tenantOf) string {
		made := o.post("/v1/projects/"+o.project+"/tasks", m{"title": "t"}).want(201).str("id")
		return o.post(o.path()+"/actions/call", m{"input": m{"method": "POST", "path": "/v1/tasks/" + made + "/comments", "body": m{"body": "hello"}}}).want(200).str("output.error")
	}
	if got := say(old); !strings.Contains(got, "permission_denied") {
		t.Errorf("1.0.0 commented without consent: %q", got)
	}
	if got := say(agreed); got != "" {
		t.Errorf("2.0.0 could not comment: %s", got)
	}
	proved(t, "1.0.0 and 2.0.0 running at once, each asked by its organisation alone")
}

func calls(h plugins.Health, point string) (n int64) {
	for _, p := range h.Points {
		if p.Point == point {
			n = p.Calls
		}
	}
	return n
}

// A plugin with every permission that there is tries each operation with what is
// of another organisation, in every place where an id goes in, and each host call
// by a grant of another organisation that is over.
func TestPluginTriesWhatIsOfOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ours, theirs := seedOrganization(w, "ours"), seedOrganization(w, "theirs")
	all := []string{}
	w.addPlugin(probeBundle(t, "9.0.0", func(man m) {
		asks := []m{}
		for _, p := range ours.owner.get("/v1/permissions").want(200).at("data").([]any) {
			if key := p.(map[string]any)["key"].(string); plugins.Grantable(key) {
				asks, all = append(asks, m{"permission": key, "why": "To try."}), append(all, key)
			}
		}
		man["permissions"] = asks
	}))
	greedy := func(s seeded) string {
		at := "/v1/plugin-installations/" + s.ids["plugin_installation"]
		s.owner.post(at+"/upgrade", m{"grants": append(all, "private_projects")}).want(200)
		return at + "/actions/call"
	}
	here, there := greedy(ours), greedy(theirs)
	call := func(c *client, at string, input m) *reply {
		t.Helper()
		return c.post(at, m{"input": input}).want(200)
	}

	doc := w.app.router.OpenAPI()
	attempts, reached := 0, 0
	for _, op := range w.app.router.Operations() {
		places, _ := slots(op.In)
		mine := sample(doc, op, places, ours.ids)
		for _, s := range places {
			foreign := theirs.ids[s.kind]
			if !uuidLike.MatchString(foreign) {
				continue
			}
			try := func(v string) string {
				attempts++
				r := mine.with(s, v)
				input := m{"method": op.Method(), "path": r.url()}
				if r.body != nil {
					input["body"] = r.body
				}
				got := call(ours.owner, here, input)
				if op.Access == api.InOrganization && strings.Contains(got.str("output.error"), "404 ") {
					reached++
				}
				return fmt.Sprint(got.str("output.error"), got.at("output.answer"))
			}
			random := id.New().String()
			if a, b := strings.ReplaceAll(try(random), random, "ID"), strings.ReplaceAll(try(foreign), foreign, "ID"); a != b {
				t.Errorf("%s: %s of another organisation is told apart from a random one:\n  %s\n  %s", op.ID, s, b, a)
			}
		}
	}
	if reached == 0 {
		t.Error("no attempt came as far as an operation")
	}

	// Both organisations are served by one process, which may remember.
	call(theirs.owner, there, m{"key": "colour", "value": "red"})
	call(theirs.owner, there, m{"secret": "xyzzy"})
	call(theirs.owner, there, m{"keep": true})
	stale := map[string]string{}
	raw, _ := json.Marshal(call(ours.owner, here, m{"stale": true}).at("output.stale"))
	if err := json.Unmarshal(raw, &stale); err != nil || len(stale) != 11 {
		t.Fatalf("by a grant that is over: %v %s", err, raw)
	}
	for what, got := range stale {
		if attempts++; !strings.Contains(got, "grant") {
			t.Errorf("%s by a grant that is over: %s", what, got)
		}
	}
	w.settle()
	if got := call(theirs.owner, there, m{"key": "colour"}); got.str("output.value") != "red" {
		t.Errorf("their value: %s", got.body)
	}
	if got := theirs.owner.get("/v1/events?type=plugin.*").want(200); got.len("data") != 0 {
		t.Errorf("their log: %s", got.body)
	}
	if log := ours.owner.get("/v1/audit-log?limit=200").want(200); strings.Contains(string(log.body), theirs.owner.org) {
		t.Error("the log of one organisation names the other")
	}
	proved(t, "%d attempts by a plugin with every permission, %d of them as far as the operation: nothing of another organisation", attempts, reached)
}
