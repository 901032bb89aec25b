package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// settleUntil runs what is due until the condition holds; what is to be tried
// again is due a moment later.
func (w *world) settleUntil(what string, cond func() bool) {
	w.t.Helper()
	meets(w.t, time.Minute, what, func() bool { w.settle(); return cond() })
}

// heard tells how often a plugin began to hear the events of a subject, and which
// it finished, in the order in which it did.
func (w *world) heard(subject string) (times map[string]string, done []string) {
	w.t.Helper()
	times = map[string]string{}
	for _, r := range w.sql(`select substr(key, 7) as event, convert_from(value, 'UTF8') as times from plugin_values where key like 'heard/%'`) {
		times[r["event"].(string)] = r["times"].(string)
	}
	for _, r := range w.sql(`select split_part(key, '/', 3) as event from plugin_values where key like $1 order by updated_at`, "done/"+subject+"/%") {
		done = append(done, r["event"].(string))
	}
	return times, done
}

// killHearing kills the plugin's process whenever it asks for that, until stop is
// called; it returns how often.
func (w *world) killHearing(name string) (stop func() int) {
	quit, done, kills := make(chan struct{}), make(chan struct{}), 0
	go func() {
		defer close(done)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
			}
			asked, err := w.super.Exec(context.Background(), `delete from guildhall.plugin_values where key = 'kill'`)
			if err != nil || asked.RowsAffected() == 0 {
				continue
			}
			all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
			for _, path := range all {
				if line, err := os.ReadFile(path); err == nil && string(line) == name+"\x00" {
					pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
					if syscall.Kill(pid, syscall.SIGKILL) == nil {
						kills++
					}
				}
			}
		}
	}()
	return func() int { close(quit); <-done; return kills }
}

// What a plugin was hearing when its process was killed it hears again, and once to
// the end; later events of the subject wait for that, others do not.
func TestPluginKilledWhileItHears(t *testing.T) {
	t.Parallel()
	w := quickWorld(t, 0)
	name := "probe_" + strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return 'a' + r - '0'
		}
		return r
	}, strconv.Itoa(os.Getpid())) // as nobody else's on this machine
	w.addPlugin(probeBundle(t, "1.0.0", func(man m) { man["id"] = name }))
	o := w.tenant("ann", false)
	o.plugin = o.post("/v1/plugin-installations", m{"plugin_id": name, "grants": probeGrants(), "settings": m{}}).want(201).str("id")
	stop := w.killHearing(name)
	tasks := "/v1/projects/" + o.project + "/tasks"
	add := func(title string) string { return o.post(tasks, m{"title": title}).want(201).str("id") }
	waiting := func() int64 {
		return w.sql(`select count(*) as n from plugin_queue where failed_at is null`)[0]["n"].(int64)
	}

	rounds, again := count(2, 20), 0
	for n := range rounds {
		kill, other := add(fmt.Sprint("kill ", n)), add("other")
		for _, p := range []string{"low", "high", "urgent"} {
			o.patch("/v1/tasks/"+kill, m{"priority": p, "title": "calm"}).want(200)
			o.patch("/v1/tasks/"+other, m{"priority": p}).want(200)
		}
		w.settleUntil("all is heard", func() bool {
			// The fifth kill in ten minutes is one too many; events wait until an admin
			// says that it may go on.
			if o.get(o.path()).want(200).str("status") == "quarantined" {
				if r, err := o.try("PATCH", o.path(), m{"status": "active"}); err != nil || r.status != 200 && r.status != 409 { // 409: it was killed just now
					t.Fatalf("it could not go on: %v %s", err, r.body)
				}
			}
			return waiting() == 0
		})
		for _, subject := range []string{kill, other} {
			times, done := w.heard(subject)
			if len(done) != 4 || !slices.IsSorted(done) {
				t.Fatalf("of the 4 events of a subject these were done, in this order: %v", done)
			}
			if subject == kill && times[done[0]] != "2" {
				t.Errorf("what was heard when the process was killed was heard %s times", times[done[0]])
			} else if subject == kill {
				again++
			}
		}
	}
	final, later := add("final"), add("later")
	o.patch("/v1/tasks/"+later, m{"priority": "low"}).want(200)
	w.settleUntil("the rest is heard", func() bool { return waiting() == 0 })
	if times, done := w.heard(final); len(done) != 0 {
		t.Errorf("what will never be heard was done: %v %v", times, done)
	}
	if times, done := w.heard(later); len(done) != 2 || !slices.IsSorted(done) || times[done[0]] != "2" {
		t.Errorf("what was put off: %v %v", times, done)
	}
	if n := w.sql(`select count(*) as n from plugin_queue`)[0]["n"]; n != int64(0) {
		t.Errorf("%v events are left", n)
	}
	proved(t, "%d times kill -9 while an event was heard: %d heard twice, done once, in order with the others of the subject", stop(), again)
}

// What happens while a plugin is suspended waits for it.
func TestPluginHearsWhatWasWhileItWasSuspended(t *testing.T) {
	t.Parallel()
	w := quickWorld(t, 0)
	w.addPlugin(probeBundle(t, "1.0.0", nil))
	o := w.tenant("ann", true)
	o.patch(o.path(), m{"status": "suspended"}).want(200)
	task := o.post("/v1/projects/"+o.project+"/tasks", m{"title": "one"}).want(201).str("id")
	o.patch("/v1/tasks/"+task, m{"priority": "low"}).want(200)
	w.settle()
	if _, done := w.heard(task); len(done) != 0 {
		t.Fatalf("a suspended plugin heard %v", done)
	}
	if n := o.get(o.path() + "/events").want(200).len("data"); n != 2 {
		t.Errorf("%d events wait, not 2", n)
	}
	o.patch(o.path(), m{"status": "active"}).want(200)
	w.settleUntil("it has heard both", func() bool { _, done := w.heard(task); return len(done) == 2 && slices.IsSorted(done) })
}
