// Package fault holds the one error type that means something to a caller.
// Features return a fault where the caller can do something about it; every
// other error is a defect of ours and reaches the caller as "internal" without
// a detail. Only package api knows which status a kind becomes.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Kind says what sort of thing went wrong.
type Kind int

// The kinds, each with the HTTP status that package api gives it.
const (
	Internal        Kind = iota // 500
	BadRequest                  // 400: unparsable
	Unauthenticated             // 401
	PaymentRequired             // 402
	Denied                      // 403: visible, but not allowed
	NotFound                    // 404: missing or not visible, told apart by nobody
	Conflict                    // 409: uniqueness and state
	Stale                       // 412: a version that is no longer current
	TooLarge                    // 413
	Unsupported                 // 415
	Invalid                     // 422: understood, but not acceptable
	RateLimited                 // 429
	Unavailable                 // 503: try again
)

// Field is one complaint about one place in the input.
type Field struct {
	Pointer string `json:"pointer" maxLength:"500" doc:"JSON pointer (RFC 6901) into the body, or the name of a parameter." example:"/title"`
	Message string `json:"message" maxLength:"1000" doc:"What is wrong there." example:"expected length >= 1"`
}

// Error is a fault: a kind, a stable code for programs and a sentence for
// people, which says what to do next where that can be said.
type Error struct {
	Kind       Kind
	Code       string
	Message    string
	Fields     []Field
	Members    map[string]any // further members of the problem document
	RetryAfter time.Duration
	cause      error
}

func (e *Error) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.cause)
	}
	return e.Code + ": " + e.Message
}

func (e *Error) Unwrap() error { return e.cause }

// Because returns a copy that wraps the cause; the cause is for the log only.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// With returns a copy with one more member in the problem document.
func (e *Error) With(name string, value any) *Error {
	c := *e
	c.Members = make(map[string]any, len(e.Members)+1)
	for k, v := range e.Members {
		c.Members[k] = v
	}
	c.Members[name] = value
	return &c
}

// New returns a fault of a kind with a code and a formatted sentence.
func New(kind Kind, code, format string, args ...any) *Error {
	return &Error{Kind: kind, Code: code, Message: fmt.Sprintf(format, args...)}
}

// NotFoundf returns the one answer for missing and invisible things alike; the
// noun comes from the operation, never from the data.
func NotFoundf(noun string) *Error {
	return New(NotFound, "not_found", "No such %s.", noun)
}

// Conflictf returns a 409 with its code.
func Conflictf(code, format string, args ...any) *Error { return New(Conflict, code, format, args...) }

// Invalidf returns a 422 validation_failed that points at one field.
func Invalidf(pointer, format string, args ...any) *Error {
	msg := fmt.Sprintf(format, args...)
	return &Error{
		Kind: Invalid, Code: "validation_failed", Message: "The input is not valid: " + msg + ".",
		Fields: []Field{{Pointer: pointer, Message: msg}},
	}
}

// Deniedf returns a 403 that names the permission that is missing.
func Deniedf(permission string) *Error {
	return New(Denied, "permission_denied", "This needs the permission %s.", permission).With("permission", permission)
}

// StaleVersion returns a 412 with the current row.
func StaleVersion(current any) *Error {
	return New(Stale, "version_conflict", "Somebody changed this since you read it. Read it again, then repeat your change.").With("current", current)
}

// As returns the fault in err's chain, or nil.
func As(err error) *Error {
	var f *Error
	if errors.As(err, &f) {
		return f
	}
	return nil
}

// Is reports whether err is a fault of the kind.
func Is(err error, kind Kind) bool {
	f := As(err)
	return f != nil && f.Kind == kind
}
