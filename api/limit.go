package api

import (
	"fmt"
	"math"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"

	"github.com/guildhall-dev/guildhall/internal/fault"
)

// Limits are token buckets per replica. Their zero value limits nothing.
type Limits struct {
	Address      Bucket // public operations, per address
	Principal    Bucket // per person or key
	Organization Bucket
}

// Bucket refills at Rate per second up to Burst.
type Bucket struct {
	Rate  float64
	Burst int
}

// DefaultLimits are those of the contract.
func DefaultLimits() Limits {
	return Limits{Address: Bucket{20, 200}, Principal: Bucket{200, 1000}, Organization: Bucket{1000, 5000}}
}

type limiters struct {
	limits  Limits
	buckets *otter.Cache[string, *rate.Limiter]
}

// newLimiters keeps a bounded number of buckets; one that was idle for ten
// minutes is full again and can be forgotten.
func newLimiters(l Limits) *limiters {
	return &limiters{limits: l, buckets: otter.Must(&otter.Options[string, *rate.Limiter]{
		MaximumSize:      100_000,
		ExpiryCalculator: otter.ExpiryAccessing[string, *rate.Limiter](10 * time.Minute),
	})}
}

// take takes a token of each bucket of the call and says how many are left in
// the tightest one, in the RateLimit fields of draft-ietf-httpapi-ratelimit.
func (l *limiters) take(hc huma.Context, c *call) error {
	type bucket struct {
		name, key string
		Bucket
	}
	var of []bucket
	if c.caller == nil {
		of = []bucket{{"address", "a:" + SourceAddress(hc.Context()), l.limits.Address}}
	} else {
		a := c.caller.Scope.Actor
		of = []bucket{{"principal", "p:" + string(a.Kind) + a.ID.String(), l.limits.Principal}}
		if !c.caller.Organization.IsZero() {
			of = append(of, bucket{"organization", "o:" + c.caller.Organization.String(), l.limits.Organization})
		}
	}
	for i, b := range of {
		if b.Burst == 0 {
			continue
		}
		lim, _ := l.buckets.ComputeIfAbsent(b.key, func() (*rate.Limiter, bool) {
			return rate.NewLimiter(rate.Limit(b.Rate), b.Burst), false
		})
		ok := lim.Allow()
		left := math.Max(0, math.Floor(lim.Tokens()))
		if i == 0 || !ok {
			hc.SetHeader("RateLimit-Policy", fmt.Sprintf(`"%s";q=%d;w=%d`, b.name, b.Burst, int(math.Ceil(float64(b.Burst)/b.Rate))))
			hc.SetHeader("RateLimit", fmt.Sprintf(`"%s";r=%.0f;t=%d`, b.name, left, int(math.Ceil(1/b.Rate))))
		}
		if !ok {
			f := fault.New(fault.RateLimited, "rate_limited", "Too many requests. Wait as long as Retry-After says.")
			f.RetryAfter = time.Duration(math.Ceil(1/b.Rate)) * time.Second
			return f
		}
	}
	return nil
}
