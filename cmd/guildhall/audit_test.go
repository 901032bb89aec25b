package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestActivity(t *testing.T) {
	t.Parallel()
	p := newWorkplace(t)
	secret := p.ann.post("/v1/projects", m{"name": "Secret", "visibility": "private"}).want(201).str("id")
	hidden := p.newTask(secret, "Hidden")
	c := p.comment(p.ben, "x").str("id")
	p.ann.patch("/v1/tasks/"+p.task, m{"title": "Write it well"}).want(200)
	p.newTask(p.project, "Another")
	types := func(c *client, path string) string {
		t.Helper()
		r := c.get(path).want(200)
		var out []string
		for i := range r.len("data") {
			out = append(out, r.str(fmt.Sprintf("data.%d.type", i)))
		}
		return strings.Join(out, ",")
	}
	ofTask := "/v1/tasks/" + p.task + "/activity"
	if got := types(p.ben, ofTask); got != "task.updated,comment.created,task.created" {
		t.Errorf("activity of the task: %s", got)
	}
	first := p.ben.get(ofTask + "?limit=2&include=total").want(200)
	if first.num("total") != 3 || first.str("data.0.previous.title") != "Write it" || first.str("data.1.subject.id") != c {
		t.Errorf("%s", first.body)
	}
	if got := types(p.ben, ofTask+"?limit=2&cursor="+first.str("next_cursor")); got != "task.created" {
		t.Errorf("second page: %s", got)
	}
	if got := types(p.ben, ofTask+"?limit=2&page=2"); got != "task.created" {
		t.Errorf("page=2: %s", got)
	}
	if got := types(p.ann, "/v1/projects/"+p.project+"/activity"); strings.Count(got, "task.created") != 2 || !strings.HasSuffix(got, "project.created") {
		t.Errorf("activity of the project: %s", got)
	}
	if body := string(p.ben.get("/v1/activity?limit=200").want(200).body); strings.Contains(body, secret) || strings.Contains(body, hidden) || !strings.Contains(body, p.task) {
		t.Errorf("activity of the organisation: %s", body)
	}
	for _, path := range []string{"/v1/tasks/" + hidden + "/activity", "/v1/projects/" + secret + "/activity"} {
		p.ben.get(path).want(404)
		p.ann.get(path).want(200)
	}
	p.cem.get(ofTask).want(404)
	// What happened in the private project stays there when the task leaves it.
	p.ann.post("/v1/tasks/"+hidden+"/move", m{"project_id": p.project}).want(200)
	if got := types(p.ben, "/v1/tasks/"+hidden+"/activity"); got != "" {
		t.Errorf("activity of a task that came out of a private project: %s", got)
	}
	if got := types(p.ann, "/v1/tasks/"+hidden+"/activity"); got != "task.moved,task.created" {
		t.Errorf("for who sees both: %s", got)
	}
}

func TestAuditLog(t *testing.T) {
	t.Parallel()
	p := newWorkplace(t)
	p.ben.get("/v1/audit-log").want(403).code("permission_denied")
	p.ben.get("/v1/audit-log/export").want(403)
	dan := p.join(p.ann, p.person("dan"), "admin")
	secret := p.ann.post("/v1/projects", m{"name": "Secret", "visibility": "private"}).want(201).str("id")
	hidden := p.newTask(secret, "Hidden plans")

	log := func(c *client, query string) *reply {
		t.Helper()
		return c.get("/v1/audit-log?" + query).want(200)
	}
	denied := log(dan, "type=call.denied&actor="+p.ben.user)
	if denied.len("data") != 2 || denied.str("data.1.data.operation") != "list-audit-log" || denied.at("data.0.sequence") != nil || denied.at("data.0.public") != false {
		t.Errorf("denied calls: %s", denied.body)
	}
	entry := log(dan, "subject="+hidden)
	if entry.len("data") != 1 || entry.at("data.0.data") != nil || entry.at("data.0.redacted") != true || strings.Contains(string(entry.body), "plans") {
		t.Errorf("an admin outside of the private project: %s", entry.body)
	}
	entry = log(p.ann, "subject="+hidden)
	if entry.str("data.0.data.title") != "Hidden plans" || entry.str("data.0.operation") != "create-task" ||
		entry.str("data.0.request_id") == "" || entry.str("data.0.source_address") != "127.0.0.1" || entry.num("data.0.occurrences") != 1 {
		t.Errorf("its member: %s", entry.body)
	}
	for query, want := range map[string]int{
		"operation=create-task":                                                                       2,
		"operation=create-task&type=task.*":                                                           2,
		"operation=create-task&type=project.*":                                                        0,
		"operation=create-task&actor=" + dan.user:                                                     0,
		"operation=create-task&source_address=192.0.2.1":                                              0,
		"operation=create-task&from=2020-01-01T00:00:00Z":                                             2,
		"operation=create-task&to=2020-01-01T00:00:00Z":                                               0,
		"operation=create-task&from=2999-01-01T00:00:00Z":                                             0,
		"operation=create-task&to=" + url.QueryEscape(time.Now().Add(time.Hour).Format(time.RFC3339)): 2,
	} {
		if got := log(dan, query).len("data"); got != want {
			t.Errorf("%s: %d rows, want %d", query, got, want)
		}
	}
	all := log(p.ann, "limit=200&include=total")
	var ids []string
	cursor := ""
	for {
		r := log(p.ann, "limit=3&cursor="+cursor)
		for i := range r.len("data") {
			ids = append(ids, r.str(fmt.Sprintf("data.%d.id", i)))
		}
		if cursor = r.str("next_cursor"); cursor == "" {
			break
		}
	}
	if int64(len(ids)) != all.num("total") || all.len("data") != len(ids) || !slices.IsSortedFunc(ids, func(a, b string) int { return strings.Compare(b, a) }) {
		t.Errorf("pages hold %d rows, the list %d of %d", len(ids), all.len("data"), all.num("total"))
	}
}

