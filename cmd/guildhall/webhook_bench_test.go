package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/work/tasks"
)

// hookBench is a product at work with endpoints on this machine.
func hookBench(b *testing.B) *world {
	b.Helper()
	if err := durable(); err != nil {
		b.Fatal(err)
	}
	return hookWorld(b)
}

// atWork runs relay and workers until the returned function is called.
func (w *world) atWork() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.app.work(ctx); err != nil {
			w.t.Error(err)
		}
	}()
	return func() { cancel(); <-done }
}

// sink counts what it gets and reads it to its end.
type sink struct {
	url  string
	n    atomic.Int64
	wait time.Duration
}

func newSink(b *testing.B, wait time.Duration) *sink {
	s := &sink{wait: wait}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if s.wait > 0 {
			select {
			case <-time.After(s.wait):
			case <-r.Context().Done():
			}
		}
		s.n.Add(1)
		w.WriteHeader(http.StatusNoContent)
	}))
	b.Cleanup(srv.CloseClientConnections)
	b.Cleanup(srv.Close)
	s.url = srv.URL
	return s
}

func waitFor(b testing.TB, within time.Duration, what string, cond func() bool) {
	b.Helper()
	deadline := time.After(within)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			b.Fatalf("waited %s in vain until %s", within, what)
		case <-tick.C:
		}
	}
}

// percentiles of what was measured.
func percentiles(all []time.Duration) (p50, p95, p99 time.Duration) {
	slices.Sort(all)
	at := func(p int) time.Duration { return all[min(len(all)-1, len(all)*p/100)].Round(100 * time.Microsecond) }
	return at(50), at(95), at(99)
}

