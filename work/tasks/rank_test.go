package tasks

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// ranks draws a rank as the product makes them: never ending with the lowest
// digit.
func ranks() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		head := rapid.StringOfN(rapid.RuneFrom([]rune(digits)), 0, 20, -1).Draw(t, "head")
		last := rapid.RuneFrom([]rune(digits[1:])).Draw(t, "last")
		return head + string(last)
	})
}

func TestBetweenLiesStrictlyBetween(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		low, high := ranks().Draw(t, "low"), ranks().Draw(t, "high")
		if rapid.Bool().Draw(t, "from the beginning") {
			low = ""
		}
		if low == high {
			high += digits[1:2]
		}
		if low > high {
			low, high = high, low
		}
		got := between(low, high)
		if !(low < got && got < high) {
			t.Fatalf("between(%q, %q) = %q", low, high, got)
		}
		if strings.HasSuffix(got, digits[:1]) {
			t.Fatalf("between(%q, %q) = %q ends with the lowest digit", low, high, got)
		}
	})
}

func TestSlotsKeepTheOrderOfTheCounter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.Int64Range(0, 1<<32-1).Draw(t, "a")
		b := rapid.Int64Range(0, 1<<32-1).Draw(t, "b")
		if (a < b) != (slot(a) < slot(b)) {
			t.Fatalf("slot(%d) = %q, slot(%d) = %q", a, slot(a), b, slot(b))
		}
	})
}

// TestOrderSurvivesAnyMoves plays boards against a plain list.
func TestOrderSurvivesAnyMoves(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		next := int64(1)
		var board []string
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			at := rapid.IntRange(0, len(board)).Draw(t, "at")
			if at == len(board) {
				board = append(board, slot(next))
				next++
				continue
			}
			low := ""
			if at > 0 {
				low = board[at-1]
			}
			board = slices.Insert(board, at, between(low, board[at]))
		}
		if !slices.IsSorted(board) {
			t.Fatalf("out of order: %q", board)
		}
		if end := slot(next); board[len(board)-1] >= end {
			t.Fatalf("%q is not before the next slot %q", board[len(board)-1], end)
		}
	})
}

func TestInsertsAtOnePlaceDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		seen[between(slot(1), slot(2))] = true
	}
	if len(seen) < 95 {
		t.Errorf("100 inserts at one place made %d ranks", len(seen))
	}
}

// TestRanksGrowSlowly inserts at the worst place, always right before the
// same task.
func TestRanksGrowSlowly(t *testing.T) {
	t.Parallel()
	low, high := slot(1), slot(2)
	n := 0
	for len(low) <= longRank {
		low = between(low, high)
		n++
	}
	if n < 200 {
		t.Errorf("%d inserts at one place reach %d digits", n, longRank)
	}
}
