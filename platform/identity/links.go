package identity

import (
	"context"
	"crypto/hmac"
	"encoding/base64"
	"errors"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/seal"
	"github.com/guildhall-dev/guildhall/tenant"
)

// link is a row of mail_tokens: a mail to send, and for some purposes the
// token in it, which is base64url of id (16 bytes) and MAC (32) and is made
// when the mail is.
type link struct {
	ID        id.ID     `db:"id"`
	User      id.ID     `db:"user_id"`
	Purpose   purpose   `db:"purpose"`
	Email     string    `db:"email"`
	Nonce     []byte    `db:"nonce"`
	CreatedAt time.Time `db:"created_at"`
}

func (l link) mac(keys *seal.Keyring) []byte {
	return keys.MAC("mailed link", l.ID[:], []byte(l.Purpose), l.Nonce)
}

func (l link) token(keys *seal.Keyring) string {
	return base64.RawURLEncoding.EncodeToString(append(l.ID[:], l.mac(keys)...))
}

func linkRefused() error {
	return fault.New(fault.Invalid, "token_invalid", "This link was used already, is too old or was cut off. Ask for a new one.")
}

// readLink finds the row that a token names and believes it only if the MAC is
// right and the purpose fits.
func (f *Feature) readLink(ctx context.Context, q tenant.Querier, sql, token string, want purpose) (link, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) != 16+32 {
		return link{}, linkRefused()
	}
	l, err := tenant.One[link](ctx, q, sql, id.ID(b[:16]))
	switch {
	case errors.Is(err, tenant.ErrNoRows):
		return l, linkRefused()
	case err != nil:
		return l, err
	case l.Purpose != want || !hmac.Equal(b[16:], l.mac(f.keys)):
		return l, linkRefused() // which rolls back, so the link is not used up
	}
	return l, nil
}

type confirmEmailInput struct {
	Body struct {
		Token string `json:"token" minLength:"1" maxLength:"200" pattern:"^[\\x21-\\x7e]+$" doc:"The token of the mailed link: what follows #token=." example:"AZjB8nseezqdUj9LimocBwAAAAAAAAAB"`
	}
}

func (f *Feature) confirmEmail(ctx context.Context, tx *tenant.GlobalTx, in *confirmEmailInput) (Message, error) {
	l, err := f.readLink(ctx, tx, useMailToken, in.Body.Token, confirmMail)
	if err != nil {
		return Message{}, err
	}
	addr, err := parseAddress(l.Email)
	if err != nil {
		return Message{}, err
	}
	old, err := tenant.One[person](ctx, tx, lockPerson, l.User)
	if err != nil {
		return Message{}, err
	}
	switch _, err := tenant.Value[id.ID](ctx, tx, confirmAddress, l.User, addr.Shown, addr.Key); {
	case errors.Is(err, tenant.ErrNoRows): // another change came after this one
		return Message{}, linkRefused()
	case err != nil: // email_taken, if somebody registered it meanwhile
		return Message{}, err
	}
	if old.Email != addr.Shown {
		if err := f.addressChanged(ctx, tx, old); err != nil {
			return Message{}, err
		}
	}
	return Message{"The address is confirmed."}, nil
}

// person is what a link needs to know of its owner.
type person struct {
	ID       id.ID   `db:"id"`
	Email    string  `db:"email"`
	Verified bool    `db:"email_verified"`
	Pending  *string `db:"pending_email"`
}

func (f *Feature) addressChanged(ctx context.Context, tx *tenant.GlobalTx, old person) error {
	if _, err := tenant.Exec(ctx, tx, voidMailTokens, old.ID); err != nil {
		return err
	}
	if _, err := f.note(ctx, tx, factEmailChanged, old.ID, ""); err != nil {
		return err
	}
	return f.mailTo(ctx, tx, old.ID, addressMail, old.Email)
}

func (f *Feature) resendConfirmation(ctx context.Context, tx *tenant.GlobalTx, _ *struct{}) (Message, error) {
	c := api.CallerOf(ctx)
	who, err := tenant.One[person](ctx, tx, lockPerson, c.User)
	if err != nil {
		return Message{}, orUnauthenticated(err)
	}
	if err := alive(ctx, tx, selectAlive); err != nil { // after the wait for a reset, if there was one
		return Message{}, err
	}
	switch {
	case who.Pending != nil:
		err = f.mailTo(ctx, tx, who.ID, confirmMail, *who.Pending)
	case !who.Verified:
		err = f.mailTo(ctx, tx, who.ID, confirmMail, who.Email)
	default:
		return Message{"The address is confirmed already."}, nil
	}
	return Message{"We have sent a mail to the address."}, err
}

type askResetInput struct {
	Body struct {
		Email string `json:"email" format:"email" maxLength:"254" doc:"The address of the account." example:"ann@example.com"`
	}
}

// evenAnswer is longer than the work of askReset takes.
const evenAnswer = 150 * time.Millisecond

// askReset runs the same statements for a known and an unknown address; for
// the latter the insert finds nobody and the job no mail. What is left of a
// difference, one row, the even time of the answer hides: unlike the other
// answers, this one has no hash in it that would.
func (f *Feature) askReset(ctx context.Context, in *askResetInput) (Message, error) {
	even := time.NewTimer(evenAnswer)
	defer even.Stop()
	addr, err := parseAddress(in.Body.Email)
	if err != nil {
		return Message{}, err
	}
	err = f.db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) error { return f.mailByKey(ctx, tx, addr.Key, resetMail) })
	if err != nil {
		return Message{}, err
	}
	select {
	case <-even.C:
	case <-ctx.Done():
		return Message{}, ctx.Err()
	}
	return Message{"If there is an account for that address, we have sent a mail to it."}, nil
}

type resetInput struct {
	Body struct {
		Token    string `json:"token" minLength:"1" maxLength:"200" pattern:"^[\\x21-\\x7e]+$" doc:"The token of the mailed link: what follows #token=." example:"AZjB8nseezqdUj9LimocBwAAAAAAAAAB"`
		Password string `json:"password" minLength:"8" maxLength:"128" format:"password" doc:"8 to 128 characters; 15 or more are advised." example:"another long sentence to remember"`
	}
}

// reset sets a new password. Who reads the mailbox owns the account, so the
// address is confirmed by it, every session ends and the door opens again.
func (f *Feature) reset(ctx context.Context, in *resetInput) (Message, error) {
	// Only who holds a good link gets a password hashed.
	if _, err := f.readLink(ctx, f.db.Global(), selectMailToken, in.Body.Token, resetMail); err != nil {
		return Message{}, err
	}
	hash, err := f.hasher.Hash(ctx, in.Body.Password)
	if err != nil {
		return Message{}, err
	}
	err = f.db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) error {
		l, err := f.readLink(ctx, tx, useMailToken, in.Body.Token, resetMail)
		if err != nil {
			return err
		}
		if _, err := tenant.Value[id.ID](ctx, tx, resetPassword, l.User, hash); err != nil {
			return err
		}
		addr, err := parseAddress(l.Email)
		if err != nil {
			return err
		}
		if err := f.throttlesOf(addr.Key, api.SourceAddress(ctx)).forget(ctx, tx); err != nil {
			return err
		}
		return f.afterPassword(ctx, tx, l.User, id.Nil, factPasswordReset)
	})
	if err != nil {
		return Message{}, err
	}
	return Message{"The password is changed. Log in with the new one."}, nil
}
