package sdk

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
)

// Action is a command that a person chose.
type Action struct {
	Name    string
	Input   json.RawMessage // fits the action's schema
	Subject Reference       // what it was called on, if anything
}

// Decode decodes Input.
func (a *Action) Decode(v any) error { return json.Unmarshal(a.Input, v) }

// Result is what the person who ran an action gets.
type Result struct {
	Message string // a line
	Output  any    // encoded as JSON; may be nil
	Refusal string // not empty: it was not done, for this reason
}

// Task is work that the plugin put aside with Call.Enqueue.
type Task struct {
	Name    string
	Payload json.RawMessage
	Attempt int // 1 at the first try
}

// Decode decodes Payload.
func (t *Task) Decode(v any) error { return json.Unmarshal(t.Payload, v) }

// Request is one of a foreign service to the plugin's address. Nobody has verified
// who sent it: that is the plugin's part.
type Request struct {
	Name   string // of the inbound entry
	Method string
	Query  url.Values
	Header http.Header
	Body   []byte
}

// Decode decodes Body.
func (r *Request) Decode(v any) error { return json.Unmarshal(r.Body, v) }

// Response is the answer to it. Status 0 is 204 without a body, and 200 with one.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// SettingsError is a complaint about settings.
type SettingsError struct {
	Pointer string // a JSON pointer into the settings, "" for all of them
	Message string
}

// Provider serves one entry of a point; see Provide.
type Provider func(ctx context.Context, c *Call, input []byte) ([]byte, error)

// Provide makes a Provider of a function over the point's types. A final error is
// shown as the reason why it cannot be done.
func Provide[In, Out any](f func(ctx context.Context, c *Call, in In) (Out, error)) Provider {
	return func(ctx context.Context, c *Call, input []byte) ([]byte, error) {
		var in In
		if err := json.Unmarshal(input, &in); err != nil {
			return nil, Finalf("the input does not fit: %w", err)
		}
		out, err := f(ctx, c, in)
		if err != nil {
			return nil, err
		}
		return json.Marshal(out)
	}
}
