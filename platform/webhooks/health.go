package webhooks

import "time"

const (
	defaultInFlight = 32 // attempts at the same time at most, where the endpoint does not say

	breakerWindow  = 5 * time.Minute
	breakerLeast   = 20 // attempts in the window before it can open
	firstProbe     = 30 * time.Second
	longestProbe   = time.Hour
	disableAfter   = 5 * 24 * time.Hour
	failuresSpread = 12 * time.Hour
)

// health is how well an endpoint answers, in the columns of webhook_dispatch.
//
//	closed ──half of 20 or more fail in a window──> open ──open_until──> probing
//	   ▲                                             ▲                     │
//	   └───────────── the probe succeeds ────────────┼─────────────────────┤
//	                                                 └── it fails: twice ──┘
//	                                                     the wait
type health struct {
	WindowStartedAt *time.Time `db:"window_started_at"`
	WindowDelivered int        `db:"window_delivered"`
	WindowFailed    int        `db:"window_failed"`
	OpenUntil       *time.Time `db:"open_until"`    // nil where the breaker is closed
	ProbeSeconds    int        `db:"probe_seconds"` // the last wait before a probe; 0 where it is closed
	FailingSince    *time.Time `db:"failing_since"` // the first failure after the last delivery
	LastDeliveredAt *time.Time `db:"last_delivered_at"`
	LastFailedAt    *time.Time `db:"last_failed_at"`
}

// allows tells how many attempts may be in flight at now where limit is what
// the endpoint takes: all of it, one as a probe, or none before until.
func (h health) allows(limit int, now time.Time) (attempts int, until time.Time) {
	switch {
	case h.OpenUntil == nil:
		return limit, time.Time{}
	case now.Before(*h.OpenUntil):
		return 0, *h.OpenUntil
	}
	return min(limit, 1), time.Time{}
}

// after returns the health once o is known, and whether the endpoint is to be
// disabled: five days of nothing but failures, of which those before this one
// lie twelve hours apart at least, so that two bad moments of a quiet endpoint
// do not end it.
func (h health) after(o outcome) (next health, disable bool) {
	at := o.Started.Add(o.Duration)
	next = h
	next.count(o.Delivered, at)
	if o.Delivered {
		next.LastDeliveredAt, next.FailingSince = &at, nil
	} else {
		next.LastFailedAt = &at
		if h.FailingSince == nil {
			next.FailingSince = &at
		} else if h.LastFailedAt != nil {
			disable = at.Sub(*h.FailingSince) >= disableAfter && h.LastFailedAt.Sub(*h.FailingSince) >= failuresSpread
		}
	}
	next.move(o)
	return next, disable
}

func (h *health) count(delivered bool, at time.Time) {
	if h.WindowStartedAt == nil || at.Sub(*h.WindowStartedAt) >= breakerWindow {
		h.WindowStartedAt, h.WindowDelivered, h.WindowFailed = &at, 0, 0
	}
	if delivered {
		h.WindowDelivered++
	} else {
		h.WindowFailed++
	}
}

// move is the state machine. What was under way when the breaker opened is no
// probe: it says nothing that was not known.
func (h *health) move(o outcome) {
	at := o.Started.Add(o.Duration)
	switch {
	case h.OpenUntil == nil:
		if sum := h.WindowDelivered + h.WindowFailed; sum >= breakerLeast && 2*h.WindowFailed >= sum {
			h.open(firstProbe, at)
		}
	case o.Started.Before(*h.OpenUntil):
	case o.Delivered:
		h.OpenUntil, h.ProbeSeconds = nil, 0
		h.WindowStartedAt, h.WindowDelivered, h.WindowFailed = nil, 0, 0
	default:
		h.open(min(2*time.Duration(h.ProbeSeconds)*time.Second, longestProbe), at)
	}
}

func (h *health) open(wait time.Duration, at time.Time) {
	until := at.Add(wait)
	h.OpenUntil, h.ProbeSeconds = &until, int(wait/time.Second)
}

// inFlight is how many attempts at the same time the endpoint takes at most.
func (t target) inFlight() int {
	if t.MaxInFlight != nil {
		return *t.MaxInFlight
	}
	return defaultInFlight
}

// adapt moves the number of attempts at the same time, between 1 and most: one
// more for each delivery, half where the endpoint is slow or says that it is
// too much.
func adapt(limit int, o outcome, most int) int {
	switch {
	case o.SlowDown:
		limit /= 2
	case o.Delivered:
		limit++
	}
	return max(1, min(limit, most))
}
