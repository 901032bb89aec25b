package access

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/guildhall-dev/guildhall/internal/id"
)

func TestKeyForm(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		key := id.ID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		secret := rapid.SliceOfN(rapid.Byte(), secretSize, secretSize).Draw(t, "secret")
		text, hash := formatKey(key, secret)
		if len(text) != keyLength || strings.Trim(text[len(keyPrefix):], base62) != "" {
			t.Fatalf("%q is not of the form", text)
		}
		got, ok := parseKey(text)
		if !ok || got != key || len(hash) != 32 {
			t.Fatalf("parseKey(%q) = %s, %v; want %s", text, got, ok, key)
		}
		at := rapid.IntRange(len(keyPrefix), keyLength-1).Draw(t, "at")
		other := rapid.SampledFrom([]byte(base62+"-_+ ")).Draw(t, "other")
		if changed := text[:at] + string(other) + text[at+1:]; changed != text {
			if _, ok := parseKey(changed); ok {
				t.Fatalf("parseKey accepts %q, altered from %q", changed, text)
			}
		}
	})
}

func TestParseKeyRefuses(t *testing.T) {
	t.Parallel()
	most := keyPrefix + strings.Repeat("Z", bodyLength) // more than 48 bytes
	for _, s := range []string{"", "ghk_", "ghk_x", most, most + checksum(most), strings.Repeat("a", keyLength), keyPrefix + strings.Repeat("é", 36)} {
		if _, ok := parseKey(s); ok {
			t.Errorf("parseKey accepts %q", s)
		}
	}
}

func TestNewKeysDiffer(t *testing.T) {
	t.Parallel()
	key := id.New()
	a, _ := newKey(key)
	b, _ := newKey(key)
	if a == b {
		t.Errorf("two keys are equal: %q", a)
	}
}
