package openapi

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/date"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Parcel is the row of a feature that only these tests have.
type Parcel struct {
	ID        id.ID      `json:"id"`
	Label     string     `json:"label" maxLength:"100" doc:"What stands on it." example:"Books"`
	State     string     `json:"state" enum:"packed,sent"`
	Due       *date.Date `json:"due"`
	Owner     *id.ID     `json:"owner_id"`
	Carrier   *Carrier   `json:"carrier"`
	Parts     []Part     `json:"parts"`
	Weight    int        `json:"weight" minimum:"0" maximum:"1000"`
	SentAt    *time.Time `json:"sent_at"`
	Version   int64      `json:"version"`
	CreatedAt time.Time  `json:"created_at"`
}

func (p Parcel) RowVersion() int64 { return p.Version }
func (p Parcel) Location() string  { return "/v1/parcels/" + p.ID.String() }
func (p Parcel) EventSubject() event.Subject {
	return event.Subject{ID: p.ID}
}

type Carrier struct {
	Name string `json:"name"`
}

type Part struct {
	Count int64  `json:"count"`
	Inner []Part `json:"inner"`
}

type createParcel struct {
	Body struct {
		Label string   `json:"label" minLength:"1" maxLength:"100" example:"Books"`
		Tags  []string `json:"tags,omitempty" maxItems:"10" maxLength:"20"`
	}
}

type patchParcel struct {
	ID      id.ID       `path:"parcel_id"`
	IfMatch api.IfMatch `header:"If-Match"`
	Body    struct {
		Label api.Optional[string] `json:"label,omitempty" maxLength:"100"`
		Due   api.Optional[string] `json:"due,omitempty" format:"date" nullable:"true"`
	}
}

type getParcel struct {
	ID id.ID `path:"parcel_id"`
}

type listParcels struct {
	api.ListParams
	State string `query:"state" enum:"packed,sent" doc:"Only these."`
}

var (
	parcelsRead  = authz.Permission{Key: "parcels.read", Doc: "See parcels.", From: authz.Guest}
	parcelsWrite = authz.Permission{Key: "parcels.write", Doc: "Change parcels.", From: authz.Member}
	parcelSent   = event.Define[Parcel]("parcel.sent", "A parcel left the house.")
	parcelSeen   = event.DefineInternal[Parcel]("parcel.seen", "Somebody looked.")
)

// parcels is a small feature that has one of everything.
func parcels(r *api.Router) {
	api.Write(r, api.Op{ID: "create-parcel", Route: "POST /parcels", Summary: "Pack a parcel", Doc: "Packs a parcel.", Can: parcelsWrite,
		Emits: api.Events(parcelSent.Type), Errors: []string{"409 parcel_label_taken: Another parcel has this label."}},
		func(context.Context, *tenant.Tx, *createParcel) (p Parcel, err error) { return p, nil })
	api.Write(r, api.Op{ID: "patch-parcel", Route: "PATCH /parcels/{parcel_id}", Summary: "Change a parcel", Doc: "Changes a parcel.", Can: parcelsWrite},
		func(context.Context, *tenant.Tx, *patchParcel) (p Parcel, err error) { return p, nil })
	api.Write(r, api.Op{ID: "delete-parcel", Route: "DELETE /parcels/{parcel_id}", Summary: "Throw a parcel away", Doc: "Throws it away.", Can: parcelsWrite},
		func(context.Context, *tenant.Tx, *getParcel) (n api.None, err error) { return n, nil })
	api.Read(r, api.Op{ID: "get-parcel", Route: "GET /parcels/{parcel_id}", Summary: "Read a parcel", Doc: "Reads a parcel.", Can: parcelsRead},
		func(context.Context, tenant.View, *getParcel) (p Parcel, err error) { return p, nil })
	api.Read(r, api.Op{ID: "list-parcels", Route: "GET /parcels", Summary: "List parcels", Doc: "Lists parcels.", Can: parcelsRead},
		func(context.Context, tenant.View, *listParcels) (p page.Page[Parcel], err error) { return p, nil })
	api.Stream(r, api.Op{ID: "export-parcels", Route: "GET /parcels/export", Summary: "Export parcels", Doc: "All of them.", Can: parcelsRead, Audited: true},
		"application/x-ndjson", func(context.Context, tenant.View, *struct{}, io.Writer) error { return nil })
	api.Global(r, api.Op{ID: "ask", Route: "POST /parcels/ask", Summary: "Ask", Doc: "Asks without a log-in.", Access: api.Public, Status: 200},
		func(context.Context, *tenant.GlobalTx, *createParcel) (out struct {
			Message string `json:"message" maxLength:"100"`
		}, err error) {
			return out, nil
		})
}

