package projects

import (
	"context"
	"net/http"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/module"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/work"
)

// TaskStates is what this feature needs of tasks, in the transaction in which
// a state goes.
type TaskStates interface {
	// Replace gives the tasks of the project in state from the state to. It
	// emits nothing: project.states_changed tells of it for all of them.
	Replace(ctx context.Context, tx *tenant.Tx, project id.ID, from, to string) error
}

// Contents is what hangs on a project and is too much to go in one statement.
type Contents interface {
	// PurgeProject deletes up to limit rows that belong to the project for good
	// and returns how many they were; 0 means that nothing is left. The project
	// is in the trash for good, so nobody adds to it.
	PurgeProject(ctx context.Context, tx *tenant.Tx, project id.ID, limit int) (int64, error)
}

// Assignments is what hangs on who may see a project.
type Assignments interface {
	// Unassign sees to it, in the transaction or soon after it, that nothing in
	// the project stays assigned to somebody who cannot see it.
	Unassign(ctx context.Context, tx *tenant.Tx, project id.ID) error
}

// Deps is what the feature stands on. Only Queue is needed.
type Deps struct {
	Queue *jobs.Queue
	// Tasks may be nil; then a state in use cannot be replaced.
	Tasks TaskStates
	// Assignments may be nil; then nothing is taken off who loses sight.
	Assignments Assignments
	// Contents go before the project; what is not among them goes with it, by
	// the foreign keys.
	Contents []Contents
}

// Feature is the feature.
type Feature struct {
	queue       *jobs.Queue
	tasks       TaskStates
	assignments Assignments
	contents    []Contents
}

// New returns the feature.
func New(d Deps) *Feature {
	return &Feature{queue: d.Queue, tasks: d.Tasks, assignments: d.Assignments, contents: d.Contents}
}

// The permissions of the feature.
var (
	Read = authz.Permission{Key: "projects.read", Doc: "See open projects, and the private ones that one is named in.", From: authz.Guest}
	// Write also asks for the role lead in the project, except to make one.
	Write  = authz.Permission{Key: "projects.write", Doc: "Make projects, and manage those that one leads.", From: authz.Member}
	Manage = authz.Permission{Key: "projects.manage", Doc: "Lead every open project, list private ones and join them.", From: authz.Admin}
)

// The events of the feature. Each is about the project and is seen by those
// who see the project today.
var (
	Created       = event.Define[ProjectData]("project.created", "A project was made, with the default workflow.")
	Updated       = event.Define[ProjectData]("project.updated", "A project's settings changed, its visibility included.")
	Archived      = event.Define[ProjectData]("project.archived", "A project was archived: its tasks rest.")
	Unarchived    = event.Define[ProjectData]("project.unarchived", "An archived project became active again.")
	Deleted       = event.Define[ProjectData]("project.deleted", "A project was put into the trash, from which it can return for 30 days.")
	Restored      = event.Define[ProjectData]("project.restored", "A project came back from the trash.")
	MemberAdded   = event.Define[ProjectMemberData]("project.member_added", "Somebody was named in a project, or joined it.")
	MemberChanged = event.Define[ProjectMemberData]("project.member_changed", "The role of a member of a project changed.")
	MemberRemoved = event.Define[ProjectMemberData]("project.member_removed", "Somebody is no longer named in a project.")
	StatesChanged = event.Define[ProjectStates]("project.states_changed", "The workflow of a project changed; replaced_state and replaced_with say which state tasks left for which.")
	Purged        = event.DefineInternal[PurgedProject]("project.purged", "A project was deleted for good, 30 days after it went into the trash.")
)

// Module implements the feature.
func (f *Feature) Module() module.Module {
	return module.Module{
		Name:        "projects",
		Doc:         "Projects, the people in them and their workflow.",
		Permissions: []authz.Permission{Read, Write, Manage},
		Operations: func(r *api.Router) {
			f.projectOperations(r)
			f.memberOperations(r)
			f.stateOperations(r)
		},
		Events: api.Events(Created.Type, Updated.Type, Archived.Type, Unarchived.Type, Deleted.Type, Restored.Type,
			MemberAdded.Type, MemberChanged.Type, MemberRemoved.Type, StatesChanged.Type, Purged.Type),
		Listeners: []event.Listener{
			{Name: "projects.lost_owners", Types: []string{"member.removed"}, Hear: f.hearRemoved},
			{Name: "projects.owning_guests", Types: work.SightEvents(), Hear: f.hearSightLost},
		},
		Jobs: []jobs.Definition{f.purgeJob(), f.purgeClock(), jobs.Work(tellLost, tellOfLost), jobs.Work(releaseGuests, releaseOfGuests)},
	}
}

