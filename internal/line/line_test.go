package line

import (
	"strings"
	"testing"

	"github.com/guildhall-dev/guildhall/internal/fault"
)

func TestClean(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		" Acme ": "Acme", "\u00a0Acme\u3000": "Acme", "\u200bAcme\ufeff": "Acme", "Two  words": "Two  words",
		"e\u0301": "\u00e9", "\U0001F468\u200d\U0001F469": "\U0001F468\u200d\U0001F469", "Acme\n": "Acme", strings.Repeat("ä", 10): strings.Repeat("ä", 10),
	} {
		if got, err := Clean("/name", in, 10); err != nil || got != want {
			t.Errorf("Clean(%q) = %q, %v", in, got, err)
		}
	}
	for _, bad := range []string{
		"", "  ", "\u00a0", "\u2003\u3000", "\u200b\u200b", "\u200d", "\u2060", "a\r\nBcc: x@example.net", "a\x00b", "a\tb", "a\u0085b", "a\u2028b", strings.Repeat("ä", 11),
	} {
		_, err := Clean("/name", bad, 10)
		if f := fault.As(err); f == nil || f.Fields[0].Pointer != "/name" {
			t.Errorf("Clean(%q) accepts it: %v", bad, err)
		}
	}
}

func TestLikePattern(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"": "", "  ": "", " web ": "%web%", `50%_\`: `%50\%\_\\%`} {
		if got := Like(text); got != want {
			t.Errorf("Like(%q) = %q, want %q", text, got, want)
		}
	}
}
