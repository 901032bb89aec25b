package identity

import (
	"context"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"ann@example.com": "ann@example.com", " Ann@Example.COM ": "ann@example.com", "ann+tag@example.com": "ann+tag@example.com",
		"ÄNN@example.com": "änn@example.com", "a\u0308nn@example.com": "änn@example.com", "ａnn@example.com": "ann@example.com",
	} {
		a, err := parseAddress(in)
		if err != nil || a.key != want {
			t.Errorf("%q: %q %v", in, a.key, err)
		}
	}
	for _, in := range []string{
		"", " ", "ann", "ann@", "@example.com", "Ann <ann@example.com>", "<ann@example.com>", "a@b, c@d", "ann@example.com (Ann)",
		"a b@example.com", `"a b"@example.com`, "ann@example.com\r\nBcc: eve@example.com", "a@b@c", strings.Repeat("a", 300) + "@example.com",
	} {
		if a, err := parseAddress(in); err == nil {
			t.Errorf("%q: %+v", in, a)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, err := parseAddress(rapid.String().Draw(t, "address"))
		if err != nil {
			return
		}
		again, err := parseAddress(a.shown)
		if err != nil || again != a {
			t.Fatalf("%+v reads back as %+v, %v", a, again, err)
		}
	})
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64", "": "", "pipe": "pipe",
	} {
		if got := network(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestHashes(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := newHasher()
	one, err := h.hash(ctx, goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	two, err := h.hash(ctx, goodPassword)
	if err != nil || one == two || !strings.HasPrefix(one, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("%s %s %v", one, two, err)
	}
	for password, want := range map[string]bool{goodPassword: true, goodPassword + " ": false, "": false} {
		if ok, outdated, err := h.verify(ctx, one, password); ok != want || outdated || err != nil {
			t.Errorf("%q: %v %v %v", password, ok, outdated, err)
		}
	}
	if ok, _, err := h.verify(ctx, "", goodPassword); ok || err != nil {
		t.Errorf("nobody's password: %v %v", ok, err)
	}
	composed, err := h.hash(ctx, "pässword")
	if err != nil {
		t.Fatal(err)
	}
	if ok, _, _ := h.verify(ctx, composed, "pa\u0308ssword"); !ok {
		t.Error("another keyboard, another password")
	}
	for _, bad := range []string{"x", "$2a$10$abc", strings.Replace(one, "argon2id", "argon2i", 1), strings.Replace(one, "m=19456", "m=99999999", 1), strings.Replace(one, "t=2", "t=0", 1), one[:60]} {
		if ok, _, err := h.verify(ctx, bad, goodPassword); ok || err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	for range cap(h.slots) {
		h.slots <- struct{}{}
	}
	if _, err := h.hash(gone, goodPassword); err == nil {
		t.Error("a hash without a slot")
	}
}
