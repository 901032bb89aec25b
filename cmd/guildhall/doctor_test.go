package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/guildhall-dev/guildhall/internal/seal"
	"github.com/guildhall-dev/guildhall/tenant/tenanttest"
)

// examine runs guildhall doctor in a data folder of its own.
func examine(t *testing.T, dataDir string, env ...string) (said string, err error) {
	t.Helper()
	var out strings.Builder
	err = run(context.Background(), []string{"doctor"}, append([]string{"GUILDHALL_DATA_DIR=" + dataDir}, env...), &out, io.Discard)
	return out.String(), err
}

// line is what the doctor said of one check, with its fix.
func line(t *testing.T, said, level, check string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + fmt.Sprintf("%-4s  %-14s  ", level, check) + `.*(\n {22}.*)*`).FindString(said)
	if found == "" {
		t.Fatalf("no %s for %s in:\n%s", level, check, said)
	}
	if level != "ok" && !strings.Contains(found, "fix: ") {
		t.Errorf("no fix in:\n%s", found)
	}
	return found
}

func TestDoctorBeforeTheFirstStart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	said, err := examine(t, dir, "GUILDHALL_ADDR=127.0.0.1:0")
	if err != nil || strings.Contains(said, "fail ") {
		t.Fatalf("%v:\n%s", err, said)
	}
	for _, check := range []string{"configuration", "postgres", "database", "instance key", "mail", "address", "public URL"} {
		line(t, said, "ok", check)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the doctor made the data folder")
	}
}

func TestDoctorNamesWhatIsWrongWithTheHost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	foreign := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(foreign.Close)
	addr := strings.TrimPrefix(foreign.URL, "http://")
	if _, err := seal.Open(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "keys", "instance.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := free.Addr().String()
	free.Close()
	said, err := examine(t, dir, "GUILDHALL_ADDR="+addr, "GUILDHALL_POSTGRES_BIN="+dir, "GUILDHALL_SMTP_URL=smtp://u:secret7@"+nobody,
		"GUILDHALL_PUBLIC_URL=http://guildhall.example.com")
	if err == nil {
		t.Fatalf("nothing failed:\n%s", said)
	}
	line(t, said, "fail", "postgres")
	if got := line(t, said, "fail", "instance key"); !strings.Contains(got, "chmod 600") {
		t.Error(got)
	}
	line(t, said, "fail", "mail")
	line(t, said, "fail", "address")
	line(t, said, "warn", "public URL")
	if strings.Contains(said, "secret7") {
		t.Error("a password was printed")
	}

	said, err = examine(t, filepath.Join(dir, "keys", "instance.key", "data"), "GUILDHALL_ADDR=0.0.0.0:0", "GUILDHALL_PUBLIC_URL=http://localhost:8080")
	if err == nil {
		t.Fatalf("nothing failed:\n%s", said)
	}
	line(t, said, "fail", "data folder")
	line(t, said, "warn", "public URL")

	said, err = examine(t, dir, "GUILDHALL_ADRESS=x")
	if got := line(t, said, "fail", "configuration"); err == nil || !strings.Contains(got, "did you mean GUILDHALL_ADDR?") {
		t.Errorf("%v: %s", err, got)
	}
}

func TestDoctorGreetsTheMailServer(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go politely(conn)
		}
	}()
	said, err := examine(t, t.TempDir(), "GUILDHALL_ADDR=127.0.0.1:0", "GUILDHALL_SMTP_URL=smtp://"+ln.Addr().String(), "GUILDHALL_MAIL_FROM=a@example.com")
	if err != nil {
		t.Errorf("%v:\n%s", err, said)
	}
	line(t, said, "ok", "mail")
	said, err = examine(t, t.TempDir(), "GUILDHALL_ADDR=127.0.0.1:0", "GUILDHALL_SMTP_URL=smtp://u:p@"+ln.Addr().String())
	if got := line(t, said, "fail", "mail"); err == nil || !strings.Contains(got, "STARTTLS") {
		t.Errorf("%v: %s", err, got)
	}
}

// politely is a mail server without encryption, up to the farewell.
func politely(conn net.Conn) {
	defer conn.Close()
	fmt.Fprint(conn, "220 here\r\n")
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "QUIT") {
			fmt.Fprint(conn, "221 bye\r\n")
			return
		}
		fmt.Fprint(conn, "250 fine\r\n")
	}
}

