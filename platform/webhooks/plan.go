package webhooks

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

const maxRetryAfter = 24 * time.Hour

// defaultPlan is how many seconds are waited before each attempt after the
// first: ten retries over 76 hours.
func defaultPlan() []int {
	const minute, hour = 60, 3600
	return []int{5, minute, 5 * minute, 30 * minute, 2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour}
}

// nextAttempt tells how long to wait after an attempt that failed, and whether
// there is another one at all. Step counts the attempts made before it in this
// run of the plan, so the wait after the first attempt is that of step 0; a nil
// schedule is the default plan. Jitter is a random number from 0 up to 1 and
// moves the wait by up to a fifth to either side, so that what failed together
// does not come back together. RetryAfter prolongs the wait and never shortens it.
func nextAttempt(schedule []int, step int, retryAfter time.Duration, jitter float64) (wait time.Duration, more bool) {
	if schedule == nil {
		schedule = defaultPlan()
	}
	if step < 0 || step >= len(schedule) {
		return 0, false
	}
	wait = time.Duration(float64(time.Duration(schedule[step])*time.Second) * (0.8 + 0.4*jitter))
	return max(wait, min(retryAfter, maxRetryAfter)), true
}

// retryAfter reads the header of that name, in seconds or as a date in any of
// the three forms of HTTP. What is neither, or past, is as if it were not there.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if value != "" && strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.Atoi(value)
		if err != nil || seconds > int(maxRetryAfter/time.Second) { // more digits than fit
			return maxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}
