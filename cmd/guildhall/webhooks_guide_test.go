package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/expr"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/platform/webhooks"
)

// snippets returns the blocks of the webhooks guide in a language, in order.
func snippets(t *testing.T, language string) (out []string) {
	t.Helper()
	for _, found := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(readPage(t, "docs/webhooks.md"), -1) {
		out = append(out, found[1])
	}
	return out
}

// check is a delivery and whether a receiver has to take it.
type check struct {
	name string
	want bool

	Headers map[string]string `json:"headers"`
	Body    []byte            `json:"body"`   // in base64
	Secret  string            `json:"secret"` // for v1
	Page    json.RawMessage   `json:"page"`   // for v1a, else null
}

func (c check) but(name string, change func(*check)) check {
	c.name, c.want, c.Headers, c.Body = name, false, maps.Clone(c.Headers), bytes.Clone(c.Body)
	change(&c)
	return c
}

func (c check) with(name, header, value string) check {
	return c.but(name, func(c *check) { c.Headers[header] = value })
}

func lower(h http.Header) map[string]string {
	out := map[string]string{}
	for name := range h {
		out[strings.ToLower(name)] = h.Get(name)
	}
	return out
}

// deliveredChecks are what the product sends: before, during and after a
// rotation, with both kinds of signature.
func deliveredChecks(t *testing.T) (out []check) {
	t.Helper()
	w := newWorldOf(t, "GUILDHALL_OUTBOUND_ALLOW=127.0.0.0/8", "GUILDHALL_RATE_LIMIT=off")
	ann := w.person("Ann").organization("Harbour Bikes")
	app := newLocalApp(t, nil)
	endpoint := ann.post("/v1/webhook-endpoints", m{"url": app.url, "event_types": []string{"project.created"}, "signature": "both"}).want(201)
	next := func(name string) check {
		t.Helper()
		n := len(app.all())
		ann.post("/v1/projects", m{"name": name + " & Größe"}).want(201)
		w.settle()
		if len(app.all()) != n+1 {
			t.Fatalf("%s: %d deliveries came, not one", name, len(app.all())-n)
		}
		page := ann.get("/v1/organizations/" + ann.org + "/webhook-jwks.json").want(200)
		last := app.all()[n]
		return check{name: name, want: true, Headers: lower(last.head), Body: last.body, Page: page.body}
	}
	first := endpoint.str("secret")
	before := next("before a rotation")
	path := "/v1/webhook-endpoints/" + endpoint.str("id") + "/rotate-secret"
	second := ann.post(path, m{}).want(200).str("secret")
	ann.post("/v1/webhook-keys/rotate", m{}).want(200)
	during := next("during a rotation")
	third := ann.post(path, m{"overlap_hours": 0}).want(200).str("secret")
	ann.post("/v1/webhook-keys/rotate", m{"overlap_hours": 0}).want(200)
	after := next("after a rotation")
	keys := func(c check) check { c.name += ", by keys"; return c }
	secret := func(c check, s string, want bool) check {
		c.Secret, c.Page, c.want = s, nil, want
		c.name += fmt.Sprintf(", by secret %d", slices.Index([]string{first, second, third}, s)+1)
		return c
	}
	return append(out, keys(before), keys(during), keys(after),
		keys(during).but("the keys of before during a rotation", func(c *check) { c.Page, c.want = before.Page, true }),
		keys(after).but("the keys of before after a rotation", func(c *check) { c.Page = before.Page }),
		secret(before, first, true), secret(before, second, false),
		secret(during, first, true), secret(during, second, true), secret(during, third, false),
		secret(after, first, false), secret(after, second, false), secret(after, third, true))
}

