package webhooks

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	mathrand "math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/outbound"
	"github.com/guildhall-dev/guildhall/internal/outbound/outboundtest"
	"github.com/guildhall-dev/guildhall/platform/webhooks/conformance"
)

// directly sends as a drain does, without the queue: one attempt after the
// other by the plan.
type directly struct {
	f        *Feature
	schedule []int
	sending  *sync.WaitGroup
}

func (d directly) Send(ctx context.Context, url string) (conformance.Credentials, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return conformance.Credentials{}, err
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	to := target{Endpoint: Endpoint{URL: url, TimeoutSeconds: 1, Signature: "both", RetrySchedule: d.schedule}, Secrets: [][]byte{secret}, Keys: []ed25519.PrivateKey{private}}
	e := happened()
	e.ID = id.New()
	d.sending.Go(func() { d.deliver(ctx, to, e) })
	return conformance.Credentials{Secret: "whsec_" + base64.StdEncoding.EncodeToString(secret), Keys: []ed25519.PublicKey{public}}, nil
}

func (d directly) deliver(ctx context.Context, to target, e event.Event) {
	m, err := to.compose(e, publicURL)
	if err != nil {
		return
	}
	for step := 0; ; step++ {
		o := d.f.send(ctx, to, m, step+1)
		wait, more := nextAttempt(to.RetrySchedule, step, o.RetryAfter, mathrand.Float64())
		if o.Delivered || o.Gone || !more {
			return
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

func TestSenderConformance(t *testing.T) {
	t.Parallel()
	names, authority := &outboundtest.Names{}, conformance.NewAuthority()
	client := outbound.New(outbound.Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Resolver: names.Resolver(t), Roots: authority.Pool()})
	t.Cleanup(client.CloseIdle)
	var sending sync.WaitGroup
	t.Cleanup(sending.Wait)
	sender := directly{f: &Feature{Deps: Deps{Outbound: client}}, schedule: []int{0, 0, 1, 1}, sending: &sending}
	n := conformance.Run(t, sender, conformance.Profile{
		Timeout: time.Second, Waits: []time.Duration{0, 0, time.Second, time.Second}, Slack: time.Second,
		Extensions: true, Authority: authority, Names: names,
	})
	if n < 60 {
		t.Errorf("only %d cases", n)
	}
	t.Logf("PROVED %s | %d cases, judged by what the receiver saw", t.Name(), n)
}
