package tasks

import (
	"context"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/module"
	"github.com/guildhall-dev/guildhall/plugins"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/work"
)

// The permissions of tasks. What a person may do in which project is a second
// question, answered by project_access.
var (
	Read  = authz.Permission{Key: "tasks.read", Doc: "See tasks, labels and watchers in the projects that one may see.", From: authz.Guest}
	Write = authz.Permission{Key: "tasks.write", Doc: "Make and change tasks in the projects to which one contributes.", From: authz.Guest}

	// labelWrite belongs to the feature of projects: a label is on many tasks.
	labelWrite = authz.Permission{Key: "projects.write"}
)

// Deps is what the feature needs of the others.
type Deps struct {
	Queue   *jobs.Queue
	Plugins *plugins.Host
}

// Feature is the feature of tasks.
type Feature struct {
	queue   *jobs.Queue
	plugins *plugins.Host
}

// New returns the feature.
func New(d Deps) *Feature { return &Feature{queue: d.Queue, plugins: d.Plugins} }

// Module is what the feature contributes.
func (f *Feature) Module() module.Module {
	return module.Module{
		Name:        "tasks",
		Doc:         "What is to be done, by whom, until when and in which order; labels and watchers.",
		Permissions: []authz.Permission{Read, Write},
		Operations:  f.operations,
		Events: []*event.Type{Created.Type, Updated.Type, Moved.Type, Deleted.Type, Restored.Type,
			LabelUpdated.Type, LabelDeleted.Type, Watched.Type, Unwatched.Type},
		Listeners: []event.Listener{
			{Name: "tasks.watch_commenters", Types: []string{"comment.created"}, Hear: watchCommenters},
			{Name: "tasks.lost_assignees", Types: []string{"member.removed"}, Hear: f.hearRemoved},
			{Name: "tasks.assigned_guests", Types: work.SightEvents(), Hear: f.hearSightLost},
		},
		Jobs:   f.jobs(),
		Points: []*plugins.Point{WillCreate.Point, WillChange.Point, LabelWillChange.Point},
	}
}

func (f *Feature) operations(r *api.Router) {
	api.Read(r, api.Op{
		ID: "list-project-tasks", Route: "GET /projects/{project_id}/tasks", Can: Read, Summary: "List the tasks of a project",
		Doc: "In the order of the board unless sort says otherwise. All filters that are given must hold.",
	}, f.listOfProject)
	api.Write(r, api.Op{
		ID: "create-task", Route: "POST /projects/{project_id}/tasks", Can: Write, Summary: "Create a task",
		Doc:   "It gets the next number of the project and the last place. Its creator and its assignee watch it.",
		Emits: api.Events(Created.Type), Errors: plugins.Asked("409 project_archived"),
	}, f.create, f.askCreate)
	api.Read(r, api.Op{
		ID: "list-tasks", Route: "GET /tasks", Can: Read, Summary: "List tasks of all projects",
		Doc: "Of all projects that the caller may see, the newest first unless sort says otherwise. assigned_to=me lists one's own.",
	}, f.listAll)
	api.Read(r, api.Op{
		ID: "get-task", Route: "GET /tasks/{task_id}", Can: Read, Summary: "Get a task",
		Doc: "One task with its labels. What is in the trash is not found.",
	}, f.get)
	api.Write(r, api.Op{
		ID: "replace-task", Route: "PUT /tasks/{task_id}", Can: Write, Summary: "Replace a task",
		Doc:   "Fields that are left out get the value that they have in a new task; only status stays.",
		Emits: api.Events(Updated.Type), Errors: plugins.Asked("409 project_archived"),
	}, f.replace, f.askReplace)
	api.Write(r, api.Op{
		ID: "update-task", Route: "PATCH /tasks/{task_id}", Can: Write, Summary: "Change fields of a task",
		Doc: "Sets the fields that the body names. An If-Match that is out of date is accepted as long as none of these fields " +
			"changed since that version; otherwise 412 shows the row as it is now.",
		Emits: api.Events(Updated.Type), Errors: plugins.Asked("409 project_archived"),
	}, f.patch, f.askPatch)
	api.Write(r, api.Op{
		ID: "delete-task", Route: "DELETE /tasks/{task_id}", Can: Write, Summary: "Put a task into the trash",
		Doc:   "Its subtasks go with it. For 30 days it can be restored.",
		Emits: api.Events(Deleted.Type), Errors: []string{"409 project_archived", "409 task_tree_too_large"},
	}, f.trash)
	api.Write(r, api.Op{
		ID: "restore-task", Route: "POST /tasks/{task_id}/restore", Can: Write, Status: 200, Summary: "Restore a task from the trash",
		Doc:   "Brings back the task and the subtasks that went to the trash with it. A task that is not in the trash is answered as it is.",
		Emits: api.Events(Restored.Type), Errors: []string{"409 project_archived", "409 task_tree_too_large"},
	}, f.restore)
	api.Write(r, api.Op{
		ID: "move-task", Route: "POST /tasks/{task_id}/move", Can: Write, Status: 200, Summary: "Move a task",
		Doc: "To a place right before or after another task, into another state, or into another project, where it gets a new number, " +
			"the state of the same key, else the first one of the same group, else the default one, and no assignee who cannot see it there.",
		Emits: api.Events(Moved.Type), Errors: plugins.Asked("409 project_archived", "409 task_moved", "409 task_tree_too_large", "409 plugin_amendment_refused"),
	}, f.move, f.askMove)
	api.Write(r, api.Op{
		ID: "update-tasks", Route: "POST /tasks/bulk", Can: Write, Status: 200, Summary: "Change many tasks",
		Doc:   "Up to 500 tasks, each on its own: the answer says for each whether it was changed or why not. A dry run changes nothing.",
		Emits: api.Events(Updated.Type), Errors: plugins.Asked("404 not_found"),
	}, f.bulk, f.askBulk)
	f.watcherOperations(r)
	f.labelOperations(r)
}

