package projects

import (
	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/work"
)

type listProjectsInput struct {
	api.ListParams
	Status     string `query:"status" enum:"active,archived,trashed" doc:"active or archived; without it both. trashed lists what is in the trash of the projects that you lead."`
	Search     string `query:"search" maxLength:"200" doc:"Part of the name, the key or the description, in either case."`
	Visibility string `query:"visibility" enum:"open,private" doc:"Only open or only private projects."`
	Sort       string `query:"sort" enum:"name,-name,key,-key,created_at,-created_at,updated_at,-updated_at" default:"name" doc:"The order; - before it is descending."`
}

type projectPath struct {
	ProjectID id.ID `path:"project_id" ref:"project" doc:"The project."`
}

type createProject struct {
	Body struct {
		Key         string `json:"key,omitempty" minLength:"2" maxLength:"10" pattern:"^[A-Z][A-Z0-9]{1,9}$" doc:"Made from the name if absent."`
		Name        string `json:"name" minLength:"1" maxLength:"200" example:"Website relaunch"`
		Description string `json:"description,omitempty" maxLength:"50000" doc:"Markdown."`
		Status      string `json:"status,omitempty" enum:"active,archived" default:"active"`
		Visibility  string `json:"visibility,omitempty" enum:"open,private" default:"open" doc:"private: only those who are named in the project see it."`
		Color       string `json:"color,omitempty" maxLength:"7" pattern:"^#[0-9a-f]{6}$" example:"#3366cc"`
		OwnerID     *id.ID `json:"owner_id,omitempty" nullable:"true" ref:"user" doc:"Who answers for it; you if absent. The owner becomes a lead."`
	}
}

type replaceProject struct {
	ProjectID id.ID       `path:"project_id" ref:"project" doc:"The project."`
	IfMatch   api.IfMatch `header:"If-Match"`
	Body      struct {
		Key         string              `json:"key,omitempty" minLength:"2" maxLength:"10" pattern:"^[A-Z][A-Z0-9]{1,9}$" doc:"Stays if absent."`
		Name        string              `json:"name" minLength:"1" maxLength:"200" example:"Website relaunch"`
		Description string              `json:"description,omitempty" maxLength:"50000" doc:"Markdown. Emptied if absent."`
		Status      string              `json:"status,omitempty" enum:"active,archived" doc:"Stays if absent."`
		Visibility  string              `json:"visibility,omitempty" enum:"open,private" doc:"Stays if absent."`
		Color       *string             `json:"color,omitempty" nullable:"true" maxLength:"7" pattern:"^#[0-9a-f]{6}$" doc:"Removed if absent." example:"#3366cc"`
		OwnerID     api.Optional[id.ID] `json:"owner_id" required:"false" nullable:"true" ref:"user" doc:"Stays if absent."`
	}
}

type patchProject struct {
	ProjectID id.ID       `path:"project_id" ref:"project" doc:"The project."`
	IfMatch   api.IfMatch `header:"If-Match"`
	Body      struct {
		Key         api.Optional[string] `json:"key" required:"false" minLength:"2" maxLength:"10" pattern:"^[A-Z][A-Z0-9]{1,9}$" doc:"Tasks show the new key at once; their versions stay, and project.updated tells of it for all of them."`
		Name        api.Optional[string] `json:"name" required:"false" minLength:"1" maxLength:"200"`
		Description api.Optional[string] `json:"description" required:"false" maxLength:"50000" doc:"Markdown."`
		Status      api.Optional[string] `json:"status" required:"false" enum:"active,archived"`
		Visibility  api.Optional[string] `json:"visibility" required:"false" enum:"open,private" doc:"Who makes a project private becomes a lead of it; an owner and assignees who are not named in it are taken off."`
		Color       api.Optional[string] `json:"color" required:"false" nullable:"true" maxLength:"7" pattern:"^#[0-9a-f]{6}$" example:"#2563eb"`
		OwnerID     api.Optional[id.ID]  `json:"owner_id" required:"false" nullable:"true" ref:"user" doc:"Who is not named in the project yet becomes a lead of it."`
	}
}

