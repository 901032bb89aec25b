package password

import (
	"context"
	"strings"
	"testing"
)

const goodPassword = "correct horse battery staple"

func TestHashes(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := New()
	one, err := h.Hash(ctx, goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	two, err := h.Hash(ctx, goodPassword)
	if err != nil || one == two || !strings.HasPrefix(one, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("%s %s %v", one, two, err)
	}
	for password, want := range map[string]bool{goodPassword: true, goodPassword + " ": false, "": false} {
		if ok, outdated, err := h.Verify(ctx, one, password); ok != want || outdated || err != nil {
			t.Errorf("%q: %v %v %v", password, ok, outdated, err)
		}
	}
	if ok, _, err := h.Verify(ctx, "", goodPassword); ok || err != nil {
		t.Errorf("nobody's password: %v %v", ok, err)
	}
	composed, err := h.Hash(ctx, "pässword")
	if err != nil {
		t.Fatal(err)
	}
	if ok, _, _ := h.Verify(ctx, composed, "pa\u0308ssword"); !ok {
		t.Error("another keyboard, another password")
	}
	for _, bad := range []string{"x", "$2a$10$abc", strings.Replace(one, "argon2id", "argon2i", 1), strings.Replace(one, "m=19456", "m=99999999", 1), strings.Replace(one, "t=2", "t=0", 1), one[:60]} {
		if ok, _, err := h.Verify(ctx, bad, goodPassword); ok || err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	h.Hold()
	if _, err := h.Hash(gone, goodPassword); err == nil {
		t.Error("a hash without a slot")
	}
}
