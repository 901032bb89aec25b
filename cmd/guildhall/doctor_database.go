package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/internal/pgembed"
	"github.com/guildhall-dev/guildhall/migrations"
	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	skewSeen    = 2 * time.Second
	skewHarmful = 30 * time.Second // tokens live for minutes
	lagHarmful  = 60 * time.Second // as in /readyz
)

// postgres checks the private Postgres or the given one, and what is in it.
func (d *doctor) postgres(ctx context.Context) {
	if d.cfg.DatabaseURL != "" {
		db, err := reachDatabase(ctx, d.cfg)
		if err != nil {
			d.fail("database", "look at GUILDHALL_DATABASE_URL (user, password, host, port, name) and at the server", "%v", err)
			return
		}
		d.database(ctx, db)
		return
	}
	if !d.binaries(ctx) {
		return
	}
	if d.cluster() == "" {
		d.ok("database", "is made at the first start, in %s", d.cfg.DataDir)
		return
	}
	srv, err := pgembed.Start(ctx, pgembed.Config{DataDir: d.cfg.DataDir, Bin: d.cfg.PostgresBin})
	if errors.Is(err, pgembed.ErrInUse) {
		d.running(ctx, err)
		return
	}
	if err != nil {
		d.fail("database", "read the end of the log above; restore the folder from a backup if it is damaged", "%v", err)
		return
	}
	db := &database{private: srv, adminURL: srv.URL("guildhall")}
	if err := db.derive(); err != nil {
		d.fail("database", "look at the data folder", "%v", err)
	} else {
		d.database(ctx, db)
	}
	if err := db.close(); err != nil {
		d.fail("database", "look for postgres processes that use "+d.cfg.DataDir, "%v", err)
	}
}

// cluster is the folder of the private Postgres, "" when there is none yet.
func (d *doctor) cluster() string {
	found, _ := filepath.Glob(filepath.Join(d.cfg.DataDir, "pg*", "PG_VERSION")) // the only error is a bad pattern
	if len(found) == 0 || d.cfg.DatabaseURL != "" {
		return ""
	}
	return filepath.Dir(found[len(found)-1])
}

func (d *doctor) binaries(ctx context.Context) bool {
	const check = "postgres"
	cfg := pgembed.Config{DataDir: d.cfg.DataDir, Bin: d.cfg.PostgresBin}
	if _, err := os.Stat(cfg.DataDir); err != nil { // looking must not make it
		dir, err := os.MkdirTemp("", "guildhall-doctor-")
		if err != nil {
			d.fail(check, "look at the folder for temporary files", "%v", err)
			return false
		}
		defer os.RemoveAll(dir)
		cfg.DataDir = dir
	}
	found, err := pgembed.Find(ctx, cfg)
	_, npm := exec.LookPath("npm")
	switch {
	case err != nil && npm == nil && d.cfg.PostgresBin == "" && d.cluster() == "":
		d.warn(check, "nothing, or install it now as said above", "is fetched with npm at the first start, since %v", err)
		return true
	case err != nil:
		d.fail(check, "install Postgres as said above, or set GUILDHALL_POSTGRES_BIN or GUILDHALL_DATABASE_URL", "%v", err)
		return false
	}
	d.ok(check, "%s (%s, %s)", found.Version, found.Source, found.Dir)
	return true
}

// running asks the process that holds the private Postgres, which lets nobody
// else in, for its own opinion.
func (d *doctor) running(ctx context.Context, inUse error) {
	var page struct {
		Status string `json:"status"`
		Reason string `json:"reason"`
	}
	status, err := ask(ctx, d.cfg.Addr, "/readyz", &page)
	switch {
	case err != nil || page.Status == "":
		d.fail("database", "give the doctor the same GUILDHALL_ADDR as the running guildhall, or stop that one",
			"%v, and nothing answers on http://%s/readyz", inUse, d.cfg.Addr)
	case status != http.StatusOK:
		d.fail("database", "see its log; stop it and run the doctor again to look into the database itself",
			"guildhall runs and says on http://%s/readyz: %s, %s", d.cfg.Addr, page.Status, page.Reason)
	default:
		d.ok("database", "guildhall runs and says on http://%s/readyz: %s (database, migrations, relay); stop it to look deeper", d.cfg.Addr, page.Status)
	}
}

type databaseFacts struct {
	Number   int       `db:"number"`
	Version  string    `db:"version"`
	Now      time.Time `db:"now"`
	Name     string    `db:"name"`
	Migrated bool      `db:"migrated"`
}

const selectDatabaseFacts = `select current_setting('server_version_num')::integer as number, current_setting('server_version') as version,
	clock_timestamp() as now, current_database()::text as name, exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where n.nspname = 'guildhall' and c.relname = 'goose_db_version') as migrated`

// database looks into it with the very log-in that serves.
func (d *doctor) database(ctx context.Context, at *database) {
	const migrate = "run guildhall migrate up, or start guildhall, which does"
	if at.private == nil && at.adminURL == "" {
		if err := migrations.Check(ctx, at.appURL); err != nil {
			d.fail("database", "as said above", "%v", err)
			return
		}
	}
	db, err := tenant.Open(ctx, tenant.Options{URL: at.appURL, MaxConns: 1, Name: "guildhall doctor"})
	if err != nil {
		d.fail("log-in", migrate+"; a log-in with too many rights is replaced by one as guildhall_app or guildhall_worker", "%v", err)
		return
	}
	defer db.Close()
	asked := time.Now()
	facts, err := tenant.One[databaseFacts](ctx, db.Global(), selectDatabaseFacts)
	if err != nil {
		d.fail("database", "look at the server's log", "%v", err)
		return
	}
	took := time.Since(asked)
	d.serverVersion(facts, took)
	d.skew(facts.Now.Sub(asked.Add(took/2)), took)
	if !d.worker(ctx, at) {
		return
	}
	if !facts.Migrated {
		d.fail("migrations", migrate, "the database %s has none of the tables", facts.Name)
		return
	}
	if d.migrations(ctx, db, migrate) {
		d.isolation(ctx, db)
		d.events(ctx, db, at.private != nil)
	}
}

