package docs

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
)

// asset is a file the page refers to. A packed one is kept as gzip and sent so
// to whoever accepts it, which is everyone but a few tools.
type asset struct {
	kind   string // media type
	tag    string // hash of the content as kept
	body   []byte
	plain  func() ([]byte, error) // unpacked content
	packed bool
}

// add registers a file under a name that changes with its content.
func (s *site) add(name, kind string, body []byte) string {
	return s.register(name, asset{kind: kind, body: body})
}

// addPacked registers a file that is kept as gzip. It is unpacked once, and only
// when a client that does not take gzip asks for it.
func (s *site) addPacked(name, kind string, body []byte) string {
	return s.register(name, asset{kind: kind, body: body, packed: true, plain: sync.OnceValues(func() ([]byte, error) {
		return unpack(body)
	})})
}

func (s *site) register(name string, a asset) string {
	a.tag = hash(a.body)
	ext := path.Ext(name)
	served := strings.TrimSuffix(name, ext) + "." + a.tag + ext
	s.assets[served] = a
	return served
}

// serve sends the asset, with its own ETag for each encoding.
func (a asset) serve(w http.ResponseWriter, r *http.Request) {
	body, tag := a.body, a.tag
	h := w.Header()
	if a.packed {
		h.Set("Vary", "Accept-Encoding")
		if acceptsGzip(r.Header.Values("Accept-Encoding")) {
			h.Set("Content-Encoding", "gzip")
			tag += "-gzip"
		} else {
			plain, err := a.plain()
			if err != nil {
				http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
				return
			}
			body = plain
		}
	}
	h.Set("Content-Type", a.kind)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("ETag", `"`+tag+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// acceptsGzip tells whether the Accept-Encoding values allow gzip: named, or by
// the star, and not with a weight of zero. A named coding overrules the star.
func acceptsGzip(values []string) bool {
	star := false
	for coding := range strings.SplitSeq(strings.Join(values, ","), ",") {
		name, params, _ := strings.Cut(coding, ";")
		ok := true
		if q, found := strings.CutPrefix(strings.ToLower(strings.TrimSpace(params)), "q="); found {
			weight, err := strconv.ParseFloat(q, 64)
			ok = err == nil && weight > 0
		}
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "gzip":
			return ok
		case "*":
			star = ok
		}
	}
	return star
}

// unpack returns the content of a gzip file.
func unpack(packed []byte) ([]byte, error) {
	zr, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("gzip.NewReader: %w", err)
	}
	plain, err := io.ReadAll(zr)
	if err != nil {
		return nil, fmt.Errorf("io.ReadAll: %w", err)
	}
	return plain, nil
}
