package mail

import (
	netmail "net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/guildhall-dev/guildhall/internal/fault"
)

// Address is an e-mail address in its two forms: mail goes to the shown one, the
// folded one is compared.
type Address struct{ Shown, Key string }

// ParseBare accepts an address without a name; its fault points at the field.
// Folding is one-way: mail never goes to the folded form, so two people cannot
// be mixed up by it.
func ParseBare(pointer, s string) (Address, error) {
	shown := norm.NFC.String(strings.TrimSpace(s))
	a, err := netmail.ParseAddress(shown)
	if err != nil || a.Name != "" || a.Address != shown || utf8.RuneCountInString(shown) > 254 || strings.ContainsFunc(shown, unicode.IsControl) {
		return Address{}, fault.Invalidf(pointer, "expected one e-mail address, such as name@example.com")
	}
	return Address{shown, strings.ToLower(norm.NFKC.String(shown))}, nil
}
