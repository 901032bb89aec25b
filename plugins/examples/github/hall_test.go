package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/guildhall-dev/guildhall/plugins/sdk"
	"github.com/guildhall-dev/guildhall/plugins/sdk/plugintest"
)

type m = map[string]any

const project = "0198c1f2-7b1e-7c3a-9d52-0000000000aa"

// hall is the part of Guildhall's API that the plugin uses, with its rules for
// keys and ETags, and the events that it leads to.
type hall struct {
	t *testing.T
	h *plugintest.Host

	mu       sync.Mutex
	tasks    []*hallTask
	comments []string
	once     map[string][2]string // body and answer by key
	events   []func() sdk.Event
	writes   int // by the plugin
}

type hallTask struct {
	ID          string     `json:"id"`
	ProjectID   string     `json:"project_id"`
	Title       string     `json:"title"`
	Description string     `json:"description"`
	Status      string     `json:"status"`
	StateGroup  string     `json:"state_group"`
	Version     int        `json:"version"`
	DeletedAt   *time.Time `json:"deleted_at"`
}

// world is the plugin between the two.
func world(t *testing.T, more m) (*plugintest.Host, *fakeHub, *hall) {
	t.Helper()
	hub, g := newHub(t), &hall{t: t, once: map[string][2]string{}}
	settings := m{"repo": repo, "token": "token", "webhook_secret": secret, "project_id": project, "base_url": hub.URL}
	for k, v := range more {
		settings[k] = v
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/tasks/{id}", g.get)
	mux.HandleFunc("PATCH /v1/tasks/{id}", g.patch)
	mux.HandleFunc("POST /v1/projects/"+project+"/tasks", g.create)
	mux.HandleFunc("POST /v1/tasks/{id}/comments", g.comment)
	g.h = plugintest.Run(t, plugintest.Options{Settings: settings, API: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		defer g.mu.Unlock()
		mux.ServeHTTP(w, r)
	})})
	return g.h, hub, g
}

func (g *hall) find(w http.ResponseWriter, r *http.Request) *hallTask {
	for _, t := range g.tasks {
		if t.ID == r.PathValue("id") {
			return t
		}
	}
	answer(w, http.StatusNotFound, m{"status": 404, "code": "not_found"})
	return nil
}

func (g *hall) get(w http.ResponseWriter, r *http.Request) {
	if t := g.find(w, r); t != nil {
		w.Header().Set("ETag", fmt.Sprintf(`"%d"`, t.Version))
		answer(w, http.StatusOK, t)
	}
}

func (g *hall) create(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	key := r.Header.Get("Idempotency-Key")
	if was, again := g.once[key]; again && key != "" {
		if was[0] != string(body) {
			answer(w, http.StatusUnprocessableEntity, m{"status": 422, "code": "idempotency_key_reused"})
			return
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, was[1])
		return
	}
	var t hallTask
	if json.Unmarshal(body, &t) != nil || t.Title == "" {
		answer(w, http.StatusUnprocessableEntity, m{"status": 422, "code": "validation_failed"})
		return
	}
	g.writes++
	made := g.add(t.Title, t.Description, t.Status, g.h.Own())
	raw, _ := json.Marshal(made)
	g.once[key] = [2]string{string(body), string(raw)}
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(raw)
}

func group(status string) string {
	if status == "done" {
		return "completed"
	}
	return "unstarted"
}

// add makes a task, by somebody.
func (g *hall) add(title, description, status string, by sdk.Reference) *hallTask {
	t := &hallTask{ID: fmt.Sprintf("0198c1f2-7b1e-7c3a-9d52-%012d", len(g.tasks)+1), ProjectID: project,
		Title: title, Description: description, Status: status, StateGroup: group(status), Version: 1}
	g.tasks = append(g.tasks, t)
	g.happens("task.created", t.ID, *t, by)
	return t
}

func (g *hall) happens(kind, id string, data any, by sdk.Reference) {
	g.events = append(g.events, func() sdk.Event {
		e := g.h.Event(kind, id, data, nil)
		if by.Type != "" {
			e.Actor = by
		}
		return e
	})
}

func (g *hall) patch(w http.ResponseWriter, r *http.Request) {
	t := g.find(w, r)
	if t == nil {
		return
	}
	if match := r.Header.Get("If-Match"); match != "" && match != fmt.Sprintf(`"%d"`, t.Version) {
		answer(w, http.StatusPreconditionFailed, m{"status": 412, "code": "version_conflict"})
		return
	}
	if json.NewDecoder(r.Body).Decode(t) != nil {
		answer(w, http.StatusUnprocessableEntity, m{"status": 422, "code": "validation_failed"})
		return
	}
	g.writes++
	g.changed(t, g.h.Own())
	answer(w, http.StatusOK, t)
}

func (g *hall) changed(t *hallTask, by sdk.Reference) {
	t.StateGroup = group(t.Status)
	t.Version++
	g.happens("task.updated", t.ID, *t, by)
}

func (g *hall) comment(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Body string `json:"body"`
	}
	key := r.Header.Get("Idempotency-Key")
	if _, again := g.once[key]; !again && json.NewDecoder(r.Body).Decode(&in) == nil {
		g.once[key] = [2]string{}
		g.writes++
		g.comments = append(g.comments, in.Body)
		g.happens("comment.created", "c-own", m{"task_id": r.PathValue("id"), "project_id": project, "body": in.Body}, g.h.Own())
	}
	answer(w, http.StatusCreated, m{"id": "c"})
}

// somebody changes something in Guildhall.
func (g *hall) somebody(do func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	do()
}

func (g *hall) edits(n int, change func(*hallTask)) {
	g.somebody(func() {
		change(g.tasks[n-1])
		g.changed(g.tasks[n-1], sdk.Reference{})
	})
}

func (g *hall) takeEvents() (out []sdk.Event) {
	g.mu.Lock()
	waiting := g.events
	g.events = nil
	g.mu.Unlock()
	for _, e := range waiting {
		out = append(out, e())
	}
	return out
}

// state is all tasks in a line each.
func (g *hall) state() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []string
	for _, t := range g.tasks {
		out = append(out, fmt.Sprintf("%s|%s|%s", t.Title, t.Description, t.Status))
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}
