package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// control lets trigger hand an event to a listen that runs. It hears on the
// loopback interface and answers only who knows the token, which only this user
// can read.
type control struct {
	token   string
	deliver func(ctx context.Context, e liveEvent) attempt
}

// handed is the answer to an event that was handed over.
type handed struct {
	ForwardTo string `json:"forward_to"`
	Status    int    `json:"status"` // 0 = no answer, or only printed
	Millis    int64  `json:"duration_ms"`
	Error     string `json:"error,omitempty"`
}

// serveControl begins to hear and makes it known in the folder; stop ends both.
func serveControl(f folder, l listener, deliver func(context.Context, liveEvent) attempt) (stop func(), err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("hear from guildhall trigger: %w", err)
	}
	l.Control, l.Token, l.Process, l.Started = "http://"+ln.Addr().String(), rand.Text(), os.Getpid(), time.Now().UTC()
	c := &control{l.Token, deliver}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("POST /events", func(w http.ResponseWriter, r *http.Request) { c.take(w, r, l.ForwardTo) })
	srv := &http.Server{Handler: c.guard(mux), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
	withdraw, err := f.announce(l)
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	go func() { _ = srv.Serve(ln) }() // ends when it is closed
	return func() {
		withdraw()
		_ = srv.Close()
	}, nil
}

func (c *control) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || subtle.ConstantTimeCompare([]byte(token), []byte(c.token)) != 1 {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (c *control) take(w http.ResponseWriter, r *http.Request, forwardTo string) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 4<<20))
	if err != nil {
		http.Error(w, "the event cannot be read", http.StatusBadRequest)
		return
	}
	e, err := readEvent(raw)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a := c.deliver(r.Context(), e)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(handed{forwardTo, a.status, a.took.Milliseconds(), a.err}) // who asked has gone
}

// alive says whether the listener answers.
func (l listener) alive(ctx context.Context, client *http.Client) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	res, err := l.ask(ctx, client, http.MethodGet, "/", nil)
	if err != nil {
		return false
	}
	res.Body.Close()
	return res.StatusCode == http.StatusNoContent
}

// hand gives the listener an event and waits for what became of it.
func (l listener) hand(ctx context.Context, client *http.Client, event []byte) (handed, error) {
	var h handed
	res, err := l.ask(ctx, client, http.MethodPost, "/events", event)
	if err != nil {
		return h, fmt.Errorf("hand the event to the listen of process %d: %s", l.Process, reason(err))
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err == nil && res.StatusCode == http.StatusOK {
		return h, json.Unmarshal(raw, &h)
	}
	return h, fmt.Errorf("the listen of process %d answers %d: %s", l.Process, res.StatusCode, plain(string(bytes.TrimSpace(raw))))
}

func (l listener) ask(ctx context.Context, client *http.Client, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, l.Control+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+l.Token)
	return client.Do(req)
}