// craftedChecks are single deliveries of the product's signer, and what an
// attacker or an accident makes of them.
func craftedChecks(t *testing.T) []check {
	t.Helper()
	raw := []byte("a secret of thirty-two bytes ¶§")
	sequence := int64(7)
	e := event.Event{ID: id.New(), Type: "task.created", Timestamp: time.Now(), OrganizationID: id.New(), Sequence: &sequence,
		Subject: event.SubjectRef{Type: "task"}, Actor: event.ActorRef{Type: "system"}, SchemaVersion: 1, Data: json.RawMessage(`{"title":"Ääh 日本 😀"}`)}
	signed := func(name string, want bool, secret []byte, at time.Time) check {
		h, body, err := webhooks.LocalRequest(e, secret, "http://guildhall.test", 1, false, at)
		if err != nil {
			t.Fatal(err)
		}
		return check{name: name, want: want, Headers: lower(h), Body: body, Secret: "whsec_" + base64.StdEncoding.EncodeToString(raw)}
	}
	now := time.Now()
	good := signed("valid", true, raw, now)
	signature := good.Headers["webhook-signature"]
	other := signed("another secret", false, []byte("another secret, as long as that"), now)
	checks := []check{
		good, other,
		signed("four minutes old", true, raw, now.Add(-4*time.Minute)),
		signed("six minutes old", false, raw, now.Add(-6*time.Minute)),
		signed("of the future", false, raw, now.Add(6*time.Minute)),
		good.but("two signatures", func(c *check) {
			c.want, c.Headers["webhook-signature"] = true, other.Headers["webhook-signature"]+" v1a,AAAA "+signature
		}),
		good.but("a body with another byte", func(c *check) { c.Body[len(c.Body)/2] ^= 1 }),
		good.but("a longer body", func(c *check) { c.Body = append(c.Body, '\n') }),
		good.but("no body", func(c *check) { c.Body = []byte{} }),
		good.with("another id", "webhook-id", id.New().String()),
		good.with("another time", "webhook-timestamp", fmt.Sprint(now.Unix()+1)),
		good.with("no signature", "webhook-signature", ""),
		good.with("an empty one", "webhook-signature", "v1,"),
		good.with("another version", "webhook-signature", "v2"+strings.TrimPrefix(signature, "v1")),
		good.with("half of it", "webhook-signature", signature[:len(signature)/2]),
		good.with("no base64", "webhook-signature", "v1,*** v1 ,,, é"),
		good.with("the secret of v1 as v1a", "webhook-signature", "v1a"+strings.TrimPrefix(signature, "v1")),
	}
	for _, header := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
		checks = append(checks, good.but("without "+header, func(c *check) { delete(c.Headers, header) }))
	}
	for _, stamp := range []string{"", "soon", "-1", "1e9", "NaN", "Infinity", "²", strings.Repeat("9", 400), strings.Repeat("9", 5000), fmt.Sprint(now.Unix()) + "\n"} {
		checks = append(checks, good.with(fmt.Sprintf("the time %.10q", stamp), "webhook-timestamp", stamp))
	}
	return append(checks, keyChecks(t, good)...)
}

// keyChecks are deliveries signed by a key pair.
func keyChecks(t *testing.T, good check) []check {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	page := func(k ed25519.PublicKey) json.RawMessage {
		return json.RawMessage(fmt.Sprintf(`{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": %q, "kid": "1"}]}`, base64.RawURLEncoding.EncodeToString(k)))
	}
	sign := func(name string, want bool, at time.Time) check {
		c := good.but(name, func(c *check) {
			stamp := fmt.Sprint(at.Unix())
			s := ed25519.Sign(private, append([]byte(c.Headers["webhook-id"]+"."+stamp+"."), c.Body...))
			c.Headers["webhook-timestamp"], c.Headers["webhook-signature"] = stamp, "v1,AAAA v1a,"+base64.StdEncoding.EncodeToString(s)
			c.Secret, c.Page = "", page(public)
		})
		c.want = want
		return c
	}
	valid := sign("by a key", true, time.Now())
	return []check{
		valid, sign("by a key, six minutes old", false, time.Now().Add(-6*time.Minute)),
		valid.but("by a key, another body", func(c *check) { c.Body[9] ^= 1 }),
		valid.but("by a key, another key", func(c *check) { c.Page = page(ed25519.NewKeyFromSeed(make([]byte, 32)).Public().(ed25519.PublicKey)) }),
		valid.but("by a key, no keys", func(c *check) { c.Page = json.RawMessage(`{"keys": []}`) }),
		valid.with("by a key, no base64", "webhook-signature", "v1a,*** v1a v1a,"),
		valid.with("by a key, without a time", "webhook-timestamp", ""),
	}
}

// language is how a snippet of the guide is run: as program, which reads checks
// from its input, a line of JSON each, and prints true or false for each.
type language struct {
	name    string // as after the fence
	runtime string
	keys    bool // verifies v1a too
	write   func(t *testing.T, dir string, snippets []string) (args []string)
}

