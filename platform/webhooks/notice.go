package webhooks

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/mail"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	// Those who may do something about it.
	selectTold = `select m.user_id from members m where m.tenant_id = $1 and m.role in ('owner', 'admin') order by m.user_id`

	// Nothing, if it is enabled again by now, or the person has left.
	selectNotice = `select u.email, o.name as organization, e.url, e.description, e.disabled_reason as reason, e.catch_up_since
		from webhook_endpoints e
		join organizations o on o.tenant_id = e.tenant_id and o.deleted_at is null
		join members m on m.tenant_id = e.tenant_id and m.user_id = $3 and m.role in ('owner', 'admin')
		join users u on u.id = m.user_id
		where e.tenant_id = $1 and e.id = $2 and e.deleted_at is null and not e.enabled and e.disabled_reason in ('gone', 'failing')`
)

type endpointArgs struct {
	EndpointID id.ID `json:"webhook_endpoint_id"`
}

type noticeArgs struct {
	EndpointID id.ID `json:"webhook_endpoint_id"`
	UserID     id.ID `json:"user_id"`
}

var (
	tellDisabled = jobs.Define[endpointArgs]("webhooks.tell-disabled")
	mailDisabled = jobs.Define[noticeArgs]("webhooks.mail-disabled")
	empty        = jobs.Define[endpointArgs]("webhooks.empty-queue")
)

func (f *Feature) endpointJobs() []jobs.Definition {
	return []jobs.Definition{
		jobs.Work(tellDisabled, f.tellAll),
		jobs.Work(mailDisabled, f.tellOne),
		jobs.Work(empty, f.emptyQueue),
		jobs.Clock("webhooks.purge-endpoints", time.Hour, purgeDeleted),
	}
}

// disable stops an endpoint that answered 410 (gone) or failed for days
// (failing), unless it is disabled already. What is queued stays.
func (f *Feature) disable(ctx context.Context, tx *tenant.Tx, endpoint id.ID, reason string) error {
	e, err := tenant.One[Endpoint](ctx, tx, disableEndpoint, tx.Scope().Organization, endpoint, reason)
	if errors.Is(err, tenant.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("webhooks.disable(%s): %w", endpoint, err)
	}
	if err := tellDisabled.Enqueue(ctx, f.Queue, tx, endpointArgs{e.ID}); err != nil {
		return err
	}
	return EndpointDisabled.Emit(ctx, tx, e.told())
}

// tellAll makes a job of each mail, so that one that fails is repeated alone.
func (f *Feature) tellAll(ctx context.Context, db *tenant.DB, s tenant.Scope, a endpointArgs) error {
	return db.Write(ctx, s, func(tx *tenant.Tx) error {
		people, err := tenant.Values[id.ID](ctx, tx, selectTold, s.Organization)
		if err != nil {
			return fmt.Errorf("webhooks: find who is told of endpoint %s: %w", a.EndpointID, err)
		}
		for _, p := range people {
			if err := mailDisabled.Enqueue(ctx, f.Queue, tx, noticeArgs{a.EndpointID, p}); err != nil {
				return err
			}
		}
		return nil
	})
}

// notice is what a mail about a disabled endpoint says.
type notice struct {
	Email        string    `db:"email"`
	Organization string    `db:"organization"`
	URL          string    `db:"url"`
	Description  string    `db:"description"`
	Reason       string    `db:"reason"`
	CatchUpSince time.Time `db:"catch_up_since"`
}

func (f *Feature) tellOne(ctx context.Context, db *tenant.DB, s tenant.Scope, a noticeArgs) error {
	n, err := tenant.One[notice](ctx, db.View(s), selectNotice, s.Organization, a.EndpointID, a.UserID)
	if errors.Is(err, tenant.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("webhooks: read the notice about endpoint %s: %w", a.EndpointID, err)
	}
	m := n.letter(strings.TrimRight(f.PublicURL, "/") + "/v1/webhook-endpoints/" + a.EndpointID.String())
	m.ID = "webhook-" + s.RequestID // the job's: a repeat of the job is the same mail
	if err := f.Mail.Send(ctx, m); err != nil {
		if !mail.Temporary(err) {
			return jobs.Cancel(err)
		}
		return err
	}
	return nil
}

// letter names the receiver by its host alone: path and query of a webhook's
// address are often a secret.
func (n notice) letter(endpoint string) mail.Message {
	host := "its address"
	if u, err := url.Parse(n.URL); err == nil && u.Host != "" {
		host = u.Host
	}
	if n.Description != "" {
		host += " (" + n.Description + ")"
	}
	why := "it failed at every attempt of the last five days"
	if n.Reason == "gone" {
		why = "it answered 410 Gone, which says that it wants no more"
	}
	return mail.Message{
		To:      n.Email,
		Subject: "A webhook of " + n.Organization + " was disabled",
		Headers: map[string]string{"Auto-Submitted": "auto-generated"},
		Text: fmt.Sprintf("The organisation %s no longer sends its events to the webhook at %s: %s.\n\n"+
			"Nothing is lost. What happens from %s on is held back until you want it.\n"+
			"When the receiver works again, set enabled to true at\n%s\nand replay the paused deliveries since then.\n",
			n.Organization, host, why, n.CatchUpSince.UTC().Format("2 January 2006 at 15:04 UTC"), endpoint),
	}
}

// A batch is one transaction.
const emptyBatch = 5000

// emptyQueue takes what was still due at a deleted endpoint out of the queue.
func (f *Feature) emptyQueue(ctx context.Context, db *tenant.DB, s tenant.Scope, a endpointArgs) error {
	for n := int64(emptyBatch); n == emptyBatch; {
		err := db.Write(ctx, s, func(tx *tenant.Tx) (err error) {
			n, err = tenant.Exec(ctx, tx, dropQueue, s.Organization, a.EndpointID, emptyBatch)
			return err
		})
		if err != nil {
			return fmt.Errorf("webhooks: empty the queue of endpoint %s: %w", a.EndpointID, err)
		}
	}
	return nil
}

const purgeBatch = 100

// purgeDeleted takes away endpoints that were deleted long enough ago.
func purgeDeleted(ctx context.Context, db *tenant.DB) error {
	for n := int64(purgeBatch); n == purgeBatch; {
		err := db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) (err error) {
			n, err = tenant.Value[int64](ctx, tx, purgeEndpoints, purgeBatch)
			return err
		})
		if err != nil {
			return fmt.Errorf("webhooks: purge deleted endpoints: %w", err)
		}
	}
	return nil
}
