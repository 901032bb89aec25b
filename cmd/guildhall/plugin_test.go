package main

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
)

// author is somebody who makes plugins.
type author struct {
	t   *testing.T
	dir string
	env []string
}

func newAuthor(t *testing.T) *author {
	t.Helper()
	return &author{t, t.TempDir(), os.Environ()}
}

// at is a path in the author's folder.
func (a *author) at(name string) string { return filepath.Join(a.dir, filepath.FromSlash(name)) }

func (a *author) write(name, text string) string {
	a.t.Helper()
	if err := os.MkdirAll(filepath.Dir(a.at(name)), 0o755); err != nil {
		a.t.Fatal(err)
	}
	if err := os.WriteFile(a.at(name), []byte(text), 0o644); err != nil {
		a.t.Fatal(err)
	}
	return a.at(name)
}

// command runs guildhall plugin.
func (a *author) command(args ...string) (out string, err error) {
	a.t.Helper()
	var said, aside words
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err = run(ctx, append([]string{"plugin"}, args...), a.env, &said, &aside); err != nil {
		a.t.Logf("guildhall plugin %s: %v\n%s", strings.Join(args, " "), err, aside.String())
	}
	return said.String(), err
}

// must is command where nothing may go wrong.
func (a *author) must(args ...string) string {
	a.t.Helper()
	out, err := a.command(args...)
	if err != nil {
		a.t.Fatal(err)
	}
	return out
}

const guardManifest = `{"id": "guard", "version": "1.0.0", "api": "1", "name": "Guard", "description": "Guards.", "publisher": "Acme",
  "homepage": "https://acme.example", "license": "MIT", "runtime": {"interpreter": "python3", "main": "main.py", "tls": "none"},
  "hooks": [{"hook": "task.will_create", "on_failure": "allow", "why": "To look at titles."}],
  "permissions": [{"permission": "tasks.read", "why": "To compare.", "optional": true}]}`

func TestPluginBundles(t *testing.T) {
	t.Parallel()
	a := newAuthor(t)
	a.write("guard/manifest.json", guardManifest)
	a.write("guard/main.py", "print()")
	file, key := a.at("guard/guard.ghplugin"), a.at("key.pem")

	if out := a.must("build", a.at("guard")); !strings.Contains(out, "nothing to build") {
		t.Errorf("build says %s", out)
	}
	if out := a.must("pack", a.at("guard")); !strings.Contains(out, "guard 1.0.0") || !strings.Contains(out, "unsigned") {
		t.Errorf("pack says %s", out)
	}
	plain := a.must("verify", file)
	for _, want := range []string{"guard 1.0.0 (API 1)", "Guard, by Acme", "main.py with python3", "signed by  nobody", "hook:task.will_create", "To look at titles.", "tasks.read (optional)"} {
		if !strings.Contains(plain, want) {
			t.Errorf("verify does not say %q:\n%s", want, plain)
		}
	}
	public := strings.TrimSpace(a.must("key", "new", key))
	if info, err := os.Stat(key); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", info, err)
	}
	other := strings.TrimSpace(a.must("key", "new", a.at("other.pem")))
	_, err := a.command("verify", file, "--signer", public)
	wantExit(t, "unsigned", err, exitRefused, "is not signed")

	if out := a.must("sign", file, "--key", key); !strings.Contains(out, "signed by "+public) {
		t.Errorf("sign says %s", out)
	}
	if out := a.must("verify", file, "--signer", public); !strings.Contains(out, public) {
		t.Errorf("verify says %s", out)
	}
	_, err = a.command("verify", file, "--signer", other)
	wantExit(t, "another signer", err, exitRefused, "ask its publisher")
	first, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	a.must("pack", a.at("guard"), "--out", a.at("again.ghplugin"))
	a.must("sign", a.at("again.ghplugin"), "--key", key)
	if again, err := os.ReadFile(a.at("again.ghplugin")); err != nil || string(again) != string(first) {
		t.Errorf("packed and signed again it is another file: %v", err)
	}

	first[len(first)/2] ^= 1
	a.write("guard/guard.ghplugin", string(first))
	_, err = a.command("verify", file)
	wantExit(t, "a changed byte", err, exitRefused, "is refused")
	_, err = a.command("sign", file, "--key", key)
	wantExit(t, "signing a changed one", err, exitRefused, "is refused")
	if _, err := os.ReadFile(file); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(a.at("guard/.*")); err != nil || len(left) > 0 {
		t.Errorf("it leaves %v behind", left)
	}
}

