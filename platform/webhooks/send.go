package webhooks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

const (
	keptAnswer  = 16 << 10 // bytes of an answer's body
	keptHeaders = 16 << 10 // bytes of an answer's headers
	keptText    = 500      // bytes of what an answer says, in an error's words
)

// send makes attempt number of m at t and tells what came of it. It never
// fails: what goes wrong is the outcome. Where ctx ended before the attempt did, the
// outcome says nothing about the endpoint, and the caller makes the attempt again.
func (f *Feature) send(ctx context.Context, t target, m message, number int) outcome {
	o := outcome{Started: time.Now()}
	sent, shown := t.header(m, number, o.Started)
	for _, h := range []http.Header{sent, shown} {
		h["User-Agent"] = []string{f.Outbound.UserAgent()}
	}
	o.RequestHeader = shown
	req, err := http.NewRequest(http.MethodPost, t.URL, bytes.NewReader(m.Body))
	if err != nil {
		o.Error = "the endpoint's URL is not a URL"
		return o
	}
	// No value, so nothing is sent: it lets the transport send again over another connection where one that
	// was kept open has been closed by the receiver meanwhile. The webhook-id makes that harmless.
	sent["Idempotency-Key"] = nil
	req.Header = sent

	limit := time.Duration(min(max(t.TimeoutSeconds, 1), 30)) * time.Second
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var p progress
	res, err := f.Outbound.DoKeeping(httptrace.WithClientTrace(ctx, p.trace()), req, keptAnswer)
	o.Duration = time.Since(o.Started)
	if res != nil {
		o.StatusCode, o.ResponseBody, o.Truncated = res.StatusCode, res.Body, res.Truncated
		o.ResponseHeader = keepHeaders(res.Header)
		p.reach(readingBody)
	}
	if err != nil {
		o.Error = plain(failure{host: req.URL.Host, name: req.URL.Hostname(), at: p.now(), limit: limit}.words(err))
		o.SlowDown = timedOut(err)
		return o
	}
	o.judge(res.Header)
	return o
}

// judge tells what the status of a whole answer means.
func (o *outcome) judge(h http.Header) {
	status := o.StatusCode
	if status >= 200 && status < 300 {
		o.Delivered = true
		return
	}
	o.Error = strings.TrimSpace(fmt.Sprintf("the receiver answered %d %s", status, http.StatusText(status)))
	switch {
	case status == http.StatusGone:
		o.Gone = true
		o.Error += ": it wants no more"
		return
	case status >= 300 && status < 400 && h.Get("Location") != "":
		o.Error += fmt.Sprintf(": redirects are not followed, and this one points to %s", h.Get("Location"))
	}
	o.Error = plain(o.Error)
	o.SlowDown = slices.Contains([]int{http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}, status)
	o.RetryAfter = retryAfter(h, time.Now())
}

// plain makes a text of the receiver's fit to be kept and shown.
func plain(s string) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "\uFFFD")
	if len(s) > keptText {
		s = strings.ToValidUTF8(s[:keptText], "") + "…"
	}
	return s
}

// keepHeaders leaves out what is beyond a size that is of use: the longest go first.
func keepHeaders(h http.Header) http.Header {
	size := func(name string) (n int) {
		for _, v := range h[name] {
			n += len(name) + len(v)
		}
		return n
	}
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := size(a) - size(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	out, left := http.Header{}, keptHeaders
	for _, name := range names {
		if left -= size(name); left < 0 {
			break
		}
		out[name] = h[name]
	}
	return out
}

// phase is how far an attempt came.
type phase int32

const (
	starting phase = iota
	resolving
	connecting
	securing
	writing
	waiting
	readingHeaders
	readingBody
)

// progress notes the furthest phase. The transport tells it from several goroutines.
type progress struct{ at atomic.Int32 }

func (p *progress) now() phase { return phase(p.at.Load()) }

func (p *progress) reach(to phase) {
	for {
		at := p.at.Load()
		if at >= int32(to) || p.at.CompareAndSwap(at, int32(to)) {
			return
		}
	}
}

func (p *progress) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		DNSStart:             func(httptrace.DNSStartInfo) { p.reach(resolving) },
		ConnectStart:         func(string, string) { p.reach(connecting) },
		TLSHandshakeStart:    func() { p.reach(securing) },
		GotConn:              func(httptrace.GotConnInfo) { p.reach(writing) },
		WroteRequest:         func(httptrace.WroteRequestInfo) { p.reach(waiting) },
		GotFirstResponseByte: func() { p.reach(readingHeaders) },
	}
}

func timedOut(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}
