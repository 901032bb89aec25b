package plugintest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// exchange is an API request and its answer, as a file has them.
type exchange struct {
	Method  string            `json:"method"`
	Path    string            `json:"path"` // with the query
	IfMatch string            `json:"if_match,omitempty"`
	Once    string            `json:"idempotency_key,omitempty"`
	Body    json.RawMessage   `json:"body,omitempty"`
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers,omitempty"` // of the answer
	Answer  json.RawMessage   `json:"answer,omitempty"`
}

// asked reads a request.
func asked(r *http.Request) (exchange, error) {
	body, err := io.ReadAll(r.Body)
	return exchange{
		Method: r.Method, Path: r.URL.RequestURI(), IfMatch: r.Header.Get("If-Match"), Once: r.Header.Get("Idempotency-Key"), Body: tidy(body),
	}, err
}

// tidy is JSON with its members in order, and other text as a string.
func tidy(body []byte) json.RawMessage {
	if len(body) == 0 {
		return nil
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if d.Decode(&v) != nil || d.More() {
		v = string(body)
	}
	out, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return out
}

// plain undoes tidy.
func plain(answer json.RawMessage) []byte {
	var text string
	if json.Unmarshal(answer, &text) == nil {
		return []byte(text)
	}
	return answer
}

// Recorder is a handler for Options.API that sends the plugin's requests to a
// running Guildhall, with an API key whose permissions should be the grants. The
// exchanges are in the file when the test is over, for Replay. The key is not
// written, but what Guildhall answers is: record with an organisation for tests.
func Recorder(t T, file, guildhall, key string) http.Handler {
	r := &recorder{t: t, base: strings.TrimSuffix(guildhall, "/"), key: key}
	t.Cleanup(func() {
		if err := r.write(file); err != nil {
			t.Errorf("plugintest.Recorder: %v", err)
		}
	})
	return r
}

type recorder struct {
	t         T
	base, key string

	mu  sync.Mutex
	all []exchange
}

// ServeHTTP sends a request on. One after the other, so that the file has them in
// an order in which they happened.
func (r *recorder) ServeHTTP(w http.ResponseWriter, in *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, err := asked(in)
	if err == nil {
		err = r.send(in, &e)
	}
	if err != nil {
		r.t.Errorf("plugintest.Recorder: %v", err)
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	r.all = append(r.all, e)
	e.answer(w)
}

func (r *recorder) send(in *http.Request, e *exchange) error {
	out, err := http.NewRequestWithContext(in.Context(), e.Method, r.base+e.Path, bytes.NewReader(plain(e.Body)))
	if err != nil {
		return err
	}
	for _, name := range []string{"If-Match", "Idempotency-Key", "Content-Type", "User-Agent"} {
		if v := in.Header.Get(name); v != "" {
			out.Header.Set(name, v)
		}
	}
	out.Header.Set("Authorization", "Bearer "+r.key)
	a, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		return err
	}
	e.Status, e.Answer, e.Headers = a.StatusCode, tidy(body), map[string]string{}
	for _, name := range []string{"Content-Type", "Etag", "Location", "Link", "Retry-After"} {
		if v := a.Header.Get(name); v != "" {
			e.Headers[name] = v
		}
	}
	return nil
}

func (e exchange) answer(w http.ResponseWriter) {
	for name, v := range e.Headers {
		w.Header().Set(name, v)
	}
	w.WriteHeader(e.Status)
	_, _ = w.Write(plain(e.Answer))
}

func (r *recorder) write(file string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	raw, err := json.MarshalIndent(r.all, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, append(raw, '\n'), 0o644)
}

// Replay is a handler for Options.API that answers from a Recorder's file. It is
// strict: a request that is not in the file, or more often than there, and one of
// the file that nobody made fail the test. Their order is free, since plugins do
// several things at a time; equal requests are answered in the order of the file.
func Replay(t T, file string) http.Handler {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("plugintest.Replay: %v", err)
	}
	r := &replay{t: t, file: file}
	if err := json.Unmarshal(raw, &r.left); err != nil {
		t.Fatalf("plugintest.Replay: %s: %v", file, err)
	}
	for i, e := range r.left {
		r.left[i].Answer = tidy(e.Answer) // without the file's indentation
	}
	t.Cleanup(func() {
		for _, e := range r.left {
			t.Errorf("plugintest.Replay: nobody made this request of %s:\n%s", file, e.text())
		}
	})
	return r
}

type replay struct {
	t    T
	file string

	mu   sync.Mutex
	left []exchange
}

// ServeHTTP answers a request as the file does.
func (r *replay) ServeHTTP(w http.ResponseWriter, in *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, err := asked(in)
	if err != nil {
		r.t.Errorf("plugintest.Replay: %v", err)
	}
	for i, known := range r.left {
		if known.text() == e.text() {
			r.left = append(r.left[:i:i], r.left[i+1:]...)
			known.answer(w)
			return
		}
	}
	r.t.Errorf("plugintest.Replay: this request is not in %s, or not so often:\n%s", r.file, diff(r.nearest(e), e.text()))
	w.WriteHeader(http.StatusNotImplemented)
}

// nearest is the request of the file that was probably meant.
func (r *replay) nearest(e exchange) string {
	best, most := "", -1
	for _, known := range r.left {
		likeness := 0
		for i, line := range strings.Split(known.text(), "\n") {
			if have := strings.Split(e.text(), "\n"); i < len(have) && have[i] == line {
				likeness++
			}
		}
		if likeness > most {
			best, most = known.text(), likeness
		}
	}
	return best
}

// text is the request in lines, as it is compared and shown.
func (e exchange) text() string {
	out := e.Method + " " + e.Path + "\n"
	if e.IfMatch != "" {
		out += "If-Match: " + e.IfMatch + "\n"
	}
	if e.Once != "" {
		out += "Idempotency-Key: " + e.Once + "\n"
	}
	if body := tidy(plain(e.Body)); body != nil {
		var lines bytes.Buffer
		if err := json.Indent(&lines, body, "", "  "); err != nil {
			return out + string(body)
		}
		out += lines.String()
	}
	return out
}

// diff shows what a text should have been: - is missing, + is too much.
func diff(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	longest := make([][]int, len(a)+1) // common lines of a[i:] and b[j:]
	for i := range longest {
		longest[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			longest[i][j] = max(longest[i+1][j], longest[i][j+1])
			if a[i] == b[j] {
				longest[i][j] = longest[i+1][j+1] + 1
			}
		}
	}
	var out strings.Builder
	for i, j := 0, 0; i < len(a) || j < len(b); {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			fmt.Fprintf(&out, "  %s\n", a[i])
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && longest[i+1][j] >= longest[i][j+1]:
			fmt.Fprintf(&out, "- %s\n", a[i])
			i++
		default:
			fmt.Fprintf(&out, "+ %s\n", b[j])
			j++
		}
	}
	return out.String()
}
