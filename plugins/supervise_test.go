package plugins

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/plugins/sdk/launch"
)

func quietHost() *Host { return New(Deps{Log: slog.New(slog.DiscardHandler)}) }

// placed puts a runner into the pool whose process is none.
func placed(h *Host, s slot, is state) *runner {
	r := newRunner(h, s)
	r.state, r.used = is, time.Now().Add(-time.Hour)
	h.pool.runners[s] = r
	return r
}

// A replica that learns of an upgrade serves with the version before until the new
// one runs there.
func TestVersionBeforeStaysUntilTheNewOneRuns(t *testing.T) {
	t.Parallel()
	h := quietHost()
	before := placed(h, slot{key: key{"probe", "1.0.0"}}, running)
	after := placed(h, slot{key: key{"probe", "2.0.0"}}, starting)
	other := placed(h, slot{key: key{"other", "1.0.0"}}, running)
	used := map[key]bool{{"probe", "2.0.0"}: true}
	h.pool.settle(used, nil)
	if before.ending || !other.ending {
		t.Errorf("while 2.0.0 starts: the version before ends: %t, what nobody uses: %t", before.ending, other.ending)
	}
	after.state = running
	h.pool.settle(used, nil)
	if !before.ending || after.ending {
		t.Errorf("when 2.0.0 runs: the version before ends: %t, the new one: %t", before.ending, after.ending)
	}
}

// That a process starts, or is started again, says nothing of how a version answers.
func TestUncalledIsNoFailureOfAVersion(t *testing.T) {
	t.Parallel()
	before := "1.0.0"
	for what, err := range map[string]error{
		"starting": fmt.Errorf("%w: %w", errStarting, context.DeadlineExceeded), "down": fmt.Errorf("%w: because", errDown), "here": fmt.Errorf("%w: because", errHere),
	} {
		h, i := quietHost(), &Installation{ID: id.New(), PluginID: "probe", Version: "2.0.0", Previous: &before, UpgradedAt: time.Now()}
		s := h.statOf(i, "p")
		for range 20 {
			h.note(t.Context(), s, i, callOptions{point: "p"}, 0, &CallError{Plugin: "probe", Point: "p", Reason: err.Error(), cause: err})
		}
		if s.resting(time.Now()) || s.budget.failures > 0 {
			t.Errorf("%s: rests: %t, budget: %+v", what, s.resting(time.Now()), s.budget)
		}
	}
}

type judged struct {
	Reports
	all int
}

func (j *judged) QuarantineAll(context.Context, string, string, string) error { j.all++; return nil }

// What is the machine's trouble, or the doing of a call that names nobody, puts a
// version out of use for nobody.
func TestTroubleOfTheHostIsNotThePlugins(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		err     error
		unnamed bool
		all     bool
	}{
		"own":     {errors.New("exited with status 1"), false, true},
		"here":    {fmt.Errorf("%w: no space", errHere), false, false},
		"slow":    {launch.ErrSlow, false, false},
		"unnamed": {errors.New("exited with status 1"), true, false},
	} {
		h, j := quietHost(), &judged{}
		h.reports = j
		r := newRunner(h, slot{key: key{"probe", "1.0.0"}})
		for range h.Restart.Most {
			if c.unnamed {
				r.uses[id.Nil] = &use{cut: true}
			}
			r.fail(t.Context(), c.err)
		}
		if (j.all > 0) != c.all {
			t.Errorf("%s: everybody's was quarantined %d times", what, j.all)
		}
	}
}

// Without the manifest the grants say where nothing may go on.
func TestVetoesOutlastTheManifest(t *testing.T) {
	t.Parallel()
	i := &Installation{Grants: []string{"hook:task.will_create", "hook:task.will_create:refuse", "hook:comment.will_create", "tasks.read", "host:a.example:refuse"}}
	var names []string
	for _, h := range i.vetoes() {
		names = append(names, h.Hook)
	}
	if !slices.Equal(names, []string{"task.will_create"}) {
		t.Errorf("shut: %v", names)
	}
}