type deleteProject struct {
	ProjectID id.ID       `path:"project_id" ref:"project" doc:"The project."`
	IfMatch   api.IfMatch `header:"If-Match"`
}

type listMembers struct {
	api.ListParams
	ProjectID id.ID `path:"project_id" ref:"project" doc:"The project."`
}

type memberPath struct {
	ProjectID id.ID `path:"project_id" ref:"project" doc:"The project."`
	UserID    id.ID `path:"user_id" ref:"user" doc:"The member."`
}

type addMember struct {
	ProjectID id.ID `path:"project_id" ref:"project" doc:"The project."`
	Body      struct {
		UserID id.ID     `json:"user_id" ref:"user" doc:"A member of the organisation."`
		Role   work.Role `json:"role,omitempty" enum:"viewer,contributor,lead" default:"contributor"`
	}
}

type patchMember struct {
	ProjectID id.ID `path:"project_id" ref:"project" doc:"The project."`
	UserID    id.ID `path:"user_id" ref:"user" doc:"The member."`
	Body      struct {
		Role api.Optional[work.Role] `json:"role" required:"false" enum:"viewer,contributor,lead"`
	}
}

type listPrivate struct {
	api.ListParams
}

type statePath struct {
	ProjectID id.ID  `path:"project_id" ref:"project" doc:"The project."`
	StateKey  string `path:"state_key" ref:"state" maxLength:"40" pattern:"^[a-z][a-z0-9_]{0,39}$" doc:"The key of the state." example:"review"`
}

type createState struct {
	ProjectID id.ID `path:"project_id" ref:"project" doc:"The project."`
	Body      struct {
		Key       string     `json:"key,omitempty" maxLength:"40" pattern:"^[a-z][a-z0-9_]{0,39}$" doc:"Made from the name if absent." example:"in_test"`
		Name      string     `json:"name" minLength:"1" maxLength:"100" example:"In test"`
		Group     work.Group `json:"group" enum:"backlog,unstarted,started,completed,cancelled" example:"started"`
		Color     *string    `json:"color,omitempty" nullable:"true" maxLength:"7" pattern:"^#[0-9a-f]{6}$" example:"#3366cc"`
		After     *string    `json:"after,omitempty" nullable:"true" ref:"state" maxLength:"40" pattern:"^[a-z][a-z0-9_]{0,39}$" doc:"The state right before it; without one it stands last in its group."`
		IsDefault bool       `json:"is_default,omitempty" doc:"New tasks begin here from now on."`
	}
}

type patchState struct {
	ProjectID id.ID  `path:"project_id" ref:"project" doc:"The project."`
	StateKey  string `path:"state_key" ref:"state" maxLength:"40" pattern:"^[a-z][a-z0-9_]{0,39}$" doc:"The key of the state." example:"review"`
	Body      struct {
		Name      api.Optional[string] `json:"name" required:"false" minLength:"1" maxLength:"100"`
		Color     api.Optional[string] `json:"color" required:"false" nullable:"true" maxLength:"7" pattern:"^#[0-9a-f]{6}$" example:"#2563eb"`
		After     api.Optional[string] `json:"after" required:"false" nullable:"true" ref:"state" maxLength:"40" pattern:"^[a-z][a-z0-9_]{0,39}$" doc:"Moves it right behind this state; null moves it to the front."`
		IsDefault api.Optional[bool]   `json:"is_default" required:"false" doc:"true: new tasks begin here from now on. To take it away, give it to another state."`
	}
}

type removeState struct {
	ProjectID   id.ID  `path:"project_id" ref:"project" doc:"The project."`
	StateKey    string `path:"state_key" ref:"state" maxLength:"40" pattern:"^[a-z][a-z0-9_]{0,39}$" doc:"The key of the state." example:"review"`
	ReplaceWith string `query:"replace_with" ref:"state" maxLength:"40" pattern:"^[a-z][a-z0-9_]{0,39}$" doc:"The state that tasks in this one get."`
}
