package jobs

import (
	"time"

	"github.com/riverqueue/river"
)

// Again makes a job run once more at once, without counting an attempt: for
// long work that is done slice by slice.
func Again() error { return river.JobSnooze(0) }

// Later makes a job run once more after a while, without counting an attempt.
func Later(d time.Duration) error { return river.JobSnooze(d) }
