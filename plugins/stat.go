package plugins

import (
	"context"
	"errors"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/guildhall-dev/guildhall/internal/id"
)

const (
	// After this many failures in a row an installation is not asked at a hook
	// for a while, so that a plugin that hangs costs people a few deadlines and no
	// more.
	restAfter = 5
	restFor   = 30 * time.Second

	// The error budget of an upgrade: within BudgetTime, this many failures that
	// are at least half of the calls take it back.
	budgetFailures = 5
)

// BudgetTime is how long after an upgrade it is taken back if it fails.
const BudgetTime = 10 * time.Minute

type statKey struct {
	installation id.ID
	version      string
	point        string
}

// stat counts the calls of one installation at one point, in this process.
type stat struct {
	mu       sync.Mutex
	calls    int64
	failures int64
	timeouts int64
	inARow   int
	rest     time.Time
	last     string    // reason of the last failure
	micros   [40]int64 // calls by the power of two of their microseconds
	budget   budget
}

// budget counts the calls after an upgrade.
type budget struct {
	upgraded        time.Time
	calls, failures int64
	spent           bool
}

// spend counts a call of an installation that was upgraded lately; it reports, once,
// that the upgrade has used up what it may fail.
func (s *stat) spend(upgraded time.Time, bad bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := &s.budget; !b.upgraded.Equal(upgraded) {
		*b = budget{upgraded: upgraded}
	}
	s.budget.calls++
	if bad {
		s.budget.failures++
	}
	if b := s.budget; b.spent || !bad || b.failures < budgetFailures || 2*b.failures < b.calls {
		return false
	}
	s.budget.spent = true
	return true
}

func (h *Host) statOf(i *Installation, point string) *stat {
	s, _ := h.stats.ComputeIfAbsent(statKey{i.ID, i.Version, point}, func() (*stat, bool) { return &stat{}, false })
	return s
}

func (s *stat) resting(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return now.Before(s.rest)
}

func (s *stat) add(took time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	s.micros[min(bits.Len64(uint64(took.Microseconds())), len(s.micros)-1)]++
	if err == nil {
		s.inARow = 0
		return
	}
	s.failures++
	if status.Code(errors.Unwrap(err)) == codes.DeadlineExceeded {
		s.timeouts++
	}
	s.last = err.Error()
	if uncalled(err) {
		return
	}
	if s.inARow++; s.inARow >= restAfter {
		s.inARow, s.rest = 0, time.Now().Add(restFor)
	}
}

// note counts a call, tells the operator of a failure, and takes an upgrade
// back that has used up its error budget.
func (h *Host) note(ctx context.Context, s *stat, i *Installation, o callOptions, took time.Duration, err error) {
	var e *CallError
	if errors.As(err, &e) && e.Final {
		err = nil // an answer, if not the wanted one
	}
	s.add(took, err)
	spent := i.Previous != nil && time.Since(i.UpgradedAt) < BudgetTime && !uncalled(err) && s.spend(i.UpgradedAt, err != nil)
	if err == nil {
		return
	}
	h.Log.WarnContext(ctx, "a plugin did not do what it was asked", "plugin", i.PluginID, "version", i.Version, "point", o.point,
		"installation_id", i.ID.String(), "ms", took.Milliseconds(), "error", err)
	if spent {
		h.pool.later(func(ctx context.Context) { h.rollBack(ctx, s, i, err) })
	}
}

// rollBack returns an installation to the version before, when that one runs.
func (h *Host) rollBack(ctx context.Context, s *stat, i *Installation, cause error) {
	err := h.Warm(ctx, i.PluginID, *i.Previous)
	if err == nil {
		reason := "version " + i.Version + " failed in half of its calls after the upgrade: " + cause.Error()
		err = h.reports.RollBack(ctx, i.Organization, i.ID, i.Version, plain(reason, 500))
	}
	if err != nil {
		h.Log.ErrorContext(ctx, "an upgrade of a plugin could not be taken back", "installation_id", i.ID.String(), "error", err)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.budget.spent = errors.Is(err, ErrNoReturn) // else the next failure tries again
	}
}

// PointStat is what became of the calls at a point since this process started.
type PointStat struct {
	Point     string  `json:"point" maxLength:"100" example:"task.will_create" doc:"What the plugin was asked."`
	Calls     int64   `json:"calls" minimum:"0" example:"1200"`
	Failures  int64   `json:"failures" minimum:"0" example:"2"`
	Timeouts  int64   `json:"timeouts" minimum:"0" example:"1"`
	P50Millis float64 `json:"p50_ms" minimum:"0" example:"0.5" doc:"At most so many milliseconds in half of the calls, to a power of two."`
	P99Millis float64 `json:"p99_ms" minimum:"0" example:"2" doc:"The same in 99 of 100 calls."`
	LastError string  `json:"last_error" maxLength:"1000" doc:"Why the last call that failed did."`
}

func (s *stat) show(point string) PointStat {
	s.mu.Lock()
	defer s.mu.Unlock()
	return PointStat{
		Point: point, Calls: s.calls, Failures: s.failures, Timeouts: s.timeouts, LastError: plain(s.last, 1000),
		P50Millis: s.quantile(50), P99Millis: s.quantile(99),
	}
}

func (s *stat) quantile(percent int64) float64 {
	var seen int64
	for n, c := range s.micros {
		if seen += c; seen*100 >= s.calls*percent && s.calls > 0 {
			return float64(int64(1)<<n) / 1000
		}
	}
	return 0
}

// Health is how an installation fares in the process that answers.
type Health struct {
	State       string      `json:"state" enum:"stopped,starting,running,failed" example:"running" doc:"Of the process that runs this version."`
	Reason      string      `json:"reason" maxLength:"1000" doc:"Why it is not running."`
	Since       *time.Time  `json:"since" doc:"Since when it is in this state; null where it never ran."`
	Restarts    int         `json:"restarts" minimum:"0" example:"0" doc:"How often it ended without being told to, lately."`
	MemoryBytes int64       `json:"memory_bytes" minimum:"0" example:"22000000" doc:"Of all its processes."`
	CPUSeconds  float64     `json:"cpu_seconds" minimum:"0" example:"1.5" doc:"Since it started."`
	Points      []PointStat `json:"points" nullable:"false" maxItems:"200" doc:"What it was asked, by point."`
}

// HealthOf returns how an installation fares in this process.
func (h *Host) HealthOf(installation id.ID, plugin, version string) Health {
	out := h.pool.health(key{plugin, version}, installation)
	out.Points = []PointStat{}
	for k, s := range h.stats.All() {
		if k.installation == installation && k.version == version {
			out.Points = append(out.Points, s.show(k.point))
		}
	}
	slices.SortFunc(out.Points, func(a, b PointStat) int { return strings.Compare(a.Point, b.Point) })
	return out
}
