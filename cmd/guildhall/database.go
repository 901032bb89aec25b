package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/guildhall-dev/guildhall/internal/config"
	"github.com/guildhall-dev/guildhall/internal/pgembed"
	"github.com/guildhall-dev/guildhall/migrations"
)

// database is a migrated database and how to log in to it.
type database struct {
	private   *pgembed.Server // nil when it is somebody else's
	adminURL  string          // may migrate; "" where nobody here may
	appURL    string          // serve
	workerURL string          // work
}

// openDatabase starts the private Postgres or reaches the given one.
func openDatabase(ctx context.Context, cfg config.Config, log *slog.Logger, progress func(string)) (*database, error) {
	if cfg.DatabaseURL != "" {
		return reachDatabase(ctx, cfg)
	}
	srv, err := pgembed.Start(ctx, pgembed.Config{
		DataDir: cfg.DataDir, Bin: cfg.PostgresBin, Log: log, Progress: progress, AllowInstall: true,
	})
	if err != nil {
		return nil, err
	}
	d := &database{private: srv, adminURL: srv.URL("guildhall")}
	if err := createDatabase(ctx, srv.URL("postgres")); err != nil {
		return nil, errors.Join(err, d.close())
	}
	if err := d.derive(); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func createDatabase(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("reach the private Postgres: %w", err)
	}
	defer conn.Close(ctx)
	var there bool
	if err := conn.QueryRow(ctx, `select exists (select from pg_database where datname = 'guildhall')`).Scan(&there); err != nil || there {
		return err
	}
	_, err = conn.Exec(ctx, `create database guildhall template template0 encoding 'UTF8'`)
	return err
}

// reachDatabase decides what the given log-ins are for: one that may make
// roles gets the product's own log-ins derived from it; one that is itself
// restricted runs the product as it is.
func reachDatabase(ctx context.Context, cfg config.Config) (*database, error) {
	if cfg.DatabaseAdminURL != "" {
		return &database{adminURL: cfg.DatabaseAdminURL, appURL: cfg.DatabaseURL, workerURL: cfg.DatabaseURL}, nil
	}
	conn, err := pgx.Connect(ctx, cfg.DatabaseURL)
	if err != nil {
		return nil, fmt.Errorf("reach the database of GUILDHALL_DATABASE_URL: %w", err)
	}
	defer conn.Close(ctx)
	var mayMakeRoles bool
	if err := conn.QueryRow(ctx, `select rolsuper or rolcreaterole from pg_roles where rolname = current_user`).Scan(&mayMakeRoles); err != nil {
		return nil, fmt.Errorf("read the log-in's rights: %w", err)
	}
	d := &database{appURL: cfg.DatabaseURL, workerURL: cfg.DatabaseURL}
	if mayMakeRoles {
		d.adminURL = cfg.DatabaseURL
		return d, d.derive()
	}
	return d, nil
}

func (d *database) derive() (err error) {
	if d.appURL, err = migrations.RoleURL(d.adminURL, migrations.AppRole); err != nil {
		return err
	}
	d.workerURL, err = migrations.RoleURL(d.adminURL, migrations.WorkerRole)
	return err
}

// migrate brings the database up, or says that somebody else has to.
func (d *database) migrate(ctx context.Context, log *slog.Logger) (migrations.Status, error) {
	if d.adminURL == "" {
		return migrations.Status{}, migrations.Check(ctx, d.appURL)
	}
	bootstrap := migrations.Bootstrap
	if d.appURL == d.workerURL { // an operator's log-in, whose password is the operator's
		bootstrap = migrations.BootstrapRoles
	}
	if err := bootstrap(ctx, d.adminURL); err != nil {
		return migrations.Status{}, err
	}
	return migrations.Up(ctx, d.adminURL, log)
}

func (d *database) close() error {
	if d.private == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	return d.private.Stop(ctx)
}

func mailFolder(cfg config.Config) string { return filepath.Join(cfg.DataDir, "mail") }
