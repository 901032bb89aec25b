//go:build unix && !linux

package launch

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
)

// Self is for Spec.Confine, which means nothing here.
const Self = ""

// Main returns: nothing is confined on this system.
func Main() {}

// child is a process group. Without Linux there is no sealed image, no
// confinement and no accounting: what a plugin does is limited by its account.
type child struct {
	spec    *Spec
	folder  *folder
	uid     int
	running atomic.Bool
	exited  chan struct{}
	cmd     *exec.Cmd
	pid     int
	missing []string
}

func account(int) (int, bool) { return os.Geteuid(), false }

func newChild(s *Spec, f *folder, uid int, _ bool) *child {
	return &child{spec: s, folder: f, uid: uid, exited: make(chan struct{}), missing: []string{"any confinement: the system is not Linux"}}
}

func (c *child) started() bool { return c.running.Load() }

func (c *child) start(env []string, stdout, stderr *os.File) error {
	program := c.spec.Command.Path
	if program == "" {
		program = filepath.Join(c.folder.path, "program")
		if err := os.WriteFile(program, c.spec.Command.Binary, 0o500); err != nil {
			return err
		}
	}
	c.cmd = &exec.Cmd{
		Path: program, Args: c.spec.argv(), Env: env, Dir: c.folder.files,
		Stdout: stdout, Stderr: stderr, SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
	if err := c.cmd.Start(); err != nil {
		return err
	}
	c.pid = c.cmd.Process.Pid
	c.running.Store(true)
	go func() {
		_ = c.cmd.Wait()
		close(c.exited)
	}()
	return nil
}

func (c *child) killAll() {
	if c.started() {
		_ = syscall.Kill(-c.pid, syscall.SIGKILL)
	}
}

func (c *child) terminate()     { _ = syscall.Kill(c.pid, syscall.SIGTERM) }
func (c *child) ending() string { return c.cmd.ProcessState.String() }
func (c *child) failed() bool   { return !c.cmd.ProcessState.Success() }
func (c *child) usage() Usage   { return Usage{Processes: 1} }

func (c *child) unconfined() bool { return false }

// peer is not asked: the socket's folder lets nobody else in.
func peer(*net.UnixConn) (int, error) { return os.Geteuid(), nil }

func occupied(info fs.FileInfo) int64 { return info.Size() }

func passable(string, int) error { return errors.ErrUnsupported }

// Accounts are not looked for.
func Accounts() map[int]bool { return nil }
