package launch

import (
	"testing"
	"time"
)

func TestMeter(t *testing.T) {
	t.Parallel()
	const window = 10 * time.Second
	limits := Limits{}
	limits.complete()
	var m meter
	now := time.Now()
	second := func(used float64) (total, percent float64) {
		now = now.Add(time.Second)
		return m.add(now, used, window), m.percent(window)
	}
	for i := range 10 { // busy with one core and a half, but not for a whole window yet
		if _, p := second(float64(i) * 1.5); p != 0 {
			t.Fatalf("after %d seconds it is at %.0f %%", i, p)
		}
	}
	if _, p := second(15); p != 150 || limits.judge(Usage{}, p) == nil {
		t.Fatalf("after a window it is at %.0f %%", p)
	}
	// One of its processes ends, and its time with it: that is not time given back.
	if total, _ := second(5); total != 15 {
		t.Fatalf("the total is %.1f", total)
	}
	if total, _ := second(5.5); total != 15.5 {
		t.Fatalf("the total is %.1f", total)
	}
	for range 10 { // quiet for a window
		_, p := second(5.5)
		if p < 0 || p > 150 {
			t.Fatal(p)
		}
	}
	if _, p := second(5.5); p != 0 || limits.judge(Usage{}, p) != nil {
		t.Fatalf("after a quiet window it is at %.0f %%", p)
	}
	if len(m.samples) > 12 {
		t.Fatalf("it keeps %d samples", len(m.samples))
	}
}
