package bundle

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

const full = `{
  "id": "chat", "version": "1.2.0-rc.1", "api": "1.0", "name": "Chat", "description": "Posts.", "publisher": "Acme",
  "homepage": "https://acme.example/chat", "license": "Apache-2.0",
  "runtime": {"binaries": {"linux_amd64": "bin/linux_amd64/chat", "windows_arm64": "bin/windows_arm64/chat.exe"}},
  "events": ["task.*", "comment.created", "plugin.github.*"],
  "hooks": [{"hook": "task.will_create", "on_failure": "allow", "why": "Asks."}, {"hook": "comment.will_create", "deadline_ms": 500, "on_failure": "refuse", "why": "Asks too."}],
  "actions": [{"name": "post", "title": "Post", "description": "Posts it.", "on": ["task"], "permission": "tasks.write",
    "input": {"type": "object", "properties": {"channel": {"type": "string", "maxLength": 20}}, "required": ["channel"], "additionalProperties": false}}],
  "provides": [{"point": "notification.send", "name": "sms", "title": "SMS"}],
  "inbound": [{"name": "hook", "description": "What the service sends."}],
  "schedules": [{"name": "sweep", "every": "15m"}],
  "emits": [{"name": "posted", "description": "It was posted.", "schema": {"type": "object"}}],
  "permissions": [{"permission": "tasks.read", "why": "To show the title."}, {"permission": "tasks.write", "why": "To link.", "optional": true}],
  "private_projects": {"why": "To post of these too.", "optional": true},
  "hosts": [{"host": "hooks.slack.com", "why": "To post."}, {"host": "*.example.com:8443", "why": "To post."}, {"setting": "/url", "why": "To post to yours."}],
  "settings": {"type": "object", "required": ["url"], "additionalProperties": false,
    "properties": {"url": {"type": "string", "format": "uri"}, "token": {"type": "string", "x-secret": true, "pattern": "^t_"}, "never": false}},
  "limits": {"memory_mb": 512}
}`

