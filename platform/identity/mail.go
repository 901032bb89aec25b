package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

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
	addressMail  purpose = "address"  // it was changed; goes to the old one
)

// letter is what a mail says. Nothing in it comes from who caused it: else a
// registration would be a way to send words of one's own to strangers.
type letter struct {
	life    time.Duration // of the link, or until the mail is pointless
	subject string
	lines   []string
	path    string // of the page behind the button
	button  string
	token   bool // whether the link carries one
	after   string
}

func letters() map[purpose]letter {
	return map[purpose]letter{
		confirmMail: {
			life: 72 * time.Hour, subject: "Confirm your e-mail address", path: "/confirm-email", button: "Confirm the address", token: true,
			lines: []string{"This address was given for an account at Guildhall. Confirm that it is yours; the link works once, within three days."},
			after: "If it was not you, do nothing: the address stays unconfirmed.",
		},
		resetMail: {
			life: time.Hour, subject: "Choose a new password", path: "/reset-password", button: "Choose a new password", token: true,
			lines: []string{"Somebody asked for a new password for your account. The link works once, within one hour. Every device is logged out then."},
			after: "If it was not you, do nothing: your password stays as it is.",
		},
		knownMail: {
			life: 24 * time.Hour, subject: "You already have an account", path: "/login", button: "Log in",
			lines: []string{"Somebody wanted to register with this address, which already has an account.",
				"If it was you, log in; if you do not remember the password, ask for a new one there."},
			after: "If it was not you, there is nothing to do: nothing has changed.",
		},
		passwordMail: {
			life: 72 * time.Hour, subject: "Your password was changed", path: "/forgot-password", button: "It was not me",
			lines: []string{"The password of your account was changed just now, and every other device was logged out."},
			after: "If it was you, there is nothing to do.",
		},
		addressMail: {
			life: 72 * time.Hour, subject: "Your e-mail address was changed", path: "/login", button: "Go to your account",
			lines: []string{"Your account now has another e-mail address. Mail no longer goes to this one."},
			after: "If it was not you, tell whoever runs this installation at once.",
		},
	}
}

// post turns rows of mail_tokens into mails.
type post struct {
	letters map[purpose]letter
	writer  *mail.Letters
}

func newPost() (*post, error) {
	w, err := mail.NewLetters()
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	return &post{letters: letters(), writer: w}, nil
}

// compose writes the mail. The token stands behind #, so that it reaches no
// server's log and no Referer.
func (p *post) compose(l link, publicURL, token string) (mail.Message, error) {
	let, ok := p.letters[l.Purpose]
	if !ok {
		return mail.Message{}, fmt.Errorf("identity: no letter for %q", l.Purpose)
	}
	url := publicURL + let.path
	if let.token {
		url += "#token=" + token
	}
	return p.writer.Write(mail.Letter{
		Subject: let.subject, Lines: let.lines, Button: let.button, URL: url, After: let.after, Sender: "Guildhall",
	}, l.Email, l.ID.String())
}

type mailArgs struct {
	Link id.ID `json:"mail_token_id"`
}

var sendMail = jobs.Define[mailArgs]("identity.mail")

// mailByKey queues a mail to whoever has the address, if anybody has.
func (f *Feature) mailByKey(ctx context.Context, tx *tenant.GlobalTx, emailKey string, p purpose) error {
	return f.queueMail(ctx, tx, insertMailTokenByKey, emailKey, p, nil)
}

// mailTo queues a mail to a person, to the given address or to their own.
func (f *Feature) mailTo(ctx context.Context, tx *tenant.GlobalTx, user id.ID, p purpose, to string) error {
	var email *string
	if to != "" {
		email = &to
	}
	return f.queueMail(ctx, tx, insertMailTokenFor, user, p, email)
}

func (f *Feature) queueMail(ctx context.Context, tx *tenant.GlobalTx, sql string, who any, p purpose, email *string) error {
	link := id.New()
	if _, err := tenant.Exec(ctx, tx, sql, link, who, string(p), email, newNonce(), f.post.letters[p].life.Seconds()); err != nil {
		return fmt.Errorf("identity: queue a mail: %w", err)
	}
	return sendMail.EnqueueGlobal(ctx, f.queue, tx, mailArgs{Link: link})
}

// deliver sends the mail of a row, if there is one that still matters. The
// Message-ID is the row's, so that a repeat can be told by who receives it.
func (f *Feature) deliver(ctx context.Context, db *tenant.DB, _ tenant.Scope, a mailArgs) error {
	l, err := tenant.One[link](ctx, db.Global(), selectMailToken, a.Link)
	if errors.Is(err, tenant.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	token := ""
	if f.post.letters[l.Purpose].token {
		token = l.token(f.keys)
	}
	m, err := f.post.compose(l, f.publicURL, token)
	if err != nil {
		return jobs.Cancel(err)
	}
	if err := f.mail.Send(ctx, m); err != nil {
		if !mail.Temporary(err) {
			return jobs.Cancel(err)
		}
		return err
	}
	return nil
}
