package webhooks

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/expr"
	"github.com/guildhall-dev/guildhall/internal/id"
)

// A filter that takes long is stopped for the rest of the batch, and the other
// endpoints get theirs.
func TestSlowFilterUsesUpItsTime(t *testing.T) {
	t.Parallel()
	conditions, err := expr.NewCache(10)
	if err != nil {
		t.Fatal(err)
	}
	f := &Feature{conditions: conditions}
	data, err := json.Marshal(map[string]any{"list": make([]int, 1000)})
	if err != nil {
		t.Fatal(err)
	}
	e := &lazily{event: event.Event{ID: id.New(), Type: "task.created", Data: data}}
	slow := rule{ID: id.New(), Enabled: true, Filter: "event.data.list.all(x, event.data.list.all(y, x == y))"}
	quick := rule{ID: id.New(), Enabled: true, Filter: `event.type == "task.created"`}
	open := rule{ID: id.New(), Enabled: true}
	b := newBudget([]rule{slow, quick, open}, 1)
	rounds, reason := 0, ""
	for ; reason != tooSlow && rounds < 100_000; rounds++ {
		if _, reason = f.judgeInTime(t.Context(), slow, e, b); b.spent[slow.ID] > filterTime+filterOnce {
			t.Fatalf("it went on after %s", b.spent[slow.ID])
		}
	}
	if reason != tooSlow || rounds <= int(filterTime/filterOnce) {
		t.Errorf("after %d rounds: %q", rounds, reason)
	}
	for _, r := range []rule{quick, open} {
		if status, reason := f.judgeInTime(t.Context(), r, e, b); status != "pending" {
			t.Errorf("filter %q: %s, %s", r.Filter, status, reason)
		}
	}
	if b.spent[quick.ID] == 0 || b.spent[open.ID] != 0 {
		t.Errorf("the other filters took %v", b.spent)
	}
}

// A hundred slow filters take no longer than the budget of their organisation,
// and do not stop one that keeps to its share.
func TestSlowFiltersShareTheirTime(t *testing.T) {
	t.Parallel()
	rules := make([]rule, 100)
	for i := range rules {
		rules[i] = rule{ID: id.New(), Filter: "true"}
	}
	const slowly, quickly = 5 * time.Millisecond, 20 * time.Microsecond
	quick, b := rules[99].ID, newBudget(rules, 1)
	var all time.Duration
	asked, reasons := map[id.ID]int{}, map[string]bool{}
	for range 500 {
		for _, r := range rules {
			if why := b.stops(r.ID); why != "" {
				reasons[why] = true
				continue
			}
			d := slowly
			if r.ID == quick {
				d = quickly
			}
			asked[r.ID]++
			all += d
			b.took(r.ID, d)
		}
	}
	if all > filtersTime+slowly*100 || all < filtersTime/2 {
		t.Errorf("the filters took %s", all)
	}
	if asked[quick] != 500 {
		t.Errorf("the quick filter was asked %d times of 500", asked[quick])
	}
	for _, r := range rules {
		if n := asked[r.ID]; time.Duration(n)*slowly < filtersTime/200 {
			t.Errorf("a filter was stopped after %d answers, before it had its share", n)
		}
	}
	if !reasons[tooSlowTogether] {
		t.Errorf("the reasons were %v", reasons)
	}
}

// Where there are few filters, each has all the time that one may take.
func TestFewFiltersHaveTheirFullTime(t *testing.T) {
	t.Parallel()
	rules := []rule{{ID: id.New(), Filter: "true"}, {ID: id.New()}, {ID: id.New(), Filter: "true"}}
	b := newBudget(rules, 1)
	for range 1000 {
		for _, r := range rules {
			if r.Filter != "" && b.stops(r.ID) == "" {
				b.took(r.ID, time.Second) // the machine stood still: counts as filterOnce
			}
		}
	}
	for _, r := range []rule{rules[0], rules[2]} {
		if b.spent[r.ID] != filterTime || b.stops(r.ID) != tooSlow {
			t.Errorf("a filter had %s: %q", b.spent[r.ID], b.stops(r.ID))
		}
	}
}

// Many events at once get as much time for each as few do, within bounds.
func TestFiltersHaveTimeInProportion(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		events, filters, asked int // asked: how many events the filters come to, each
		took                   time.Duration
	}{
		{events: 1, filters: 1, took: filterOnce, asked: 1},
		{events: 200, filters: 1, took: 500 * time.Microsecond, asked: 200},
		{events: 500, filters: 1, took: 500 * time.Microsecond, asked: 500},
		{events: 500, filters: 5, took: 500 * time.Microsecond, asked: 500},
		{events: 500, filters: 1, took: 5 * time.Millisecond, asked: 100},
		{events: 5000, filters: 1, took: 500 * time.Microsecond, asked: 1200},
		{events: 5000, filters: 1, took: 100 * time.Microsecond, asked: 5000},
	} {
		rules := make([]rule, c.filters)
		for i := range rules {
			rules[i] = rule{ID: id.New(), Filter: "true"}
		}
		b, asked := newBudget(rules, c.events), map[id.ID]int{}
		for range c.events {
			for _, r := range rules {
				if b.stops(r.ID) == "" {
					asked[r.ID]++
					b.took(r.ID, c.took)
				}
			}
		}
		for _, r := range rules {
			if asked[r.ID] != c.asked {
				t.Errorf("%+v: came to %d", c, asked[r.ID])
			}
		}
	}
	// However many events and filters there are.
	rules := make([]rule, 100)
	for i := range rules {
		rules[i] = rule{ID: id.New(), Filter: "true"}
	}
	b, all := newBudget(rules, 100_000), time.Duration(0)
	for range 10_000 {
		for _, r := range rules {
			if b.stops(r.ID) == "" {
				all += time.Millisecond
				b.took(r.ID, time.Millisecond)
			}
		}
	}
	if most := filterMost*filtersTime + time.Millisecond*100; all > most {
		t.Errorf("the filters took %s, want %s at most", all, most)
	}
}

// A moment in which the machine was slow is not the filter's, two whole ones are.
func TestFilterIsChargedWhatItTook(t *testing.T) {
	t.Parallel()
	for took, want := range map[time.Duration]time.Duration{
		time.Millisecond: time.Millisecond, 300 * time.Millisecond: filterOnce, 20 * time.Second: 20 * time.Second,
	} {
		if got := charged(took); got != want {
			t.Errorf("%s is charged as %s, want %s", took, got, want)
		}
	}
}
