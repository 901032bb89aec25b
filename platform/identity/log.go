package identity

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
)

// The facts of the identity log.
const (
	factLogin           = "session.created"
	factDenied          = "session.denied"
	factReused          = "session.reused"
	factLogout          = "session.revoked"
	factRegistered      = "user.registered"
	factPasswordChanged = "user.password_changed"
	factPasswordReset   = "user.password_reset"
	factEmailChanged    = "user.email_changed"
)

// note writes a fact about a person, or about an address without one, and
// returns the row that counts it.
func (f *Feature) note(ctx context.Context, tx *tenant.GlobalTx, fact string, user id.ID, emailKey string) (id.ID, error) {
	var who *id.ID
	subject := user.String()
	if !user.IsZero() {
		who = &user
	} else {
		subject = hex.EncodeToString(f.keys.MAC("identity log", []byte(emailKey)))
	}
	row, err := tenant.Value[id.ID](ctx, tx, noteFact, id.New(), fact, who, subject, api.SourceAddress(ctx), api.RequestID(ctx))
	if err != nil {
		return id.Nil, fmt.Errorf("identity: note %s: %w", fact, err)
	}
	return row, nil
}

type deniedArgs struct {
	Log id.ID `json:"log_id"`
}

var denied = jobs.Define[deniedArgs]("identity.denied")

// noteDenied notes a failed log-in. That a job carries it into the audit logs
// of the person's organisations, rather than this call, keeps the time of the
// answer from telling how many there are; for an unknown address the job finds
// nobody.
func (f *Feature) noteDenied(ctx context.Context, user id.ID, emailKey string) error {
	ctx = context.WithoutCancel(ctx) // who hangs up after a guess has guessed all the same
	return f.db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) error {
		row, err := f.note(ctx, tx, factDenied, user, emailKey)
		if err != nil {
			return err
		}
		return denied.EnqueueGlobal(ctx, f.queue, tx, deniedArgs{Log: row})
	})
}

type factRow struct {
	User          *id.ID `db:"user_id"`
	SourceAddress string `db:"source_address"`
	RequestID     string `db:"request_id"`
}

// recordDenied shows a failed log-in to the organisations of the person.
func recordDenied(ctx context.Context, db *tenant.DB, _ tenant.Scope, a deniedArgs) error {
	fact, err := tenant.One[factRow](ctx, db.Global(), selectFact, a.Log)
	if errors.Is(err, tenant.ErrNoRows) || err == nil && fact.User == nil {
		return nil
	}
	if err != nil {
		return err
	}
	orgs, err := tenant.Values[id.ID](ctx, db.Global(), selectOrganizations, *fact.User)
	if err != nil {
		return err
	}
	for _, org := range orgs {
		s := tenant.ForSystem(org)
		s.Operation, s.RequestID, s.SourceAddress = "login", fact.RequestID, fact.SourceAddress
		err := event.Record(ctx, db, s, event.Fact{
			Type: factDenied, Subject: *fact.User, Data: map[string]any{"user_id": *fact.User, "reason": "invalid_credentials"},
		})
		if err != nil {
			return err
		}
	}
	return nil
}
