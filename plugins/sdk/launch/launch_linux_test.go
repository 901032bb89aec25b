package launch_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/guildhall-dev/guildhall/plugins/sdk/launch"
	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
)

// TestMain makes the test binary three things: the tests, the confining child,
// and the plugin that the tests start.
func TestMain(m *testing.M) {
	launch.Main()
	if os.Getenv(pluginpb.CookieVariable) != "" {
		behave(os.Args[1:])
		return
	}
	if os.Getenv(helperVariable) != "" {
		help()
		return
	}
	os.Exit(m.Run())
}

var self = sync.OnceValues(func() ([]byte, error) { return os.ReadFile(launch.Self) })

type hostServer struct {
	pluginpb.UnimplementedHostServer
}

func (hostServer) GetValue(_ context.Context, r *pluginpb.GetValueRequest) (*pluginpb.GetValueResponse, error) {
	return &pluginpb.GetValueResponse{Found: true, Value: []byte(r.GetKey() + " of the host")}, nil
}

func spec(t testing.TB, args ...string) launch.Spec {
	t.Helper()
	binary, err := self()
	if err != nil {
		t.Fatal(err)
	}
	s := launch.Spec{
		Name: "tester", Version: "1.0.0", Command: launch.Command{Binary: binary, Args: args, Files: map[string][]byte{"words/one.txt": []byte("one")}},
		Host: hostServer{}, Confine: launch.Self, StartTimeout: time.Minute, TLS: true,
	}
	if os.Geteuid() == 0 {
		s.UID = account()
	}
	return s
}

// public is a folder that every account can pass through, unlike t.TempDir.
func public(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gh-test-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func start(t testing.TB, s launch.Spec) *launch.Process {
	t.Helper()
	began := time.Now()
	p, err := launch.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := t.(*testing.T); ok {
		t.Logf("started in %s", time.Since(began).Round(time.Millisecond))
	}
	t.Cleanup(p.Kill)
	return p
}

func act(t *testing.T, p *launch.Process, action, input string) (*pluginpb.ActResponse, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return p.Plugin().Act(ctx, &pluginpb.ActRequest{Action: action, Input: []byte(input)})
}

func output(t *testing.T, p *launch.Process, action, input string) string {
	t.Helper()
	a, err := act(t, p, action, input)
	if err != nil || a.GetRefusal() != "" {
		t.Fatalf("%s %s: %v %s", action, input, err, a.GetRefusal())
	}
	return string(a.GetOutput())
}

// ends waits for the end of a process and for its reason.
func ends(t *testing.T, p *launch.Process, reason string) {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(time.Minute):
		t.Fatalf("it still runs, using %+v", p.Usage())
	}
	if err := p.Err(); err == nil || !strings.Contains(err.Error(), reason) {
		t.Fatalf("the reason is %v, not %q", err, reason)
	}
}

func TestStartCallStop(t *testing.T) {
	t.Parallel()
	s := spec(t)
	s.Dir = filepath.Join(public(t), "p")
	p := start(t, s)
	if got := output(t, p, "echo", "hello"); got != "hello" {
		t.Fatal(got)
	}
	if got := output(t, p, "host", ""); got != "colour of the host" {
		t.Fatal(got)
	}
	if err := p.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := output(t, p, "read", "words/one.txt"); got != "one" {
		t.Fatal(got)
	}
	if err := p.Err(); err != nil {
		t.Fatalf("it runs, and ended with %v", err)
	}
	if u := p.Usage(); u.Processes != 1 || u.MemoryBytes == 0 {
		t.Fatalf("%+v", u)
	}
	began := time.Now()
	p.Stop(time.Minute)
	t.Logf("stopped in %s", time.Since(began).Round(time.Millisecond))
	if !errors.Is(p.Err(), launch.ErrStopped) {
		t.Fatal(p.Err())
	}
	if _, err := os.Stat(s.Dir); !os.IsNotExist(err) {
		t.Fatalf("its folder is still there: %v", err)
	}
	if _, err := act(t, p, "echo", ""); status.Code(err) != codes.Unavailable && status.Code(err) != codes.Canceled {
		t.Fatalf("a call after the end: %v", err)
	}
}

