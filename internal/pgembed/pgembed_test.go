package pgembed

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// TestMain lets the test binary also be the parent process that a test kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(parentVariable); dir != "" {
		beParent(dir)
		return
	}
	os.Exit(m.Run())
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// installations lists what this machine has, one per major version, the pinned one first.
func installations(t *testing.T) []Binaries {
	t.Helper()
	var list []Binaries
	seen := map[int]bool{}
	places := packagePlaces(t.TempDir())
	if len(places) == 0 {
		t.Fatal("the pinned package is missing: run npm install in the repository")
	}
	for _, dir := range installedPlaces() {
		places = append(places, place{dir, "installed"})
	}
	for _, p := range places {
		b, err := inspect(testContext(t), p.dir, p.source)
		if err == nil && !seen[b.Major] {
			seen[b.Major] = true
			list = append(list, b)
		}
	}
	return list
}

// dataDir makes a folder that the server's own user can pass through, or, as under a superuser's home, cannot.
func dataDir(t *testing.T, open bool) string {
	t.Helper()
	dir, err := os.MkdirTemp(tempParent(), "pgembed-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeTemp(dir) })
	if open {
		if err := os.Chmod(dir, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func mustStart(t *testing.T, cfg Config) *Server {
	t.Helper()
	s, err := Start(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mustStop(t, s) })
	return s
}

func mustStop(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// query answers the one text that the statement yields.
func query(t *testing.T, url, sql string) string {
	t.Helper()
	ctx := testContext(t)
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var s string
	if err := conn.QueryRow(ctx, sql).Scan(&s); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return s
}

// execute runs statements that yield nothing.
func execute(t *testing.T, url, sql string) {
	t.Helper()
	ctx := testContext(t)
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// keepRow commits what wantRow looks for after a restart.
func keepRow(t *testing.T, url string) {
	t.Helper()
	execute(t, url, `create table kept (word text); insert into kept values ('żółw')`)
}

func wantRow(t *testing.T, s *Server) {
	t.Helper()
	if got := query(t, s.URL("postgres"), "select word from kept"); got != "żółw" {
		t.Errorf("the row kept over the restart reads %q", got)
	}
}

func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ctx := testContext(t); !cond(); {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain until %s", what)
		case <-tick.C:
		}
	}
}

// A cluster is created once, is private, knows letters beyond ASCII, and keeps its data: with every installed version,
// and whether or not the server's own user can reach the folder.
func TestStartStopStart(t *testing.T) {
	t.Parallel()
	for _, bins := range installations(t) {
		for _, open := range []bool{true, false} {
			t.Run(strconv.Itoa(bins.Major)+"/open="+strconv.FormatBool(open), func(t *testing.T) {
				t.Parallel()
				created := 0
				cfg := Config{DataDir: dataDir(t, open), Bin: bins.Dir, Progress: func(string) { created++ }}
				s := mustStart(t, cfg)
				if s.Major() != bins.Major || s.Version() != bins.Version {
					t.Errorf("started %s (%d), want %s", s.Version(), s.Major(), bins.Version)
				}
				checkServer(t, s)
				keepRow(t, s.URL("postgres"))
				socketDir := s.socketDir
				mustStop(t, s)
				select {
				case <-s.Done():
				default:
					t.Error("Done is open after Stop")
				}
				if err := s.Err(); err != nil {
					t.Errorf("Err after Stop: %v", err)
				}
				if _, err := os.Stat(socketDir); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("the socket folder is left behind: %v", err)
				}

				begin := time.Now()
				again := mustStart(t, cfg)
				t.Logf("warm start took %s", time.Since(begin))
				wantRow(t, again)
				if created != 1 {
					t.Errorf("told of %d creations, want 1", created)
				}
			})
		}
	}
}

func checkServer(t *testing.T, s *Server) {
	t.Helper()
	for sql, want := range map[string]string{
		`show listen_addresses`:                      "",
		`show timezone`:                              "UTC",
		`show fsync`:                                 "on",
		`show data_checksums`:                        "on",
		`show server_encoding`:                       "UTF8",
		`show password_encryption`:                   "scram-sha-256",
		`select lower('ŻÓŁW')`:                       "żółw",
		`select to_tsvector('simple', 'ŻÓŁW')::text`: "'żółw':1",
		`select string_agg(distinct auth_method, ' ') from pg_hba_file_rules`: "scram-sha-256",
	} {
		if got := query(t, s.URL("postgres"), sql); got != want {
			t.Errorf("%s = %q, want %q", sql, got, want)
		}
	}
	if conn, err := pgx.Connect(testContext(t), s.URLFor("postgres", "wrong", "postgres")); err == nil {
		conn.Close(context.Background())
		t.Error("a wrong password is accepted")
	}
	for path, want := range map[string]os.FileMode{
		s.socketDir: 0o700,
		filepath.Join(clusterDir(filepath.Dir(s.logFile), s.Major()), passwordName): 0o600,
		s.logFile: 0o600,
	} {
		info, err := os.Stat(path)
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
		}
	}
}

// A role that is not a superuser connects with a password of its own.
func TestURLFor(t *testing.T) {
	t.Parallel()
	s := mustStart(t, Config{DataDir: dataDir(t, true), Ephemeral: true})
	execute(t, s.URL("postgres"), `create role app login nosuperuser password 'p@ss/w:rd?'`)
	execute(t, s.URL("postgres"), `create database "shop/1"`)
	if got := query(t, s.URLFor("app", "p@ss/w:rd?", "shop/1"), `select current_user || ' ' || current_database()`); got != "app shop/1" {
		t.Errorf("connected as %q", got)
	}
	for sql, want := range map[string]string{`show fsync`: "off", `show max_connections`: "200", `show autovacuum`: "off"} {
		if got := query(t, s.URL("postgres"), sql); got != want {
			t.Errorf("%s = %q, want %q", sql, got, want)
		}
	}
}

// The caller's settings win over the defaults, and cannot open the server to a network.
func TestSettings(t *testing.T) {
	t.Parallel()
	s := mustStart(t, Config{DataDir: dataDir(t, true), Ephemeral: true, Settings: map[string]string{
		"work_mem": "7MB", "max_connections": "33", "listen_addresses": "127.0.0.1",
	}})
	for sql, want := range map[string]string{`show work_mem`: "7MB", `show max_connections`: "33", `show listen_addresses`: ""} {
		if got := query(t, s.URL("postgres"), sql); got != want {
			t.Errorf("%s = %q, want %q", sql, got, want)
		}
	}
}

// A failed start shows what the server wrote, and leaves the folder free for the next one.
func TestFailedStartTellsWhy(t *testing.T) {
	t.Parallel()
	cfg := Config{DataDir: dataDir(t, true), Ephemeral: true, Settings: map[string]string{"work_mem": "plenty"}}
	_, err := Start(testContext(t), cfg)
	if err == nil || !strings.Contains(err.Error(), `"work_mem": "plenty"`) {
		t.Fatalf("the error does not carry the log: %v", err)
	}
	cfg.Settings = nil
	mustStart(t, cfg)
}

// A second server on the folder is refused at once, with the folder and the holder named.
func TestSecondStartIsRefused(t *testing.T) {
	t.Parallel()
	cfg := Config{DataDir: dataDir(t, true), Ephemeral: true}
	s := mustStart(t, cfg)
	_, err := Start(testContext(t), cfg)
	if !errors.Is(err, ErrInUse) {
		t.Fatalf("second start: %v", err)
	}
	for _, want := range []string{cfg.DataDir, strconv.Itoa(os.Getpid())} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
	mustStop(t, s)
	mustStart(t, cfg)
}

// When the context of a Stop is over, the server is ended the hard way and the data survives.
func TestStopWithoutTime(t *testing.T) {
	t.Parallel()
	cfg := Config{DataDir: dataDir(t, true)}
	s := mustStart(t, cfg)
	keepRow(t, s.URL("postgres"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Stop(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Stop: %v", err)
	}
	<-s.Done()
	wantRow(t, mustStart(t, cfg))
}

// A start that was cut short leaves the next one unharmed.
func TestHalfMadeClusterIsMadeAnew(t *testing.T) {
	t.Parallel()
	cfg := Config{DataDir: dataDir(t, true), Ephemeral: true}
	bins, err := Find(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	half := clusterDir(cfg.DataDir, bins.Major) + ".new"
	if err := os.MkdirAll(filepath.Join(half, "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(half, "PG_VERSION"), []byte("17\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(testContext(t))
	cfg.Progress = func(string) { cancel() } // the creation has begun
	if _, err := Start(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Fatalf("Start with a context that ends: %v", err)
	}
	cfg.Progress = nil
	mustStart(t, cfg)
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the half-made cluster is left behind: %v", err)
	}
}

// The account follows the folder's reach, and the cluster's files follow the account.
func TestAccountMayChange(t *testing.T) {
	t.Parallel()
	cfg := Config{DataDir: dataDir(t, true)}
	s := mustStart(t, cfg)
	keepRow(t, s.URL("postgres"))
	mustStop(t, s)
	for _, mode := range []os.FileMode{0o700, 0o711} {
		if err := os.Chmod(cfg.DataDir, mode); err != nil {
			t.Fatal(err)
		}
		s := mustStart(t, cfg)
		wantRow(t, s)
		info, err := os.Stat(clusterDir(cfg.DataDir, s.Major()))
		if err != nil {
			t.Fatal(err)
		}
		owner := int(info.Sys().(*syscall.Stat_t).Uid)
		if dropped := owner != os.Geteuid(); dropped != (os.Geteuid() == 0 && mode == 0o711) {
			t.Errorf("with mode %o the cluster belongs to user %d", mode, owner)
		}
		mustStop(t, s)
	}
}
