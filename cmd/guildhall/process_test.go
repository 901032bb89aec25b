package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"mime/quotedprintable"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/guildhall-dev/guildhall/internal/pgembed"
)

// beVariable makes the test binary run main with the arguments in it.
const beVariable = "GUILDHALL_TEST_BE"

// TestMainAsProcess is guildhall itself when another test starts this binary
// as a child: a process that can be killed.
func TestMainAsProcess(t *testing.T) {
	args := os.Getenv(beVariable)
	if args == "" {
		t.Log("nobody asked this binary to be guildhall")
		return
	}
	os.Args = append([]string{"guildhall"}, strings.Fields(args)...)
	main() // exits by itself after an error
	os.Exit(0)
}

// instance is a data folder on which guildhall runs, one process after the
// other.
type instance struct {
	t   testing.TB
	dir string
	env []string
	http.Client
}

func newInstance(t testing.TB, env ...string) *instance {
	t.Helper()
	// Not t.TempDir: the database's own user has to pass through.
	dir, err := os.MkdirTemp("", "guildhall-test-")
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	// Each start has another port; tokens are for the public address, which stays.
	env = append([]string{"GUILDHALL_DATA_DIR=" + dir, "GUILDHALL_ADDR=127.0.0.1:0", "GUILDHALL_PUBLIC_URL=http://guildhall.test"}, env...)
	return &instance{t: t, dir: dir, env: env}
}

// process is one guildhall.
type process struct {
	in     *instance
	cmd    *exec.Cmd
	log    *tail
	ended  chan struct{}
	url    string
	took   time.Duration // from its start to its readiness
	server int           // Postgres
}

// start runs guildhall all and waits until it is ready.
func (in *instance) start(within time.Duration) *process {
	in.t.Helper()
	p := &process{in: in, log: &tail{ready: make(chan string, 1)}, ended: make(chan struct{})}
	p.cmd = exec.Command(os.Args[0], "-test.run=^TestMainAsProcess$")
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "GUILDHALL_") || strings.HasPrefix(e, "GUILDHALL_POSTGRES_BIN=") {
			p.cmd.Env = append(p.cmd.Env, e)
		}
	}
	p.cmd.Env = append(p.cmd.Env, beVariable+"=all")
	p.cmd.Env = append(p.cmd.Env, in.env...)
	p.cmd.Stderr = p.log
	begun := time.Now()
	if err := p.cmd.Start(); err != nil {
		in.t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // the outcome is in ProcessState
		close(p.ended)
	}()
	in.t.Cleanup(p.kill)
	select {
	case p.url = <-p.log.ready:
	case <-p.ended:
		in.t.Fatalf("guildhall did not start (%s):\n%s", p.cmd.ProcessState, p.log)
	case <-time.After(within):
		in.t.Fatalf("guildhall was not ready within %s:\n%s", within, p.log)
	}
	res, err := in.Get(p.url + "/readyz")
	if err != nil {
		in.t.Fatalf("%v:\n%s", err, p.log)
	}
	res.Body.Close()
	p.took = time.Since(begun)
	if res.StatusCode != http.StatusOK || p.took > within {
		in.t.Fatalf("/readyz answered %d after %s:\n%s", res.StatusCode, p.took, p.log)
	}
	p.server = in.postgres()
	return p
}

// postgres is the number of the private Postgres, 0 when it left none.
func (in *instance) postgres() int {
	found, _ := filepath.Glob(filepath.Join(in.dir, "pg*", "postmaster.pid")) // the only error is a bad pattern
	if len(found) == 0 {
		return 0
	}
	text, err := os.ReadFile(found[0])
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		in.t.Errorf("postmaster.pid: %v", err)
	}
	return pid
}

// signal sends to the process; that it has ended already is fine.
func (p *process) signal(sig syscall.Signal) { _ = p.cmd.Process.Signal(sig) }

func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.ended
}

// wait fails the test when the process does not end in time.
func (p *process) wait(within time.Duration) {
	p.in.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(within):
		p.in.t.Fatalf("guildhall runs on after %s:\n%s", within, p.log)
	}
}

// stop asks for the end and expects a clean one, of Postgres too.
func (p *process) stop(sig syscall.Signal) {
	p.in.t.Helper()
	p.signal(sig)
	p.wait(30 * time.Second)
	if !p.cmd.ProcessState.Success() {
		p.in.t.Errorf("after %s: %s:\n%s", sig, p.cmd.ProcessState, p.log)
	}
	if pid := p.in.postgres(); pid != 0 {
		p.in.t.Errorf("Postgres %d left its lock", pid)
	}
	if err := syscall.Kill(p.server, 0); !errors.Is(err, syscall.ESRCH) {
		p.in.t.Errorf("Postgres %d is still there: %v", p.server, err)
	}
}