func newRouter(t *testing.T, register func(*api.Router)) (*api.Router, []Tag) {
	t.Helper()
	r := api.NewRouter(&api.Kernel{})
	register(r.Tagged("parcels"))
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	return r, []Tag{{Name: "parcels", Doc: "Parcels and where they are.", Events: api.Events(parcelSent.Type, parcelSeen.Type)}}
}

func document(t *testing.T) (object, []byte) {
	t.Helper()
	raw, err := Document(newRouter(t, parcels))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	return doc, raw
}

// at follows keys into a document.
func at(t *testing.T, doc object, keys ...string) object {
	t.Helper()
	for i, k := range keys {
		next, ok := resolve(doc, doc)[k].(object)
		if !ok {
			t.Fatalf("nothing at %v", keys[:i+1])
		}
		doc = next
	}
	return doc
}

func TestDocumentOfOperations(t *testing.T) {
	t.Parallel()
	doc, _ := document(t)
	create := at(t, doc, "paths", "/v1/parcels", "post")
	for key, want := range map[string]any{"x-permission": "parcels.write", "x-access": "organization"} {
		if create[key] != want {
			t.Errorf("%s = %v, want %v", key, create[key], want)
		}
	}
	if got := str(t, create["x-emits"]); got != `["parcel.sent"]` {
		t.Errorf("x-emits = %s", got)
	}
	for status, code := range map[string]string{
		"400": "organization_required", "401": "unauthenticated", "403": "permission_denied", "404": "organization_not_found",
		"409": "parcel_label_taken", "413": "too_large", "415": "unsupported_media_type", "422": "idempotency_mismatch",
		"429": "rate_limited", "500": "internal", "503": "unavailable",
	} {
		res := resolve(doc, at(t, create, "responses", status))
		if !strings.Contains(str(t, res["x-codes"]), `"`+code+`"`) {
			t.Errorf("%s lacks %s: %s", status, code, str(t, res["x-codes"]))
		}
		if at(t, res, "headers")["RateLimit"] == nil || res["content"].(object)[problemType] == nil {
			t.Errorf("%s lacks its header or its content", status)
		}
	}
	for _, name := range []string{"ETag", "Location", "Idempotency-Replayed", "RateLimit"} {
		if at(t, create, "responses", "201", "headers")[name] == nil {
			t.Errorf("201 lacks the header %s", name)
		}
	}
	if got := str(t, create["parameters"]); !strings.Contains(got, "parameters/Organization") || !strings.Contains(got, "parameters/IdempotencyKey\"") {
		t.Errorf("parameters = %s", got)
	}
	stale := resolve(doc, at(t, doc, "paths", "/v1/parcels/{parcel_id}", "patch", "responses", "412"))
	if !strings.Contains(str(t, stale), schemaPrefix+"Parcel") {
		t.Errorf("412 does not say what current is: %s", str(t, stale))
	}
	if at(t, doc, "paths", "/v1/parcels", "get", "responses", "200", "headers")["Link"] == nil {
		t.Error("a list has no Link header")
	}
	if at(t, doc, "paths", "/v1/parcels/export", "get", "responses", "200", "content")["application/x-ndjson"] == nil {
		t.Error("a stream has no content type")
	}
	public := at(t, doc, "paths", "/v1/parcels/ask", "post")
	if str(t, public["security"]) != "[{}]" || !strings.Contains(str(t, public["parameters"]), "IdempotencyKeyAnonymous") {
		t.Errorf("public operation: %s", str(t, public))
	}
}

