package migrations_test

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/guildhall-dev/guildhall/internal/pgembed"
	"github.com/guildhall-dev/guildhall/migrations"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/tenant/tenanttest"
)

func TestFilesAreOneLineForward(t *testing.T) {
	t.Parallel()
	names, err := fs.Glob(migrations.Files(), "*")
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		if !regexp.MustCompile(`^\d{4}_[a-z_]+\.sql$`).MatchString(name) || !strings.HasPrefix(name, fmt.Sprintf("%04d_", i+1)) {
			t.Errorf("%s: number %d of the line is named %04d_<what>.sql; renumber yours, since those before it may have run somewhere", name, i+1, i+1)
		}
		text, err := fs.ReadFile(migrations.Files(), name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(text), "-- ") {
			t.Errorf("%s: say in the first line what it is for", name)
		}
		if !strings.Contains(string(text), "-- +goose Up\n") || strings.Contains(string(text), "+goose Down") {
			t.Errorf("%s: a migration has one direction; write -- +goose Up and no Down", name)
		}
	}
	if got := migrations.Latest(); got != int64(len(names)) {
		t.Errorf("Latest() is %d of %d files", got, len(names))
	}
	onDisk, err := filepath.Glob("*.sql")
	if err != nil || len(onDisk) != len(names)+1 {
		t.Errorf("%d SQL files, of which %d are embedded; only %s is not (%v)", len(onDisk), len(names), golden, err)
	}
}

// The oldest Postgres that is promised comes from Debian's package, the usual
// one from npm. Roles belong to a whole server, so each has one to itself.
func TestOnEachPostgres(t *testing.T) {
	t.Parallel()
	for name, bin := range map[string]string{"pinned": "", "oldest": "/usr/lib/postgresql/15/bin"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if bin != "" {
				if _, err := os.Stat(filepath.Join(bin, "postgres")); err != nil {
					t.Skipf("Debian's postgresql-15 is not installed here: %v", err)
				}
			}
			s := newServer(t, bin)
			t.Logf("Postgres %s", s.Version())
			t.Run("an administrator who is no superuser", s.administrator)
			t.Run("a log-in without rights", s.withoutRights)
			t.Run("the operator's own passwords", s.ownPasswords)
			t.Run("many at once", s.atOnce)
		})
	}
}

type server struct{ *pgembed.Server }

func newServer(t *testing.T, bin string) server {
	t.Helper()
	ctx := context.Background()
	s, err := pgembed.StartTemp(ctx, pgembed.Config{Bin: bin})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return server{s}
}

func execAs(t *testing.T, url, sql string) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, one := range strings.Split(sql, "\n;;\n") {
		if _, err := conn.Exec(ctx, one); err != nil {
			t.Fatalf("%s: %v", one, err)
		}
	}
}

