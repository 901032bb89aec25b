package id_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/guildhall-dev/guildhall/internal/id"
)

func TestTimeAndFloor(t *testing.T) {
	t.Parallel()
	before := time.Now().Truncate(time.Millisecond)
	i := id.New()
	if at := i.Time(); at.Before(before) || at.After(time.Now()) {
		t.Fatalf("made at %v, not after %v", at, before)
	}
	lowest, next := id.Floor(i.Time()), id.Floor(i.Time().Add(time.Millisecond))
	if bytes.Compare(lowest[:], i[:]) > 0 || bytes.Compare(next[:], i[:]) <= 0 {
		t.Fatalf("%v is not between %v and %v", i, lowest, next)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	i := id.New()
	if back, err := id.Parse(i.String()); err != nil || back != i {
		t.Fatalf("%v, %v", back, err)
	}
	for _, bad := range []string{"", "x", i.String()[1:], "{" + i.String() + "}", "urn:uuid:" + i.String()} {
		if _, err := id.Parse(bad); err == nil {
			t.Errorf("%q was read as an id", bad)
		}
	}
}
