package customers

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/language"

	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/line"
)

// Customer is somebody who buys, as the shop sees them.
type Customer struct {
	ID               id.ID     `db:"id" json:"id" doc:"The customer's id."`
	Email            string    `db:"email" json:"email" maxLength:"254" doc:"The address to log in with and to write to; unique in the shop." example:"ann@example.com"`
	EmailVerified    bool      `db:"email_verified" json:"email_verified" doc:"Whether the customer proved to read mail at the address."`
	HasAccount       bool      `db:"has_account" json:"has_account" doc:"Whether there is a password to log in with."`
	Name             string    `db:"name" json:"name" maxLength:"200" doc:"The name; may be empty." example:"Ann Example"`
	Phone            string    `db:"phone" json:"phone" maxLength:"50" doc:"The telephone number; may be empty." example:"+49 30 1234567"`
	CustomerGroup    *string   `db:"customer_group" json:"customer_group" nullable:"true" maxLength:"50" pattern:"^[a-z0-9_]{1,50}$" doc:"The group whose prices the customer has; null for none." example:"wholesale"`
	AcceptsMarketing bool      `db:"accepts_marketing" json:"accepts_marketing" doc:"Whether the customer wants advertisements."`
	Locale           string    `db:"locale" json:"locale" maxLength:"35" pattern:"^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$" doc:"Language tag (BCP 47)." example:"en"`
	Note             string    `db:"note" json:"note" maxLength:"5000" doc:"What the shop notes; the customer does not see it." example:"Prefers the morning."`
	Tags             []string  `db:"tags" json:"tags" nullable:"false" maxItems:"50" maxLength:"50" doc:"Words of the shop; the customer does not see them."`
	Version          int64     `db:"version" json:"version" minimum:"1" maximum:"9007199254740991" doc:"Counts changes; also the ETag." example:"1"`
	CreatedAt        time.Time `db:"created_at" json:"created_at" doc:"When the customer came."`
	UpdatedAt        time.Time `db:"updated_at" json:"updated_at" doc:"When the customer was last changed."`
}

// RowVersion implements api.Versioned.
func (c Customer) RowVersion() int64 { return c.Version }

// Location implements api.Located.
func (c Customer) Location() string { return "/v1/customers/" + c.ID.String() }

// EventSubject implements event.Subjected.
func (c Customer) EventSubject() event.Subject { return event.Subject{ID: c.ID} }

// Profile is a customer as they see themselves.
type Profile struct {
	ID               id.ID     `json:"id" doc:"The customer's id."`
	Email            string    `json:"email" maxLength:"254" doc:"The address to log in with." example:"ann@example.com"`
	EmailVerified    bool      `json:"email_verified" doc:"Whether the address was confirmed."`
	Name             string    `json:"name" maxLength:"200" doc:"The name; may be empty." example:"Ann Example"`
	Phone            string    `json:"phone" maxLength:"50" doc:"The telephone number; may be empty." example:"+49 30 1234567"`
	AcceptsMarketing bool      `json:"accepts_marketing" doc:"Whether the customer wants advertisements."`
	Locale           string    `json:"locale" maxLength:"35" pattern:"^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$" doc:"Language tag (BCP 47)." example:"en"`
	Version          int64     `json:"version" minimum:"1" maximum:"9007199254740991" doc:"Counts changes; also the ETag." example:"1"`
	CreatedAt        time.Time `json:"created_at" doc:"When the customer came."`
}

// RowVersion implements api.Versioned.
func (p Profile) RowVersion() int64 { return p.Version }

func (c Customer) profile() Profile {
	return Profile{
		ID: c.ID, Email: c.Email, EmailVerified: c.EmailVerified, Name: c.Name, Phone: c.Phone,
		AcceptsMarketing: c.AcceptsMarketing, Locale: c.Locale, Version: c.Version, CreatedAt: c.CreatedAt,
	}
}

// SavedAddress is an entry of a customer's address book.
type SavedAddress struct {
	ID        id.ID            `db:"id" json:"id" doc:"The entry's id."`
	Address   commerce.Address `db:"address" json:"address" doc:"The address; it fits where a cart wants one."`
	IsDefault bool             `db:"is_default" json:"is_default" doc:"Whether it is the one to suggest; one of them may be."`
	Version   int64            `db:"version" json:"version" minimum:"1" maximum:"9007199254740991" doc:"Counts changes; also the ETag." example:"1"`
	CreatedAt time.Time        `db:"created_at" json:"created_at" doc:"When it was entered."`
	UpdatedAt time.Time        `db:"updated_at" json:"updated_at" doc:"When it was last changed."`
}

// RowVersion implements api.Versioned.
func (a SavedAddress) RowVersion() int64 { return a.Version }

// Location implements api.Located.
func (a SavedAddress) Location() string {
	return "/v1/storefront/customers/me/addresses/" + a.ID.String()
}

// maxAddresses is how many entries an address book has.
const maxAddresses = 50

// cleanName is line.Clean for a name that may be empty.
func cleanName(s string) (string, error) {
	if strings.TrimSpace(s) == "" {
		return "", nil
	}
	return line.Clean("/name", s, 200)
}

func cleanPhone(s string) (string, error) {
	if strings.TrimSpace(s) == "" {
		return "", nil
	}
	return line.Clean("/phone", s, 50)
}

// cleanTags trims tags and keeps each once, in the order given.
func cleanTags(tags []string) ([]string, error) {
	out := []string{}
	for i, t := range tags {
		t, err := line.Clean("/tags/"+strconv.Itoa(i), t, 50)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out, nil
}

// checkLocale refuses a tag that is malformed or names what does not exist.
func checkLocale(tag string) error {
	if _, err := language.Parse(tag); err != nil {
		return fault.Invalidf("/locale", "there is no language tag of that form and name in BCP 47")
	}
	return nil
}

// cleanAddress trims the lines of an address.
func cleanAddress(a commerce.Address) (commerce.Address, error) {
	for _, f := range []struct {
		pointer string
		text    *string
		needed  bool
		most    int
	}{
		{"name", &a.Name, true, 200}, {"line1", &a.Line1, true, 200}, {"line2", &a.Line2, false, 200}, {"city", &a.City, true, 200},
		{"state", &a.State, false, 100}, {"postal_code", &a.PostalCode, false, 20}, {"phone", &a.Phone, false, 50},
	} {
		if !f.needed && strings.TrimSpace(*f.text) == "" {
			*f.text = ""
			continue
		}
		clean, err := line.Clean("/address/"+f.pointer, *f.text, f.most)
		if err != nil {
			return a, err
		}
		*f.text = clean
	}
	return a, nil
}
