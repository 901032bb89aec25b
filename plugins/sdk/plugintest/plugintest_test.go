package plugintest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/guildhall-dev/guildhall/plugins/sdk"
	"github.com/guildhall-dev/guildhall/plugins/sdk/plugintest"
)

const folder = "testdata/sample"

// act runs the sample's action and returns its output, or else its refusal.
func act(t *testing.T, h *plugintest.Host, what string) string {
	t.Helper()
	a, err := h.Act("do", map[string]string{"what": what}, sdk.Reference{Type: "task", ID: "t1"})
	if err != nil {
		t.Fatal(err)
	}
	if a.Refusal != "" {
		return a.Refusal
	}
	var out string
	if err := json.Unmarshal(a.Output, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

type m = map[string]any

func TestPoints(t *testing.T) {
	t.Parallel()
	h := plugintest.Run(t, plugintest.Options{Dir: folder})
	done, err := h.Hear(h.Event("task.created", "t1", m{"title": "one"}, nil), h.Event("task.updated", "t1", m{"title": "not now"}, nil), h.Event("task.updated", "t1", m{}, nil))
	if done != 1 || err == nil || !strings.Contains(err.Error(), "as told") {
		t.Errorf("heard %d, %v", done, err)
	}
	if got := h.Values(); len(got) != 1 || got["heard/01890a5d-0003-7000-8000-000000000001"] != "one" {
		t.Errorf("it keeps %v", got)
	}
	for title, want := range map[string]string{"write": "true", "change": "true", "fine": ""} {
		if d, err := h.Decide("task.will_create", m{}, m{"title": title}); err != nil || d.Refusal != want {
			t.Errorf("%s: %v, %v", title, d, err)
		}
	}
	if d, err := h.Decide("task.will_create", m{}, m{"title": "amend"}); err != nil || d.Amend["title"] != "amended" {
		t.Errorf("amend: %v, %v", d, err)
	}
	var call *plugintest.CallError
	if _, err := h.Decide("task.will_create", m{}, 7); !errors.As(err, &call) || !call.Final {
		t.Errorf("odd: %v", err)
	}
	if n := len(h.Denied()); n != 2 {
		t.Errorf("denied %q", h.Denied())
	}
	var receipt struct {
		ExternalID string `json:"external_id"`
	}
	if err := h.Provide("notification.send/sample", m{"to": "ann"}, &receipt); err != nil || receipt.ExternalID != "to ann" {
		t.Errorf("provide: %v %v", receipt, err)
	}
	var no *plugintest.Refused
	if err := h.Provide("notification.send/sample", m{}, nil); !errors.As(err, &no) || !strings.Contains(no.Text, "nobody") {
		t.Errorf("provide: %v", err)
	}
	if r, err := h.Receive("echo", http.Header{"X-Is": {"so"}}, []byte("body")); err != nil || r.Status != 202 || string(r.Body) != "body" || r.Header.Get("X-Was") != "so" {
		t.Errorf("receive: %v, %v", r, err)
	}
	for settings, want := range map[string]string{"wrong": "/word is wrong", "right": ""} {
		bad, err := h.CheckSettings(m{"word": settings})
		if got := strings.Trim(fmt.Sprint(bad), "[]{}"); err != nil || got != want {
			t.Errorf("%s: %s %v", settings, got, err)
		}
	}
	if bad, err := h.CheckSettings(m{"other": 1}); err != nil || len(bad) != 1 {
		t.Errorf("settings of another form: %v %v", bad, err)
	}
}

func TestTasksRunWhenTheTestSays(t *testing.T) {
	t.Parallel()
	h := plugintest.Run(t, plugintest.Options{Dir: folder})
	act(t, h, "later twice")
	if err := h.RunSchedule("often"); err != nil {
		t.Fatal(err)
	}
	if ran, err := h.RunTasks(time.Now()); ran != 1 || err != nil || h.Values()["done"] != "from the schedule" {
		t.Errorf("ran %d %v, %v", ran, err, h.Values())
	}
	after := time.Now().Add(2 * time.Hour)
	if ran, err := h.RunTasks(after); ran != 1 || err == nil || len(h.Tasks()) != 1 {
		t.Errorf("ran %d, %v", ran, err)
	}
	if ran, err := h.RunTasks(after); ran != 1 || err != nil || h.Values()["done"] != "twice" || len(h.Tasks()) != 0 {
		t.Errorf("ran %d %v, %v", ran, err, h.Values())
	}
}

func TestHostCalls(t *testing.T) {
	t.Parallel()
	there := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/large":
			_, _ = w.Write(bytes.Repeat([]byte("x"), 2<<20))
		case "/away":
			http.Redirect(w, r, "https://elsewhere.example/", http.StatusFound)
		}
	}))
	t.Cleanup(there.Close)
	h := plugintest.Run(t, plugintest.Options{Dir: folder, Settings: m{"url": there.URL + "/hook"}, Hosts: map[string]string{"api.example.com": there.URL},
		API: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `"%s %s"`, r.Method, r.URL)
		})})
	for what, want := range map[string]string{
		"":                                    "{user 01890a5d-0004-7000-8000-000000000001} {task t1}",
		"get /v1/tasks?limit=1":               `"GET /v1/tasks?limit=1"`,
		"get /elsewhere":                      "path is a path of the API",
		"get /v1/../admin":                    "path is a path of the API",
		"fetch " + there.URL + "/":            "200 0",
		"fetch " + there.URL + "/away":        "302 ",
		"fetch " + there.URL + "/large":       "longer than 1 MiB",
		"fetch https://api.example.com/x":     "200 0",
		"fetch https://other.example.com/x":   "did not grant requests to other.example.com",
		"fetch https://api.example.com:8443/": "did not grant",
		"emit text":                           "01890a5d-0005-7000-8000-000000000001",
		"emit-badly":                          "does not fit the manifest",
		"secret s3cret":                       "s3cret",
	} {
		if got := act(t, h, what); !strings.Contains(got, want) {
			t.Errorf("%q: %s, want %s", what, got, want)
		}
	}
	act(t, h, "emit text")
	if e := h.Emitted(); len(e) != 1 || e[0].Type != "plugin.sample.noticed" || string(e[0].Data) != `{"text":"text"}` {
		t.Errorf("emitted %v", e)
	}
	act(t, h, "log heard")
	if l := h.Logged(); len(l) != 1 || l[0].Level != "warn" || l[0].Message != "heard" || l[0].Fields["n"] != "1" {
		t.Errorf("logged %v", l)
	}
	if r := h.Requests(); len(r) != 1 || r[0].URL != "/v1/tasks?limit=1" || r[0].Status != 200 {
		t.Errorf("requests %v", r)
	}
	if f := h.Fetches(); len(f) != 4 {
		t.Errorf("fetches %v", f)
	}

	h.Revoke("host:api.example.com", "tasks.read")
	if got := act(t, h, "fetch https://api.example.com/x"); !strings.Contains(got, "did not grant") {
		t.Errorf("after it was revoked: %s", got)
	}
	if got := act(t, h, "get /v1/tasks"); !strings.Contains(got, "permission_denied") {
		t.Errorf("after it was revoked: %s", got)
	}

	// Another organisation in the same process sees nothing of it.
	other := h.Another(plugintest.Options{Grants: []string{"action:do"}})
	act(t, h, "keep mine")
	act(t, other, "keep theirs")
	if h.Values()["kept"] != "mine" || other.Values()["kept"] != "theirs" || h.OrganizationID == other.OrganizationID {
		t.Errorf("%v and %v", h.Values(), other.Values())
	}
	if got := act(t, other, "fetch "+there.URL); !strings.Contains(got, "did not grant") {
		t.Errorf("the other organisation reaches it: %s", got)
	}
}
