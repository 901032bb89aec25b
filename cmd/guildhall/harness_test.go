package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/config"
	"github.com/guildhall-dev/guildhall/internal/mail"
	"github.com/guildhall-dev/guildhall/tenant/tenanttest"
)

// soak reports whether the big counts of docs/reliability.md are asked for.
func soak() bool { return os.Getenv("GUILDHALL_SOAK") != "" }

// count is the small number for make test, the big one for make soak.
func count(small, big int) int {
	if soak() {
		return big
	}
	return small
}

// proved notes what a test showed, in figures; make soak collects these lines
// in docs/reliability.md.
func proved(t testing.TB, format string, args ...any) {
	t.Helper()
	t.Logf("PROVED %s | %s", t.Name(), fmt.Sprintf(format, args...))
}

// world is one running product with a database of its own.
type world struct {
	t      testing.TB
	app    *app
	db     tenanttest.Database
	url    string
	super  *pgxpool.Pool
	outbox *outbox
	http   *http.Client
}

// newWorld starts the product. Jobs run only in settle, so that a test decides
// when "a moment later" is.
func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldOn(t, tenanttest.New(t), t.TempDir())
}

// newWorldOn starts one more replica on a database and a data folder.
func newWorldOn(t testing.TB, db tenanttest.Database, dataDir string) *world {
	t.Helper()
	return startWorld(t, db, "GUILDHALL_DATA_DIR="+dataDir, "GUILDHALL_RATE_LIMIT=off")
}

// newWorldOf starts the product with settings of its own.
func newWorldOf(t testing.TB, env ...string) *world {
	t.Helper()
	return startWorld(t, tenanttest.New(t), append(env, "GUILDHALL_DATA_DIR="+t.TempDir())...)
}

func startWorld(t testing.TB, db tenanttest.Database, env ...string) *world {
	t.Helper()
	return startWorldWith(t, db, options{}, env...)
}

// startWorldWith starts the product with what only tests set.
func startWorldWith(t testing.TB, db tenanttest.Database, o options, env ...string) *world {
	t.Helper()
	cfg, err := config.Load("", append(env, "GUILDHALL_PUBLIC_URL=http://guildhall.test"))
	if err != nil {
		t.Fatal(err)
	}
	box := &outbox{}
	log := slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	d := &database{appURL: db.AppURL, workerURL: db.WorkerURL}
	o.strictEvents, o.mail, o.maxConns = true, box, 10
	a, err := newApp(context.Background(), cfg, d, role{serve: true, work: true}, log, o)
	if err != nil {
		t.Fatal(err)
	}
	a.setReady()
	srv := httptest.NewServer(a.handler())
	super, err := pgxpool.New(context.Background(), db.SuperURL)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, app: a, db: db, url: srv.URL, super: super, outbox: box, http: &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 100},
		Timeout:       60 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	t.Cleanup(func() {
		w.checkEvents()
		srv.Close()
		super.Close()
		a.close()
	})
	return w
}

// testLog sends what the product logs to the test's output.
type testLog struct{ t testing.TB }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Logf("log: %s", bytes.TrimSpace(b))
	return len(b), nil
}

// outbox is the mail server of a world: it keeps what was sent.
type outbox struct {
	mu   sync.Mutex
	sent []mail.Message
}

func (o *outbox) Send(_ context.Context, m mail.Message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sent = append(o.sent, m)
	return nil
}

// mails returns what was sent to the address, oldest first; "" is everybody.
func (w *world) mails(to string) []mail.Message {
	w.outbox.mu.Lock()
	defer w.outbox.mu.Unlock()
	var out []mail.Message
	for _, m := range w.outbox.sent {
		if to == "" || strings.Contains(strings.ToLower(m.To), strings.ToLower(to)) {
			out = append(out, m)
		}
	}
	return out
}

