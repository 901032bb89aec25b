package webhooks

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/date"
)

func TestTypesBecomePatterns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want []string }{
		{nil, []string{}},
		{[]string{"task.created"}, []string{"task.created"}},
		{[]string{"api_key.*,task.*", "*"}, []string{`api\_key.%`, "task.%", "%"}},
	} {
		if got := likes(c.in); !slices.Equal(got, c.want) || got == nil {
			t.Errorf("likes(%q) = %q", c.in, got)
		}
	}
}

func TestAnswersAreShownAsTextWhereTheyAre(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		body string
		cut  bool
		text bool
	}{
		{"", false, true}, {"", true, true}, {"ok", false, true}, {"ü", false, true}, {"\xc3", false, false}, {"ok\xc3", true, true},
		{"\xff\xfe\xfd\xfc\xfb", true, false}, {"a\x00b", false, false}, {"\U0001f600"[:3], true, true}, {"\xc3\xc3\xc3\xc3\xc3", true, false},
	} {
		if got := isText([]byte(c.body), c.cut); got != c.text {
			t.Errorf("isText(%q, cut %v) = %v", c.body, c.cut, got)
		}
	}
}

// Under a rate no second holds more than it says, however the slices fall.
func TestRateSpreadsDeliveries(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.IntRange(1, 10_000).Draw(t, "rate")
		p := replayPlan{Rate: &rate}
		now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		var all []time.Time
		for range rapid.IntRange(1, 5).Draw(t, "slices") {
			all = append(all, p.spread(now, rapid.IntRange(0, p.slice()).Draw(t, "deliveries"))...)
			now = now.Add(time.Duration(rapid.IntRange(0, 20_000).Draw(t, "ms")) * time.Millisecond)
		}
		if !slices.IsSortedFunc(all, time.Time.Compare) {
			t.Fatal("a later delivery is due earlier")
		}
		for i := rate; i < len(all); i++ {
			if took := all[i].Sub(all[i-rate]); took < 999*time.Millisecond {
				t.Fatalf("%d deliveries within %s at %d a second", rate+1, took, rate)
			}
		}
	})
}

func TestWithoutRateAllIsDueAtOnce(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := replayPlan{}
	for _, due := range p.spread(now, 3) {
		if !due.Equal(now) {
			t.Errorf("due at %s", due)
		}
	}
	if p.slice() != replaySlice || p.NextDueAt != nil {
		t.Errorf("slice %d, next at %v", p.slice(), p.NextDueAt)
	}
}

func TestReplayCoversItsTime(t *testing.T) {
	t.Parallel()
	since := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	until := since.Add(time.Hour)
	at := func(d time.Duration) logged { return logged{OccurredAt: since.Add(d)} }
	for _, c := range []struct {
		e    logged
		h    *held
		want bool
	}{
		{at(0), nil, true},
		{at(-time.Microsecond), nil, false},
		{at(time.Hour), nil, false},
		{at(time.Hour - time.Microsecond), nil, true},
		{at(-time.Hour), &held{Status: "failed", CreatedAt: since}, false},
		{at(-time.Hour), &held{Status: "paused", CreatedAt: since.Add(-time.Minute)}, true},
		{at(-time.Hour), &held{Status: "paused", CreatedAt: since.Add(-time.Hour)}, false},
		{at(time.Hour), &held{Status: "paused", CreatedAt: since}, false},
	} {
		if got := (replayPlan{Since: since, Until: &until}).covers(c.e, c.h); got != c.want {
			t.Errorf("%s, %+v: %v", c.e.OccurredAt.Sub(since), c.h, got)
		}
	}
}

// Each attempt shows the body in the shape of its time, composed once.
func TestAttemptLogFollowsTheSettings(t *testing.T) {
	t.Parallel()
	full, thin, standard, day := "full", "thin", "standard", date.Of(time.Now())
	tried := []attempted{ // newest first
		{Number: 4},
		{Number: 3, Payload: &thin, Envelope: &standard, SchemaDate: &day},
		{Number: 2, Payload: &full, Envelope: &standard, SchemaDate: &day},
		{Number: 1, Payload: &full, Envelope: &standard, SchemaDate: &day},
	}
	composed := 0
	compose := func(s shape, e event.Event) ([]byte, error) {
		composed++
		return []byte(e.Type + " " + s.payload), nil
	}
	log, err := attemptLog(tried, []event.Event{{Type: "task.created"}}, compose)
	if err != nil {
		t.Fatal(err)
	}
	if len(log) != 4 || composed != 2 || log[3].Request.Body != nil {
		t.Fatalf("composed %d times: %+v", composed, log)
	}
	for i, want := range []string{"task.created full", "task.created full", "task.created thin"} {
		if got := log[i]; got.Number != i+1 || got.Request.Body == nil || *got.Request.Body != want {
			t.Errorf("attempt %d: %+v", i+1, got)
		}
	}
	if without, err := attemptLog(tried, nil, compose); err != nil || without[0].Request.Body != nil || composed != 2 {
		t.Errorf("a body without its event: %v", err)
	}
}