// emit writes n events of a project, a hundred in each transaction.
func (c *client) emit(project string, n int) {
	w, org := c.w, id.MustParse(c.org)
	of := id.MustParse(project)
	for done := 0; done < n; done += 100 {
		err := w.app.db.Write(context.Background(), tenant.ForSystem(org), func(tx *tenant.Tx) error {
			for range min(100, n-done) {
				if err := tasks.Created.Emit(context.Background(), tx, tasks.Task{ID: id.New(), ProjectID: of, Title: "Lay the tiles of the roof", Labels: []string{"roof"}, Status: "pending"}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			w.t.Error(err)
			return
		}
	}
}

// From the beginning of the writing transaction to the receiver, at 200 events
// a second.
func BenchmarkRatioWebhookLatency(b *testing.B) {
	w := hookBench(b)
	ada := w.person("ada").organization("Hall")
	r := newReceiver(b)
	ada.hook(r.url, m{"event_types": []string{"task.*"}})
	defer w.atWork()()
	project := ada.post("/v1/projects", m{"name": "Roof", "key": "ROOF"}).want(201).str("id")
	ada.emit(project, 200)
	waitFor(b, 10*time.Second, "it is warm", func() bool { return r.count() >= 200 })
	const events = 2000
	every := time.NewTicker(5 * time.Millisecond)
	defer every.Stop()
	for range events {
		<-every.C
		go ada.emit(project, 1)
	}
	waitFor(b, time.Minute, "all has come", func() bool { return r.count() >= 200+events })
	var all []time.Duration
	for _, g := range r.all()[200:] {
		all = append(all, g.at.Sub(timestampOf(b, g)))
	}
	p50, p95, p99 := percentiles(all)
	b.ReportMetric(float64(p95.Milliseconds()), "p95-ms")
	fmt.Printf("| write to receiver at 200/s, p95 (< 100 ms) | %v | p50 %v, p99 %v | | |\n", p95, p50, p99)
}

func timestampOf(b *testing.B, g received) time.Time {
	b.Helper()
	const mark = `"timestamp":"`
	i := bytes.Index(g.body, []byte(mark)) + len(mark)
	at, err := time.Parse(time.RFC3339Nano, string(g.body[i:i+bytes.IndexByte(g.body[i:], '"')]))
	if err != nil {
		b.Fatal(err)
	}
	return at
}

// A burst of events to three endpoints, against a loop that signs, sends and
// inserts one row per delivery over as many connections.
func BenchmarkRatioWebhookBurst(b *testing.B) {
	w := hookBench(b)
	ada := w.person("ada").organization("Hall")
	const endpoints, connections = 3, 32
	sinks := make([]*sink, endpoints)
	for i := range sinks {
		sinks[i] = newSink(b, 0)
		ada.hook(sinks[i].url, m{"event_types": []string{"task.*"}, "max_in_flight": connections})
	}
	sent := func() (n int64) {
		for _, s := range sinks {
			n += s.n.Load()
		}
		return n
	}
	project := ada.post("/v1/projects", m{"name": "Roof", "key": "ROOF"}).want(201).str("id")
	ada.emit(project, 500)
	w.settle()
	w.sql(`create table guildhall.bare_attempts (id uuid primary key, delivery uuid not null, status int not null, headers jsonb not null, body bytea, at timestamptz not null default now())`)
	const events, rounds = 20_000, 3
	var ratios []float64
	var base, ours time.Duration
	for range rounds {
		b0 := bareLoop(b, w, sinks, events, connections)
		ada.emit(project, events)
		before, start := sent(), time.Now()
		stop := w.atWork()
		waitFor(b, time.Minute, "the burst is drained", func() bool { return sent()-before >= events*endpoints })
		o0 := time.Since(start)
		stop()
		ratios = append(ratios, float64(b0)/float64(o0))
		base, ours = b0, o0
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
	rate := func(d time.Duration) int { return int(float64(events*endpoints) / d.Seconds()) }
	fmt.Printf("| burst of %d events to %d endpoints, deliveries/s, ours / bare loop (>= 0.5) | %.2f | %.2f to %.2f | %d/s | %d/s |\n",
		events, endpoints, ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1], rate(base), rate(ours))
}

func bareLoop(b *testing.B, w *world, sinks []*sink, events, connections int) time.Duration {
	pool := rawPool(b, w)
	transport := &http.Transport{MaxIdleConnsPerHost: connections}
	defer transport.CloseIdleConnections()
	c := &http.Client{Transport: transport}
	secret, body := []byte("0123456789abcdef0123456789abcdef"), bytes.Repeat([]byte(`{"title":"Lay the tiles"}`), 30)
	var wg sync.WaitGroup
	start := time.Now()
	for _, s := range sinks {
		var next atomic.Int64
		for range connections {
			wg.Go(func() {
				for next.Add(1) <= int64(events) {
					eid, stamp := id.New().String(), strconv.FormatInt(time.Now().Unix(), 10)
					mac := hmac.New(sha256.New, secret)
					fmt.Fprintf(mac, "%s.%s.%s", eid, stamp, body)
					req, _ := http.NewRequest("POST", s.url, bytes.NewReader(body))
					req.Header.Set("webhook-id", eid)
					req.Header.Set("webhook-timestamp", stamp)
					req.Header.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
					res, err := c.Do(req)
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
					if _, err := pool.Exec(context.Background(), `insert into guildhall.bare_attempts (id, delivery, status, headers, body) values ($1, $2, $3, '{"content-type": "application/json"}', '')`,
						id.New(), eid, res.StatusCode); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	return time.Since(start)
}

// One organisation has fifty thousand deliveries due to an endpoint that takes
// ten seconds for each; another's go on.
func BenchmarkRatioWebhookFairness(b *testing.B) {
	w := hookBench(b)
	slow, quick := w.person("slow").organization("Slow"), w.person("quick").organization("Quick")
	tar := newSink(b, 10*time.Second)
	slow.hook(tar.url, m{"event_types": []string{"task.*"}})
	r := newReceiver(b)
	quick.hook(r.url, m{"event_types": []string{"task.*"}})
	project := m{"name": "Roof", "key": "ROOF"}
	slowly, quickly := slow.post("/v1/projects", project).want(201).str("id"), quick.post("/v1/projects", project).want(201).str("id")
	w.settle()
	slow.emit(slowly, 50_000)
	defer w.atWork()()
	waitFor(b, 5*time.Minute, "the fifty thousand are due", func() bool {
		return w.sql(`select count(*) as n from webhook_queue`)[0]["n"].(int64) > 49_000
	})
	const events = 500
	every := time.NewTicker(20 * time.Millisecond)
	defer every.Stop()
	for range events {
		<-every.C
		go quick.emit(quickly, 1)
	}
	waitFor(b, time.Minute, "the other's have come", func() bool { return r.count() >= events })
	var all []time.Duration
	for _, g := range r.all() {
		all = append(all, g.at.Sub(timestampOf(b, g)))
	}
	p50, p95, p99 := percentiles(all)
	b.ReportMetric(float64(p95.Milliseconds()), "p95-ms")
	fmt.Printf("| beside 50,000 due deliveries to a 10 s endpoint, another organisation's p95 (< 250 ms) | %v | p50 %v, p99 %v | | |\n", p95, p50, p99)
}

// A write costs the same whether somebody listens or not.
func BenchmarkRatioWebhookWrite(b *testing.B) {
	w := hookBench(b)
	without, with := w.person("ann").organization("Without"), w.person("ben").organization("With")
	s := newSink(b, 0)
	for range 3 {
		with.hook(s.url, nil)
	}
	post := func(c *client) func() error {
		project := c.post("/v1/projects", m{"name": "Roof", "key": "ROOF"}).want(201).str("id")
		return fetch(c, "POST", "/v1/projects/"+project+"/tasks", `{"title":"x"}`)
	}
	ratio(b, "POST task with three endpoints / with none (<= 1.15)", 9, 400, 1, false, post(without), post(with))
}
