package pgembed

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const (
	hasUserns     = true
	processLocale = "C.UTF-8"
)

// enterUserns makes the child believe to be the given user, which is this process's own user outside. Nothing needs a
// new owner, and folders that only this user may enter stay reachable.
func enterUserns(attr *syscall.SysProcAttr, ns userns) {
	attr.Cloneflags = syscall.CLONE_NEWUSER
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: ns.uid, HostID: os.Geteuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: ns.gid, HostID: os.Getegid(), Size: 1}}
}

// dieWithParent has the kernel send sig to the child when the thread that started it ends.
func dieWithParent(attr *syscall.SysProcAttr, sig syscall.Signal) { attr.Pdeathsig = sig }

// localeOptions ask initdb for an order that depends on no library's version and for letters beyond ASCII.
func localeOptions(int) []string { return []string{"--locale=C.UTF-8"} }

// serversIn lists the live postgres processes, backends included, that work in the data folder. A process id alone
// proves nothing: it may by now be a zombie or belong to something else.
func serversIn(dir string) []int {
	want, err := os.Stat(dir)
	if err != nil {
		return nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		proc := filepath.Join("/proc", e.Name())
		exe, err := os.Readlink(filepath.Join(proc, "exe")) // fails for zombies and for other users' processes
		if err != nil || filepath.Base(strings.TrimSuffix(exe, " (deleted)")) != "postgres" {
			continue
		}
		if cwd, err := os.Stat(filepath.Join(proc, "cwd")); err == nil && os.SameFile(cwd, want) {
			pids = append(pids, pid)
		}
	}
	return pids
}
