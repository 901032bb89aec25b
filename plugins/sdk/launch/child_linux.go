package launch

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Self is the running program, whatever became of its file, for Spec.Confine.
const Self = "/proc/self/exe"

// child is the system's side of a plugin: its first process and what comes of it.
type child struct {
	spec      *Spec
	folder    *folder
	uid       int
	dedicated bool // the account is the plugin's alone

	running   atomic.Bool
	exited    chan struct{} // closed when the first process was waited for
	process   *os.Process
	state     *os.ProcessState
	pid       int
	contained bool // in a process namespace of its own
	missing   []string

	killing sync.Mutex
}

// account is whom the plugin runs as, and whether that is not the host itself.
func account(uid int) (int, bool) {
	if uid > 0 && os.Geteuid() == 0 {
		return uid, true
	}
	return os.Geteuid(), false
}

func newChild(s *Spec, f *folder, uid int, dedicated bool) *child {
	return &child{spec: s, folder: f, uid: uid, dedicated: dedicated, exited: make(chan struct{})}
}

func (c *child) started() bool { return c.running.Load() }

// start starts the first process. The kernel kills it when the thread that made
// it ends, so that thread stays until the process is waited for.
func (c *child) start(env []string, stdout, stderr *os.File) error {
	image, err := c.image()
	if err != nil {
		return err
	}
	defer image.Close()
	began := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd, err := c.spawn(env, image, stdout, stderr)
		if err == nil {
			c.process, c.pid = cmd.Process, cmd.Process.Pid
			c.running.Store(true)
		}
		began <- err
		if err == nil {
			_ = cmd.Wait()
			c.state = cmd.ProcessState
			close(c.exited)
		}
	}()
	return <-began
}

// image is the program as the child gets it, as its fourth descriptor.
func (c *child) image() (*os.File, error) {
	if c.spec.Command.Path != "" {
		return os.Open(os.DevNull)
	}
	return sealed(c.spec.Name, c.spec.Command.Binary)
}

func (c *child) program() string {
	if c.spec.Command.Path != "" {
		return c.spec.Command.Path
	}
	return "/proc/self/fd/4"
}

// spawn tries with namespaces first and without them then.
func (c *child) spawn(env []string, image, stdout, stderr *os.File) (*exec.Cmd, error) {
	if c.spec.Confine == "" {
		c.missing = []string{"any confinement: none was asked for"}
		return c.direct(env, image, stdout, stderr)
	}
	flags := uintptr(unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC)
	if os.Geteuid() != 0 {
		flags |= unix.CLONE_NEWUSER
	}
	cmd, err := c.confined(flags, env, image, stdout, stderr)
	if refused(err) {
		c.missing = append(c.missing, fmt.Sprintf("namespaces for its processes and its network: %v", err))
		cmd, err = c.confined(0, env, image, stdout, stderr)
	}
	if v, lerr := ll.LandlockGetABIVersion(); lerr != nil || v < 4 {
		c.missing = append(c.missing, fmt.Sprintf("Landlock, for files and TCP: the kernel has version %d of it, 4 is enough", max(v, 0)))
	}
	if !c.dedicated {
		c.missing = append(c.missing, "an account of its own")
	}
	return cmd, err
}

func refused(err error) bool {
	for _, e := range []error{unix.EPERM, unix.EACCES, unix.EINVAL, unix.ENOSPC, unix.ENOSYS, unix.EUSERS} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (c *child) direct(env []string, image, stdout, stderr *os.File) (*exec.Cmd, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	cmd := &exec.Cmd{
		Path: c.program(), Args: c.spec.argv(), Env: env, Dir: c.folder.files,
		Stdout: stdout, Stderr: stderr, ExtraFiles: []*os.File{null, image},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	}
	if c.dedicated {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(c.uid), Gid: uint32(c.uid)}
	}
	return cmd, cmd.Start()
}

// confined starts Confine, which learns through a pipe what to become.
func (c *child) confined(flags uintptr, env []string, image, stdout, stderr *os.File) (*exec.Cmd, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd := &exec.Cmd{
		Path: c.spec.Confine, Args: []string{c.spec.Name + ": confining"}, Env: []string{confineVariable + "=1"},
		Stdout: stdout, Stderr: stderr, ExtraFiles: []*os.File{r, image},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, Cloneflags: flags},
	}
	if flags&unix.CLONE_NEWUSER != 0 {
		uid, gid := os.Geteuid(), os.Getegid()
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	c.contained = flags != 0
	go func() {
		_ = json.NewEncoder(w).Encode(c.orders(env))
		<-c.exited // open until then: its end tells the child that the host ended
		_ = w.Close()
	}()
	return cmd, nil
}

func (c *child) orders(env []string) orders {
	l := c.spec.Limits
	o := orders{
		Program: c.program(), Args: c.spec.argv(), Env: env,
		Files: c.folder.files, Tmp: c.folder.tmp, Run: c.folder.run, HostSocket: c.folder.hostSocket, Reads: c.spec.Command.Reads,
		Data: uint64(l.MemoryBytes + l.MemoryBytes/4 + 64<<20 + int64(l.Processes)*threadStack), OpenFiles: uint64(l.OpenFiles), FileBytes: uint64(l.FileBytes), Nice: l.Nice,
	}
	if c.dedicated {
		o.UID = c.uid
	}
	if c.dedicated || c.contained && os.Geteuid() != 0 {
		o.Processes = uint64(l.Processes) // the kernel counts by account and user namespace
	}
	return o
}

// killAll kills every process of the plugin. The first process of a process
// namespace takes all others along. Without one, they are looked for until none
// is left, since they may multiply meanwhile.
func (c *child) killAll() {
	if !c.started() {
		return
	}
	if c.contained {
		_ = c.process.Kill()
		return
	}
	c.killing.Lock()
	defer c.killing.Unlock()
	for range 500 {
		_ = c.process.Kill()
		left := c.family()
		for _, pid := range left {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		if len(left) == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// terminate sends SIGTERM, which the first process of a namespace does not get
// unless it catches it.
func (c *child) terminate() {
	if c.contained && !catches(c.pid, syscall.SIGTERM) {
		c.killAll()
		return
	}
	_ = c.process.Signal(syscall.SIGTERM)
}

func (c *child) failed() bool { return !c.state.Success() }

// unconfined says that the process ended before it became the plugin.
func (c *child) unconfined() bool {
	return c.spec.Confine != "" && c.state.Sys().(syscall.WaitStatus).ExitStatus() == statusUnconfined
}

// ending says how the first process ended.
func (c *child) ending() string {
	w := c.state.Sys().(syscall.WaitStatus)
	if w.Signaled() {
		return fmt.Sprintf("killed by signal %d (%s)", w.Signal(), w.Signal())
	}
	return fmt.Sprintf("exited with status %d", w.ExitStatus())
}
