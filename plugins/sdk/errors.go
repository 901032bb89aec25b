package sdk

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What host calls return, for errors.Is.
var (
	ErrNotFound = errors.New("there is no such value")
	ErrChanged  = errors.New("the value was changed by somebody else")
	ErrDenied   = errors.New("not granted")                     // by the organisation, or the request is over
	ErrTooMany  = errors.New("too many calls, try again later") // the limits of the manifest
)

// Final says that trying again will not help.
func Final(err error) error {
	if err == nil {
		return nil
	}
	return final{err}
}

// Finalf is Final of a formatted error.
func Finalf(format string, args ...any) error { return final{fmt.Errorf(format, args...)} }

type final struct{ error }

func (f final) Unwrap() error { return f.error }

func isFinal(err error) bool {
	var f final
	return errors.As(err, &f)
}

// answer is an error as Guildhall is told of it. A handler's error never passes a
// status on that some call within it got: only Final is final.
func answer(err error) error {
	said := clip(err.Error())
	var p panicked
	switch {
	case errors.As(err, &p):
		return status.Error(codes.Internal, said)
	case isFinal(err):
		return status.Error(codes.FailedPrecondition, said)
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, said)
	}
	return status.Error(codes.Unknown, said)
}

// hostError is an error of a host call, with its kind for errors.Is.
func hostError(call string, err error) error {
	kinds := map[codes.Code]error{
		codes.PermissionDenied: ErrDenied, codes.ResourceExhausted: ErrTooMany, codes.Aborted: ErrChanged,
		codes.DeadlineExceeded: context.DeadlineExceeded, codes.Canceled: context.Canceled,
	}
	s := status.Convert(err)
	if kind := kinds[s.Code()]; kind != nil {
		return fmt.Errorf("%s: %w: %s", call, kind, s.Message())
	}
	return fmt.Errorf("%s: %w", call, err)
}

type panicked struct{ value any }

func (p panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// guarded runs a handler and turns its panic into an error.
func (s *server) guarded(what string, handler func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			fmt.Fprintf(s.stderr, "%s panicked: %v\n%s", what, v, debug.Stack())
			err = panicked{v}
		}
	}()
	return handler()
}
