package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// localApp is an application under development: it verifies with the published
// library what it gets and keeps it.
type localApp struct {
	t      *testing.T
	url    string
	answer func(n int, r forwarded) int // the status for the n-th request; nil is 200

	mu     sync.Mutex
	secret string
	got    []forwarded
}

type forwarded struct {
	head http.Header
	body []byte
	err  error // of the verification
}

func newLocalApp(t *testing.T, answer func(int, forwarded) int) *localApp {
	t.Helper()
	r := &localApp{t: t, answer: answer}
	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	r.url = srv.URL + "/hook"
	return r
}

func (r *localApp) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	raw, err := io.ReadAll(req.Body)
	if err != nil {
		r.t.Errorf("the receiver cannot read: %v", err)
	}
	g := forwarded{head: req.Header, body: raw}
	r.mu.Lock()
	if verifier, err := standardwebhooks.NewWebhook(r.secret); err != nil {
		g.err = err
	} else {
		g.err = verifier.Verify(raw, req.Header)
	}
	r.got = append(r.got, g)
	n, answer := len(r.got), r.answer
	r.mu.Unlock()
	if answer != nil {
		w.WriteHeader(answer(n, g))
	}
}

func (r *localApp) use(secret string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secret = secret
}

// answerWith sets the status of every answer from now on.
func (r *localApp) answerWith(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = func(int, forwarded) int { return status }
}

func (r *localApp) all() []forwarded {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// sequences are the numbers of what came, in the order of arrival.
func (r *localApp) sequences() (out []string) {
	for _, g := range r.all() {
		out = append(out, g.head.Get("webhook-sequence"))
	}
	return out
}

// waitUntil waits for a condition.
func waitUntil(t testing.TB, limit time.Duration, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(limit)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("waited %s in vain until %s", limit, what)
		case <-tick.C:
		}
	}
}

// words is what a command wrote.
type words struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *words) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(b)
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// developer is somebody with a machine, on which commands run against an
// instance.
type developer struct {
	t      *testing.T
	config string
	env    []string
}

func newDeveloper(t *testing.T, url, key string) *developer {
	t.Helper()
	dir := t.TempDir()
	return &developer{t, dir, []string{"XDG_CONFIG_HOME=" + dir, "GUILDHALL_URL=" + url, "GUILDHALL_API_KEY=" + key}}
}

// running is a listen that runs.
type running struct {
	t        *testing.T
	out, err words
	secret   string
	stop     context.CancelFunc
	ended    chan error
}

var printedSecret = regexp.MustCompile(`whsec_[A-Za-z0-9+/=]+`)

// listen starts the command and waits until it is ready; change alters what
// the flags made.
func (d *developer) listen(r *localApp, f listenFlags, change ...func(*listen)) *running {
	d.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	run := &running{t: d.t, stop: cancel, ended: make(chan error, 1)}
	if f.after == "" {
		f.after = "now"
	}
	if r != nil {
		f.forwardTo = r.url
	}
	l, err := (&shell{env: d.env, out: &run.out, err: &run.err}).newListen(f)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, c := range change {
		c(l)
	}
	if r != nil {
		r.use(l.secret)
	}
	go func() { run.ended <- l.run(ctx) }()
	d.t.Cleanup(cancel)
	waitUntil(d.t, 30*time.Second, "listen is ready", func() bool { return strings.Contains(run.err.String(), "Ready.") })
	run.secret = printedSecret.FindString(run.err.String())
	return run
}

// end is Ctrl-C.
func (r *running) end() {
	r.t.Helper()
	r.stop()
	select {
	case err := <-r.ended:
		if err != nil {
			r.t.Errorf("listen ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		r.t.Fatal("listen does not end")
	}
}

// apiKey makes a key of the organisation.
func (c *client) apiKey(permissions ...string) string {
	c.w.t.Helper()
	return c.post("/v1/api-keys", m{"name": "Developer", "permissions": permissions}).want(201).str("key")
}
