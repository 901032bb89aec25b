package launch_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/guildhall-dev/guildhall/plugins/sdk/launch"
	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
)

const helperVariable = "LAUNCH_TEST_HELPER"

// helper runs this binary as a host of its own, and returns its plugin's process
// and what it said.
func helper(t *testing.T, who *syscall.SysProcAttr) (pid int, said string, host *exec.Cmd) {
	t.Helper()
	binary, err := os.Open(launch.Self)
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	dir := public(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("/proc/self/fd/3")
	c.Env, c.Stderr, c.ExtraFiles = []string{helperVariable + "=" + dir}, os.Stderr, []*os.File{binary}
	c.SysProcAttr = who
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Skipf("this kernel makes no such process: %v", err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if pid, err := strconv.Atoi(lines.Text()); err == nil {
			t.Log(said)
			return pid, said, c
		}
		said += lines.Text() + "\n"
	}
	t.Fatalf("the helper did not start a plugin: %s %v", said, c.Wait())
	return 0, "", nil
}

// help is that host.
func help() {
	dir := os.Getenv(helperVariable)
	secret := filepath.Join(dir, "secret")
	binary, err := os.ReadFile(launch.Self)
	if err == nil {
		err = os.WriteFile(secret, []byte("secret"), 0o600)
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := launch.Start(context.Background(), launch.Spec{
		Name: "tester", Version: "1.0.0", Command: launch.Command{Binary: binary}, Host: hostServer{},
		Dir: filepath.Join(dir, "p"), Confine: launch.Self, TLS: true, StartTimeout: time.Minute,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("missing:", strings.Join(p.Missing(), "; "))
	for _, try := range [][2]string{{"read", secret}, {"read", fmt.Sprintf("/proc/%d/environ", os.Getpid())}, {"dial", "tcp 127.0.0.1:1"}, {"host", ""}} {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		a, err := p.Plugin().Act(ctx, &pluginpb.ActRequest{Action: try[0], Input: []byte(try[1])})
		cancel()
		fmt.Println(try[0]+":", a.GetRefusal(), string(a.GetOutput()), err)
	}
	fmt.Println(p.PID())
	<-p.Done()
}

// dies kills a host and waits for its plugin.
func dies(t *testing.T, pid int, host *exec.Cmd) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := host.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = host.Wait()
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 60_000); n != 1 {
		t.Fatalf("the plugin outlives its host: %v", err)
	}
}

// holds is what a confined plugin gets of a host that is not root.
func holds(t *testing.T, said string) {
	t.Helper()
	if strings.Contains(said, "Landlock") {
		t.Skip("this kernel has no Landlock, and so nothing keeps the plugin from the host's files")
	}
	if strings.Count(said, "permission denied") != 3 {
		t.Errorf("it reads the host's files, or reaches the network: %s", said)
	}
	if !strings.Contains(said, "colour of the host") {
		t.Errorf("it does not reach the host: %s", said)
	}
}

func TestDiesWithItsHost(t *testing.T) {
	t.Parallel()
	pid, _, host := helper(t, nil)
	dies(t, pid, host)
}

// TestUnprivilegedHost runs a host that is not root.
func TestUnprivilegedHost(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("the tests are not run by root, so every other test is one of an unprivileged host")
	}
	uid := uint32(account())
	pid, said, host := helper(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}})
	if info, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err != nil || info.Sys().(*syscall.Stat_t).Uid != uid {
		t.Fatalf("the plugin is not the host's: %v", err)
	}
	holds(t, said)
	dies(t, pid, host)
}

// TestWithoutNamespaces runs a host that may not make any, since its own user
// namespace does not know its account.
func TestWithoutNamespaces(t *testing.T) {
	t.Parallel()
	pid, said, host := helper(t, &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 65534, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 65534, Size: 1}},
	})
	if !strings.Contains(said, "namespaces for its processes and its network") {
		t.Fatalf("it has namespaces: %s", said)
	}
	holds(t, said)
	dies(t, pid, host)
}
