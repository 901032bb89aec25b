package launch

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"regexp"
	"sync"

	"golang.org/x/time/rate"
)

const (
	outputRate  = 256 << 10 // bytes per second
	outputBurst = 1 << 20
	chunk       = 32 << 10
)

// output hands on what a plugin prints, line by line and no faster than allowed:
// whoever writes waits. When the process ended, what is left is let through.
type output struct {
	ended   context.Context
	end     context.CancelFunc
	limiter *rate.Limiter
	deliver func(stream string, line []byte)

	mu    sync.Mutex // one line at a time
	last  string     // the last line of stderr
	cause string     // the line that says why the program fell, if one does
}

func newOutput(deliver func(string, []byte)) *output {
	ended, end := context.WithCancel(context.Background())
	return &output{ended: ended, end: end, limiter: rate.NewLimiter(outputRate, outputBurst), deliver: deliver}
}

func (o *output) line(stream string, line []byte) {
	line = bytes.TrimSuffix(line, []byte("\r"))
	if stream == "stderr" && len(bytes.TrimSpace(line)) > 0 {
		o.last = string(line[:min(len(line), 300)])
		if o.cause == "" && fall.MatchString(o.last) {
			o.cause = o.last
		}
	}
	o.deliver(stream, line)
}

// said is what the program said last about its end.
func (o *output) said() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.cause != "" {
		return o.cause
	}
	return o.last
}

// lines is one stream of an output.
type lines struct {
	o      *output
	stream string
	buf    []byte
}

func (o *output) stream(name string) *lines { return &lines{o: o, stream: name} }

// Write never fails.
func (l *lines) Write(b []byte) (int, error) {
	for part := b; len(part) > 0; {
		n := min(len(part), chunk)
		_ = l.o.limiter.WaitN(l.o.ended, n)
		l.split(part[:n])
		part = part[n:]
	}
	return len(b), nil
}

func (l *lines) split(b []byte) {
	l.o.mu.Lock()
	defer l.o.mu.Unlock()
	for len(b) > 0 {
		head, rest, found := bytes.Cut(b, []byte("\n"))
		l.buf = append(l.buf, head[:min(len(head), maxLine-len(l.buf))]...)
		if found {
			l.o.line(l.stream, l.buf)
			l.buf = l.buf[:0]
		}
		b = rest
	}
}

// flush hands on a last line without an end.
func (l *lines) flush() {
	l.o.mu.Lock()
	defer l.o.mu.Unlock()
	if len(l.buf) > 0 {
		l.o.line(l.stream, l.buf)
		l.buf = nil
	}
}

// What Go's runtime says before a long dump.
var fall = regexp.MustCompile(`^(panic|fatal error|runtime/cgo): `)

var handshakeLine = regexp.MustCompile(`^\d+\|\d+\|`)

// pumpStdout finds the handshake among what a plugin prints at its start, gives
// it to go-plugin alone, and hands on the rest.
func pumpStdout(from io.Reader, to *lines, shake *io.PipeWriter) {
	defer to.flush()
	defer shake.Close()
	r := bufio.NewReaderSize(from, chunk)
	for {
		line, err := r.ReadSlice('\n')
		if handshakeLine.Match(line) {
			_, _ = shake.Write(line)
			break
		}
		_, _ = to.Write(line)
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
	_ = shake.Close()
	_, _ = io.CopyBuffer(to, struct{ io.Reader }{r}, make([]byte, chunk))
}

func pumpStderr(from io.Reader, to *lines) {
	defer to.flush()
	_, _ = io.CopyBuffer(to, struct{ io.Reader }{from}, make([]byte, chunk))
}