func TestDocumentOfSchemas(t *testing.T) {
	t.Parallel()
	doc, _ := document(t)
	props := at(t, doc, "components", "schemas", "Parcel", "properties")
	for key, want := range map[string]string{
		"due":      `["string","null"]`,
		"owner_id": `["string","null"]`,
		"sent_at":  `["string","null"]`,
		"id":       `"string"`,
	} {
		if got := str(t, at(t, props, key)["type"]); got != want {
			t.Errorf("%s: type %s, want %s", key, got, want)
		}
	}
	if got := str(t, at(t, props, "carrier")["oneOf"]); !strings.Contains(got, `{"type":"null"}`) {
		t.Errorf("carrier: %s", got)
	}
	if at(t, props, "parts")["maxItems"] == nil || at(t, doc, "components", "schemas", "Carrier", "properties", "name")["maxLength"] == nil {
		t.Error("an answer was left without limits")
	}
	envelope := at(t, doc, "components", "schemas", "ParcelSentEvent", "properties")
	if at(t, envelope, "type")["const"] != "parcel.sent" || at(t, envelope, "data")["$ref"] != schemaPrefix+"Parcel" {
		t.Errorf("envelope: %s", str(t, envelope))
	}
	if at(t, doc, "components", "schemas")["CreateParcelRequest"] == nil || at(t, doc, "components", "schemas")["AskResponse"] == nil {
		t.Error("the schemas of bodies are not named after their operations")
	}
	if at(t, doc, "webhooks")["parcel.seen"] != nil {
		t.Error("an internal event stands under webhooks")
	}
	for name := range at(t, doc, "components", "responses") {
		if !strings.Contains(str(t, doc), `"#/components/responses/`+name+`"`) {
			t.Errorf("response %s is not used", name)
		}
	}
}

func TestDocumentIsTheSameEachTimeAndLeavesTheLiveSchemasAlone(t *testing.T) {
	t.Parallel()
	r, tags := newRouter(t, parcels)
	before, err := json.Marshal(r.OpenAPI())
	if err != nil {
		t.Fatal(err)
	}
	first, err := Document(r, tags)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Document(r, tags)
	if err != nil {
		t.Fatal(err)
	}
	if string(first) != string(second) {
		t.Error("two documents of one router differ")
	}
	if after, _ := json.Marshal(r.OpenAPI()); string(after) != string(before) {
		t.Error("the live schemas changed")
	}
}

