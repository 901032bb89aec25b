package launch

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

const (
	confineVariable = "GUILDHALL_CONFINE"
	ordersFD        = 3
	threadStack     = 2 << 20 // of C's threads; all of it counts as data
)

// orders is what the confining child is told; the plugin sees nothing of it.
type orders struct {
	Program                               string
	Args, Env                             []string
	Files, Tmp, Run, HostSocket           string
	Reads                                 []string
	UID                                   int // 0: stay
	Nice                                  int
	Data, Processes, OpenFiles, FileBytes uint64 // Processes 0: not counted
}

// Main returns at once, unless this process is to become a confined plugin: then
// it takes rights away from itself, becomes the plugin and never returns. A
// program that Spec.Confine names calls it before anything else, in main and in
// TestMain.
func Main() {
	if os.Getenv(confineVariable) == "" {
		return
	}
	runtime.LockOSThread() // rights belong to threads, and this one becomes the plugin
	err := confine()
	fmt.Fprintf(os.Stderr, "confining the plugin: %v\n", err)
	if errors.Is(err, unix.ENOEXEC) { // what the plugin brought is no program
		os.Exit(127)
	}
	os.Exit(statusUnconfined)
}

// statusUnconfined is how a process ends that could not become the plugin.
const statusUnconfined = 126

func confine() error {
	pipe := os.NewFile(ordersFD, "orders")
	var o orders
	if err := json.NewDecoder(pipe).Decode(&o); err != nil {
		return fmt.Errorf("reading the orders: %w", err)
	}
	if err := os.Chdir(o.Files); err != nil {
		return err
	}
	unix.Umask(0o077)
	standBack(o.Nice)
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	if err := o.restrict(); err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	if err := o.limit(); err != nil {
		return err
	}
	if err := o.become(); err != nil {
		return err
	}
	// Changing the account cleared this; the pipe's end tells whether the host ended
	// before it was set again.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("death signal: %w", err)
	}
	gone := []unix.PollFd{{Fd: ordersFD, Events: unix.POLLIN}}
	if _, err := unix.Poll(gone, 0); err == nil && gone[0].Revents&unix.POLLHUP != 0 {
		return fmt.Errorf("the host ended")
	}
	if err := unix.CloseRange(ordersFD, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		unix.CloseOnExec(ordersFD) // a kernel before 5.11; Go opens the rest that way anyway
		unix.CloseOnExec(ordersFD + 1)
	}
	return fmt.Errorf("execute: %w", syscall.Exec(o.Program, o.Args, o.Env))
}

// standBack lets others run first, and be killed last when memory is short. Where
// the kernel groups sessions, nice counts within a group only and the group has a
// niceness of its own. None of it is worth failing for.
func standBack(nice int) {
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, nice)
	_ = os.WriteFile("/proc/self/autogroup", fmt.Appendf(nil, "%d", nice), 0)
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("500"), 0)
}

func (o *orders) restrict() error {
	config := landlock.V9 // V10 adds UDP, for which there is no network to begin with
	write := config.HandledAccessFS &^ (ll.AccessFSExecute | ll.AccessFSIoctlDev | ll.AccessFSRefer |
		ll.AccessFSMakeBlock | ll.AccessFSMakeChar | ll.AccessFSResolveUnix)
	rules := []landlock.Rule{
		landlock.RODirs("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/etc/ssl", "/etc/pki", "/etc/ca-certificates",
			"/etc/alternatives", "/etc/ld.so.conf.d", "/etc/python3", "/sys/devices/system/cpu").IgnoreIfMissing(),
		landlock.ROFiles("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/localtime", "/etc/nsswitch.conf", "/etc/mime.types",
			"/dev/urandom", "/dev/random", "/dev/zero", "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size").IgnoreIfMissing(),
		landlock.RWFiles("/dev/null").IgnoreIfMissing(),
		landlock.RODirs(o.Files),
		landlock.RODirs(o.Reads...).IgnoreIfMissing(),
		landlock.PathAccess(write, o.Tmp),
		landlock.PathAccess(write|ll.AccessFSResolveUnix, o.Run),
		landlock.PathAccess(ll.AccessFSResolveUnix|ll.AccessFSWriteFile, o.HostSocket),
	}
	if real, err := filepath.EvalSymlinks(o.Program); err == nil {
		rules = append(rules, landlock.ROFiles(real).IgnoreIfMissing())
	}
	// Only this thread is restricted, since it is the one that goes on.
	fd, flags, err := config.BestEffort().NewRulesetFD(rules...)
	if err != nil || fd < 0 {
		return err
	}
	defer unix.Close(fd)
	return ll.LandlockRestrictSelf(fd, flags)
}

// limit sets what the kernel counts per process and, for RLIMIT_NPROC, per
// account. Address space is not limited, since Go reserves far more than it uses;
// RLIMIT_DATA counts what can be written, used or not.
func (o *orders) limit() error {
	var stack syscall.Rlimit
	if syscall.Getrlimit(unix.RLIMIT_STACK, &stack) == nil {
		stack.Cur = min(threadStack, stack.Max)
		_ = syscall.Setrlimit(unix.RLIMIT_STACK, &stack)
	}
	for _, l := range []struct {
		resource int
		max      uint64
	}{
		{unix.RLIMIT_CORE, 0}, {unix.RLIMIT_FSIZE, o.FileBytes}, {unix.RLIMIT_DATA, o.Data},
		{unix.RLIMIT_NOFILE, o.OpenFiles}, {unix.RLIMIT_NPROC, o.Processes}, {unix.RLIMIT_MEMLOCK, 64 << 10},
	} {
		var now syscall.Rlimit
		if l.resource == unix.RLIMIT_NPROC && l.max == 0 || syscall.Getrlimit(l.resource, &now) != nil {
			continue
		}
		most := min(l.max, now.Max)
		if err := syscall.Setrlimit(l.resource, &syscall.Rlimit{Cur: most, Max: most}); err != nil {
			return fmt.Errorf("limit %d: %w", l.resource, err)
		}
	}
	return nil
}

func (o *orders) become() error {
	if o.UID == 0 {
		return nil
	}
	if err := syscall.Setgroups(nil); err != nil {
		return fmt.Errorf("setgroups: %w", err)
	}
	if err := syscall.Setresgid(o.UID, o.UID, o.UID); err != nil {
		return fmt.Errorf("setresgid: %w", err)
	}
	if err := syscall.Setresuid(o.UID, o.UID, o.UID); err != nil {
		return fmt.Errorf("setresuid: %w", err)
	}
	return nil
}
