package sdk

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
)

// Problem is how the API says no: RFC 9457, with a stable code for programs.
type Problem struct {
	Status int          `json:"status"`
	Code   string       `json:"code"` // "validation_failed"
	Title  string       `json:"title"`
	Detail string       `json:"detail"`
	Errors []FieldError `json:"errors"`
}

// FieldError is one place in the input that is wrong.
type FieldError struct {
	Pointer string `json:"pointer"` // a JSON pointer into the body, or a parameter's name
	Message string `json:"message"`
}

func (p *Problem) Error() string {
	text := fmt.Sprintf("%d %s: %s", p.Status, p.Code, p.Detail)
	for _, f := range p.Errors {
		text += fmt.Sprintf("; %s: %s", f.Pointer, f.Message)
	}
	return text
}

// Option refines one host call.
type Option func(*options)

type options struct {
	once, ifMatch string
	etag          *string
}

func collect(opts []Option) (o options) {
	for _, f := range opts {
		f(&o)
	}
	return o
}

// Once makes a call with this key take effect once, for 72 hours. A handler that
// may run again gives its writes a key that is the same each time, such as the
// event's id with a word.
func Once(key string) Option { return func(o *options) { o.once = key } }

// IfMatch makes a change only if the thing still has this ETag; the problem's code
// is "version_conflict" otherwise.
func IfMatch(etag string) Option { return func(o *options) { o.ifMatch = etag } }

// ETag stores the answer's ETag.
func ETag(to *string) Option { return func(o *options) { o.etag = to } }

// API calls an operation of Guildhall's HTTP API as the plugin: with the granted
// permissions, in the call's organisation. In is the body and out the answer, as
// JSON; both may be nil. An answer of 400 and more is a *Problem.
func (c *Call) API(ctx context.Context, method, path string, in, out any, opts ...Option) error {
	o := collect(opts)
	r := &pluginpb.RequestRequest{Method: method, Path: path}
	if in != nil {
		body, err := json.Marshal(in)
		if err != nil {
			return err
		}
		r.Body = body
		r.Headers = append(r.Headers, &pluginpb.Header{Name: "Content-Type", Value: "application/json"})
	}
	for name, value := range map[string]string{"If-Match": o.ifMatch, "Idempotency-Key": o.once} {
		if value != "" {
			r.Headers = append(r.Headers, &pluginpb.Header{Name: name, Value: value})
		}
	}
	what := "sdk.API(" + method + " " + path + ")"
	a, err := c.host.Request(c.granted(ctx), r)
	if err != nil {
		return hostError(what, err)
	}
	if a.GetStatus() >= 400 {
		p := &Problem{}
		if json.Unmarshal(a.GetBody(), p) != nil || p.Status == 0 {
			p = &Problem{Status: int(a.GetStatus()), Code: "unknown", Detail: clip(string(a.GetBody()))}
		}
		return fmt.Errorf("%s: %w", what, p)
	}
	if o.etag != nil {
		*o.etag = header(a.GetHeaders()).Get("ETag")
	}
	if out == nil || len(a.GetBody()) == 0 {
		return nil
	}
	if err := json.Unmarshal(a.GetBody(), out); err != nil {
		return fmt.Errorf("%s: the answer does not fit: %w", what, err)
	}
	return nil
}
