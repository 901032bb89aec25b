package bundle

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/mod/semver"
)

const (
	mostManifest = 256 << 10
	mostSettings = 64 << 10

	shortestPeriod = time.Minute
	longestPeriod  = 168 * time.Hour
)

// ParseManifest reads manifest.json. The error is a *ManifestError with
// everything that is wrong.
func ParseManifest(raw []byte) (*Manifest, error) {
	if len(raw) > mostManifest {
		return nil, &ManifestError{[]FieldError{{"", fmt.Sprintf("is too large: %d of at most %d bytes", len(raw), mostManifest)}}}
	}
	schema, err := compiledManifest()
	if err != nil {
		return nil, fmt.Errorf("the schema of manifests: %w", err)
	}
	bad := hold(schema, raw)
	var m Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		if bad == nil {
			bad = []FieldError{{"", "is not a manifest: " + err.Error()}}
		}
		return nil, &ManifestError{bad}
	}
	if newer := apiWords(m.API); newer != "" {
		return nil, &ManifestError{[]FieldError{{"/api", newer}}} // the rest may be right there
	}
	known := map[string]bool{}
	for _, b := range bad {
		known[b.Pointer] = true
	}
	for _, b := range m.check() {
		if !known[b.Pointer] {
			bad = append(bad, b)
		}
	}
	if len(bad) > 0 {
		return nil, &ManifestError{tidy(bad)}
	}
	m.setDefaults()
	return &m, nil
}

// apiWords says why a plugin of an API is not for this host, if so.
func apiWords(api string) string {
	major, minor, err := parseAPI(api)
	if err != nil {
		return "" // the schema says it
	}
	ours, newest, err := parseAPI(APIVersion)
	switch {
	case err != nil || major == ours && minor <= newest:
		return ""
	case major < ours:
		return fmt.Sprintf("this Guildhall speaks the plugin API %s, the plugin wants %s: install a newer version of the plugin", APIVersion, api)
	}
	return fmt.Sprintf("this Guildhall speaks the plugin API %s, the plugin wants %s: upgrade Guildhall, or take an older version of the plugin", APIVersion, api)
}

func parseAPI(api string) (major, minor int, err error) {
	a, b, both := strings.Cut(api, ".")
	if major, err = strconv.Atoi(a); err == nil && both {
		minor, err = strconv.Atoi(b)
	}
	return major, minor, err
}

// checker collects what the schema cannot say.
type checker struct {
	bad  []FieldError
	seen map[string]bool
}

func (c *checker) say(at, format string, args ...any) {
	c.bad = append(c.bad, FieldError{at, fmt.Sprintf(format, args...)})
}

// once complains if a thing of a kind is named a second time.
func (c *checker) once(at, kind, what string) {
	if what != "" && c.seen[kind+":"+what] {
		c.say(at, "%s is named twice", clip(what))
	}
	c.seen[kind+":"+what] = true
}

// text complains about what people would not see, or be misled by.
func (c *checker) text(at, s string) {
	if strings.TrimSpace(s) != s {
		c.say(at, "begins or ends with blanks")
	} else if strings.ContainsFunc(s, misleads) {
		c.say(at, "has a line end, a control character or one that turns the direction of writing")
	}
}

func misleads(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r) || r == unicode.ReplacementChar
}

func (m *Manifest) check() []FieldError {
	c := &checker{seen: map[string]bool{}}
	if v := "v" + m.Version; semver.Canonical(v) != v {
		c.say("/version", "is not a semantic version without build metadata, such as 1.4.0 or 2.0.0-rc.1")
	}
	for at, s := range map[string]string{"/name": m.Name, "/description": m.Description, "/publisher": m.Publisher, "/license": m.License} {
		c.text(at, s)
	}
	m.Runtime.check(c)
	m.checkExtends(c)
	m.checkAsks(c)
	return c.bad
}

func (r Runtime) check(c *checker) {
	for platform, path := range r.Binaries {
		at := "/runtime/binaries" + pointer(platform)
		checkNamed(c, at, path)
		c.once(at, "file", path)
	}
	if r.Main != "" {
		checkNamed(c, "/runtime/main", r.Main)
	}
}

