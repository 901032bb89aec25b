package docs_test

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/guildhall-dev/guildhall/openapi/docs"
)

const spec = "/openapi.json"

// site mounts the reference as the server does, and once more below a deeper
// prefix that is stripped.
func site() http.Handler {
	h := docs.Handler(spec)
	mux := http.NewServeMux()
	mux.Handle("/docs", h)
	mux.Handle("GET /docs/", h)
	mux.Handle("/a/b/reference/", http.StripPrefix("/a/b/reference", h))
	return mux
}

func get(t *testing.T, h http.Handler, method, path string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("ReadAll: %v", err)
	}
	return string(b)
}

// links returns the addresses that the page at path loads, resolved as a
// browser does.
func links(t *testing.T, h http.Handler, at string) []string {
	t.Helper()
	base, err := url.Parse(at)
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	var found []string
	for _, m := range regexp.MustCompile(`(?:src|href)="(\.[^"]+)"`).FindAllStringSubmatch(body(t, get(t, h, "GET", at)), -1) {
		ref, err := base.Parse(m[1])
		if err != nil {
			t.Fatalf("Parse(%q): %v", m[1], err)
		}
		found = append(found, ref.Path)
	}
	return found
}

// named returns the one address among links that holds part.
func named(t *testing.T, links []string, part string) string {
	t.Helper()
	for _, l := range links {
		if strings.Contains(l, part) {
			return l
		}
	}
	t.Fatalf("no %s among %v", part, links)
	return ""
}

func TestPage(t *testing.T) {
	t.Parallel()
	h := site()
	for _, at := range []string{"/docs", "/docs/", "/a/b/reference/"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			res := get(t, h, "GET", at)
			page := body(t, res)
			if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/html; charset=utf-8" {
				t.Fatalf("got %d %s", res.StatusCode, res.Header.Get("Content-Type"))
			}
			for _, want := range []string{
				`<html lang="en">`, "<title>Guildhall API reference</title>", `data-spec="` + spec + `"`, `<a href="` + spec + `">`, "<noscript>",
			} {
				if !strings.Contains(page, want) {
					t.Errorf("page has no %s", want)
				}
			}
			again := get(t, h, "GET", at, "If-None-Match", res.Header.Get("ETag"))
			if again.StatusCode != http.StatusNotModified || res.Header.Get("Cache-Control") != "no-cache" {
				t.Errorf("revalidation: %d, Cache-Control %q", again.StatusCode, res.Header.Get("Cache-Control"))
			}
		})
	}
}

// The page may name nothing outside this installation and hold no script or
// style text, since the policy would have to allow it.
func TestPageIsSelfContained(t *testing.T) {
	t.Parallel()
	page := body(t, get(t, site(), "GET", "/docs"))
	for _, banned := range []string{`https?://`, `["'(]//`, `<script[^>]*>[^<]`, `<style`, `\son[a-z]+=`, `\sstyle=`} {
		if m := regexp.MustCompile(banned).FindString(page); m != "" {
			t.Errorf("page holds %q (%s)", m, banned)
		}
	}
}

func TestSecurityHeadersOnEveryAnswer(t *testing.T) {
	t.Parallel()
	h := site()
	asset := links(t, h, "/docs")[0]
	for _, c := range []struct{ method, path string }{
		{"GET", "/docs"}, {"HEAD", "/docs/"}, {"GET", asset}, {"GET", "/docs/assets/nothing.js"}, {"POST", "/docs"},
	} {
		header := get(t, h, c.method, c.path).Header
		if header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s %s: %v", c.method, c.path, header)
		}
		directives := map[string]string{}
		for d := range strings.SplitSeq(header.Get("Content-Security-Policy"), ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(d), " ")
			directives[name] = value
		}
		for name, want := range map[string]string{
			"default-src": "'none'", "script-src": "'self'", "connect-src": "'self'", "img-src": "'self' data:", "font-src": "'self'",
			"style-src": "'self' 'unsafe-inline'", "base-uri": "'none'", "frame-ancestors": "'none'", "object-src": "'none'", "form-action": "'none'",
		} {
			if directives[name] != want {
				t.Errorf("%s %s: %s %q, want %q", c.method, c.path, name, directives[name], want)
			}
		}
	}
}

