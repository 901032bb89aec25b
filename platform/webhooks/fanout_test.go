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
	spent := map[id.ID]time.Duration{}
	rounds, reason := 0, ""
	for ; reason != tooSlow && rounds < 100_000; rounds++ {
		if _, reason = f.judgeInTime(t.Context(), slow, e, spent); spent[slow.ID] > filterTime+filterOnce {
			t.Fatalf("it went on after %s", spent[slow.ID])
		}
	}
	if reason != tooSlow || rounds <= int(filterTime/filterOnce) {
		t.Errorf("after %d rounds: %q", rounds, reason)
	}
	for _, r := range []rule{quick, open} {
		if status, reason := f.judgeInTime(t.Context(), r, e, spent); status != "pending" {
			t.Errorf("filter %q: %s, %s", r.Filter, status, reason)
		}
	}
	if spent[quick.ID] == 0 || spent[open.ID] != 0 {
		t.Errorf("the other filters took %v", spent)
	}
}

// A moment in which the machine was slow is not the filter's, half a second is.
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
