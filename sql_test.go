package guildhall_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/guildhall-dev/guildhall/tenant/tenanttest"
)

// globals are the tables without an organisation. Each is a decision.
var globals = map[string]string{
	"users":                   "a person may belong to many organisations",
	"sessions":                "a log-in belongs to a person",
	"signing_keys":            "of the instance",
	"mail_tokens":             "confirm an address, reset a password",
	"login_throttles":         "count before anybody is known",
	"login_sources":           "where an account logged in before, asked before anybody is known",
	"invitation_sends":        "mails to strangers, counted across organisations",
	"identity_log":            "log-ins belong to no organisation",
	"global_idempotency_keys": "of operations outside an organisation",
	"goose_db_version":        "of the migrations",
	"plugin_signers":          "the operator's trust",
	"plugins":                 "the operator's catalogue",
	"plugin_versions":         "the operator's catalogue",
	"plugin_bundles":          "the operator's catalogue",
}

// crossTenant are the indexes and constraints that do not begin with
// tenant_id, each for a look-up that happens before an organisation is known.
var crossTenant = map[string]string{
	"organization_slug_taken":     "a slug is an address, unique in the instance",
	"members_user":                "which organisations a person belongs to (organizations_of)",
	"api_keys_id":                 "which organisation a key belongs to (api_key_by_id)",
	"event_pending_position":      "the relay takes events in their order",
	"webhook_dispatch_due":        "which endpoint of any organisation is due first (claim_webhook_endpoint)",
	"webhook_dispatch_lease":      "how many drains each organisation holds (claim_webhook_endpoint)",
	"plugin_installations_id":     "which organisation an installation belongs to (plugin_installation_by_id)",
	"plugin_installations_plugin": "which organisations run a plugin (plugin_installations_of)",
	"plugin_dispatch_due":         "which queue of any organisation is due (nudge_plugin_queues)",
	"plugin_queue_day":            "what waited too long (purge_plugin_queue)",
	"plugin_schedules_next":       "which schedule of any organisation is due (claim_plugin_schedules)",
	"inbound_sources_id":          "which organisation a source of webhooks belongs to (inbound_source_by_id)",
	"stock_reservations_expires":  "whose reservations have expired (organizations_with_expired_reservations)",
}

func superuser(t *testing.T) *pgx.Conn {
	t.Helper()
	return connect(t, tenanttest.New(t).SuperURL)
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(ctx) })
	if _, err := conn.Exec(ctx, `set search_path = guildhall`); err != nil {
		t.Fatal(err)
	}
	return conn
}