func languages() []language {
	file := func(name, driver string) func(*testing.T, string, []string) []string {
		return func(t *testing.T, dir string, snippets []string) []string {
			put(t, dir, name, strings.Join(snippets, "\n")+driver)
			return []string{name}
		}
	}
	return []language{
		{"go", "go", true, func(t *testing.T, dir string, s []string) []string {
			put(t, dir, "go.mod", "module receiver\n\ngo 1.24\n")
			put(t, dir, "verify.go", strings.Replace(s[0], "package receiver", "package main", 1))
			put(t, dir, "keys.go", "package main\nimport (\"crypto/ed25519\"; \"encoding/base64\"; \"encoding/json\"; \"errors\"; \"fmt\"; \"net/http\"; \"strconv\"; \"strings\"; \"time\")\n"+s[1])
			put(t, dir, "main.go", goDriver)
			return []string{"run", "."}
		}},
		{"js", "node", true, file("verify.mjs", jsDriver)},
		{"python", "python3", false, file("verify.py", pythonDriver)},
		{"ruby", "ruby", false, file("verify.rb", rubyDriver)},
		{"php", "php", false, file("verify.php", phpDriver)},
	}
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const goDriver = `package main

import ("encoding/json"; "fmt"; "net/http"; "os")

func main() {
	for in := json.NewDecoder(os.Stdin); ; {
		var c struct { Headers map[string]string; Body []byte; Secret string; Page json.RawMessage }
		if in.Decode(&c) != nil { return }
		h := http.Header{}
		for k, v := range c.Headers { h.Set(k, v) }
		if string(c.Page) == "null" {
			fmt.Println(Verify(h, c.Body, c.Secret) == nil)
		} else {
			fmt.Println(VerifyWithKeys(h, c.Body, c.Page) == nil)
		}
	}
}
`

const jsDriver = `
import { createInterface } from "node:readline";
for await (const line of createInterface({ input: process.stdin })) {
  const c = JSON.parse(line), body = Buffer.from(c.body, "base64");
  console.log(c.page ? verifyWithKeys(c.headers, body, c.page) : verify(c.headers, body, c.secret));
}
`

const pythonDriver = `
import json, sys
for line in sys.stdin:
    c = json.loads(line)
    print("true" if verify(c["headers"], base64.b64decode(c["body"]), c["secret"]) else "false")
`

const rubyDriver = `
require "json"
$stdin.each_line do |line|
  c = JSON.parse(line)
  puts verify(c["headers"], c["body"].unpack1("m"), c["secret"])
end
`

const phpDriver = `
while (($line = fgets(STDIN)) !== false) {
    $c = json_decode($line, true);
    echo verify($c['headers'], base64_decode($c['body']), $c['secret']) ? "true\n" : "false\n";
}
`

// TestWebhooksGuideVerifies runs the guide's snippets in each language whose
// runtime is here.
func TestWebhooksGuideVerifies(t *testing.T) {
	t.Parallel()
	all := append(deliveredChecks(t), craftedChecks(t)...)
	for _, l := range languages() {
		t.Run(l.name, func(t *testing.T) {
			found := snippets(t, l.name)
			if want := map[bool]int{false: 1, true: 2}[l.keys]; len(found) != want {
				t.Fatalf("the guide has %d snippets of %s, not %d", len(found), l.name, want)
			}
			if _, err := exec.LookPath(l.runtime); err != nil {
				t.Logf("%s is not here, so its snippet was not run: %v", l.runtime, err)
				return
			}
			checks := slices.DeleteFunc(slices.Clone(all), func(c check) bool { return !l.keys && c.Page != nil })
			dir := t.TempDir()
			got := l.run(t, dir, l.write(t, dir, found), checks)
			for i, c := range checks {
				if got[i] != fmt.Sprint(c.want) {
					t.Errorf("%s: answers %s, want %v", c.name, got[i], c.want)
				}
			}
			t.Logf("%s judged %d deliveries", l.runtime, len(checks))
		})
	}
}

func (l language) run(t *testing.T, dir string, args []string, checks []check) []string {
	t.Helper()
	var in, errOut bytes.Buffer
	enc := json.NewEncoder(&in)
	for _, c := range checks {
		if err := enc.Encode(c); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, l.runtime, args...)
	cmd.Dir, cmd.Stdin, cmd.Stderr = dir, &in, &errOut
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod", "GOPROXY=off")
	out, err := cmd.Output()
	got := strings.Fields(string(out))
	if err != nil || len(got) != len(checks) {
		t.Fatalf("%s judged %d of %d deliveries: %v\n%s", l.runtime, len(got), len(checks), err, &errOut)
	}
	return got
}

// TestWebhooksGuideFilters holds each condition of the guide against events.
func TestWebhooksGuideFilters(t *testing.T) {
	t.Parallel()
	events := map[string]string{
		"status changed": `{"type": "task.updated", "subject": {"type": "task"}, "actor": {"type": "key"},
			"data": {"priority": "low", "state_group": "started", "labels": ["docs"], "due_date": null}, "previous": {"status": "pending"}}`,
		"finished": `{"type": "task.updated", "subject": {"type": "task"}, "actor": {"type": "user"},
			"data": {"priority": "high", "state_group": "completed", "labels": ["bug/crash"], "due_date": "2029-12-31"}, "previous": {"status": "x", "state_group": "started"}}`,
		"created": `{"type": "task.created", "subject": {"type": "task"}, "actor": {"type": "user"},
			"data": {"priority": "urgent", "state_group": "unstarted", "labels": ["bug"], "due_date": "2031-01-01"}}`,
		"renamed": `{"type": "task.updated", "subject": {"type": "task"}, "actor": {"type": "system"},
			"data": {"priority": "none", "state_group": "completed", "labels": [], "due_date": null}, "previous": {"title": "x"}}`,
		"comment": `{"type": "comment.created", "subject": {"type": "comment"}, "actor": {"type": "key"}, "data": {"body": "x"}}`,
	}
	want := [][]string{
		{"status changed", "finished"},
		{"created", "finished"},
		{"created", "finished", "renamed"},
		{"finished"},
		{"created", "finished"},
		{"comment", "finished"},
	}
	conditions := snippets(t, "cel")
	if len(conditions) != len(want) {
		t.Fatalf("the guide has %d filters, and the test knows %d", len(conditions), len(want))
	}
	for i, source := range conditions {
		c, err := expr.Compile(strings.TrimSpace(source))
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		var through []string
		for _, name := range slices.Sorted(maps.Keys(events)) {
			var e map[string]any
			if err := json.Unmarshal([]byte(events[name]), &e); err != nil {
				t.Fatal(err)
			}
			ok, err := c.Match(t.Context(), e)
			if err != nil {
				t.Errorf("%s on %s: %v", source, name, err)
			}
			if ok {
				through = append(through, name)
			}
		}
		slices.Sort(want[i])
		if !slices.Equal(through, want[i]) {
			t.Errorf("%s lets %v through, want %v", source, through, want[i])
		}
	}
}

// TestWebhooksGuideQuickStart types what the guide says.
func TestWebhooksGuideQuickStart(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Logf("curl is not here, so the quick start was not run: %v", err)
		return
	}
	w := newWorldOf(t, "GUILDHALL_OUTBOUND_ALLOW=127.0.0.0/8", "GUILDHALL_RATE_LIMIT=off")
	ann := w.person("Ann").organization("Harbour Bikes")
	app := newLocalApp(t, nil)
	sh := newTerminal(t, "URL="+w.url, "KEY="+ann.apiKey("webhooks.manage"), "RECEIVER="+app.url)
	blocks := snippets(t, "sh")
	if len(blocks) != 1 {
		t.Fatalf("the guide has %d sh blocks, and the test knows one", len(blocks))
	}
	var made struct{ ID, Secret string }
	if said := sh.run(blocks[0]); json.Unmarshal([]byte(said), &made) != nil || made.Secret == "" {
		t.Fatalf("the quick start printed %s", said)
	}
	app.use(made.Secret)
	project := ann.post("/v1/projects", m{"name": "Fleet"}).want(201).str("id")
	ann.post("/v1/projects/"+project+"/tasks", m{"title": "Oil the chains"}).want(201)
	w.settle()
	if got := app.all(); len(got) != 1 || got[0].err != nil || got[0].head.Get("webhook-type") != "task.created" {
		t.Errorf("came: %+v", got)
	}
}
