// Package line cleans what people type on one line: names and titles. There is
// one rule for all of them, so that none is empty to the eye, breaks the lines
// of a mail, or looks like another one and is not.
package line

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/guildhall-dev/guildhall/internal/fault"
)

// Clean returns the text in NFC without blanks around it, of whatever kind. It
// refuses, at the pointer, a text in which nothing can be seen, one with control
// characters or line ends, and one of more than most characters.
func Clean(pointer, text string, most int) (string, error) {
	text = strings.TrimFunc(norm.NFC.String(text), func(r rune) bool { return unicode.IsSpace(r) || r == '\u200b' || r == '\ufeff' })
	if !strings.ContainsFunc(text, seen) || strings.ContainsFunc(text, breaks) {
		return "", fault.Invalidf(pointer, "expected 1 to %d printable characters", most)
	}
	if utf8.RuneCountInString(text) > most {
		return "", fault.Invalidf(pointer, "expected %d characters at most", most)
	}
	return text, nil
}

// seen reports whether the eye sees the character.
func seen(r rune) bool { return unicode.IsGraphic(r) && !unicode.IsSpace(r) }

// breaks reports whether the character ends a line or is none at all.
func breaks(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }

// Like returns the pattern of SQL's LIKE for what contains the text; "" for a
// text of blanks.
func Like(text string) string {
	if text = strings.TrimSpace(text); text == "" {
		return ""
	}
	return "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(text) + "%"
}
