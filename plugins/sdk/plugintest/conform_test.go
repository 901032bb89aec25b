package plugintest_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
	"github.com/guildhall-dev/guildhall/plugins/sdk/plugintest"
)

// packed is the bundle of a folder, for this machine alone.
func packed(t *testing.T, folder string) *bundle.Bundle {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(folder, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest m
	if err := json.Unmarshal(raw, &manifest); err != nil {
		t.Fatal(err)
	}
	manifest["runtime"] = m{"binaries": m{runtime.GOOS + "_" + runtime.GOARCH: "program"}}
	if raw, err = json.Marshal(manifest); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "manifest.json"), raw, 0o644); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-s -w", "-o", filepath.Join(dir, "program"), "./"+folder)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data, err := bundle.Pack(dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Read(data)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestConform(t *testing.T) {
	t.Parallel()
	r := plugintest.Conform(t.Context(), packed(t, folder), plugintest.Trial{})
	r.Require(t)
	if len(r.Checks) != 17 {
		t.Errorf("%d checks: %v", len(r.Checks), r.Checks)
	}
}

func TestConformFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	r := plugintest.Conform(t.Context(), packed(t, "testdata/broken"), plugintest.Trial{})
	var said strings.Builder
	if err := r.Write(&said); err != nil || r.OK() {
		t.Error(err)
	}
	for _, want := range []string{
		"ok    starts: within",
		"FAIL  hook task.will_create, asked about {}: Internal: panic: as ever",
		"FAIL  hook task.will_change, asked about {}: no answer within its deadline",
		"FAIL  events: the manifest has it, and the plugin answers UNIMPLEMENTED",
		"FAIL  action missing: the manifest has it, and the plugin answers UNIMPLEMENTED",
		"FAIL  inbound exit: it ended: exited with status 3",
		"ok    action flood: answers",
		"FAIL  output: printed",
		"FAIL  memory: it is not running any more",
	} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, said.String())
		}
	}
}
