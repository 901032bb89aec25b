package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/guildhall-dev/guildhall/platform/webhooks"
)

// attempt is what came of sending an event once.
type attempt struct {
	status int    // 0 = no answer
	err    string // in words, where there is no answer
	took   time.Duration
}

func (a attempt) delivered() bool { return a.status >= 200 && a.status < 300 }

func (a attempt) String() string {
	if a.err != "" {
		return a.err
	}
	return fmt.Sprintf("%d in %s", a.status, a.took.Round(time.Millisecond))
}

const (
	attemptLimit = 15 * time.Second // as long as the product waits by default
	unfinished   = 100              // events that may wait for an answer or a retry
	grace        = 2 * time.Second  // for answers when listen ends
)

// forwarder sends events to the address of the application under development:
// in their order as long as it answers, past an event that it leaves hanging or
// refuses.
type forwarder struct {
	to        string // "" = nowhere
	secret    []byte
	publicURL string
	client    *http.Client
	waits     []time.Duration // before the second, third… attempt
	patience  time.Duration   // with an answer, before the next event goes out too
	tell      func(e liveEvent, note string, good bool)

	room            chan struct{}
	running         sync.WaitGroup
	arrived, failed atomic.Int64
}

func newForwarder(to string, secret []byte, publicURL string, tell func(liveEvent, string, bool)) *forwarder {
	return &forwarder{
		to: to, secret: secret, publicURL: publicURL, tell: tell,
		waits:    []time.Duration{time.Second, 3 * time.Second, 9 * time.Second},
		patience: 2 * time.Second,
		room:     make(chan struct{}, unfinished),
		client: &http.Client{
			Transport:     &http.Transport{MaxIdleConnsPerHost: 10, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true, DisableCompression: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// forward sends the event and returns once it may be the next one's turn.
func (f *forwarder) forward(ctx context.Context, e liveEvent) error {
	if f.to == "" {
		f.tell(e, "", true)
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	select {
	case f.room <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	answered := make(chan bool, 1)
	f.running.Go(func() {
		defer func() { <-f.room }()
		f.deliver(ctx, e, answered)
	})
	t := time.NewTimer(f.patience)
	defer t.Stop()
	select {
	case <-t.C:
	case arrived := <-answered:
		if arrived {
			return nil
		}
	case <-ctx.Done():
		if <-answered { // within the grace
			return nil
		}
	}
	return ctx.Err()
}

// deliver makes attempts until one arrives, the plan ends or ctx does. It
// says after the first whether that arrived.
func (f *forwarder) deliver(ctx context.Context, e liveEvent, answered chan<- bool) {
	for number := 1; ; number++ {
		a := f.once(ctx, e, number)
		if number == 1 {
			answered <- a.delivered()
		}
		note := a.String()
		if number > 1 {
			note += fmt.Sprintf(", attempt %d", number)
		}
		switch {
		case a.delivered():
			f.arrived.Add(1)
			f.tell(e, note, true)
			return
		case number > len(f.waits):
			f.failed.Add(1)
			f.tell(e, note+": given up", false)
			return
		}
		wait := f.waits[number-1]
		f.tell(e, fmt.Sprintf("%s, again in %s", note, wait), false)
		if sleep(ctx, wait) != nil {
			f.failed.Add(1)
			return
		}
	}
}

// once makes one attempt. When ctx ends, the answer gets a moment yet.
func (f *forwarder) once(ctx context.Context, e liveEvent, number int) attempt {
	begun := time.Now()
	header, body, err := webhooks.LocalRequest(e.Event, f.secret, f.publicURL, number, e.example, begun)
	if err != nil {
		return attempt{err: err.Error()}
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptLimit)
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })()
	req, err := http.NewRequestWithContext(limited, http.MethodPost, f.to, bytes.NewReader(body))
	if err != nil {
		return attempt{err: err.Error()}
	}
	header["Idempotency-Key"] = nil // sends nothing; lets the transport repeat it when a kept connection was closed
	header.Set("User-Agent", "Guildhall/"+version)
	req.Header = header
	res, err := f.client.Do(req)
	if err != nil {
		return attempt{err: reason(err), took: time.Since(begun)}
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // so that the connection is kept; the status has come
	return attempt{status: res.StatusCode, took: time.Since(begun)}
}

// finish waits for what is under way, after the context of it has ended.
func (f *forwarder) finish() { f.running.Wait() }
