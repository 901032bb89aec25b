package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/guildhall-dev/guildhall/tenant/tenanttest"
)

func TestListenForwardsWhatHappens(t *testing.T) {
	t.Parallel()
	p := newWorkplace(t)
	p.settle()
	d := newDeveloper(t, p.url, p.ann.apiKey("events.read", "tasks.read"))
	app := newLocalApp(t, nil)
	l := d.listen(app, listenFlags{events: []string{"task.*"}})
	if l.secret == "" || !strings.Contains(l.err.String(), app.url) {
		t.Fatalf("listen does not say where it forwards to and how it signs: %s", &l.err)
	}
	var want []string
	for i := range 30 {
		p.newTask(p.project, fmt.Sprintf("Task %d & more", i))
	}
	p.ann.post("/v1/tasks/"+p.task+"/comments", m{"body": "not a task"}).want(201)
	p.settle()
	feed := p.ann.get("/v1/events?type=task.*&limit=200").want(200)
	for i := feed.len("data") - 30; i < feed.len("data"); i++ {
		want = append(want, fmt.Sprint(feed.num(fmt.Sprintf("data.%d.sequence", i))))
	}
	waitUntil(t, 30*time.Second, "30 events came", func() bool { return len(app.all()) >= 30 })
	l.end()
	if got := app.sequences(); !slices.Equal(got, want) {
		t.Errorf("came %v, not %v", got, want)
	}
	for _, g := range app.all() {
		shown := p.ann.get("/v1/events/" + g.head.Get("webhook-id")).want(200)
		if g.err != nil || !bytes.Equal(bytes.TrimSpace(shown.body), g.body) {
			t.Fatalf("verification: %v\ncame    %s\nthe log %s", g.err, g.body, shown.body)
		}
		if g.head.Get("webhook-type") != shown.str("type") || g.head.Get("webhook-attempt") != "1" || g.head.Get("Content-Type") != "application/json" {
			t.Errorf("headers: %v", g.head)
		}
	}
	lines := strings.Split(strings.TrimSpace(l.out.String()), "\n")
	form := regexp.MustCompile(`^\d\d:\d\d:\d\d +` + want[0] + `  task\.created +task [0-9a-f-]{36}  -> 200 in \d+(ms|µs|s)$`)
	if len(lines) != 30 || !form.MatchString(lines[0]) {
		t.Errorf("%d lines, the first is %q", len(lines), lines[0])
	}
	if !strings.Contains(l.err.String(), "30 forwarded, 0 failed. --after "+want[29]) {
		t.Errorf("at the end it says %s", &l.err)
	}

	again := d.listen(app, listenFlags{after: want[27], events: []string{"task.*"}, json: true})
	waitUntil(t, 30*time.Second, "two events came again", func() bool { return len(app.all()) >= 32 })
	again.end()
	if got := app.sequences(); again.secret != l.secret || !slices.Equal(got[30:], want[28:]) {
		t.Errorf("after %s came %v; the secrets are %s and %s", want[27], got[30:], l.secret, again.secret)
	}
	if first, _, _ := strings.Cut(again.out.String(), "\n"); first != string(app.all()[30].body) {
		t.Errorf("--print-json printed %s", first)
	}
}

