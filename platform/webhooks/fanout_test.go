package webhooks

import (
	"encoding/json"
	"strings"
	"testing"

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
	const each = 5000 + answerSteps // it takes all that a condition may
	for round := range filterSteps/each + 1 {
		if _, reason := f.judgeInTime(t.Context(), slow, e, b); reason == tooSlow || b.spent[slow.ID] != (round+1)*each {
			t.Fatalf("round %d: %q after %d steps", round, reason, b.spent[slow.ID])
		}
	}
	if _, reason := f.judgeInTime(t.Context(), slow, e, b); reason != tooSlow {
		t.Errorf("then: %q", reason)
	}
	for _, r := range []rule{quick, open} {
		if status, reason := f.judgeInTime(t.Context(), r, e, b); status != "pending" {
			t.Errorf("filter %q: %s, %s", r.Filter, status, reason)
		}
	}
	if b.spent[quick.ID] <= answerSteps || b.spent[open.ID] != 0 {
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
	const slowly, quickly = 5000, 20
	quick, b := rules[99].ID, newBudget(rules, 1)
	all := 0
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
	if all > filtersSteps+slowly*100 || all < filtersSteps/2 {
		t.Errorf("the filters took %d steps", all)
	}
	if asked[quick] != 500 {
		t.Errorf("the quick filter was asked %d times of 500", asked[quick])
	}
	for _, r := range rules {
		if n := asked[r.ID]; n*slowly < filtersSteps/200 {
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
				b.took(r.ID, 5000)
			}
		}
	}
	for _, r := range []rule{rules[0], rules[2]} {
		if b.spent[r.ID] != filterSteps || b.stops(r.ID) != tooSlow {
			t.Errorf("a filter had %d steps: %q", b.spent[r.ID], b.stops(r.ID))
		}
	}
}

// Many events at once get as much time for each as few do, within bounds.
func TestFiltersHaveTimeInProportion(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		events, filters, asked int // asked: how many events the filters come to, each
		took                   int // steps
	}{
		{events: 1, filters: 1, took: 5000, asked: 1},
		{events: 200, filters: 1, took: 500, asked: 200},
		{events: 500, filters: 1, took: 500, asked: 500},
		{events: 500, filters: 5, took: 500, asked: 500},
		{events: 500, filters: 1, took: 5000, asked: 100},
		{events: 5000, filters: 1, took: 500, asked: 1200},
		{events: 5000, filters: 1, took: 100, asked: 5000},
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
	b, all := newBudget(rules, 100_000), 0
	for range 10_000 {
		for _, r := range rules {
			if b.stops(r.ID) == "" {
				all += 1000
				b.took(r.ID, 1000)
			}
		}
	}
	if most := filterMost*filtersSteps + 1000*100; all > most {
		t.Errorf("the filters took %d steps, want %d at most", all, most)
	}
}

// Whoever waits for the machine, the same filter on the same events is charged
// the same: a clock that stands still for seconds filters nothing.
func TestFilterIsChargedBySteps(t *testing.T) {
	t.Parallel()
	conditions, err := expr.NewCache(10)
	if err != nil {
		t.Fatal(err)
	}
	f := &Feature{conditions: conditions}
	r := rule{ID: id.New(), Enabled: true, Filter: `event.type == "task.created" && event.data.list.exists(x, x == 9)`}
	var want int
	for round := range 20 {
		data := json.RawMessage(`{"list": [1, 2, 3, 9, ` + strings.Repeat("1, ", 100) + `1]}`)
		b := newBudget([]rule{r}, 1)
		if status, reason := f.judgeInTime(t.Context(), r, &lazily{event: event.Event{ID: id.New(), Type: "task.created", Data: data}}, b); status != "pending" {
			t.Fatalf("%s: %s", status, reason)
		}
		if round == 0 {
			want = b.spent[r.ID]
		}
		if got := b.spent[r.ID]; got != want || got <= answerSteps || got > 200 {
			t.Errorf("round %d is charged %d steps, the first one %d", round, got, want)
		}
	}
}