func (f *Feature) projectOperations(r *api.Router) {
	changes := api.Events(Updated.Type, Archived.Type, Unarchived.Type, MemberAdded.Type, MemberChanged.Type)
	api.Read(r, api.Op{ID: "list-projects", Route: "GET /projects", Can: Read, Summary: "List projects",
		Doc: "Lists the projects that you may see, with your role in each."}, f.list)
	api.Write(r, api.Op{ID: "create-project", Route: "POST /projects", Can: Write, Summary: "Create a project",
		Doc:    "Makes a project with the default workflow. You become a lead of it.",
		Emits:  api.Events(Created.Type, MemberAdded.Type),
		Errors: []string{"409 project_key_taken"}}, f.create)
	api.Read(r, api.Op{ID: "get-project", Route: "GET /projects/{project_id}", Can: Read, Summary: "Get a project",
		Doc: "Reads one project, unless it is in the trash."}, f.get)
	api.Write(r, api.Op{ID: "replace-project", Route: "PUT /projects/{project_id}", Can: Write, Summary: "Replace a project",
		Doc:   "Sets name, description and color to what the body says; the other fields stay unless the body names them. Needs the role lead.",
		Emits: changes, Errors: []string{"409 project_key_taken", "412 version_conflict"}}, f.replace)
	api.Write(r, api.Op{ID: "update-project", Route: "PATCH /projects/{project_id}", Can: Write, Summary: "Update a project",
		Doc:   "Changes the fields that the body names; archive a project by its status. Needs the role lead.",
		Emits: changes, Errors: []string{"409 project_key_taken", "412 version_conflict"}}, f.patch)
	api.Write(r, api.Op{ID: "delete-project", Route: "DELETE /projects/{project_id}", Can: Write, Summary: "Delete a project",
		Doc:   "Puts a project with all that is in it into the trash, where it stays for 30 days. Its key stays taken. Needs the role lead.",
		Emits: api.Events(Deleted.Type), Errors: []string{"412 version_conflict"}}, f.delete)
	api.Write(r, api.Op{ID: "restore-project", Route: "POST /projects/{project_id}/restore", Can: Write, Summary: "Restore a project",
		Doc:    "Takes a project out of the trash as it was. One that is not in the trash stays as it is. Needs the role lead.",
		Status: http.StatusOK, Emits: api.Events(Restored.Type)}, f.restore)
	api.Read(r, api.Op{ID: "list-private-projects", Route: "GET /projects/private", Can: Manage, Summary: "List private projects",
		Doc:     "Lists all private projects of the organisation, also those that you are not named in, by their key. It leaves a trace in the audit log.",
		Audited: true}, f.listPrivate)
	api.Write(r, api.Op{ID: "join-project", Route: "POST /projects/{project_id}/join", Can: Manage, Summary: "Join a project",
		Doc:    "Makes you a lead of any project of the organisation, private ones included. Its members read of it in the log.",
		Status: http.StatusOK, Emits: api.Events(MemberAdded.Type, MemberChanged.Type)}, f.join)
}

func (f *Feature) memberOperations(r *api.Router) {
	api.Read(r, api.Op{ID: "list-project-members", Route: "GET /projects/{project_id}/members", Can: Read, Summary: "List a project's members",
		Doc: "Lists the people who are named in the project, in the order in which they came. In an open project others may work as well."}, f.members)
	api.Read(r, api.Op{ID: "get-project-member", Route: "GET /projects/{project_id}/members/{user_id}", Can: Read, Summary: "Get a project member",
		Doc: "Reads what one person is in the project."}, f.member)
	api.Write(r, api.Op{ID: "add-project-member", Route: "POST /projects/{project_id}/members", Can: Write, Summary: "Add a project member",
		Doc:   "Names a member of the organisation in the project. Needs the role lead.",
		Emits: api.Events(MemberAdded.Type), Errors: []string{"409 project_member_exists"}}, f.addMember)
	api.Write(r, api.Op{ID: "update-project-member", Route: "PATCH /projects/{project_id}/members/{user_id}", Can: Write, Summary: "Update a project member",
		Doc:   "Changes the role of a member. A private project keeps at least one lead. Needs the role lead.",
		Emits: api.Events(MemberChanged.Type), Errors: []string{"409 last_lead"}}, f.patchMember)
	api.Write(r, api.Op{ID: "remove-project-member", Route: "DELETE /projects/{project_id}/members/{user_id}", Can: Write, Summary: "Remove a project member",
		Doc:   "Takes somebody out of the project: yourself, or, as a lead, anybody. Who is named a viewer of an open project, where others contribute, is taken out by a lead only. A private project keeps at least one lead. Who cannot see the project any more owns nothing in it and is taken off its tasks.",
		Emits: api.Events(MemberRemoved.Type, Updated.Type), Errors: []string{"409 last_lead"}}, f.removeMember)
}

func (f *Feature) stateOperations(r *api.Router) {
	api.Read(r, api.Op{ID: "list-project-states", Route: "GET /projects/{project_id}/states", Can: Read, Summary: "List a project's workflow states",
		Doc: "Lists all states that a task of the project can be in, in order. They are 50 at most, so there is one page."}, f.states)
	api.Read(r, api.Op{ID: "get-project-state", Route: "GET /projects/{project_id}/states/{state_key}", Can: Read, Summary: "Get a workflow state",
		Doc: "Reads one state."}, f.state)
	api.Write(r, api.Op{ID: "create-project-state", Route: "POST /projects/{project_id}/states", Can: Write, Summary: "Create a workflow state",
		Doc:   "Adds a state to the workflow. Needs the role lead.",
		Emits: api.Events(StatesChanged.Type), Errors: []string{"409 state_key_taken", "409 too_many_states"}}, f.addState)
	api.Write(r, api.Op{ID: "update-project-state", Route: "PATCH /projects/{project_id}/states/{state_key}", Can: Write, Summary: "Update a workflow state",
		Doc:   "Renames, colors or moves a state, or makes it the default. Its key and group never change: make another state for that. Needs the role lead.",
		Emits: api.Events(StatesChanged.Type), Errors: []string{"409 state_is_default"}}, f.patchState)
	api.Write(r, api.Op{ID: "delete-project-state", Route: "DELETE /projects/{project_id}/states/{state_key}", Can: Write, Summary: "Delete a workflow state",
		Doc:   "Removes a state. If tasks are in it, replace_with names the state that they get; the tasks of an archived project cannot change. Needs the role lead.",
		Emits: api.Events(StatesChanged.Type), Errors: []string{"409 project_archived", "409 state_in_use", "409 state_is_default"}}, f.removeState)
}
