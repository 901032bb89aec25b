package commerce

import (
	"strings"
	"unicode"
)

// Region is what of an address taxes and shipping go by, in one spelling.
type Region struct {
	Country, State, PostalCode string
}

// Region returns the region of the address.
func (a Address) Region() Region {
	return Region{Country: a.Country, State: StateKey(a.State), PostalCode: PostalKey(a.PostalCode)}
}

// StateKey is a state in the spelling in which states are compared.
func StateKey(s string) string { return strings.ToUpper(strings.Join(strings.Fields(s), " ")) }

// PostalKey is a postal code, or the beginning of one, in the spelling in which
// they are compared: "sw1a 1aa" is SW1A1AA.
func PostalKey(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToUpper(r)
		}
		return -1
	}, s)
}
