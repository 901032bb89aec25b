package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/pgembed"
	"github.com/guildhall-dev/guildhall/plugins/sdk/launch"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/work/tasks"
)

// The benchmarks print ratios: ours against a baseline in the same process, on
// the same server, in alternating rounds; the median counts. The server is
// durable, as in production, so a commit is a commit on both sides.

// TestMain takes the benchmarks' server down with them. The test program also
// confines the plugins of the tests.
func TestMain(t *testing.M) {
	launch.Main()
	code := t.Run()
	if benchServer.stop != nil {
		benchServer.stop()
	}
	os.Exit(code)
}

var benchServer struct{ stop func() }

var durable = sync.OnceValue(func() error {
	if os.Getenv("TEST_DATABASE_URL") != "" {
		return nil
	}
	dir, err := os.MkdirTemp("", "gh-bench")
	if err != nil {
		return err
	}
	srv, err := pgembed.Start(context.Background(), pgembed.Config{DataDir: dir})
	if err != nil {
		return err
	}
	benchServer.stop = func() {
		_ = srv.Stop(context.Background())
		_ = os.RemoveAll(dir)
	}
	return os.Setenv("TEST_DATABASE_URL", srv.URL("postgres"))
})

func benchWorld(b *testing.B) *world {
	b.Helper()
	if err := durable(); err != nil {
		b.Fatal(err)
	}
	return newWorld(b)
}

// ratio runs both sides in turn, n times each a round, and reports the median
// of base time / our time (higher is better) or its inverse.
func ratio(b *testing.B, figure string, rounds, n, workers int, higherIsBetter bool, base, ours func() error) {
	b.Helper()
	side := func(fn func() error) time.Duration {
		var wg sync.WaitGroup
		errs := make(chan error, workers)
		start := time.Now()
		for range workers {
			wg.Go(func() {
				for range n / workers {
					if err := fn(); err != nil {
						errs <- err
						return
					}
				}
			})
		}
		wg.Wait()
		took := time.Since(start)
		select {
		case err := <-errs:
			b.Fatal(err)
		default:
		}
		return took
	}
	side(base)
	side(ours) // both warm
	var all []float64
	var baseBest, oursBest time.Duration
	for r := range rounds {
		var tb, to time.Duration
		if r%2 == 0 {
			tb, to = side(base), side(ours)
		} else {
			to, tb = side(ours), side(base)
		}
		q := float64(to) / float64(tb)
		if higherIsBetter {
			q = float64(tb) / float64(to)
		}
		all = append(all, q)
		if baseBest == 0 || tb < baseBest {
			baseBest = tb
		}
		if oursBest == 0 || to < oursBest {
			oursBest = to
		}
	}
	slices.Sort(all)
	median := all[len(all)/2]
	b.ReportMetric(median, "ratio")
	b.ReportMetric(0, "ns/op")
	fmt.Printf("| %s | %.2f | %.2f to %.2f | %v | %v |\n", figure, median, all[0], all[len(all)-1],
		(baseBest / time.Duration(n)).Round(time.Nanosecond*10), (oursBest / time.Duration(n)).Round(time.Nanosecond*10))
}

// benchTask is a task with an organisation around it.
type benchTask struct {
	w       *world
	owner   *client
	project string
	task    string
	org     id.ID
	taskID  id.ID
}

func newBenchTask(b *testing.B) benchTask {
	w := benchWorld(b)
	owner := w.person("ann").organization("Bench")
	project := owner.post("/v1/projects", m{"name": "Bench"}).want(201).str("id")
	var task string
	for i := range 60 {
		task = owner.post("/v1/projects/"+project+"/tasks", m{"title": fmt.Sprintf("Task %d", i), "labels": []string{"red", "blue"}}).want(201).str("id")
	}
	w.settle()
	w.sql("analyze")
	return benchTask{w, owner, project, task, id.MustParse(owner.org), id.MustParse(task)}
}

const bareTask = `select id, number, title, description, status, priority, assigned_to_id, project_id, parent_id, due_date, start_date, position, completed_at, version, created_at, updated_at
	from guildhall.tasks where tenant_id = $1 and id = $2`

// bareRow is what a handler without tenants, rights and events would answer.
type bareRow struct {
	ID           id.ID      `db:"id" json:"id"`
	Number       int        `db:"number" json:"number"`
	Title        string     `db:"title" json:"title"`
	Description  string     `db:"description" json:"description"`
	Status       string     `db:"status" json:"status"`
	Priority     string     `db:"priority" json:"priority"`
	AssignedToID *id.ID     `db:"assigned_to_id" json:"assigned_to_id"`
	ProjectID    id.ID      `db:"project_id" json:"project_id"`
	ParentID     *id.ID     `db:"parent_id" json:"parent_id"`
	DueDate      *time.Time `db:"due_date" json:"due_date"`
	StartDate    *time.Time `db:"start_date" json:"start_date"`
	Position     string     `db:"position" json:"position"`
	CompletedAt  *time.Time `db:"completed_at" json:"completed_at"`
	Version      int64      `db:"version" json:"version"`
	CreatedAt    time.Time  `db:"created_at" json:"created_at"`
	UpdatedAt    time.Time  `db:"updated_at" json:"updated_at"`
}

