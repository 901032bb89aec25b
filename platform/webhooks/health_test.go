package webhooks

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

var day0 = time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)

func tried(at time.Time, delivered bool) outcome { return outcome{Started: at, Delivered: delivered} }

// run feeds n outcomes, a second apart, and returns the time after the last.
func run(h health, at time.Time, n int, delivered bool) (health, time.Time) {
	for range n {
		h, _ = h.after(tried(at, delivered))
		at = at.Add(time.Second)
	}
	return h, at
}

func TestBreakerOpensAtHalf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		delivered, failed int
		opens             bool
	}{{0, 19, false}, {0, 20, true}, {10, 10, true}, {11, 10, false}, {50, 49, false}, {50, 50, true}} {
		h, at := run(health{}, day0, c.delivered, true)
		h, at = run(h, at, c.failed, false)
		if n, _ := h.allows(8, at); (n == 0) != c.opens {
			t.Errorf("%+v: %d attempts allowed", c, n)
		}
	}
	// Nineteen failures and one more after the window are not twenty in it.
	h, _ := run(health{}, day0, 19, false)
	h, _ = h.after(tried(day0.Add(5*time.Minute), false))
	if n, _ := h.allows(8, day0.Add(6*time.Minute)); n != 8 || h.WindowFailed != 1 {
		t.Errorf("%d attempts allowed, %d failed in the window", n, h.WindowFailed)
	}
}

func TestBreakerProbesAtDoublingWaits(t *testing.T) {
	t.Parallel()
	h, _ := run(health{}, day0, 20, false)
	for i, want := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 32 * time.Minute, time.Hour, time.Hour} {
		if got := time.Duration(h.ProbeSeconds) * time.Second; got != want {
			t.Fatalf("wait %d: %v, want %v", i, got, want)
		}
		open := *h.OpenUntil
		if n, until := h.allows(8, open.Add(-1)); n != 0 || !until.Equal(open) {
			t.Fatalf("wait %d: open, and %d allowed until %v", i, n, until)
		}
		if n, _ := h.allows(8, open); n != 1 {
			t.Fatalf("wait %d: %d probes", i, n)
		}
		// What was sent before it opened is no probe, however it ends.
		for _, delivered := range []bool{true, false} {
			late, _ := h.after(outcome{Started: open.Add(-time.Second), Duration: 10 * time.Second, Delivered: delivered})
			if late.OpenUntil == nil || !late.OpenUntil.Equal(open) {
				t.Fatalf("wait %d: a late answer moved the breaker to %v", i, late.OpenUntil)
			}
		}
		h, _ = h.after(outcome{Started: open, Duration: time.Second})
		if got := h.OpenUntil.Sub(open.Add(time.Second)); got != time.Duration(h.ProbeSeconds)*time.Second {
			t.Fatalf("wait %d: next after %v", i, got)
		}
	}
	h, _ = h.after(tried(*h.OpenUntil, true))
	if n, _ := h.allows(8, day0); n != 8 || h.ProbeSeconds != 0 || h.FailingSince != nil {
		t.Errorf("after a probe that succeeded: %+v", h)
	}
	if h, at := run(h, day0.Add(72*time.Hour), 19, false); h.OpenUntil != nil {
		t.Errorf("at %v: what failed before it closed counts again: %+v", at, h)
	}
}

func TestFiveDaysOfFailuresDisable(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		failures []time.Duration
		disables bool
	}{
		"every day":              {[]time.Duration{0, day, 2 * day, 3 * day, 4 * day, 5 * day}, true},
		"a second before":        {[]time.Duration{0, day, 5*day - time.Second}, false},
		"two":                    {[]time.Duration{0, 6 * day}, false},
		"eleven hours and then":  {[]time.Duration{0, 11 * time.Hour, 6 * day}, false},
		"twelve hours and then":  {[]time.Duration{0, 12 * time.Hour, 6 * day}, true},
		"the next one after two": {[]time.Duration{0, 6 * day, 6*day + time.Hour}, true},
	} {
		var h health
		var disable bool
		for _, at := range c.failures {
			if disable {
				t.Errorf("%s: disabled early", name)
			}
			h, disable = h.after(tried(day0.Add(at), false))
		}
		if disable != c.disables {
			t.Errorf("%s: %v", name, disable)
		}
		h, disable = h.after(tried(day0.Add(7*day), true))
		if h.FailingSince != nil || disable {
			t.Errorf("%s: a delivery ends it: %+v", name, h)
		}
	}
}

// Whatever happens: an open breaker lets nothing through before its time and
// one attempt at it, it opens only after enough failures, waits no longer than
// an hour, and closes only by a delivery.
func TestHealthHoldsForAnyHistory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var h health
		at, delivered := day0, 0
		for range rapid.IntRange(1, 300).Draw(t, "attempts") {
			at = at.Add(time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "pause")))
			o := outcome{Started: at, Duration: time.Duration(rapid.Int64Range(0, int64(30*time.Second)).Draw(t, "duration")), Delivered: rapid.IntRange(0, 3).Draw(t, "luck") == 0}
			before := h
			h, _ = before.after(o)
			if o.Delivered {
				delivered++
			}
			switch {
			case before.OpenUntil == nil && h.OpenUntil != nil:
				if sum := h.WindowDelivered + h.WindowFailed; sum < 20 || 2*h.WindowFailed < sum || h.ProbeSeconds != 30 {
					t.Fatalf("opened by %+v", h)
				}
			case before.OpenUntil != nil && h.OpenUntil == nil:
				if !o.Delivered || o.Started.Before(*before.OpenUntil) {
					t.Fatalf("closed by %+v", o)
				}
			}
			if h.ProbeSeconds > 3600 || (h.ProbeSeconds == 0) != (h.OpenUntil == nil) || (h.FailingSince == nil) != o.Delivered {
				t.Fatalf("%+v after %+v", h, o)
			}
		}
	})
}

func TestAdapt(t *testing.T) {
	t.Parallel()
	good, slow, bad := outcome{Delivered: true}, outcome{SlowDown: true}, outcome{}
	for _, c := range []struct {
		limit int
		o     outcome
		most  int
		want  int
	}{{4, good, 32, 5}, {32, good, 32, 32}, {4, slow, 32, 2}, {1, slow, 32, 1}, {5, bad, 32, 5}, {32, bad, 8, 8}, {0, bad, 8, 1}, {1, good, 1, 1}} {
		if got := adapt(c.limit, c.o, c.most); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, 100).Draw(t, "most")
		limit := rapid.IntRange(1, 100).Draw(t, "limit")
		for range 200 {
			o := outcome{Delivered: rapid.Bool().Draw(t, "delivered")}
			o.SlowDown = !o.Delivered && rapid.Bool().Draw(t, "slow")
			if limit = adapt(limit, o, most); limit < 1 || limit > most {
				t.Fatalf("%d of %d", limit, most)
			}
		}
	})
	five := 5
	if (target{}).inFlight() != 32 || (target{Endpoint: Endpoint{MaxInFlight: &five}}).inFlight() != 5 {
		t.Error("the endpoint's own limit, else 32")
	}
}
