// Package migrations holds the one numbered line of SQL for the whole product
// and runs it: gapless, forward only, under a lock, each safe before and after
// a deploy. It also makes the database's roles, because isolation rests on
// them: guildhall_owner owns everything and nobody logs in as it,
// guildhall_app (serve) and guildhall_worker (work) are bound by row-level
// security, guildhall_platform owns the few functions that look across
// organisations.
package migrations

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

//go:embed [0-9]*.sql
var files embed.FS

// Files returns the migrations themselves.
func Files() fs.FS { return files }

// Status is where a database stands.
type Status struct {
	Current int64 // last applied, 0 when new
	Latest  int64 // of this binary
	River   int   // River's own line
}

// Pending reports whether Up has something to do.
func (s Status) Pending() bool { return s.Current < s.Latest }

// Up brings the database to this binary's version. The connection string's
// log-in must be able to act as guildhall_owner; see Bootstrap. Where several
// call it at once, one works and the others find it done.
func Up(ctx context.Context, url string, log *slog.Logger) (Status, error) {
	pool, err := open(ctx, url)
	if err != nil {
		return Status{}, err
	}
	defer pool.Close()
	release, err := lock(ctx, pool)
	if err != nil {
		return Status{}, err
	}
	defer release()
	if err := riverUp(ctx, pool); err != nil {
		return Status{}, err
	}
	p, err := provider(pool)
	if err != nil {
		return Status{}, err
	}
	defer p.Close()
	results, err := p.Up(ctx)
	if err != nil {
		return Status{}, fmt.Errorf("migrations.Up: %w", err)
	}
	for _, r := range results {
		log.Info("migrated", "file", r.Source.Path, "took", r.Duration.Round(time.Millisecond))
	}
	if err := grantRiver(ctx, pool); err != nil {
		return Status{}, err
	}
	return status(ctx, pool, p)
}

// ReadStatus tells where the database stands; one that was never migrated is
// at 0. The log-in must be able to act as guildhall_owner.
func ReadStatus(ctx context.Context, url string) (Status, error) {
	pool, err := open(ctx, url)
	if err != nil {
		return Status{}, err
	}
	defer pool.Close()
	var migrated bool
	if err := pool.QueryRow(ctx, `select to_regclass('guildhall.goose_db_version') is not null`).Scan(&migrated); err != nil {
		return Status{}, fmt.Errorf("migrations.ReadStatus: %w", err)
	}
	if !migrated { // to ask goose would make its table
		return Status{Latest: Latest()}, nil
	}
	p, err := provider(pool)
	if err != nil {
		return Status{}, err
	}
	defer p.Close()
	return status(ctx, pool, p)
}

// provider is goose on the pool; closing it leaves the pool open.
func provider(pool *pgxpool.Pool) (*goose.Provider, error) {
	p, err := goose.NewProvider(goose.DialectPostgres, stdlib.OpenDBFromPool(pool), files)
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	return p, nil
}

func status(ctx context.Context, pool *pgxpool.Pool, p *goose.Provider) (Status, error) {
	current, latest, err := p.GetVersions(ctx)
	if err != nil {
		return Status{}, fmt.Errorf("migrations: read the version: %w", err)
	}
	s := Status{Current: current, Latest: latest}
	err = pool.QueryRow(ctx, `select coalesce(max(version), 0) from river.river_migration`).Scan(&s.River)
	if err != nil {
		return Status{}, fmt.Errorf("migrations: read River's version: %w", err)
	}
	return s, nil
}

// open connects and becomes the owner, so that every object belongs to it.
func open(ctx context.Context, url string) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New("migrations: the database URL is not valid")
	}
	cfg.MaxConns = 3 // the lock, goose or River, and one to spare
	cfg.ConnConfig.RuntimeParams["search_path"] = "guildhall"
	cfg.ConnConfig.RuntimeParams["role"] = "guildhall_owner"
	cfg.ConnConfig.RuntimeParams["application_name"] = "guildhall migrate"
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("migrations: connect as guildhall_owner: %w", err)
	}
	return pool, nil
}

// lock keeps two binaries from migrating one database at once. It belongs to a
// connection of its own, whose end frees it, whatever happens to this process.
func lock(ctx context.Context, pool *pgxpool.Pool) (func(), error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	own := conn.Hijack()
	release := func() { _ = own.Close(context.WithoutCancel(ctx)) }
	if _, err := own.Exec(ctx, takeLock); err != nil {
		release()
		return nil, fmt.Errorf("migrations: take the lock: %w", err)
	}
	return release, nil
}

const takeLock = `select pg_advisory_lock(7301, 0)`

func riverUp(ctx context.Context, pool *pgxpool.Pool) error {
	m, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Schema: "river", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return fmt.Errorf("migrations: River: %w", err)
	}
	if _, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("migrations: River: %w", err)
	}
	return nil
}

// grantRiver lets serve insert jobs (the column grant is what an insert with
// ON CONFLICT asks for) and work do everything.
func grantRiver(ctx context.Context, pool *pgxpool.Pool) error {
	const grants = `
		grant usage on schema river to guildhall_app, guildhall_worker;
		grant select, insert, update (kind) on river.river_job to guildhall_app;
		grant usage on all sequences in schema river to guildhall_app, guildhall_worker;
		grant select, insert, update, delete on all tables in schema river to guildhall_worker;
		grant select on river.river_migration to guildhall_app;
		grant select on goose_db_version to guildhall_app`
	if _, err := pool.Exec(ctx, grants); err != nil {
		return fmt.Errorf("migrations: grant River's tables: %w", err)
	}
	return nil
}

// Latest is the number of the newest migration in this binary.
func Latest() int64 {
	names, _ := fs.Glob(files, "*.sql")
	var latest int64
	for _, n := range names {
		var v int64
		if _, err := fmt.Sscanf(n, "%d_", &v); err == nil {
			latest = max(latest, v)
		}
	}
	return latest
}
