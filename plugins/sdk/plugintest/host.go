package plugintest

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/guildhall-dev/guildhall/plugins/sdk"
)

// Host is Guildhall to the plugin, for one organisation that installed it.
type Host struct {
	OrganizationID string
	InstallationID string

	t       T
	p       *process
	api     http.Handler
	hosts   map[string]string
	offline bool // nothing answers its requests to the world

	mu              sync.Mutex
	granted         map[string]bool
	settings        json.RawMessage
	settingsVersion int64
	sequence        int
	values          map[string]value
	secrets         map[string][]byte
	emitted         []Emitted
	once            map[string]string // id of an event by its name and key
	tasks           []Task
	requests        []Exchange
	fetches         []Exchange
	logged          []Line
	denied          []string
}

// Another is another organisation in the same process of the plugin, as in
// production: nothing of the one may be seen in the other. Dir, Bundle and
// Confine of the options mean nothing.
func (h *Host) Another(o Options) *Host {
	h.t.Helper()
	return h.p.install(o)
}

// Settings replaces the settings, which have to fit the manifest's schema.
// CheckSettings asks the plugin about settings first, as the product does.
func (h *Host) Settings(settings any) {
	h.t.Helper()
	raw := json.RawMessage("{}")
	if settings != nil {
		raw = encoded(h.t, settings)
	}
	if bad := h.p.manifest.CheckSettings(raw); len(bad) > 0 {
		h.t.Fatalf("plugintest: the settings do not fit the manifest: %s: %s", bad[0].Pointer, bad[0].Message)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.settings = raw
	h.settingsVersion++
}

// Revoke takes grants away.
func (h *Host) Revoke(keys ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, k := range keys {
		h.granted[k] = false
	}
}

func (h *Host) has(key string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.granted[key]
}

// setting is a string of the settings, "/url".
func (h *Host) setting(pointer string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var fields map[string]any
	if json.Unmarshal(h.settings, &fields) != nil {
		return ""
	}
	s, _ := fields[strings.TrimPrefix(pointer, "/")].(string)
	return s
}

// Event makes the next event of the organisation's log: of a type, about the
// thing with the id, with its data and the old values of what changed (nil for
// none). A person did it; change Actor for others.
func (h *Host) Event(kind, id string, data, previous any) sdk.Event {
	h.t.Helper()
	h.mu.Lock()
	h.sequence++
	n := h.sequence
	h.mu.Unlock()
	about, _, _ := strings.Cut(kind, ".")
	return sdk.Event{
		ID: uuid(3, n), Type: kind, OrganizationID: h.OrganizationID, Sequence: int64(n), SchemaVersion: 1,
		Timestamp: time.Date(2026, 3, 1, 9, 0, n, 0, time.UTC),
		Subject:   sdk.Reference{Type: about, ID: id}, Actor: sdk.Reference{Type: "user", ID: uuid(4, 1)},
		Data: encoded(h.t, data), Previous: encoded(h.t, previous),
	}
}

// Own is the plugin itself as the actor of an event.
func (h *Host) Own() sdk.Reference { return sdk.Reference{Type: "plugin", ID: h.InstallationID} }

// Line is a line that the plugin logged.
type Line struct {
	Level   string // debug, info, warn or error
	Message string
	Fields  map[string]string
}

// Logged is what the plugin logged.
func (h *Host) Logged() []Line { return copied(h, &h.logged) }

// Denied is what the plugin was denied: for each host call, what it was and why.
func (h *Host) Denied() []string { return copied(h, &h.denied) }

// Requests are the plugin's requests to the API and their answers, in order.
func (h *Host) Requests() []Exchange { return copied(h, &h.requests) }

// Fetches are its requests to the world and their answers.
func (h *Host) Fetches() []Exchange { return copied(h, &h.fetches) }

// Emitted is what it emitted.
func (h *Host) Emitted() []Emitted { return copied(h, &h.emitted) }

// Tasks are what it put aside and what was not done yet.
func (h *Host) Tasks() []Task { return copied(h, &h.tasks) }

func copied[E any](h *Host, from *[]E) []E {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(*from)
}

// Output is what the plugin printed, for all organisations.
func (h *Host) Output() string { return h.p.output() }

// Values are what the plugin keeps for the organisation.
func (h *Host) Values() map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[string]string{}
	for key, v := range h.values {
		out[key] = string(v.bytes)
	}
	return out
}

// SetValue writes one of them.
func (h *Host) SetValue(key, content string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.values[key] = value{[]byte(content), h.values[key].version + 1}
}

// Secrets are the secrets that it keeps.
func (h *Host) Secrets() map[string][]byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.secrets)
}

// Exchange is a request and its answer.
type Exchange struct {
	Method  string
	URL     string // of an API request its path with the query: "/v1/tasks?status=pending"
	Header  http.Header
	Body    []byte
	Status  int
	Answer  []byte
	Answers http.Header // the answer's headers
}
