package main

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/guildhall-dev/guildhall/platform/integrations"
	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
)

// probeBinary is the plugin of the tests, built once.
var probeBinary = sync.OnceValues(func() ([]byte, error) { return buildProbe("") })

// buildProbe builds the probe with a trouble of its own.
func buildProbe(broken string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "gh-probe")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "probe")
	cmd := exec.Command("go", "build", "-ldflags", "-s -w -X main.broken="+broken, "-o", path, "./testdata/probe")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the probe: %w\n%s", err, out)
	}
	return os.ReadFile(path)
}

// publisher signs the plugins of the tests.
var publisher = sync.OnceValue(func() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)) })

// probeManifest is the manifest of a version of the probe; change alters it.
func probeManifest(version string, change func(m)) m {
	man := m{
		"id": "probe", "version": version, "api": "1", "name": "Probe", "description": "The plugin of the tests.", "publisher": "Tests",
		"runtime": m{"binaries": m{runtime.GOOS + "_" + runtime.GOARCH: "bin/probe"}},
		"hooks": []m{
			{"hook": "task.will_create", "on_failure": "allow", "why": "To look at titles.", "deadline_ms": 2000},
			{"hook": "task.will_change", "on_failure": "allow", "why": "To look at titles.", "deadline_ms": 2000},
			{"hook": "comment.will_create", "on_failure": "allow", "why": "To look at texts.", "deadline_ms": 2000},
			{"hook": "comment.will_change", "on_failure": "allow", "why": "To look at texts.", "deadline_ms": 2000},
		},
		"events":    []string{"task.*"},
		"actions":   []m{{"name": "call", "title": "Call", "description": "Calls the host.", "on": []string{"task"}, "input": m{"type": "object"}}, {"name": "keep", "title": "Keep", "description": "Refuses.", "input": m{"type": "object", "additionalProperties": false}}},
		"provides":  []m{{"point": "notification.send", "name": "probe", "title": "Probe"}},
		"inbound":   []m{{"name": "echo", "description": "Answers with what was sent."}},
		"schedules": []m{{"name": "often", "every": "1m"}},
		"emits":     []m{{"name": "noticed", "description": "Something was noticed.", "schema": m{"type": "object", "properties": m{"text": m{"type": "string"}}, "required": []string{"text"}}}},
		"permissions": []m{
			{"permission": "tasks.read", "why": "To read tasks."},
			{"permission": "tasks.write", "why": "To write tasks.", "optional": true},
			{"permission": "projects.read", "why": "To find projects."},
		},
		"private_projects": m{"why": "To see everything.", "optional": true},
		"hosts":            []m{{"host": "probe.example.test", "why": "To ask.", "optional": true}, {"setting": "/url", "why": "To ask you.", "optional": true}},
		"settings": m{"type": "object", "additionalProperties": false, "properties": m{
			"secret": m{"type": "string", "x-secret": true}, "refuse": m{"type": "string"}, "trouble": m{"type": "string"}, "url": m{"type": "string"},
		}},
	}
	if change != nil {
		change(man)
	}
	return man
}

// probeBundle packs and signs a version of the probe.
func probeBundle(t testing.TB, version string, change func(m)) []byte {
	t.Helper()
	bin, err := probeBinary()
	if err != nil {
		t.Fatal(err)
	}
	return packBundle(t, probeManifest(version, change), map[string][]byte{"bin/probe": bin})
}

func packBundle(t testing.TB, manifest m, files map[string][]byte) []byte {
	t.Helper()
	dir := t.TempDir()
	raw, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	files["manifest.json"] = raw
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	packed, err := bundle.Pack(dir)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := bundle.Sign(packed, publisher())
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// operator is the operator's side of a world's catalogue, with the publisher
// trusted.
func (w *world) operator() *integrations.Operator {
	w.t.Helper()
	o := integrations.NewOperator(w.app.workDB, w.app.features.points())
	if err := o.Trust(context.Background(), publisher().Public().(ed25519.PublicKey), "Tests"); err != nil {
		w.t.Fatal(err)
	}
	return o
}

// addPlugin puts a bundle into the catalogue.
func (w *world) addPlugin(data []byte) {
	w.t.Helper()
	if _, err := w.operator().Install(context.Background(), data); err != nil {
		w.t.Fatal(err)
	}
}

// probeGrants are what the probe needs, and what it can do without.
func probeGrants(extra ...string) []string {
	return append([]string{
		"tasks.read", "projects.read", "event:task.*", "hook:task.will_create", "hook:task.will_change", "hook:comment.will_create", "hook:comment.will_change",
		"hook:task.will_create:slow", "hook:task.will_change:slow", "hook:comment.will_create:slow", "hook:comment.will_change:slow",
		"action:call", "action:call:anybody", "action:keep", "action:keep:anybody", "provide:notification.send/probe", "inbound:echo", "schedule:often",
	}, extra...)
}

// installProbe adds the probe to the catalogue and installs it for the client's
// organisation.
func (w *world) installProbe(c *client, settings m, extra ...string) string {
	w.t.Helper()
	w.addPlugin(probeBundle(w.t, "1.0.0", nil))
	if settings == nil {
		settings = m{}
	}
	return c.post("/v1/plugin-installations", m{"plugin_id": "probe", "grants": probeGrants(extra...), "settings": settings}).want(201).str("id")
}
