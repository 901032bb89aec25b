package pgembed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// lockName is the file in the data folder that one process at a time holds.
const lockName = "postgres.lock"

// dirLock is the right to use a data folder. The kernel takes it back when this process ends, however it ends.
type dirLock struct {
	file *os.File
	once sync.Once
}

// lockDir takes the folder or fails at once.
func lockDir(dataDir string) (*dirLock, error) {
	path := filepath.Join(dataDir, lockName)
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("lock the data folder: %w", err)
		}
		l, err := flock(f)
		if err != nil {
			holder, _ := io.ReadAll(io.LimitReader(f, 32))
			f.Close()
			if errors.Is(err, syscall.EWOULDBLOCK) {
				return nil, fmt.Errorf("%w: %s is held by process %s; stop it first, or give this one a data folder of its own",
					ErrInUse, dataDir, strings.TrimSpace(string(holder)))
			}
			return nil, fmt.Errorf("lock the data folder: %w", err)
		}
		// The file may have been removed between opening and locking; then the lock guards nothing.
		held, err1 := f.Stat()
		named, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(held, named) {
			if err := l.sign(); err != nil {
				l.release()
				return nil, fmt.Errorf("lock the data folder: %w", err)
			}
			return l, nil
		}
		l.release()
	}
}

// flock takes the lock of an open file without waiting.
func flock(f *os.File) (*dirLock, error) {
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, err
	}
	return &dirLock{file: f}, nil
}

// sign writes this process's number into the file, for the one who finds it taken.
func (l *dirLock) sign() error {
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	_, err := l.file.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	return err
}

// release gives the folder back. To close the file alone would not do: a child that another goroutine starts at this
// moment holds a copy of it until it runs its program.
func (l *dirLock) release() {
	l.once.Do(func() {
		_ = syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN)
		l.file.Close()
	})
}

// clearStale makes a data folder startable again after its server was killed. Servers that still run in it, which can
// only be ones whose parent died, are stopped. Only then are the locks of PostgreSQL removed: it would otherwise
// refuse to start when the old process number is a zombie or has passed to another process.
func clearStale(ctx context.Context, dir, socketDir string) error {
	if err := stopStrays(ctx, dir); err != nil {
		return err
	}
	paths := []string{filepath.Join(dir, "postmaster.pid"), socketPath(socketDir), socketPath(socketDir) + ".lock"}
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove a stale lock: %w", err)
		}
	}
	return nil
}

// stopStrays ends every server process that works in the folder: politely, then less so, never by SIGKILL, which
// could leave shared memory behind.
func stopStrays(ctx context.Context, dir string) error {
	steps := []struct {
		sig   syscall.Signal
		grace time.Duration
	}{{syscall.SIGINT, 10 * time.Second}, {syscall.SIGTERM, 5 * time.Second}, {syscall.SIGQUIT, 5 * time.Second}}
	for _, step := range steps {
		pids := serversIn(dir)
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range strayTargets(dir, pids) {
			_ = syscall.Kill(pid, step.sig) // it may have ended by now
		}
		deadline := time.Now().Add(step.grace)
		for time.Now().Before(deadline) {
			if len(serversIn(dir)) == 0 {
				return nil
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("wait for former servers %v in %s: %w", pids, dir, ctx.Err())
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	if pids := serversIn(dir); len(pids) > 0 {
		return fmt.Errorf("former server processes %v still use %s and do not end", pids, dir)
	}
	return nil
}

// strayTargets are the processes to signal: the postmaster alone when it lives, since it ends its own backends in
// order, else the orphaned backends.
func strayTargets(dir string, pids []int) []int {
	status, err := readStatus(dir)
	if err != nil {
		return pids
	}
	for _, pid := range pids {
		if pid == status.pid {
			return []int{pid}
		}
	}
	return pids
}