// rules are section 4 of ARCHITECTURE.md: each statement lists what breaks the
// rule, as (what, why and what to do).
var rules = map[string]string{
	"tenant tables": `
		select c.relname, case
			when a.attname is null then 'has no tenant_id: add it first in the primary key and call protect_tenant_table, or name the table in globals (sql_test.go) with a reason'
			when not a.attnotnull then 'tenant_id may be null: declare it not null'
			when not c.relrowsecurity or not c.relforcerowsecurity then 'row-level security is not enabled and forced: end the migration with select protect_tenant_table(''' || c.relname || ''')'
			when not exists (select from pg_policy p where p.polrelid = c.oid and p.polname = 'tenant') then 'has no policy: call protect_tenant_table'
			when coalesce((select i.indkey[0] from pg_index i where i.indrelid = c.oid and i.indisprimary), 0) <> a.attnum then 'its primary key does not begin with tenant_id'
			when obj_description(c.oid, 'pg_class') is null then 'has no comment: say which feature owns it'
		end as why
		from pg_class c left join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
		where c.relnamespace = 'guildhall'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition`,
	"policies": `
		select c.relname || '.' || p.polname, case
			when p.polname not in ('tenant', 'platform') then 'is a policy of its own: several policies add up; extend the tenant policy'
			when p.polname = 'tenant' and (pg_get_expr(p.polqual, p.polrelid) !~ '^\(tenant_id = \( SELECT' or p.polwithcheck is null) then 'does not read the setting in a scalar subquery with USING and WITH CHECK'
			when p.polname = 'tenant' and p.polroles <> array['guildhall_app'::regrole::oid] then 'is not for guildhall_app alone'
			when p.polname = 'platform' and p.polroles <> array['guildhall_platform'::regrole::oid] then 'is not for guildhall_platform alone'
		end
		from pg_policy p join pg_class c on c.oid = p.polrelid where c.relnamespace = 'guildhall'::regnamespace`,
	"foreign keys": `
		select k.conname, 'refers to another tenant table without tenant_id, so it would accept another organisation''s row: make it foreign key (tenant_id, …)'
		from pg_constraint k join pg_class c on c.oid = k.conrelid
		join pg_attribute mine on mine.attrelid = k.conrelid and mine.attname = 'tenant_id'
		join pg_attribute theirs on theirs.attrelid = k.confrelid and theirs.attname = 'tenant_id'
		where k.contype = 'f' and c.relnamespace = 'guildhall'::regnamespace and k.conparentid = 0
		and not exists (select from generate_subscripts(k.conkey, 1) i where k.conkey[i] = mine.attnum and k.confkey[i] = theirs.attnum)`,
	"foreign keys indexed": `
		select k.conname, 'has no index that begins with its columns: deleting the other row would scan the table'
		from pg_constraint k join pg_class c on c.oid = k.conrelid
		where k.contype = 'f' and c.relnamespace = 'guildhall'::regnamespace and k.conparentid = 0 and not c.relispartition
		and not exists (select from pg_index i where i.indrelid = k.conrelid and (i.indkey::int2[])[0:cardinality(k.conkey)-1] @> k.conkey
			and k.conkey @> (i.indkey::int2[])[0:cardinality(k.conkey)-1])`,
	"indexes": `
		select c.relname, 'does not begin with tenant_id: the policy filters by it, so nothing else can be looked up'
		from pg_index i join pg_class c on c.oid = i.indexrelid join pg_class t on t.oid = i.indrelid
		join pg_attribute a on a.attrelid = t.oid and a.attname = 'tenant_id'
		where c.relnamespace = 'guildhall'::regnamespace and not t.relispartition and i.indkey[0] <> a.attnum`,
	"index types": `
		select c.relname || '.' || a.attname, 'is an index on ' || format_type(a.atttypid, null) || ', which the planner cannot use under row-level security: text, uuid, integers, dates and times only'
		from pg_index i join pg_class c on c.oid = i.indexrelid join pg_class t on t.oid = i.indrelid
		join pg_attribute a on a.attrelid = t.oid and a.attnum = any(i.indkey)
		join pg_attribute x on x.attrelid = t.oid and x.attname = 'tenant_id'
		join pg_type y on y.oid = a.atttypid
		where c.relnamespace = 'guildhall'::regnamespace and not t.relispartition
		and (y.typtype = 'e' or format_type(a.atttypid, null) in ('numeric', 'jsonb', 'json', 'tsvector') or y.typcategory = 'A')`,
	"column types": `
		select c.relname || '.' || a.attname, 'is ' || format_type(a.atttypid, a.atttypmod) || ': money is bigint minor units, states are text with a check, times are timestamptz'
		from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_type y on y.oid = a.atttypid
		where c.relnamespace = 'guildhall'::regnamespace and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped and c.relname <> 'goose_db_version'
		and (y.typtype = 'e' or format_type(a.atttypid, null) in ('real', 'double precision', 'numeric', 'money', 'timestamp without time zone', 'character varying'))`,
	"constraint names": `
		select c.relname || '.' || k.conname, 'was named by Postgres: name it, since the name is the error''s code'
		from pg_constraint k join pg_class c on c.oid = k.conrelid
		where c.relnamespace = 'guildhall'::regnamespace and k.contype in ('u', 'f', 'c') and k.conparentid = 0 and not c.relispartition
		and k.conname ~ '_(key|fkey|check)[0-9]*$' and c.relname <> 'goose_db_version'`,
	"views": `
		select c.relname, case c.relkind when 'm' then 'is a materialised view, which has no row-level security' else 'runs as its owner: create it with (security_invoker = true)' end
		from pg_class c where c.relnamespace = 'guildhall'::regnamespace and c.relkind in ('v', 'm', 'f')
		and (c.relkind <> 'v' or not coalesce(c.reloptions, '{}') && array['security_invoker=true', 'security_invoker=on'])`,
	"partitions": `
		select c.relname || ' to ' || r.rolname, 'is a grant on a partition, which its parent''s policies do not cover'
		from pg_class c, pg_roles r
		where c.relnamespace = 'guildhall'::regnamespace and c.relispartition and c.relkind = 'r' and r.rolname in ('guildhall_app', 'guildhall_worker', 'guildhall_platform')
		and has_table_privilege(r.rolname, c.oid, 'select, insert, update, delete, truncate')`,
	"privileges": `
		select c.relname || ' to ' || r.rolname, 'grants TRUNCATE, REFERENCES or TRIGGER to a log-in'
		from pg_class c, pg_roles r
		where c.relnamespace = 'guildhall'::regnamespace and c.relkind in ('r', 'p') and r.rolname in ('guildhall_app', 'guildhall_worker', 'guildhall_platform')
		and has_table_privilege(r.rolname, c.oid, 'truncate, references, trigger')`,
	"functions": `
		select p.proname, case
			when has_function_privilege('public', p.oid, 'execute') and p.prosecdef then 'is SECURITY DEFINER and open to PUBLIC: revoke execute from public'
			when not exists (select from unnest(p.proconfig) c where c like 'search_path=guildhall, pg_temp') then 'is SECURITY DEFINER without set search_path = guildhall, pg_temp'
		end
		from pg_proc p where p.pronamespace = 'guildhall'::regnamespace and p.prosecdef`,
	"roles": `
		select r.rolname, 'is more than a bound log-in'
		from pg_roles r where r.rolname in ('guildhall_app', 'guildhall_worker', 'guildhall_platform', 'guildhall_owner')
		and (r.rolsuper or r.rolbypassrls or r.rolcreaterole or r.rolcreatedb
			or (r.rolname in ('guildhall_app', 'guildhall_worker') and exists (select from pg_class c where c.relowner = r.oid)))`,
}

