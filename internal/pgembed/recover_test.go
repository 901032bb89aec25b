package pgembed

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// parentVariable names the data folder to the process that a test kills.
const parentVariable = "PGEMBED_TEST_PARENT"

// beParent starts a server, says so, and lives until it is killed or its input ends.
func beParent(dir string) {
	s, err := Start(context.Background(), Config{DataDir: dir})
	if err != nil {
		os.Stdout.WriteString("error: " + err.Error() + "\n")
		os.Exit(1)
	}
	os.Stdout.WriteString(strconv.Itoa(s.child.pid()) + " " + s.URL("postgres") + "\n")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// parent is a process of its own that runs a server.
type parent struct {
	cmd *exec.Cmd
	pid int // the server's
	url string
}

func startParent(t *testing.T, dir string) parent {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), parentVariable+"="+dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil && err != io.EOF {
		t.Fatal(err)
	}
	pid, url, _ := strings.Cut(strings.TrimSpace(line), " ")
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatalf("the parent says %q", line)
	}
	return parent{cmd: cmd, pid: n, url: url}
}

func (p parent) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait() // it was killed
}

// A start right after the death of the former process takes the folder over, whatever state the old server is in.
func TestStartAfterParentWasKilled(t *testing.T) {
	t.Parallel()
	for _, open := range []bool{true, false} {
		t.Run("open="+strconv.FormatBool(open), func(t *testing.T) {
			t.Parallel()
			dir := dataDir(t, open)
			p := startParent(t, dir)
			keepRow(t, p.url)
			p.kill(t)
			wantRow(t, mustStart(t, Config{DataDir: dir}))
		})
	}
}

// A server that is killed is reported, and the next start replays its log.
func TestStartAfterServerWasKilled(t *testing.T) {
	t.Parallel()
	cfg := Config{DataDir: dataDir(t, true)}
	s := mustStart(t, cfg)
	keepRow(t, s.URL("postgres"))
	s.child.signal(syscall.SIGKILL)
	<-s.Done()
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "killed") || !strings.Contains(err.Error(), "ready to accept") {
		t.Errorf("Err of a killed server: %v", err)
	}
	wantRow(t, mustStart(t, cfg))
}

// The locks of a killed server name a process that may since have become anything. A zombie and a stranger under the
// server's own user are the two that PostgreSQL itself takes for a live server.
func TestStaleLocksOfAnotherProcess(t *testing.T) {
	t.Parallel()
	for _, open := range []bool{true, false} {
		for _, kind := range []string{"zombie", "stranger"} {
			t.Run(kind+"/open="+strconv.FormatBool(open), func(t *testing.T) {
				t.Parallel()
				cfg := Config{DataDir: dataDir(t, open)}
				s := mustStart(t, cfg)
				keepRow(t, s.URL("postgres"))
				pidFile := filepath.Join(clusterDir(cfg.DataDir, s.Major()), "postmaster.pid")
				lockFile := socketPath(s.socketDir) + ".lock"
				contents := map[string]string{}
				for _, path := range []string{pidFile, lockFile} {
					data, err := os.ReadFile(path)
					if err != nil {
						t.Fatal(err)
					}
					contents[path] = string(data)
				}
				s.child.signal(syscall.SIGKILL)
				<-s.Done()

				acct, err := chooseAccount(testContext(t), s.bins, cfg.DataDir)
				if err != nil {
					t.Fatal(err)
				}
				pid := strconv.Itoa(startStranger(t, acct, kind == "zombie"))
				if err := claimDir(s.socketDir, acct); err != nil {
					t.Fatal(err)
				}
				contents[socketPath(s.socketDir)] = "\n"
				for path, data := range contents {
					_, rest, _ := strings.Cut(data, "\n")
					if err := os.WriteFile(path, []byte(pid+"\n"+rest), 0o600); err != nil {
						t.Fatal(err)
					}
					if err := acct.own(path); err != nil {
						t.Fatal(err)
					}
				}
				wantRow(t, mustStart(t, cfg))
			})
		}
	}
}

// startStranger runs something that is no server as the account; a zombie has ended and was not waited for.
func startStranger(t *testing.T, acct account, zombie bool) int {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "echo; read line")
	cmd.SysProcAttr = acct.attr()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	line := bufio.NewReader(out)
	if _, err := line.ReadString('\n'); err != nil { // it runs its own program by now
		t.Fatal(err)
	}
	if zombie {
		in.Close()
		if _, err := line.ReadString('\n'); err != io.EOF { // its output closes as it ends
			t.Fatal(err)
		}
	}
	return cmd.Process.Pid
}
