//go:build !linux

package pgembed

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

const (
	hasUserns     = false
	processLocale = "en_US.UTF-8"
)

func enterUserns(*syscall.SysProcAttr, userns) {}

// dieWithParent has no counterpart here: a server that outlives its parent is stopped by the next start.
func dieWithParent(*syscall.SysProcAttr, syscall.Signal) {}

// localeOptions ask initdb for an order that depends on no library's version and for letters beyond ASCII. The system
// need not know C.UTF-8; since 17 PostgreSQL brings it.
func localeOptions(major int) []string {
	if major >= 17 {
		return []string{"--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=" + processLocale}
	}
	return []string{"--locale=" + processLocale, "--lc-collate=C"}
}

// serversIn answers the postmaster of the data folder when it lives: its command line names the folder.
func serversIn(dir string) []int {
	status, err := readStatus(dir)
	if err != nil {
		return nil
	}
	out, err := exec.Command("ps", "-o", "command=", "-p", strconv.Itoa(status.pid)).Output()
	if err != nil || !strings.Contains(string(out), "postgres") || !strings.Contains(string(out), dir) {
		return nil
	}
	return []int{status.pid}
}
