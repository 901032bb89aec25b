package jobs

import "github.com/riverqueue/river"

// Again makes a job run once more at once, without counting an attempt: for
// long work that is done slice by slice.
func Again() error { return river.JobSnooze(0) }
