package migrations

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The log-ins of the running product.
const (
	AppRole    = "guildhall_app"
	WorkerRole = "guildhall_worker"
)

// Bootstrap makes the roles, the schemas and the grants that the migrations
// stand on. It can run again at any time. Where the log-in may not do it, the
// error holds the very statements that an administrator must run.
//
// The passwords of the two log-ins are derived from the administrator's, so
// that every replica finds the same ones without storing any.
func Bootstrap(ctx context.Context, url string) error {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return errors.New("migrations.Bootstrap: the database URL is not valid")
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return fmt.Errorf("migrations.Bootstrap: %w", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, takeLock); err != nil {
		return fmt.Errorf("migrations.Bootstrap: %w", err)
	}
	if v := serverMajor(conn); v < 15 {
		return fmt.Errorf("the database is Postgres %d; Guildhall needs 15 or newer", v)
	}
	sql := statements(cfg.Database, cfg.User, password(cfg.Password, AppRole), password(cfg.Password, WorkerRole))
	tx, err := conn.Begin(ctx)
	if err != nil {
		return fmt.Errorf("migrations.Bootstrap: %w", err)
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if _, err := tx.Exec(ctx, sql); err != nil {
		var pg *pgconn.PgError
		if errors.As(err, &pg) && pg.Code == "42501" {
			return fmt.Errorf("the log-in %q may not make roles (%s). Let an administrator of the database run this once, "+
				"with passwords of your choice, then set GUILDHALL_DATABASE_URL to a log-in as guildhall_app "+
				"and GUILDHALL_DATABASE_ADMIN_URL to one that is a member of guildhall_owner:\n\n%s",
				cfg.User, pg.Message, statements(cfg.Database, cfg.User, "choose-a-password", "choose-another"))
		}
		return fmt.Errorf("migrations.Bootstrap: %w", err)
	}
	return tx.Commit(ctx)
}

// RoleURL returns the connection string for one of the product's log-ins on
// the database of the administrator's URL.
func RoleURL(adminURL, role string) (string, error) {
	cfg, err := pgx.ParseConfig(adminURL)
	if err != nil {
		return "", errors.New("the database URL is not valid")
	}
	parts := []string{"user=" + role, "password=" + password(cfg.Password, role)}
	for _, kv := range strings.Fields(keywords(adminURL, cfg)) {
		parts = append(parts, kv)
	}
	return strings.Join(parts, " "), nil
}

// keywords keeps what the administrator's URL says of the way to the server.
func keywords(url string, cfg *pgx.ConnConfig) string {
	s := fmt.Sprintf("host=%s port=%d dbname=%s", cfg.Host, cfg.Port, cfg.Database)
	mode := "prefer"
	if cfg.TLSConfig == nil {
		mode = "disable"
	} else if len(cfg.Fallbacks) == 0 {
		mode = "require"
	}
	for _, m := range []string{"verify-full", "verify-ca"} {
		if strings.Contains(url, "sslmode="+m) {
			mode = m
		}
	}
	return s + " sslmode=" + mode
}

func password(admin, role string) string {
	key, err := hkdf.Key(sha256.New, []byte(admin), nil, "guildhall database log-in "+role, 24)
	if err != nil {
		panic(err) // only for lengths that the hash cannot give
	}
	return hex.EncodeToString(key)
}

func serverMajor(conn *pgx.Conn) int {
	var n int
	_, _ = fmt.Sscanf(conn.PgConn().ParameterStatus("server_version"), "%d", &n)
	return n
}

func statements(database, admin, appPassword, workerPassword string) string {
	return fmt.Sprintf(`do $$ begin
	if not exists (select from pg_roles where rolname = 'guildhall_owner') then create role guildhall_owner nologin; end if;
	if not exists (select from pg_roles where rolname = 'guildhall_platform') then create role guildhall_platform nologin; end if;
	if not exists (select from pg_roles where rolname = 'guildhall_app') then create role guildhall_app login; end if;
	if not exists (select from pg_roles where rolname = 'guildhall_worker') then create role guildhall_worker login; end if;
end $$;
alter role guildhall_app password '%[3]s';
alter role guildhall_worker password '%[4]s';
grant guildhall_app to guildhall_worker;
grant guildhall_platform to guildhall_owner;
grant guildhall_owner to %[2]s;
grant create on database %[1]s to guildhall_owner;
create schema if not exists guildhall authorization guildhall_owner;
create schema if not exists river authorization guildhall_owner;
grant usage on schema guildhall to guildhall_app, guildhall_worker;
grant usage, create on schema guildhall to guildhall_platform;
`, pgx.Identifier{database}.Sanitize(), pgx.Identifier{admin}.Sanitize(), appPassword, workerPassword)
}