func TestDocumentRefusesOpenRequests(t *testing.T) {
	t.Parallel()
	type in struct {
		Search string `query:"search" doc:"Words."`
		Kind   string `query:"kind" maxLength:"10"`
		Body   struct {
			Title string         `json:"title"`
			List  []string       `json:"list" maxLength:"5"`
			Map   map[string]any `json:"map"`
		}
	}
	r, tags := newRouter(t, func(r *api.Router) {
		api.Write(r, api.Op{ID: "open", Route: "POST /open", Summary: "Open", Doc: "Open.", Can: parcelsWrite, Errors: []string{"taken"}},
			func(context.Context, *tenant.Tx, *in) (n api.None, err error) { return n, nil })
	})
	_, err := Document(r, tags)
	if err == nil {
		t.Fatal("a request without limits passed")
	}
	for _, want := range []string{"in.Search is text", ".Title is text", ".List is a list", "in.Kind has no description", `Errors holds "taken"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
}

func TestExamplesAreValid(t *testing.T) {
	t.Parallel()
	_, raw := document(t)
	v, err := NewValidator(raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.CheckExamples(); err != nil {
		t.Error(err)
	}
}

func TestValidator(t *testing.T) {
	t.Parallel()
	doc, raw := document(t)
	v, err := NewValidator(raw)
	if err != nil {
		t.Fatal(err)
	}
	row := str(t, at(t, doc, "paths", "/v1/parcels/{parcel_id}", "get", "responses", "200", "content", "application/json")["example"])
	problem := func(status int, code string) string { return str(t, problemExample(status, code)) }
	const path, js = "/v1/parcels/0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07", "application/json"
	for name, c := range map[string]struct {
		method, path string
		status       int
		contentType  string
		body         string
		want         string // in the error; "" = passes
	}{
		"row":                {"GET", path, 200, js, row, ""},
		"query and charset":  {"GET", path + "?a=b", 200, js + "; charset=utf-8", row, ""},
		"no body":            {"DELETE", path, 204, "", "", ""},
		"body of 204":        {"DELETE", path, 204, js, "{}", "has a body"},
		"undeclared status":  {"GET", path, 202, js, row, "not declared"},
		"wrong content type": {"GET", path, 200, "text/plain", row, "is of type"},
		"no JSON":            {"GET", path, 200, js, "<html>", "not JSON"},
		"null list":          {"GET", path, 200, js, strings.Replace(row, `"parts":[`, `"parts":null,"x":[`, 1), "not what the document says"},
		"unknown field":      {"GET", path, 200, js, strings.Replace(row, `"label"`, `"labels"`, 1), "not what the document says"},
		"problem":            {"GET", path, 404, problemType, problem(404, "not_found"), ""},
		"unknown code":       {"POST", "/v1/parcels", 409, problemType, problem(409, "full"), `add "409 full" to Errors`},
		"named code":         {"POST", "/v1/parcels", 409, problemType, problem(409, "parcel_label_taken"), ""},
		"literal beats id":   {"GET", "/v1/parcels/export", 200, "application/x-ndjson", "{}\n", ""},
		"no route":           {"GET", "/v1/none", 404, problemType, problem(404, "not_found"), ""},
		"no route, answered": {"GET", "/v1/none", 200, js, "{}", "no such operation"},
		"outside":            {"GET", "/docs", 200, "text/html", "", ""},
	} {
		err := v.Check(c.method, c.path, c.status, c.contentType, []byte(c.body))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestOlder(t *testing.T) {
	t.Parallel()
	_, raw := document(t)
	old, err := Older(raw)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := decode(old)
	if err != nil {
		t.Fatal(err)
	}
	if doc["openapi"] != "3.0.3" || doc["webhooks"] != nil {
		t.Errorf("openapi %v", doc["openapi"])
	}
	eachSchema(doc, func(s object) {
		_, many := s["type"].([]any)
		if many || s["const"] != nil || s["examples"] != nil || s["type"] == "null" || s["$ref"] != nil && len(s) > 1 {
			t.Errorf("not OpenAPI 3.0: %s", str(t, s))
		}
	})
	carrier := at(t, doc, "components", "schemas", "Parcel", "properties", "carrier")
	if carrier["nullable"] != true || carrier["allOf"] == nil {
		t.Errorf("carrier: %s", str(t, carrier))
	}
}

func TestErrorPages(t *testing.T) {
	t.Parallel()
	r, _ := newRouter(t, parcels)
	mux := http.NewServeMux()
	pages := ErrorPages(r)
	mux.Handle("GET /docs/errors/{code}", pages)
	mux.Handle("GET /docs/errors", pages)
	for path, want := range map[string]struct {
		status int
		text   string
	}{
		"/docs/errors/version_conflict":   {200, "Somebody changed this"},
		"/docs/errors/parcel_label_taken": {200, "Another parcel has this label."},
		"/docs/errors/none":               {404, "no error of this name"},
		"/docs/errors/%3Cscript%3E":       {404, "no error of this name"},
		"/docs/errors":                    {200, "/docs/errors/parcel_label_taken"},
	} {
		rec := httptest.NewRecorder()
		mux.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		if rec.Code != want.status || !strings.Contains(rec.Body.String(), want.text) {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
		}
		if p := rec.Header().Get("Content-Security-Policy"); !strings.Contains(p, "default-src 'none'") || strings.Contains(p, "unsafe") {
			t.Errorf("%s: policy %q", path, p)
		}
	}
}

func str(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