func (d *doctor) serverVersion(facts databaseFacts, took time.Duration) {
	if facts.Number < pgembed.MinMajor*10000 {
		d.fail("database", fmt.Sprintf("upgrade it to %d or newer", pgembed.MinMajor), "%s is Postgres %s", facts.Name, facts.Version)
		return
	}
	d.ok("database", "%s on Postgres %s answers in %s", facts.Name, facts.Version, took.Round(100*time.Microsecond))
}

func (d *doctor) skew(ahead, within time.Duration) {
	const fix = "let both machines keep time by NTP"
	switch off := ahead.Abs() - within/2; {
	case off > skewHarmful:
		d.fail("clock", fix, "the database's clock is %s from this machine's: tokens would be refused", ahead.Abs().Round(time.Second))
	case off > skewSeen:
		d.warn("clock", fix, "the database's clock is %s from this machine's", ahead.Abs().Round(100*time.Millisecond))
	default:
		d.ok("clock", "agrees with the database's")
	}
}

// worker sees that both log-ins are bound by row-level security.
func (d *doctor) worker(ctx context.Context, at *database) bool {
	db, err := tenant.Open(ctx, tenant.Options{URL: at.workerURL, MaxConns: 1, Name: "guildhall doctor"})
	if err != nil {
		d.fail("log-in", "run guildhall migrate up, which makes guildhall_worker", "%v", err)
		return false
	}
	db.Close()
	d.ok("log-in", "serve and work log in under row-level security")
	return true
}

const (
	selectMigration = `select coalesce(max(version_id), 0) from goose_db_version where is_applied`
	selectSigns     = `select exists (select from signing_keys)`
	// Partitions count too: a grant on one would go past the parent's policy.
	selectUnprotected = `select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where n.nspname = 'guildhall' and c.relkind in ('r', 'p') and not (c.relrowsecurity and c.relforcerowsecurity)
		and exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped)
		order by c.relname`
	selectProtected = `select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where n.nspname = 'guildhall' and c.relkind in ('r', 'p') and c.relforcerowsecurity and not c.relispartition`
)

func (d *doctor) migrations(ctx context.Context, db *tenant.DB, migrate string) bool {
	const check = "migrations"
	have, err := tenant.Value[int64](ctx, db.Global(), selectMigration)
	switch want := migrations.Latest(); {
	case err != nil:
		d.fail(check, migrate, "%v", err)
		return false
	case have < want:
		d.fail(check, migrate, "the database is at %d, this binary needs %d", have, want)
		return false
	case have > want:
		d.fail(check, "install the newer guildhall that migrated it", "the database is at %d, this binary knows %d", have, want)
		return false
	default:
		d.ok(check, "current, at %d", have)
	}
	d.signs, err = tenant.Value[bool](ctx, db.Global(), selectSigns)
	if err != nil {
		d.fail(check, "look at the server's log", "%v", err)
	}
	return err == nil
}

func (d *doctor) isolation(ctx context.Context, db *tenant.DB) {
	const check = "isolation"
	bare, err := tenant.Values[string](ctx, db.Global(), selectUnprotected)
	if err != nil {
		d.fail(check, "look at the server's log", "%v", err)
		return
	}
	n, err := tenant.Value[int](ctx, db.Global(), selectProtected)
	switch {
	case err != nil:
		d.fail(check, "look at the server's log", "%v", err)
	case len(bare) > 0:
		d.fail(check, "as guildhall_owner: alter table guildhall.<table> enable row level security, force row level security; then find out who took it off",
			"row-level security is not forced on %s: organisations could see each other's rows", strings.Join(bare, ", "))
	default:
		d.ok(check, "row-level security is forced on all %d tables of organisations", n)
	}
}

type eventFacts struct {
	Ahead   int     `db:"ahead"`
	Waiting int     `db:"waiting"`
	Oldest  float64 `db:"oldest_seconds"`
}

const selectEventFacts = `select event_partitions_ahead() as ahead, p.waiting, p.oldest_seconds from pending_events() p`

func (d *doctor) events(ctx context.Context, db *tenant.DB, stopped bool) {
	const run = "start guildhall all, or guildhall work beside the servers, and see its log"
	f, err := tenant.One[eventFacts](ctx, db.Global(), selectEventFacts)
	if err != nil {
		d.fail("event log", "look at the server's log", "%v", err)
		return
	}
	switch {
	case f.Ahead < 2 && !stopped:
		d.fail("event log", run, "has partitions for %d more days: writes will soon be refused", f.Ahead)
	case f.Ahead < 7:
		d.warn("event log", run, "has partitions for %d more days", f.Ahead)
	default:
		d.ok("event log", "has partitions for %d more days", f.Ahead)
	}
	switch lag := time.Duration(f.Oldest * float64(time.Second)); {
	case lag > lagHarmful && !stopped:
		d.fail("event relay", run, "%d events wait, the oldest for %s", f.Waiting, lag.Round(time.Second))
	case lag > lagHarmful:
		d.warn("event relay", run, "%d events wait for the next start", f.Waiting)
	default:
		d.ok("event relay", "%d events wait", f.Waiting)
	}
}