func TestAssets(t *testing.T) {
	t.Parallel()
	h := site()
	for _, at := range []string{"/docs", "/docs/", "/a/b/reference/"} {
		found := links(t, h, at)
		if len(found) != 3 {
			t.Fatalf("%s loads %v, want three files", at, found)
		}
		for part, kind := range map[string]string{
			"/docs.": "text/css; charset=utf-8", "/reference.": "text/javascript; charset=utf-8", "/rapidoc-min.": "text/javascript; charset=utf-8",
		} {
			path := named(t, found, part)
			res := get(t, h, "GET", path)
			if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != kind {
				t.Errorf("%s: %d %s", path, res.StatusCode, res.Header.Get("Content-Type"))
			}
			if got := res.Header.Get("Cache-Control"); got != "public, max-age=31536000, immutable" {
				t.Errorf("%s: Cache-Control %q", path, got)
			}
			if again := get(t, h, "GET", path, "If-None-Match", res.Header.Get("ETag")); again.StatusCode != http.StatusNotModified {
				t.Errorf("%s: revalidation gives %d", path, again.StatusCode)
			}
		}
	}
}

func TestUnknownIsNotFound(t *testing.T) {
	t.Parallel()
	h := site()
	for _, path := range []string{
		"/docs/assets/nothing.js", "/docs/assets/", "/docs/assets/docs.css", "/docs/assets/index.html", "/docs/assets/../docs.go",
		"/docs/nothing", "/docs/nothing/", "/a/b/reference/nothing",
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", path, nil)
		r.Pattern = "/docs/"
		w := httptest.NewRecorder()
		docs.Handler(spec).ServeHTTP(w, r)
		if w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
		if res := get(t, h, "GET", path); res.StatusCode == http.StatusOK {
			t.Errorf("%s by way of the mux: %d", path, res.StatusCode)
		}
	}
}

func TestOtherMethodsAreRefused(t *testing.T) {
	t.Parallel()
	res := get(t, site(), "POST", "/docs")
	if res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("got %d, Allow %q", res.StatusCode, res.Header.Get("Allow"))
	}
}

// Both encodings are the file that VERSION names, under ETags of their own.
func TestBundleEncodings(t *testing.T) {
	t.Parallel()
	h := site()
	path := named(t, links(t, h, "/docs"), "rapidoc")
	note, err := os.ReadFile("assets/VERSION")
	if err != nil {
		t.Fatalf("ReadFile: %v", err)
	}
	tags := map[string]string{}
	for accept, want := range map[string]string{
		"": "", "gzip": "gzip", "br, GZIP;q=0.5": "gzip", "*": "gzip", "gzip;q=0": "", "gzip; q=0.000, *": "", "br": "", "*;q=0": "",
	} {
		res := get(t, h, "GET", path, "Accept-Encoding", accept)
		if got := res.Header.Get("Content-Encoding"); got != want {
			t.Errorf("Accept-Encoding %q: Content-Encoding %q, want %q", accept, got, want)
			continue
		}
		if res.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("Accept-Encoding %q: Vary %q", accept, res.Header.Get("Vary"))
		}
		tags[want] = res.Header.Get("ETag")
		content := io.Reader(res.Body)
		if want == "gzip" {
			if content, err = gzip.NewReader(res.Body); err != nil {
				t.Fatalf("NewReader: %v", err)
			}
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, content); err != nil {
			t.Fatalf("Copy: %v", err)
		}
		if hex := hex.EncodeToString(sum.Sum(nil)); !strings.Contains(string(note), hex) {
			t.Errorf("Accept-Encoding %q: content %s is not the one in VERSION", accept, hex)
		}
	}
	if tags[""] == tags["gzip"] {
		t.Errorf("both encodings have the ETag %s", tags[""])
	}
}

func TestSpecPathIsEscaped(t *testing.T) {
	t.Parallel()
	page := body(t, get(t, docs.Handler(`/x"><script>alert(1)</script>`), "GET", "/docs"))
	if strings.Contains(page, "<script>alert") {
		t.Error("the path was written into the page as it is")
	}
}
