package plugintest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
	"github.com/guildhall-dev/guildhall/plugins/sdk/launch"
)

// Check is one thing that every plugin has to get right.
type Check struct {
	Name  string // "hook task.will_create"
	OK    bool
	Words string // what was seen
}

// Report is what came of a conformance run.
type Report struct {
	Plugin  string
	Version string
	Checks  []Check
}

// OK reports whether all is right.
func (r Report) OK() bool {
	for _, c := range r.Checks {
		if !c.OK {
			return false
		}
	}
	return true
}

// Write writes a line for each check.
func (r Report) Write(w io.Writer) error {
	for _, c := range r.Checks {
		mark := "ok  "
		if !c.OK {
			mark = "FAIL"
		}
		if _, err := fmt.Fprintf(w, "%s  %s: %s\n", mark, c.Name, c.Words); err != nil {
			return err
		}
	}
	return nil
}

// Require fails a test for each check that is not right.
func (r Report) Require(t T) {
	t.Helper()
	for _, c := range r.Checks {
		if !c.OK {
			t.Errorf("%s %s: %s: %s", r.Plugin, r.Version, c.Name, c.Words)
		}
	}
}

func (r *Report) say(ok bool, name, format string, args ...any) {
	words := strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ") // a plugin's words make no lines
	r.Checks = append(r.Checks, Check{name, ok, words})
}

// Trial says under which circumstances a plugin is tried.
type Trial struct {
	Settings json.RawMessage // nil: what the schema's defaults and examples make
	Confine  string          // as in Options
}

const (
	startWithin = 5 * time.Second
	endWithin   = 5 * time.Second
	mostOutput  = 256 << 10
)

// Conform tries a plugin with every point of its manifest, with what is odd and
// what it does not serve. It has a host that keeps values and nothing else: the
// API denies everything and no server can be reached, which a plugin has to bear.
func Conform(ctx context.Context, b *bundle.Bundle, with Trial) Report {
	r := Report{Plugin: b.Manifest.ID, Version: b.Manifest.Version}
	command, err := commandOf(b)
	if err != nil {
		r.say(false, "starts", "%v", err)
		return r
	}
	p := &process{t: nobody{}, manifest: b.Manifest, grants: map[string]*grant{}}
	spec := p.spec(command, with.Confine)
	printed := &atomic.Int64{}
	spec.StartTimeout = startWithin
	spec.Output = func(_ string, line []byte) { printed.Add(int64(len(line)) + 1) }
	began := time.Now()
	if p.running, err = launch.Start(ctx, spec); err != nil {
		r.say(false, "starts", "%v", err)
		return r
	}
	defer p.running.Kill()
	r.say(true, "starts", "within %s", time.Since(began).Round(time.Millisecond))
	r.health(ctx, p)

	settings := with.Settings
	if settings == nil {
		settings = sampleOf(b.Manifest.Settings)
	}
	t := &trial{Report: &r, p: p, m: b.Manifest, settings: settings}
	t.host = &Host{
		OrganizationID: uuid(1, 1), InstallationID: uuid(2, 1), t: p.t, p: p, api: http.HandlerFunc(denied), settings: settings, offline: true,
		granted: map[string]bool{}, values: map[string]value{}, secrets: map[string][]byte{}, once: map[string]string{}, settingsVersion: 1,
	}
	for _, a := range b.Manifest.Asks() {
		t.host.granted[a.Key] = true
	}
	t.points()
	t.strangers()
	t.late()

	r.memory(p)
	r.say(printed.Load() <= mostOutput, "output", "printed %d bytes, %d are allowed here", printed.Load(), mostOutput)
	began = time.Now()
	p.running.Stop(endWithin)
	took := time.Since(began)
	ended := took < endWithin && errors.Is(p.running.Err(), launch.ErrStopped)
	r.say(ended, "ends", "%s after it was told to", took.Round(time.Millisecond))
	return r
}

func (r *Report) health(ctx context.Context, p *process) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if err := p.running.Ping(ctx); err != nil {
		r.say(false, "health", "%v", err)
		return
	}
	r.say(true, "health", "it says that it serves")
}

// memory looks at what it uses while it does nothing.
func (r *Report) memory(p *process) {
	most := int64(p.manifest.Limits.MemoryMB) << 20
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	u := p.running.Usage()
	for n := 0; n < 20 && (n < 4 || u.MemoryBytes == 0); n++ { // the launcher looks four times a second
		select {
		case <-p.running.Done():
			r.say(false, "memory", "it is not running any more: %v", p.running.Err())
			return
		case <-tick.C:
		}
		u = p.running.Usage()
	}
	if u.MemoryBytes == 0 {
		r.say(true, "memory", "%s does not tell what a process uses", runtime.GOOS)
		return
	}
	r.say(u.MemoryBytes <= most, "memory", "%d MiB at rest, %d MiB are its limit", u.MemoryBytes>>20, most>>20)
}

func denied(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(http.StatusForbidden)
	fmt.Fprint(w, `{"status":403,"code":"permission_denied","title":"Forbidden","detail":"This is a conformance run: the API denies everything."}`)
}

// nobody is a T without a test: what it would be told, the checks find out.
type nobody struct{}

// Helper does nothing.
func (nobody) Helper() {}

// Cleanup is not needed: what runs is ended by Conform.
func (nobody) Cleanup(func()) {}

// Errorf does nothing.
func (nobody) Errorf(string, ...any) {}

// Fatalf does nothing.
func (nobody) Fatalf(string, ...any) {}

// codeOf is the status with which a plugin answered.
func codeOf(err error) codes.Code {
	var e *CallError
	if errors.As(err, &e) {
		return e.Code
	}
	return status.Code(err)
}
