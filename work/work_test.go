package work_test

import (
	"context"
	"testing"
	"time"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/work"
)

func TestAtLeast(t *testing.T) {
	t.Parallel()
	ranked := []work.Role{"", work.Viewer, work.Contributor, work.Lead}
	for i, r := range ranked {
		for j, min := range ranked {
			if got, want := r.AtLeast(min), i >= j && i > 0; got != want {
				t.Errorf("%q.AtLeast(%q) = %v, want %v", r, min, got, want)
			}
		}
	}
	if work.Role("owner").AtLeast(work.Viewer) {
		t.Error("a string that is no role allows something")
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		access work.Access
		code   string
		right  any
	}{
		{work.Access{Role: work.Lead}, "", nil},
		{work.Access{Role: work.Contributor}, "", nil},
		{work.Access{Role: work.Contributor, Archived: true}, "project_archived", nil},
		{work.Access{Role: work.Viewer, Archived: true}, "permission_denied", "project:contributor"},
		{work.Access{}, "permission_denied", "project:contributor"},
	} {
		f := fault.As(c.access.Write())
		switch {
		case f == nil && c.code == "":
		case f == nil || f.Code != c.code || f.Members["permission"] != c.right:
			t.Errorf("%+v.Write() = %v, want %q", c.access, f, c.code)
		}
	}
}

func TestTimeLeft(t *testing.T) {
	t.Parallel()
	for left, want := range map[time.Duration]bool{-time.Second: false, 10 * time.Second: false, 30 * time.Second: true} {
		ctx, cancel := context.WithTimeout(context.Background(), left)
		if got := work.TimeLeft(ctx); got != want {
			t.Errorf("with %s left: %v", left, got)
		}
		cancel()
	}
	if !work.TimeLeft(context.Background()) {
		t.Error("without a limit there is no time")
	}
}

func TestClosed(t *testing.T) {
	t.Parallel()
	var closed []work.Group
	for _, g := range work.Groups() {
		if g.Closed() {
			closed = append(closed, g)
		}
	}
	if len(closed) != 2 || closed[0] != work.Completed || closed[1] != work.Cancelled {
		t.Errorf("closed groups are %v, want completed and cancelled", closed)
	}
}
