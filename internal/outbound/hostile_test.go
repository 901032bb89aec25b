package outbound_test

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"testing"

	"github.com/guildhall-dev/guildhall/internal/outbound"
)

// hostileHosts are spellings of places that only this machine, its network or its cloud can reach.
func hostileHosts() []string {
	return []string{
		// this machine
		"127.0.0.1", "127.0.0.2", "127.1.2.3", "127.255.255.255", "0.0.0.0", "0.1.2.3", "[::]", "[::1]",
		"localhost", "LOCALHOST", "localhost.", "foo.localhost", "a.b.LocalHost.",
		// this machine in other numbers
		"2130706433", "0x7f000001", "0x7F.0.0.1", "017700000001", "0177.0.0.1", "127.1", "127.0.1", "0x7f.1", "00000127.0.0.1",
		"127.0.0.1.", "0", "0x0", "3232235777", "1.2.3.4.5", "256.256.256.256", "127.0.0.0x1", "0x", "10.0.0.010",
		// private, shared, link-local, metadata
		"10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.254", "192.168.0.1", "192.168.255.255",
		"100.64.0.1", "100.127.255.254", "100.100.100.200", "169.254.0.1", "169.254.169.254", "169.254.170.2", "168.63.129.16",
		"[fe80::1]", "[fe80::1%25eth0]", "[febf::1]", "[fc00::1]", "[fd00:ec2::254]", "[fdff::1]", "[fec0::1]",
		// documentation, benchmarks, protocol, multicast, reserved
		"192.0.0.192", "192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "198.19.255.255", "192.88.99.1",
		"224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "[ff02::1]", "[ff0e::1]", "[2001:db8::1]", "[3fff::1]", "[100::1]",
		// IPv4 inside IPv6: mapped, compatible, translated, NAT64 (both prefixes), 6to4, Teredo
		"[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:10.0.0.1]", "[::ffff:169.254.169.254]", "[0:0:0:0:0:ffff:a9fe:a9fe]", "[::ffff:0.0.0.0]",
		"[::127.0.0.1]", "[::7f00:1]", "[::ffff:0:127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::169.254.169.254]", "[64:ff9b:1::a00:1]",
		"[2002:7f00:1::]", "[2002:a9fe:a9fe::1]", "[2002:c0a8:101::1]", "[2001:0:7f00:1::]", "[2001:0:ce49:7601:e866:efff:62c3:fffe]",
		"[2001:20::1]", "[5f00::1]",
		// digits that normalise to ASCII
		"①②⑦.⓪.⓪.①", "１２７.0.0.1", "127。0。0。1", "169｡254｡169｡254",
	}
}

func hostileURLs() []string {
	return []string{
		"ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "javascript:alert(1)", "//example.com/", "example.com", "", "http://", "https:///x",
		"http:example.com", "http://:80/", "http://./", "http://user@example.com/", "http://user:password@example.com/", "http://example.com:80@127.0.0.1/",
		"unix:///var/run/docker.sock", "http://exa mple.com/", "http://example.com\r\nX: y/", "http://%31%32%37.0.0.1/", "http://[::1", "http://[::1]x/", "http://127.0.0.1\\@example.com/",
	}
}

func TestHostileAddressesAreBlocked(t *testing.T) {
	t.Parallel()
	c := outbound.New(outbound.Options{Resolver: (&names{}).resolver(t)})
	t.Cleanup(c.CloseIdle)
	if n := len(hostileHosts()); n < 60 {
		t.Fatalf("only %d hosts", n)
	}
	for _, host := range hostileHosts() {
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
	for _, raw := range hostileURLs() {
		var blocked *outbound.BlockedError
		if err := c.CheckURL(context.Background(), raw); !errors.As(err, &blocked) {
			t.Errorf("CheckURL(%q): %v", raw, err)
		}
	}
}

// A name is no way around: whatever it resolves to is looked at, when it is saved and when it is called.
func TestNamesOfHostileAddressesAreBlocked(t *testing.T) {
	t.Parallel()
	n := &names{answers: map[string][]netip.Addr{}}
	resolver := n.resolver(t)
	c := outbound.New(outbound.Options{Resolver: resolver})
	t.Cleanup(c.CloseIdle)
	for _, a := range []string{"127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "::1", "::", "fd00:ec2::254", "fe80::1", "64:ff9b::7f00:1", "2002:7f00:1::"} {
		n.mu.Lock()
		n.answers["hook.test"] = []netip.Addr{netip.MustParseAddr(a)}
		n.mu.Unlock()
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

func TestPublicAddressesPassTheCheck(t *testing.T) {
	t.Parallel()
	n := &names{answers: map[string][]netip.Addr{
		"v4.test": {netip.MustParseAddr("93.184.216.34")}, "v6.test": {netip.MustParseAddr("2606:4700::1111")},
	}}
	c := outbound.New(outbound.Options{Resolver: n.resolver(t)})
	for _, raw := range []string{
		"https://8.8.8.8/", "http://[2606:4700::1111]:8080/", "http://[::ffff:8.8.8.8]/", "HTTPS://v4.test./hook", "https://v6.test:65535/a?b=c#d",
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
