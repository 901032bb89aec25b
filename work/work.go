// Package work holds the words that projects, tasks and comments share: what a
// person may be in a project, the groups of workflow states, the kinds of
// subjects. It knows no SQL and no HTTP; the row-level side of the same rules
// is the view project_access.
package work

import (
	"context"
	"time"

	"github.com/guildhall-dev/guildhall/internal/fault"
)

// Role is what a person is in a project, as project_access tells it.
type Role string

// The roles in a project, from least to most. A viewer reads; a contributor
// also writes tasks and comments; a lead also manages settings and members.
const (
	Viewer      Role = "viewer"
	Contributor Role = "contributor"
	Lead        Role = "lead"
)

func (r Role) rank() int {
	switch r {
	case Viewer:
		return 1
	case Contributor:
		return 2
	case Lead:
		return 3
	}
	return 0
}

// AtLeast reports whether r includes what min allows. A string that is no role
// includes nothing.
func (r Role) AtLeast(min Role) bool { return r.rank() > 0 && r.rank() >= min.rank() }

// Right names the right that a role gives, as permission_denied shows it:
// "project:lead".
func (r Role) Right() string { return "project:" + string(r) }

// Access is what the viewer of a transaction is in one project that he may
// see, read from project_access. Who may not see it gets no row: that is a 404
// before any question of rights.
type Access struct {
	Role     Role `db:"role"`
	Archived bool `db:"archived"`
}

// Need is nil if the role is at least min, else 403 with the project right.
func (a Access) Need(min Role) error {
	if a.Role.AtLeast(min) {
		return nil
	}
	return fault.Deniedf(min.Right())
}

// Write is nil if tasks and comments of the project may be changed; 403
// without the right, 409 project_archived where the project rests.
func (a Access) Write() error {
	if err := a.Need(Contributor); err != nil {
		return err
	}
	if a.Archived {
		return fault.Conflictf("project_archived", "The project is archived. Set its status to active to work in it again.")
	}
	return nil
}

// Group is what a workflow state means, whatever a project calls it.
type Group string

// The groups in the order in which work passes through them.
const (
	Backlog   Group = "backlog"
	Unstarted Group = "unstarted"
	Started   Group = "started"
	Completed Group = "completed"
	Cancelled Group = "cancelled"
)

// Groups lists all groups in order.
func Groups() []Group { return []Group{Backlog, Unstarted, Started, Completed, Cancelled} }

// Closed reports whether work in a state of the group is over.
func (g Group) Closed() bool { return g == Completed || g == Cancelled }

// Subject kinds: the "type" of an event's subject.
const (
	SubjectProject = "project"
	SubjectTask    = "task"
	SubjectComment = "comment"
)

// reserve is how much of a job's time is left when it makes room for others.
const reserve = 20 * time.Second

// TimeLeft reports whether a job has the time for one more batch. One that has
// not ends with jobs.Again or enqueues what is left: it stays below the limit of
// a job, after which a killed one is taken up again.
func TimeLeft(ctx context.Context) bool {
	deadline, limited := ctx.Deadline()
	return !limited || time.Until(deadline) > reserve
}
