package organizations

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/mail"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Who invites writes to strangers, in words that are partly his own. So mails are
// counted, fewer are sent for somebody whose own address is not confirmed, and his
// words lead nowhere.

const (
	selectConfirmed = `select u.email_verified_at is not null from users u where u.id = $1`

	// One mail at a time is counted for a subject, so the count is exact.
	lockSubject = `select pg_advisory_xact_lock(hashtextextended('invitations of ' || $1::text, 7301))`

	selectSends = `select count(*) as sent, coalesce(extract(epoch from min(s.sent_at) + make_interval(secs => $2) - now()), 0)::float8 as seconds
		from invitation_sends s where s.subject = $1 and s.sent_at > now() - make_interval(secs => $2)`

	insertSend = `insert into invitation_sends (id, subject) values ($1, $2)`

	purgeSends = `delete from invitation_sends where id in (select s.id from invitation_sends s where s.sent_at < now() - interval '2 days' limit $1)`
)

// How many mails a subject gets, or causes, within a time. To an address they
// are as many as other mails with links.
const (
	sendsToAddress      = 5  // in an hour, from one organisation
	sendsToAnybody      = 20 // in an hour to an address, from all organisations
	sendsOfInviter      = 100
	sendsOfUnconfirmed  = 20 // for an inviter whose own address is not confirmed
	sendsOfOrganization = 300
	day                 = 24 * time.Hour
)

// send enqueues the mail with an invitation, unless there were too many. The
// organisation's row is locked.
func (f *Feature) send(ctx context.Context, tx *tenant.Tx, invitation id.ID, emailKey string) error {
	s := tx.Scope()
	inviter, ofInviter, words := s.User, int64(sendsOfInviter), "You have sent all the invitations that you may within a day."
	if inviter.IsZero() {
		inviter = s.Actor.ID
	} else if confirmed, err := tenant.Value[bool](ctx, tx, selectConfirmed, inviter); err != nil {
		return err
	} else if !confirmed {
		ofInviter, words = sendsOfUnconfirmed, "You have sent all the invitations that you may within a day before your own e-mail address is confirmed."
	}
	for _, c := range []struct {
		kind, name string
		most       int64
		within     time.Duration
		words      string
	}{
		// In one order for all, so that two of these do not wait for each other.
		{"organization", s.Organization.String(), sendsOfOrganization, day, "This organisation has sent all the invitations that it may within a day."},
		{"inviter", inviter.String(), ofInviter, day, words},
		{"address", s.Organization.String() + " " + emailKey, sendsToAddress, time.Hour, "This address has got all the invitations that you may send it within an hour."},
		// What others send is nobody's business: the invitation stands, without a mail.
		{"anybody", emailKey, sendsToAnybody, time.Hour, ""},
	} {
		subject := hex.EncodeToString(f.Keys.MAC("organizations/sends", []byte(c.kind), []byte(c.name)))
		if _, err := tenant.Exec(ctx, tx, lockSubject, subject); err != nil {
			return err
		}
		type sends struct {
			Sent    int64   `db:"sent"`
			Seconds float64 `db:"seconds"`
		}
		before, err := tenant.One[sends](ctx, tx, selectSends, subject, c.within.Seconds())
		if err != nil {
			return err
		}
		if before.Sent >= c.most && c.words == "" {
			return nil
		}
		if before.Sent >= c.most {
			busy := fault.New(fault.RateLimited, "rate_limited", "%s Wait as long as Retry-After says.", c.words)
			busy.RetryAfter = max(time.Second, time.Duration(before.Seconds*float64(time.Second)))
			return busy
		}
		if _, err := tenant.Exec(ctx, tx, insertSend, id.New(), subject); err != nil {
			return err
		}
	}
	return mailInvitation.Enqueue(ctx, f.Queue, tx, mailArgs{invitation})
}

// purgeOldSends forgets mails that count no more.
func (f *Feature) purgeOldSends(ctx context.Context, db *tenant.DB) error {
	for n := int64(purgeBatch); n == purgeBatch; {
		err := db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) (err error) {
			n, err = tenant.Exec(ctx, tx, purgeSends, purgeBatch)
			return err
		})
		if err != nil {
			return fmt.Errorf("organizations: purge the counts of invitations: %w", err)
		}
	}
	return nil
}

// quoted is a name between quotation marks, of which it has none itself.
func quoted(name string) string { return "“" + mail.Harmless(name) + "”" }
