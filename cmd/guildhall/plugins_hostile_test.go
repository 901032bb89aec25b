package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/plugins"
	"github.com/guildhall-dev/guildhall/tenant/tenanttest"
)

// quick is supervision that a test can wait for.
var quick = plugins.Restart{First: 20 * time.Millisecond, Last: 100 * time.Millisecond, CPU: 2 * time.Second}

func quickWorld(t testing.TB, drain time.Duration) *world {
	t.Helper()
	return startWorldWith(t, tenanttest.New(t), options{restart: quick, drain: drain}, "GUILDHALL_DATA_DIR="+t.TempDir(), "GUILDHALL_RATE_LIMIT=off")
}

// meets fails the test if the condition does not come true.
func meets(t testing.TB, within time.Duration, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(within)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("waited %s in vain until %s", within, what)
		case <-tick.C:
		}
	}
}

// tenantOf is an organisation of the hostile tests.
type tenantOf struct {
	*client
	project string
	plugin  string // its installation
}

func (w *world) tenant(name string, plugin bool, extra ...string) tenantOf {
	w.t.Helper()
	c := w.person(name).organization(name)
	o := tenantOf{client: c, project: c.post("/v1/projects", m{"name": "P"}).want(201).str("id")}
	if plugin {
		o.plugin = c.post("/v1/plugin-installations", m{"plugin_id": "probe", "grants": probeGrants(extra...), "settings": m{}}).want(201).str("id")
	}
	return o
}

func (o tenantOf) path() string { return "/v1/plugin-installations/" + o.plugin }

// write makes a task; asked says whether the plugin was, and amended it.
func (o tenantOf) write() (took time.Duration, asked bool, err error) {
	began := time.Now()
	r, err := o.try("POST", "/v1/projects/"+o.project+"/tasks", m{"title": "label: x"})
	if err == nil && r.status != 201 {
		err = fmt.Errorf("status %d: %s", r.status, r.body)
	}
	return time.Since(began), err == nil && r.str("title") == "x", err
}

// load is what others do while somebody has trouble.
type load struct {
	none, same tenantOf
	times      []time.Duration // of operations that ask no plugin
	hooked     []time.Duration // of those that do
	unasked    int
}

// step does an operation of each kind.
func (l *load) step(t *testing.T) {
	t.Helper()
	for _, o := range []tenantOf{l.none, l.same} {
		began := time.Now()
		if r, err := o.try("GET", "/v1/projects/"+o.project+"/tasks?limit=5", nil); err != nil || r.status != 200 {
			t.Fatalf("another organisation could not read: %v %s", err, r.body)
		}
		l.times = append(l.times, time.Since(began))
	}
	took, _, err := l.none.write()
	if err != nil {
		t.Fatalf("an organisation without plugins could not write: %v", err)
	}
	l.times = append(l.times, took)
	took, asked, err := l.same.write()
	if err != nil {
		t.Fatalf("an organisation with the same plugin could not write: %v", err)
	}
	if l.hooked = append(l.hooked, took); !asked {
		l.unasked++
	}
}

// during runs steps until done, and at least n; beside them the bad organisation
// writes at a steady rate.
func (l *load) during(t *testing.T, n int, bad tenantOf, done func() bool) {
	t.Helper()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			if _, _, err := bad.write(); err != nil { // it fails open, too
				t.Errorf("the organisation in trouble could not write: %v", err)
				return
			}
		}
	})
	defer wg.Wait()
	defer close(stop)
	deadline := time.Now().Add(2 * time.Minute)
	for steps := 0; steps < n || !done(); steps++ {
		if time.Now().After(deadline) {
			t.Fatalf("after two minutes: %s %s", bad.get(bad.path()).body, bad.get(bad.path()+"/health").body)
		}
		l.step(t)
	}
}