// settle relays events and runs jobs until nothing is due. Jobs of the clock
// do not run.
func (w *world) settle() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for quiet := 0; quiet < 2; {
		n, err := w.app.relay.Once(ctx)
		if err != nil {
			w.t.Fatalf("relay: %v", err)
		}
		ran, err := w.app.workers.RunDue(ctx)
		if err != nil {
			w.t.Fatalf("jobs: %v", err)
		}
		if n+ran == 0 {
			quiet++
		} else {
			quiet = 0
		}
	}
}

// sql runs a statement as the superuser, for white-box checks.
func (w *world) sql(sql string, args ...any) []map[string]any {
	w.t.Helper()
	ctx := context.Background()
	conn, err := w.super.Acquire(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, `set search_path = guildhall, river`); err != nil {
		w.t.Fatal(err)
	}
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToMap)
	if err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	return out
}

// client speaks HTTP as somebody.
type client struct {
	w     *world
	name  string
	email string
	user  string
	token string
	org   string // sent as Guildhall-Organization, unless empty
	key   string // sent as Guildhall-Publishable-Key, unless empty
}

// nobody is a client without a log-in.
func (w *world) nobody() *client { return &client{w: w} }

const testPassword = "correct horse battery"

var personNumber struct {
	sync.Mutex
	n int
}

// person registers somebody and logs in.
func (w *world) person(name string) *client {
	w.t.Helper()
	personNumber.Lock()
	personNumber.n++
	email := fmt.Sprintf("%s.%d@example.test", strings.ToLower(name), personNumber.n)
	personNumber.Unlock()
	c := &client{w: w, name: name, email: email}
	c.post("/v1/auth/register", m{"username": name, "email": email, "password": testPassword}).want(201)
	c.login()
	c.user = c.get("/v1/users/me").want(200).str("id")
	return c
}

// login takes a new access token.
func (c *client) login() *reply {
	c.w.t.Helper()
	r := c.w.nobody().post("/v1/auth/login", m{"email": c.email, "password": testPassword}).want(200)
	c.token = r.str("access_token")
	return r
}

// organization makes an organisation and returns the client within it.
func (c *client) organization(name string) *client {
	c.w.t.Helper()
	o := c.post("/v1/organizations", m{"name": name}).want(201)
	return c.in(o.str("id"))
}

// in returns the same person in an organisation.
func (c *client) in(org string) *client {
	d := *c
	d.org = org
	return &d
}

// with returns the same client with another bearer token.
func (c *client) with(token string) *client {
	d := *c
	d.token = token
	return &d
}

// shop makes a publishable key of the organisation and returns who comes with
// it: a shopper without a log-in.
func (c *client) shop(origins ...string) *client {
	c.w.t.Helper()
	if origins == nil {
		origins = []string{}
	}
	k := c.post("/v1/storefront-keys", m{"name": "Shop", "allowed_origins": origins}).want(201)
	return &client{w: c.w, key: k.str("key")}
}

// customer registers somebody in the shop and logs in.
func (c *client) customer(email string) *client {
	c.w.t.Helper()
	c.post("/v1/storefront/auth/register", m{"email": email, "password": testPassword}).want(201)
	d := &client{w: c.w, key: c.key, email: email}
	d.token = c.post("/v1/storefront/auth/login", m{"email": email, "password": testPassword}).want(200).str("access_token")
	d.user = d.get("/v1/storefront/customers/me").want(200).str("id")
	return d
}

var invitationToken = regexp.MustCompile(`token=([A-Za-z0-9_.-]+)`)

// join invites p into org's organisation with the role, accepts the mailed
// invitation, and returns p there.
func (w *world) join(org, p *client, role string) *client {
	w.t.Helper()
	org.post("/v1/invitations", m{"email": p.email, "role": role}).want(201)
	w.settle()
	mails := w.mails(p.email)
	for i := len(mails) - 1; i >= 0; i-- {
		if found := invitationToken.FindStringSubmatch(mails[i].Text); found != nil && strings.Contains(mails[i].Text, "invit") {
			p.in("").post("/v1/invitations/accept", m{"token": found[1]}).want(200)
			return p.in(org.org)
		}
	}
	w.t.Fatalf("no invitation was mailed to %s", p.email)
	return nil
}