func checkNamed(c *checker, at, path string) {
	if why := badPath(path); why != "" {
		c.say(at, "%s", why)
	} else if reserved(path) {
		c.say(at, "is a name that the bundle itself needs")
	}
}

func (m *Manifest) checkExtends(c *checker) {
	for i, e := range m.Events {
		c.once(fmt.Sprintf("/events/%d", i), "event", e)
	}
	for i, h := range m.Hooks {
		at := fmt.Sprintf("/hooks/%d", i)
		c.once(at+"/hook", "hook", h.Hook)
		c.text(at+"/why", h.Why)
	}
	for i, a := range m.Actions {
		at := fmt.Sprintf("/actions/%d", i)
		c.once(at+"/name", "action", a.Name)
		c.text(at+"/title", a.Title)
		c.text(at+"/description", a.Description)
		for j, on := range a.On {
			c.once(fmt.Sprintf("%s/on/%d", at, j), "on "+a.Name, on)
		}
		compileInto(c, at+"/input", a.Name, a.Input, &m.inputs)
	}
	for i, p := range m.Provides {
		at := fmt.Sprintf("/provides/%d", i)
		c.once(at+"/name", "provide", p.Point+"/"+p.Name)
		c.text(at+"/title", p.Title)
	}
	for i, n := range m.Inbound {
		at := fmt.Sprintf("/inbound/%d", i)
		c.once(at+"/name", "inbound", n.Name)
		c.text(at+"/description", n.Description)
	}
	for i, s := range m.Schedules {
		at := fmt.Sprintf("/schedules/%d", i)
		c.once(at+"/name", "schedule", s.Name)
		if p := s.Period(); p < shortestPeriod || p > longestPeriod {
			c.say(at+"/every", "is not a duration of 1m to 168h, such as 15m or 24h")
		}
	}
	for i, e := range m.Emits {
		at := fmt.Sprintf("/emits/%d", i)
		c.once(at+"/name", "emit", e.Name)
		c.text(at+"/description", e.Description)
		compileInto(c, at+"/schema", e.Name, e.Schema, &m.emits)
	}
}

func (m *Manifest) checkAsks(c *checker) {
	for i, p := range m.Permissions {
		at := fmt.Sprintf("/permissions/%d", i)
		c.once(at+"/permission", "permission", p.Permission)
		c.text(at+"/why", p.Why)
	}
	if m.PrivateProjects != nil {
		c.text("/private_projects/why", m.PrivateProjects.Why)
	}
	m.settings = compileSettings(c, m.Settings)
	fields := propertiesOf(m.Settings)
	for i, h := range m.Hosts {
		at := fmt.Sprintf("/hosts/%d", i)
		c.text(at+"/why", h.Why)
		c.once(at+"/host", "host", h.Host)
		c.once(at+"/setting", "setting", h.Setting)
		if h.Host != "" && !validHost(h.Host) {
			c.say(at+"/host", "is not a host such as hooks.slack.com, *.example.com or sms.example.com:8443, in lower case")
		}
		if name, ok := strings.CutPrefix(h.Setting, "/"); ok && fields[name]["type"] != "string" {
			c.say(at+"/setting", "names no string property of the settings")
		}
	}
}

// validHost holds a host against the rules for names, in lower case.
func validHost(host string) bool {
	name, port, has := strings.Cut(host, ":")
	if n, err := strconv.Atoi(port); has && (err != nil || n < 1 || n > 65535 || strconv.Itoa(n) != port) {
		return false
	}
	rest, wild := strings.CutPrefix(name, "*.")
	labels := strings.Split(rest, ".")
	if wild && len(labels) < 2 || len(name) > 253 {
		return false
	}
	for _, l := range labels {
		if l == "" || len(l) > 63 || strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || l[0] == '-' || l[len(l)-1] == '-' {
			return false
		}
	}
	return true
}
