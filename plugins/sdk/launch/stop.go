package launch

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Stop asks the plugin to end, kills what is left after grace, and returns when it
// is gone. Calls that are running are cut off: drain them first.
//
// The request is go-plugin's shutdown call, or SIGTERM where a plugin does not
// serve that. Who does not catch SIGTERM either is killed at once.
func (p *Process) Stop(grace time.Duration) {
	p.mu.Lock()
	if p.reason == nil {
		p.reason = ErrStopped
	}
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	err := p.conn.Invoke(ctx, "/plugin.GRPCController/Shutdown", &emptypb.Empty{}, &emptypb.Empty{})
	if status.Code(err) == codes.Unimplemented {
		p.child.terminate()
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		p.Kill()
	}
}

// Kill kills the plugin and all its descendants, and returns when they are gone.
func (p *Process) Kill() {
	p.end(ErrStopped)
	<-p.done
}

// verdict says why a process ended that the host did not end.
func (p *Process) verdict() error {
	end, said := p.child.ending(), p.output.said()
	if p.child.failed() && lackOfMemory.MatchString(end+said) {
		return &ended{overLimit("exceeded its memory of %s", mebibytes(p.spec.Limits.MemoryBytes)), said}
	}
	return &ended{errors.New(end), said}
}

// ended is how a process ended, and its last words.
type ended struct {
	how  error
	said string
}

func (e *ended) Error() string {
	if e.said == "" {
		return e.how.Error()
	}
	return e.how.Error() + ": " + e.said
}

func (e *ended) Unwrap() error { return e.how }

// Ending is how a process ended, without its last words: it may have served many,
// and its words may be about any of them.
func Ending(err error) string {
	var e *ended
	if errors.As(err, &e) {
		return e.how.Error()
	}
	if err == nil {
		return "it ended"
	}
	return err.Error()
}

// What programs say that were refused memory. The most that a process ever had is
// no sign of it: the system counts what its parent, the host, had before.
var lackOfMemory = regexp.MustCompile(`(?i)out of memory|cannot allocate memory|MemoryError|bad_alloc`)

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }
