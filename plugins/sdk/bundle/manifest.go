package bundle

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// APIVersion is the version of the plugin API that this code speaks.
const APIVersion = "1.0"

// Manifest says what a plugin is and what it asks for. ParseManifest makes it;
// what the file leaves out has its default. The file's fields are described in
// ManifestSchema.
type Manifest struct {
	ID          string `json:"id"`
	Version     string `json:"version"`
	API         string `json:"api"`
	Name        string `json:"name"`
	Description string `json:"description"`
	Publisher   string `json:"publisher"`
	Homepage    string `json:"homepage,omitempty"`
	License     string `json:"license,omitempty"`

	Runtime Runtime `json:"runtime"`

	Events    []string   `json:"events,omitempty"`
	Hooks     []Hook     `json:"hooks,omitempty"`
	Actions   []Action   `json:"actions,omitempty"`
	Provides  []Provided `json:"provides,omitempty"`
	Inbound   []Inbound  `json:"inbound,omitempty"`
	Schedules []Schedule `json:"schedules,omitempty"`
	Emits     []Emitted  `json:"emits,omitempty"`

	Permissions     []Permission    `json:"permissions,omitempty"`
	PrivateProjects *PrivateAccess  `json:"private_projects,omitempty"`
	Hosts           []Host          `json:"hosts,omitempty"`
	Settings        json.RawMessage `json:"settings,omitempty"`
	Limits          Limits          `json:"limits"`

	settings *jsonschema.Schema // nil: no settings
	inputs   map[string]*jsonschema.Schema
	emits    map[string]*jsonschema.Schema
}

// Runtime says how the plugin is started: Binaries, or Interpreter and Main.
type Runtime struct {
	Binaries    map[string]string `json:"binaries,omitempty"` // "linux_amd64": "bin/linux_amd64/hello"
	Interpreter string            `json:"interpreter,omitempty"`
	Main        string            `json:"main,omitempty"`
	TLS         string            `json:"tls"`
}

// How a plugin's socket is guarded.
const (
	TLSAuto = "auto" // with certificates made at start
	TLSNone = "none" // by the socket's folder alone
)

// Hook is a question before a change.
type Hook struct {
	Hook       string `json:"hook"`
	DeadlineMS int    `json:"deadline_ms"`
	OnFailure  string `json:"on_failure"`
	Why        string `json:"why"`
}

// What becomes of a change when a hook does not answer.
const (
	OnFailureAllow  = "allow"
	OnFailureRefuse = "refuse"
)

// Deadline is how long the hook may take.
func (h Hook) Deadline() time.Duration { return time.Duration(h.DeadlineMS) * time.Millisecond }

// Action is a command that people can choose.
type Action struct {
	Name        string          `json:"name"`
	Title       string          `json:"title"`
	Description string          `json:"description"`
	On          []string        `json:"on,omitempty"`
	Permission  string          `json:"permission,omitempty"`
	Input       json.RawMessage `json:"input"`
}

// Provided is a service of a kind that a feature of Guildhall declares.
type Provided struct {
	Point string `json:"point"`
	Name  string `json:"name"`
	Title string `json:"title"`
}

// Inbound is an address at which foreign services reach the plugin.
type Inbound struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

// Schedule is work at intervals.
type Schedule struct {
	Name  string `json:"name"`
	Every string `json:"every"`
}

// Period is the interval.
func (s Schedule) Period() time.Duration {
	d, err := time.ParseDuration(s.Every)
	if err != nil {
		return 0
	}
	return d
}

// Emitted is an event that the plugin writes.
type Emitted struct {
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Schema      json.RawMessage `json:"schema"`
}

// Permission is something that the plugin may do through the API.
type Permission struct {
	Permission string `json:"permission"`
	Why        string `json:"why"`
	Optional   bool   `json:"optional,omitempty"`
}

// PrivateAccess is the wish to see private projects.
type PrivateAccess struct {
	Why      string `json:"why"`
	Optional bool   `json:"optional,omitempty"`
}

// Host is where requests may go: to Host, or to the host of the URL that the
// organisation's settings have in the field Setting ("/url").
type Host struct {
	Host     string `json:"host,omitempty"`
	Setting  string `json:"setting,omitempty"`
	Why      string `json:"why"`
	Optional bool   `json:"optional,omitempty"`
}

// Limits bound the plugin's process.
type Limits struct {
	MemoryMB   int `json:"memory_mb"`
	Processes  int `json:"processes"`
	CPUPercent int `json:"cpu_percent"`
}

// setDefaults fills in what the file left out.
func (m *Manifest) setDefaults() {
	fill := func(n *int, standard int) {
		if *n == 0 {
			*n = standard
		}
	}
	fill(&m.Limits.MemoryMB, 256)
	fill(&m.Limits.Processes, 64)
	fill(&m.Limits.CPUPercent, 50)
	for i := range m.Hooks {
		fill(&m.Hooks[i].DeadlineMS, usualDeadline)
	}
	if m.Runtime.TLS == "" {
		m.Runtime.TLS = TLSAuto
	}
}

// EventMatches reports whether an event's type is the one that is asked for:
// exactly, or by "task.*" or "*".
func EventMatches(asked, eventType string) bool {
	prefix, all := strings.CutSuffix(asked, "*")
	return asked == eventType || all && strings.HasPrefix(eventType, prefix)
}

// AllowsEvent reports whether the plugin hears events of the type.
func (m *Manifest) AllowsEvent(eventType string) bool {
	return slices.ContainsFunc(m.Events, func(asked string) bool { return EventMatches(asked, eventType) })
}

// EventType is the type of the plugin's event with the name.
func (m *Manifest) EventType(name string) string { return "plugin." + m.ID + "." + name }
