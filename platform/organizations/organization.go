package organizations

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/currency"
	"golang.org/x/text/unicode/norm"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Organization is a tenant.
type Organization struct {
	ID              id.ID      `db:"id" json:"id" ref:"organization"`
	Slug            string     `db:"slug" json:"slug" maxLength:"63" pattern:"^[a-z0-9](-?[a-z0-9])*$" doc:"Its name in addresses and in the header Guildhall-Organization; unique on the instance." example:"acme"`
	Name            string     `db:"name" json:"name" maxLength:"200" example:"Acme"`
	DefaultCurrency string     `db:"default_currency" json:"default_currency" maxLength:"3" pattern:"^[A-Z]{3}$" doc:"ISO 4217 code." example:"EUR"`
	Version         int64      `db:"version" json:"version" minimum:"1" maximum:"9007199254740991" example:"1"`
	CreatedAt       time.Time  `db:"created_at" json:"created_at"`
	DeletedAt       *time.Time `db:"deleted_at" json:"deleted_at" doc:"When it was put into the bin; it can be restored for 30 days. Null while it is live."`
}

// RowVersion implements api.Versioned.
func (o Organization) RowVersion() int64 { return o.Version }

// Location implements api.Located.
func (o Organization) Location() string { return "/v1/organization" }

// EventSubject implements event.Subjected.
func (o Organization) EventSubject() event.Subject { return event.Subject{ID: o.ID} }

// OwnOrganization is an organisation as one of its members sees it.
type OwnOrganization struct {
	Organization
	Role string `db:"role" json:"role" maxLength:"40" pattern:"^[a-z][a-z0-9_]*$" doc:"What you are there: the key of a role." example:"owner"`
}

// maxOrganizations is how many organisations, those in the bin included, a
// person belongs to at most: all of them are looked through to choose one.
const maxOrganizations = 200

// roomFor refuses a person who would belong to more organisations than one may.
func roomFor(ctx context.Context, tx tenant.Querier, person id.ID, more int) error {
	if _, err := tenant.Exec(ctx, tx, lockPerson, person); err != nil {
		return err
	}
	n, err := tenant.Value[int](ctx, tx, countAll, person)
	if err == nil && n+more > maxOrganizations {
		err = fault.Conflictf("organization_limit", "A person belongs to %d organisations at most. One in the bin counts until it is gone for good, 31 days after it was deleted. Leave one that is not in the bin first.", maxOrganizations)
	}
	return err
}

// maxSlug leaves room for the suffix of a slug that is taken.
const maxSlug = 50

// slugOf makes a slug of a name: "Müller & Söhne" is muller-sohne.
func slugOf(name string) string {
	plain := strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return unicode.ToLower(r)
	}, norm.NFKD.String(name))
	words := strings.FieldsFunc(plain, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	slug := strings.Join(words, "-")
	if len(slug) > maxSlug {
		slug = strings.TrimRight(slug[:maxSlug], "-")
	}
	if len(slug) < 2 || looksLikeID(slug) {
		return "org"
	}
	return slug
}

// suffix tells slugs of equal names apart.
func suffix() string {
	raw := make([]byte, 5)
	rand.Read(raw) // never fails: the process ends instead
	return "-" + strings.ToLower(base32.StdEncoding.EncodeToString(raw))
}

func looksLikeID(slug string) bool {
	_, err := id.Parse(slug)
	return err == nil
}

// checkSlug refuses a slug that the header would take for an id.
func checkSlug(slug string) error {
	if looksLikeID(slug) {
		return fault.Invalidf("/slug", "a slug must not look like an id")
	}
	return nil
}

// checkCurrency refuses a code that ISO 4217 does not list; codes that it once
// listed are accepted, since old books have them.
func checkCurrency(code string) error {
	if _, err := currency.ParseISO(code); err != nil {
		return fault.Invalidf("/default_currency", "there is no currency of that code in ISO 4217")
	}
	return nil
}
