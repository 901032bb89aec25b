package projects

import (
	"time"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/work"
)

// ProjectMemberData is somebody's place in a project; its events carry it.
type ProjectMemberData struct {
	ProjectID id.ID     `db:"project_id" json:"project_id"`
	UserID    id.ID     `db:"user_id" json:"user_id"`
	Role      work.Role `db:"role" json:"role" enum:"viewer,contributor,lead" doc:"A viewer reads, a contributor writes tasks and comments, a lead also manages the project."`
	CreatedAt time.Time `db:"created_at" json:"created_at"`
}

// Location implements api.Located.
func (m ProjectMemberData) Location() string {
	return "/v1/projects/" + m.ProjectID.String() + "/members/" + m.UserID.String()
}

// EventSubject implements event.Subjected.
func (m ProjectMemberData) EventSubject() event.Subject {
	return event.Subject{ID: m.ProjectID, Project: &m.ProjectID}
}

// ProjectMember is a member with the name that people know.
type ProjectMember struct {
	ProjectMemberData
	Username string `db:"username" json:"username" minLength:"1" maxLength:"64" example:"ann"`
}
