package integrations

import (
	"slices"
	"testing"

	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
)

// A schedule that a version makes more frequent is consented to anew.
func TestScheduleThatRunsMoreOftenAsksAnew(t *testing.T) {
	t.Parallel()
	every := func(d string) *bundle.Manifest {
		return &bundle.Manifest{Schedules: []bundle.Schedule{{Name: "tidy", Every: d}}}
	}
	for to, asks := range map[string]bool{"24h": false, "48h": false, "1m": true} {
		next := every(to)
		got := missing(next, standing(every("24h"), next, []string{"schedule:tidy", "tasks.read"}))
		if slices.Contains(got, "schedule:tidy") != asks {
			t.Errorf("from 24h to %s it asks for %v", to, got)
		}
	}
}
