package identity

import (
	"time"
	_ "time/tzdata" // machines without zone files know the zones as well

	"golang.org/x/text/language"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/line"
	"github.com/guildhall-dev/guildhall/internal/mail"
)

// User is a person, as they see themselves.
type User struct {
	ID            id.ID     `db:"id" json:"id" doc:"The person's id, the same in every organisation."`
	Username      string    `db:"username" json:"username" minLength:"1" maxLength:"64" doc:"What others see. Not unique." example:"Ann"`
	Email         string    `db:"email" json:"email" format:"email" maxLength:"254" doc:"The address to log in with." example:"ann@example.com"`
	EmailVerified bool      `db:"email_verified" json:"email_verified" doc:"Whether the address was confirmed by a mailed link."`
	PendingEmail  *string   `db:"pending_email" json:"pending_email" format:"email" maxLength:"254" doc:"A new address that waits for its confirmation, else null." example:"ann@example.org"`
	Role          *string   `db:"-" json:"role" maxLength:"40" pattern:"^[a-z][a-z0-9_]*$" doc:"The role in the chosen organisation; null where none was chosen." example:"member"`
	Locale        string    `db:"locale" json:"locale" maxLength:"35" pattern:"^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$" doc:"Language tag (BCP 47)." example:"en"`
	TimeZone      string    `db:"time_zone" json:"time_zone" maxLength:"64" pattern:"^[A-Za-z][A-Za-z0-9_+/-]*$" doc:"Name of the zone in the IANA database." example:"Europe/Berlin"`
	Version       int64     `db:"version" json:"version" minimum:"1" maximum:"9007199254740991" doc:"Counts changes; also the ETag." example:"1"`
	CreatedAt     time.Time `db:"created_at" json:"created_at" doc:"When the person registered."`
}

// RowVersion is the ETag.
func (u User) RowVersion() int64 { return u.Version }

// as adds what only the request knows.
func (u User) as(role string) User {
	if role != "" {
		u.Role = &role
	}
	return u
}

// parseAddress accepts a bare address.
func parseAddress(s string) (mail.Address, error) { return mail.ParseBare("/email", s) }

// cleanName trims a user name and refuses one that nobody could read.
func cleanName(s string) (string, error) { return line.Clean("/username", s, 64) }

// checkLocale refuses a tag that is malformed or names what does not exist.
func checkLocale(tag string) error {
	if _, err := language.Parse(tag); err != nil {
		return fault.Invalidf("/locale", "there is no language tag of that form and name in BCP 47")
	}
	return nil
}

func checkTimeZone(name string) error {
	if _, err := time.LoadLocation(name); err != nil || name == "" || name == "Local" {
		return fault.Invalidf("/time_zone", "there is no time zone of that name in the IANA database")
	}
	return nil
}
