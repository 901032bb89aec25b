package audit

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/guildhall-dev/guildhall/internal/date"
	"github.com/guildhall-dev/guildhall/internal/id"
)

func TestSubjectsOfPermissions(t *testing.T) {
	t.Parallel()
	got := subjectsOf([]string{"tasks.read", "categories.read", "api_keys.read", "projects.manage", "comments.write"}, false)
	for _, want := range []string{"task", "category", "api_key"} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is missing in %q", want, got)
		}
	}
	for _, not := range []string{"project", "comment"} {
		if slices.Contains(got, not) {
			t.Errorf("%q is in %q, though no permission to read it is held", not, got)
		}
	}
}

func TestInvitationsGoWithTheirPermission(t *testing.T) {
	t.Parallel()
	if got := subjectsOf([]string{"events.read", "members.read"}, false); slices.Contains(got, "invitation") {
		t.Errorf("who may only read members is told of invitations: %q", got)
	}
	for _, guest := range []bool{false, true} {
		if got := subjectsOf([]string{"members.manage", "members.read"}, guest); !slices.Contains(got, "invitation") || !slices.Contains(got, "member") {
			t.Errorf("who manages members is told of %q", got)
		}
		if got := subjectsOf([]string{"members.read"}, guest); slices.Contains(got, "member") == guest {
			t.Errorf("who reads members is told of %q; guest: %v", got, guest)
		}
	}
}

func TestParseTypes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in              []string
		types, subjects []string
	}{
		{nil, nil, nil},
		{[]string{"task.created"}, []string{"task.created"}, nil},
		{[]string{"task.*", "comment.created"}, []string{"comment.created"}, []string{"task"}},
		{[]string{"task.created,task.updated", "project.*"}, []string{"task.created", "task.updated"}, []string{"project"}},
		{[]string{"task.created", "*"}, nil, nil},
	} {
		w := parseTypes(c.in)
		if !slices.Equal(w.types, c.types) || !slices.Equal(w.subjects, c.subjects) || w.types == nil || w.subjects == nil {
			t.Errorf("parseTypes(%q) = %q, %q", c.in, w.types, w.subjects)
		}
	}
}

// The spans of a list cover its reach without gap or overlap, newest first;
// with an offset the last one is the whole reach.
func TestSpansCoverTheReach(t *testing.T) {
	t.Parallel()
	base := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		r := reach{before: endOfIDs, newest: base, oldest: base.AddDate(0, 0, -rapid.IntRange(-3, 400).Draw(t, "days"))}
		if spans := r.spans(10); spans[len(spans)-1] != r || spans[0].newest != r.newest {
			t.Fatalf("with an offset: %v", spans)
		}
		spans := r.spans(0)
		if spans[0].newest != r.newest || spans[len(spans)-1].oldest != r.oldest {
			t.Fatalf("%v do not cover %v", spans, r)
		}
		for i := range spans[1:] {
			if spans[i+1].newest != spans[i].oldest.AddDate(0, 0, -1) {
				t.Fatalf("gap or overlap in %v", spans)
			}
		}
	})
}

func TestFilterNarrowsTheDays(t *testing.T) {
	t.Parallel()
	day := func(d int) time.Time { return time.Date(2026, 3, d, 0, 0, 0, 0, time.UTC) }
	r := reach{newest: day(30), oldest: day(1)}
	got := Filter{From: day(10).Add(time.Hour), To: day(20).Add(time.Hour)}.narrow(r)
	if got.oldest != day(9) || got.newest != day(21) {
		t.Errorf("narrowed to %v .. %v", got.oldest, got.newest)
	}
	if got := (Filter{}).narrow(r); got != r {
		t.Errorf("without times narrowed to %v", got)
	}
	if got := (Filter{From: day(1).AddDate(-1, 0, 0), To: day(1).AddDate(1, 0, 0)}).narrow(r); got != r {
		t.Errorf("times outside narrowed to %v", got)
	}
}

func TestPlaceOfAnEvent(t *testing.T) {
	t.Parallel()
	n := numbered{Sequence: 7, ID: id.MustParse("019cae11-d800-7000-8000-000000000000")}
	if got := n.place(); got.Sequence != 7 || got.Day != date.Of(time.UnixMilli(0x019cae11d800).UTC()) {
		t.Errorf("%+v", got)
	}
}

func TestFindingsInWords(t *testing.T) {
	t.Parallel()
	for want, f := range map[string]findings{
		"The log holds no public events yet.":                                                                            {First: 1, Last: 0},
		"12 events, numbers 3 to 14: no gap, no double, every event whole.":                                              {First: 3, Last: 14, Checked: 14},
		"Numbers 1 to 9: 2 missing, 1 given twice, 3 events not whole. Keep a copy of the database and ask for support.": {First: 1, Last: 9, Missing: 2, Doubled: 1, Broken: 3},
	} {
		if got := f.message(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