func TestAuditLogExport(t *testing.T) {
	t.Parallel()
	p := newWorkplace(t)
	p.sql(`insert into event_log (tenant_id, day, id, type, public, schema_version, subject_type, actor_kind, operation, request_id, source_address, occurred_at, data)
		select $1, (now() at time zone 'UTC')::date, (substr(max(e.id::text), 1, 14) || substr(gen_random_uuid()::text, 15))::uuid, 'call.denied', false, 1, 'call', 'system', 'bulk', 'x', '', now(), '{}'
		from event_log e, generate_series(1, 1200) g where e.tenant_id = $1 group by g`, p.ann.org)
	total := p.ann.get("/v1/audit-log?include=total").want(200).num("total")
	r := p.ann.get("/v1/audit-log/export").want(200)
	if got := r.header("Content-Type"); got != "application/x-ndjson" {
		t.Errorf("Content-Type %q", got)
	}
	seen := map[string]bool{}
	last := ""
	for lines := bufio.NewScanner(bytes.NewReader(r.body)); lines.Scan(); {
		var e struct{ ID, Type string }
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%v: %s", err, lines.Bytes())
		}
		if seen[e.ID] || (last != "" && e.ID >= last) {
			t.Fatalf("%s stands twice or out of order", e.ID)
		}
		seen[e.ID], last = true, e.ID
	}
	if int64(len(seen)) != total+1 { // the export is an entry itself
		t.Errorf("%d lines, the log has %d and the export", len(seen), total)
	}
	if n := bytes.Count(p.ann.get("/v1/audit-log/export?type=project.*").want(200).body, []byte("\n")); n == 0 || n > 10 {
		t.Errorf("%d lines about projects", n)
	}
	if r := p.ann.get("/v1/audit-log?type=record.read").want(200); r.str("data.0.data.operation") != "export-audit-log" || r.num("data.0.occurrences") != 2 {
		t.Errorf("%s", r.body)
	}
}

func TestAuditLogCheck(t *testing.T) {
	t.Parallel()
	p := newWorkplace(t)
	p.settle()
	p.ben.post("/v1/audit-log/integrity-checks", nil).want(403)
	run := func() *reply {
		t.Helper()
		o := p.ann.post("/v1/audit-log/integrity-checks", nil).want(202)
		if o.str("status") != "queued" || o.str("kind") != "audit_log.check" {
			t.Fatalf("%s", o.body)
		}
		p.settle()
		return p.ann.get("/v1/operations/" + o.str("id")).want(200)
	}
	all, _ := drain(t, p.ann, "", "")
	n := len(all)
	o := run()
	if want := fmt.Sprintf("%d events, numbers 1 to %d: no gap, no double, every event whole.", n, n); o.str("status") != "done" || o.str("message") != want || o.num("done") != int64(n) {
		t.Errorf("%s", o.body)
	}
	p.ben.get("/v1/operations/" + o.str("id")).want(404)
	p.sql(`update event_log set sequence = 1 where tenant_id = $1 and sequence = 2`, p.ann.org)
	p.sql(`update event_log set actor_id = null where tenant_id = $1 and sequence = 3`, p.ann.org)
	if o := run(); !strings.Contains(o.str("message"), "1 missing, 1 given twice, 1 events not whole") {
		t.Errorf("%s", o.body)
	}
}

