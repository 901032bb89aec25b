package webhooks

import (
	"net/http"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDefaultPlan(t *testing.T) {
	t.Parallel()
	var sum time.Duration
	want := []string{"5s", "1m0s", "5m0s", "30m0s", "2h0m0s", "5h0m0s", "10h0m0s", "14h0m0s", "20h0m0s", "24h0m0s"}
	for step, w := range want {
		wait, more := nextAttempt(nil, step, 0, 0.5)
		if wait.String() != w || !more {
			t.Errorf("step %d: %v, %v, want %s", step, wait, more, w)
		}
		sum += wait
	}
	if wait, more := nextAttempt(nil, len(want), time.Hour, 0.5); more || wait != 0 {
		t.Errorf("after the last: %v, %v", wait, more)
	}
	if sum.Round(time.Hour) != 76*time.Hour {
		t.Errorf("over %v", sum)
	}
	if wait, more := nextAttempt([]int{0}, 0, 0, 0.9); wait != 0 || !more {
		t.Errorf("at once: %v, %v", wait, more)
	}
	if _, more := nextAttempt([]int{}, 0, 0, 0); more {
		t.Error("an empty plan has no second attempt")
	}
}

func TestPlanStaysWithinItsBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		schedule := rapid.SliceOfN(rapid.IntRange(0, 86400), 1, 20).Draw(t, "schedule")
		step := rapid.IntRange(0, len(schedule)-1).Draw(t, "step")
		asked := time.Duration(rapid.Int64Range(0, int64(100*time.Hour)).Draw(t, "asked"))
		wait, more := nextAttempt(schedule, step, asked, rapid.Float64Range(0, 0.999999).Draw(t, "jitter"))
		planned := time.Duration(schedule[step]) * time.Second
		asked = min(asked, 24*time.Hour)
		if !more || wait < asked || wait < planned*8/10-time.Microsecond || wait > max(asked, planned*12/10) {
			t.Fatalf("%v, %v for %v and %v", wait, more, planned, asked)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "1": time.Second, " 120 ": 2 * time.Minute, "007": 7 * time.Second, "86400": 24 * time.Hour, "86401": 24 * time.Hour, "99999999999999999999999": 24 * time.Hour,
		"-1": 0, "+5": 0, "1.5": 0, "5s": 0, "1e3": 0, "٣": 0, "soon": 0, "5, 10": 0, "0x10": 0,
		"Wed, 01 Jul 2026 12:01:00 GMT":     time.Minute, // IMF-fixdate
		"Wednesday, 01-Jul-26 12:01:00 GMT": time.Minute, // RFC 850
		"Wed Jul  1 12:01:00 2026":          time.Minute, // asctime
		"Wed, 01 Jul 2026 11:59:00 GMT":     0,
		"Sun, 01 Jan 2090 00:00:00 GMT":     24 * time.Hour,
		"Wed, 32 Jul 2026 12:01:00 GMT":     0,
		"2026-07-01T12:01:00Z":              0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {value}}, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
	if got := retryAfter(nil, now); got != 0 {
		t.Errorf("without: %v", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		if got := retryAfter(http.Header{"Retry-After": {rapid.String().Draw(t, "value")}}, now); got < 0 || got > 24*time.Hour {
			t.Fatalf("%v", got)
		}
	})
}
