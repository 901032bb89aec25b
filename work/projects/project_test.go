package projects

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/work"
)

func TestKeysFor(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"Website":              "WEB",
		"Website relaunch":     "WR",
		"x":                    "X1",
		"Q3 goals":             "QG",
		"Project 12":           "P12",
		"Road map 2026":        "RM2026",
		"2026 goals":           "G1",
		"2026 road map":        "RM",
		"a b c d e f g h":      "ABCDEF",
		"日本語":                  "PRJ",
		"Müller & Söhne":       "MLSH",
		"web-shop, the second": "WSTS",
	} {
		keys := keysFor(name)
		if keys[0] != want || keys[1] != want+"2" {
			t.Errorf("keysFor(%q) begins with %v, want %s, %s2", name, keys[:2], want, want)
		}
	}
}

func TestKeysForAnyName(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^[A-Z][A-Z0-9]{1,9}$`)
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringN(1, 200, -1).Draw(t, "name")
		for _, k := range keysFor(name) {
			if !form.MatchString(k) {
				t.Fatalf("keysFor(%q) has %q", name, k)
			}
		}
	})
}

func TestStateKeyFor(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"In Review!": "in_review", "QA": "qa", "2nd look": "nd_look", "日本": "", "---": "", "1": "",
		strings.Repeat("ab ", 20): "ab_ab_ab_ab_ab_ab_ab_ab_ab_ab_ab_ab_ab_a",
	} {
		if got := stateKeyFor(name); got != want {
			t.Errorf("stateKeyFor(%q) = %q, want %q", name, got, want)
		}
	}
	form := regexp.MustCompile(`^([a-z][a-z0-9_]{0,39})?$`)
	rapid.Check(t, func(t *rapid.T) {
		if name := rapid.String().Draw(t, "name"); !form.MatchString(stateKeyFor(name)) {
			t.Fatalf("stateKeyFor(%q) = %q", name, stateKeyFor(name))
		}
	})
}

func TestPlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ key, after, want string }{
		{"a", "c", "b c a d"}, {"d", "", "d a b c"}, {"b", "a", "a b c d"}, {"c", "d", "a b d c"}, {"a", "x", ""}, {"a", "a", ""},
	} {
		states := []WorkflowState{{Key: "a"}, {Key: "b"}, {Key: "c"}, {Key: "d"}}
		moved, ok := place(states, c.key, c.after)
		if got := join(moved); got != c.want || ok != (c.want != "") {
			t.Errorf("place(%s after %q) = %q, %v, want %q", c.key, c.after, got, ok, c.want)
		}
		if join(states) != "a b c d" {
			t.Errorf("place changed its input to %s", join(states))
		}
	}
}

func join(states []WorkflowState) string {
	var keys []string
	for _, s := range states {
		keys = append(keys, s.Key)
	}
	return strings.Join(keys, " ")
}

func TestDefaultStates(t *testing.T) {
	t.Parallel()
	states := defaultStates(id.New())
	if got := join(states); got != "backlog pending in_progress review done cancelled" || defaultState(states) != "pending" {
		t.Errorf("the default workflow is %s, new tasks begin in %s", got, defaultState(states))
	}
	if !slices.IsSortedFunc(states, func(a, b WorkflowState) int { return strings.Compare(a.Position, b.Position) }) {
		t.Error("the positions are not in order")
	}
	for group, want := range map[work.Group]string{
		work.Backlog: "backlog", work.Unstarted: "pending", work.Started: "review", work.Completed: "done", work.Cancelled: "cancelled",
	} {
		if got := naturalAfter(states, group); got != want {
			t.Errorf("a new %s state stands after %s, want %s", group, got, want)
		}
	}
	if got := naturalAfter(states[2:], work.Backlog); got != "" {
		t.Errorf("a first backlog state stands after %q, want the front", got)
	}
}
