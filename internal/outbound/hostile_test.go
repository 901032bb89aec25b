package outbound_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/guildhall-dev/guildhall/internal/outbound"
	"github.com/guildhall-dev/guildhall/internal/outbound/outboundtest"
)

func TestHostileAddressesAreBlocked(t *testing.T) {
	t.Parallel()
	c := outbound.New(outbound.Options{Resolver: (&outboundtest.Names{}).Resolver(t)})
	t.Cleanup(c.CloseIdle)
	for _, host := range outboundtest.Hosts() {
		for _, form := range []string{"http://" + host + "/", "https://" + host + ":8443/hook?x=1"} {
			var blocked *outbound.BlockedError
			if err := c.CheckURL(context.Background(), form); !errors.As(err, &blocked) {
				t.Errorf("CheckURL(%s): %v", form, err)
			}
			u, err := url.Parse(form)
			if err != nil {
				continue // CheckURL has refused it, and no request can hold it
			}
			req := &http.Request{Method: http.MethodGet, URL: u}
			if _, err := c.Do(context.Background(), req); !errors.As(err, &blocked) {
				t.Errorf("Do(%s): %v", form, err)
			}
		}
	}
	for _, raw := range outboundtest.URLs() {
		var blocked *outbound.BlockedError
		if err := c.CheckURL(context.Background(), raw); !errors.As(err, &blocked) {
			t.Errorf("CheckURL(%q): %v", raw, err)
		}
	}
}

// A name is no way around: whatever it resolves to is looked at, when it is saved and when it is called.
func TestNamesOfHostileAddressesAreBlocked(t *testing.T) {
	t.Parallel()
	n := &outboundtest.Names{}
	resolver := n.Resolver(t)
	c := outbound.New(outbound.Options{Resolver: resolver})
	t.Cleanup(c.CloseIdle)
	for _, a := range []string{"127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "::1", "::", "fd00:ec2::254", "fe80::1", "64:ff9b::7f00:1", "2002:7f00:1::"} {
		n.Set("hook.test", outboundtest.At(a))
		var blocked *outbound.BlockedError
		if err := c.CheckURL(context.Background(), "http://hook.test:9/x"); !errors.As(err, &blocked) || blocked.Host != "hook.test" {
			t.Errorf("%s: CheckURL: %v", a, err)
		}
		req, err := http.NewRequest(http.MethodPost, "http://hook.test:9/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Do(context.Background(), req); !errors.As(err, &blocked) || blocked.Host != "hook.test" || blocked.Addr.String() != a {
			t.Errorf("%s: Do: %v", a, err)
		}
	}
}

// What can never be called, or would be called differently from how it reads.
func TestPortsAndFragments(t *testing.T) {
	t.Parallel()
	c := outbound.New(outbound.Options{Resolver: (&outboundtest.Names{}).Resolver(t)})
	for raw, want := range map[string]string{
		"https://8.8.8.8:0/": "port", "https://8.8.8.8:65536/": "port", "https://hook.test:99999999999999999999/x": "port", "http://[2606:4700::1111]:00/": "port",
		"https://8.8.8.8/#a": "after #", "https://hook.test/x?y=z#top": "after #", "https://hook.test#@8.8.8.8/": "after #",
	} {
		var blocked *outbound.BlockedError
		if err := c.CheckURL(context.Background(), raw); !errors.As(err, &blocked) || !strings.Contains(blocked.Reason, want) {
			t.Errorf("CheckURL(%s): %v", raw, err)
		}
	}
	for _, raw := range []string{"https://8.8.8.8:1/", "https://8.8.8.8:65535/", "https://8.8.8.8:/", "https://8.8.8.8/%23a"} {
		if err := c.CheckURL(context.Background(), raw); err != nil {
			t.Errorf("CheckURL(%s): %v", raw, err)
		}
	}
}

func TestPublicAddressesPassTheCheck(t *testing.T) {
	t.Parallel()
	n := &outboundtest.Names{}
	n.Set("v4.test", outboundtest.At("93.184.216.34"))
	n.Set("v6.test", outboundtest.At("2606:4700::1111"))
	c := outbound.New(outbound.Options{Resolver: n.Resolver(t)})
	for _, raw := range []string{
		"https://8.8.8.8/", "http://[2606:4700::1111]:8080/", "http://[::ffff:8.8.8.8]/", "HTTPS://v4.test./hook", "https://v6.test:65535/a?b=c",
		"https://not-there-yet.test/", "https://xn--bcher-kva.test/", "https://3com.test/", "https://127.0.0.1.nip.test/", "http://0xdead.beefy/",
	} {
		if err := c.CheckURL(context.Background(), raw); err != nil {
			t.Errorf("CheckURL(%s): %v", raw, err)
		}
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if err := c.CheckURL(cancelled, "https://v4.test/"); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled check: %v", err)
	}
}
