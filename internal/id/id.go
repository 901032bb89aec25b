// Package id holds the one identifier type of the product: a UUIDv7 (RFC 9562)
// made by the application. Version 7 sorts by time, so an index on it grows at
// one end and a page ordered by id is a page ordered by creation.
package id

import (
	"crypto/rand"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"
)

// ID is a UUID. Its zero value is the nil UUID and stands for "none".
type ID [16]byte

// Nil is the ID of nothing.
var Nil ID

// ErrSyntax is returned by Parse for anything but the canonical 36 characters.
var ErrSyntax = errors.New("not a UUID")

// New returns a fresh UUIDv7. It panics when the system has no randomness.
func New() ID { return ID(uuid.Must(uuid.NewV7())) }

// NewRandom returns a fresh UUIDv4 for ids that are capabilities: it tells
// nobody when it was made and leaves 122 bits to guess.
func NewRandom() ID { return ID(uuid.Must(uuid.NewRandomFromReader(rand.Reader))) }

// Parse reads the canonical form, 36 characters in either case.
func Parse(s string) (ID, error) {
	if len(s) != 36 {
		return Nil, ErrSyntax
	}
	u, err := uuid.Parse(s)
	if err != nil {
		return Nil, ErrSyntax
	}
	return ID(u), nil
}

// MustParse is Parse for constants; it panics on bad syntax.
func MustParse(s string) ID {
	v, err := Parse(s)
	if err != nil {
		panic(fmt.Sprintf("id.MustParse(%q): %v", s, err))
	}
	return v
}

// Time returns when a version 7 id was made, in milliseconds and UTC.
func (i ID) Time() time.Time {
	var ms int64
	for _, b := range i[:6] {
		ms = ms<<8 | int64(b)
	}
	return time.UnixMilli(ms).UTC()
}

// Floor returns the least id of a time: every version 7 id made since sorts
// after it.
func Floor(t time.Time) (i ID) {
	ms := t.UnixMilli()
	for b := range 6 {
		i[b] = byte(ms >> (40 - 8*b))
	}
	return i
}

// IsZero reports whether the id is Nil.
func (i ID) IsZero() bool { return i == Nil }

// String returns the canonical lower-case form.
func (i ID) String() string {
	var b [36]byte
	i.encode(b[:])
	return string(b[:])
}

func (i ID) encode(b []byte) {
	hex.Encode(b[0:8], i[0:4])
	b[8] = '-'
	hex.Encode(b[9:13], i[4:6])
	b[13] = '-'
	hex.Encode(b[14:18], i[6:8])
	b[18] = '-'
	hex.Encode(b[19:23], i[8:10])
	b[23] = '-'
	hex.Encode(b[24:36], i[10:16])
}

// MarshalText gives the canonical form.
func (i ID) MarshalText() ([]byte, error) {
	b := make([]byte, 36)
	i.encode(b)
	return b, nil
}

// UnmarshalText is Parse.
func (i *ID) UnmarshalText(b []byte) error {
	v, err := Parse(string(b))
	if err != nil {
		return err
	}
	*i = v
	return nil
}

// ScanUUID reads a Postgres uuid; null becomes Nil only through a pointer.
func (i *ID) ScanUUID(v pgtype.UUID) error {
	if !v.Valid {
		return errors.New("id: cannot scan null into ID, use *ID")
	}
	*i = v.Bytes
	return nil
}

// UUIDValue writes a Postgres uuid.
func (i ID) UUIDValue() (pgtype.UUID, error) {
	return pgtype.UUID{Bytes: i, Valid: true}, nil
}

// Value lets database/sql write an ID.
func (i ID) Value() (driver.Value, error) { return i.String(), nil }

// Schema describes an ID to OpenAPI.
func (ID) Schema(huma.Registry) *huma.Schema {
	n := 36
	return &huma.Schema{
		Type: huma.TypeString, Format: "uuid", MinLength: &n, MaxLength: &n,
		Examples: []any{"0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07"},
	}
}
