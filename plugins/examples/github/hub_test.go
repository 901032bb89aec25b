package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	repo   = "acme/web"
	secret = "a secret of the webhook"
)

// fakeHub is GitHub: issues of one repository, and a webhook.
type fakeHub struct {
	*httptest.Server
	t *testing.T

	mu       sync.Mutex
	issues   []*fakeIssue
	comments map[int][]string
	clock    time.Time
	hooks    []hook
	writes   int // by the API
	reads    int // that were answered with an issue
	limited  int // how many requests are refused for now
	hangUp   bool
}

type fakeIssue struct {
	Number      int       `json:"number"`
	Title       string    `json:"title"`
	Body        *string   `json:"body"`
	State       string    `json:"state"`
	UpdatedAt   time.Time `json:"updated_at"`
	PullRequest any       `json:"pull_request,omitempty"`
}

// hook is a delivery that is on its way.
type hook struct {
	header http.Header
	body   []byte
}

func newHub(t *testing.T) *fakeHub {
	t.Helper()
	f := &fakeHub{t: t, comments: map[int][]string{}, clock: time.Now().UTC().Truncate(time.Second).Add(-time.Hour)}
	mux := http.NewServeMux()
	base := "/repos/" + repo + "/issues"
	mux.HandleFunc("GET "+base, f.list)
	mux.HandleFunc("POST "+base, f.create)
	mux.HandleFunc("GET "+base+"/{n}", f.get)
	mux.HandleFunc("PATCH "+base+"/{n}", f.patch)
	mux.HandleFunc("POST "+base+"/{n}/comments", f.comment)
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		switch {
		case r.Header.Get("Authorization") != "Bearer token":
			w.WriteHeader(http.StatusUnauthorized)
		case f.limited > 0:
			f.limited--
			w.Header().Set("X-RateLimit-Remaining", "0")
			w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(time.Now().Add(10*time.Minute).Unix(), 10))
			w.WriteHeader(http.StatusForbidden)
		default:
			mux.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fakeHub) tick() time.Time {
	f.clock = f.clock.Add(time.Second)
	return f.clock
}

func (i *fakeIssue) etag() string { return fmt.Sprintf(`W/"%d-%d"`, i.Number, i.UpdatedAt.Unix()) }

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (f *fakeHub) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	since, _ := time.Parse(time.RFC3339, q.Get("since"))
	page, _ := strconv.Atoi(q.Get("page"))
	size, _ := strconv.Atoi(q.Get("per_page"))
	all := []*fakeIssue{}
	for _, i := range f.issues {
		if (q.Get("state") == "all" || i.State == q.Get("state")) && !i.UpdatedAt.Before(since) {
			all = append(all, i)
		}
	}
	slices.SortFunc(all, func(a, b *fakeIssue) int { return a.UpdatedAt.Compare(b.UpdatedAt) })
	all = all[min(len(all), (page-1)*size):]
	answer(w, http.StatusOK, all[:min(len(all), size)])
}

func (f *fakeHub) find(w http.ResponseWriter, r *http.Request) *fakeIssue {
	n, _ := strconv.Atoi(r.PathValue("n"))
	if n < 1 || n > len(f.issues) {
		w.WriteHeader(http.StatusNotFound)
		return nil
	}
	return f.issues[n-1]
}

func (f *fakeHub) get(w http.ResponseWriter, r *http.Request) {
	i := f.find(w, r)
	if i == nil {
		return
	}
	w.Header().Set("ETag", i.etag())
	if r.Header.Get("If-None-Match") == i.etag() {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	f.reads++
	answer(w, http.StatusOK, i)
}

func (f *fakeHub) create(w http.ResponseWriter, r *http.Request) {
	var in fakeIssue
	if json.NewDecoder(r.Body).Decode(&in) != nil || in.Title == "" || len(in.Title) > 4*256 {
		w.WriteHeader(http.StatusUnprocessableEntity)
		return
	}
	f.writes++
	i := f.add(in.Title, *in.Body)
	if f.hangUp {
		f.hangUp = false
		panic(http.ErrAbortHandler)
	}
	answer(w, http.StatusCreated, i)
}

// add opens an issue.
func (f *fakeHub) add(title, body string) *fakeIssue {
	i := &fakeIssue{Number: len(f.issues) + 1, Title: title, Body: &body, State: "open", UpdatedAt: f.tick()}
	f.issues = append(f.issues, i)
	f.tell("issues", "opened", i, nil)
	return i
}

func (f *fakeHub) patch(w http.ResponseWriter, r *http.Request) {
	i := f.find(w, r)
	if i == nil {
		return
	}
	f.writes++
	action, was := "edited", i.State
	if json.NewDecoder(r.Body).Decode(i) != nil {
		w.WriteHeader(http.StatusUnprocessableEntity)
		return
	}
	if i.State != was {
		action = map[string]string{"closed": "closed", "open": "reopened"}[i.State]
	}
	i.UpdatedAt = f.tick()
	f.tell("issues", action, i, nil)
	answer(w, http.StatusOK, i)
}

func (f *fakeHub) comment(w http.ResponseWriter, r *http.Request) {
	i := f.find(w, r)
	var in struct {
		Body string `json:"body"`
	}
	if i == nil || json.NewDecoder(r.Body).Decode(&in) != nil {
		return
	}
	f.writes++
	f.comments[i.Number] = append(f.comments[i.Number], in.Body)
	f.tell("issue_comment", "created", i, map[string]any{"id": 1000 + f.writes, "body": in.Body, "user": m{"login": "bot"}})
	answer(w, http.StatusCreated, m{"id": 1000 + f.writes})
}

// tell sends a delivery, once it is fetched.
func (f *fakeHub) tell(kind, action string, i *fakeIssue, comment any) {
	body, err := json.Marshal(m{"action": action, "issue": i, "repository": m{"full_name": "Acme/Web"}, "comment": comment})
	if err != nil {
		f.t.Error(err)
	}
	f.hooks = append(f.hooks, newHook(kind, fmt.Sprintf("d%d", len(f.issues)*1000+int(f.clock.Unix()%1000)+f.writes*7), body))
}

func newHook(kind, id string, body []byte) hook {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	h := http.Header{}
	h.Set("X-GitHub-Event", kind)
	h.Set("X-GitHub-Delivery", id)
	h.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	return hook{h, body}
}

// somebody changes something on GitHub.
func (f *fakeHub) somebody(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

// edits changes an issue as a person does.
func (f *fakeHub) edits(n int, action string, change func(*fakeIssue)) {
	f.somebody(func() {
		i := f.issues[n-1]
		change(i)
		i.UpdatedAt = f.tick()
		f.tell("issues", action, i, nil)
	})
}

func (f *fakeHub) takeHooks() []hook {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.hooks
	f.hooks = nil
	return out
}

// state is all issues in a line each.
func (f *fakeHub) state() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, i := range f.issues {
		body := ""
		if i.Body != nil {
			body = marker.ReplaceAllString(*i.Body, "")
		}
		out = append(out, fmt.Sprintf("%s|%s|%s", i.Title, body, map[string]string{"open": "pending", "closed": "done"}[i.State]))
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}
