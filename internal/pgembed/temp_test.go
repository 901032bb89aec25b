package pgembed

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A temporary server leaves nothing, and the folders of dead ones are swept away while live ones stay.
func TestTemp(t *testing.T) {
	t.Parallel()
	s, err := StartTemp(testContext(t), Config{})
	if err != nil {
		t.Fatal(err)
	}
	if got := query(t, s.URL("postgres"), `show fsync`); got != "off" {
		t.Errorf("fsync = %q", got)
	}
	sweep(filepath.Dir(s.temp))
	if got := query(t, s.URL("postgres"), `select 'alive'`); got != "alive" {
		t.Errorf("after a sweep: %q", got)
	}
	mustStop(t, s)
	if _, err := os.Stat(s.temp); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is left behind: %v", err)
	}

	parent := t.TempDir()
	dead, fresh := filepath.Join(parent, tempPrefix+"dead"), filepath.Join(parent, tempPrefix+"fresh")
	for _, dir := range []string{dead, fresh} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dead, lockName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	sweep(parent)
	left, err := os.ReadDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 1 || left[0].Name() != filepath.Base(fresh) {
		t.Errorf("left after the sweep: %v", left)
	}
}

// The place of the socket is not shared with whatever else goes by its name.
func TestClaimDirRefusesStrangers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "socket")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := claimDir(path, account{uid: os.Geteuid(), gid: os.Getegid()}); err == nil {
		t.Error("a file passed for the socket's folder")
	}
	open := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := claimDir(open, account{uid: os.Geteuid(), gid: os.Getegid()}); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(open); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder stays open to others: %v, %v", info, err)
	}
}
