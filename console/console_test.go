package console_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/guildhall-dev/guildhall/console"
)

const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"

func ask(t *testing.T, method, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	console.Handler().ServeHTTP(w, r)
	return w
}

func isPage(path string) bool { return !strings.HasPrefix(path, "/console/") }

func TestHeaders(t *testing.T) {
	t.Parallel()
	want := []string{"/confirm-email", "/console/pages.css", "/console/pages.js", "/forgot-password", "/invitations/accept", "/login", "/reset-password"}
	if got := console.Paths(); !slices.Equal(got, want) {
		t.Fatalf("Paths() = %v, want %v", got, want)
	}
	for _, path := range console.Paths() {
		res := ask(t, "GET", path)
		if res.Code != http.StatusOK || res.Body.Len() == 0 {
			t.Errorf("GET %s: status %d, %d bytes", path, res.Code, res.Body.Len())
		}
		want := map[string]string{
			"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache",
		}
		if isPage(path) {
			want["Cache-Control"], want["Content-Type"], want["ETag"] = "no-store", "text/html; charset=utf-8", ""
		}
		for name, value := range want {
			if got := res.Header().Get(name); got != value {
				t.Errorf("GET %s: %s is %q, want %q", path, name, got, value)
			}
		}
		if head := ask(t, "HEAD", path); head.Code != http.StatusOK || head.Body.Len() != 0 {
			t.Errorf("HEAD %s: status %d, %d bytes", path, head.Code, head.Body.Len())
		}
	}
}

func TestAssetIsSentOnce(t *testing.T) {
	t.Parallel()
	for _, path := range console.Paths() {
		if isPage(path) {
			continue
		}
		tag := ask(t, "GET", path).Header().Get("ETag")
		if res := ask(t, "GET", path, "If-None-Match", tag); tag == "" || res.Code != http.StatusNotModified {
			t.Errorf("GET %s again with the tag %q: status %d, want 304", path, tag, res.Code)
		}
	}
}

func TestOthersAreRefused(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/", "/confirm-email/", "/console/", "/console/pages", "/console/login.html", "/pages/login.html", "/invitations"} {
		if res := ask(t, "GET", path); res.Code != http.StatusNotFound {
			t.Errorf("GET %s: status %d, want 404", path, res.Code)
		}
	}
	if res := ask(t, "POST", "/reset-password"); res.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST /reset-password: status %d, want 405", res.Code)
	}
}

// TestNothingFromElsewhere holds every address in the files against what the
// installation itself serves, and the markup against what the policy blocks.
func TestNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	known := append(console.Paths(), "/docs", "data:,")
	external := regexp.MustCompile(`(?i)https?:|["'(]//|@import|url\(`)
	address := regexp.MustCompile(`(?:href|src|action)="([^"]*)"`)
	inline := regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=|<script>|javascript:`)
	for _, path := range console.Paths() {
		text := ask(t, "GET", path).Body.String()
		if found := external.FindString(text); found != "" {
			t.Errorf("%s names another server: %s", path, found)
		}
		if !isPage(path) {
			continue
		}
		if found := inline.FindString(text); found != "" {
			t.Errorf("%s has %q, which the policy blocks", path, found)
		}
		for _, m := range address.FindAllStringSubmatch(text, -1) {
			if !slices.Contains(known, m[1]) {
				t.Errorf("%s leads to %s, which nobody serves", path, m[1])
			}
		}
	}
}

// TestMarkup holds what people without a mouse, or without eyes, need.
func TestMarkup(t *testing.T) {
	t.Parallel()
	field := regexp.MustCompile(`<input id="([^"]+)"`)
	for _, path := range console.Paths() {
		if !isPage(path) {
			continue
		}
		text := ask(t, "GET", path).Body.String()
		for _, want := range []string{`<html lang="en">`, `name="viewport"`, "<main>", "<h1>", "<title>"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %s", path, want)
			}
		}
		if strings.Contains(text, "<script") && !strings.Contains(text, `role="alert" tabindex="-1"`) {
			t.Errorf("%s has no place for a problem", path)
		}
		for _, m := range field.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(text, `<label for="`+m[1]+`"`) {
				t.Errorf("%s: the field %s has no label", path, m[1])
			}
		}
	}
}
