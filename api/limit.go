package api

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"

	"github.com/guildhall-dev/guildhall/internal/fault"
)

// Limits are token buckets per replica. Their zero value limits nothing.
type Limits struct {
	Address      Bucket // public operations and log-ins of shops, per address
	Principal    Bucket // per person or key
	Organization Bucket
	Shopper      Bucket // other operations of shops, per address
	Shop         Bucket // all shoppers of an organisation; apart from its members, whom they must not keep out
}

// Bucket refills at Rate per second up to Burst.
type Bucket struct {
	Rate  float64
	Burst int
}

// DefaultLimits are those of the contract.
func DefaultLimits() Limits {
	return Limits{Address: Bucket{20, 200}, Principal: Bucket{200, 1000}, Organization: Bucket{1000, 5000}, Shopper: Bucket{50, 500}, Shop: Bucket{1000, 5000}}
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

// take takes a token of each bucket of the call.
func (l *limiters) take(hc huma.Context, c *call) error {
	if c.caller == nil {
		return l.takeAddress(hc)
	}
	if c.op.Access == Storefront {
		return l.takeShop(hc, c)
	}
	a := c.caller.Scope.Actor
	if b := l.limits.Principal; b.Burst > 0 {
		if err := l.spend(hc, "principal", b, l.bucket("p:"+string(a.Kind)+a.ID.String(), b), true); err != nil {
			return err
		}
	}
	if b := l.limits.Organization; b.Burst > 0 && !c.caller.Organization.IsZero() {
		return l.spend(hc, "organization", b, l.bucket("o:"+c.caller.Organization.String(), b), false)
	}
	return nil
}

// takeShop takes the tokens of a call of the storefront.
func (l *limiters) takeShop(hc huma.Context, c *call) error {
	if c.op.LogIn {
		if err := l.takeAddress(hc); err != nil {
			return err
		}
	} else if b := l.limits.Shopper; b.Burst > 0 {
		if err := l.spend(hc, "address", b, l.bucket("s:"+addressName(hc.Context()), b), true); err != nil {
			return err
		}
	}
	if b := l.limits.Shop; b.Burst > 0 {
		return l.spend(hc, "shop", b, l.bucket("f:"+c.caller.Organization.String(), b), false)
	}
	return nil
}

// addressBucket is the bucket of a client's address.
func (l *limiters) addressBucket(ctx context.Context) *rate.Limiter {
	return l.bucket("a:"+addressName(ctx), l.limits.Address)
}

// addressName is a client's address; of IPv6, its /64, which is what one client
// is given.
func addressName(ctx context.Context) string {
	addr := SourceAddress(ctx)
	if a, err := netip.ParseAddr(addr); err == nil && a.Is6() {
		return netip.PrefixFrom(a, 64).Masked().String()
	}
	return addr
}

func (l *limiters) bucket(key string, b Bucket) *rate.Limiter {
	lim, _ := l.buckets.ComputeIfAbsent(key, func() (*rate.Limiter, bool) {
		return rate.NewLimiter(rate.Limit(b.Rate), b.Burst), false
	})
	return lim
}

// takeAddress takes a token of the address, for a call that nobody stands
// behind: a public one, or one with credentials that are no good.
func (l *limiters) takeAddress(hc huma.Context) error {
	b := l.limits.Address
	if b.Burst == 0 {
		return nil
	}
	return l.spend(hc, "address", b, l.addressBucket(hc.Context()), true)
}

// peekAddress refuses an address whose bucket is empty, before credentials that
// may be bad cost a look-up. Good ones pass: what others do at the same address
// shuts nobody out.
func (l *limiters) peekAddress(ctx context.Context) error {
	if b := l.limits.Address; b.Burst > 0 && l.addressBucket(ctx).Tokens() < 1 {
		return limited(b)
	}
	return nil
}

// spend takes a token and, if show is set or none was left, says what is left
// in the RateLimit fields of draft-ietf-httpapi-ratelimit.
func (l *limiters) spend(hc huma.Context, name string, b Bucket, lim *rate.Limiter, show bool) error {
	ok := lim.Allow()
	if show || !ok {
		left := math.Max(0, math.Floor(lim.Tokens()))
		hc.SetHeader("RateLimit-Policy", fmt.Sprintf(`"%s";q=%d;w=%d`, name, b.Burst, int(math.Ceil(float64(b.Burst)/b.Rate))))
		hc.SetHeader("RateLimit", fmt.Sprintf(`"%s";r=%.0f;t=%d`, name, left, int(math.Ceil(1/b.Rate))))
	}
	if !ok {
		return limited(b)
	}
	return nil
}

func limited(b Bucket) error {
	f := fault.New(fault.RateLimited, "rate_limited", "Too many requests. Wait as long as Retry-After says.")
	f.RetryAfter = time.Duration(math.Ceil(1/b.Rate)) * time.Second
	return f
}
