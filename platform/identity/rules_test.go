package identity

import (
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
		if err != nil || a.Key != want {
			t.Errorf("%q: %q %v", in, a.Key, err)
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
		again, err := parseAddress(a.Shown)
		if err != nil || again != a {
			t.Fatalf("%+v reads back as %+v, %v", a, again, err)
		}
	})
}
