package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/guildhall-dev/guildhall/internal/fault"
)

// Problem is an RFC 9457 problem document. Further members (permission,
// current, lines, …) stand beside these.
type Problem struct {
	Type      string        `json:"type" format:"uri-reference" maxLength:"200" doc:"Address of a page about this code." example:"/docs/errors/validation_failed"`
	Title     string        `json:"title" maxLength:"100" doc:"The status in words." example:"Unprocessable Entity"`
	Status    int           `json:"status" minimum:"400" maximum:"599" doc:"The HTTP status." example:"422"`
	Detail    string        `json:"detail" maxLength:"2000" doc:"What went wrong and what to do next." example:"The input is not valid."`
	Code      string        `json:"code" maxLength:"100" pattern:"^[a-z][a-z0-9_]*$" doc:"Stable name for programs." example:"validation_failed"`
	RequestID string        `json:"request_id" maxLength:"100" doc:"Also in the X-Request-Id header and in the log." example:"0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07"`
	Errors    []fault.Field `json:"errors,omitempty" maxItems:"100" doc:"One entry for each place that is wrong."`

	members map[string]any
	headers http.Header
}

// Error implements error and huma.StatusError.
func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders implements huma.HeadersError.
func (p *Problem) GetHeaders() http.Header { return p.headers }

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// MarshalJSON puts the further members beside the standard ones.
func (p *Problem) MarshalJSON() ([]byte, error) {
	type plain Problem
	if len(p.members) == 0 {
		return json.Marshal((*plain)(p))
	}
	raw, err := json.Marshal((*plain)(p))
	if err != nil {
		return nil, err
	}
	all := map[string]any{}
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, err
	}
	maps.Copy(all, p.members)
	return json.Marshal(all)
}

var statusOf = map[fault.Kind]int{
	fault.BadRequest: 400, fault.Unauthenticated: 401, fault.PaymentRequired: 402, fault.Denied: 403, fault.NotFound: 404,
	fault.Conflict: 409, fault.Stale: 412, fault.TooLarge: 413, fault.Unsupported: 415, fault.Invalid: 422,
	fault.RateLimited: 429, fault.Unavailable: 503, fault.Internal: 500,
}

func newProblem(ctx context.Context, status int, code, detail string) *Problem {
	return &Problem{
		Type: "/docs/errors/" + code, Title: http.StatusText(status), Status: status,
		Detail: detail, Code: code, RequestID: RequestID(ctx), headers: http.Header{},
	}
}

// problemOf turns an error into what the caller may know of it. Anything that
// is not a fault is our defect and says nothing.
func problemOf(ctx context.Context, err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	f := fault.As(err)
	switch {
	case f == nil && errors.Is(err, context.Canceled):
		return newProblem(ctx, 499, "cancelled", "The request was cancelled.")
	case f == nil && errors.Is(err, context.DeadlineExceeded):
		return newProblem(ctx, http.StatusServiceUnavailable, "unavailable", "The request took too long. Try again shortly.")
	case f == nil || f.Kind == fault.Internal:
		return newProblem(ctx, http.StatusInternalServerError, "internal", "Something went wrong on our side. The request id names it in the log.")
	}
	p = newProblem(ctx, statusOf[f.Kind], f.Code, f.Message)
	p.Errors, p.members = f.Fields, f.Members
	if f.RetryAfter > 0 {
		p.headers.Set("Retry-After", strconv.Itoa(int(math.Ceil(f.RetryAfter.Seconds()))))
	}
	if f.Kind == fault.Unauthenticated {
		p.headers.Set("WWW-Authenticate", "Bearer")
	}
	return p
}

// writeProblem answers outside of a handler.
func writeProblem(ctx context.Context, w http.ResponseWriter, err error) {
	p := problemOf(ctx, err)
	maps.Copy(w.Header(), p.headers)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}

var codeOfStatus = map[int]string{
	400: "bad_request", 404: "not_found", 405: "method_not_allowed", 406: "not_acceptable",
	408: "request_timeout", 413: "too_large", 415: "unsupported_media_type", 422: "validation_failed",
}

// settleHuma gives the library our problem document. Its error constructor is a
// package variable, so this happens once for the process.
var settleHuma = sync.OnceFunc(func() {
	huma.DefaultArrayNullable = false
	huma.ValidateStrictCasing = true
	huma.NewErrorWithContext = func(hc huma.Context, status int, msg string, errs ...error) huma.StatusError {
		return fromHuma(hc.Context(), status, msg, errs)
	}
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		return fromHuma(context.Background(), status, msg, errs)
	}
})

func fromHuma(ctx context.Context, status int, msg string, errs []error) huma.StatusError {
	if status >= 500 {
		return problemOf(ctx, errors.Join(errs...))
	}
	code := codeOfStatus[status]
	if code == "" {
		code = "bad_request"
	}
	msg = cmp.Or(msg, http.StatusText(status), "error") // the library asks for a specimen without any
	p := newProblem(ctx, status, code, strings.ToUpper(msg[:1])+msg[1:]+".")
	if status == http.StatusUnprocessableEntity {
		p.Detail = "The input is not valid. See errors for each place that is wrong."
	}
	for _, err := range errs {
		var d *huma.ErrorDetail
		switch {
		case len(p.Errors) == 100:
			return p
		case errors.As(err, &d):
			// The offending value is left out: it may be a secret.
			at := pointer(d.Location)
			if name, ok := strings.CutPrefix(d.Message, "expected required property "); ok && !strings.HasPrefix(d.Location, "query") {
				at += "/" + strings.TrimSuffix(name, " to be present") // point at the field, as a form needs it
			}
			p.Errors = append(p.Errors, fault.Field{Pointer: clip(at, 500), Message: clip(d.Message, 1000)})
		case err != nil:
			p.Errors = append(p.Errors, fault.Field{Pointer: "", Message: "could not be read"})
		}
	}
	return p
}

// pointer turns body.items[3].tags into /items/3/tags; parameters keep their
// name, as in query.limit.
func pointer(location string) string {
	rest, ok := strings.CutPrefix(location, "body")
	if !ok {
		return clip(location, 500)
	}
	rest = strings.NewReplacer("[", "/", "]", "", ".", "/").Replace(rest)
	return clip(rest, 500)
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-3], "") + "…"
}
