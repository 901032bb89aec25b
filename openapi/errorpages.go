package openapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"html/template"
	"net/http"

	"github.com/guildhall-dev/guildhall/api"
)

const errorStyle = `
body { margin: 3rem auto; max-width: 42rem; padding: 0 1rem; background: #ffffff; color: #1f2937; font: 1rem/1.6 system-ui, sans-serif; }
code { font-family: ui-monospace, monospace; }
h1 { line-height: 1.2; }
a { color: #0f766e; }
@media (prefers-color-scheme: dark) { body { background: #16181d; color: #d6d9df; } a { color: #5eead4; } }
`

const errorPage = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{.Title}} · Guildhall errors</title>
<link rel="icon" href="data:,">
<style>{{.Style}}</style>
</head>
<body>
<p><a href="/docs">Reference</a> · <a href="/docs/errors">All errors</a></p>
<main>
<h1>{{.Title}}</h1>
{{with .Code}}<p><code>{{.Name}}</code>, status {{.Status}}</p>
<h2>What it means</h2>
<p>{{.Meaning}}</p>
<h2>What to do</h2>
<p>{{.Remedy}}</p>
{{with .Operations}}<h2>Who answers it</h2>
<ul>
{{range .}}<li>{{.Summary}}: <code>{{.Method}} {{.Path}}</code></li>
{{end}}</ul>
{{end}}{{else}}{{with .All}}<p>The member <code>code</code> of a problem document is one of these.</p>
<ul>
{{range .}}<li><a href="/docs/errors/{{.Name}}"><code>{{.Name}}</code></a>, {{.Status}}</li>
{{end}}</ul>
{{else}}<p>There is no error of this name. The list of all of them is linked above.</p>
{{end}}{{end}}</main>
</body>
</html>
`

type errorView struct {
	Title string
	Style template.CSS
	Code  *codeUse
	All   []*codeUse
}

// ErrorPages serves the page behind the type of every problem document. Mount
// it as "GET /docs/errors/{code}", and as "GET /docs/errors" for the list, when
// all operations are registered.
func ErrorPages(r *api.Router) http.Handler {
	page := template.Must(template.New("error").Parse(errorPage))
	sum := sha256.Sum256([]byte(errorStyle))
	policy := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
	codes := collect(r)
	all := make([]*codeUse, 0, len(codes))
	for _, name := range sorted(codes) {
		all = append(all, codes[name])
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		status, view := http.StatusOK, errorView{Title: "Errors", Style: errorStyle, All: all}
		if name := req.PathValue("code"); name != "" {
			view.All = nil
			if view.Code = codes[name]; view.Code != nil {
				view.Title = view.Code.Title
			} else {
				status, view.Title = http.StatusNotFound, "No such error"
			}
		}
		var body bytes.Buffer
		if err := page.Execute(&body, view); err != nil {
			http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		h.Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(status)
		_, _ = w.Write(body.Bytes())
	})
}

// digest is the SHA-256 of a text in hex.
func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
