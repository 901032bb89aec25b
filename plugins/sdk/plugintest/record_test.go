package plugintest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/guildhall-dev/guildhall/plugins/sdk/plugintest"
)

// heard is a test that keeps what it is told.
type heard struct {
	*testing.T
	words    []string
	cleanups []func()
}

func (h *heard) Errorf(format string, args ...any) {
	h.words = append(h.words, fmt.Sprintf(format, args...))
}
func (h *heard) Cleanup(f func()) { h.cleanups = append(h.cleanups, f) }

func (h *heard) end() string {
	for _, f := range h.cleanups {
		f()
	}
	return strings.Join(h.words, "\n")
}

func TestRecordAndReplay(t *testing.T) {
	t.Parallel()
	guildhall := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer key" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("ETag", `"3"`)
		fmt.Fprintf(w, `{"path": %q, "once": %q}`, r.URL, r.Header.Get("Idempotency-Key"))
	}))
	t.Cleanup(guildhall.Close)
	file := filepath.Join(t.TempDir(), "api", "tasks.json")

	first := &heard{T: t}
	h := plugintest.Run(t, plugintest.Options{Dir: folder, API: plugintest.Recorder(first, file, guildhall.URL+"/", "key")})
	recorded := act(t, h, "get /v1/tasks?limit=1")
	act(t, h, "post /v1/tasks")
	if got := first.end(); got != "" {
		t.Fatal(got)
	}
	if raw, err := os.ReadFile(file); err != nil || strings.Contains(string(raw), "Bearer") || !strings.Contains(string(raw), `"idempotency_key": "k1"`) {
		t.Errorf("the file has %s, %v", raw, err)
	}

	again := &heard{T: t}
	h = plugintest.Run(t, plugintest.Options{Dir: folder, API: plugintest.Replay(again, file)})
	act(t, h, "post /v1/tasks")
	if got := act(t, h, "get /v1/tasks?limit=1"); got != recorded {
		t.Errorf("replayed %s, recorded %s", got, recorded)
	}
	if got := again.end(); got != "" {
		t.Error(got)
	}

	other := &heard{T: t}
	h = plugintest.Run(t, plugintest.Options{Dir: folder, API: plugintest.Replay(other, file)})
	act(t, h, "post /v1/projects")
	got := other.end()
	for _, want := range []string{"- POST /v1/tasks\n+ POST /v1/projects\n  If-Match: \"2\"", "nobody made this request", "GET /v1/tasks?limit=1"} {
		if !strings.Contains(got, want) {
			t.Errorf("the test is not told %q:\n%s", want, got)
		}
	}
}