// Each kind of trouble that a plugin can be: what ends its process quarantines the
// one organisation that causes it, with the reason; what only does not answer is
// not asked for a while. Others go on meanwhile: one has the same version of the
// same plugin, one has none.
func TestPluginTroubleHurtsNobodyElse(t *testing.T) {
	t.Parallel()
	w := quickWorld(t, 0)
	w.addPlugin(probeBundle(t, "1.0.0", func(man m) {
		man["limits"] = m{"cpu_percent": 10}
		for _, h := range man["hooks"].([]m) {
			h["deadline_ms"] = 300
		}
	}))
	none, same := w.tenant("none", false), w.tenant("same", true)
	for _, kind := range []struct {
		name   string
		reason string
		ends   bool // the process, and so is quarantined
		either bool // the kernel decides
	}{
		{"hang", "did not answer in time", false, false},
		{"panic", "as told", false, false},
		{"error", "as told", false, false},
		{"print", "did not answer in time", false, false},
		{"die", "exited with status 2", true, false},
		{"exit", "exited with status 3", true, false},
		{"eat", "memory", true, false},
		{"spin", "used more CPU than 10 % of a core", true, false},
		{"fork", "", false, true},
	} {
		if !soak() && !slices.Contains([]string{"hang", "error", "exit"}, kind.name) {
			continue // each of the others takes a minute or more; make soak has them all
		}
		if kind.name == "fork" && os.Geteuid() != 0 {
			continue // without an account of its own its processes are not counted
		}
		if !t.Run(kind.name, func(t *testing.T) {
			bad := w.tenant(kind.name, true)
			var ratios, hooked []float64
			unasked, calls := 0, 0
			for range count(1, 5) {
				calm, troubled := load{none: none, same: same}, load{none: none, same: same}
				bad.patch(bad.path(), m{"settings": m{"trouble": nil}, "status": "active"}).want(200)
				calm.during(t, count(20, 300), bad, func() bool { return true })
				bad.patch(bad.path(), m{"settings": m{"trouble": kind.name}}).want(200)
				troubled.during(t, count(20, 300), bad, func() bool { return w.inTrouble(t, bad, kind.ends, kind.either, kind.reason) })
				_, _, before := percentiles(calm.times)
				_, _, after := percentiles(troubled.times)
				ratios = append(ratios, float64(after)/float64(before))
				_, _, before = percentiles(calm.hooked)
				_, _, after = percentiles(troubled.hooked)
				hooked = append(hooked, float64(after)/float64(before))
				unasked, calls = unasked+calm.unasked+troubled.unasked, calls+len(calm.hooked)+len(troubled.hooked)
			}
			slices.Sort(ratios)
			slices.Sort(hooked)
			if middle := ratios[len(ratios)/2]; soak() && middle > 1.2 {
				t.Errorf("the p99 of others grew to %.2f", middle)
			}
			w.unhurt(t, same)
			// It runs again as soon as an admin says so.
			bad.patch(bad.path(), m{"status": "active", "settings": m{"trouble": nil}}).want(200)
			meets(t, 40*time.Second, "it is asked again", func() bool { _, asked, err := bad.write(); return err == nil && asked })
			proved(t, "p99 of others with trouble / without: %.2f (median of %d), %.2f where the same plugin is asked; %d of %d of its calls went on without it; shown: %s",
				ratios[len(ratios)/2], len(ratios), hooked[len(hooked)/2], unasked, calls, w.shown(bad))
		}) {
			return
		}
	}
	if rows := w.sql(`select from event_log where type = 'plugin_installation.quarantined' and tenant_id = $1`, id.MustParse(none.org)); len(rows) != 0 {
		t.Error("an organisation without plugins has one quarantined")
	}
}

// shown is what an organisation is told of its trouble.
func (w *world) shown(bad tenantOf) string {
	if rows := w.sql(`select data->>'status_reason' as reason from event_log where type = 'plugin_installation.quarantined' and tenant_id = $1 order by id desc limit 1`, id.MustParse(bad.org)); len(rows) > 0 {
		return fmt.Sprint("quarantined: ", rows[0]["reason"])
	}
	_, last := failures(bad)
	return "not asked for a while: " + last
}

// inTrouble reports whether what is wrong with an installation is shown, and with
// its reason.
func (w *world) inTrouble(t *testing.T, bad tenantOf, ends, either bool, reason string) bool {
	t.Helper()
	i, h := bad.get(bad.path()).want(200), bad.get(bad.path()+"/health").want(200)
	if ends || either {
		if i.str("status") == "quarantined" {
			if !strings.Contains(i.str("status_reason"), reason) || h.str("status") != "quarantined" || h.str("status_reason") == "" {
				t.Fatalf("quarantined, but shown as %s and %s", i.body, h.body)
			}
			return true
		}
		if !either {
			return false
		}
	}
	n, last := failures(bad)
	return n >= 5 && strings.Contains(last, reason)
}

// failures tells how often the hook failed, and how the last time.
func failures(bad tenantOf) (n int64, last string) {
	h := bad.get(bad.path() + "/health").want(200)
	for i := range h.len("points") {
		if p := fmt.Sprintf("points.%d.", i); h.str(p+"point") == "task.will_create" {
			n, last = h.num(p+"failures"), h.str(p+"last_error")
		}
	}
	return n, last
}

// unhurt checks that an organisation's plugin runs and was never stopped.
func (w *world) unhurt(t *testing.T, same tenantOf) {
	t.Helper()
	if i := same.get(same.path()).want(200); i.str("status") != "active" || i.num("version") != 1 {
		t.Fatalf("another organisation's plugin was touched: %s", i.body)
	}
	meets(t, 30*time.Second, "the other organisation's plugin is asked", func() bool { _, asked, err := same.write(); return err == nil && asked })
}

