package customers

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/mail"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
)

// purpose is why a mail is sent.
type purpose string

const (
	confirmMail  purpose = "confirm"
	resetMail    purpose = "reset"
	knownMail    purpose = "known"    // somebody registered with an address that has an account
	passwordMail purpose = "password" // it was changed
)

// letter is what a mail says. Nothing in it comes from who caused it, but for an
// address that the key allows: else a registration would be a way to send words
// of one's own to strangers.
type letter struct {
	life    time.Duration // of the token, or until the mail is pointless
	subject string        // %s is the shop
	line    string        // %s is the shop
	button  string
	token   bool
	after   string
}

var letters = map[purpose]letter{
	confirmMail: {
		life: 72 * time.Hour, subject: "Confirm your e-mail address for %s", button: "Confirm the address", token: true,
		line:  "This address was given for a customer account at %s. Confirm that it is yours; this works once, within three days.",
		after: "If it was not you, do nothing: the address stays unconfirmed.",
	},
	resetMail: {
		life: time.Hour, subject: "Choose a new password for %s", button: "Choose a new password", token: true,
		line:  "Somebody asked for a new password for your customer account at %s. This works once, within one hour. Every device is logged out then.",
		after: "If it was not you, do nothing: your password stays as it is.",
	},
	knownMail: {
		life: 24 * time.Hour, subject: "You already have an account at %s", button: "Go to the shop",
		line:  "Somebody wanted to register at %s with this address, which is known there already. If it was you, log in; if you have no password or do not remember it, ask for a new one there.",
		after: "If it was not you, there is nothing to do: nothing has changed.",
	},
	passwordMail: {
		life: 72 * time.Hour, subject: "Your password for %s was changed", button: "Go to the shop",
		line:  "The password of your customer account at %s was changed just now, and every device was logged out.",
		after: "If it was not you, ask for a new password in the shop at once.",
	},
}

// message is a row of customer_mails: a mail to send and, for some purposes, the
// token in it, which is base64url of id (16 bytes) and MAC (32) and is made when
// the mail is.
type message struct {
	ID       id.ID   `db:"id"`
	Customer id.ID   `db:"customer_id"`
	Purpose  purpose `db:"purpose"`
	Email    string  `db:"email"`
	Nonce    []byte  `db:"nonce"`
	Redirect string  `db:"redirect_url"`
}

func (f *Feature) mailMAC(organization id.ID, m message) []byte {
	return f.keys.MAC("customer mail", organization[:], m.ID[:], []byte(m.Purpose), m.Nonce)
}

func tokenRefused() error {
	return fault.New(fault.Invalid, "token_invalid", "This token was used already, is too old or was cut off. Ask for a new one.")
}

// readMail finds the row that a token names and believes it only if the MAC is
// right and the purpose fits.
func (f *Feature) readMail(ctx context.Context, q tenant.Querier, sql string, organization id.ID, token string, want purpose) (message, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(strings.TrimSpace(token))
	if err != nil || len(b) != 16+32 {
		return message{}, tokenRefused()
	}
	m, err := tenant.One[message](ctx, q, sql, organization, id.ID(b[:16]))
	switch {
	case errors.Is(err, tenant.ErrNoRows):
		return m, tokenRefused()
	case err != nil:
		return m, err
	case m.Purpose != want || !hmac.Equal(b[16:], f.mailMAC(organization, m)):
		return m, tokenRefused() // which rolls back, so the token is not used up
	}
	return m, nil
}

type mailArgs struct {
	Mail id.ID `json:"customer_mail_id"`
}

var sendMail = jobs.Define[mailArgs]("customers.mail")

// mailTo queues a mail to the customer with the address, if there is one.
func (f *Feature) mailTo(ctx context.Context, tx *tenant.Tx, emailKey string, p purpose, redirect string) error {
	org, row := tx.Scope().Organization, id.New()
	if _, err := tenant.Exec(ctx, tx, lockRecipient, org, emailKey); err != nil {
		return err
	}
	if _, err := tenant.Exec(ctx, tx, insertMail, org, row, emailKey, string(p), newNonce(), redirect, letters[p].life.Seconds()); err != nil {
		return fmt.Errorf("customers: queue a mail: %w", err)
	}
	if _, err := tenant.Exec(ctx, tx, purgeMails, org); err != nil {
		return err
	}
	return sendMail.Enqueue(ctx, f.queue, tx, mailArgs{Mail: row})
}

func newNonce() []byte {
	b := make([]byte, 16)
	rand.Read(b)
	return b
}

// deliver sends the mail of a row, if there is one that still matters.
func (f *Feature) deliver(ctx context.Context, db *tenant.DB, s tenant.Scope, a mailArgs) error {
	m, err := tenant.One[message](ctx, db.View(s), selectMail, s.Organization, a.Mail)
	if errors.Is(err, tenant.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	shop, err := tenant.Value[string](ctx, db.View(s), selectShop, s.Organization)
	if err != nil {
		return err
	}
	out, err := f.compose(s.Organization, m, shop)
	if err != nil {
		return jobs.Cancel(err)
	}
	if err := f.mail.Send(ctx, out); err != nil {
		if !mail.Temporary(err) {
			return jobs.Cancel(err)
		}
		return err
	}
	return nil
}

// compose writes the mail. Where the shop said no page of its own, the token
// stands in the mail, to be copied. In a link it stands behind #, so that it
// reaches no server's log and no Referer.
func (f *Feature) compose(organization id.ID, m message, shop string) (mail.Message, error) {
	let, ok := letters[m.Purpose]
	if !ok {
		return mail.Message{}, fmt.Errorf("customers: no letter for %q", m.Purpose)
	}
	if shop = mail.Harmless(shop); shop == "" {
		shop = "the shop"
	}
	l := mail.Letter{
		Subject: fmt.Sprintf(let.subject, shop), Lines: []string{fmt.Sprintf(let.line, shop)}, Button: let.button, URL: m.Redirect, After: let.after, Sender: shop,
	}
	if let.token {
		token := base64.RawURLEncoding.EncodeToString(append(m.ID[:], f.mailMAC(organization, m)...))
		if m.Redirect != "" {
			l.URL += "#token=" + token
		} else {
			l.Button, l.Code = let.button+" with this code in the shop", token
		}
	}
	return f.letters.Write(l, m.Email, m.ID.String())
}

// checkRedirect refuses an address that is not on an origin of the key: the mail
// would lead strangers away from the shop.
func checkRedirect(ctx context.Context, text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err == nil && u.User == nil && u.Opaque == "" && !strings.Contains(text, "#") && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }) {
		if origin, ok := originOf(u); ok && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "" && api.CallerOf(ctx).AllowsOrigin(origin) {
			return nil
		}
	}
	return fault.Invalidf("/redirect_url", "expected an address on one of the publishable key's allowed_origins, without a fragment")
}