func TestOperationsAreCancelled(t *testing.T) {
	t.Parallel()
	p := newWorkplace(t)
	dan := p.join(p.ann, p.person("dan"), "admin")
	p.settle()
	path := "/v1/operations/" + p.ann.post("/v1/audit-log/integrity-checks", nil).want(202).str("id")
	p.ben.post(path+"/cancel", nil).want(404)
	p.ben.get(path).want(404)
	dan.get(path).want(200) // audit_logs.read
	if o := p.ann.post(path+"/cancel", nil).want(200); o.str("status") != "cancelled" {
		t.Errorf("%s", o.body)
	}
	p.ann.post(path+"/cancel", nil).want(409).code("operation_finished")
	p.settle()
	if o := p.ann.get(path).want(200); o.str("status") != "cancelled" || o.num("done") != 0 {
		t.Errorf("%s", o.body)
	}
}

// Every public event is about something that some permission lets one read:
// otherwise the feed would hide it from everybody.
func TestEveryEventCanBeRead(t *testing.T) {
	t.Parallel()
	p := newWorkplace(t)
	for _, mod := range p.app.features.modules {
		for _, e := range mod.Events {
			if e.Internal {
				continue
			}
			p.sql(`insert into event_log (tenant_id, day, id, type, public, schema_version, subject_type, actor_kind, operation, request_id, source_address, occurred_at, data)
				select $1, e.day, (substr(max(e.id::text), 1, 14) || substr(gen_random_uuid()::text, 15))::uuid, $2, true, 1, $3, 'system', 'seen?', 'x', '', now(), '{}'
				from event_log e where e.tenant_id = $1 group by e.day`, p.ann.org, e.Name, e.Subject)
		}
	}
	body := string(p.ann.get("/v1/activity?limit=200").want(200).body)
	for _, mod := range p.app.features.modules {
		for _, e := range mod.Events {
			if !e.Internal && !strings.Contains(body, `"type":"`+e.Name+`"`) {
				t.Errorf("an owner is never told of %s: name its subject %q after a permission, or add it to also in platform/audit/visible.go", e.Name, e.Subject)
			}
		}
	}
}

// The clock keeps partitions ready and forgets what is past its time.
func TestLogUpkeep(t *testing.T) {
	t.Parallel()
	p := newWorkplace(t)
	p.settle()
	name := func(days int) string {
		return "event_log_" + time.Now().UTC().AddDate(0, 0, days).Format("20060102")
	}
	partition := func(days int) {
		t.Helper()
		p.sql(fmt.Sprintf(`create table guildhall.%[1]s (like event_log including defaults including constraints)`, name(days)))
		p.sql(fmt.Sprintf(`alter table %s owner to guildhall_owner`, name(days)))
		p.sql(fmt.Sprintf(`alter table event_log attach partition %s for values from ('%s') to ('%s')`, name(days),
			time.Now().UTC().AddDate(0, 0, days).Format(time.DateOnly), time.Now().UTC().AddDate(0, 0, days+1).Format(time.DateOnly)))
	}
	partition(-500)
	partition(-399)
	p.sql(fmt.Sprintf(`drop table %s`, name(14)))

	old := p.ann.post("/v1/audit-log/integrity-checks", nil, "Idempotency-Key: old").want(202).str("id")
	running := p.ann.post("/v1/audit-log/integrity-checks", nil, "Idempotency-Key: new").want(202).str("id")
	p.settle()
	p.sql(`update operations set finished_at = now() - interval '31 days' where id::text = $1`, old)
	p.sql(`update operations set status = 'running', finished_at = null, created_at = now() - interval '90 days' where id::text = $1`, running)
	keys := len(p.sql(`select from idempotency_keys`))
	p.sql(`update idempotency_keys set expires_at = now() - interval '1 minute'
		where ctid = (select ctid from idempotency_keys where operation = 'check-audit-log' limit 1)`)

	if err := p.app.workers.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.until("the log and what hangs on it are put in order", func() bool {
		exists := func(days int) bool {
			return len(p.sql(`select where to_regclass($1) is not null`, "guildhall."+name(days))) == 1
		}
		return exists(14) && exists(-399) && !exists(-500) &&
			len(p.sql(`select from operations where id::text = $1`, old)) == 0 && len(p.sql(`select from idempotency_keys`)) == keys-1
	})
	if err := p.app.workers.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.ann.get("/v1/operations/" + running).want(200)
	p.ann.get("/v1/operations/" + old).want(404)
}
