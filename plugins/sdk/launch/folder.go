package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// folder is the private folder of a process:
//
//	files/     Command.Files and the working directory, read-only
//	tmp/       HOME and TMPDIR, the only place that the plugin may write
//	run/       where it makes its socket
//	host.sock  the Host
//
// With an account of its own, the plugin owns tmp and run and may only pass
// through the rest.
type folder struct {
	path, files, tmp, run, hostSocket string
}

func newFolder(s *Spec, uid int, dedicated bool) (_ *folder, err error) {
	path := s.Dir
	if path == "" {
		path, err = os.MkdirTemp("", "gh-")
	} else {
		err = os.Mkdir(path, 0o700)
	}
	if err != nil {
		return nil, err
	}
	f := &folder{path: path}
	defer func() {
		if err != nil {
			f.remove()
		}
	}()
	if f.path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	if len(f.path) > maxDir {
		return nil, fmt.Errorf("the path %s has more than %d bytes, too long for sockets in it", f.path, maxDir)
	}
	f.files, f.tmp = filepath.Join(f.path, "files"), filepath.Join(f.path, "tmp")
	f.run, f.hostSocket = filepath.Join(f.path, "run"), filepath.Join(f.path, "host.sock")
	for _, d := range []string{f.files, f.tmp, f.run} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return nil, err
		}
	}
	for name, content := range s.Command.Files {
		if err := f.write(name, content); err != nil {
			return nil, err
		}
	}
	if dedicated {
		if err := errors.Join(os.Chown(f.tmp, uid, uid), os.Chown(f.run, uid, uid),
			os.Chown(f.path, -1, uid), os.Chmod(f.path, 0o710), passable(f.path, uid)); err != nil {
			return nil, err
		}
	}
	return f, os.Chmod(f.files, 0o555)
}

func (f *folder) write(name string, content []byte) error {
	path := filepath.Join(f.files, name)
	for d := filepath.Dir(path); d != f.files; d = filepath.Dir(d) {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	for d := filepath.Dir(path); d != f.files; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil { // whatever the host's umask is
			return err
		}
	}
	return errors.Join(os.WriteFile(path, content, 0o444), os.Chmod(path, 0o444))
}

// remove is best effort: the plugin may still be dying.
func (f *folder) remove() {
	_ = os.Chmod(f.files, 0o700)
	_ = os.RemoveAll(f.path)
}