// world makes the harness's clients speak to the process.
func (p *process) world() *world {
	return &world{t: p.in.t, url: p.url, http: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 20}}}
}

// sql asks the private Postgres of the running process, beside it.
func (in *instance) sql(sql string) (n int) {
	in.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	url, err := pgembed.Running(in.dir, "guildhall")
	if err != nil {
		in.t.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		in.t.Fatal(err)
	}
	defer conn.Close(ctx)
	if err := conn.QueryRow(ctx, sql).Scan(&n); err != nil {
		in.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// invitation waits for the mail to the address and answers the token in it.
func (in *instance) invitation(to string) string {
	in.t.Helper()
	token := ""
	in.until(30*time.Second, "the invitation of "+to+" is mailed", func() bool {
		files, _ := filepath.Glob(filepath.Join(in.dir, "mail", "*.eml")) // the only error is a bad pattern
		for _, f := range files {
			raw, err := os.ReadFile(f)
			if err != nil {
				in.t.Fatal(err)
			}
			text, _ := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(raw))) // the head may not be of that kind
			found := regexp.MustCompile(`invitations/accept#token=([A-Za-z0-9_.-]+)`).FindSubmatch(text)
			if found != nil && bytes.Contains(raw, []byte(to)) {
				token = string(found[1])
			}
		}
		return token != ""
	})
	return token
}

// until waits for a condition.
func (in *instance) until(within time.Duration, what string, cond func() bool) {
	in.t.Helper()
	deadline := time.After(within)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			in.t.Fatalf("waited %s in vain until %s", within, what)
		case <-tick.C:
		}
	}
}

// tail keeps the end of what a process says and hears when it is ready.
type tail struct {
	mu    sync.Mutex
	text  []byte
	ready chan string
	said  bool
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if !t.said {
		lines := bufio.NewScanner(bytes.NewReader(t.text))
		for lines.Scan() {
			if _, url, found := strings.Cut(lines.Text(), "ready on "); found && bytes.HasSuffix(t.text, []byte("\n")) {
				t.said = true
				t.ready <- url
				break
			}
		}
	}
	if over := len(t.text) - 64<<10; over > 0 {
		t.text = t.text[over:]
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}

// TestRunTwice is the first day of an instance: a start from nothing, the end
// by Ctrl-C, a second start, one after a kill.
func TestRunTwice(t *testing.T) {
	t.Parallel()
	in := newInstance(t)
	p := in.start(time.Minute)
	proved(t, "from nothing to ready in %s", p.took.Round(time.Millisecond))
	person := p.world().person("Ada")
	command := func(args ...string) (string, error) {
		var out strings.Builder
		env := append([]string{"GUILDHALL_ADDR=" + strings.TrimPrefix(p.url, "http://")}, in.env[0])
		err := run(context.Background(), args, env, &out, io.Discard)
		return out.String(), err
	}
	said, err := command("doctor")
	if err != nil || !strings.Contains(said, "guildhall runs and says on "+p.url+"/readyz: ready") {
		t.Errorf("the doctor beside it: %v:\n%s", err, said)
	}
	if said, err = command("admin", "grant", person.email); err != nil || !strings.Contains(said, person.email) {
		t.Errorf("a grant beside it: %q, %v", said, err)
	}
	if _, err := command("all"); !errors.Is(err, pgembed.ErrInUse) {
		t.Errorf("a second guildhall on the folder: %v", err)
	}
	p.stop(syscall.SIGINT)

	if said, err = command("doctor"); err != nil {
		t.Errorf("the doctor after it: %v:\n%s", err, said)
	}
	for _, check := range []string{"database", "clock", "log-in", "migrations", "isolation", "event log", "event relay", "instance key", "address"} {
		line(t, said, "ok", check)
	}
	p = in.start(10 * time.Second)
	proved(t, "the second start took %s", p.took.Round(time.Millisecond))
	person.w = p.world()
	person.login()
	p.kill()

	p = in.start(10 * time.Second)
	proved(t, "the start after a kill took %s", p.took.Round(time.Millisecond))
	person.w = p.world()
	person.get("/v1/users/me").want(200)
	if n := in.sql(`select count(*) from guildhall.users where operator`); n != 1 {
		t.Errorf("%d operators", n)
	}
	p.stop(syscall.SIGTERM)
}