func broken(t *testing.T, conn *pgx.Conn) []string {
	t.Helper()
	var out []string
	for name, sql := range rules {
		rows, err := conn.Query(context.Background(), sql)
		if err != nil {
			t.Fatalf("rule %s: %v", name, err)
		}
		type finding struct{ What, Why *string }
		found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[finding])
		if err != nil {
			t.Fatalf("rule %s: %v", name, err)
		}
		for _, f := range found {
			if f.Why == nil || globals[*f.What] != "" || crossTenant[*f.What] != "" {
				continue
			}
			out = append(out, fmt.Sprintf("%s: %s %s", name, *f.What, *f.Why))
		}
	}
	slices.Sort(out)
	return out
}

func TestArchitectureOfTheSchema(t *testing.T) {
	t.Parallel()
	for _, b := range broken(t, superuser(t)) {
		t.Error(b)
	}
}

// Each rule must bite: a table that breaks it is made, and found.
func TestArchitectureOfTheSchemaBites(t *testing.T) {
	t.Parallel()
	conn := superuser(t)
	for name, c := range map[string]struct{ make, says string }{
		"no row-level security": {`create table bad (tenant_id uuid not null, id uuid not null, constraint bad_pkey primary key (tenant_id, id)); comment on table bad is 'x'`,
			"tenant tables: bad row-level security is not enabled and forced: end the migration with select protect_tenant_table('bad')"},
		"no tenant_id": {`create table bad (id uuid not null constraint bad_pkey primary key)`, "tenant tables: bad has no tenant_id"},
		"tenant_id second": {`create table bad (tenant_id uuid not null, id uuid not null, constraint bad_pkey primary key (id, tenant_id)); comment on table bad is 'x'; select protect_tenant_table('bad')`,
			"tenant tables: bad its primary key does not begin with tenant_id"},
		"bare foreign key": {`alter table users add column tenant_id uuid; create table bad (tenant_id uuid not null, user_id uuid not null, constraint bad_pkey primary key (tenant_id, user_id), constraint bad_user foreign key (user_id) references users (id))`,
			"foreign keys: bad_user refers to another tenant table without tenant_id"},
		"unique without tenant": {`create table bad (tenant_id uuid not null, id uuid not null, name text, constraint bad_pkey primary key (tenant_id, id), constraint bad_taken unique (name))`,
			"indexes: bad_taken does not begin with tenant_id"},
		"enum":        {`create type mood as enum ('a'); create table bad (tenant_id uuid not null, m mood, constraint bad_pkey primary key (tenant_id))`, "column types: bad.m is mood"},
		"float money": {`create table bad (tenant_id uuid not null, price double precision, constraint bad_pkey primary key (tenant_id))`, "column types: bad.price"},
		"plain view":  {`create view bad as select * from members`, "views: bad runs as its owner"},
		"open function": {`create function bad() returns int language sql security definer as 'select 1'`,
			"functions: bad is SECURITY DEFINER and open to PUBLIC"},
		"second policy":   {`create policy more on members to guildhall_app using (true)`, "policies: members.more is a policy of its own"},
		"partition grant": {`do $$ begin execute 'grant select on ' || (select min(c.relname) from pg_class c where c.relispartition and c.relkind = 'r' and c.relname like 'event_log%') || ' to guildhall_app'; end $$`, "partitions: event_log"},
		"truncate":        {`grant truncate on members to guildhall_app`, "privileges: members to guildhall_app"},
	} {
		tx, err := conn.Begin(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(context.Background(), c.make); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		found := broken(t, conn)
		if !slices.ContainsFunc(found, func(f string) bool { return strings.HasPrefix(f, c.says) }) {
			t.Errorf("%s: found only %q", name, found)
		}
		if err := tx.Rollback(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSQLPrepares asks Postgres to plan every statement of the product.
func TestArchitectureSQLPrepares(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	conn := superuser(t)
	statements := constants(product(t))
	if len(statements) < 10 {
		t.Fatalf("found only %d statements: the search for SQL constants is broken", len(statements))
	}
	for sql, where := range statements {
		if strings.Contains(sql, "%s") || strings.Contains(sql, "%[") || fragment.MatchString(sql) {
			continue // completed where it is used, and run by the feature's tests
		}
		if _, err := conn.Prepare(ctx, "", sql); err != nil {
			var pg *pgconn.PgError
			if errors.As(err, &pg) && pg.Code == "42P18" {
				continue // a parameter whose type only a value tells
			}
			t.Errorf("%s: %v\n%s", where, err, sql)
		}
	}
}

// fragment matches a constant that another one completes.
var fragment = regexp.MustCompile(`(?is)(,|\(|\bfrom|\bwhere|\band|\bas)\s*$`)