// up migrates twice: the second time finds nothing to do and changes nothing.
func up(t *testing.T, url string) {
	t.Helper()
	ctx := context.Background()
	var log strings.Builder
	var first migrations.Status
	for range 2 {
		log.Reset()
		st, err := migrations.Up(ctx, url, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		if st.Pending() || st.Current != migrations.Latest() || st.River == 0 {
			t.Fatalf("after Up: %+v", st)
		}
		if first = st; log.Len() == 0 {
			break
		}
	}
	if log.Len() > 0 {
		t.Fatalf("the second Up ran something:\n%s", log.String())
	}
	read, err := migrations.ReadStatus(ctx, url)
	if err != nil || read != first {
		t.Fatalf("status: %+v (%v), want %+v", read, err, first)
	}
}

// works logs in as the product does and reads as it does.
func works(t *testing.T, url string) {
	t.Helper()
	ctx := context.Background()
	db, err := tenant.Open(ctx, tenant.Options{URL: url, MaxConns: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if n, err := tenant.Value[int](ctx, db.Global(), `select event_partitions_ahead()`); err != nil || n < 2 {
		t.Fatalf("%d partitions ahead: %v", n, err)
	}
	if _, err := tenant.Value[int](ctx, db.Global(), `select count(*) from organizations`); err == nil {
		t.Fatal("a tenant table answers without a tenant")
	}
}

func (s server) administrator(t *testing.T) {
	ctx := context.Background()
	execAs(t, s.URL("postgres"), "create role boss login createrole password 'b'\n;;\ncreate database managed owner boss template template0 encoding 'UTF8'")
	url := s.URLFor("boss", "b", "managed")
	for range 2 {
		if err := migrations.Bootstrap(ctx, url); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := migrations.ReadStatus(ctx, url); err != nil || !st.Pending() || st.Current != 0 {
		t.Fatalf("before Up: %+v, %v", st, err)
	}
	up(t, url)
	for _, role := range []string{migrations.AppRole, migrations.WorkerRole} {
		roleURL, err := migrations.RoleURL(url, role)
		if err != nil {
			t.Fatal(err)
		}
		works(t, roleURL)
	}
	got, err := migrations.Schema(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	sameAsGolden(t, got)
}

// The error's statements, run as they are, are all that was missing.
func (s server) withoutRights(t *testing.T) {
	ctx := context.Background()
	execAs(t, s.URL("postgres"), "create role clerk login password 'c'\n;;\ncreate database given template template0 encoding 'UTF8'")
	url := s.URLFor("clerk", "c", "given")
	err := migrations.Bootstrap(ctx, url)
	if check := migrations.Check(ctx, url); err == nil || check == nil {
		t.Fatalf("a log-in without rights: %v, %v", err, check)
	}
	text, sql, found := strings.Cut(err.Error(), ":\n\n")
	for _, word := range []string{`"clerk"`, "GUILDHALL_DATABASE_ADMIN_URL", "GUILDHALL_DATABASE_URL", "guildhall_worker"} {
		if !found || !strings.Contains(text, word) {
			t.Errorf("%q is not in: %v", word, err)
		}
	}
	execAs(t, s.URL("given"), sql)
	if err := migrations.BootstrapRoles(ctx, url); err != nil {
		t.Fatal(err)
	}
	worker := s.URLFor(migrations.WorkerRole, "choose-another", "given")
	if err := migrations.Check(ctx, worker); err == nil || !strings.Contains(err.Error(), "guildhall migrate up") {
		t.Errorf("before Up: %v", err)
	}
	up(t, url)
	if err := migrations.Check(ctx, worker); err != nil {
		t.Error(err)
	}
	works(t, worker)
	works(t, s.URLFor(migrations.AppRole, "choose-a-password", "given"))
	if _, err := tenant.Open(ctx, tenant.Options{URL: url}); err == nil {
		t.Error("the log-in that migrates may serve")
	}
}

func (s server) ownPasswords(t *testing.T) {
	execAs(t, s.URL("postgres"), "alter role guildhall_worker password 'mine'")
	if err := migrations.BootstrapRoles(context.Background(), s.URL("given")); err != nil {
		t.Fatal(err)
	}
	works(t, s.URLFor(migrations.WorkerRole, "mine", "given"))
}

// Replicas that start at once meet on the database's lock; two databases of
// one server share the roles.
func (s server) atOnce(t *testing.T) {
	execAs(t, s.URL("postgres"), "create database one template template0 encoding 'UTF8'\n;;\ncreate database two template template0 encoding 'UTF8'")
	ctx := context.Background()
	var g errgroup.Group
	for i := range 8 {
		url := s.URL([]string{"one", "two"}[i%2])
		g.Go(func() error {
			if err := migrations.Bootstrap(ctx, url); err != nil {
				return err
			}
			_, err := migrations.Up(ctx, url, slog.New(slog.DiscardHandler))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	up(t, tenanttest.WithDatabase(s.URL("postgres"), "two"))
}
