package webhooks

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// The retries table of the guide is the sender's plan.
func TestGuideTellsThePlan(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "webhooks.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(page), "<!-- retries:")
	if !found {
		t.Fatal("the guide has no table of retries")
	}
	parse := func(s string) time.Duration {
		d, err := time.ParseDuration(strings.NewReplacer(" min", "m", " h", "h", " s", "s", " ", "").Replace(s))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	var got []int
	var sum time.Duration
	for _, row := range regexp.MustCompile(`\n\| \d+ \| (\d[^|]*) \| ([^|]*) \|`).FindAllStringSubmatch(table, -1) {
		wait := parse(row[1])
		got = append(got, int(wait/time.Second))
		if sum += wait; parse(row[2]) != sum.Truncate(time.Minute) && sum >= time.Minute {
			t.Errorf("the guide says %s after %s", row[2], sum)
		}
	}
	if !slices.Equal(got, defaultPlan()) {
		t.Errorf("the guide says %v, the plan is %v", got, defaultPlan())
	}
}
