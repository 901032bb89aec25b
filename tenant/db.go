package tenant

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Schema is the database schema that holds every table of the product.
const Schema = "guildhall"

// Options of Open.
type Options struct {
	URL      string // of a log-in that row-level security binds
	MaxConns int    // 0 = 16
	Name     string // application_name, shown in pg_stat_activity
	// OnWake is called after each commit that emitted events.
	OnWake func()
}

// DB is a pool of connections under the restricted role. It has no method that
// runs a statement: make a View, a Write, or one of their global twins.
type DB struct {
	pool   *pgxpool.Pool
	onWake func()
	locks  keyLocks
}

// Open connects and refuses a log-in that row-level security would not bind.
func Open(ctx context.Context, o Options) (*DB, error) {
	cfg, err := pgxpool.ParseConfig(o.URL)
	if err != nil {
		return nil, errors.New("tenant.Open: the database URL is not valid")
	}
	cfg.MaxConns = 16
	if o.MaxConns > 0 {
		cfg.MaxConns = int32(o.MaxConns)
	}
	cfg.MaxConnIdleTime = 5 * time.Minute
	cfg.ConnConfig.RuntimeParams["search_path"] = Schema
	cfg.ConnConfig.RuntimeParams["timezone"] = "UTC"
	// A request that hangs must not hold rows for ever.
	cfg.ConnConfig.RuntimeParams["idle_in_transaction_session_timeout"] = "60000"
	cfg.ConnConfig.RuntimeParams["statement_timeout"] = "30000"
	if o.Name != "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = o.Name
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("tenant.Open: %w", err)
	}
	db := &DB{pool: pool, onWake: o.OnWake}
	if err := db.refusePrivilege(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return db, nil
}

// acquireWait bounds the wait for a connection, so that a full pool answers
// "unavailable" while callers still listen.
const acquireWait = 5 * time.Second

// acquire takes a connection from the pool. Whoever holds one must not ask for
// a second: a pool full of such callers would wait for itself.
func (db *DB) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	wait, cancel := context.WithTimeout(ctx, acquireWait)
	defer cancel()
	conn, err := db.pool.Acquire(wait)
	if err != nil && ctx.Err() == nil && wait.Err() != nil {
		return nil, unavailable(err)
	}
	return conn, translate(err)
}

// Close waits for running statements and closes the pool.
func (db *DB) Close() { db.pool.Close() }

// Ping asks the database for an answer.
func (db *DB) Ping(ctx context.Context) error { return db.pool.Ping(ctx) }

// Pool is for the libraries that bring their own statements on tables outside
// the product's schema: River. Nothing else may ask for it (arch_test.go).
func (db *DB) Pool() *pgxpool.Pool { return db.pool }

const selectPrivilege = `
select r.rolsuper, r.rolbypassrls,
	exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where n.nspname = 'guildhall' and pg_has_role(r.oid, c.relowner, 'member')),
	exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where n.nspname = 'guildhall' and c.relkind in ('r', 'p') and has_table_privilege(r.oid, c.oid, 'truncate'))
from pg_roles r where r.rolname = current_user`

func (db *DB) refusePrivilege(ctx context.Context) error {
	var super, bypass, owner, truncate bool
	if err := db.pool.QueryRow(ctx, selectPrivilege).Scan(&super, &bypass, &owner, &truncate); err != nil {
		return fmt.Errorf("tenant.Open: check the log-in's privileges: %w", err)
	}
	var why string
	switch {
	case super:
		why = "is a superuser"
	case bypass:
		why = "has BYPASSRLS"
	case owner:
		why = "owns tables of the product"
	case truncate:
		why = "may TRUNCATE tables of the product"
	default:
		return nil
	}
	return fmt.Errorf("the database log-in of the application %s, so row-level security would not hold: "+
		"let it log in as guildhall_app, the role that the migrations make", why)
}
