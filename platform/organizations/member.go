package organizations

import (
	"time"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
)

// Member is a person in an organisation.
type Member struct {
	UserID   id.ID     `db:"user_id" json:"user_id" ref:"user"`
	Username string    `db:"username" json:"username" maxLength:"64" example:"ann"`
	Email    string    `db:"email" json:"email" format:"email" maxLength:"254" example:"ann@example.com"`
	Role     string    `db:"role" json:"role" maxLength:"40" pattern:"^[a-z][a-z0-9_]*$" doc:"The key of a built-in or a custom role." example:"member"`
	Version  int64     `db:"version" json:"version" minimum:"1" maximum:"9007199254740991" example:"1"`
	JoinedAt time.Time `db:"joined_at" json:"joined_at"`
}

// RowVersion implements api.Versioned.
func (m Member) RowVersion() int64 { return m.Version }

// EventSubject implements event.Subjected.
func (m Member) EventSubject() event.Subject { return event.Subject{ID: m.UserID} }
