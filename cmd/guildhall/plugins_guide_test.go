package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/guildhall-dev/guildhall/plugins"
)

// guideBlocks returns the blocks of a language between two markers of the
// plugins guide.
func guideBlocks(t *testing.T, begin, end, language string) (out []string) {
	t.Helper()
	_, rest, begun := strings.Cut(readPage(t, "docs/plugins.md"), "<!-- "+begin)
	part, _, ended := strings.Cut(rest, "<!-- "+end)
	for _, found := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(part, -1) {
		out = append(out, found[1])
	}
	if !begun || !ended || len(out) == 0 {
		t.Fatalf("docs/plugins.md has no %s blocks between the markers %q and %q", language, begin, end)
	}
	return out
}

// asGuildhall makes a program guildhall of this test binary, for the PATH.
func asGuildhall(t *testing.T) (folder string) {
	t.Helper()
	folder = t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\n%s=\"$*\" exec '%s' '-test.run=^TestMainAsProcess$'\n", beVariable, os.Args[0])
	if err := os.WriteFile(filepath.Join(folder, "guildhall"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return folder
}

// TestPluginsGuideTenMinutes types what the guide says, against a Guildhall that
// runs in a data folder of its own.
func TestPluginsGuideTenMinutes(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"curl", "make", "go"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the guide is for %s: %v", tool, err)
		}
	}
	in := newInstance(t, "GUILDHALL_DEMO=off")
	p := in.start(2 * time.Minute)
	begun := time.Now()
	sh := newTerminalFor(t, 20*time.Minute, "GUILDHALL_DATA_DIR="+in.dir, "GUILDHALL_URL="+p.url, "GUILDHALL_PUBLIC_URL=http://guildhall.test",
		"PATH="+asGuildhall(t)+":"+os.Getenv("PATH"), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOSUMDB=off", "GOWORK=off")
	sh.run("cd '" + t.TempDir() + "'")
	promised := regexp.MustCompile(`# (\d{3})\n`)
	printed := regexp.MustCompile(`(?m)^\d{3}$`)
	var all string
	for i, block := range guideBlocks(t, "ten minutes: begin", "ten minutes: end", "sh") {
		var want []string
		for _, found := range promised.FindAllStringSubmatch(block, -1) {
			want = append(want, found[1])
		}
		said := sh.run(block)
		if got := printed.FindAllString(said, -1); !slices.Equal(got, want) {
			t.Fatalf("block %d of the guide prints the statuses %v, the guide says %v:\n%s\n%s", i+1, got, want, block, said)
		}
		all += said
	}
	took := time.Since(begun)
	for what, times := range map[string]int{
		`"code":"plugin_refused"`: 2, `The word “forbidden” is not for titles`: 1, `The word “secret” is not for titles`: 1,
		`"title":"Paint the door"`: 1, "hello 0.1.0 runs in the organisation as": 1, "hello 0.2.0 runs in the organisation as": 1,
	} {
		if n := strings.Count(all, what); n != times {
			t.Errorf("the guide shows %q %d times, not %d:\n%s", what, n, times, all)
		}
	}
	if took > 10*time.Minute {
		t.Errorf("the guide took %s", took)
	}
	proved(t, "from an account to a running hook, and to its next version in %s, under ten minutes", took.Round(time.Second))

	// Again without a change: nothing happens, and nothing fails.
	if said := sh.run("make run 2>&1; echo status $?"); !strings.Contains(said, "hello 0.2.0 runs") || !strings.Contains(said, "status 0\n") {
		t.Errorf("make run a second time says:\n%s", said)
	}
	// With a change and the same version it says what to do.
	said := sh.run(`sed -i.bak 's/Please choose another/Please take another/' rules.go; make run 2>&1; echo status $?`)
	if !strings.Contains(said, "a version never changes; raise it in manifest.json") || strings.Contains(said, "status 0\n") {
		t.Errorf("make run with another program and the same version says:\n%s", said)
	}
	// Without the data folder it makes no instance beside the plugin.
	said = sh.run(`GUILDHALL_DATA_DIR= make install 2>&1; echo status $?; test -e data && echo made one`)
	if !strings.Contains(said, "there is no instance in") || strings.Contains(said, "status 0\n") || strings.Contains(said, "made one") {
		t.Errorf("make install without a data folder says:\n%s", said)
	}
	p.stop(syscall.SIGINT)
}

