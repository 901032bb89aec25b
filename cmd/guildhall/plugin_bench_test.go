package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant/tenanttest"
	"github.com/guildhall-dev/guildhall/work/tasks"
)

// pluginBench is a product in which one organisation runs the probe.
func pluginBench(b *testing.B, drain time.Duration) (w *world, with tenantOf) {
	b.Helper()
	if err := durable(); err != nil {
		b.Fatal(err)
	}
	w = startWorldWith(b, tenanttest.New(b), options{drain: drain}, "GUILDHALL_DATA_DIR="+b.TempDir(), "GUILDHALL_RATE_LIMIT=off")
	w.addPlugin(probeBundle(b, "1.0.0", nil))
	return w, w.tenant("with", true)
}

// quantiles in milliseconds.
func quantiles(all []time.Duration) (p50, p99 float64) {
	slices.Sort(all)
	at := func(p int) float64 { return float64(all[min(len(all)-1, len(all)*p/100)].Microseconds()) / 1000 }
	return at(50), at(99)
}

// A task is made with a hook that allows everything, and without; one after the
// other in turn.
func BenchmarkRatioPluginHook(b *testing.B) {
	w, with := pluginBench(b, 0)
	without := w.tenant("without", false)
	var base, ours []time.Duration
	one := func(o tenantOf, all *[]time.Duration) {
		began := time.Now()
		r, err := o.try("POST", "/v1/projects/"+o.project+"/tasks", m{"title": "Lay the tiles"})
		took := time.Since(began)
		if err != nil || r.status != 201 {
			b.Fatalf("%v %s", err, r.body)
		}
		*all = append(*all, took)
	}
	for range 2000 {
		one(without, &base)
		one(with, &ours)
	}
	base, ours = base[200:], ours[200:]
	b50, b99 := quantiles(base)
	o50, o99 := quantiles(ours)
	for _, p := range w.app.features.plugins.HealthOf(id.MustParse(with.plugin), "probe", "1.0.0").Points {
		if p.Failures > 0 {
			b.Fatalf("the hook failed %d times: %s", p.Failures, p.LastError)
		}
	}
	b.ReportMetric(o50-b50, "p50-ms")
	fmt.Printf("| a veto hook that allows, on top of POST task, ms (p50 <= 0.3, p99 <= 1) | p50 %.2f, p99 %.2f | | p50 %.2f, p99 %.2f | p50 %.2f, p99 %.2f |\n", o50-b50, o99-b99, b50, b99, o50, o99)
}

// What the question costs whether anybody wants to be asked, in an organisation
// where nobody does, as a share of the operation that asks it.
func BenchmarkRatioPluginNobody(b *testing.B) {
	w, _ := pluginBench(b, 0)
	without := w.tenant("without", false)
	const questions = 200_000
	type answer struct {
		Nanos float64 `json:"nanos"`
	}
	r := api.NewRouter(&api.Kernel{DB: w.app.db, Catalogue: w.app.authority.Catalogue(), Identify: w.app.features.identify, Log: w.app.log})
	api.Call(r.Tagged("bench"), api.Op{ID: "ask", Route: "GET /ask", Can: tasks.Read, Summary: "Ask", Doc: "Asks."}, func(ctx context.Context, _ *struct{}) (answer, error) {
		began := time.Now()
		for range questions {
			if wanted, err := tasks.WillCreate.Wanted(ctx, w.app.features.plugins); wanted || err != nil {
				return answer{}, fmt.Errorf("wanted: %w", err)
			}
		}
		return answer{float64(time.Since(began).Nanoseconds()) / questions}, nil
	})
	srv := httptest.NewServer(r.Handler())
	defer srv.Close()
	asker := *without.client
	asker.w = &world{t: b, url: srv.URL, http: http.DefaultClient}
	var all, posts []time.Duration
	for range 11 {
		got, err := asker.try("GET", "/v1/ask", nil)
		if err != nil || got.status != 200 {
			b.Fatalf("%v %s", err, got.body)
		}
		var a answer
		got.into(&a)
		all = append(all, time.Duration(a.Nanos))
		for range 50 {
			took, _, err := without.write()
			if err != nil {
				b.Fatal(err)
			}
			posts = append(posts, took)
		}
	}
	slices.Sort(all)
	slices.Sort(posts)
	ask, post := all[len(all)/2], posts[len(posts)/2]
	b.ReportMetric(float64(ask), "ask-ns")
	fmt.Printf("| POST task with the question whether a plugin is to be asked / without, nobody is (<= 1.02) | %.5f | %v to %v | %v | %v |\n",
		1+float64(ask)/float64(post-ask), all[0], all[len(all)-1], post, ask)
}

// From the wish for a process to its answer: bundle read and verified, process
// confined, keys exchanged.
func BenchmarkRatioPluginStart(b *testing.B) {
	w, with := pluginBench(b, time.Millisecond)
	host := w.app.features.plugins
	var memory int64
	meets(b, 10*time.Second, "its memory is known", func() bool {
		memory = host.HealthOf(id.MustParse(with.plugin), "probe", "1.0.0").MemoryBytes
		return memory > 0
	})
	with.delete(with.path()).want(204)
	var all []time.Duration
	for range 30 {
		w.stopped(b)
		began := time.Now()
		if err := host.Warm(b.Context(), "probe", "1.0.0"); err != nil {
			b.Fatal(err)
		}
		all = append(all, time.Since(began))
	}
	p50, p99 := quantiles(all)
	b.ReportMetric(p50, "start-ms")
	fmt.Printf("| start of a plugin, ms (p50 < 300) | %.0f | %.0f to %.0f | | |\n", p50, float64(all[0].Milliseconds()), p99)
	fmt.Printf("| memory of a plugin's process, resident | %d MiB | | | |\n", memory>>20)
}

// stopped waits until the version has no process.
func (w *world) stopped(t testing.TB) {
	t.Helper()
	host := w.app.features.plugins
	meets(t, 30*time.Second, "its process is gone", func() bool {
		if err := host.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		return host.HealthOf(id.Nil, "probe", "1.0.0").State == "stopped"
	})
}

// A plugin reads a task through the host, many times in one action; against the
// same read over HTTP with an API key.
func BenchmarkRatioPluginHostCall(b *testing.B) {
	_, with := pluginBench(b, 0)
	task := with.post("/v1/projects/"+with.project+"/tasks", m{"title": "one"}).want(201).str("id")
	key := with.with(with.post("/v1/api-keys", m{"name": "Bench", "permissions": []string{"tasks.read", "projects.read"}}).want(201).str("key"))
	const calls = 400
	get := fetch(key, "GET", "/v1/tasks/"+task, "")
	act := func() error {
		r, err := with.try("POST", with.path()+"/actions/call", m{"input": m{"method": "GET", "path": "/v1/tasks/" + task, "count": calls}})
		if err == nil && (r.status != 200 || r.at("output.error") != nil) {
			err = fmt.Errorf("%d %s", r.status, r.body)
		}
		return err
	}
	ratio(b, "400 reads of a task: by a plugin through the host, calls/s / over HTTP with a key (>= 0.5)", 11, 1, 1, true,
		func() error {
			for range calls {
				if err := get(); err != nil {
					return err
				}
			}
			return nil
		}, act)
}
