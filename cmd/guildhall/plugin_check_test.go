package main

import (
	"os"
	"strings"
	"testing"
)

func TestPluginCheck(t *testing.T) {
	t.Parallel()
	a := newAuthor(t)
	file := a.write("probe.ghplugin", string(probeBundle(t, "1.0.0", nil)))
	out := a.must("check", file)
	for _, want := range []string{"ok    starts: within", "ok    hook comment.will_change", "ok    service notification.send/probe", "ok    unknown action: refuses", "ok    memory", "ok    ends"} {
		if !strings.Contains(out, want) {
			t.Errorf("check does not say %q:\n%s", want, out)
		}
	}
	settings := a.write("settings.json", `{"trouble": "panic"}`)
	out, err := a.command("check", file, "--settings", settings)
	wantExit(t, "a plugin that panics", err, exitRefused, "see FAIL above")
	if !strings.Contains(out, "FAIL  hook task.will_create") || strings.Contains(out, "FAIL  starts") {
		t.Errorf("check says %s", out)
	}
	_, err = a.command("check", file, "--settings", a.write("bad.json", `{"other": 1}`))
	wantExit(t, "settings that do not fit", err, exitNotSent, "does not fit the plugin's settings")
	_, err = a.command("check")
	wantExit(t, "no bundle", err, exitNotSent, "name one file")

	a.write("guard/manifest.json", guardManifest)
	a.write("guard/main.py", "raise SystemExit('not today')")
	a.must("pack", a.at("guard"))
	if _, err := os.Stat("/usr/bin/python3"); err != nil {
		t.Skip("needs /usr/bin/python3, which make test installs where it may")
	}
	out, err = a.command("check", a.at("guard/guard.ghplugin"))
	wantExit(t, "one that does not start", err, exitRefused, "see FAIL above")
	if !strings.Contains(out, "FAIL  starts") || !strings.Contains(out, "not today") {
		t.Errorf("check says %s", out)
	}
}