// rawPool is a pool without row-level security.
func rawPool(b *testing.B, w *world) *pgxpool.Pool {
	cfg, err := pgxpool.ParseConfig(w.db.SuperURL)
	if err != nil {
		b.Fatal(err)
	}
	cfg.MaxConns = 10
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	return pool
}

func oneBare(ctx context.Context, pool *pgxpool.Pool, sql string, args ...any) (bareRow, error) {
	rows, err := pool.Query(ctx, sql, args...)
	if err != nil {
		return bareRow{}, err
	}
	return pgx.CollectOneRow(rows, pgx.RowToStructByName[bareRow])
}

func BenchmarkRatioView(b *testing.B) {
	t := newBenchTask(b)
	ctx, pool := context.Background(), rawPool(b, t.w)
	creds := t.caller(b)
	view := t.w.app.db.View(creds)
	ratio(b, "one-row read: tenant.View / raw pgx (<= 1.35)", 15, 2000, 1, false,
		func() error { _, err := oneBare(ctx, pool, bareTask, t.org, t.taskID); return err },
		func() error {
			_, err := tenant.One[bareRow](ctx, view, bareTask, t.org, t.taskID)
			return err
		})
}

// caller is the scope that a request of the owner runs in.
func (t benchTask) caller(b *testing.B) tenant.Scope {
	caller, err := t.w.app.features.identify(context.Background(), apiCredentials(t.owner))
	if err != nil {
		b.Fatal(err)
	}
	return caller.Scope
}

