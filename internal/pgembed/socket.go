package pgembed

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// maxSocketPath is the longest path, in bytes, that every supported system takes for a Unix socket.
const maxSocketPath = 103

func socketPath(dir string) string { return filepath.Join(dir, ".s.PGSQL."+strconv.Itoa(port)) }

// socketName is the name of the folder for the socket of a data folder: always the same, so that what a killed server
// left there is found again.
func socketName(dataDir string) string {
	sum := sha256.Sum256([]byte(dataDir))
	return fmt.Sprintf("guildhall-%x", sum[:6])
}

// socketParents lists where the folder may be. It cannot be within the data folder, whose path may be too long.
func socketParents() []string {
	if os.Geteuid() == 0 {
		return []string{"/run", os.TempDir(), "/tmp"} // the server's user can pass through each
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return []string{dir, os.TempDir(), "/tmp"}
	}
	return []string{os.TempDir(), "/tmp"}
}

// makeSocketDir makes the folder for the socket, or takes the one of a former start, so that only the account can
// enter it.
func makeSocketDir(dataDir string, acct account) (string, error) {
	var problems []error
	for _, parent := range socketParents() {
		dir := filepath.Join(parent, socketName(dataDir))
		if len(socketPath(dir)) > maxSocketPath {
			problems = append(problems, fmt.Errorf("%s is too long for a socket", dir))
			continue
		}
		err := claimDir(dir, acct)
		if err == nil {
			return dir, nil
		}
		problems = append(problems, err)
	}
	return "", fmt.Errorf("no folder for the database's socket: %w", errors.Join(problems...))
}

// claimDir refuses a folder that somebody else put there: whoever owns it could answer in the server's place. A folder
// of our own with the wrong owner or mode is made anew, which cannot be led astray as a change in place could.
func claimDir(dir string, acct account) error {
	for _, last := range []bool{false, true} {
		err := os.Mkdir(dir, 0o700)
		if err == nil {
			return acct.own(dir)
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		info, err := os.Lstat(dir)
		if err != nil {
			return err
		}
		owner := int(info.Sys().(*syscall.Stat_t).Uid)
		if info.IsDir() && owner == acct.uid && info.Mode().Perm() == 0o700 {
			return nil
		}
		if !info.IsDir() || last || (owner != os.Geteuid() && owner != acct.uid && os.Geteuid() != 0) {
			return fmt.Errorf("%s is there already and belongs to user %d", dir, owner)
		}
		removeSocketDir(dir)
	}
	return nil
}

// removeSocketDir clears away the folder of a server that has ended. What is left behind is taken up by the next start.
func removeSocketDir(dir string) {
	for _, path := range []string{socketPath(dir), socketPath(dir) + ".lock", dir} {
		_ = os.Remove(path)
	}
}
