package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/guildhall-dev/guildhall/event"
)

// command runs guildhall on the developer's machine.
func (d *developer) command(args ...string) (out string, err error) {
	d.t.Helper()
	var said, aside words
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err = run(ctx, args, d.env, &said, &aside)
	return said.String(), err
}

// wantExit holds the status of a command against what it should be.
func wantExit(t *testing.T, what string, err error, code int, text string) {
	t.Helper()
	got := 0
	if err != nil {
		got = exitCode(err)
	}
	if got != code || code != 0 && !strings.Contains(err.Error(), text) {
		t.Errorf("%s: status %d, %v; want %d and %q", what, got, err, code, text)
	}
}

func TestTriggerReachesAListen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("Ann").organization("Harbour Bikes")
	key := ann.apiKey("events.read", "tasks.read")
	d := newDeveloper(t, w.url, key)
	app := newLocalApp(t, nil)

	_, err := d.command("trigger", "task.created")
	wantExit(t, "nobody listens", err, exitNotSent, "no guildhall listen runs here. Any of these sends it:")
	for _, way := range []string{"guildhall listen --forward-to", "guildhall trigger task.created --forward-to", "guildhall trigger task.created --endpoint ID"} {
		if !strings.Contains(err.Error(), way) {
			t.Errorf("where nobody listens it does not tell of %s", way)
		}
	}

	l := d.listen(app, listenFlags{events: []string{"task.*"}})
	// What a listen that was killed leaves behind, and a file that is none.
	stale := filepath.Join(d.config, "guildhall", "listen", "listener-STALE.json")
	gone := listener{Account: "x", Control: "http://127.0.0.1:1", Token: "x"}
	text, err := json.Marshal(gone)
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string][]byte{stale: text, strings.Replace(stale, "STALE", "BROKEN", 1): []byte("{")} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i, kind := range []string{"task.created", "comment.created", "task.created"} {
		said, err := d.command("trigger", kind)
		wantExit(t, kind, err, 0, "")
		got := app.all()
		if len(got) != i+1 || !strings.Contains(said, app.url+": 200 in ") {
			t.Fatalf("%s: %d came, and it says %s", kind, len(got), said)
		}
		g := got[i]
		var e event.Event
		if err := json.Unmarshal(g.body, &e); err != nil || g.err != nil {
			t.Fatalf("%s: %v, %v", kind, err, g.err)
		}
		if e.Type != kind || e.Sequence != nil || time.Since(e.Timestamp) > time.Minute || e.ID.String() != g.head.Get("webhook-id") || len(e.Data) < 10 {
			t.Errorf("%s: the example is %s", kind, g.body)
		}
		if g.head.Get("webhook-test") != "true" || g.head.Get("webhook-type") != kind || g.head.Get("webhook-sequence") != "" || !strings.Contains(said, e.ID.String()) {
			t.Errorf("%s: headers %v; it says %s", kind, g.head, said)
		}
	}
	if first, third := app.all()[0].head.Get("webhook-id"), app.all()[2].head.Get("webhook-id"); first == third {
		t.Error("two examples have the same id: a receiver would pass over the second")
	}
	if _, err := os.Stat(stale); !os.IsNotExist(err) {
		t.Errorf("the file of a listen that is gone is still there: %v", err)
	}
	if !strings.Contains(l.out.String(), "example  task.created") {
		t.Errorf("listen printed %s", &l.out)
	}

	other := &developer{t, d.config, newDeveloper(t, w.url, ann.apiKey("events.read")).env}
	other.env[0] = d.env[0]
	_, err = other.command("trigger", "task.created")
	wantExit(t, "another key", err, exitNotSent, "(1 with another GUILDHALL_URL or GUILDHALL_API_KEY)")

	app.answerWith(http.StatusInternalServerError)
	_, err = d.command("trigger", "task.created")
	wantExit(t, "a receiver that refuses", err, exitRefused, app.url+": 500 in ")
	l.end()
	_, err = d.command("trigger", "task.created")
	wantExit(t, "after the end", err, exitNotSent, "no guildhall listen runs here")
}

func TestTriggerControlIsForItsOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("Ann").organization("Harbour Bikes")
	d := newDeveloper(t, w.url, ann.apiKey("events.read"))
	app := newLocalApp(t, nil)
	l := d.listen(app, listenFlags{})
	running := folder(filepath.Join(d.config, "guildhall", "listen")).listeners(context.Background(), w.http)
	if len(running) != 1 || !strings.HasPrefix(running[0].Control, "http://127.0.0.1:") || len(running[0].Token) < 20 {
		t.Fatalf("listening: %+v", running)
	}
	for _, token := range []string{"", "Bearer ", "Bearer " + running[0].Token[1:], running[0].Token} {
		for _, at := range []string{"GET /", "POST /events"} {
			method, path, _ := strings.Cut(at, " ")
			req, err := http.NewRequest(method, running[0].Control+path, strings.NewReader(`{"type": "task.created"}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", token)
			res, err := w.http.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s with %q: %d", at, token, res.StatusCode)
			}
		}
	}
	for _, body := range []string{"", "{", "[]", `{"type": "task.created"}`} {
		if _, err := running[0].hand(context.Background(), w.http, []byte(body)); err == nil || !strings.Contains(err.Error(), "this is no event") {
			t.Errorf("%q was taken: %v", body, err)
		}
	}
	l.end()
	if n := len(app.all()); n != 0 {
		t.Errorf("%d came", n)
	}
}

func TestTriggerStraight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("Ann").organization("Harbour Bikes")
	d := newDeveloper(t, w.url, ann.apiKey("events.read"))
	app := newLocalApp(t, nil)
	l := d.listen(app, listenFlags{})
	l.end() // it made the secret
	said, err := d.command("trigger", "task.created", "--forward-to", app.url)
	wantExit(t, "straight", err, 0, "")
	if got := app.all(); len(got) != 1 || got[0].err != nil || !strings.Contains(said, app.url+": 200 in ") {
		t.Errorf("came %+v; it says %s", got, said)
	}
	const mine = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="
	app.use(mine)
	_, err = d.command("trigger", "task.created", "--forward-to", app.url, "--secret", mine)
	wantExit(t, "under a secret of one's own", err, 0, "")
	if got := app.all(); len(got) != 2 || got[1].err != nil {
		t.Errorf("came %+v", got)
	}
	_, err = d.command("trigger", "task.created", "--forward-to", "http://127.0.0.1:1/hook")
	wantExit(t, "nobody there", err, exitRefused, "connection refused")

	said, err = d.command("trigger", "--list")
	wantExit(t, "the list", err, 0, "")
	for _, line := range []string{"task.created ", "comment.created ", "webhook_endpoint.disabled "} {
		if !strings.Contains("\n"+said, "\n"+line) {
			t.Errorf("the list does not name %s: %s", line, said)
		}
	}
	for args, want := range map[string]string{
		"trigger":                           "guildhall trigger --list lists them",
		"trigger task.created task.updated": "name one type",
		"trigger --list task.created":       "--list stands alone",
		"trigger task.maed":                 `there is no event type "task.maed"`,
		"trigger Task!":                     `there is no event type "Task!"`,
		"trigger x --forward-to http://127.0.0.1 --endpoint 1": "not both",
		"trigger task.created --secret " + mine:                "--secret goes with --forward-to",
		"trigger task.created --forward-to ftp://x":            "--forward-to is an address such as",
		"trigger --nonsense":                                   "see guildhall trigger --help",
	} {
		_, err := d.command(strings.Fields(args)...)
		wantExit(t, args, err, exitNotSent, want)
	}
	var help bytes.Buffer
	if err := run(context.Background(), []string{"trigger", "--help"}, nil, &help, &help); err != nil || !strings.Contains(help.String(), "Examples:") {
		t.Errorf("%v: %s", err, &help)
	}
}

func TestTriggerThroughAnEndpoint(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, "GUILDHALL_OUTBOUND_ALLOW=127.0.0.0/8", "GUILDHALL_RATE_LIMIT=off")
	ann := w.person("Ann").organization("Harbour Bikes")
	app := newLocalApp(t, nil)
	endpoint := ann.post("/v1/webhook-endpoints", m{"url": app.url, "event_types": []string{"comment.*"}}).want(201)
	app.use(endpoint.str("secret"))
	d := newDeveloper(t, w.url, ann.apiKey("webhooks.read", "webhooks.manage"))
	// try runs the command while the workers work.
	try := func(d *developer, args ...string) (said string, err error) {
		t.Helper()
		ended := make(chan struct{})
		go func() {
			said, err = d.command(args...)
			close(ended)
		}()
		waitUntil(t, time.Minute, "the command ends", func() bool {
			w.settle()
			select {
			case <-ended:
				return true
			default:
				return false
			}
		})
		return said, err
	}
	to := []string{"trigger", "task.created", "--endpoint", endpoint.str("id")}
	said, err := try(d, to...)
	wantExit(t, "through the instance", err, 0, "")
	got := app.all()
	if len(got) != 1 || got[0].err != nil || got[0].head.Get("webhook-test") != "true" || !strings.Contains(said, "the endpoint answered 200") {
		t.Fatalf("came %+v; it says %s", got, said)
	}
	app.answerWith(http.StatusTeapot)
	_, err = try(d, to...)
	wantExit(t, "an endpoint that refuses", err, exitRefused, "418")

	_, err = try(d, "trigger", "task.maed", "--endpoint", endpoint.str("id"))
	wantExit(t, "an unknown type", err, exitNotSent, `did you mean "task.`)
	_, err = try(d, "trigger", "task.created", "--endpoint", "0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07")
	wantExit(t, "an unknown endpoint", err, exitNotSent, "webhook endpoint")
	_, err = try(newDeveloper(t, w.url, ann.apiKey("webhooks.read")), to...)
	wantExit(t, "without the permission", err, exitNotSent, "lacks webhooks.manage")

	// Its answer is for others to see.
	app.answerWith(http.StatusOK)
	said, err = try(newDeveloper(t, w.url, ann.apiKey("webhooks.manage")), to...)
	wantExit(t, "without the right to look", err, 0, "")
	if !strings.Contains(said, "a key with webhooks.read may see") {
		t.Errorf("it says %s", said)
	}
}