// bareServer is the baseline: net/http, pgx, JSON.
func bareServer(b *testing.B, t benchTask) string {
	pool := rawPool(b, t.w)
	mux := http.NewServeMux()
	write := func(w http.ResponseWriter, status int, v any, err error) {
		if err != nil {
			http.Error(w, err.Error(), 500)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("GET /tasks/{id}", func(w http.ResponseWriter, r *http.Request) {
		row, err := oneBare(r.Context(), pool, bareTask, t.org, id.MustParse(r.PathValue("id")))
		write(w, 200, row, err)
	})
	mux.HandleFunc("GET /tasks", func(w http.ResponseWriter, r *http.Request) {
		rows, err := pool.Query(r.Context(), bareList, t.org, id.MustParse(t.project))
		if err != nil {
			write(w, 500, nil, err)
			return
		}
		list, err := pgx.CollectRows(rows, pgx.RowToStructByName[bareRow])
		write(w, 200, map[string]any{"data": list}, err)
	})
	mux.HandleFunc("POST /tasks", func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Title string }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			write(w, 400, nil, err)
			return
		}
		row, err := oneBare(r.Context(), pool, bareInsert, id.New(), in.Title)
		write(w, 201, row, err)
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := &http.Server{Handler: mux}
	go func() { _ = srv.Serve(ln) }()
	b.Cleanup(func() { _ = srv.Close() })
	return "http://" + ln.Addr().String()
}

const (
	bareList = `select id, number, title, description, status, priority, assigned_to_id, project_id, parent_id, due_date, start_date, position, completed_at, version, created_at, updated_at
		from guildhall.tasks where tenant_id = $1 and project_id = $2 order by created_at desc, id desc limit 50`
	bareTable = `create table guildhall.bare (id uuid primary key, number serial, title text not null, description text not null default '', status text not null default 'pending', priority text not null default 'none',
		assigned_to_id uuid, project_id uuid not null default gen_random_uuid(), parent_id uuid, due_date date, start_date date, position text not null default 'a', completed_at timestamptz, version bigint not null default 1,
		created_at timestamptz not null default now(), updated_at timestamptz not null default now())`
	bareInsert = `insert into guildhall.bare (id, title) values ($1, $2)
		returning id, number, title, description, status, priority, assigned_to_id, project_id, parent_id, due_date, start_date, position, completed_at, version, created_at, updated_at`
)

// fetch sends a request and reads the answer to its end.
func fetch(c *client, method, url, body string, headers ...string) func() error {
	return func() error {
		own := *c
		if url[0] != '/' {
			own.w = &world{t: c.w.t, http: c.w.http}
		}
		r, err := own.try(method, url, anyBody(body), append(headers, keyHeader(headers)...)...)
		if err == nil && r.status >= 300 {
			err = fmt.Errorf("%s %s: %d %s", method, url, r.status, r.body)
		}
		return err
	}
}

func anyBody(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// keyHeader makes a fresh Idempotency-Key where one is asked for.
func keyHeader(headers []string) []string {
	if slices.Contains(headers, "X-Fresh-Key: yes") {
		return []string{"Idempotency-Key: " + id.New().String()}
	}
	return nil
}

func BenchmarkRatioGet(b *testing.B) {
	t := newBenchTask(b)
	bare := bareServer(b, t)
	ratio(b, "GET one task, requests/s: ours / bare handler (>= 0.65)", 11, 4000, 4, true,
		fetch(t.w.nobody(), "GET", bare+"/tasks/"+t.task, ""), fetch(t.owner, "GET", "/v1/tasks/"+t.task, ""))
}

func BenchmarkRatioList(b *testing.B) {
	t := newBenchTask(b)
	bare := bareServer(b, t)
	ratio(b, "GET list of 50, requests/s: ours / bare handler (>= 0.6)", 11, 1200, 4, true,
		fetch(t.w.nobody(), "GET", bare+"/tasks", ""), fetch(t.owner, "GET", "/v1/projects/"+t.project+"/tasks?sort=-created_at", ""))
}

// Creates in one project follow one another, since its numbers have no gaps;
// so the writers take turns over projects, as the people of an organisation do.
func BenchmarkRatioPost(b *testing.B) {
	t := newBenchTask(b)
	t.w.sql(bareTable)
	bare := bareServer(b, t)
	var posts []func() error
	for i := range 16 {
		project := t.owner.post("/v1/projects", m{"name": fmt.Sprint("P", i), "key": fmt.Sprint("P", i)}).want(201).str("id")
		posts = append(posts, fetch(t.owner, "POST", "/v1/projects/"+project+"/tasks", `{"title":"x"}`, "X-Fresh-Key: yes"))
	}
	var turn atomic.Int64
	ratio(b, "POST task with event and key, requests/s: ours / bare insert (>= 0.5)", 9, 800, 4, true,
		fetch(t.w.nobody(), "POST", bare+"/tasks", `{"title":"x"}`),
		func() error { return posts[turn.Add(1)%16]() })
}

func BenchmarkRatioPermission(b *testing.B) {
	t := newBenchTask(b)
	a := t.w.app.authority
	warm := func(n int) ([]id.ID, func() error) {
		orgs := make([]id.ID, n)
		for i := range orgs {
			orgs[i] = id.New()
			if _, err := a.Grant(context.Background(), orgs[i], 1, authz.Member); err != nil {
				b.Fatal(err)
			}
		}
		i := 0
		return orgs, func() error {
			g, err := a.Grant(context.Background(), orgs[i%n], 1, authz.Member)
			i++
			if err == nil && !a.Catalogue().Has(g.Set, tasks.Read) {
				err = fmt.Errorf("a member may not read tasks")
			}
			return err
		}
	}
	_, few := warm(10)
	_, many := warm(10_000)
	ratio(b, "permission check: 10,000 organisations / 10 (<= 1; each < 1 us)", 15, 200_000, 1, false, few, many)
}

const manyTasks = `with o as (
		insert into guildhall.organizations (tenant_id, slug, name) select gen_random_uuid(), 'bulk-' || n || '-' || $3::text, 'Bulk' from generate_series(1, $1::int) n returning tenant_id
	), p as (
		insert into guildhall.projects (tenant_id, id, key, name, visibility, status) select tenant_id, gen_random_uuid(), 'BULK', 'Bulk', 'open', 'active' from o returning tenant_id, id
	), s as (
		insert into guildhall.project_states (tenant_id, project_id, id, key, name, state_group, position, is_default)
		select tenant_id, id, gen_random_uuid(), 'pending', 'Pending', 'unstarted', 'a', true from p returning tenant_id, project_id
	)
	insert into guildhall.tasks (tenant_id, id, project_id, number, title, status, state_group, position, created_by_kind)
	select s.tenant_id, gen_random_uuid(), s.project_id, n, 'Task ' || n, 'pending', 'unstarted', to_hex(n) || 'z', 'system' from s, generate_series(1, $2::int) n`

func BenchmarkRatioSize(b *testing.B) {
	small, big := newBenchTask(b), newBenchTask(b)
	small.w.sql("select set_config('statement_timeout', '0', false)")
	small.w.sql(manyTasks, 10, 1000, "s")
	for part := range 10 {
		big.w.sql(manyTasks, 100, 1000, fmt.Sprint("b", part))
	}
	for _, t := range []benchTask{small, big} {
		t.w.sql("vacuum analyze guildhall.tasks")
		t.w.sql("vacuum analyze guildhall.projects")
	}
	ratio(b, "GET one task: with 1,000,000 tasks in 1,000 organisations / with 10,000 (<= 1.3)", 11, 2000, 2, false,
		fetch(small.owner, "GET", "/v1/tasks/"+small.task, ""), fetch(big.owner, "GET", "/v1/tasks/"+big.task, ""))
}
