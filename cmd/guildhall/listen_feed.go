package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/event"
)

// liveEvent is an event as it came, and what is read of it.
type liveEvent struct {
	event.Event
	raw     []byte
	example bool // made by trigger
}

func readEvent(raw []byte) (liveEvent, error) {
	e := liveEvent{raw: raw}
	if err := json.Unmarshal(raw, &e.Event); err != nil {
		return e, fmt.Errorf("this is no event: %w", err)
	}
	if e.Type == "" || e.ID.IsZero() {
		return e, errors.New("this is no event: it has no type or no id")
	}
	return e, nil
}

// number is the event's sequence, 0 for an example.
func (e liveEvent) number() int64 {
	if e.Sequence == nil {
		return 0
	}
	return *e.Sequence
}

// feed follows the events of an organisation. What it cannot mend ends it;
// what passes by itself it waits for.
type feed struct {
	remote *remote
	types  string // task.*,comment.created; "" = all
	say    func(format string, args ...any)

	cursor  string
	read    int64     // number of the last event before the cursor
	outage  time.Time // when the instance ceased to answer; zero while it does
	said    time.Time // when that was last said
	delay   time.Duration
	entered bool // it has answered once
}

const (
	pollEvery = time.Second // while nothing is new
	firstWait = 500 * time.Millisecond
	longWait  = 15 * time.Second
	sayEvery  = 30 * time.Second
)

// next reads on. No events means that there are none at the moment.
func (f *feed) next(ctx context.Context) ([]liveEvent, error) {
	query := url.Values{"limit": {"200"}}
	if f.types != "" {
		query.Set("type", f.types)
	}
	if f.cursor != "" {
		query.Set("after", f.cursor)
	}
	var page struct {
		Data       []json.RawMessage `json:"data"`
		NextCursor string            `json:"next_cursor"`
	}
	for {
		err := f.remote.call(ctx, "GET", "/v1/events?"+query.Encode(), nil, &page)
		if err == nil && page.NextCursor == "" {
			err = fmt.Errorf("%s does not answer as Guildhall does: no next_cursor", f.remote.URL)
		}
		if err == nil {
			break
		}
		if err = f.pause(ctx, err); err != nil {
			return nil, err
		}
	}
	f.recovered()
	events := make([]liveEvent, 0, len(page.Data))
	for _, raw := range page.Data {
		e, err := readEvent(raw)
		if err != nil {
			return nil, err
		}
		events = append(events, e)
		f.read = e.number()
	}
	f.cursor = page.NextCursor
	return events, nil
}

// pause waits before the next try after err, or returns err if no try mends it.
func (f *feed) pause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var p *problem
	var syntax *json.SyntaxError
	answered := errors.As(err, &p)
	if answered && !p.passing() || !f.entered && errors.As(err, &syntax) {
		return err
	}
	f.delay = min(max(2*f.delay, firstWait), longWait)
	wait := f.delay/2 + rand.N(f.delay/2)
	what := reason(err)
	if answered {
		what = p.Error()
		wait = max(wait, p.retryAfter)
	}
	now := time.Now()
	if f.outage.IsZero() {
		f.outage = now
	}
	if now.Sub(f.said) >= sayEvery {
		f.said = now
		f.say("%s cannot be read: %s. Trying again; no event is missed.", f.remote.URL, what)
	}
	return sleep(ctx, wait)
}

func (f *feed) recovered() {
	f.entered = true
	if !f.outage.IsZero() {
		f.say("%s answers again after %s.", f.remote.URL, time.Since(f.outage).Round(time.Second))
	}
	f.outage, f.said, f.delay = time.Time{}, time.Time{}, 0
}

// position is where listen begins.
type position struct {
	now   bool
	after int64 // events with larger numbers
}

func parsePosition(text string) (position, error) {
	if text == "now" {
		return position{now: true}, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return position{}, fmt.Errorf("--after is now or the sequence of an event, not %q", text)
	}
	return position{after: n}, nil
}

// skip reads what was before the position and returns what it read beyond it.
// A place that was marked before shortens the way.
func (f *feed) skip(ctx context.Context, p position, known bookmark) (first []liveEvent, err error) {
	if known.Cursor != "" && (p.now || known.Sequence <= p.after) {
		f.cursor, f.read = known.Cursor, known.Sequence
	}
	begun, said := time.Now(), false
	for {
		events, err := f.next(ctx)
		var refused *problem
		if f.cursor != "" && f.cursor == known.Cursor && errors.As(err, &refused) && refused.Code == "bad_request" {
			known, f.cursor, f.read = bookmark{}, "", 0 // of an instance that was made anew
			continue
		}
		if err != nil || len(events) == 0 {
			return nil, err
		}
		for i, e := range events {
			if !p.now && e.number() > p.after {
				return events[i:], nil
			}
		}
		if !said && time.Since(begun) > 2*time.Second {
			said = true
			f.say("Passing over the events of the past; the next start will not have to.")
		}
	}
}

// sleep waits, or ends with ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// joinTypes makes one filter of what --events was given.
func joinTypes(given []string) string {
	var types []string
	for _, g := range given {
		if g = strings.TrimSpace(g); g == "*" {
			return ""
		} else if g != "" {
			types = append(types, g)
		}
	}
	return strings.Join(types, ",")
}
