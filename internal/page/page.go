// Package page holds the list envelope and the opaque cursors that walk it.
// A cursor is a keyset position (the sort values of the last row), signed
// together with the list it belongs to, so that a client can neither read
// meaning into it nor carry it to another organisation or another filter.
package page

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// Limits of every list.
const (
	DefaultLimit = 50
	MaxLimit     = 200
)

// Page is one page of a list.
type Page[T any] struct {
	Data       []T     `json:"data" nullable:"false" maxItems:"200" doc:"The rows of this page, in the order asked for."`
	NextCursor *string `json:"next_cursor" maxLength:"4096" doc:"Pass it as cursor to read the next page; null on the last one."`
	Total      *int64  `json:"total,omitempty" minimum:"0" maximum:"9007199254740991" doc:"How many rows the filter matches; only with include=total."`
}

// Next returns the cursor of the next page, nil on the last one.
func (p Page[T]) Next() *string { return p.NextCursor }

// ErrCursor is returned for a cursor that was made up, altered, or made for
// another list.
var ErrCursor = errors.New("the cursor does not belong to this list")

// Codec signs and checks cursors.
type Codec struct{ key []byte }

// NewCodec returns a codec with a key of 32 bytes or more.
func NewCodec(key []byte) *Codec { return &Codec{key: key} }

// Encode makes a cursor of the position for the list. It is a third longer than
// the position's JSON, which the list keeps below 3,000 bytes.
func (c *Codec) Encode(list string, position any) (string, error) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false) // a < must not grow to six bytes
	if err := enc.Encode(position); err != nil {
		return "", fmt.Errorf("page.Encode: %w", err)
	}
	body := bytes.TrimSuffix(text.Bytes(), []byte("\n"))
	return base64.RawURLEncoding.EncodeToString(append(c.sum(list, body), body...)), nil
}

// Decode reads the position back. The list must be the one it was made for.
func (c *Codec) Decode(list, cursor string, position any) error {
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(raw) < macLen {
		return ErrCursor
	}
	if !hmac.Equal(raw[:macLen], c.sum(list, raw[macLen:])) {
		return ErrCursor
	}
	if err := json.Unmarshal(raw[macLen:], position); err != nil {
		return ErrCursor
	}
	return nil
}

const macLen = 16

func (c *Codec) sum(list string, body []byte) []byte {
	m := hmac.New(sha256.New, c.key)
	fmt.Fprintf(m, "%d:%s", len(list), list)
	m.Write(body)
	return m.Sum(nil)[:macLen]
}
