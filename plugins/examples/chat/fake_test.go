package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
)

// fake is a chat that takes messages at incoming webhooks, /hooks/<name>.
type fake struct {
	*httptest.Server
	mu    sync.Mutex
	took  []posted
	next  []int // statuses of the next answers
	wait  int   // Retry-After of those that refuse for now
	gone  map[string]bool
	tries int
}

type posted struct {
	hook            string
	Text            string         `json:"text"`
	Content         string         `json:"content"`
	Channel         string         `json:"channel"`
	Username        string         `json:"username"`
	AllowedMentions map[string]any `json:"allowed_mentions"`
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{gone: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /hooks/{name}", f.post)
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	return f
}

func (f *fake) post(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tries++
	if f.gone[r.PathValue("name")] {
		http.Error(w, "no_service", http.StatusGone)
		return
	}
	if len(f.next) > 0 {
		code := f.next[0]
		f.next = f.next[1:]
		if f.wait > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(f.wait))
		}
		http.Error(w, "not now", code)
		return
	}
	p := posted{hook: r.PathValue("name")}
	raw, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(raw, &p) != nil || p.Text+p.Content == "" || r.Header.Get("Content-Type") != "application/json" {
		http.Error(w, "invalid_payload", http.StatusBadRequest)
		return
	}
	f.took = append(f.took, p)
	_, _ = io.WriteString(w, "ok")
}

// refuses has the next requests refused.
func (f *fake) refuses(wait int, statuses ...int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wait, f.next = wait, statuses
}

func (f *fake) messages() []posted {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.took)
}

func (f *fake) url(name string) string { return f.URL + "/hooks/" + name }
