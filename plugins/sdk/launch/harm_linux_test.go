package launch_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/guildhall-dev/guildhall/plugins/sdk/launch"
	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
)

func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

var accounts atomic.Int32

// account is one that nothing else has.
func account() int { return 700_000_000 + os.Getpid()%100_000*100 + int(accounts.Add(1)) }

func TestHang(t *testing.T) {
	t.Parallel()
	p := start(t, spec(t))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.Plugin().Act(ctx, &pluginpb.ActRequest{Action: "hang"}); status.Code(err) != codes.DeadlineExceeded {
		t.Fatal(err)
	}
	if err := syscall.Kill(p.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ping := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		return p.Ping(ctx)
	}
	err := ping()
	for err == nil { // the signal is on its way
		err = ping()
	}
	if status.Code(err) != codes.DeadlineExceeded {
		t.Fatal(err)
	}
	p.Stop(50 * time.Millisecond)
	ends(t, p, "stopped")
}

func TestFalls(t *testing.T) {
	t.Parallel()
	for action, want := range map[string]string{
		"exit":  "exited with status 4",
		"panic": "exited with status 2: panic: boom",
	} {
		t.Run(action, func(t *testing.T) {
			t.Parallel()
			p := start(t, spec(t))
			if _, err := act(t, p, action, ""); status.Code(err) != codes.Unavailable {
				t.Fatal(err)
			}
			ends(t, p, want)
		})
	}
	t.Run("killed", func(t *testing.T) {
		t.Parallel()
		p := start(t, spec(t))
		began := time.Now()
		if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		ends(t, p, "killed by signal 9 (killed)")
		t.Logf("noticed after %s", time.Since(began).Round(time.Millisecond))
	})
}

func TestMemory(t *testing.T) {
	t.Parallel()
	for _, confine := range []string{launch.Self, ""} {
		t.Run("confined by "+confine, func(t *testing.T) {
			t.Parallel()
			s := spec(t)
			s.Confine, s.Limits.MemoryBytes = confine, 512<<20
			p := start(t, s)
			if _, err := act(t, p, "eat", ""); status.Code(err) != codes.Unavailable {
				t.Fatal(err)
			}
			if <-p.Done(); strings.Contains(p.Err().Error(), "ThreadSanitizer") {
				t.Skip("the race detector's own memory met the limit first")
			}
			ends(t, p, "its memory of 512 MiB")
		})
	}
}

func TestSpin(t *testing.T) {
	t.Parallel()
	s := spec(t)
	s.Limits.CPUPercent, s.Limits.CPUWindow, s.Limits.Nice = 5, 2*time.Second, 1 // so little that it comes by it on a busy machine
	p := start(t, s)
	if _, err := act(t, p, "spin", ""); status.Code(err) != codes.Unavailable {
		t.Fatal(err)
	}
	ends(t, p, "used more CPU than 5 % of a core, over 2s")
}

func TestForkBomb(t *testing.T) {
	t.Parallel()
	for _, confine := range []string{launch.Self, ""} {
		t.Run("confined by "+confine, func(t *testing.T) {
			t.Parallel()
			s := spec(t)
			if s.UID == 0 {
				t.Skip("needs an account of its own, so root")
			}
			s.Confine, s.Limits.MemoryBytes, s.Limits.Processes = confine, 64<<30, 60
			p := start(t, s)
			a, err := act(t, p, "fork", "")
			t.Logf("it came to %v %s %+v", err, a.GetRefusal(), p.Usage())
			if confine == "" {
				ends(t, p, "exceeded its 60 processes")
			} else if !strings.Contains(a.GetRefusal(), "temporarily unavailable") {
				t.Fatalf("nothing stopped it: %v %v", a, err)
			}
			p.Kill()
			if left := processesOf(t, s.UID); len(left) > 0 {
				t.Fatalf("%v are left", left)
			}
		})
	}
}

func processesOf(t *testing.T, uid int) (pids []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		if info, err := os.Stat(d); err == nil && info.Sys().(*syscall.Stat_t).Uid == uint32(uid) {
			b, _ := os.ReadFile(d + "/stat")
			if !strings.Contains(string(b), ") Z ") && len(b) > 0 {
				pids = append(pids, d)
			}
		}
	}
	return pids
}