func TestPluginCommandsSayWhatToDo(t *testing.T) {
	t.Parallel()
	a := newAuthor(t)
	a.write("bad/manifest.json", `{"id": "X"}`)
	a.write("guard/manifest.json", guardManifest)
	a.write("key.pem", "none")
	goManifest := strings.Replace(guardManifest, `"interpreter": "python3", "main": "main.py", "tls": "none"`, `"binaries": {"linux_amd64": "bin/guard"}`, 1)
	a.write("go/manifest.json", goManifest)
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"pack nowhere", exitNotSent, "guildhall plugin new NAME makes one"},
		{"pack a b", exitNotSent, "guildhall plugin pack --help"},
		{"pack --nope", exitNotSent, "guildhall plugin pack --help"},
		{"pack bad", exitRefused, "/version: is missing"},
		{"pack guard", exitRefused, "main file"},
		{"pack go", exitRefused, "guildhall plugin build --platforms linux_amd64"},
		{"build go --platforms linux_arm64", exitNotSent, `add "linux_arm64": "bin/linux_arm64/guard" to runtime.binaries`},
		{"verify", exitNotSent, "name one file"},
		{"verify nowhere", exitNotSent, "guildhall plugin pack makes a bundle"},
		{"verify guard", exitNotSent, "is a folder"},
		{"verify key.pem", exitRefused, "this is no bundle"},
		{"verify key.pem --signer x", exitNotSent, "ghpk_ and 43 characters"},
		{"sign key.pem", exitNotSent, "guildhall plugin key new"},
		{"sign key.pem --key nowhere", exitNotSent, "guildhall plugin key new"},
		{"sign key.pem --key key.pem", exitNotSent, "chmod 600"},
		{"key new", exitNotSent, "name one file"},
		{"key new key.pem", exitNotSent, "is there already"},
	} {
		args := strings.Fields(c.args)
		for i, arg := range args {
			if arg == "bad" || arg == "guard" || arg == "go" || arg == "nowhere" || arg == "key.pem" {
				args[i] = a.at(arg)
			}
		}
		_, err := a.command(args...)
		wantExit(t, c.args, err, c.code, c.says)
	}
}

func TestPluginBuildCompilesForPlatforms(t *testing.T) {
	t.Parallel()
	a := newAuthor(t)
	a.write("tiny/go.mod", "module tiny\n\ngo 1.26\n")
	a.write("tiny/main.go", "package main\n\nfunc main() { println(\"tiny\") }\n")
	a.write("tiny/manifest.json", strings.Replace(guardManifest, `"interpreter": "python3", "main": "main.py", "tls": "none"`,
		`"binaries": {"linux_amd64": "bin/linux_amd64/tiny", "windows_arm64": "bin/windows_arm64/tiny.exe"}`, 1))
	out := a.must("build", a.at("tiny"), "--platforms", "all")
	if strings.Count(out, "\n") != 2 || !strings.Contains(out, "tiny.exe: ") {
		t.Errorf("build says %s", out)
	}
	a.must("pack", a.at("tiny"))
	data, err := os.ReadFile(a.at("tiny/guard.ghplugin"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Read(data)
	if err != nil {
		t.Fatal(err)
	}
	if program, err := b.Executable("windows", "arm64"); err != nil || len(program) < 100_000 {
		t.Errorf("its program for windows: %d bytes, %v", len(program), err)
	}
	a.write("tiny/main.go", "package main\n\nfunc main() { nothing }\n")
	_, err = a.command("build", a.at("tiny"), "--platforms", "linux_amd64")
	wantExit(t, "a program that does not compile", err, exitRefused, "what go said is above")
}
