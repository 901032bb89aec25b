package main

import (
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// TestWebhookKillLosesNothing ends guildhall, its Postgres, or both with
// kill -9 while people write and three endpoints listen of which each fails at
// three attempts in ten. In the end each endpoint has accepted every event of
// the log; what came twice came under the same webhook-id.
func TestWebhookKillLosesNothing(t *testing.T) {
	t.Parallel()
	in := newInstance(t, "GUILDHALL_RATE_LIMIT=off", "GUILDHALL_DEMO=off", "GUILDHALL_OUTBOUND_ALLOW=127.0.0.0/8")
	p := in.start(time.Minute)
	k := newKillTest(t, in, p)
	var receivers []*receiver
	var hooks []string
	for i := range 3 {
		r := newReceiver(t)
		r.answers(func(g received) int {
			h := fnv.New32()
			h.Write([]byte(g.id + strconv.Itoa(g.attempt) + strconv.Itoa(i)))
			if h.Sum32()%10 < 3 {
				return 500
			}
			return 204
		})
		retries := make([]int, 20)
		for n := range retries {
			retries[n] = 1
		}
		ordering := []string{"none", "by_subject", "none"}[i]
		hooks = append(hooks, k.people[0].hook(r.url, m{"retry_schedule": retries, "ordering": ordering}).str("id"))
		receivers = append(receivers, r)
	}
	chance := rand.New(rand.NewPCG(rand.Uint64(), 0))
	rounds := count(3, 200)
	for round := range rounds {
		k.writeUntilKilled(p, round%3, time.Duration(chance.Int64N(int64(time.Second))))
		p = in.start(10 * time.Second)
		k.moveTo(p)
		for _, w := range k.writers {
			w.again()
		}
	}
	k.check()
	in.until(4*time.Minute, "everything is delivered", func() bool {
		return in.sql(`select count(*) from guildhall.webhook_queue`) == 0
	})
	ada := k.people[0]
	var last int64
	feed := map[string]bool{}
	for _, e := range ada.feed() {
		feed[e.ID], last = true, e.Sequence
	}
	attempts, twice := 0, 0
	for i, r := range receivers {
		d := ada.dispositions(hooks[i])
		if d["delivered"]+d["exhausted"] != d["total"] || d["exhausted"] > 0 {
			t.Errorf("endpoint %d: %v", i, d)
		}
		first := last - d["total"] + 1
		seen := map[string]bool{}
		for _, g := range r.accepted() {
			if !feed[g.id] {
				t.Errorf("event %s was sent and is not in the log", g.id)
			}
			if seen[g.id] {
				twice++
			}
			seen[g.id] = true
		}
		for _, e := range ada.feed() {
			if e.Sequence >= first && !seen[e.ID] {
				t.Errorf("endpoint %d never got event %d", i, e.Sequence)
			}
		}
		attempts += r.count()
	}
	p.stop(syscall.SIGINT)
	proved(t, "%d kills, %d events to each of 3 endpoints of which 30 %% of the attempts failed: none lost, %d attempts, %d came twice under their id",
		rounds, len(feed), attempts, twice)
}
