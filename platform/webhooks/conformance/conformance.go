// Package conformance judges a sender of webhooks from the outside: it gives
// the sender the URL of a receiver, behaves badly there in some hundred ways,
// and looks only at what arrives. Whether an attempt counted as delivered is
// seen by whether another one follows. It knows nothing of the product, so
// that any sender of Standard Webhooks can be held against it.
//
//	Run ──Send(url)──> sender
//	 ▲                   │ POST, again and again
//	 └──── receiver <────┘ one listener for each case, with a script of answers
package conformance

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/guildhall-dev/guildhall/internal/outbound/outboundtest"
)

// Sender is what is judged.
type Sender interface {
	// Send makes the sender deliver one event to url, with all the attempts
	// of its plan, and returns without waiting for them. It is called from
	// many goroutines.
	Send(ctx context.Context, url string) (Credentials, error)
}

// Credentials are what the receiver at that URL verifies with.
type Credentials struct {
	Secret string              // "whsec_…"; "" where nothing is signed by v1
	Keys   []ed25519.PublicKey // for v1a
}

// Profile is what has to be known of a sender to tell silence from slowness.
type Profile struct {
	Timeout time.Duration   // for a whole attempt
	Waits   []time.Duration // planned before each attempt after the first; at least three, and one second in sum
	Slack   time.Duration   // how late it may be, on this machine
	AtOnce  int             // cases side by side; 0 is 24

	Extensions bool                // it sends webhook-attempt and webhook-type, and they are looked at
	Authority  *Authority          // that it trusts; nil leaves out the cases that need it
	Names      *outboundtest.Names // that it resolves names with; nil leaves out the cases that need it
}

// Run holds the sender against every case and returns how many there were.
// The cases run side by side, for most of their time is waiting.
func Run(t *testing.T, s Sender, p Profile) int {
	t.Helper()
	list := cases(p)
	complaints := holdAll(t.Context(), s, p, list)
	for i, c := range list {
		t.Run(c.name, func(t *testing.T) {
			for _, complaint := range complaints[i] {
				t.Error(complaint)
			}
		})
	}
	return len(list)
}

// holdAll runs the cases and returns the complaints about each.
func holdAll(ctx context.Context, s Sender, p Profile, list []testCase) [][]string {
	complaints := make([][]string, len(list))
	slots := make(chan struct{}, cmp.Or(p.AtOnce, 24))
	var running sync.WaitGroup
	for i, c := range list {
		running.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			complaints[i] = hold(ctx, s, p, c)
		})
	}
	running.Wait()
	return complaints
}

// hold runs one case and returns what was wrong.
func hold(ctx context.Context, s Sender, p Profile, c testCase) []string {
	r, err := newReceiver(p, c)
	if err != nil {
		return []string{err.Error()}
	}
	defer r.close()
	credentials, err := s.Send(ctx, r.url)
	if err != nil {
		return []string{fmt.Sprintf("the sender took no event for %s: %v", r.url, err)}
	}
	if c.later != nil {
		wait(ctx, p.sum()/2)
		if err := c.later(r); err != nil {
			return []string{err.Error()}
		}
	}
	want := c.attempts
	if want == wholePlan {
		want = 1 + len(p.Waits)
	}
	enough := func() bool { return len(r.requests) >= want && r.connections >= c.connections }
	r.wait(ctx, p.limit()+c.asked, enough)
	r.wait(ctx, p.quiet(want)+c.longer, func() bool { return len(r.requests) > want })
	return r.judge(credentials, want)
}

func (p Profile) sum() (all time.Duration) {
	for _, w := range p.Waits {
		all += w
	}
	return all
}

// limit is how long a whole plan can take: each wait is a fifth longer at most.
func (p Profile) limit() time.Duration {
	return p.sum()*6/5 + time.Duration(1+len(p.Waits))*(p.Timeout+p.Slack)
}

// quiet is how long to wait to be sure that nothing follows attempt n.
func (p Profile) quiet(n int) time.Duration {
	if n < 1 || n > len(p.Waits) {
		return p.Slack
	}
	return p.Waits[n-1]*6/5 + p.Slack
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// judge says what was wrong about all that arrived.
func (r *receiver) judge(credentials Credentials, want int) (out []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	complain := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if got := len(r.requests); got != want {
		complain("%d attempts arrived, want %d", got, want)
	}
	if r.connections < r.of.connections {
		complain("%d connections, want %d at least: what fails without a request is tried again too", r.connections, r.of.connections)
	}
	if n := r.elsewhere.Load(); n > 0 {
		complain("%d connections to where a redirect pointed", n)
	}
	out = append(out, r.complaints...)
	for i, q := range r.requests {
		for _, complaint := range q.verify(credentials, r.url) {
			complain("attempt %d: %s", i+1, complaint)
		}
		if i > 0 {
			for _, complaint := range q.follows(r.requests[i-1]) {
				complain("attempt %d: %s", i+1, complaint)
			}
		}
		if r.profile.Extensions {
			for _, complaint := range q.extensions(i+1, r.of) {
				complain("attempt %d: %s", i+1, complaint)
			}
		}
	}
	if r.of.gap > 0 && len(r.requests) > 1 {
		first, second := r.requests[0], r.requests[1]
		if got := second.at.Sub(first.at); got < r.of.gap {
			complain("the second attempt came %v after the first, want %v at least", got, r.of.gap)
		}
		if first.Header.Get("webhook-timestamp") >= second.Header.Get("webhook-timestamp") && r.of.gap > time.Second {
			complain("the timestamp of the second attempt is not new: %s", second.Header.Get("webhook-timestamp"))
		}
	}
	if len(out) > 0 {
		complain("seen: %s", strings.Join(r.log, "; "))
	}
	return out
}