func parse(t *testing.T, text string) *Manifest {
	t.Helper()
	m, err := ParseManifest([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestManifest(t *testing.T) {
	t.Parallel()
	m := parse(t, full)
	if m.Hooks[0].Deadline() != 200*time.Millisecond || m.Hooks[1].Deadline() != 500*time.Millisecond ||
		m.Limits != (Limits{512, 64, 50}) || m.Runtime.TLS != TLSAuto || m.Schedules[0].Period() != 15*time.Minute {
		t.Errorf("the defaults are %+v %+v %+v", m.Hooks, m.Limits, m.Runtime)
	}
	for event, want := range map[string]bool{
		"task.created": true, "task.": true, "tasks.created": false, "comment.created": true, "comment.updated": false,
		"plugin.github.linked": true, "plugin.githubs.linked": false, "project.created": false,
	} {
		if m.AllowsEvent(event) != want {
			t.Errorf("it hears %s: %t", event, !want)
		}
	}
	if got := m.SecretFields(); !reflect.DeepEqual(got, []string{"token"}) {
		t.Errorf("its secrets are %v", got)
	}
	if got := m.EventType("posted"); got != "plugin.chat.posted" {
		t.Errorf("its event is %s", got)
	}
	again, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if second := parse(t, string(again)); !reflect.DeepEqual(second.Asks(), m.Asks()) || second.Limits != m.Limits {
		t.Errorf("written and read it is %+v", second)
	}
}

func TestAsks(t *testing.T) {
	t.Parallel()
	want := []Ask{
		{"action:post", AskAction, "Posts it.", false},
		{"action:post:tasks.write", AskAction, "Who may run actions and holds tasks.write can run it.", false},
		{"event:comment.created", AskEvent, "", false},
		{"event:plugin.github.*", AskEvent, "", false},
		{"event:task.*", AskEvent, "", false},
		{"hook:comment.will_create", AskHook, "Asks too.", false},
		{"hook:comment.will_create:refuse", AskHook, "While the plugin does not answer, these changes are refused.", false},
		{"hook:comment.will_create:slow", AskHook, "Each of these changes may wait for its answer: 500 ms now, and never more than 2000.", false},
		{"hook:task.will_create", AskHook, "Asks.", false},
		{"host-setting:/url", AskHostSetting, "To post to yours.", false},
		{"host:*.example.com:8443", AskHost, "To post.", false},
		{"host:hooks.slack.com", AskHost, "To post.", false},
		{"inbound:hook", AskInbound, "What the service sends.", false},
		{"private_projects", AskPrivateProjects, "To post of these too.", true},
		{"provide:notification.send/sms", AskProvide, "SMS", false},
		{"schedule:sweep", AskSchedule, "Runs every 15m.", false},
		{"tasks.read", AskPermission, "To show the title.", false},
		{"tasks.write", AskPermission, "To link.", true},
	}
	if got := parse(t, full).Asks(); !reflect.DeepEqual(got, want) {
		t.Errorf("it asks for\n%v, want\n%v", got, want)
	}
	if got := parse(t, small).Asks(); len(got) != 0 {
		t.Errorf("one that wants nothing asks for %v", got)
	}
}

func TestDocumentsAreHeldAgainstTheirSchemas(t *testing.T) {
	t.Parallel()
	m := parse(t, full)
	for text, want := range map[string][]FieldError{
		`{"url": "https://a.example/x"}`: nil,
		`{}`:                             {{"/url", "is missing"}},
		`{"url": "x y", "token": "secret!", "z": 1}`: {{"/token", "does not match ^t_"}, {"/url", "is not of the format uri"}, {"/z", "is not a known field"}},
		`{"url": "https://a.example/x", "never": 1}`: {{"/never", "is not allowed here"}},
		`{"url": "a:b", "url": "https://c.example"}`: {{"/url", "comes twice"}},
		`[]`:                       {{"", "is of type array, expected object"}},
		`{"url": `:                 {{"", "is not JSON: line 1: unexpected end of JSON input"}},
		strings.Repeat(" ", 65537): {{"", "is too large: 65537 of at most 65536 bytes"}},
	} {
		if got := m.CheckSettings(json.RawMessage(text)); !reflect.DeepEqual(got, want) {
			t.Errorf("settings %.60s: %v, want %v", text, got, want)
		}
	}
	if got := m.CheckInput("post", json.RawMessage(`{"channel": 1}`)); len(got) != 1 || got[0].Pointer != "/channel" {
		t.Errorf("input: %v", got)
	}
	if m.CheckInput("post", json.RawMessage(`{"channel": "x"}`)) != nil || m.CheckInput("no", json.RawMessage(`{}`)) == nil {
		t.Error("the input of post is refused, or that of an action that is not there is not")
	}
	if m.CheckEmit("posted", json.RawMessage(`{"a": 1}`)) != nil || m.CheckEmit("posted", json.RawMessage(`1`)) == nil || m.CheckEmit("no", json.RawMessage(`{}`)) == nil {
		t.Error("data of events is not held against the schema")
	}
	none := parse(t, small)
	if none.CheckSettings(json.RawMessage(`{}`)) != nil || len(none.CheckSettings(json.RawMessage(`{"a": 1}`))) != 1 {
		t.Error("a plugin without settings takes some, or refuses none")
	}
}

func TestManifestErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ from, to, want string }{
		{`"id": "chat"`, `"id": "Chat"`, "/id: is not 3 to 40 of a-z and _, with a letter at both ends"},
		{`"id": "chat"`, `"id": "chat", "zzz": 1, "ID": "x"`, "/ID: is not a known field\n  /zzz: is not a known field"},
		{`"id": "chat"`, `"id": "chat", "id": "chat"`, "/id: comes twice"},
		{`"publisher": "Acme",`, ``, "/publisher: is missing"},
		{`"1.2.0-rc.1"`, `"1.2.0+build"`, "/version: is not a semantic version"},
		{`"1.2.0-rc.1"`, `"v1.2.0"`, "/version: is not a semantic version"},
		{`"1.2.0-rc.1"`, `"1.2"`, "/version: is too short"},
		{`"1.2.0-rc.1"`, `12`, "/version: is of type number, expected string"},
		{`"1.0", "name"`, `"2", "name"`, "upgrade Guildhall"},
		{`"1.0", "name"`, `"1.7", "name"`, "speaks the plugin API 1.0, the plugin wants 1.7: upgrade Guildhall"},
		{`"1.0", "name"`, `"0.9", "name"`, "install a newer version of the plugin"},
		{`"1.0", "name"`, `"1.x", "name"`, "/api: does not match"},
		{`"Chat", "desc`, `" Chat", "desc`, "/name: begins or ends with blanks"},
		{`"Chat", "desc`, `"Ch\u202eat", "desc`, "/name: has a line end"},
		{`"Posts.", "pub`, `"Po\u001b[31msts.", "pub`, "/description: has a line end"},
		{`https://acme.example/chat`, `javascript:alert(1)`, "/homepage: is not an address"},
		{`{"binaries": {`, `{"main": "x", "binaries": {`, "/runtime/interpreter: is missing: main needs it"},
		{`{"binaries": {`, `{"main": "x", "interpreter": "node", "binaries": {`, "/runtime: has to name either binaries, or interpreter and main"},
		{`"linux_amd64":`, `"plan9_amd64":`, "/runtime/binaries/plan9_amd64: is not a platform"},
		{`bin/linux_amd64/chat"`, `../chat"`, "/runtime/binaries/linux_amd64: is not a clean relative path"},
		{`bin/linux_amd64/chat"`, `hashes.json"`, "/runtime/binaries/linux_amd64: is a name that the bundle itself needs"},
		{`bin/linux_amd64/chat"`, `bin/windows_arm64/chat.exe"`, "is named twice"},
		{`"comment.created", `, `"task.*", `, "/events/1: task.* is named twice"},
		{`"comment.created", `, `"comment", `, "/events/1: does not match"},
		{`"on_failure": "allow", `, ``, "/hooks/0/on_failure: is missing"},
		{`"on_failure": "allow"`, `"on_failure": "ignore"`, `/hooks/0/on_failure: is none of "allow", "refuse"`},
		{`"deadline_ms": 500`, `"deadline_ms": 2001`, "/hooks/1/deadline_ms: is more than 2000"},
		{`"deadline_ms": 500`, `"deadline_ms": 0`, "/hooks/1/deadline_ms: is less than 10"},
		{`"comment.will_create"`, `"task.will_create"`, "/hooks/1/hook: task.will_create is named twice"},
		{`"comment.will_create"`, `"comment.created"`, "/hooks/1/hook: is not the name of a hook"},
		{`"every": "15m"`, `"every": "59s"`, "/schedules/0/every: is not a duration of 1m to 168h"},
		{`"every": "15m"`, `"every": "169h"`, "/schedules/0/every: is not a duration of 1m to 168h"},
		{`"every": "15m"`, `"every": "-15m"`, "/schedules/0/every: is not a duration of 1m to 168h"},
		{`"permission": "tasks.write", "why"`, `"permission": "tasks.read", "why"`, "/permissions/1/permission: tasks.read is named twice"},
		{`{"host": "hooks.slack.com", `, `{`, "/hosts/0: has to name either host or setting"},
		{`{"host": "hooks.slack.com", `, `{"host": "x.example", "setting": "/url", `, "/hosts/0: has to name either host or setting"},
		{`"hooks.slack.com"`, `"https://hooks.slack.com"`, "/hosts/0/host: is not a host"},
		{`"hooks.slack.com"`, `"*"`, "/hosts/0/host: is not a host"},
		{`"hooks.slack.com"`, `"*.com"`, "/hosts/0/host: is not a host"},
		{`"hooks.slack.com"`, `"Hooks.slack.com"`, "/hosts/0/host: is not a host"},
		{`"hooks.slack.com"`, `"a.example:0"`, "/hosts/0/host: is not a host"},
		{`"hooks.slack.com"`, `"*.example.com:8443"`, "/hosts/1/host: *.example.com:8443 is named twice"},
		{`"setting": "/url"`, `"setting": "/uri"`, "/hosts/2/setting: names no string property of the settings"},
		{`"x-secret": true`, `"x-secret": "yes"`, "/settings/properties/token/x-secret: is neither true nor false"},
		{`"type": "string", "x-secret": true`, `"type": "object", "properties": {"a": {"type": "string", "x-secret": true}}`, "/settings/properties/token/properties/a/x-secret: only a property of the settings themselves can be secret"},
		{`"never": false`, `"n": {"type": "integer", "x-secret": true}`, `/settings/properties/n/type: has to be "string"`},
		{`"never": false`, `"n": {"$ref": "file:///etc/passwd"}`, "/settings/properties/n/$ref: references are not allowed here"},
		{`"never": false`, `"n": {"type": "strong"}`, "/settings/properties/n/type: is not JSON Schema"},
		{`"never": false`, `"n": {"pattern": "("}`, "/settings/properties/n/pattern: is not JSON Schema"},
		{`"schema": {"type": "object"}`, `"schema": {}`, `/emits/0/schema/type: has to be "object"`},
		{`"limits": {"memory_mb": 512}`, `"limits": {"memory_mb": 2048}`, "/limits/memory_mb: is more than 1024"},
		{`"limits": {"memory_mb": 512}`, `"limits": {"memory_mb": 1.5}`, "/limits/memory_mb:"},
		{`"id": "chat", "version": "1.2.0-rc.1"`, `"id": "c", "version": "x.y.z"`, "/id: is not 3 to 40 of a-z and _, with a letter at both ends\n  /version: is not a semantic version"},
	} {
		if !strings.Contains(full, c.from) {
			t.Fatalf("the manifest has no %s", c.from)
		}
		m, err := ParseManifest([]byte(strings.Replace(full, c.from, c.to, 1)))
		var all *ManifestError
		if m != nil || !errors.As(err, &all) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s for %s: %v; want %s", c.to, c.from, err, c.want)
		}
	}
	deep := strings.Replace(full, `"never": false`, `"n": `+strings.Repeat(`{"not":`, 40)+`{}`+strings.Repeat(`}`, 40), 1)
	for name, text := range map[string]string{
		"nests deeper": deep, "is too large": full + strings.Repeat(" ", mostManifest), "is not UTF-8": "{\"id\":\"\xff\"}", "is of type array": "[]", "is not JSON": full + "{}",
	} {
		if _, err := ParseManifest([]byte(text)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSchemaIsWhole holds the published schema against the struct: a field of
// one is a field of the other.
func TestSchemaIsWhole(t *testing.T) {
	t.Parallel()
	var schema map[string]any
	if err := json.Unmarshal(ManifestSchema(), &schema); err != nil {
		t.Fatal(err)
	}
	sameFields(t, "", schema, reflect.TypeFor[Manifest]())
}

func sameFields(t *testing.T, at string, schema map[string]any, of reflect.Type) {
	t.Helper()
	properties, _ := schema["properties"].(map[string]any)
	fields := 0
	for i := range of.NumField() {
		f := of.Field(i)
		if !f.IsExported() {
			continue
		}
		fields++
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		p, ok := properties[name].(map[string]any)
		if !ok {
			t.Errorf("the schema has no %s/%s", at, name)
			continue
		}
		inner := f.Type
		if items, ok := p["items"].(map[string]any); ok && inner.Kind() == reflect.Slice {
			inner, p = inner.Elem(), items
		}
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct {
			sameFields(t, at+"/"+name, p, inner)
		}
	}
	if fields != len(properties) {
		t.Errorf("%s: the schema has %d fields, the struct %d", at, len(properties), fields)
	}
}
