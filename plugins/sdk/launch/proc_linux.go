package launch

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// stat is what /proc/<pid>/stat says of a process.
type stat struct {
	pid, parent, session int
	ticks                int64 // of processor time, also of waited-for children; 100 a second
	pages                int64
	dead                 bool // a zombie
}

func readStat(pid int) (stat, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, false
	}
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:]) // the name before may hold anything
	if len(f) < 22 {
		return stat{}, false
	}
	number := func(field int) int64 { // as proc(5) counts them
		n, _ := strconv.ParseInt(string(f[field-3]), 10, 64)
		return n
	}
	return stat{
		pid: pid, parent: int(number(4)), session: int(number(6)),
		ticks: number(14) + number(15) + number(16) + number(17), pages: number(24),
		dead: f[0][0] == 'Z' || f[0][0] == 'X',
	}, true
}

// usage is what the plugin's processes use at this moment.
func (c *child) usage() (u Usage) {
	for _, pid := range c.family() {
		if s, ok := readStat(pid); ok {
			u.Processes++
			u.MemoryBytes += s.pages * int64(os.Getpagesize())
			u.CPUSeconds += float64(s.ticks) / 100
		}
	}
	return u
}

// family lists the plugin's processes. In a process namespace, all of them descend
// from the first one. Elsewhere orphans are adopted by somebody else: there it is
// also who shares its session or its account.
func (c *child) family() []int {
	if c.contained {
		if all, ok := descendants(c.pid); ok {
			return all
		}
	}
	var all []stat
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if s, ok := readStat(pid); ok && !s.dead {
				all = append(all, s)
			}
		}
	}
	in := map[int]bool{}
	for grew := true; grew; {
		grew = false
		for _, s := range all {
			if !in[s.pid] && (s.pid == c.pid || s.session == c.pid || in[s.parent] || c.dedicated && owner(s.pid) == c.uid) {
				in[s.pid], grew = true, true
			}
		}
	}
	pids := make([]int, 0, len(in))
	for pid := range in {
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	return pids
}

// descendants is false where the kernel does not list children.
func descendants(root int) ([]int, bool) {
	all := []int{root}
	for i := 0; i < len(all); i++ {
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", all[i]))
		if err != nil {
			continue // it ended
		}
		for _, t := range tasks {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", all[i], t.Name()))
			if os.IsNotExist(err) && i == 0 && exists(fmt.Sprintf("/proc/%d/task/%s/stat", all[i], t.Name())) {
				return nil, false
			}
			for _, f := range strings.Fields(string(b)) {
				if pid, err := strconv.Atoi(f); err == nil {
					all = append(all, pid)
				}
			}
		}
	}
	return all, true
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// owner is the account of a process, or -1.
func owner(pid int) int {
	info, err := os.Stat("/proc/" + strconv.Itoa(pid))
	if err != nil {
		return -1
	}
	return int(info.Sys().(*syscall.Stat_t).Uid)
}

// catches says whether a process handles a signal itself.
func catches(pid int, s syscall.Signal) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(b), "\nSigCgt:")
	mask, _, _ := strings.Cut(strings.TrimSpace(after), "\n")
	bits, err := strconv.ParseUint(mask, 16, 64)
	return err == nil && bits&(1<<(s-1)) != 0
}

// Accounts are those that processes of this machine run as.
func Accounts() map[int]bool {
	all := map[int]bool{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			all[owner(pid)] = true
		}
	}
	return all
}
