package main

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/guildhall-dev/guildhall/internal/id"
)

// steady calls fn at a rate until stop is called; a call does not wait for the
// one before.
func steady(perSecond int, fn func()) (stop func() int) {
	quit := make(chan struct{})
	var wg sync.WaitGroup
	var calls atomic.Int64
	wg.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		room := make(chan struct{}, 200)
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
			}
			select {
			case <-quit:
				return
			case room <- struct{}{}:
			}
			calls.Add(1)
			wg.Go(func() {
				defer func() { <-room }()
				fn()
			})
		}
	})
	return func() int {
		close(quit)
		wg.Wait()
		return int(calls.Load())
	}
}

// Calls at a steady rate during upgrades, each of which starts a process and
// leaves one behind. None fails, and no change goes on without the hook.
func TestPluginUpgradesDropNoCall(t *testing.T) {
	t.Parallel()
	w := quickWorld(t, 100*time.Millisecond)
	versions := []string{"1.0.0", "1.0.1", "1.0.2"}
	for _, v := range versions {
		w.addPlugin(probeBundle(t, v, nil))
	}
	ann := w.person("ann").organization("ACME")
	o := tenantOf{client: ann, project: ann.post("/v1/projects", m{"name": "P"}).want(201).str("id")}
	o.plugin = ann.post("/v1/plugin-installations", m{"plugin_id": "probe", "version": "1.0.0", "grants": probeGrants(), "settings": m{}, "auto_update": false}).want(201).str("id")
	task := ann.post("/v1/projects/"+o.project+"/tasks", m{"title": "one"}).want(201).str("id")

	var failed, unasked, hooked atomic.Int64
	began := time.Now()
	stopCalls := steady(count(40, 500), func() {
		r, err := w.nobody().try("POST", o.path()+"/inbound/echo", m{"n": 1})
		if err != nil || r.status != 202 || !strings.HasPrefix(string(r.body), ann.org) {
			failed.Add(1)
			t.Errorf("a call failed: %v %d %s", err, r.status, r.body)
		}
	})
	stopWrites := steady(count(5, 20), func() {
		hooked.Add(1)
		if _, asked, err := o.write(); err != nil {
			failed.Add(1)
			t.Errorf("a write failed: %v", err)
		} else if !asked {
			unasked.Add(1)
		}
	})
	upgrades := count(6, 50)
	for n := range upgrades {
		to := versions[(n+1)%len(versions)]
		// A long call begins on the old version and ends there.
		long := make(chan *reply, 1)
		go func() {
			r, err := ann.try("POST", o.path()+"/actions/call", m{"input": m{"method": "GET", "path": "/v1/tasks/" + task, "count": 100}})
			if err != nil {
				r = &reply{t: t, status: 0, body: []byte(err.Error())}
			}
			long <- r
		}()
		ann.post(o.path()+"/upgrade", m{"version": to}).want(200)
		h := ann.get(o.path() + "/health").want(200)
		if h.str("state") != "running" {
			t.Errorf("moved to %s before it ran: %s", to, h.body)
		}
		if r := <-long; r.status != 200 || r.at("output.error") != nil {
			t.Errorf("a long call did not survive the upgrade: %d %s", r.status, r.body)
		}
		before := versions[n%len(versions)]
		meets(t, 30*time.Second, "the process of "+before+" is gone", func() bool {
			if err := w.app.features.plugins.Settle(t.Context()); err != nil {
				t.Fatal(err)
			}
			return w.app.features.plugins.HealthOf(id.MustParse(o.plugin), "probe", before).State == "stopped"
		})
	}
	calls, writes := stopCalls(), stopWrites()
	took := time.Since(began)
	for _, v := range versions {
		for _, p := range w.app.features.plugins.HealthOf(id.MustParse(o.plugin), "probe", v).Points {
			if p.Failures > 0 {
				t.Errorf("%s failed %d times at %s: %s", v, p.Failures, p.Point, p.LastError)
			}
		}
	}
	if unasked.Load() > 0 {
		t.Errorf("%d of %d writes went on without the hook", unasked.Load(), hooked.Load())
	}
	proved(t, "%d upgrades under %d calls (%.0f/s) and %d changes with a hook: %d failed, %d changes went on without it",
		upgrades, calls, float64(calls)/took.Seconds(), writes, failed.Load(), unasked.Load())
}

// An upgrade that fails is taken back, whether its calls fail or its process ends;
// and it is not tried again by itself.
func TestPluginUpgradeIsRolledBack(t *testing.T) {
	t.Parallel()
	w := quickWorld(t, 0)
	w.addPlugin(probeBundle(t, "1.0.0", nil))
	for version, trouble := range map[string]string{"1.1.0": "error", "1.2.0": "die"} {
		bin, err := buildProbe(trouble)
		if err != nil {
			t.Fatal(err)
		}
		w.addPlugin(packBundle(t, probeManifest(version, nil), map[string][]byte{"bin/probe": bin}))
	}
	for _, version := range []string{"1.1.0", "1.2.0"} {
		c := w.person("ann").organization("ACME " + version)
		o := tenantOf{client: c, project: c.post("/v1/projects", m{"name": "P"}).want(201).str("id")}
		o.plugin = c.post("/v1/plugin-installations", m{"plugin_id": "probe", "version": "1.0.0", "grants": probeGrants(), "settings": m{}}).want(201).str("id")
		for range 10 { // a good past does not excuse the new version
			if _, asked, err := o.write(); err != nil || !asked {
				t.Fatalf("1.0.0 does not work: %v", err)
			}
		}
		c.post(o.path()+"/upgrade", m{"version": version}).want(200)
		writes := 0
		meets(t, time.Minute, "it is back", func() bool {
			if _, _, err := o.write(); err != nil {
				t.Fatalf("a write failed: %v", err)
			}
			writes++
			return c.get(o.path()).want(200).str("plugin_version") == "1.0.0"
		})
		i := c.get(o.path()).want(200)
		if i.str("status") != "active" || i.at("auto_update") != false || i.at("previous_version") != nil || !strings.HasPrefix(i.str("status_reason"), "version "+version+" ") {
			t.Errorf("it came back as %s", i.body)
		}
		for range 10 {
			if _, asked, err := o.write(); err != nil || !asked {
				t.Errorf("1.0.0 is not asked after the way back: %v", err)
			}
		}
		w.settle()
		told := c.get("/v1/events?type=plugin_installation.rolled_back").want(200)
		if told.len("data") != 1 || told.str("data.0.data.plugin_version") != "1.0.0" {
			t.Errorf("the log says %s", told.body)
		}
		proved(t, "%s was taken back after %d calls: %s", version, writes, i.str("status_reason"))
	}
}