// reply is an answer.
type reply struct {
	t      testing.TB
	what   string
	status int
	head   http.Header
	body   []byte
}

func (c *client) get(path string, headers ...string) *reply {
	return c.do("GET", path, nil, headers...)
}
func (c *client) post(path string, body any, headers ...string) *reply {
	return c.do("POST", path, body, headers...)
}
func (c *client) put(path string, body any, headers ...string) *reply {
	return c.do("PUT", path, body, headers...)
}
func (c *client) patch(path string, body any, headers ...string) *reply {
	return c.do("PATCH", path, body, headers...)
}
func (c *client) delete(path string, headers ...string) *reply {
	return c.do("DELETE", path, nil, headers...)
}

// do sends a request; headers are "Name: value". A body that is a string or
// []byte goes out as it is. The answer is held against the published document.
func (c *client) do(method, path string, body any, headers ...string) *reply {
	c.w.t.Helper()
	r, err := c.try(method, path, body, headers...)
	if err != nil {
		c.w.t.Fatalf("%s %s: %v", method, path, err)
	}
	conform(c.w.t, method, path, r)
	return r
}

// try is do for goroutines and servers that may die.
func (c *client) try(method, path string, body any, headers ...string) (*reply, error) {
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		in = strings.NewReader(b)
	case []byte:
		in = bytes.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(raw)
	}
	req, err := http.NewRequest(method, c.w.url+path, in)
	if err != nil {
		return nil, err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if c.org != "" {
		req.Header.Set("Guildhall-Organization", c.org)
	}
	if c.key != "" {
		req.Header.Set("Guildhall-Publishable-Key", c.key)
	}
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ":")
		req.Header.Set(k, strings.TrimSpace(v))
	}
	res, err := c.w.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	return &reply{t: c.w.t, what: method + " " + path, status: res.StatusCode, head: res.Header, body: raw}, nil
}

// want fails the test if the status is another.
func (r *reply) want(status int) *reply {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("%s: status %d, want %d: %s", r.what, r.status, status, r.body)
	}
	return r
}

// code fails the test if the problem's code is another.
func (r *reply) code(code string) *reply {
	r.t.Helper()
	if got := r.str("code"); got != code {
		r.t.Fatalf("%s: code %q, want %q: %s", r.what, got, code, r.body)
	}
	return r
}

// at returns the value at a dotted path such as data.0.id; nil if absent.
func (r *reply) at(path string) any {
	r.t.Helper()
	var v any
	dec := json.NewDecoder(bytes.NewReader(r.body))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		r.t.Fatalf("%s: not JSON: %s", r.what, r.body)
	}
	for _, p := range strings.Split(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[p]
		case []any:
			i, err := strconv.Atoi(p)
			if err != nil || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

func (r *reply) str(path string) string {
	r.t.Helper()
	s, _ := r.at(path).(string)
	return s
}

func (r *reply) num(path string) int64 {
	r.t.Helper()
	n, _ := r.at(path).(json.Number)
	v, _ := n.Int64()
	return v
}

func (r *reply) len(path string) int {
	r.t.Helper()
	a, _ := r.at(path).([]any)
	return len(a)
}

func (r *reply) into(v any) *reply {
	r.t.Helper()
	if err := json.Unmarshal(r.body, v); err != nil {
		r.t.Fatalf("%s: %v: %s", r.what, err, r.body)
	}
	return r
}

func (r *reply) header(name string) string { return r.head.Get(name) }

// apiCredentials are what a client sends.
func apiCredentials(c *client) api.Credentials {
	return api.Credentials{Bearer: c.token, Organization: c.org, Access: api.InOrganization}
}