// A version that does not start is not installed; if it does not start any more,
// all who have it are told why, and nobody else notices.
func TestPluginThatExitsAtStart(t *testing.T) {
	t.Parallel()
	w := quickWorld(t, 50*time.Millisecond)
	exits, err := os.ReadFile("/bin/false")
	if err != nil {
		t.Fatal(err)
	}
	w.addPlugin(probeBundle(t, "1.0.0", nil))
	same, bad := w.tenant("same", true), w.tenant("bad", true)
	w.addPlugin(packBundle(t, probeManifest("2.0.0", nil), map[string][]byte{"bin/probe": exits}))

	no := bad.post(bad.path()+"/upgrade", m{"version": "2.0.0"}).want(409).code("plugin_does_not_start")
	if !strings.Contains(no.str("detail"), "exited with status 1") {
		t.Errorf("the reason is %s", no.body)
	}
	if got := bad.get(bad.path()).want(200); got.str("plugin_version") != "1.0.0" {
		t.Errorf("moved to what does not start: %s", got.body)
	}
	// It used to start, let us say.
	w.sql(`update plugin_installations set plugin_version = '2.0.0' where id = $1`, id.MustParse(bad.plugin))
	began := time.Now()
	meets(t, time.Minute, "it is quarantined", func() bool {
		if err := w.app.features.plugins.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, asked, err := same.write(); err != nil || !asked {
			t.Fatalf("another organisation noticed: %v", err)
		}
		return bad.get(bad.path()).want(200).str("status") == "quarantined"
	})
	got := bad.get(bad.path()).want(200)
	if !strings.Contains(got.str("status_reason"), "exited with status 1") {
		t.Errorf("the reason is %s", got.body)
	}
	w.unhurt(t, same)
	bad.patch(bad.path(), m{"status": "active"}).want(409).code("plugin_does_not_start")
	bad.post(bad.path()+"/upgrade", m{"version": "1.0.0"}).want(200)
	bad.patch(bad.path(), m{"status": "active"}).want(200)
	if _, asked, err := bad.write(); err != nil || !asked {
		t.Errorf("it is not asked on the version that runs: %v", err)
	}
	proved(t, "refused when installed; failing later, it was quarantined %s after, with: %s", time.Since(began).Round(100*time.Millisecond), got.str("status_reason"))
}

// Settings that end the process while they are checked, of what is not installed
// yet: whoever sends them again and again stops nobody else's plugin.
func TestPluginTrialsHurtNobody(t *testing.T) {
	t.Parallel()
	w := quickWorld(t, 0)
	w.addPlugin(probeBundle(t, "1.0.0", nil))
	same, bad := w.tenant("same", true), w.tenant("bad", false)
	install := func(settings m) *reply {
		return bad.post("/v1/plugin-installations", m{"plugin_id": "probe", "grants": probeGrants(), "settings": settings})
	}
	for range 2 * 5 {
		install(m{"secret": "exit"}).want(409).code("plugin_does_not_start")
		if _, asked, err := same.write(); err != nil || !asked {
			t.Fatalf("another organisation's plugin is not asked: %v", err)
		}
	}
	if h := same.get(same.path() + "/health").want(200); h.num("restarts") != 0 {
		t.Errorf("another organisation's process ended: %s", h.body)
	}
	w.unhurt(t, same)
	install(m{}).want(201)
}

// What a plugin guards with on_failure refuse stays shut while it does not run,
// whatever the reason; where it is allow, things go on without it.
func TestPluginVetoHoldsWhileItDoesNotRun(t *testing.T) {
	t.Parallel()
	w := quickWorld(t, 0)
	w.addPlugin(probeBundle(t, "1.0.0", func(man m) { man["hooks"].([]m)[0]["on_failure"] = "refuse" }))
	o := w.tenant("ann", true, "hook:task.will_create:refuse")
	o.patch(o.path(), m{"settings": m{"secret": "treasure"}}).want(200)
	tasks := "/v1/projects/" + o.project + "/tasks"
	task := o.post(tasks, m{"title": "t"}).want(201).str("id")
	w.settle()
	for what, sql := range map[string]string{
		"quarantined":                        `update plugin_installations set status = 'quarantined' where id = $1`,
		"with secrets that cannot be opened": `update plugin_installations set secrets = '\x00' where id = $1`,
	} {
		before := w.sql(`select status, secrets from plugin_installations where id = $1`, id.MustParse(o.plugin))[0]
		w.sql(sql, id.MustParse(o.plugin))
		w.sql(`update organizations set epoch = epoch + 1`)
		o.post(tasks, m{"title": "label: x"}).want(503).code("plugin_unavailable")
		if got := o.patch("/v1/tasks/"+task, m{"title": "label: y"}).want(200); got.str("title") != "label: y" {
			t.Errorf("%s, it was asked: %s", what, got.body)
		}
		w.settle()
		if n := w.sql(`select count(*) as n from plugin_queue`)[0]["n"].(int64); n < 1 {
			t.Errorf("%s: what happens does not wait for it", what)
		}
		w.sql(`update plugin_installations set status = $2, secrets = $3 where id = $1`, id.MustParse(o.plugin), before["status"], before["secrets"])
		w.sql(`update organizations set epoch = epoch + 1`)
		meets(t, 30*time.Second, "it is asked again", func() bool { _, asked, err := o.write(); return err == nil && asked })
	}
	o.patch(o.path(), m{"status": "suspended"}).want(200)
	o.post(tasks, m{"title": "x"}).want(201)
}
