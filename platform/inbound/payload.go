package inbound

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"mime"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// What may stand in a payload as JSON. It goes into the log, where Postgres
// keeps it as jsonb: that knows no NUL, takes the last of two equal keys, and
// writes 1e1000 out in all its digits. A body beyond these bounds is kept as
// base64, so that nothing of it is lost and a small one stays small.
const (
	maxDepth    = 64
	maxNumber   = 400     // characters
	maxExponent = 400     // of one number
	maxZeros    = 100_000 // that the exponents of one body add
)

// payload is a body as it is kept.
type payload struct {
	encoding string // "json" or "base64"
	text     json.RawMessage
}

// payloadOf decides how a body is kept. GitHub may send JSON as the field
// payload of a form, if its webhook is set up so.
func payloadOf(kind, contentType string, body []byte) payload {
	if kind == kindGitHub {
		if inner, ok := formPayload(contentType, body); ok && keepable(inner) {
			return payload{"json", inner}
		}
	}
	if keepable(body) {
		return payload{"json", bytes.Clone(body)}
	}
	text := make([]byte, 0, base64.StdEncoding.EncodedLen(len(body))+2)
	text = append(text, '"')
	text = base64.StdEncoding.AppendEncode(text, body)
	return payload{"base64", append(text, '"')}
}

func formPayload(contentType string, body []byte) ([]byte, bool) {
	if mt, _, _ := mime.ParseMediaType(contentType); mt != "application/x-www-form-urlencoded" {
		return nil, false
	}
	form, err := url.ParseQuery(string(body))
	return []byte(form.Get("payload")), err == nil && form.Has("payload")
}

// keepable reports whether a body is JSON that comes out of the log as it went
// in.
func keepable(body []byte) bool {
	if !utf8.Valid(body) || !json.Valid(body) || !textKeepable(body) {
		return false
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var open []level
	zeros := 0
	for {
		tok, err := dec.Token()
		if err != nil {
			return len(open) == 0 // it is valid, so this is its end
		}
		switch t := tok.(type) {
		case json.Delim:
			if t == '}' || t == ']' {
				open = open[:len(open)-1]
				continue
			}
			valueIn(open)
			if len(open) == maxDepth {
				return false
			}
			open = append(open, newLevel(t))
			continue
		case json.Number:
			zeros += exponentOf(string(t))
			if len(t) > maxNumber || zeros > maxZeros {
				return false
			}
		case string:
			if n := len(open); n > 0 && open[n-1].wantsKey {
				if !open[n-1].key(t) {
					return false
				}
				continue
			}
		}
		valueIn(open)
	}
}

// level is an object or an array that is open.
type level struct {
	keys     map[string]bool // nil in an array
	wantsKey bool            // the next token is a key
}

func newLevel(d json.Delim) level {
	if d == '[' {
		return level{}
	}
	return level{keys: map[string]bool{}, wantsKey: true}
}

// key notes a key and reports whether it is the first of its name.
func (l *level) key(name string) bool {
	twice := l.keys[name]
	l.keys[name], l.wantsKey = true, false
	return !twice
}

// valueIn notes that the innermost object got the value of its key.
func valueIn(open []level) {
	if n := len(open); n > 0 && open[n-1].keys != nil {
		open[n-1].wantsKey = true
	}
}

// textKeepable reports whether the escapes of valid JSON stand for characters
// that Postgres can store: no NUL, and no half of a surrogate pair.
func textKeepable(body []byte) bool {
	for i := 0; i < len(body); i++ {
		if body[i] != '\\' {
			continue
		}
		if i++; body[i] != 'u' {
			continue
		}
		r := escaped(body[i:])
		i += 4
		if r == 0 {
			return false
		}
		if utf16.IsSurrogate(r) {
			if body[i+1] != '\\' || body[i+2] != 'u' || utf16.DecodeRune(r, escaped(body[i+2:])) == utf8.RuneError {
				return false
			}
			i += 6
		}
	}
	return true
}

// escaped is the number in an escape that begins at its u.
func escaped(b []byte) rune {
	n, _ := strconv.ParseUint(string(b[1:5]), 16, 16) // valid JSON has four digits there
	return rune(n)
}

// exponentOf is how many zeros a number's exponent stands for; beyond the bound
// it is more than any body may have.
func exponentOf(number string) int {
	i := strings.IndexAny(number, "eE")
	if i < 0 {
		return 0
	}
	n, err := strconv.Atoi(number[i+1:])
	if n = max(n, -n); err != nil || n > maxExponent {
		return maxZeros + 1
	}
	return n
}

// word is text of a sender as a column of its own, "" if it is none that
// Postgres and a reader can do with.
func word(s string, most int) string {
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > most || strings.ContainsFunc(s, unicode.IsControl) {
		return ""
	}
	return s
}
