package identity

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/http"
	"net/http/httptest"
	netmail "net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/internal/mail"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/internal/seal"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/tenant/tenanttest"
)

const goodPassword = "correct horse battery staple"

// bundle is one instance with nothing but this feature.
type bundle struct {
	t     *testing.T
	db    tenanttest.Database
	app   *tenant.DB
	super *pgxpool.Pool
	keys  *seal.Keyring
	mails string // folder
	ahead atomic.Int64
	*replica
}

// replica is one process of it.
type replica struct {
	f       *Feature
	handler http.Handler
}

func setup(t *testing.T) *bundle {
	t.Helper()
	t.Parallel()
	b := &bundle{t: t, db: tenanttest.New(t), mails: t.TempDir()}
	ctx := context.Background()
	var err error
	if b.app, err = tenant.Open(ctx, tenant.Options{URL: b.db.AppURL, MaxConns: 12}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.app.Close)
	if b.super, err = pgxpool.New(ctx, b.db.SuperURL+"&search_path=guildhall"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.super.Close)
	if b.keys, err = seal.Open(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	b.replica = b.start()
	return b
}

func (b *bundle) now() time.Time { return time.Now().Add(time.Duration(b.ahead.Load())) }

// start starts another replica on the same database.
func (b *bundle) start() *replica {
	b.t.Helper()
	log := slog.New(slog.DiscardHandler)
	queue, err := jobs.NewQueue(b.app, log)
	if err != nil {
		b.t.Fatal(err)
	}
	sender, err := mail.New("", "Guildhall <guildhall@example.com>", b.mails)
	if err != nil {
		b.t.Fatal(err)
	}
	f, err := New(Deps{DB: b.app, Queue: queue, Keys: b.keys, Mail: sender, PublicURL: "https://guildhall.example.com/", Log: log, Now: b.now})
	if err != nil {
		b.t.Fatal(err)
	}
	catalogue, err := authz.NewCatalogue(nil)
	if err != nil {
		b.t.Fatal(err)
	}
	r := api.NewRouter(&api.Kernel{
		DB: b.app, Catalogue: catalogue, Log: log, Cursors: page.NewCodec(make([]byte, 32)), StrictEvents: true,
		Identify: func(ctx context.Context, c api.Credentials) (*api.Caller, error) {
			user, session, _, err := f.Tokens().Verify(ctx, c.Bearer)
			if err != nil {
				return nil, err
			}
			// Unlike the wiring of the product it does not ask for the session, so
			// that the feature's own checks are what is tested.
			return &api.Caller{Scope: tenant.Scope{Actor: tenant.Actor{Kind: tenant.User, ID: user}, User: user}, User: user, Session: session}, nil
		},
	})
	m := f.Module()
	m.Operations(r.Tagged(m.Name))
	if err := r.Err(); err != nil {
		b.t.Fatal(err)
	}
	return &replica{f: f, handler: r.Handler()}
}

// work runs the jobs until none is left.
func (b *bundle) work() {
	b.t.Helper()
	ctx := context.Background()
	db, err := tenant.Open(ctx, tenant.Options{URL: b.db.WorkerURL, MaxConns: 6})
	if err != nil {
		b.t.Fatal(err)
	}
	defer db.Close()
	m := b.f.Module()
	w, err := jobs.NewWorkers(db, m.Jobs, 4, slog.New(slog.DiscardHandler))
	if err != nil {
		b.t.Fatal(err)
	}
	for {
		n, err := w.RunDue(ctx)
		if err != nil {
			b.t.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
}

func (b *bundle) number(sql string, args ...any) (n int) {
	b.t.Helper()
	if err := b.super.QueryRow(context.Background(), sql, args...).Scan(&n); err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

func (b *bundle) exec(sql string, args ...any) {
	b.t.Helper()
	if _, err := b.super.Exec(context.Background(), sql, args...); err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
}

// reply is an answer.
type reply struct {
	t      testing.TB
	status int
	header http.Header
	body   map[string]any
	raw    string
}

func (r *replica) call(t testing.TB, method, path, token string, body any, headers ...string) *reply {
	t.Helper()
	var in io.Reader = http.NoBody
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		in = bytes.NewReader(raw)
	}
	req := httptest.NewRequest(method, path, in)
	req.RemoteAddr = "192.0.2.1:4711"
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "from" {
			req.RemoteAddr = headers[i+1]
			continue
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	r.handler.ServeHTTP(rec, req)
	out := &reply{t: t, status: rec.Code, header: rec.Header(), raw: rec.Body.String()}
	if rec.Body.Len() > 0 {
		if err := json.Unmarshal(rec.Body.Bytes(), &out.body); err != nil {
			t.Fatalf("%s %s: %v: %s", method, path, err, rec.Body)
		}
	}
	return out
}

func (b *bundle) post(path, token string, body any, headers ...string) *reply {
	b.t.Helper()
	return b.call(b.t, "POST", path, token, body, headers...)
}

func (b *bundle) get(path, token string) *reply {
	b.t.Helper()
	return b.call(b.t, "GET", path, token, nil)
}

func (r *reply) want(status int, code ...string) *reply {
	r.t.Helper()
	if err := r.is(status, code...); err != nil {
		r.t.Fatal(err)
	}
	return r
}

// is is want for goroutines, which must not end the test.
func (r *reply) is(status int, code ...string) error {
	if r.status != status || len(code) > 0 && r.body["code"] != code[0] {
		return fmt.Errorf("status %d, want %d %v: %s", r.status, status, code, r.raw)
	}
	return nil
}

func (r *reply) str(name string) string {
	r.t.Helper()
	s, ok := r.body[name].(string)
	if !ok {
		r.t.Fatalf("no text %q in %s", name, r.raw)
	}
	return s
}

type m map[string]any

// person registers and logs in; the pair is returned.
func (b *bundle) person(email string) (access, refresh string) {
	b.t.Helper()
	b.post("/v1/auth/register", "", m{"username": "Ann", "email": email, "password": goodPassword}).want(201)
	return b.login(email, goodPassword)
}

func (b *bundle) login(email, password string) (access, refresh string) {
	b.t.Helper()
	r := b.post("/v1/auth/login", "", m{"email": email, "password": password}).want(200)
	return r.str("access_token"), r.str("refresh_token")
}

type letterRead struct{ to, subject, text, html, token string }

// readMails returns the mails so far, oldest first.
func (b *bundle) readMails() []letterRead {
	b.t.Helper()
	files, err := filepath.Glob(filepath.Join(b.mails, "*.eml"))
	if err != nil {
		b.t.Fatal(err)
	}
	var out []letterRead
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			b.t.Fatal(err)
		}
		l, err := parseMail(raw)
		if err != nil {
			b.t.Fatalf("%v in %s", err, raw)
		}
		out = append(out, l)
	}
	return out
}

func parseMail(raw []byte) (l letterRead, err error) {
	msg, err := netmail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return l, err
	}
	to, err := netmail.ParseAddress(msg.Header.Get("To"))
	if err != nil {
		return l, err
	}
	l.to, l.subject = to.Address, msg.Header.Get("Subject")
	_, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil {
		return l, err
	}
	parts := multipart.NewReader(msg.Body, params["boundary"])
	for {
		p, err := parts.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return l, err
		}
		body, err := io.ReadAll(quotedprintable.NewReader(p))
		if err != nil {
			return l, err
		}
		if strings.HasPrefix(p.Header.Get("Content-Type"), "text/html") {
			l.html = string(body)
		} else {
			l.text = strings.ReplaceAll(string(body), "\r\n", "\n")
		}
	}
	if _, rest, ok := strings.Cut(l.text, "#token="); ok {
		l.token, _, _ = strings.Cut(rest, "\n")
	}
	return l, nil
}

