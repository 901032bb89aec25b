package main

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
)

// refusesToStart checks that the version does not run, for a reason, and waits
// until nothing is left of the attempt.
func (w *world) refusesToStart(t *testing.T, reason string) {
	t.Helper()
	host := w.app.features.plugins
	if err := host.Warm(t.Context(), "probe", "1.0.0"); err == nil || !strings.Contains(err.Error(), reason) {
		t.Fatalf("it started, or the reason is another: %v, not %s", err, reason)
	}
	w.stopped(t)
}

func (w *world) starts(t *testing.T) {
	t.Helper()
	if err := w.app.features.plugins.Warm(t.Context(), "probe", "1.0.0"); err != nil {
		t.Fatalf("the true bundle does not start: %v", err)
	}
	w.stopped(t)
}

// The superuser of the database changes what is stored: none of it runs.
func TestPluginBundleThatWasChangedNeverRuns(t *testing.T) {
	t.Parallel()
	w := quickWorld(t, time.Millisecond)
	good, newer := probeBundle(t, "1.0.0", nil), probeBundle(t, "2.0.0", nil)
	w.addPlugin(good)
	w.starts(t)
	places := []int{0, 1, len(good) / 2, len(good) - 1}
	for range count(2, 60) {
		places = append(places, rand.IntN(len(good)))
	}
	for _, at := range places {
		w.sql(`update plugin_bundles set bundle = set_byte(bundle, $1, get_byte(bundle, $1) # $2)`, at, 1+rand.IntN(255))
		w.refusesToStart(t, "the checksum differs")
		w.sql(`update plugin_bundles set bundle = $1`, good)
	}
	w.sql(`update plugin_bundles set bundle = $1`, good[:len(good)-1])
	w.refusesToStart(t, "the checksum differs")

	// With the checksum made to fit.
	store := func(data []byte) {
		sum := sha256.Sum256(data)
		w.sql(`update plugin_bundles set bundle = $1`, data)
		w.sql(`update plugin_versions set sha256 = $1`, sum[:])
	}
	bent := append([]byte{}, good...)
	bent[len(bent)/2] ^= 1
	store(bent)
	w.refusesToStart(t, "damaged")
	store(newer) // of the same signer
	w.refusesToStart(t, "its manifest differs")
	unsigned, err := bundle.Read(good)
	if err != nil || unsigned.Signer == nil {
		t.Fatal(err)
	}
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := bundle.Sign(good, stranger)
	if err != nil {
		t.Fatal(err)
	}
	store(foreign)
	w.refusesToStart(t, "not signed by who signed what was installed")
	w.sql(`update plugin_versions set signer = $1`, bundle.FormatPublic(stranger.Public().(ed25519.PublicKey)))
	w.refusesToStart(t, "is not trusted here")
	if _, err := w.operator().Install(t.Context(), foreign); err == nil || !strings.Contains(err.Error(), "is not trusted here") {
		t.Errorf("a bundle of an unknown signer was let in: %v", err)
	}
	w.sql(`update plugin_versions set signer = $1`, bundle.FormatPublic(publisher().Public().(ed25519.PublicKey)))
	store(good)
	w.sql(`update plugin_versions set manifest = jsonb_set(manifest, '{permissions,0,permission}', '"members.write"')`)
	w.refusesToStart(t, "its manifest differs")
	w.sql(`update plugin_versions set manifest = jsonb_set(manifest, '{permissions,0,permission}', '"tasks.read"')`)
	w.starts(t)
	proved(t, "%d changed bytes, a cut, a bent archive, another version, another signer, another manifest: none ran", len(places))
}

