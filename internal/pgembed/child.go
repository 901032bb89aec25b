package pgembed

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

const (
	maxLog  = 16 << 20 // bytes after which a start sets the log aside as <log>.old
	maxTail = 4 << 10  // bytes of log shown in an error
)

// child is a database process. One goroutine starts it and waits for it on one thread: the kernel's promise to signal
// the child at our death is bound to the thread that started it.
type child struct {
	cmd      *exec.Cmd
	logStart int64 // where this child's part of the log begins
	exited   chan struct{}
}

// startChild starts the command with its output appended to the log file.
func startChild(cmd *exec.Cmd, logFile string) (*child, error) {
	log, start, err := openLog(logFile)
	if err != nil {
		return nil, fmt.Errorf("open the log of postgres: %w", err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	c := &child{cmd: cmd, logStart: start, exited: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // the outcome is in ProcessState
			close(c.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// signal sends to a child that may have ended already, which is no error here.
func (c *child) signal(sig syscall.Signal) { _ = c.cmd.Process.Signal(sig) }

// ok and state may be asked only after exited was closed.
func (c *child) ok() bool      { return c.cmd.ProcessState.Success() }
func (c *child) state() string { return c.cmd.ProcessState.String() }

// openLog opens the log for appending and answers where it ends now.
func openLog(path string) (*os.File, int64, error) {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.Size() > maxLog:
		if err := os.Rename(path, path+".old"); err != nil {
			return nil, 0, err
		}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, 0, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, 0, err
	}
	if info, err = f.Stat(); err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// logTail is the end of the log since the offset, as a suffix for an error text, with the place of the whole.
func logTail(path string, from int64) string {
	data, err := readFrom(path, from)
	if err != nil || len(data) == 0 {
		return "; its log is " + path
	}
	return fmt.Sprintf("; the end of %s:\n%s", path, bytes.TrimSpace(data))
}

func readFrom(path string, from int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	from = max(from, info.Size()-maxTail)
	data := make([]byte, max(info.Size()-from, 0))
	n, err := f.ReadAt(data, from)
	return data[:n], err
}
