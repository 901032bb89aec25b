package organizations

import (
	"crypto/hmac"
	"crypto/rand"
	"encoding/base64"
	netmail "net/mail"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/seal"
)

// Invitation asks somebody by mail to join, with a role.
type Invitation struct {
	ID          id.ID      `db:"id" json:"id" ref:"invitation"`
	Email       string     `db:"email" json:"email" format:"email" maxLength:"254" example:"bob@example.com"`
	Role        string     `db:"role" json:"role" maxLength:"40" pattern:"^[a-z][a-z0-9_]*$" example:"member"`
	Status      string     `db:"status" json:"status" enum:"pending,accepted,revoked,expired"`
	InvitedByID id.ID      `db:"invited_by_id" json:"invited_by_id" ref:"user"`
	CreatedAt   time.Time  `db:"created_at" json:"created_at"`
	ExpiresAt   time.Time  `db:"expires_at" json:"expires_at" doc:"Seven days after it was last sent."`
	AcceptedAt  *time.Time `db:"accepted_at" json:"accepted_at"`
	RevokedAt   *time.Time `db:"revoked_at" json:"revoked_at"`
}

// Location implements api.Located.
func (i Invitation) Location() string { return "/v1/invitations/" + i.ID.String() }

// EventSubject implements event.Subjected.
func (i Invitation) EventSubject() event.Subject { return event.Subject{ID: i.ID} }

// The states of an invitation.
const (
	pending  = "pending"
	accepted = "accepted"
	revoked  = "revoked"
	expired  = "expired"
)

// tokens makes and reads the tokens that invitations are mailed with. A token
// is computed from the invitation's nonce and stored nowhere; a new nonce kills
// the tokens before it.
type tokens struct{ keys *seal.Keyring }

const (
	nonceSize = 16
	idSize    = len(id.ID{})
)

func newNonce() []byte {
	n := make([]byte, nonceSize)
	rand.Read(n) // never fails: the process ends instead
	return n
}

func (t tokens) mac(organization, invitation id.ID, nonce []byte) []byte {
	return t.keys.MAC("organizations/invitation", organization[:], invitation[:], nonce)
}

func (t tokens) make(organization, invitation id.ID, nonce []byte) string {
	raw := append(append(organization[:], invitation[:]...), t.mac(organization, invitation, nonce)...)
	return base64.RawURLEncoding.EncodeToString(raw)
}

// claim is what a token says; it is to be believed once proven.
type claim struct {
	organization, invitation id.ID
	mac                      []byte
}

func parseToken(text string) (c claim, ok bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) <= 2*idSize {
		return c, false
	}
	return claim{id.ID(raw[:idSize]), id.ID(raw[idSize : 2*idSize]), raw[2*idSize:]}, true
}

func (t tokens) proves(c claim, nonce []byte) bool {
	return hmac.Equal(c.mac, t.mac(c.organization, c.invitation, nonce))
}

// parseAddress accepts a bare e-mail address and returns it with the folded
// form in which addresses of people are compared.
func parseAddress(s string) (shown, key string, err error) {
	shown = norm.NFC.String(strings.TrimSpace(s))
	a, err := netmail.ParseAddress(shown)
	if err != nil || a.Name != "" || a.Address != shown || utf8.RuneCountInString(shown) > 254 || strings.ContainsFunc(shown, unicode.IsControl) {
		return "", "", fault.Invalidf("/email", "expected one e-mail address, such as name@example.com")
	}
	return shown, strings.ToLower(norm.NFKC.String(shown)), nil
}