// A listen that starts does not read again what the one before has read.
func TestListenKeepsItsPlaceAndItsSecret(t *testing.T) {
	t.Parallel()
	p := newWorkplace(t)
	p.settle()
	var asked atomic.Pointer[string]
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.CompareAndSwap(nil, &r.URL.RawQuery)
		p.app.handler().ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	d := newDeveloper(t, front.URL, p.ann.apiKey("events.read", "tasks.read"))
	l := d.listen(nil, listenFlags{})
	l.end()
	if q := *asked.Swap(nil); strings.Contains(q, "after=") {
		t.Errorf("the first start asked for %s", q)
	}
	l = d.listen(nil, listenFlags{})
	l.end()
	if q := *asked.Swap(nil); !strings.Contains(q, "after=") {
		t.Errorf("the second start asked for %s", q)
	}
	// What was kept is of no use: it is read again from the beginning.
	places, _ := filepath.Glob(filepath.Join(d.config, "guildhall", "listen", "*.places"))
	if len(places) != 1 || os.WriteFile(places[0], []byte(`{"": {"cursor": "AAAA", "sequence": 1}}`), 0o600) != nil {
		t.Fatalf("places: %v", places)
	}
	l = d.listen(nil, listenFlags{})
	l.end()

	err := filepath.WalkDir(d.config, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == d.config {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is open to others: %s", path, info.Mode())
		}
		if strings.HasPrefix(e.Name(), "listener-") || strings.HasPrefix(e.Name(), ".new-") {
			t.Errorf("%s was left behind", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// door is an address at which one server after the other answers.
type door struct {
	t    *testing.T
	addr string
	srv  *http.Server
}

func (d *door) open(h http.Handler) {
	d.t.Helper()
	ln, err := net.Listen("tcp", d.addr)
	if err != nil {
		d.t.Fatal(err)
	}
	d.addr = ln.Addr().String()
	d.srv = &http.Server{Handler: h}
	go func() { _ = d.srv.Serve(ln) }()
}

func (d *door) shut() { _ = d.srv.Close() }

func TestListenSurvivesARestart(t *testing.T) {
	t.Parallel()
	db, dir := tenanttest.New(t), t.TempDir()
	w := newWorldOn(t, db, dir)
	ann := w.person("Ann").organization("Harbour Bikes")
	project := ann.post("/v1/projects", m{"name": "Fleet"}).want(201).str("id")
	w.settle()
	front := &door{t: t, addr: "127.0.0.1:0"}
	front.open(w.app.handler())
	d := newDeveloper(t, "http://"+front.addr, ann.apiKey("events.read", "tasks.read"))
	app := newLocalApp(t, nil)
	l := d.listen(app, listenFlags{events: []string{"task.created"}})
	tasks := func(n int) {
		t.Helper()
		for i := range n {
			ann.post("/v1/projects/"+project+"/tasks", m{"title": fmt.Sprintf("Task %d", i)}).want(201)
		}
		w.settle()
	}
	tasks(3)
	waitUntil(t, 30*time.Second, "3 events came", func() bool { return len(app.all()) == 3 })
	front.shut()
	waitUntil(t, 30*time.Second, "listen notices", func() bool { return strings.Contains(l.err.String(), "cannot be read: ") })
	tasks(4)
	second := newWorldOn(t, db, dir)
	var refusals atomic.Int32
	front.open(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch refusals.Add(1) {
		case 1:
			http.Error(rw, "<html>starting</html>", http.StatusBadGateway)
		case 2:
			rw.Header().Set("Retry-After", "1")
			http.Error(rw, `{"code": "rate_limited", "detail": "Too many requests."}`, http.StatusTooManyRequests)
		default:
			second.app.handler().ServeHTTP(rw, r)
		}
	}))
	tasks(2)
	waitUntil(t, 30*time.Second, "9 events came", func() bool { return len(app.all()) >= 9 })
	l.end()
	front.shut()
	want := []string{}
	feed := ann.get("/v1/events?type=task.created&limit=200").want(200)
	for i := range feed.len("data") {
		want = append(want, fmt.Sprint(feed.num(fmt.Sprintf("data.%d.sequence", i))))
	}
	if got := app.sequences(); !slices.Equal(got, want) {
		t.Errorf("came %v, not %v", got, want)
	}
	if n := strings.Count(l.err.String(), "cannot be read"); n != 1 || !strings.Contains(l.err.String(), "answers again after") {
		t.Errorf("of the outage it says %d times: %s", n, &l.err)
	}
}

func TestListenGoesOnPastAFailingReceiver(t *testing.T) {
	t.Parallel()
	p := newWorkplace(t)
	p.settle()
	d := newDeveloper(t, p.url, p.ann.apiKey("events.read", "tasks.read"))
	hang := make(chan struct{})
	title := func(r forwarded) string {
		var e struct{ Data struct{ Title string } }
		if err := json.Unmarshal(r.body, &e); err != nil {
			t.Error(err)
		}
		return e.Data.Title
	}
	attempts := map[string][]string{}
	var mu sync.Mutex
	app := newLocalApp(t, func(_ int, r forwarded) int {
		mu.Lock()
		what := title(r)
		attempts[what] = append(attempts[what], r.head.Get("webhook-attempt"))
		n := len(attempts[what])
		mu.Unlock()
		switch {
		case what == "hangs":
			<-hang
		case what == "fails", what == "recovers" && n < 3:
			return 500
		case what == "moved":
			return 302
		}
		return 204
	})
	t.Cleanup(func() { close(hang) })
	l := d.listen(app, listenFlags{events: []string{"task.created"}}, func(l *listen) {
		l.forward.waits = []time.Duration{10 * time.Millisecond, 20 * time.Millisecond, 30 * time.Millisecond}
		l.forward.patience = 50 * time.Millisecond
	})
	for _, what := range []string{"fails", "hangs", "recovers", "moved", "last"} {
		p.newTask(p.project, what)
	}
	p.settle()
	waitUntil(t, 30*time.Second, "the others are through", func() bool {
		said := l.out.String()
		return strings.Count(said, "given up") == 2 && strings.Contains(said, "204 in") && strings.Count(said, "attempt 3\n") == 1
	})
	begun := time.Now()
	l.end() // with one that hangs
	if took := time.Since(begun); took > grace+5*time.Second {
		t.Errorf("the end took %s", took)
	}
	mu.Lock()
	defer mu.Unlock()
	for what, n := range map[string]int{"fails": 4, "hangs": 1, "recovers": 3, "moved": 4, "last": 1} {
		if want := []string{"1", "2", "3", "4"}[:n]; !slices.Equal(attempts[what], want) {
			t.Errorf("%s: attempts %v, want %v", what, attempts[what], want)
		}
	}
	for _, g := range app.all() {
		if g.err != nil {
			t.Errorf("a later attempt does not verify: %v", g.err)
		}
	}
	if !strings.Contains(l.out.String(), "-> 302 in") {
		t.Errorf("a redirect was followed: %s", &l.out)
	}
}

func TestListenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("Ann").organization("Harbour Bikes")
	key := ann.post("/v1/api-keys", m{"name": "Developer", "permissions": []string{"events.read"}}).want(201)
	plainHTML := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, "<html>") }))
	t.Cleanup(plainHTML.Close)
	moved := httptest.NewServer(http.RedirectHandler("https://elsewhere.example/", http.StatusFound))
	t.Cleanup(moved.Close)
	good := newDeveloper(t, w.url, key.str("key"))
	for name, c := range map[string]struct {
		env  []string
		args string
		want string
	}{
		"no setting":       {nil, "listen", "GUILDHALL_URL is not set"},
		"no home":          {good.env[1:], "listen", "set XDG_CONFIG_HOME or HOME"},
		"revoked":          {newDeveloper(t, w.url, "ghk_"+strings.Repeat("0", 71)).env, "listen", "the API key is not accepted"},
		"no permission":    {newDeveloper(t, w.url, ann.apiKey("tasks.read")).env, "listen", "lacks events.read"},
		"not guildhall":    {newDeveloper(t, plainHTML.URL, key.str("key")).env, "listen", "does not answer as Guildhall does"},
		"a redirect":       {newDeveloper(t, moved.URL, key.str("key")).env, "listen", "a redirect to https://elsewhere.example/"},
		"a bad filter":     {good.env, "listen --events Task.*", "no event has the type Task.*"},
		"a misspelling":    {good.env, "listen --events comment.*,task.maed", "no event has the type task.maed"},
		"a bad address":    {good.env, "listen --forward-to 127.0.0.1:3000", "--forward-to is an address such as"},
		"a bad position":   {good.env, "listen --after yesterday", "--after is now or the sequence of an event"},
		"a bad secret":     {good.env, "listen --secret whsec_c2hvcnQ=", "24 to 64 bytes"},
		"an unknown flag":  {good.env, "listen --forward http://127.0.0.1", "see guildhall listen --help"},
		"a stray argument": {good.env, "listen task.created", "takes flags only"},
	} {
		var out, errOut words
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		err := run(ctx, strings.Fields(c.args), c.env, &out, &errOut)
		cancel()
		if err == nil || !strings.Contains(err.Error(), c.want) || exitCode(err) != exitNotSent {
			t.Errorf("%s: %v, status %d; want %q", name, err, exitCode(err), c.want)
		}
	}
	l := good.listen(nil, listenFlags{})
	ann.delete("/v1/api-keys/" + key.str("id")).want(204)
	select {
	case err := <-l.ended:
		if err == nil || !strings.Contains(err.Error(), "the API key is not accepted") {
			t.Errorf("after the key was revoked: %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("listen goes on with a revoked key")
	}
	if !errors.As(error(exitError{2, io.EOF}), new(exitError)) || !errors.Is(exitError{2, io.EOF}, io.EOF) {
		t.Error("exitError hides what it holds")
	}
}
