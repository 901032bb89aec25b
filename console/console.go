// Package console holds the pages behind the links of mails: they confirm an
// address, set a new password and accept an invitation, so that whoever gets a
// mail needs no program for it. They are plain files that call the API like
// any other client; nothing is built, and nothing comes from another server.
package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"slices"
	"time"
)

//go:embed pages
var files embed.FS

// policy is the Content-Security-Policy of every answer. Forms are sent by the
// script alone, hence form-action 'none': without it a password would go into
// an address.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"

// file is one answer. A page is stored nowhere; what it loads is asked for
// anew each time and sent only if it changed, so that both always fit.
type file struct {
	path, name, kind, caching string
}

func served() []file {
	const page, fresh, again = "text/html; charset=utf-8", "no-store", "no-cache"
	return []file{
		{"/confirm-email", "confirm-email.html", page, fresh},
		{"/reset-password", "reset-password.html", page, fresh},
		{"/forgot-password", "forgot-password.html", page, fresh},
		{"/invitations/accept", "accept-invitation.html", page, fresh},
		{"/login", "login.html", page, fresh},
		{"/console/pages.css", "pages.css", "text/css; charset=utf-8", again},
		{"/console/pages.js", "pages.js", "text/javascript; charset=utf-8", again},
	}
}

// Paths returns every path that Handler knows, for a mux that must tell an
// unknown path or method itself.
func Paths() []string {
	var out []string
	for _, f := range served() {
		out = append(out, f.path)
	}
	slices.Sort(out)
	return out
}

// Handler serves the pages and what they load at the paths of Paths, for GET
// and HEAD; 404 for any other path. Mount it at the root: the paths stand in
// mails and in the pages.
func Handler() http.Handler {
	mux := http.NewServeMux()
	for _, f := range served() {
		mux.Handle("GET "+f.path, f.handler())
	}
	return mux
}

func (f file) handler() http.Handler {
	body, err := files.ReadFile("pages/" + f.name)
	if err != nil {
		panic("console: " + err.Error()) // a file that is embedded is there
	}
	sum := sha256.Sum256(body)
	tag := `"` + hex.EncodeToString(sum[:16]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", f.caching)
		h.Set("Content-Type", f.kind)
		if f.caching != "no-store" {
			h.Set("ETag", tag)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	})
}
