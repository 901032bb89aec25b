package migrations

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
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
// stand on, and gives the two log-ins the passwords that RoleURL knows: they
// are derived from the administrator's, so that every replica finds the same
// ones without storing any. It can run again at any time. Where the log-in may
// not do it, the error holds the very statements that an administrator must
// run; once they were run, it is content with what it finds.
func Bootstrap(ctx context.Context, url string) error { return bootstrap(ctx, url, true) }

// BootstrapRoles is Bootstrap for an operator who manages the log-ins: their
// passwords stay as they are.
func BootstrapRoles(ctx context.Context, url string) error { return bootstrap(ctx, url, false) }

func bootstrap(ctx context.Context, url string, passwords bool) error {
	cfg, conn, err := connect(ctx, url)
	if err != nil {
		return fmt.Errorf("migrations.Bootstrap: %w", err)
	}
	defer conn.Close(ctx)
	if v := serverMajor(conn); v < 15 {
		return fmt.Errorf("the database is Postgres %d; Guildhall needs 15 or newer", v)
	}
	if _, err := conn.Exec(ctx, takeLock); err != nil {
		return fmt.Errorf("migrations.Bootstrap: %w", err)
	}
	var mayMakeRoles, done bool
	if err := conn.QueryRow(ctx, selectBootstrap).Scan(&mayMakeRoles, &done); err != nil {
		return fmt.Errorf("migrations.Bootstrap: %w", err)
	}
	if done && !mayMakeRoles {
		return nil
	}
	sql := statements(cfg)
	if passwords {
		if cfg.Password == "" {
			return errNoPassword
		}
		sql += setPasswords(password(cfg.Password, AppRole), password(cfg.Password, WorkerRole))
	}
	// Roles belong to the whole server, the lock to one of its databases: a
	// neighbour may be making the same roles at this moment.
	for tries := 0; ; tries++ {
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, sql)
			return err
		})
		if err == nil {
			return nil
		}
		var pg *pgconn.PgError
		switch {
		case !errors.As(err, &pg):
		case pg.Code == "42501":
			return administrator(cfg, pg.Message)
		case tries < 20 && (pg.Code == "23505" || pg.Code == "42710" || strings.Contains(pg.Message, "concurrently")):
			continue
		}
		return fmt.Errorf("migrations.Bootstrap: %w", err)
	}
}

// selectBootstrap asks whether the log-in may make roles, and whether all that
// statements makes is there.
const selectBootstrap = `
select r.rolsuper or r.rolcreaterole,
	(select count(*) from pg_roles where rolname in ('guildhall_owner', 'guildhall_platform', 'guildhall_app', 'guildhall_worker')) = 4
	and (select count(*) from pg_namespace n join pg_roles o on o.oid = n.nspowner
		where n.nspname in ('guildhall', 'river') and o.rolname = 'guildhall_owner' and pg_has_role(o.oid, 'member')) = 2
from pg_roles r where r.rolname = current_user`

// Check tells a process whose log-in may not migrate whether somebody did. The
// error says who has to do what.
func Check(ctx context.Context, url string) error {
	cfg, conn, err := connect(ctx, url)
	if err != nil {
		return fmt.Errorf("migrations.Check: %w", err)
	}
	defer conn.Close(ctx)
	var made, migrated bool
	err = conn.QueryRow(ctx, `select to_regnamespace('guildhall') is not null,
		exists (select from pg_class where relnamespace = to_regnamespace('guildhall') and relname = 'goose_db_version')`).Scan(&made, &migrated)
	switch {
	case err != nil:
		return fmt.Errorf("migrations.Check: %w", err)
	case !made:
		return administrator(cfg, "there is no schema guildhall in the database "+cfg.Database)
	case !migrated:
		return errors.New("the database has no tables yet: set GUILDHALL_DATABASE_ADMIN_URL to a log-in that is a member of guildhall_owner, or run guildhall migrate up with it")
	}
	return nil
}

// administrator is the error that hands the work to one.
func administrator(cfg *pgx.ConnConfig, why string) error {
	return fmt.Errorf("the log-in %q may not set up the database (%s). Let an administrator of the database run the following once, with passwords of your choice. "+
		"Then set GUILDHALL_DATABASE_ADMIN_URL to this log-in, which migrates, and GUILDHALL_DATABASE_URL to a log-in as guildhall_worker "+
		"(as guildhall_app where only guildhall serve runs):\n\n%s%s",
		cfg.User, why, statements(cfg), setPasswords("choose-a-password", "choose-another"))
}

func connect(ctx context.Context, url string) (*pgx.ConnConfig, *pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, nil, errors.New("the database URL is not valid")
	}
	cfg.RuntimeParams["application_name"] = "guildhall migrate"
	conn, err := pgx.ConnectConfig(ctx, cfg)
	return cfg, conn, err
}

// RoleURL returns the connection string for one of the product's log-ins on
// the database of the administrator's URL.
func RoleURL(adminURL, role string) (string, error) {
	cfg, err := pgx.ParseConfig(adminURL)
	if err != nil {
		return "", errors.New("the database URL is not valid")
	}
	if cfg.Password == "" {
		return "", errNoPassword
	}
	if u, err := url.Parse(adminURL); err == nil && strings.HasPrefix(u.Scheme, "postgres") {
		u.User = url.UserPassword(role, password(cfg.Password, role))
		q := u.Query()
		q.Del("user")
		q.Del("password")
		u.RawQuery = q.Encode()
		return u.String(), nil
	}
	return adminURL + " user=" + role + " password=" + password(cfg.Password, role), nil // the last one counts
}

// errNoPassword refuses what would make passwords that anybody could compute.
var errNoPassword = errors.New("the administrator's log-in has no password to derive those of guildhall_app and guildhall_worker from: " +
	"give it one in GUILDHALL_DATABASE_URL, or set GUILDHALL_DATABASE_URL to a log-in as guildhall_worker with a password of your choice " +
	"and GUILDHALL_DATABASE_ADMIN_URL to the administrator's")

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

func statements(cfg *pgx.ConnConfig) string {
	return fmt.Sprintf(`do $$ begin
	if not exists (select from pg_roles where rolname = 'guildhall_owner') then create role guildhall_owner nologin; end if;
	if not exists (select from pg_roles where rolname = 'guildhall_platform') then create role guildhall_platform nologin; end if;
	if not exists (select from pg_roles where rolname = 'guildhall_app') then create role guildhall_app login; end if;
	if not exists (select from pg_roles where rolname = 'guildhall_worker') then create role guildhall_worker login; end if;
end $$;
grant guildhall_app to guildhall_worker;
grant guildhall_platform to guildhall_owner;
grant guildhall_owner to %[2]s;
grant create on database %[1]s to guildhall_owner;
create schema if not exists guildhall authorization guildhall_owner;
create schema if not exists river authorization guildhall_owner;
grant usage on schema guildhall to guildhall_app, guildhall_worker;
grant usage, create on schema guildhall to guildhall_platform;
`, pgx.Identifier{cfg.Database}.Sanitize(), pgx.Identifier{cfg.User}.Sanitize())
}

func setPasswords(app, worker string) string {
	return fmt.Sprintf("alter role guildhall_app password '%s';\nalter role guildhall_worker password '%s';\n", app, worker)
}
