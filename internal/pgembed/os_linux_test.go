package pgembed

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// The server does not outlive its parent.
func TestServerDiesWithParent(t *testing.T) {
	t.Parallel()
	for _, open := range []bool{true, false} {
		t.Run("open="+strconv.FormatBool(open), func(t *testing.T) {
			t.Parallel()
			dir := dataDir(t, open)
			p := startParent(t, dir)
			cluster := clusterDir(dir, pinnedMajor)
			if len(serversIn(cluster)) == 0 {
				t.Fatal("no server is seen in the cluster's folder")
			}
			p.kill(t)
			waitFor(t, "the server is gone", func() bool { return len(serversIn(cluster)) == 0 })
			if _, err := readStatus(cluster); !os.IsNotExist(err) {
				t.Errorf("the server did not shut down in order: postmaster.pid is still there (%v)", err)
			}
		})
	}
}

// Parent and server killed together leave the socket, both lock files and, for a moment, backends behind.
func TestStartAfterBothWereKilled(t *testing.T) {
	t.Parallel()
	for _, open := range []bool{true, false} {
		t.Run("open="+strconv.FormatBool(open), func(t *testing.T) {
			t.Parallel()
			dir := dataDir(t, open)
			p := startParent(t, dir)
			keepRow(t, p.url)
			// A stopped parent can neither clean up nor reap.
			if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(p.pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			p.kill(t)
			wantRow(t, mustStart(t, Config{DataDir: dir}))
		})
	}
}

// A session that was busy when its server was killed lives on for as long as it is busy. The next start waits for it
// and tells it to end, instead of letting two generations work on the same files.
func TestStartWaitsForOrphanedBackends(t *testing.T) {
	t.Parallel()
	cfg := Config{DataDir: dataDir(t, true)}
	s := mustStart(t, cfg)
	keepRow(t, s.URL("postgres"))
	conn, err := pgx.Connect(testContext(t), s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	backend := int(conn.PgConn().PID())
	if err := syscall.Kill(backend, syscall.SIGSTOP); err != nil { // as busy as can be
		t.Fatal(err)
	}
	s.child.signal(syscall.SIGKILL)
	<-s.Done()
	started := make(chan struct{})
	go func() {
		defer close(started)
		next, err := Start(testContext(t), cfg)
		if err != nil {
			t.Error(err)
			return
		}
		wantRow(t, next)
		mustStop(t, next)
	}()
	waitFor(t, "the backend is told to end", func() bool {
		select {
		case <-started:
			t.Error("the server started beside a backend of the former one")
			return true
		default:
			return pending(t, backend, syscall.SIGINT)
		}
	})
	if err := syscall.Kill(backend, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	<-started
	if err := conn.Ping(testContext(t)); err == nil {
		t.Error("the session outlived its server")
	}
}

// pending tells whether a signal waits for a process that cannot take it now.
func pending(t *testing.T, pid int, sig syscall.Signal) bool {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "\nShdPnd:\t")
	line, _, _ := strings.Cut(rest, "\n")
	mask, err := strconv.ParseUint(line, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return mask&(1<<(sig-1)) != 0
}