// refusedBy runs an action that must fail.
func refusedBy(t *testing.T, p *launch.Process, action, input string) {
	t.Helper()
	a, err := act(t, p, action, input)
	if err != nil || a.GetRefusal() == "" {
		t.Errorf("%s %s: %v %v", action, input, a, err)
	}
}

func TestReachesNothingOutside(t *testing.T) {
	t.Parallel()
	p := start(t, spec(t))
	for _, m := range p.Missing() {
		if strings.Contains(m, "Landlock") || strings.Contains(m, "namespaces") {
			t.Skipf("this kernel lacks what is tested: %s", m)
		}
	}
	outside := filepath.Join(public(t), "outside")
	if err := os.WriteFile(outside, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{outside, "/etc/passwd", "/proc/1/environ", "/proc/self/environ", fmt.Sprintf("/proc/%d/environ", os.Getpid())} {
		refusedBy(t, p, "read", path)
	}
	for _, path := range []string{"words/one.txt", "words/two.txt", "../tmp2", "../host.sock/x", "/dev/shm/here", "/tmp/gh-here"} {
		refusedBy(t, p, "write", path)
	}
	output(t, p, "write", "../tmp/here")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	refusedBy(t, p, "dial", "tcp "+l.Addr().String())
	refusedBy(t, p, "dial", "udp 1.1.1.1:53")
	abstract, err := net.Listen("unix", "@launch-test-"+strconv.Itoa(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	defer abstract.Close()
	refusedBy(t, p, "dial", "unix "+abstract.Addr().String())
	if got := output(t, p, "account", ""); os.Geteuid() == 0 && !strings.HasPrefix(got, "7") {
		t.Errorf("it runs as %s", got)
	}
}

func TestDescriptorsDoNotLeak(t *testing.T) {
	t.Parallel()
	if got := output(t, start(t, spec(t)), "descriptors", ""); got != "" {
		t.Errorf("the plugin inherited descriptors: %s", got)
	}
}

// TestTheHashedFileRuns replaces the file that a plugin was read from, and tries to
// change the image that runs.
func TestTheHashedFileRuns(t *testing.T) {
	t.Parallel()
	s := spec(t)
	file := filepath.Join(t.TempDir(), "plugin")
	if err := os.WriteFile(file, s.Command.Binary, 0o755); err != nil {
		t.Fatal(err)
	}
	read, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("#!/bin/sh\ntouch "+file+".ran\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.Command.Binary = read
	p := start(t, s)
	if got := output(t, p, "echo", "original"); got != "original" {
		t.Fatal(got)
	}
	exe := fmt.Sprintf("/proc/%d/exe", p.PID())
	if f, err := os.OpenFile(exe, os.O_WRONLY, 0); err == nil {
		if _, err = f.Write([]byte("swapped")); err == nil {
			t.Error("the running image was written to")
		}
		_ = f.Close()
	}
	if _, err := os.Stat(file + ".ran"); err == nil {
		t.Error("the swapped file ran")
	}
}

func TestTemporaryFilesAreBoundedInSum(t *testing.T) {
	t.Parallel()
	s := spec(t)
	s.Limits.FolderBytes = 16 << 20
	p := start(t, s)
	if _, err := act(t, p, "fill", ""); status.Code(err) != codes.Unavailable {
		t.Fatal(err)
	}
	ends(t, p, "exceeded its 16 MiB of temporary files")
	if os.Geteuid() == 0 {
		return // root sees everything
	}
	p = start(t, s)
	if _, err := act(t, p, "hide", ""); status.Code(err) != codes.Unavailable {
		t.Fatal(err)
	}
	ends(t, p, "temporary files that cannot be looked at")
}

func TestConnectionsToTheHostAreBounded(t *testing.T) {
	t.Parallel()
	p := start(t, spec(t))
	for range 2 { // they make room when they end
		if got := output(t, p, "crowd", ""); got != "4" {
			t.Errorf("it has %s connections to the host", got)
		}
	}
}

// The files of a plugin can be read by its account whatever the umask of the host.
func TestFilesDoNotDependOnTheUmask(t *testing.T) {
	before := syscall.Umask(0o077)
	s := spec(t)
	p, err := launch.Start(t.Context(), s)
	syscall.Umask(before)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	if got := output(t, p, "read", "words/one.txt"); got != "one" {
		t.Errorf("it reads %q", got)
	}
}
