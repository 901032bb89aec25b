// Package openapi makes the published document of what the operations and
// events say of themselves, and serves it. The committed openapi.json is a
// golden file: a difference there is a change of the contract.
package openapi

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"sync"
)

// Handler serves a document that is made once, on first use.
func Handler(doc func() ([]byte, error)) http.Handler {
	once := sync.OnceValues(doc)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := once()
		if err != nil {
			http.Error(w, "the document could not be made", http.StatusInternalServerError)
			return
		}
		sum := sha256.Sum256(body)
		tag := `"` + hex.EncodeToString(sum[:8]) + `"`
		w.Header().Set("ETag", tag)
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("Access-Control-Allow-Origin", "*")
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	})
}
