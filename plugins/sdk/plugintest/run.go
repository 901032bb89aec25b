package plugintest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
	"github.com/guildhall-dev/guildhall/plugins/sdk/launch"
)

// T is what plugintest needs of a *testing.T.
type T interface {
	Helper()
	Cleanup(f func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Options say which plugin runs and what an organisation gives it.
type Options struct {
	// Dir is the folder of the plugin, with manifest.json and, unless an interpreter
	// runs it, the Go program, which is built once for all tests of a process. "" is
	// the folder of the test. Bundle, instead, is the file of a bundle.
	Dir    string
	Bundle string

	// Settings is what the organisation set, as JSON; nil is {}.
	Settings any

	// Grants are the keys of what the organisation granted, as bundle.Ask has them;
	// nil is all that the manifest asks.
	Grants []string

	// API answers the plugin's requests to Guildhall's API: a handler of the test, a
	// Recorder or a Replay. Without one every request fails the test.
	API http.Handler

	// Hosts are test servers in place of others: "api.example.com" and the URL that
	// is called in its place.
	Hosts map[string]string

	// Confine is an executable that calls launch.Main first thing, such as
	// launch.Self where TestMain does. "" runs the plugin unconfined.
	Confine string
}

// Run starts a plugin for one organisation. It ends with the test.
func Run(t T, o Options) *Host {
	t.Helper()
	b := Load(t, o)
	command, err := commandOf(b)
	if err != nil {
		t.Fatalf("plugintest.Run: %v", err)
	}
	p := &process{t: t, manifest: b.Manifest, grants: map[string]*grant{}}
	p.running, err = launch.Start(context.Background(), p.spec(command, o.Confine))
	if err != nil {
		t.Fatalf("plugintest.Run: %v\n%s", err, p.output())
	}
	t.Cleanup(p.running.Kill)
	return p.install(o)
}

// Load reads a plugin, and builds it if it is a folder, for this machine whatever
// the manifest has. It is what Conform takes.
func Load(t T, o Options) *bundle.Bundle {
	t.Helper()
	b, err := load(o)
	if err != nil {
		t.Fatalf("plugintest: %v", err)
	}
	return b
}

func load(o Options) (*bundle.Bundle, error) {
	if o.Bundle != "" {
		data, err := os.ReadFile(o.Bundle)
		if err != nil {
			return nil, err
		}
		return bundle.Read(data)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		return nil, err
	}
	m, err := bundle.ParseManifest(raw)
	if err != nil {
		return nil, fmt.Errorf("manifest.json is not right: %w", err)
	}
	if m.Runtime.Interpreter != "" {
		packed, err := bundle.Pack(dir)
		if err != nil {
			return nil, err
		}
		return bundle.Read(packed)
	}
	binary, err := built(dir)
	if err != nil {
		return nil, err
	}
	m.Runtime.Binaries = map[string]string{runtime.GOOS + "_" + runtime.GOARCH: "program"}
	return &bundle.Bundle{Manifest: m, Files: map[string][]byte{"manifest.json": raw, "program": binary}}, nil
}

// commandOf is how a bundle is started.
func commandOf(b *bundle.Bundle) (launch.Command, error) {
	r := b.Manifest.Runtime
	if r.Interpreter == "" {
		binary, err := b.Executable(runtime.GOOS, runtime.GOARCH)
		return launch.Command{Binary: binary}, err
	}
	for _, dir := range []string{"/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"} { // as Guildhall looks for it
		if path, err := exec.LookPath(filepath.Join(dir, r.Interpreter)); err == nil {
			return launch.Command{Path: path, Args: []string{r.Main}, Files: b.Files}, nil
		}
	}
	return launch.Command{}, fmt.Errorf("%s is not installed on this machine, in /usr/bin or /usr/local/bin", r.Interpreter)
}

// programs has a function that builds the program of each folder once.
var programs sync.Map

func built(dir string) ([]byte, error) {
	once, _ := programs.LoadOrStore(dir, sync.OnceValues(func() ([]byte, error) { return build(dir) }))
	return once.(func() ([]byte, error))()
}

func build(dir string) ([]byte, error) {
	out, err := os.MkdirTemp("", "plugintest-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(out)
	program := filepath.Join(out, "program")
	c := exec.Command("go", "build", "-ldflags", "-s -w", "-o", program, ".")
	c.Dir, c.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if said, err := c.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build in %s: %w\n%s", dir, err, said)
	}
	return os.ReadFile(program)
}

// process is the one process of a plugin, for all its installations.
type process struct {
	t        T
	manifest *bundle.Manifest
	running  *launch.Process

	mu        sync.Mutex
	installed int
	grants    map[string]*grant
	denied    []string // of calls that no good grant says for whom they were
	printed   bytes.Buffer
}

func (p *process) spec(c launch.Command, confine string) launch.Spec {
	m := p.manifest
	return launch.Spec{
		Name: m.ID, Version: m.Version, Command: c, Confine: confine, TLS: m.Runtime.TLS == bundle.TLSAuto, Host: &server{p: p},
		Limits:       launch.Limits{MemoryBytes: int64(m.Limits.MemoryMB) << 20, Processes: m.Limits.Processes, CPUPercent: m.Limits.CPUPercent},
		StartTimeout: 30 * time.Second, // machines that run tests are busy
		Output: func(_ string, line []byte) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.printed.Write(line)
			p.printed.WriteByte('\n')
		},
	}
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.printed.String()
}

// install makes an organisation that runs the plugin.
func (p *process) install(o Options) *Host {
	p.t.Helper()
	p.mu.Lock()
	p.installed++
	n := p.installed
	p.mu.Unlock()
	h := &Host{
		OrganizationID: uuid(1, n), InstallationID: uuid(2, n),
		t: p.t, p: p, api: o.API, hosts: o.Hosts, granted: map[string]bool{},
		values: map[string]value{}, secrets: map[string][]byte{}, once: map[string]string{},
	}
	h.Settings(o.Settings)
	asked := map[string]bool{}
	for _, a := range p.manifest.Asks() {
		asked[a.Key] = true
		h.granted[a.Key] = o.Grants == nil
	}
	for _, key := range o.Grants {
		if !asked[key] {
			p.t.Fatalf("plugintest: the manifest does not ask for %s, so nobody can grant it", key)
		}
		h.granted[key] = true
	}
	return h
}

// uuid is the n-th id of a kind: the same in each run.
func uuid(kind, n int) string { return fmt.Sprintf("01890a5d-%04x-7000-8000-%012x", kind, n) }

// encoded is v as JSON.
func encoded(t T, v any) json.RawMessage {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("plugintest: %v", err)
	}
	return raw
}
