package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestMain lets the test binary also be the command.
func TestMain(m *testing.M) {
	if os.Getenv("RUNTESTS_TEST_MAIN") != "" {
		main()
	}
	os.Exit(m.Run())
}

// bare is this process's environment without a server of an outer run.
func bare() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, urlVariable+"=") {
			env = append(env, e)
		}
	}
	return env
}

// socketDir is where the server of a connection string listens.
func socketDir(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(strings.TrimSpace(address))
	if err != nil {
		t.Fatal(err)
	}
	dir := u.Query().Get("host")
	if dir == "" {
		t.Fatalf("no server in %q", address)
	}
	return dir
}

// The command gets a live server, its streams and its exit code pass through, and the server is gone afterwards.
func TestRun(t *testing.T) {
	t.Parallel()
	var out, errOut bytes.Buffer
	script := `cat; echo $TEST_DATABASE_URL; echo oops >&2; test -S "$(echo "$TEST_DATABASE_URL" |
		sed 's/.*host=//; s/&.*//; s|%2F|/|g')/.s.PGSQL.5432" && exit 7`
	code, err := run([]string{"--", "sh", "-c", script}, bare(), strings.NewReader("in\n"), &out, &errOut)
	if err != nil || code != 7 {
		t.Fatalf("code %d, %v, %s", code, err, &errOut)
	}
	text, ok := strings.CutPrefix(out.String(), "in\n")
	if !ok || errOut.String() != "oops\n" {
		t.Errorf("streams: %q, %q", &out, &errOut)
	}
	if _, err := os.Stat(socketDir(t, text)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the server is left behind: %v", err)
	}
}

// A server that is there already is used as it is.
func TestRunKeepsAGivenServer(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	env := append(bare(), urlVariable+"=postgres://elsewhere/db")
	code, err := run([]string{"sh", "-c", "echo $TEST_DATABASE_URL"}, env, nil, &out, io.Discard)
	if err != nil || code != 0 || out.String() != "postgres://elsewhere/db\n" {
		t.Errorf("code %d, %v, %q", code, err, &out)
	}
}

func TestRunFails(t *testing.T) {
	t.Parallel()
	env := append(bare(), urlVariable+"=postgres://elsewhere/db")
	for _, args := range [][]string{nil, {"--"}, {"--", "/no/such/command"}} {
		if code, err := run(args, env, nil, io.Discard, io.Discard); code != 125 || err == nil {
			t.Errorf("run(%q) = %d, %v", args, code, err)
		}
	}
	if code, err := run([]string{"sh", "-c", "kill -9 $$"}, env, nil, io.Discard, io.Discard); code != 128+9 || err != nil {
		t.Errorf("a killed command: %d, %v", code, err)
	}
}

// A signal reaches the command, and the server goes only after it.
func TestSignalsReachTheCommand(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "--", "sh", "-c", `trap 'exit 9' TERM; echo $TEST_DATABASE_URL; while :; do sleep 0.02; done`)
	cmd.Env = append(bare(), "RUNTESTS_TEST_MAIN=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	exit := (*exec.ExitError)(nil)
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 9 {
		t.Errorf("ended with %v, want the command's own 9", err)
	}
	if _, err := os.Stat(socketDir(t, line)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the server is left behind: %v", err)
	}
}
