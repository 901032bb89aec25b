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
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

//go:embed *.sql
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
// log-in must be able to act as guildhall_owner; see Bootstrap.
func Up(ctx context.Context, url string, log *slog.Logger) (Status, error) {
	db, err := open(ctx, url)
	if err != nil {
		return Status{}, err
	}
	defer db.Close()
	release, err := lock(ctx, db)
	if err != nil {
		return Status{}, err
	}
	defer release()
	if err := riverUp(ctx, db); err != nil {
		return Status{}, err
	}
	p, err := provider(db)
	if err != nil {
		return Status{}, err
	}
	results, err := p.Up(ctx)
	if err != nil {
		return Status{}, fmt.Errorf("migrations.Up: %w", err)
	}
	for _, r := range results {
		log.Info("migrated", "file", r.Source.Path, "took", r.Duration.Round(time.Millisecond))
	}
	if err := grantRiver(ctx, db); err != nil {
		return Status{}, err
	}
	return status(ctx, db, p)
}

// ReadStatus tells where the database stands, without changing it.
func ReadStatus(ctx context.Context, url string) (Status, error) {
	db, err := open(ctx, url)
	if err != nil {
		return Status{}, err
	}
	defer db.Close()
	p, err := provider(db)
	if err != nil {
		return Status{}, err
	}
	return status(ctx, db, p)
}

func provider(db *sql.DB) (*goose.Provider, error) {
	p, err := goose.NewProvider(goose.DialectPostgres, db, files)
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	return p, nil
}

func status(ctx context.Context, db *sql.DB, p *goose.Provider) (Status, error) {
	current, latest, err := p.GetVersions(ctx)
	if err != nil {
		return Status{}, fmt.Errorf("migrations: read the version: %w", err)
	}
	s := Status{Current: current, Latest: latest}
	err = db.QueryRowContext(ctx, `select coalesce(max(version), 0) from river.river_migration`).Scan(&s.River)
	return s, err
}

// open connects and becomes the owner, so that every object belongs to it.
func open(ctx context.Context, url string) (*sql.DB, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, errors.New("migrations: the database URL is not valid")
	}
	cfg.RuntimeParams["search_path"] = "guildhall"
	cfg.RuntimeParams["role"] = "guildhall_owner"
	cfg.RuntimeParams["application_name"] = "guildhall migrate"
	db := stdlib.OpenDB(*cfg)
	db.SetMaxOpenConns(2)
	if err := db.PingContext(ctx); err != nil {
		db.Close()
		return nil, fmt.Errorf("migrations: connect as guildhall_owner: %w", err)
	}
	return db, nil
}

// lock keeps two binaries from migrating one database at once.
func lock(ctx context.Context, db *sql.DB) (func(), error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	if _, err := conn.ExecContext(ctx, `select pg_advisory_lock(7301, 0)`); err != nil {
		conn.Close()
		return nil, fmt.Errorf("migrations: take the lock: %w", err)
	}
	return func() {
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), `select pg_advisory_unlock(7301, 0)`)
		conn.Close()
	}, nil
}

func riverUp(ctx context.Context, db *sql.DB) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Raw(func(driver any) error {
		url := driver.(*stdlib.Conn).Conn().Config().Copy()
		pool, err := poolOf(ctx, url)
		if err != nil {
			return err
		}
		defer pool.Close()
		m, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Schema: "river", Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return fmt.Errorf("migrations: River: %w", err)
		}
		_ = 0
		if _, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
			return fmt.Errorf("migrations: River: %w", err)
		}
		return nil
	})
}

// grantRiver lets serve insert jobs (the column grant is what an insert with
// ON CONFLICT asks for) and work do everything.
func grantRiver(ctx context.Context, db *sql.DB) error {
	const grants = `
		grant usage on schema river to guildhall_app, guildhall_worker;
		grant select, insert, update (kind) on river.river_job to guildhall_app;
		grant usage on all sequences in schema river to guildhall_app, guildhall_worker;
		grant select, insert, update, delete on all tables in schema river to guildhall_worker;
		grant select on river.river_migration to guildhall_app;
		grant select on goose_db_version to guildhall_app`
	if _, err := db.ExecContext(ctx, grants); err != nil {
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