// A product that runs on a given database, with one thing broken at a time.
func TestDoctorLooksIntoTheDatabase(t *testing.T) {
	t.Parallel()
	db, dir := tenanttest.New(t), t.TempDir()
	w := newWorldOn(t, db, dir)
	person := w.person("Ada")
	env := []string{"GUILDHALL_DATABASE_URL=" + db.SuperURL, "GUILDHALL_ADDR=" + strings.TrimPrefix(w.url, "http://")}
	said, err := examine(t, dir, env...)
	if err != nil {
		t.Fatalf("%v:\n%s", err, said)
	}
	for _, check := range []string{"database", "clock", "log-in", "migrations", "isolation", "event log", "event relay", "instance key"} {
		line(t, said, "ok", check)
	}
	if got := line(t, said, "ok", "address"); !strings.Contains(got, "served by guildhall") {
		t.Error(got)
	}
	person.organization("Hall")
	w.sql(`alter table members no force row level security`)
	w.sql(`update event_log set occurred_at = occurred_at - interval '1 hour'`)
	w.sql(`do $$ declare p text; begin
		for p in select inhrelid::regclass::text from pg_inherits where inhparent = 'event_log'::regclass and inhrelid::regclass::text > 'event_log_' || to_char(now() at time zone 'UTC', 'YYYYMMDD') loop
			execute 'drop table ' || p;
		end loop; end $$`)
	if err := os.Remove(filepath.Join(dir, "keys", "instance.key")); err != nil {
		t.Fatal(err)
	}
	said, err = examine(t, dir, env...)
	if err == nil || !strings.Contains(err.Error(), "4 of ") {
		t.Errorf("error %v", err)
	}
	if got := line(t, said, "fail", "isolation"); !strings.Contains(got, "members") {
		t.Error(got)
	}
	line(t, said, "fail", "event relay")
	line(t, said, "fail", "event log")
	line(t, said, "fail", "instance key")

	w.sql(`update goose_db_version set version_id = 1000 where version_id = 1`)
	said, _ = examine(t, dir, env...)
	line(t, said, "fail", "migrations")
	w.sql(`delete from goose_db_version where version_id > 1`)
	said, _ = examine(t, dir, env...)
	if got := line(t, said, "fail", "migrations"); !strings.Contains(got, "guildhall migrate up") {
		t.Error(got)
	}
}

func TestDoctorRefusesLogIns(t *testing.T) {
	t.Parallel()
	db := tenanttest.New(t)
	said, err := examine(t, t.TempDir(), "GUILDHALL_ADDR=127.0.0.1:0", "GUILDHALL_DATABASE_URL="+db.SuperURL, "GUILDHALL_DATABASE_ADMIN_URL="+db.SuperURL)
	if got := line(t, said, "fail", "log-in"); err == nil || !strings.Contains(got, "superuser") {
		t.Errorf("%v: %s", err, got)
	}
	said, err = examine(t, t.TempDir(), "GUILDHALL_ADDR=127.0.0.1:0", "GUILDHALL_DATABASE_URL="+tenanttest.WithDatabase(db.SuperURL, "nowhere"))
	if line(t, said, "fail", "database"); err == nil {
		t.Error("a missing database is fine")
	}
}

func TestAdminGrant(t *testing.T) {
	t.Parallel()
	db, dir := tenanttest.New(t), t.TempDir()
	w := newWorldOn(t, db, dir)
	person := w.person("Grace")
	grant := func(email string) (string, error) {
		var out strings.Builder
		err := run(context.Background(), []string{"admin", "grant", email}, []string{"GUILDHALL_DATA_DIR=" + dir, "GUILDHALL_DATABASE_URL=" + db.SuperURL}, &out, io.Discard)
		return out.String(), err
	}
	said, err := grant(strings.ToUpper(person.email))
	if err != nil || !strings.Contains(said, "operator") {
		t.Fatalf("%q, %v", said, err)
	}
	if n := len(w.sql(`select from users where operator`)); n != 1 {
		t.Errorf("%d operators", n)
	}
	if _, err := grant("nobody@example.test"); err == nil || !strings.Contains(err.Error(), "nobody has registered with the address nobody@example.test") {
		t.Errorf("a stranger: %v", err)
	}
	if _, err := grant("no address"); err == nil || !strings.Contains(err.Error(), "is not an e-mail address") {
		t.Errorf("no address: %v", err)
	}
}

// An empty database behind a log-in without rights: the start says what an
// administrator has to run, and after that it works.
func TestGivenDatabaseWithoutRights(t *testing.T) {
	t.Parallel()
	db := tenanttest.New(t)
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, db.SuperURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	name, role := db.Name+"_empty", db.Name+"_clerk"
	for _, sql := range []string{`create role ` + role + ` login password 'c'`, `create database ` + name + ` template template0 encoding 'UTF8'`} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		conn, err := pgx.Connect(ctx, db.SuperURL)
		if err == nil {
			_, err = conn.Exec(ctx, `drop database `+name+` with (force)`)
		}
		if err == nil {
			_, err = conn.Exec(ctx, `drop role `+role)
			conn.Close(ctx)
		}
		if err != nil {
			t.Error(err)
		}
	})
	cfg := conn.Config()
	url := fmt.Sprintf("postgres://%s:c@/%s?host=%s&port=%d&sslmode=disable", role, name, cfg.Host, cfg.Port)
	env := []string{"GUILDHALL_DATA_DIR=" + t.TempDir(), "GUILDHALL_DATABASE_URL=" + url, "GUILDHALL_ADDR=127.0.0.1:0"}
	err = run(ctx, []string{"all"}, env, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "create schema if not exists guildhall authorization guildhall_owner;") {
		t.Errorf("the start says: %v", err)
	}
	var out strings.Builder
	err = run(ctx, []string{"doctor"}, env, &out, io.Discard)
	if got := line(t, out.String(), "fail", "database"); err == nil || !strings.Contains(got, "create role guildhall_worker login") {
		t.Errorf("the doctor says: %v, %s", err, got)
	}
}
