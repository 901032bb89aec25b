package projects

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/work"
)

// Values of Status and Visibility.
const (
	active   = "active"
	archived = "archived"
	open     = "open"
	private  = "private"
)

// Lengths of names.
const (
	maxName      = 200
	maxStateName = 100
)

// trashDays is how long a deleted project can come back.
const trashDays = 30

// ProjectData is a project as it is for everybody; its events carry it.
type ProjectData struct {
	ID          id.ID      `db:"id" json:"id"`
	Key         string     `db:"key" json:"key" minLength:"2" maxLength:"10" pattern:"^[A-Z][A-Z0-9]{1,9}$" example:"WEB" doc:"Short name; tasks are shown as WEB-12."`
	Name        string     `db:"name" json:"name" minLength:"1" maxLength:"200" example:"Website relaunch"`
	Description string     `db:"description" json:"description" maxLength:"50000" doc:"Markdown."`
	Status      string     `db:"status" json:"status" enum:"active,archived" doc:"The tasks of an archived project can be read, not changed."`
	Visibility  string     `db:"visibility" json:"visibility" enum:"open,private" doc:"open: the members of the organisation work in it; private: only those who are named in it see it."`
	Color       *string    `db:"color" json:"color" nullable:"true" maxLength:"7" pattern:"^#[0-9a-f]{6}$" example:"#3366cc"`
	OwnerID     *id.ID     `db:"owner_id" json:"owner_id" nullable:"true" doc:"Who answers for it."`
	Version     int64      `db:"version" json:"version" minimum:"1" maximum:"9007199254740991" example:"1"`
	CreatedAt   time.Time  `db:"created_at" json:"created_at"`
	UpdatedAt   time.Time  `db:"updated_at" json:"updated_at"`
	ArchivedAt  *time.Time `db:"archived_at" json:"archived_at"`
	DeletedAt   *time.Time `db:"deleted_at" json:"deleted_at" doc:"When it was put into the trash; it can be restored for 30 days."`
}

// RowVersion implements api.Versioned.
func (p ProjectData) RowVersion() int64 { return p.Version }

// Location implements api.Located.
func (p ProjectData) Location() string { return "/v1/projects/" + p.ID.String() }

// EventSubject implements event.Subjected.
func (p ProjectData) EventSubject() event.Subject { return event.Subject{ID: p.ID, Project: &p.ID} }

// Project is a project as one person sees it.
type Project struct {
	ProjectData
	YourRole work.Role `db:"your_role" json:"your_role" enum:"viewer,contributor,lead" doc:"What you are in it; your role in the organisation bounds it."`
}

// access is what the viewer may do in it.
func (p Project) access() work.Access {
	return work.Access{Role: p.YourRole, Archived: p.Status == archived}
}

// PrivateProject is what holders of projects.manage learn of a private project
// before they join it.
type PrivateProject struct {
	ID      id.ID  `db:"id" json:"id"`
	Key     string `db:"key" json:"key" minLength:"2" maxLength:"10" pattern:"^[A-Z][A-Z0-9]{1,9}$" example:"WEB"`
	Name    string `db:"name" json:"name" minLength:"1" maxLength:"200" example:"Website relaunch"`
	OwnerID *id.ID `db:"owner_id" json:"owner_id" nullable:"true"`
}

// PurgedProject is all that remains of a project.
type PurgedProject struct {
	ID id.ID `json:"id"`
}

// EventSubject implements event.Subjected.
func (p PurgedProject) EventSubject() event.Subject { return event.Subject{ID: p.ID} }

// keysFor lists keys that the name suggests, best first: the initials of its
// words, numbers in full, or the beginning of its only word; then the same
// with a number behind it. Only ASCII counts, since a key is typed.
func keysFor(name string) []string {
	words := strings.FieldsFunc(strings.ToUpper(name), func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	})
	var base string
	for _, w := range words {
		switch {
		case w[0] >= '0' && w[0] <= '9':
			if base != "" { // a key begins with a letter
				base += w
			}
		case len(words) == 1:
			base = w[:min(3, len(w))]
		default:
			base += w[:1]
		}
	}
	if base = base[:min(6, len(base))]; len(base) < 2 {
		base = cmp.Or(base, "PRJ")
		if len(base) < 2 {
			base += "1"
		}
	}
	keys := []string{base}
	for n := 2; n < 100; n++ {
		keys = append(keys, fmt.Sprintf("%s%d", base, n))
	}
	for range 20 {
		keys = append(keys, fmt.Sprintf("%s%04d", base, rand.IntN(10_000)))
	}
	return keys
}
