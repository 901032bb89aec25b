package organizations

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/mail"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
)

type mailArgs struct {
	InvitationID id.ID `json:"invitation_id"`
}

var (
	mailInvitation = jobs.Define[mailArgs]("organizations.mail-invitation")
	purge          = jobs.Define[struct{}]("organizations.purge")
)

// sendInvitation mails an invitation if it is still open.
func (f *Feature) sendInvitation(ctx context.Context, db *tenant.DB, s tenant.Scope, a mailArgs) error {
	type letter struct {
		Email        string    `db:"email"`
		Role         string    `db:"role"`
		Nonce        []byte    `db:"nonce"`
		ExpiresAt    time.Time `db:"expires_at"`
		Organization string    `db:"organization"`
		Inviter      string    `db:"inviter"`
	}
	l, err := tenant.One[letter](ctx, db.View(s), selectForMail, a.InvitationID)
	if errors.Is(err, tenant.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("organizations: read invitation %s: %w", a.InvitationID, err)
	}
	token := f.tokens.make(s.Organization, a.InvitationID, l.Nonce)
	// The token stands behind the #, which browsers send to no server.
	link := strings.TrimRight(f.PublicURL, "/") + "/invitations/accept#token=" + token
	err = f.Mail.Send(ctx, mail.Message{
		To:      l.Email,
		Subject: "Invitation to " + mail.Harmless(l.Organization),
		ID:      "invitation-" + s.RequestID, // the job's: a repeat of the job is the same mail
		Text: fmt.Sprintf("%s invites you to join the organisation %s with the role %s.\n\nAccept the invitation here:\n%s\n\n"+
			"It is for this address alone and ends on %s. If you did not expect it, ignore this mail.\n",
			quoted(l.Inviter), quoted(l.Organization), l.Role, link, l.ExpiresAt.UTC().Format("2 January 2006 at 15:04 UTC")),
	})
	if err != nil && !mail.Temporary(err) {
		return jobs.Cancel(err)
	}
	return err
}

// A batch of the purge is one transaction; a job does a number of them and
// then makes room for others.
const (
	purgeEvery   = time.Hour
	purgeBatch   = 5000
	purgeBatches = 50
)

// purgeDue starts a job for each organisation whose time in the bin is over.
func (f *Feature) purgeDue(ctx context.Context, db *tenant.DB) error {
	return db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) error {
		due, err := tenant.Values[id.ID](ctx, tx, selectToPurge)
		if err != nil {
			return fmt.Errorf("organizations: find what is due for the purge: %w", err)
		}
		return purge.EnqueueFor(ctx, f.Queue, tx, due, make([]struct{}, len(due)))
	})
}

// purgeOne deletes all that an organisation has. The database refuses to purge
// one that is not due.
func (f *Feature) purgeOne(ctx context.Context, db *tenant.DB, s tenant.Scope, _ struct{}) error {
	for range purgeBatches {
		done := false
		err := db.Write(ctx, s, func(tx *tenant.Tx) error {
			due, err := tenant.Value[bool](ctx, tx, selectIsDue)
			if err != nil || !due {
				done = true
				return err
			}
			if done, err = tenant.Value[bool](ctx, tx, purgeSome, purgeBatch); err != nil {
				return err
			}
			if done {
				f.Log.InfoContext(ctx, "purged an organisation", "organization_id", s.Organization.String())
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("organizations: purge %s: %w", s.Organization, err)
		}
		if done {
			return nil
		}
	}
	return db.Write(ctx, s, func(tx *tenant.Tx) error { return purge.Enqueue(ctx, f.Queue, tx, struct{}{}) })
}
