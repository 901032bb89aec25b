package pgembed

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// passwordName is the file within the cluster that holds the superuser's password, so that the two cannot be parted.
const passwordName = "guildhall.password"

// cluster is one data folder of PostgreSQL and how to run it.
type cluster struct {
	dir       string // DataDir/pg<major>
	bins      Binaries
	acct      account
	socketDir string
	logFile   string
	ephemeral bool
	settings  map[string]string
	progress  func(string)
}

func clusterDir(dataDir string, major int) string {
	return filepath.Join(dataDir, "pg"+strconv.Itoa(major))
}

// newestCluster is the highest major version that the data folder holds a cluster of, 0 when there is none.
func newestCluster(dataDir string) int {
	newest := 0
	found, _ := filepath.Glob(filepath.Join(dataDir, "pg*", "PG_VERSION")) // the only error is a bad pattern
	for _, path := range found {
		name := filepath.Base(filepath.Dir(path))
		if major, err := strconv.Atoi(strings.TrimPrefix(name, "pg")); err == nil {
			newest = max(newest, major)
		}
	}
	return newest
}

// checkVersion refuses binaries that would leave existing data aside or cannot read it. Nothing is changed.
func checkVersion(dataDir string, bins Binaries) error {
	if have := newestCluster(dataDir); have != 0 && have != bins.Major {
		return fmt.Errorf("%w: %s was made by PostgreSQL %d, but %s (%s) is %s. "+
			"Provide PostgreSQL %d, or move that folder away to begin with an empty cluster; nothing was changed",
			ErrVersion, clusterDir(dataDir, have), have, bins.Dir, bins.Source, bins.Version, have)
	}
	dir := clusterDir(dataDir, bins.Major)
	said, err := os.ReadFile(filepath.Join(dir, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the cluster's version: %w", err)
	}
	if got := strings.TrimSpace(string(said)); got != strconv.Itoa(bins.Major) {
		return fmt.Errorf("%w: PG_VERSION in %s says %q, but %s is %s; nothing was changed",
			ErrVersion, dir, got, bins.Dir, bins.Version)
	}
	return nil
}

// prepare leaves a cluster that can be started and answers the superuser's password.
func (c *cluster) prepare(ctx context.Context) (password string, err error) {
	_, err = os.Stat(filepath.Join(c.dir, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		if err := c.create(ctx); err != nil {
			return "", err
		}
	} else if err != nil {
		return "", fmt.Errorf("look at the cluster: %w", err)
	}
	if err := c.takeOver(); err != nil {
		return "", err
	}
	if err := clearStale(ctx, c.dir, c.socketDir); err != nil {
		return "", err
	}
	data, err := os.ReadFile(filepath.Join(c.dir, passwordName))
	if err != nil {
		return "", fmt.Errorf("read the password of the cluster's superuser: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// create runs initdb in a folder beside the cluster's and renames it when all is done: a start that is killed leaves
// nothing half-made where the next one looks.
func (c *cluster) create(ctx context.Context) error {
	c.progress("creating the database cluster")
	fresh := c.dir + ".new"
	if err := stopStrays(ctx, fresh); err != nil {
		return err
	}
	if err := os.RemoveAll(fresh); err != nil {
		return fmt.Errorf("remove a half-made cluster: %w", err)
	}
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return fmt.Errorf("create the cluster: %w", err)
	}
	password := rand.Text()
	pwfile := filepath.Join(c.socketDir, passwordName) // initdb wants an empty folder, and must be able to read it
	defer os.Remove(pwfile)
	if err := errors.Join(c.acct.own(fresh), c.writeSecret(pwfile, password)); err != nil {
		return fmt.Errorf("create the cluster: %w", err)
	}
	args := append([]string{
		"-D", fresh, "-U", "postgres", "-E", "UTF8", "-A", "scram-sha-256", "--pwfile=" + pwfile,
	}, localeOptions(c.bins.Major)...)
	if c.ephemeral {
		args = append(args, "-N")
	} else {
		args = append(args, "--data-checksums")
	}
	if err := c.run(ctx, "initdb", args...); err != nil {
		return err
	}
	if err := c.writeSecret(filepath.Join(fresh, passwordName), password); err != nil {
		return fmt.Errorf("create the cluster: %w", err)
	}
	if err := errors.Join(syncDir(fresh), os.Rename(fresh, c.dir), syncDir(filepath.Dir(c.dir))); err != nil {
		return fmt.Errorf("create the cluster: %w", err)
	}
	return nil
}

// writeSecret makes a new file that only the account can read.
func (c *cluster) writeSecret(path, text string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text + "\n")
	return errors.Join(err, f.Sync(), f.Close(), c.acct.own(path))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// takeOver gives the cluster's files to the account when a former start ran as another one. The folder itself comes
// last: as long as it has the wrong owner, the work is not done.
func (c *cluster) takeOver() error {
	info, err := os.Lstat(c.dir)
	if err != nil {
		return fmt.Errorf("look at the cluster: %w", err)
	}
	owner := int(info.Sys().(*syscall.Stat_t).Uid)
	if owner == c.acct.uid {
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("%s belongs to user %d, and only that user or root can start it", c.dir, owner)
	}
	// A server may still run in there as its former user.
	if err := stopStrays(context.Background(), c.dir); err != nil {
		return err
	}
	root, err := os.OpenRoot(c.dir)
	if err != nil {
		return fmt.Errorf("give the cluster to %s: %w", c.acct.name, err)
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		return root.Lchown(path, c.acct.uid, c.acct.gid)
	})
	if err == nil {
		err = root.Chown(".", c.acct.uid, c.acct.gid)
	}
	if err != nil {
		return fmt.Errorf("give the cluster to %s: %w", c.acct.name, err)
	}
	return nil
}

// run runs one of the programs to its end. Its output goes to the log.
func (c *cluster) run(ctx context.Context, program string, args ...string) error {
	child, err := c.spawn(program, syscall.SIGKILL, args...)
	if err != nil {
		return err
	}
	select {
	case <-child.exited:
	case <-ctx.Done():
		child.signal(syscall.SIGKILL)
		<-child.exited
		return fmt.Errorf("%s: %w", program, ctx.Err())
	}
	if !child.ok() {
		return fmt.Errorf("%s failed (%s)%s", program, child.state(), logTail(c.logFile, child.logStart))
	}
	return nil
}

// spawn starts a program as the account.
func (c *cluster) spawn(program string, atParentsDeath syscall.Signal, args ...string) (*child, error) {
	cmd := exec.Command(filepath.Join(c.bins.Dir, program), args...)
	cmd.Dir = filepath.Dir(c.dir)
	cmd.Env = childEnv()
	cmd.SysProcAttr = c.acct.attr()
	dieWithParent(cmd.SysProcAttr, atParentsDeath)
	return startChild(cmd, c.logFile)
}