func (f *Feature) watcherOperations(r *api.Router) {
	api.Read(r, api.Op{
		ID: "list-task-watchers", Route: "GET /tasks/{task_id}/watchers", Can: Read, Summary: "List the watchers of a task",
		Doc: "The people who want to hear of the task.",
	}, f.listWatchers)
	api.Write(r, api.Op{
		ID: "watch-task", Route: "PUT /tasks/{task_id}/watchers/me", Can: Read, Summary: "Watch a task",
		Doc:   "The caller, or the person whose key calls, becomes a watcher. Who may see a task may watch it.",
		Emits: api.Events(Watched.Type), Errors: []string{"409 no_person"},
	}, f.watch)
	api.Write(r, api.Op{
		ID: "unwatch-task", Route: "DELETE /tasks/{task_id}/watchers/me", Can: Read, Summary: "Stop watching a task",
		Doc:   "The caller, or the person whose key calls, is no watcher any more.",
		Emits: api.Events(Unwatched.Type), Errors: []string{"409 no_person"},
	}, f.unwatch)
}

func (f *Feature) labelOperations(r *api.Router) {
	api.Read(r, api.Op{
		ID: "list-labels", Route: "GET /labels", Can: Read, Summary: "List labels",
		Doc: "The labels of the projects that the caller may see, by name. A label is made by putting it on a task and stays until it is deleted.",
	}, f.listLabels)
	api.Write(r, api.Op{
		ID: "update-label", Route: "PATCH /labels/{label_id}", Can: labelWrite, Summary: "Rename or colour a label",
		Doc:   "On all tasks of the project that carry it. Needs the role contributor in the project.",
		Emits: api.Events(LabelUpdated.Type), Errors: plugins.Asked("409 label_name_taken", "409 project_archived"),
	}, f.patchLabel, f.askLabel)
	api.Write(r, api.Op{
		ID: "delete-label", Route: "DELETE /labels/{label_id}", Can: labelWrite, Summary: "Delete a label",
		Doc:   "Takes it off all tasks of its project. Needs the role contributor in the project.",
		Emits: api.Events(LabelDeleted.Type), Errors: []string{"409 project_archived"},
	}, f.deleteLabel)
}

// changeBatch bounds the statements that change very many tasks.
const changeBatch = 2000

const replaceState = `with batch as (
	select t.id from tasks t where t.project_id = $1 and t.status = $2 order by t.id limit $4 for no key update
)
update tasks t set status = s.key, state_group = s.state_group, version = t.version + 1, updated_at = now(),
	completed_at = case when s.state_group = 'completed' then coalesce(t.completed_at, now()) end,
	field_versions = t.field_versions || jsonb_build_object('status', t.version + 1)
from project_states s
where t.id = any(array(select b.id from batch b)) and s.tenant_id = t.tenant_id and s.project_id = t.project_id and s.key = $3 and t.status = $2`

// Replace puts all tasks of a project that are in one state, the trash
// included, into another: the feature of projects calls it before it deletes
// the state, and its event tells of it for all of them.
func (f *Feature) Replace(ctx context.Context, tx *tenant.Tx, project id.ID, from, to string) error {
	for {
		// Fewer than a batch need not be the last: what changes while it is waited
		// for drops out.
		n, err := tenant.Exec(ctx, tx, replaceState, project, from, to, changeBatch)
		if err != nil || n == 0 {
			return refine(err)
		}
	}
}
