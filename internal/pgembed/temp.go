package pgembed

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	tempPrefix = "guildhall-pg-"
	tmpfs      = "/dev/shm"
	tmpfsRoom  = 1 << 30 // bytes that must be free there; containers often give 64 MB
)

// StartTemp starts an ephemeral server in a new folder that is removed when the server ends, in memory (tmpfs) when
// more than 1 GiB is free there, because that makes the copy of a database several times faster. DataDir and Ephemeral
// of the configuration are set by it. Folders that killed processes left are removed first.
func StartTemp(ctx context.Context, cfg Config) (*Server, error) {
	parent := tempParent()
	sweep(parent)
	dir, err := os.MkdirTemp(parent, tempPrefix)
	if err != nil {
		return nil, fmt.Errorf("pgembed.StartTemp: %w", err)
	}
	s, err := startTemp(ctx, cfg, dir)
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("pgembed.StartTemp: %w", err)
	}
	return s, nil
}

func startTemp(ctx context.Context, cfg Config, dir string) (*Server, error) {
	cfg.DataDir, cfg.Ephemeral = dir, true
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 { // the server's own user must be able to pass through
		if err := os.Chmod(dir, 0o711); err != nil {
			return nil, err
		}
	}
	lock, err := lockDir(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	s, err := start(ctx, cfg, lock, cfg.DataDir)
	if err != nil {
		lock.release()
		return nil, err
	}
	return s, nil
}

func tempParent() string {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(tmpfs, &fs); err == nil && fs.Bavail*uint64(fs.Bsize) > tmpfsRoom {
		return tmpfs
	}
	return os.TempDir()
}

// sweep removes the folders of temporary servers whose process is gone, which shows by their lock being free. A folder
// without a lock may be about to get one, and is left alone for an hour.
func sweep(parent string) {
	dirs, _ := filepath.Glob(filepath.Join(parent, tempPrefix+"*")) // the only error is a bad pattern
	for _, dir := range dirs {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
			continue
		}
		f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR, 0)
		if os.IsNotExist(err) && time.Since(info.ModTime()) > time.Hour {
			os.RemoveAll(dir)
			continue
		}
		if err != nil {
			continue
		}
		if lock, err := flock(f); err == nil {
			removeTemp(dir)
			lock.release()
		}
		f.Close()
	}
}

// removeTemp clears away a temporary server's folder once nothing runs in it.
func removeTemp(dir string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	clusters, _ := filepath.Glob(filepath.Join(dir, "pg*"))
	for _, c := range clusters {
		if stopStrays(ctx, c) != nil {
			return
		}
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return
	}
	os.RemoveAll(real)
	for _, parent := range socketParents() {
		removeSocketDir(filepath.Join(parent, socketName(real)))
	}
}
