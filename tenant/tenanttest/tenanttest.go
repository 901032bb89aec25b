// Package tenanttest gives each test a database of its own: a clone of a
// template that was migrated once for all packages, on a server in memory.
// Tests connect as the roles of the running product, which row-level security
// binds; only white-box checks use the superuser.
package tenanttest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/guildhall-dev/guildhall/internal/pgembed"
	"github.com/guildhall-dev/guildhall/migrations"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Database is one test's database.
type Database struct {
	Name      string
	SuperURL  string // white-box checks only
	AppURL    string // guildhall_app
	WorkerURL string // guildhall_worker
}

// server finds TEST_DATABASE_URL (set by make test) or starts a private server
// that lives as long as the test binary.
var server = sync.OnceValues(func() (string, error) {
	if u := os.Getenv("TEST_DATABASE_URL"); u != "" {
		return u, nil
	}
	s, err := pgembed.StartTemp(context.Background(), pgembed.Config{Bin: os.Getenv("GUILDHALL_POSTGRES_BIN")})
	if err != nil {
		return "", err
	}
	return s.URL("postgres"), nil
})

var template = sync.OnceValues(func() (string, error) {
	super, err := server()
	if err != nil {
		return "", err
	}
	return makeTemplate(super)
})

// makeTemplate migrates a database named after the migrations' content, once
// per server, whoever comes first.
func makeTemplate(super string) (string, error) {
	ctx := context.Background()
	name := "gh_template_" + migrationsHash()
	conn, err := pgx.Connect(ctx, super)
	if err != nil {
		return "", fmt.Errorf("tenanttest: %w", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `select pg_advisory_lock(7301, 99)`); err != nil {
		return "", err
	}
	var ready bool
	if err := conn.QueryRow(ctx, `select exists (select from pg_database where datname = $1 and datistemplate)`, name).Scan(&ready); err != nil || ready {
		return name, err
	}
	if _, err := conn.Exec(ctx, `drop database if exists `+name); err != nil {
		return "", err
	}
	if _, err := conn.Exec(ctx, `create database `+name+` template template0 encoding 'UTF8'`); err != nil {
		return "", err
	}
	to := WithDatabase(super, name)
	if err := migrations.Bootstrap(ctx, to); err != nil {
		return "", err
	}
	if _, err := migrations.Up(ctx, to, slog.New(slog.DiscardHandler)); err != nil {
		return "", err
	}
	_, err = conn.Exec(ctx, `alter database `+name+` with is_template true allow_connections false`)
	return name, err
}

func migrationsHash() string {
	h := sha256.New()
	_ = fs.WalkDir(migrations.Files(), ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			b, _ := fs.ReadFile(migrations.Files(), p)
			fmt.Fprintf(h, "%s %d\n", p, len(b))
			h.Write(b)
		}
		return err
	})
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// New clones the template for the test and drops the clone at its end, after it
// has held the events that happened there against what was published of them.
func New(t testing.TB) Database {
	t.Helper()
	db, drop, err := Clone()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(drop)
	t.Cleanup(func() { checkEvents(t, db) })
	return db
}

// Clone is New for benchmarks and commands that have no test.
func Clone() (Database, func(), error) {
	tmpl, err := template()
	if err != nil {
		return Database{}, nil, err
	}
	super, err := server()
	if err != nil {
		return Database{}, nil, err
	}
	var raw [6]byte
	_, _ = rand.Read(raw[:])
	name := "gh_test_" + hex.EncodeToString(raw[:])
	ctx := context.Background()
	if err := exec(ctx, super, `create database `+name+` template `+tmpl+` strategy file_copy`); err != nil {
		return Database{}, nil, fmt.Errorf("tenanttest: clone: %w", err)
	}
	db := Database{Name: name, SuperURL: WithDatabase(super, name)}
	if db.AppURL, err = migrations.RoleURL(db.SuperURL, migrations.AppRole); err != nil {
		return Database{}, nil, err
	}
	if db.WorkerURL, err = migrations.RoleURL(db.SuperURL, migrations.WorkerRole); err != nil {
		return Database{}, nil, err
	}
	return db, func() {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		_ = exec(ctx, super, `drop database if exists `+name+` with (force)`)
	}, nil
}

func exec(ctx context.Context, dsn, sql string) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	return err
}

// Open opens the test's database as the application.
func (d Database) Open(t testing.TB) *tenant.DB {
	t.Helper()
	db, err := tenant.Open(context.Background(), tenant.Options{URL: d.AppURL, MaxConns: 8})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

// OpenWorker opens it as the worker.
func (d Database) OpenWorker(t testing.TB) *tenant.DB {
	t.Helper()
	db, err := tenant.Open(context.Background(), tenant.Options{URL: d.WorkerURL, MaxConns: 8})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

// WithDatabase replaces the database in a connection string of either form.
func WithDatabase(dsn, name string) string {
	if u, err := url.Parse(dsn); err == nil && strings.HasPrefix(u.Scheme, "postgres") {
		u.Path = "/" + name
		return u.String()
	}
	var kept []string
	for _, kv := range strings.Fields(dsn) {
		if !strings.HasPrefix(kv, "dbname=") && !strings.HasPrefix(kv, "database=") {
			kept = append(kept, kv)
		}
	}
	return strings.Join(append(kept, "dbname="+name), " ")
}
