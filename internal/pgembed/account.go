package pgembed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// account is who the database processes run as. PostgreSQL refuses to run as root, and needs a user that exists.
type account struct {
	name     string // for people
	uid, gid int    // the owner that the cluster's files must have, as seen from this process
	cred     *syscall.Credential
	userns   *userns
}

// userns is the user and group that a user namespace gives to this process's own.
type userns struct{ uid, gid int }

// attr makes the process attributes. Children get a process group of their own, so that Ctrl-C in a terminal reaches
// this process alone, which then stops the server when its own work is done.
func (a account) attr() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Credential: a.cred}
	if a.userns != nil {
		enterUserns(attr, *a.userns)
	}
	return attr
}

// chooseAccount finds an account that can run the programs and reach the data folder, by trying.
func chooseAccount(ctx context.Context, bins Binaries, dataDir string) (account, error) {
	var problems []error
	for _, a := range accounts(os.Geteuid(), os.Getegid()) {
		err := a.probe(ctx, bins, dataDir)
		if err == nil {
			return a, nil
		}
		problems = append(problems, fmt.Errorf("%s: %w", a.name, err))
	}
	return account{}, fmt.Errorf("PostgreSQL must not run as root or as an unknown user, and no other way is open here. "+
		"Let the user postgres or nobody pass through %s and %s (chmod o+x on each folder above), or start as an ordinary user: %w",
		bins.Dir, dataDir, errors.Join(problems...))
}

// accounts lists what may work for the process's own user and group, best first.
func accounts(uid, gid int) []account {
	own := account{name: "own user", uid: uid, gid: gid}
	_, unknown := user.LookupId(strconv.Itoa(uid))
	if uid != 0 && unknown == nil {
		return []account{own}
	}
	var list []account
	for _, name := range []string{"postgres", "nobody"} {
		u, g, ok := lookup(name)
		if !ok {
			continue
		}
		if uid == 0 { // a real drop of rights is better than a namespace that root can leave
			list = append(list, account{
				name: "user " + name, uid: u, gid: g,
				cred: &syscall.Credential{Uid: uint32(u), Gid: uint32(g)},
			})
		}
	}
	for _, name := range []string{"nobody", "postgres"} {
		if u, g, ok := lookup(name); ok && hasUserns {
			return append(list, account{
				name: "user namespace", uid: uid, gid: gid,
				userns: &userns{uid: u, gid: g},
			})
		}
	}
	return list
}

func lookup(name string) (uid, gid int, ok bool) {
	u, err := user.Lookup(name)
	if err != nil {
		return 0, 0, false
	}
	uid, err = strconv.Atoi(u.Uid)
	if err != nil {
		return 0, 0, false
	}
	gid, err = strconv.Atoi(u.Gid)
	// macOS calls nobody -2, which no credential can carry
	return uid, gid, err == nil && uid > 0 && gid > 0
}

// probe runs the server's -V as the account from within the data folder: it fails when the programs or the folder are
// out of reach, or when the kernel or the container forbids the change of user.
func (a account) probe(ctx context.Context, bins Binaries, dataDir string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bins.Dir, "postgres"), "-V")
	cmd.Dir = dataDir // entered after the change of user
	cmd.Env = childEnv()
	cmd.SysProcAttr = a.attr()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// own gives a path to the account.
func (a account) own(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return os.Lchown(path, a.uid, a.gid)
}

// childEnv is the environment of the database processes: no secret of this process reaches them.
func childEnv() []string {
	env := []string{"LC_ALL=" + processLocale}
	for _, name := range []string{"PATH", "LD_LIBRARY_PATH", "LOCALE_ARCHIVE"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}