// guidePlugin makes a plugin of the guide's snippets, signed.
func guidePlugin(t *testing.T) []byte {
	t.Helper()
	manifest := m{}
	for _, block := range guideBlocks(t, "points: begin", "points: end", "json") {
		var part m
		if err := json.Unmarshal([]byte(block), &part); err != nil {
			t.Fatalf("%v in the guide's\n%s", err, block)
		}
		for name := range part {
			if _, twice := manifest[name]; twice {
				t.Fatalf("the guide has %s twice", name)
			}
		}
		maps.Copy(manifest, part)
	}
	platform := runtime.GOOS + "_" + runtime.GOARCH
	manifest["runtime"] = m{"binaries": m{platform: "bin/pager"}}

	a := newAuthor(t)
	files, err := plugins.SDKFiles()
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		a.write("sdk/"+name, string(content))
	}
	mod, sum, err := plugins.ModuleFiles("pager", "sdk")
	if err != nil {
		t.Fatal(err)
	}
	a.write("go.mod", string(mod))
	a.write("go.sum", string(sum))
	for i, block := range guideBlocks(t, "points: begin", "points: end", "go") {
		a.write(fmt.Sprintf("part_%d.go", i), "package main\n\nimport (\n"+importsOf(block)+")\n\n"+block)
	}
	tried := guideBlocks(t, "test: begin", "test: end", "go")[0]
	a.write("guide_test.go", "package main\n\nimport (\n"+importsOf(tried)+")\n\n"+tried)
	a.env = append(a.env, "GOPROXY=off", "GOSUMDB=off", "GOWORK=off", "GOFLAGS=-mod=mod", "CGO_ENABLED=0")
	a.tool(".", "go", "vet", ".")
	a.tool(".", "go", "build", "-buildvcs=false", "-ldflags", "-s -w", "-o", "bin/pager", ".")
	bin, err := os.ReadFile(a.at("bin/pager"))
	if err != nil {
		t.Fatal(err)
	}
	return packBundle(t, manifest, map[string][]byte{"bin/pager": bin})
}

// importsOf are the imports that a snippet leaves out.
func importsOf(snippet string) (out string) {
	for name, path := range map[string]string{
		"bytes": "bytes", "context": "context", "hmac": "crypto/hmac", "sha256": "crypto/sha256", "hex": "encoding/hex", "json": "encoding/json",
		"fmt": "fmt", "http": "net/http", "url": "net/url", "time": "time", "testing": "testing", "sdk": plugins.SDKModule, "plugintest": plugins.SDKModule + "/plugintest",
	} {
		if regexp.MustCompile(`\b` + name + `\.[A-Z]`).MatchString(snippet) {
			out += fmt.Sprintf("\t%q\n", path)
		}
	}
	return out
}

// TestPluginsGuidePoints runs the plugin that the guide's snippets make, at
// every point.
func TestPluginsGuidePoints(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var paged []string
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // compared below
		mu.Lock()
		defer mu.Unlock()
		paged = append(paged, string(body))
		w.Header().Set("Page-Id", "page-1")
	}))
	defer service.Close()
	w := newWorldOf(t, "GUILDHALL_OUTBOUND_ALLOW=127.0.0.0/8")
	ann := w.person("ann").organization("ACME")
	project := ann.post("/v1/projects", m{"name": "P"}).want(201).str("id")
	w.addPlugin(guidePlugin(t))

	grants := []string{}
	for _, a := range ann.get("/v1/plugins/pager").want(200).at("asks").([]any) {
		grants = append(grants, a.(map[string]any)["key"].(string))
	}
	install := m{"plugin_id": "pager", "grants": grants, "settings": m{"url": "nowhere", "secret": "s3cret", "priority": "low"}}
	ann.post("/v1/plugin-installations", install).want(422)
	install["settings"].(m)["url"] = service.URL + "/page"
	made := ann.post("/v1/plugin-installations", install).want(201)
	at := "/v1/plugin-installations/" + made.str("id")

	tasks := "/v1/projects/" + project + "/tasks"
	if got := ann.post(tasks, m{"title": "Help", "priority": "urgent"}).want(422); got.str("detail") != "An urgent task needs a due date." {
		t.Errorf("hook: %s", got.body)
	}
	if got := ann.post(tasks, m{"title": "Paint"}).want(201); got.str("priority") != "low" {
		t.Errorf("hook: %s", got.body)
	}
	if got := ann.post(at+"/actions/count", m{"input": m{"status": "pending"}}).want(200); got.str("message") != "1 tasks are pending." {
		t.Errorf("action: %s", got.body)
	}
	if got := ann.post(at+"/channels/pager/test", m{"to": "ann", "text": "Fire"}).want(200); got.str("external_id") != "page-1" {
		t.Errorf("channel: %s", got.body)
	}
	mu.Lock()
	if !slices.Equal(paged, []string{`{"text":"Fire","to":"ann"}`}) {
		t.Errorf("paged: %v", paged)
	}
	mu.Unlock()

	answer := m{"id": "page-1", "by": "Bob"}
	body, err := json.Marshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, []byte("s3cret"))
	mac.Write(body)
	forged, err := w.http.Post(w.url+at+"/inbound/answers", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	forged.Body.Close()
	if forged.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a signature: %s", forged.Status)
	}
	w.nobody().post(at+"/inbound/answers", answer, "X-Pager-Signature: "+hex.EncodeToString(mac.Sum(nil))).want(204)
	w.settle()
	if got := ann.get("/v1/events?type=plugin.*").want(200); got.str("data.0.type") != "plugin.pager.answered" || got.str("data.0.data.data.by") != "Bob" {
		t.Errorf("the event: %s", got.body)
	}
	points := map[string]bool{}
	for _, p := range ann.get(at + "/health").want(200).at("points").([]any) {
		points[p.(map[string]any)["point"].(string)] = fmt.Sprint(p.(map[string]any)["failures"]) == "0"
	}
	for _, want := range []string{"events", "task.will_create", "action:count", "notification.send/pager", "inbound:answers", "task"} {
		if !points[want] {
			t.Errorf("%s was not served, or failed: %v", want, points)
		}
	}
	w.sql(`update plugin_schedules set next_at = now()`)
	w.settle()
	if n := w.sql(`select count(*) from plugin_values`)[0]["count"]; n != int64(0) {
		t.Errorf("the schedule left %v values", n)
	}
}
