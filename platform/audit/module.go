package audit

import (
	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/module"
	"github.com/guildhall-dev/guildhall/operation"
)

var (
	readEvents = authz.Permission{Key: "events.read", Doc: "Read the feed of events.", From: authz.Guest}
	readLog    = authz.Permission{Key: "audit_logs.read", Doc: "Read, export and check the audit log, and see everyone's operations.", From: authz.Admin}

	// Defined by other features; activity needs the same as what it is about.
	readProjects = authz.Permission{Key: "projects.read"}
	readTasks    = authz.Permission{Key: "tasks.read"}
)

// Feature reads the event log.
type Feature struct{ queue *jobs.Queue }

// New returns the feature; the queue takes its operations' jobs.
func New(queue *jobs.Queue) *Feature { return &Feature{queue} }

// Module is the feature's table of contents.
func (f *Feature) Module() module.Module {
	return module.Module{
		Name:        "events",
		Doc:         "Everything that happened: the feed for integrations, activity for people, the audit log for administrators.",
		Permissions: []authz.Permission{readEvents, readLog},
		Operations:  f.operations,
		Events:      api.Events(checkStarted.Type),
		Jobs: []jobs.Definition{
			operation.Work(checkLog, check), makePartitions(), dropPartitions(), purgeKeys(),
		},
	}
}

func (f *Feature) operations(r *api.Router) {
	api.Read(r, api.Op{
		ID: "list-events", Route: "GET /events", Can: readEvents,
		Summary: "Poll the feed of events",
		Doc: "Public events in the order of their numbers, without gaps for a caller who sees everything. " +
			"Poll with after = next_cursor of the answer before; an event whose transaction commits late is never missed. " +
			"No data and the cursor that was sent mean that there is nothing new; with another cursor, go on with it at once.",
	}, readFeed)
	api.Read(r, api.Op{
		ID: "get-event", Route: "GET /events/{event_id}", Can: readEvents,
		Summary: "Get an event", Doc: "One public event, once it is numbered.",
	}, getEvent)

	api.Read(r, api.Op{
		ID: "list-task-activity", Route: "GET /tasks/{task_id}/activity", Can: readTasks,
		Summary: "List the activity of a task", Doc: "Public events about the task and its comments, newest first.",
	}, taskActivity)
	api.Read(r, api.Op{
		ID: "list-project-activity", Route: "GET /projects/{project_id}/activity", Can: readProjects,
		Summary: "List the activity of a project", Doc: "Public events that happened in the project, newest first.",
	}, projectActivity)
	api.Read(r, api.Op{
		ID: "list-activity", Route: "GET /activity", Can: readProjects,
		Summary: "List the activity of the organisation", Doc: "Public events of the organisation that the caller may see, newest first.",
	}, organizationActivity)

	api.Read(r, api.Op{
		ID: "list-audit-log", Route: "GET /audit-log", Can: readLog,
		Summary: "List the audit log",
		Doc: "Everything that was recorded, newest first: changes, failed and denied calls, reads of secrets. " +
			"What happened in a private project that the caller is not in is shown without its data.",
	}, listLog)
	api.Stream(r, api.Op{
		ID: "export-audit-log", Route: "GET /audit-log/export", Can: readLog, Audited: true,
		Summary: "Export the audit log", Doc: "The same rows as JSON lines, without pages. The export is itself an entry of the log.",
	}, "application/x-ndjson", exportLog)
	api.Write(r, api.Op{
		ID: "check-audit-log", Route: "POST /audit-log/integrity-checks", Can: readLog, Status: 202,
		Emits:   api.Events(checkStarted.Type),
		Summary: "Check the audit log",
		Doc:     "Starts an operation that walks the log and verifies that the numbers of its public events have no gap and that every event is whole; its message tells the outcome.",
	}, f.startCheck)
}

var checkStarted = event.DefineInternal[started]("audit_log.check_started", "A check of the log was asked for.")