func TestEnvironmentDoesNotLeak(t *testing.T) {
	t.Setenv("GUILDHALL_DATABASE_URL", "postgres://secret")
	for _, confine := range []string{launch.Self, ""} {
		s := spec(t)
		s.Confine = confine
		var names []string
		for _, v := range strings.Split(output(t, start(t, s), "environment", ""), "\n") {
			if strings.HasPrefix(v, " ") || !strings.Contains(v, "=") || strings.HasPrefix(v, "-----") {
				continue // inside of the certificate
			}
			name, _, _ := strings.Cut(v, "=")
			if strings.ToUpper(name) == name && !strings.ContainsAny(name, "+/") {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		want := []string{"GOMAXPROCS", "GOMEMLIMIT", "GUILDHALL_HOST_SOCKET", "GUILDHALL_PLUGIN", "HOME", "LANG", "PATH",
			"PLUGIN_CLIENT_CERT", "PLUGIN_MAX_PORT", "PLUGIN_MIN_PORT", "PLUGIN_PROTOCOL_VERSIONS", "PLUGIN_UNIX_SOCKET_DIR", "TMPDIR"}
		if !slices.Equal(names, want) {
			t.Fatalf("confined by %q, the plugin sees %v", confine, names)
		}
	}
}

func TestFailedStarts(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"exit":      "exited with status 3: no configuration found",
		"silent":    "did not answer within 1s of its start",
		"elsewhere": "listens on tcp",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			s := spec(t, args)
			if args == "silent" {
				s.StartTimeout = time.Second
			}
			_, err := launch.Start(t.Context(), s)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("%v, not %q", err, want)
			}
			if errors.Is(err, launch.ErrNotRun) || errors.Is(err, launch.ErrSlow) != (args == "silent") {
				t.Errorf("of the wrong kind: %v", err)
			}
		})
	}
	t.Run("no program", func(t *testing.T) {
		t.Parallel()
		s := spec(t)
		s.Command.Binary = []byte("#!/no/such/thing\n")
		if _, err := launch.Start(t.Context(), s); !errors.Is(err, launch.ErrNotRun) || !strings.Contains(err.Error(), "exited with status 126") {
			t.Fatal(err)
		}
	})
	t.Run("no folder", func(t *testing.T) {
		t.Parallel()
		s := spec(t)
		s.Dir = public(t)
		if _, err := launch.Start(t.Context(), s); !errors.Is(err, launch.ErrNotRun) {
			t.Fatal(err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := launch.Start(ctx, spec(t)); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	})
}

func TestOutput(t *testing.T) {
	t.Parallel()
	s := spec(t, "chatty")
	got := make(chan string, 10)
	s.Output = func(stream string, line []byte) {
		select {
		case got <- stream + " " + string(line[:min(len(line), 20)]):
		default:
		}
	}
	p := start(t, s)
	if line := <-got; line != "stdout good morning" {
		t.Fatal(line)
	}
	output(t, p, "say", "hear, hear")
	if line := <-got; line != "stderr hear, hear" {
		t.Fatal(line)
	}
}

func TestPrintingTooMuchWaits(t *testing.T) {
	t.Parallel()
	s := spec(t)
	var mu sync.Mutex
	printed := 0
	enough := make(chan struct{})
	s.Output = func(_ string, line []byte) {
		mu.Lock()
		defer mu.Unlock()
		if printed += len(line); printed > 1<<20 && printed-len(line) <= 1<<20 {
			close(enough)
		}
	}
	p := start(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _, _ = p.Plugin().Act(ctx, &pluginpb.ActRequest{Action: "print"}) }()
	<-enough
	began := time.Now()
	for range 100 {
		output(t, p, "echo", "still there")
	}
	t.Logf("100 calls beside the printing took %s", time.Since(began).Round(time.Millisecond))
	p.Kill()
	mu.Lock()
	defer mu.Unlock()
	if limit := 2<<20 + int(time.Since(began).Seconds()+1)*(256<<10); printed > limit {
		t.Fatalf("it printed %d bytes, more than %d", printed, limit)
	}
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		start(b, spec(b)).Stop(time.Second)
	}
}

// BenchmarkCall is a veto hook that allows everything.
func BenchmarkCall(b *testing.B) {
	for _, tls := range []bool{true, false} {
		b.Run(fmt.Sprintf("TLS=%t", tls), func(b *testing.B) {
			s := spec(b)
			s.TLS = tls
			p := start(b, s)
			r := &pluginpb.DecideRequest{Call: &pluginpb.Call{Settings: []byte("{}")}, Hook: "task.will_create",
				Items: []*pluginpb.DecideItem{{Subject: []byte("{}"), Draft: make([]byte, 500)}}}
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				if _, err := p.Plugin().Decide(b.Context(), r); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
			b.ReportMetric(float64(p.Usage().MemoryBytes>>20), "MiB")
		})
	}
}
