package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// Whatever happens, every event is counted once.
func TestWebhookDispositionsAddUp(t *testing.T) {
	t.Parallel()
	y := newHookYard(t)
	r := newReceiver(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 0))
	start := time.Now()
	hook := y.ada.hook(r.url, m{"retry_schedule": []int{0, 3600}}).str("id")
	answer := func() func(received) int {
		code := []int{204, 500}[chance.IntN(2)]
		return func(received) int { return code }
	}
	statuses := []string{"failed", "exhausted", "paused", "filtered", "no_match", "delivered"}
	steps := count(25, 400)
	for range steps {
		switch chance.IntN(8) {
		case 0:
			y.patch(hook, m{"enabled": chance.IntN(3) > 0})
		case 1:
			y.patch(hook, m{"event_types": [][]string{{}, {"task.*"}, {"project.*"}, {"task.created"}}[chance.IntN(4)]})
		case 2:
			y.patch(hook, m{"filter": []string{"", `event.type == "task.created"`, `event.data.nothing == 1`}[chance.IntN(3)]})
		case 3:
			r.answers(answer())
		case 4:
			res := y.ada.post("/v1/webhook-endpoints/"+hook+"/replay", m{"since": start, "status": []string{statuses[chance.IntN(6)]}})
			if res.status != 202 {
				res.want(409).code("webhook_endpoint_disabled")
			}
		case 5:
			if page := y.ada.get("/v1/webhook-endpoints/" + hook + "/deliveries?limit=1").want(200); page.len("data") > 0 {
				if res := y.ada.post("/v1/webhook-deliveries/"+page.str("data.0.id")+"/replay", nil); res.status != 202 {
					res.want(409)
				}
			}
		default:
			task := y.ada.post("/v1/projects/"+y.project+"/tasks", m{"title": "One"}).want(201).str("id")
			y.ada.patch("/v1/tasks/"+task, m{"title": "Two"}).want(200)
		}
		if chance.IntN(3) == 0 {
			y.ada.dispositions(hook) // in the middle of things
		}
		y.settle()
		y.whole(hook)
	}
	d := y.whole(hook)
	if missed := y.deliveries(hook, "status=no_match"); int64(len(missed)) != d["no_match"] {
		t.Errorf("%d listed as no match, %d counted", len(missed), d["no_match"])
	}
	since := y.ada.get("/v1/webhook-endpoints/" + hook + "/dispositions?since=2046-01-01T00:00:00Z").want(200)
	if since.num("total") != 0 || since.num("from_sequence") != since.num("to_sequence")+1 {
		t.Errorf("of the future: %s", since.body)
	}
	raw, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	proved(t, "%d random steps, the dispositions added up after each; in the end %s", steps, raw)
}

// The clock makes days ahead and drops those past their time.
func TestWebhookUpkeep(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, "GUILDHALL_RATE_LIMIT=off", "GUILDHALL_WEBHOOK_RETENTION_DAYS=3")
	name := func(table string, days int) string {
		return table + "_" + time.Now().UTC().AddDate(0, 0, days).Format("20060102")
	}
	for _, table := range []string{"webhook_deliveries", "webhook_attempts"} {
		for _, days := range []int{-5, -3} {
			w.sql(fmt.Sprintf(`create table guildhall.%s (like guildhall.%s including defaults including constraints)`, name(table, days), table))
			w.sql(fmt.Sprintf(`alter table %s owner to guildhall_owner`, name(table, days)))
			w.sql(fmt.Sprintf(`alter table %s attach partition %s for values from ('%s') to ('%s')`, table, name(table, days),
				time.Now().UTC().AddDate(0, 0, days).Format(time.DateOnly), time.Now().UTC().AddDate(0, 0, days+1).Format(time.DateOnly)))
		}
		w.sql(fmt.Sprintf(`drop table %s`, name(table, 14)))
	}
	if err := w.app.workers.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.until("the days are put in order", func() bool {
		exists := func(days int) bool {
			return len(w.sql(`select where to_regclass($1) is not null and to_regclass($2) is not null`,
				"guildhall."+name("webhook_deliveries", days), "guildhall."+name("webhook_attempts", days))) == 1
		}
		return exists(14) && exists(-3) && !exists(-5)
	})
	if err := w.app.workers.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}
