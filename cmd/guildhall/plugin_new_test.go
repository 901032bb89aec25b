package main

import (
	"bytes"
	"context"
	"go/format"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// tool runs a program of the author's in a folder, without the network.
func (a *author) tool(dir string, args ...string) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	c.Dir, c.Env = a.at(dir), a.env
	if said, err := c.CombinedOutput(); err != nil {
		a.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, said)
	}
}

func TestPluginNewMakesOneThatWorks(t *testing.T) {
	t.Parallel()
	a := newAuthor(t)
	// What it needs is in the cache of modules, since Guildhall needs it too.
	a.env = append(a.env, "GOPROXY=off", "GOSUMDB=off", "GOWORK=off", "GOFLAGS=-mod=mod")
	if out := a.must("new", a.at("hello")); !strings.Contains(out, "make run") {
		t.Errorf("new says %s", out)
	}
	for _, name := range []string{"main.go", "rules.go", "rules_test.go", "plugin_test.go"} {
		source, err := os.ReadFile(a.at("hello/" + name))
		if err != nil {
			t.Fatal(err)
		}
		if tidy, err := format.Source(source); err != nil || !bytes.Equal(tidy, source) {
			t.Errorf("%s is not as gofmt has it: %v", name, err)
		}
	}
	a.tool("hello", "go", "vet", ".")
	a.tool("hello", "go", "test", ".")
	a.tool("hello", "make", "--dry-run", "run", "GUILDHALL=guildhall")
	a.must("build", a.at("hello"))
	a.must("pack", a.at("hello"))
	if out := a.must("check", a.at("hello/hello.ghplugin")); !strings.Contains(out, "ok    hook task.will_create") {
		t.Errorf("check says %s", out)
	}
	a.must("key", "new", a.at("hello/.dev-key.pem"))
	a.must("sign", a.at("hello/hello.ghplugin"), "--key", a.at("hello/.dev-key.pem"))
	out := a.must("verify", a.at("hello/hello.ghplugin"))
	for _, want := range []string{"hello 0.1.0 (API 1)", "hook:task.will_create", "event:task.*", "signed by  ghpk_"} {
		if !strings.Contains(out, want) {
			t.Errorf("verify does not say %q:\n%s", want, out)
		}
	}

	_, err := a.command("new", a.at("hello"))
	wantExit(t, "a folder that is there", err, exitNotSent, "is there already")
	for _, bad := range []string{"Hello", "a", "hello-world", "hello2", ".."} {
		_, err := a.command("new", a.at("x")+"/"+bad)
		wantExit(t, bad, err, exitNotSent, "cannot be a plugin's name")
	}
	_, err = a.command("new", "--interpreter", "perl", a.at("pearl"))
	wantExit(t, "another interpreter", err, exitNotSent, "--interpreter python3")
	_, err = a.command("new")
	wantExit(t, "no name", err, exitNotSent, "guildhall plugin new hello")
}

func TestPluginNewMakesOneInPython(t *testing.T) {
	needPython(t)
	t.Parallel()
	a := newAuthor(t)
	a.must("new", "--interpreter", "python3", a.at("hello"))
	a.tool("hello", "/usr/bin/python3", "-B", "-m", "unittest")
	a.tool("hello", "make", "--dry-run", "run", "GUILDHALL=guildhall")

	w := newWorld(t)
	ann := w.person("ann").organization("ACME")
	project := ann.post("/v1/projects", m{"name": "P"}).want(201).str("id")
	w.addPlugin(signedFolder(t, a.at("hello")))
	ann.post("/v1/plugin-installations", m{"plugin_id": "hello", "grants": []string{"tasks.read", "event:task.*", "hook:task.will_create"}}).want(201)
	ann.post("/v1/projects/"+project+"/tasks", m{"title": "Forbidden"}).want(422).code("plugin_refused")
	if got := ann.post("/v1/projects/"+project+"/tasks", m{"title": "paint   it"}).want(201); got.str("title") != "paint it" {
		t.Errorf("not tidied: %s", got.body)
	}
}
