package customers

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/seal"
)

func TestKeysSayWhoTheyAreOf(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		one := rapid.SliceOfN(rapid.Byte(), 16, 16)
		organization, key := id.ID(one.Draw(t, "organization")), id.ID(one.Draw(t, "key"))
		text := formatKey(organization, key)
		o, k, ok := parseKey(text)
		if want := !organization.IsZero() && !key.IsZero(); ok != want || want && (o != organization || k != key) || len(text) != 47 {
			t.Fatalf("%s: %v %v %v", text, o, k, ok)
		}
	})
	good := formatKey(id.New(), id.New())
	for _, bad := range []string{"", "ghp_", good[4:], "ghk_" + good[4:], good + "0", good[:46], good[:46] + "-", "ghp_" + strings.Repeat("Z", 43), "GHP_" + good[4:], good[:46] + "é", " " + good} {
		if _, _, ok := parseKey(bad); ok {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestOriginsAreWrittenAsBrowsersDo(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"https://shop.example": "https://shop.example", " HTTPS://Shop.Example/ ": "https://shop.example", "https://shop.example:443": "https://shop.example",
		"http://shop.example:80": "http://shop.example", "http://shop.example:443": "http://shop.example:443", "https://shop.example:8443": "https://shop.example:8443",
		"http://localhost:*": "http://localhost:*", "http://127.0.0.1:*": "http://127.0.0.1:*", "http://[::1]:3000": "http://[::1]:3000",
	} {
		if got, ok := cleanOrigin(in); !ok || got != want {
			t.Errorf("%q: %q %v, want %q", in, got, ok, want)
		}
	}
	for _, bad := range []string{"", "*", "null", "shop.example", "//shop.example", "https://", "https://shop.example/x", "https://shop.example?x", "https://shop.example#x",
		"https://*.shop.example", "https://shop.example:*", "https://localhost:*", "https://a@shop.example", "https://shop.example:0", "https://shop.example:99999",
		"https://shop.example:080", "https://shop.example:", "javascript:alert(1)", "file:///x", "https://shop.example,https://b.example", "https://shöp.example", "https://shop.example\\x"} {
		if got, ok := cleanOrigin(bad); ok {
			t.Errorf("%q was taken as %q", bad, got)
		}
	}
	// What is an origin stays one.
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`https?://[a-z0-9.-]{1,20}(:[0-9]{1,5})?/?`).Draw(t, "origin")
		one, ok := cleanOrigin(text)
		if !ok {
			return
		}
		if again, ok := cleanOrigin(one); !ok || again != one {
			t.Fatalf("%q: %q, then %q", text, one, again)
		}
		u, err := url.Parse(one)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := originOf(u); !ok || got != one {
			t.Fatalf("%q: %q", one, got)
		}
	})
}

func newKeys(t *testing.T) *seal.Keyring {
	t.Helper()
	keys, err := seal.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestForgedCustomerTokensAreRefused(t *testing.T) {
	t.Parallel()
	keys, now := newKeys(t), time.Now()
	l := login{id.New(), id.New(), id.New(), now.Add(time.Minute).Truncate(time.Second)}
	good := l.token(keys)
	if got, ok := readAccess(keys, good, now); !ok || got.organization != l.organization || got.customer != l.customer || got.session != l.session || !got.expires.Equal(l.expires) {
		t.Fatalf("%+v %v", got, ok)
	}
	if _, ok := readAccess(keys, good, l.expires); ok {
		t.Error("a token outlives its end")
	}
	if _, ok := readAccess(newKeys(t), good, now); ok {
		t.Error("another instance's token")
	}
	for i := len(accessPrefix); i < len(good); i++ {
		for _, c := range "Aq_" {
			bad := good[:i] + string(c) + good[i+1:]
			if _, ok := readAccess(keys, bad, now); ok && bad != good {
				t.Fatalf("character %d may be %c", i, c)
			}
		}
	}
	nonce := newNonce()
	refresh := refreshToken(keys, l.organization, l.customer, l.session, 3, nonce)
	p, ok := parseRefresh(refresh)
	if !ok || p.customer != l.customer || p.session != l.session || p.counter != 3 {
		t.Fatalf("%+v %v", p, ok)
	}
	for _, bad := range []string{"", "ghct_", good[:20], good + "A", refresh, "ghct_" + refresh[5:], "Bearer " + good} {
		if _, ok := readAccess(keys, bad, now); ok {
			t.Errorf("%q was taken", bad)
		}
	}
	for _, bad := range []string{"", "ghcr_", refresh + "A", good, "ghcr_" + good[5:], refreshToken(keys, l.organization, l.customer, l.session, 0, nonce), refreshToken(keys, l.organization, l.customer, l.session, -1, nonce)} {
		if _, ok := parseRefresh(bad); ok {
			t.Errorf("%q was taken", bad)
		}
	}
	other := id.New()
	for what, mac := range map[string][]byte{
		"organisation": refreshMAC(keys, other, l.customer, l.session, 3, nonce), "customer": refreshMAC(keys, l.organization, other, l.session, 3, nonce),
		"session": refreshMAC(keys, l.organization, l.customer, other, 3, nonce), "counter": refreshMAC(keys, l.organization, l.customer, l.session, 4, nonce),
		"nonce": refreshMAC(keys, l.organization, l.customer, l.session, 3, newNonce()),
	} {
		if string(mac) == string(p.mac) {
			t.Errorf("the MAC does not depend on the %s", what)
		}
	}
}

func TestRefreshVerdicts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		f       family
		counter int64
		want    verdict
	}{
		{family{Counter: 3, Live: true, Graceful: true}, 3, advance},
		{family{Counter: 3, Live: true}, 3, advance},
		{family{Counter: 3, Live: true, Graceful: true}, 2, repeat},
		{family{Counter: 3, Live: true}, 2, reuse},
		{family{Counter: 3, Live: true, Graceful: true}, 1, reuse},
		{family{Counter: 3, Live: true, Graceful: true}, 4, refuse},
		{family{Counter: 3, Graceful: true}, 3, refuse},
		{family{Counter: 3, Graceful: true}, 1, refuse},
	} {
		if got := c.f.judge(c.counter); got != c.want {
			t.Errorf("%+v, %d: %v, want %v", c.f, c.counter, got, c.want)
		}
	}
}

// A key that is no key costs no look-up.
func TestBadKeysAreNotLookedUp(t *testing.T) {
	t.Parallel()
	f := &Feature{doors: newDoors(), keys: newKeys(t), now: time.Now} // without a database
	for _, key := range []string{"", "x", "ghp_", "ghk_" + strings.Repeat("0", 71)} {
		if _, err := f.Identify(context.Background(), api.Credentials{PublishableKey: key}); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%q: %v", key, err)
		}
	}
	refused := fault.New(fault.RateLimited, "rate_limited", "x")
	_, err := f.Identify(context.Background(), api.Credentials{PublishableKey: formatKey(id.New(), id.New()), Unproven: func() error { return refused }})
	if !fault.Is(err, fault.RateLimited) {
		t.Errorf("%v", err)
	}
}
