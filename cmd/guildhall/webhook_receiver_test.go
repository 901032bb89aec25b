package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"
)

// receiver is an endpoint's other side: it keeps what it got and answers as it
// is told.
type receiver struct {
	t   testing.TB
	url string

	mu     sync.Mutex
	got    []received
	answer func(got received) int
}

// received is one attempt as it arrived.
type received struct {
	header   http.Header
	body     []byte
	id       string
	sequence int64
	attempt  int
	subject  string
	status   int // what was answered
	at       time.Time
}

// newReceiver answers 204 to all until told otherwise.
func newReceiver(t testing.TB) *receiver {
	t.Helper()
	r := &receiver{t: t, answer: func(received) int { return http.StatusNoContent }}
	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	r.url = srv.URL
	return r
}

// ServeHTTP implements http.Handler.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the sender died
	}
	var e struct {
		Subject struct {
			Type string `json:"type"`
			ID   string `json:"id"`
		} `json:"subject"`
	}
	_ = json.Unmarshal(body, &e)
	g := received{header: req.Header.Clone(), body: body, id: req.Header.Get("Webhook-Id"), subject: e.Subject.Type + ":" + e.Subject.ID, at: time.Now()}
	g.sequence, _ = strconv.ParseInt(req.Header.Get("Webhook-Sequence"), 10, 64)
	g.attempt, _ = strconv.Atoi(req.Header.Get("Webhook-Attempt"))
	r.mu.Lock()
	answer := r.answer
	r.mu.Unlock()
	g.status = answer(g)
	r.mu.Lock()
	r.got = append(r.got, g)
	r.mu.Unlock()
	w.WriteHeader(g.status)
}

// answers sets what is answered from now on.
func (r *receiver) answers(fn func(received) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = fn
}

// all returns what came so far, in the order in which it was answered.
func (r *receiver) all() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]received(nil), r.got...)
}

// accepted returns what was answered with 2xx.
func (r *receiver) accepted() (out []received) {
	for _, g := range r.all() {
		if g.status/100 == 2 {
			out = append(out, g)
		}
	}
	return out
}

// count returns how many attempts came so far.
func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got)
}

// hookWorld is a world that may call receivers on this machine.
func hookWorld(t testing.TB) *world {
	t.Helper()
	return newWorldOf(t, "GUILDHALL_OUTBOUND_ALLOW=127.0.0.0/8", "GUILDHALL_RATE_LIMIT=off")
}

// hook makes an endpoint; more is laid over the defaults. Retries come at once.
func (c *client) hook(url string, more m) *reply {
	c.w.t.Helper()
	body := m{"url": url, "retry_schedule": []int{0, 0, 0, 0, 0, 0}}
	for k, v := range more {
		body[k] = v
	}
	return c.post("/v1/webhook-endpoints", body).want(201)
}

// dispositions returns what became of the events at an endpoint, and fails if
// the figures do not add up.
func (c *client) dispositions(endpoint string) map[string]int64 {
	c.w.t.Helper()
	r := c.get("/v1/webhook-endpoints/" + endpoint + "/dispositions").want(200)
	out, sum := map[string]int64{"total": r.num("total")}, int64(0)
	for _, s := range []string{"delivered", "pending", "failed", "exhausted", "filtered", "paused", "no_match"} {
		out[s] = r.num(s)
		sum += out[s]
	}
	if sum != out["total"] {
		c.w.t.Errorf("the dispositions of %s do not add up: %s", endpoint, r.body)
	}
	return out
}
