package pgembed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Binaries is one usable set of server programs.
type Binaries struct {
	Dir     string // folder that holds postgres and initdb
	Major   int    // such as 17
	Version string // such as "17.10"
	Source  string // for people: "setting", "npm package", "npm package in the data folder" or "installed"
}

// Find looks for the server's programs, in this order: the folder Config.Bin; the pinned npm package in node_modules of
// the repository that holds the working folder or the executable; the same package in DataDir/postgres, fetched there
// when AllowInstall is set and npm exists; an installed PostgreSQL, highest version first. When DataDir already holds a
// cluster, binaries of its major version go before all others, so that an added or lost package never hides the data.
// The error names the commands that mend the lack.
func Find(ctx context.Context, cfg Config) (Binaries, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return Binaries{}, fmt.Errorf("pgembed.Find: %w", err)
	}
	if cfg.Bin != "" {
		b, err := inspect(ctx, cfg.Bin, "setting")
		if err != nil {
			return Binaries{}, fmt.Errorf("pgembed.Find: the folder set for the PostgreSQL binaries: %w", err)
		}
		return b, nil
	}
	have := newestCluster(cfg.DataDir)
	var misfit []Binaries
	var problems []error
	try := func(dir, source string) (Binaries, bool) {
		b, err := inspect(ctx, dir, source)
		if err != nil {
			problems = append(problems, err)
			return b, false
		}
		if have != 0 && b.Major != have {
			misfit = append(misfit, b)
			return b, false
		}
		return b, true
	}
	for _, p := range packagePlaces(cfg.DataDir) {
		if b, ok := try(p.dir, p.source); ok {
			return b, nil
		}
	}
	if cfg.AllowInstall && (have == 0 || have == pinnedMajor) {
		if dir, err := installPackage(ctx, cfg, "npm"); err != nil {
			problems = append(problems, err)
			cfg.Log.Warn("private postgres: the pinned package could not be installed", "error", err)
		} else if b, ok := try(dir, sourceDataDir); ok {
			return b, nil
		}
	}
	for _, dir := range installedPlaces() {
		if b, ok := try(dir, "installed"); ok {
			return b, nil
		}
	}
	if len(misfit) > 0 {
		return misfit[0], nil // Start explains why these cannot be used
	}
	return Binaries{}, notFound(cfg, problems)
}

func notFound(cfg Config, problems []error) error {
	text := fmt.Sprintf("no PostgreSQL was found. Install the pinned one with\n"+
		"\tnpm install --prefix %s %s\n"+
		"or the system's own (%d or newer) with\n"+
		"\tapt-get install postgresql    (macOS: brew install postgresql@17)\n"+
		"or name a folder that holds postgres and initdb in GUILDHALL_POSTGRES_BIN",
		filepath.Join(cfg.DataDir, "postgres"), packageName()+"@"+pinnedVersion, MinMajor)
	if len(problems) > 0 {
		text += "\nwhat was tried: "
	}
	return fmt.Errorf("pgembed.Find: %s%w", text, errors.Join(problems...))
}

// place is a folder that may hold the programs.
type place struct{ dir, source string }

// installedPlaces lists where package managers put PostgreSQL, highest version first, then what PATH leads to.
func installedPlaces() []string {
	var dirs []string
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",
		"/usr/pgsql-*/bin",
		"/opt/homebrew/opt/postgresql@*/bin",
		"/usr/local/opt/postgresql@*/bin",
	} {
		found, _ := filepath.Glob(pattern) // the only error is a bad pattern
		dirs = append(dirs, found...)
	}
	slices.SortStableFunc(dirs, func(a, b string) int { return numberIn(b) - numberIn(a) })
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	return slices.DeleteFunc(dirs, func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, "postgres"))
		return err != nil
	})
}

// numberIn is the version that the name of the folder above bin ends with, 0 when there is none.
func numberIn(dir string) int {
	name := filepath.Base(filepath.Dir(dir))
	n, _ := strconv.Atoi(name[strings.LastIndexAny(name, "-@")+1:])
	return n
}

// versionLine is what "postgres -V" prints: "postgres (PostgreSQL) 17.10 (Debian …)", or "18beta1" before a release.
func versionLine() *regexp.Regexp {
	return regexp.MustCompile(`^postgres \(PostgreSQL\) ((\d+)\S*)`)
}

// inspect proves that the folder's programs run on this machine and reads their version.
func inspect(ctx context.Context, dir, source string) (Binaries, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Binaries{}, err
	}
	if err := repairLinks(filepath.Dir(filepath.Dir(dir))); err != nil {
		return Binaries{}, err
	}
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return Binaries{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "-V")
	cmd.Env = childEnv()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return Binaries{}, fmt.Errorf("%s -V: %w %s", cmd.Path, err, bytes.TrimSpace(stderr.Bytes()))
	}
	m := versionLine().FindStringSubmatch(string(out))
	if m == nil {
		return Binaries{}, fmt.Errorf("%s -V: unexpected answer %q", cmd.Path, out)
	}
	major, err := strconv.Atoi(m[2])
	if err != nil {
		return Binaries{}, fmt.Errorf("%s -V: %w", cmd.Path, err)
	}
	if major < MinMajor {
		return Binaries{}, fmt.Errorf("%s is version %s: %d or newer is needed", dir, m[1], MinMajor)
	}
	return Binaries{Dir: dir, Major: major, Version: m[1], Source: source}, nil
}
