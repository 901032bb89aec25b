package outbound

import (
	"context"
	"testing"
	"time"
)

func TestEveryCallIsBounded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ asked, want time.Duration }{
		"none": {0, DefaultTimeout}, "short": {time.Second, time.Second}, "longer than the default": {20 * time.Second, 20 * time.Second}, "too long": {time.Hour, MaxTimeout},
	} {
		ctx, cancel := context.Background(), context.CancelFunc(func() {})
		start := time.Now()
		if c.asked > 0 {
			ctx, cancel = context.WithTimeout(ctx, c.asked)
		}
		bounded, done := bound(ctx)
		deadline, ok := bounded.Deadline()
		if left := deadline.Sub(start); !ok || left < c.want || left > c.want+time.Second {
			t.Errorf("%s: %v left, want %v", name, left, c.want)
		}
		done()
		cancel()
	}
}
