package organizations

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/seal"
)

func TestSlugOf(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"Acme":                                 "acme",
		"  Müller & Söhne GmbH ":               "muller-sohne-gmbh",
		"Crème  brûlée":                        "creme-brulee",
		"株式会社":                                 "org",
		"A":                                    "org",
		"--7--eleven--":                        "7-eleven",
		"ﬁne ＡＢＣ":                              "fine-abc",
		"0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07": "org",
		strings.Repeat("ab ", 30):              strings.Repeat("ab-", 16) + "ab",
	} {
		if got := slugOf(name); got != want {
			t.Errorf("slugOf(%q) = %q, want %q", name, got, want)
		}
	}
}

// The database has the same rule, as a check of the column.
var slugForm = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9])*$`)

func TestSlugsAreOfTheForm(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		slug := slugOf(rapid.String().Draw(t, "name"))
		for _, s := range []string{slug, slug + suffix()} {
			if !slugForm.MatchString(s) || len(s) < 2 || len(s) > 63 {
				t.Fatalf("%q is no slug", s)
			}
		}
	})
}

func TestCheckCurrency(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"EUR", "CHF", "JPY", "KWD"} {
		if err := checkCurrency(good); err != nil {
			t.Errorf("checkCurrency(%q): %v", good, err)
		}
	}
	for _, bad := range []string{"", "ZZZ", "ABC", "EU", "EURO"} {
		if err := checkCurrency(bad); err == nil {
			t.Errorf("checkCurrency accepts %q", bad)
		}
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	keys, err := seal.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	tok := tokens{keys}
	org, inv, nonce := id.New(), id.New(), newNonce()
	text := tok.make(org, inv, nonce)
	c, ok := parseToken(text)
	if !ok || c.organization != org || c.invitation != inv || !tok.proves(c, nonce) {
		t.Fatalf("the token does not prove itself: %+v", c)
	}
	if tok.proves(c, newNonce()) {
		t.Error("the token is good under another nonce")
	}
	moved := c
	moved.organization = id.New()
	if tok.proves(moved, nonce) {
		t.Error("the token is good for another organisation")
	}
	short := c
	short.mac = c.mac[:16]
	if tok.proves(short, nonce) {
		t.Error("half a token is good")
	}
	for _, bad := range []string{"", "!", "AAAA", text[:42], text + "="} {
		if c, ok := parseToken(bad); ok && tok.proves(c, nonce) {
			t.Errorf("%q is good", bad)
		}
	}
}

func TestParseAddress(t *testing.T) {
	t.Parallel()
	shown, key, err := parseAddress(" Bob@Example.net ")
	if err != nil || shown != "Bob@Example.net" || key != "bob@example.net" {
		t.Errorf("parseAddress gives %q, %q, %v", shown, key, err)
	}
	for _, bad := range []string{"", "bob", "Bob <bob@example.net>", "a@example.net, b@example.net", "bob@example.net\r\nBcc: x@example.net"} {
		if _, _, err := parseAddress(bad); err == nil {
			t.Errorf("parseAddress accepts %q", bad)
		}
	}
}

func TestQuotedNamesLeadNowhere(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Acme":                          "“Acme”",
		"Müller & Söhne GmbH, Inc. 2":   "“Müller & Söhne GmbH, Inc. 2”",
		"Booking.com":                   "“Booking. com”",
		"https://evil.example/login?x":  "“https evil. example login?x”",
		"www.evil.example":              "“www. evil. example”",
		"a＠b write to ann@evil.example": "“a b write to ann evil. example”",
		"evil。example 1.2.3.4":          "“evil. example 1. 2. 3. 4”",
		"x” wrote Guildhall “":          "“x wrote Guildhall”",
		"a\u202eb\u200bc":               "“a b c”",
		strings.Repeat("ä", 65):         "“" + strings.Repeat("ä", 64) + "…”",
	} {
		if got := quoted(in); got != want {
			t.Errorf("quoted(%q) = %q, want %q", in, got, want)
		}
	}
}