// mailed runs the jobs and returns the newest mail with the subject.
func (b *bundle) mailed(subject string) letterRead {
	b.t.Helper()
	b.work()
	all := b.readMails()
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].subject == subject {
			return all[i]
		}
	}
	b.t.Fatalf("no mail %q among %d", subject, len(all))
	return letterRead{}
}

func TestWalk(t *testing.T) {
	b := setup(t)
	first := b.post("/v1/auth/register", "", m{"username": " Ann ", "email": "Ann@Example.com", "password": goodPassword}).want(201)
	access, refresh := b.login("ann@example.com", goodPassword)
	me := b.get("/v1/users/me", access).want(200)
	if me.str("username") != "Ann" || me.str("email") != "Ann@Example.com" || me.body["email_verified"] != false || me.body["role"] != nil {
		t.Fatalf("me: %s", me.raw)
	}
	if me.header.Get("ETag") != `"1"` {
		t.Errorf("ETag %s", me.header.Get("ETag"))
	}

	// The same answer for an address that is taken, in another spelling.
	second := b.post("/v1/auth/register", "", m{"username": "Eve", "email": "ANN@example.com", "password": "another password"}).want(201)
	if first.raw != second.raw {
		t.Errorf("answers differ: %s %s", first.raw, second.raw)
	}
	if b.mailed("You already have an account").to != "Ann@Example.com" {
		t.Error("the owner was not told")
	}
	b.post("/v1/auth/login", "", m{"email": "ann@example.com", "password": "another password"}).want(401, "invalid_credentials")

	l := b.mailed("Confirm your e-mail address")
	if !strings.Contains(l.html, "https://guildhall.example.com/confirm-email#token="+l.token) || l.token == "" {
		t.Fatalf("mail: %+v", l)
	}
	b.post("/v1/auth/confirm-email", "", m{"token": l.token}).want(200)
	b.post("/v1/auth/confirm-email", "", m{"token": l.token}).want(422, "token_invalid")
	if me := b.get("/v1/users/me", access).want(200); me.body["email_verified"] != true {
		t.Errorf("me: %s", me.raw)
	}
	b.post("/v1/auth/confirm-email/resend", access, nil).want(200)

	next := b.post("/v1/auth/refresh", "", m{"refresh_token": refresh}).want(200)
	if next.header.Get("Cache-Control") != "no-store" || next.body["expires_in"] != 900.0 || next.str("token_type") != "bearer" {
		t.Errorf("refresh: %s", next.raw)
	}
	b.post("/v1/auth/logout", next.str("access_token"), nil).want(204)
	for _, tok := range []string{access, next.str("access_token")} {
		b.get("/v1/users/me", tok).want(401, "unauthenticated")
		b.post("/v1/auth/logout", tok, nil).want(401, "unauthenticated")
		b.get("/v1/users/me/sessions", tok).want(401)
		b.call(t, "DELETE", "/v1/users/me/sessions", tok, nil).want(401)
		b.call(t, "PATCH", "/v1/users/me", tok, m{"locale": "de"}).want(401)
		b.post("/v1/users/me/password", tok, m{"current_password": goodPassword, "password": "something else"}).want(401)
		b.post("/v1/auth/confirm-email/resend", tok, nil).want(401)
	}
	b.post("/v1/auth/refresh", "", m{"refresh_token": next.str("refresh_token")}).want(401)
	if n := b.number(`select count(*) from river.river_job where args::text ~ 'example|ghr_|#token'`); n != 0 {
		t.Errorf("%d jobs carry more than ids", n)
	}
}
