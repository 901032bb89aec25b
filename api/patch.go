package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Optional is a field of a merge patch (RFC 7396): absent, null, or a value.
// Whether null is accepted is said by the tag nullable:"true".
type Optional[T any] struct {
	Present bool
	Null    bool
	Value   T
}

// Some is a present value.
func Some[T any](v T) Optional[T] { return Optional[T]{Present: true, Value: v} }

// UnmarshalJSON is called only for fields that the body names.
func (o *Optional[T]) UnmarshalJSON(b []byte) error {
	o.Present = true
	if bytes.Equal(b, []byte("null")) {
		o.Null = true
		return nil
	}
	return json.Unmarshal(b, &o.Value)
}

// MarshalJSON writes the value or null.
func (o Optional[T]) MarshalJSON() ([]byte, error) {
	if !o.Present || o.Null {
		return []byte("null"), nil
	}
	return json.Marshal(o.Value)
}

// Set writes the value to dst if the patch names it.
func (o Optional[T]) Set(dst *T) {
	if o.Present && !o.Null {
		*dst = o.Value
	}
}

// SetPtr is Set for a column that may be null.
func (o Optional[T]) SetPtr(dst **T) {
	if !o.Present {
		return
	}
	if *dst = nil; !o.Null {
		v := o.Value
		*dst = &v
	}
}

// Schema is that of T; tags of the field apply to it.
func (o Optional[T]) Schema(r huma.Registry) *huma.Schema {
	s := *r.Schema(reflect.TypeFor[T](), true, "")
	return &s
}

// IfMatch is the If-Match header: a version, or unset.
type IfMatch struct {
	Set     bool
	Version int64
}

// UnmarshalText reads "12"; * asks for nothing and leaves it unset.
func (m *IfMatch) UnmarshalText(b []byte) error {
	s := strings.TrimSpace(string(b))
	if s == "*" {
		return nil
	}
	// A proxy that compresses makes the tag weak; the version is exact all the same.
	inner, ok := strings.CutPrefix(strings.TrimPrefix(s, "W/"), `"`)
	inner, ok2 := strings.CutSuffix(inner, `"`)
	v, err := strconv.ParseInt(inner, 10, 64)
	if !ok || !ok2 || err != nil || v < 0 {
		return errors.New(`is an ETag of this row, such as "3"`)
	}
	m.Set, m.Version = true, v
	return nil
}

// Matches reports whether the header allows a change of the row at version v.
func (m IfMatch) Matches(v int64) bool { return !m.Set || m.Version == v }

// Schema describes the header.
func (IfMatch) Schema(huma.Registry) *huma.Schema {
	n := 30
	return &huma.Schema{Type: huma.TypeString, MaxLength: &n, Pattern: `^(\*|(W/)?"[0-9]+")$`, Examples: []any{`"3"`},
		Description: "The ETag of the row as you know it; a change of a newer version answers 412."}
}

// Versioned rows carry an ETag.
type Versioned interface{ RowVersion() int64 }

// Located rows say where they live, for the Location of a 201.
type Located interface{ Location() string }

// OfProjects answers show what is in these projects: a replay is given only to
// who still sees them all. Rows that are event.Subjected name theirs by that.
type OfProjects interface{ OfProjects() []id.ID }

// Cached answers of public reads may be kept by anybody for so long.
type Cached interface{ CacheFor() time.Duration }

// None is the answer of an operation without one (204).
type None struct{}

// Raw is an answer that is somebody else's: a plugin's to a foreign service.
type Raw struct {
	Status      int
	ContentType string
	Body        []byte
}

func etag(v any) string {
	if row, ok := v.(Versioned); ok {
		return `"` + strconv.FormatInt(row.RowVersion(), 10) + `"`
	}
	return ""
}

// Locked returns the row that sql locks until the transaction ends: 404 with the noun
// where there is none, 412 where it is another version than the caller's If-Match.
func Locked[T Versioned](ctx context.Context, tx *tenant.Tx, noun string, match IfMatch, sql string, args ...any) (T, error) {
	row, err := tenant.One[T](ctx, tx, sql, args...)
	if err != nil {
		return row, tenant.NotFound(err, noun)
	}
	if !match.Matches(row.RowVersion()) {
		return row, fault.StaleVersion(row)
	}
	return row, nil
}
