package main

import (
	"encoding/json"
	"net/http"

	"github.com/guildhall-dev/guildhall/console"
	"github.com/guildhall-dev/guildhall/migrations"
	"github.com/guildhall-dev/guildhall/openapi"
	"github.com/guildhall-dev/guildhall/openapi/docs"
)

// mountPages mounts what is not an operation: health, the document, the
// reference, the pages behind the links of mails.
func (a *app) mountPages() {
	r := a.router
	r.Handle("GET /healthz", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeStatus(w, http.StatusOK, map[string]string{"status": "ok", "version": version})
	}))
	r.Handle("GET /readyz", http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if err := a.ready(req.Context()); err != nil {
			writeStatus(w, http.StatusServiceUnavailable, map[string]string{"status": "not ready", "reason": err.Error()})
			return
		}
		writeStatus(w, http.StatusOK, map[string]string{"status": "ready"})
	}))
	r.Handle("GET /openapi.json", openapi.Handler(func() ([]byte, error) { return a.document() }))
	r.Handle("GET /openapi-3.0.json", openapi.Handler(func() ([]byte, error) { return a.document30() }))
	ref := docs.Handler("/openapi.json")
	r.Handle("GET /docs", ref)
	r.Handle("GET /docs/", ref)
	problems := openapi.ErrorPages(r)
	r.Handle("GET /docs/errors", problems)
	r.Handle("GET /docs/errors/{code}", problems)
	pages := console.Handler()
	for _, path := range console.Paths() {
		r.Handle("GET "+path, pages)
	}
	r.Handle("GET /{$}", http.RedirectHandler("/docs", http.StatusFound))
}

func writeStatus(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func latestMigration() int64 { return migrations.Latest() }