// What the operator ends stops within seconds, for everybody, and does not come
// back.
func TestPluginThatIsEndedStopsWithinSeconds(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"revoked", "distrusted"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			w := quickWorld(t, time.Minute)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w.app.background(ctx)
			w.addPlugin(probeBundle(t, "1.0.0", func(man m) { man["hooks"].([]m)[0]["on_failure"] = "refuse" }))
			o := w.tenant("ann", true, "hook:task.will_create:refuse")
			if _, asked, err := o.write(); err != nil || !asked {
				t.Fatalf("it does not run: %v", err)
			}
			op := w.operator()
			began := time.Now()
			var err error
			if how == "revoked" {
				err = op.Revoke(t.Context(), "probe", "1.0.0", "It steals.")
			} else {
				err = op.Distrust(t.Context(), publisher().Public().(ed25519.PublicKey))
			}
			if err != nil {
				t.Fatal(err)
			}
			host := w.app.features.plugins
			tasks := "/v1/projects/" + o.project + "/tasks"
			meets(t, 10*time.Second, "its process is gone and what it guards is shut", func() bool {
				if host.HealthOf(id.MustParse(o.plugin), "probe", "1.0.0").State != "stopped" {
					return false
				}
				r, err := o.try("POST", tasks, m{"title": "label: x"})
				return err == nil && r.status == 503 && r.str("code") == "plugin_unavailable"
			})
			took := time.Since(began)
			o.post(o.path()+"/actions/call", m{}).want(404)
			o.patch(o.path(), m{"settings": m{"refuse": "x"}}).want(409).code("plugin_version_revoked")
			w.person("ben").organization("Other").post("/v1/plugin-installations", m{"plugin_id": "probe", "version": "1.0.0", "grants": probeGrants(), "settings": m{}}).
				want(409).code("plugin_version_revoked")
			if h := host.HealthOf(id.MustParse(o.plugin), "probe", "1.0.0"); h.State == "running" { // a start that is refused may show for a moment
				t.Errorf("it came back: %+v", h)
			}
			if how == "distrusted" { // and again trusted, it is asked as before
				w.operator()
				meets(t, 10*time.Second, "it is asked again", func() bool { _, asked, err := o.write(); return err == nil && asked })
			}
			o.patch(o.path(), m{"status": "suspended"}).want(200)
			if got := o.post(tasks, m{"title": "label: x"}).want(201); got.str("title") != "label: x" {
				t.Errorf("suspended, it was asked: %s", got.body)
			}
			proved(t, "stopped %s after the operator said so", took.Round(100*time.Millisecond))
		})
	}
}

// Somebody with the host's own rights puts programs into the folder of the process
// while it starts, again and again: none of them is executed. (It is no parallel
// test, since the folders are looked for in the one of temporary files.)
func TestPluginFilesThatAreSwappedAreNotExecuted(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "gs")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	if _, err := probeBinary(); err != nil {
		t.Fatal(err)
	}
	w := quickWorld(t, time.Millisecond)
	w.nobody().get("/openapi.json").want(200) // what is made once for all tests is not made there
	t.Setenv("TMPDIR", dir)
	w.addPlugin(probeBundle(t, "1.0.0", nil))
	marker := filepath.Join(dir, "ran")
	script := []byte("#!/bin/sh\necho ran >> " + marker + "\n")
	quit, done := make(chan struct{}), make(chan struct{})
	var planted, found atomic.Int64
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
			}
			folders, _ := filepath.Glob(filepath.Join(dir, "gh-*"))
			for _, f := range folders {
				for _, name := range []string{"program", "probe", "files/probe", "files/bin/probe", "tmp/probe", "run/probe"} {
					path := filepath.Join(f, name)
					if old, err := os.ReadFile(path); err == nil && string(old) != string(script) {
						found.Add(1)
					}
					if os.WriteFile(path, script, 0o755) == nil {
						planted.Add(1)
					}
				}
			}
		}
	}()
	starts := count(5, 100)
	for range starts {
		w.starts(t)
	}
	close(quit)
	<-done
	if _, err := os.Stat(marker); err == nil {
		t.Error("a file from the folder was executed")
	}
	if found.Load() > 0 {
		t.Errorf("%d times the program lay in the folder, where it could be swapped", found.Load())
	}
	if planted.Load() == 0 {
		t.Error("nothing was planted, so nothing was tested")
	}
	proved(t, "%d starts while %d programs were planted in the folder: none was executed", starts, planted.Load())
}
