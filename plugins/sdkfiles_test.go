package plugins

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// goIn runs the go tool in a folder, without the network.
func goIn(t *testing.T, dir string, env []string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "go", args...)
	c.Dir = dir
	c.Env = append(append(os.Environ(), "GOPROXY=off", "GOSUMDB=off", "GOWORK=off", "GOFLAGS=-mod=mod"), env...)
	var said, aside bytes.Buffer
	c.Stdout, c.Stderr = &said, &aside
	if err := c.Run(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, aside.String())
	}
	return said.String()
}

// writeAll writes files into a folder.
func writeAll(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, content := range files {
		to := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// systems are those for which plugins are built.
var systems = []string{"linux", "darwin", "windows", "freebsd"}

// TestGoldenSDKModule holds go.mod and go.sum of the SDK against what its
// sources need, in the versions that Guildhall has.
func TestGoldenSDKModule(t *testing.T) {
	t.Parallel()
	var lines []string
	for _, goos := range systems {
		needed := goIn(t, ".", []string{"GOOS=" + goos, "GOFLAGS="}, "list", "-deps", "-f", `{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}`, "./sdk/...")
		lines = append(lines, strings.Fields(strings.ReplaceAll(needed, " ", "@"))...)
	}
	slices.Sort(lines)
	version := strings.TrimSpace(goIn(t, ".", []string{"GOFLAGS="}, "list", "-m", "-f", "{{.GoVersion}}"))
	mod := fmt.Sprintf("module %s\n\ngo %s\n\nrequire (\n", SDKModule, version)
	for _, line := range slices.Compact(lines) {
		mod += "\t" + strings.Replace(line, "@", " ", 1) + "\n"
	}
	mod += ")\n"

	sum := sumOf(t, mod)
	ours, err := os.ReadFile(filepath.Join("..", "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(sum) {
		if !strings.Contains(string(ours), line) {
			t.Errorf("the SDK needs %s, which Guildhall does not", line)
		}
	}
	golden(t, "sdk.mod", []byte(mod))
	golden(t, "sdk.sum", []byte(sum))
}

// sumOf is what go.sum needs to have for the SDK with the go.mod, and for a
// module that uses it.
func sumOf(t *testing.T, mod string) string {
	t.Helper()
	dir := t.TempDir()
	files, err := SDKFiles()
	if err != nil {
		t.Fatal(err)
	}
	files["go.mod"], files["go.sum"] = []byte(mod), nil
	writeAll(t, filepath.Join(dir, "sdk"), files)
	user, err := moduleUsing(mod, "probe", "sdk")
	if err != nil {
		t.Fatal(err)
	}
	writeAll(t, dir, map[string][]byte{"go.mod": user, "main.go": []byte("package main\n\nfunc main() {}\n")})
	var lines []string
	for _, module := range []string{"sdk", "."} {
		at := filepath.Join(dir, module)
		for _, goos := range systems {
			goIn(t, at, []string{"GOOS=" + goos}, "list", "-deps", SDKModule+"/...")
		}
		sum, err := os.ReadFile(filepath.Join(at, "go.sum"))
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.SplitAfter(string(sum), "\n")...)
	}
	made, err := os.ReadFile(filepath.Join(dir, "sdk", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.ReplaceAll(string(made), " // indirect", "") != mod {
		t.Errorf("go makes this of the requirements:\n%s", made)
	}
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), "")
}

func golden(t *testing.T, name string, want []byte) {
	t.Helper()
	if os.Getenv("GUILDHALL_UPDATE") != "" {
		if err := os.WriteFile(name, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
		t.Errorf("plugins/%s is not what the SDK needs now (%v): run make generate\n%s", name, err, want)
	}
}

func TestTheSDKIsEnoughAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files, err := SDKFiles()
	if err != nil {
		t.Fatal(err)
	}
	for name := range files {
		if strings.HasSuffix(name, "_test.go") || strings.Contains(name, "testdata") {
			t.Errorf("the SDK carries %s", name)
		}
	}
	writeAll(t, filepath.Join(dir, "sdk"), files)
	mod, sum, err := ModuleFiles("probe", "sdk")
	if err != nil {
		t.Fatal(err)
	}
	main := "package main\n\nimport \"" + SDKModule + "/bundle\"\n\nfunc main() { println(bundle.APIVersion) }\n"
	writeAll(t, dir, map[string][]byte{"go.mod": mod, "go.sum": sum, "main.go": []byte(main)})
	// Nothing is missing in go.mod and go.sum: they may not be changed.
	goIn(t, dir, []string{"GOFLAGS=-mod=readonly"}, "vet", "./...")
	goIn(t, dir, []string{"GOFLAGS=-mod=readonly"}, "list", "-deps", SDKModule+"/...")
}
