// Package date holds a calendar date without a time or a zone, as due dates
// are: "2026-03-01" is that day wherever the reader is.
package date

import (
	"fmt"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5/pgtype"
)

// Date is a day of the proleptic Gregorian calendar, written YYYY-MM-DD.
type Date struct{ t time.Time }

// Of returns the date on which t falls in t's own location.
func Of(t time.Time) Date {
	y, m, d := t.Date()
	return Date{time.Date(y, m, d, 0, 0, 0, 0, time.UTC)}
}

// Parse reads YYYY-MM-DD. There is no year 0: Postgres does not know it.
func Parse(s string) (Date, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil || t.Year() < 1 {
		return Date{}, fmt.Errorf("%q is not a date as YYYY-MM-DD", s)
	}
	return Date{t}, nil
}

// AddDays returns the date n days later.
func (d Date) AddDays(n int) Date { return Date{d.t.AddDate(0, 0, n)} }

// IsZero reports whether no date was set.
func (d Date) IsZero() bool { return d.t.IsZero() }

// Before reports whether d comes before o.
func (d Date) Before(o Date) bool { return d.t.Before(o.t) }

// String gives YYYY-MM-DD.
func (d Date) String() string { return d.t.Format(time.DateOnly) }

// MarshalText gives YYYY-MM-DD.
func (d Date) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is Parse.
func (d *Date) UnmarshalText(b []byte) (err error) {
	*d, err = Parse(string(b))
	return err
}

// ScanDate reads a Postgres date.
func (d *Date) ScanDate(v pgtype.Date) error {
	if !v.Valid || v.InfinityModifier != pgtype.Finite {
		return fmt.Errorf("date: cannot scan %v into Date", v)
	}
	d.t = v.Time
	return nil
}

// DateValue writes a Postgres date.
func (d Date) DateValue() (pgtype.Date, error) { return pgtype.Date{Time: d.t, Valid: true}, nil }

// Schema describes a Date to OpenAPI.
func (Date) Schema(huma.Registry) *huma.Schema {
	n := 10
	return &huma.Schema{Type: huma.TypeString, Format: "date", MinLength: &n, MaxLength: &n, Examples: []any{"2026-03-01"}}
}
