// Package docs serves the API reference as one page with everything it needs
// inside the binary: an installation without internet access has its reference
// too, and reading it tells no third party. The page draws the OpenAPI document
// in the browser, so it can never disagree with the document.
package docs

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
)

//go:embed assets/index.html assets/docs.css assets/reference.js assets/rapidoc-min.js.gz
var files embed.FS

// policy is the Content-Security-Policy of every answer. RapiDoc renders style
// elements and style attributes whose text depends on the theme and the
// document, so hashes cannot name them: inline styles are allowed, scripts stay
// limited to our own files. connect-src is for the document and for requests
// that a reader tries out, which go to this installation only.
const policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; " +
	"img-src 'self' data:; font-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'"

// assetDir is the path segment that tells an asset from the page.
const assetDir = "assets/"

// site is the reference: the page's template and the assets by served name.
type site struct {
	page   *template.Template
	assets map[string]asset
	view   view
}

// view is what the template needs. Base leads from the page to the assets.
type view struct {
	Spec, Base, CSS, Script, RapiDoc string
}

// Handler serves the reference of the OpenAPI document at specPath, a path or
// an address on the same origin. Mount it at any prefix with and without the
// closing slash (/docs and /docs/), with or without http.StripPrefix: all links
// are relative to the address that was asked for. Asset names carry a hash of
// their content and may be cached for ever; the page is always checked again.
// Anything else below the prefix is 404, methods but GET and HEAD are 405.
func Handler(specPath string) http.Handler {
	s := &site{
		page:   template.Must(template.ParseFS(files, "assets/index.html")),
		assets: make(map[string]asset),
		view:   view{Spec: specPath},
	}
	s.view.CSS = s.add("docs.css", "text/css; charset=utf-8", read("docs.css"))
	s.view.Script = s.add("reference.js", "text/javascript; charset=utf-8", read("reference.js"))
	s.view.RapiDoc = s.addPacked("rapidoc-min.js", "text/javascript; charset=utf-8", read("rapidoc-min.js.gz"))
	return s
}

// ServeHTTP answers with the page or one of its assets.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	asked := askedPath(r)
	if dir, name := path.Split(asked); strings.HasSuffix(dir, "/"+assetDir) {
		if a, ok := s.assets[name]; ok {
			a.serve(w, r)
			return
		}
		http.NotFound(w, r)
		return
	}
	if !isPage(asked, r.Pattern) {
		http.NotFound(w, r)
		return
	}
	s.servePage(w, r, asked)
}

// servePage renders the page for the address asked, so that its relative links
// work with and without a closing slash.
func (s *site) servePage(w http.ResponseWriter, r *http.Request, asked string) {
	v := s.view
	v.Base = "./" + assetDir
	if _, last := path.Split(asked); last != "" {
		v.Base = "./" + last + "/" + assetDir
	}
	var page bytes.Buffer
	if err := s.page.Execute(&page, v); err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", `"`+hash(page.Bytes())+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(page.Bytes()))
}

// askedPath is the path as the client sent it, which a StripPrefix on the way
// has not shortened. It begins with a slash.
func askedPath(r *http.Request) string {
	p := r.URL.Path
	if u, err := url.ParseRequestURI(r.RequestURI); err == nil {
		p = u.Path
	}
	return "/" + strings.TrimLeft(p, "/")
}

// isPage tells whether asked is the mount itself and nothing below it. The mount
// is known from the ServeMux pattern ("GET host/docs/"); under another router it
// is taken to be a single segment.
func isPage(asked, pattern string) bool {
	asked = strings.Trim(asked, "/")
	if !strings.Contains(asked, "/") {
		return true
	}
	_, mount, _ := strings.Cut(pattern, "/")
	return asked == strings.TrimSuffix(strings.TrimSuffix(mount, "{$}"), "/")
}

// read returns an embedded file. The names are constants of this package, so a
// missing file is a mistake of the build.
func read(name string) []byte {
	b, err := files.ReadFile("assets/" + name)
	if err != nil {
		panic("docs: " + err.Error())
	}
	return b
}

// hash is the first 16 hex digits of the SHA-256 of b: enough to tell versions
// of one file apart.
func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}
