package identity

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// TokenPair is what a log-in and a refresh answer with.
type TokenPair struct {
	AccessToken  string `json:"access_token" maxLength:"4096" pattern:"^[A-Za-z0-9_.-]+$" doc:"Send it as Authorization: Bearer." example:"eyJhbGciOiJFZERTQSJ9.e30.c2ln"`
	TokenType    string `json:"token_type" enum:"bearer" doc:"Always bearer." example:"bearer"`
	ExpiresIn    int    `json:"expires_in" minimum:"0" maximum:"900" doc:"Seconds until the access token expires." example:"900"`
	RefreshToken string `json:"refresh_token" maxLength:"200" pattern:"^ghr_[A-Za-z0-9_-]+$" doc:"Exchanges once for the next pair. Keep it as safe as a password." example:"ghr_AZjB8nseezqdUj9LimocBwAAAAAAAAAB"`
}

// Message is an answer in words.
type Message struct {
	Message string `json:"message" maxLength:"500" doc:"What happened, for people." example:"Look into your mailbox."`
}

type registerInput struct {
	Body struct {
		Username string `json:"username" minLength:"1" maxLength:"64" doc:"What others see. Not unique." example:"Ann"`
		Email    string `json:"email" format:"email" maxLength:"254" doc:"A link to confirm it is mailed there." example:"ann@example.com"`
		Password string `json:"password" minLength:"8" maxLength:"128" format:"password" doc:"8 to 128 characters; 15 or more are advised." example:"correct horse battery staple"`
	}
}

// register does the same work and gives the same answer whether the address is
// known or not. Only its owner learns which it was.
func (f *Feature) register(ctx context.Context, in *registerInput) (Message, error) {
	name, err := cleanName(in.Body.Username)
	if err != nil {
		return Message{}, err
	}
	addr, err := parseAddress(in.Body.Email)
	if err != nil {
		return Message{}, err
	}
	hash, err := f.hasher.Hash(ctx, in.Body.Password)
	if err != nil {
		return Message{}, err
	}
	err = f.db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) error {
		user := id.New()
		n, err := tenant.Exec(ctx, tx, insertUser, user, name, addr.Shown, addr.Key, hash, false)
		if err != nil {
			return err
		}
		purpose := confirmMail
		if n == 0 {
			user, purpose = id.Nil, knownMail
		}
		if _, err := f.note(ctx, tx, factRegistered, user, addr.Key); err != nil {
			return err
		}
		return f.mailByKey(ctx, tx, addr.Key, purpose)
	})
	if err != nil {
		return Message{}, err
	}
	return Message{"We have sent a mail to that address. You can log in at once."}, nil
}

// credential is what a password is held against.
type credential struct {
	ID       id.ID  `db:"id"`
	Email    string `db:"email"`
	EmailKey string `db:"email_key"`
	Hash     string `db:"password_hash"`
}

func wrongCredentials() error {
	return fault.New(fault.Unauthenticated, "invalid_credentials", "The e-mail address or the password is wrong.")
}

// proof is a password that was right, with what is left to do about it.
type proof struct {
	credential
	throttles throttles
	outdated  bool
}

// prove holds a password against the credential that find returns; ErrNoRows
// stands for nobody and costs the same. The claim is committed before the
// password is looked at; what succeeds takes it back.
func (f *Feature) prove(ctx context.Context, emailKey, password string, find func(*tenant.GlobalTx) (credential, error)) (proof, error) {
	p := proof{throttles: f.throttlesOf(emailKey, api.SourceAddress(ctx))}
	err := f.db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) (err error) {
		if err := p.throttles.claim(ctx, tx); err != nil {
			return err
		}
		if p.credential, err = find(tx); errors.Is(err, tenant.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil {
		return p, err
	}
	err = f.verify(ctx, &p, emailKey, password)
	return p, err
}

// verify holds the password against the hash that was read. Whatever is done on
// the strength of it must ask in its own transaction whether the hash is still
// the person's: another password may come while this takes its time.
func (f *Feature) verify(ctx context.Context, p *proof, emailKey, password string) error {
	ok, outdated, err := f.hasher.Verify(ctx, p.Hash, password)
	if err != nil {
		return err
	}
	if p.outdated = outdated; !ok {
		if err := f.noteDenied(ctx, p.ID, emailKey); err != nil {
			return err
		}
		return wrongCredentials()
	}
	return nil
}

type loginInput struct {
	Body struct {
		Email    string `json:"email" format:"email" maxLength:"254" doc:"The address of the account." example:"ann@example.com"`
		Password string `json:"password" minLength:"1" maxLength:"128" format:"password" doc:"The password." example:"correct horse battery staple"`
	}
}

func (f *Feature) login(ctx context.Context, in *loginInput) (TokenPair, error) {
	addr, err := parseAddress(in.Body.Email)
	if err != nil {
		return TokenPair{}, err
	}
	p, err := f.prove(ctx, addr.Key, in.Body.Password, func(tx *tenant.GlobalTx) (credential, error) {
		return tenant.One[credential](ctx, tx, selectCredentialByKey, addr.Key)
	})
	if err != nil {
		return TokenPair{}, err
	}
	for range 3 {
		session, fam, err := f.begin(ctx, p, in.Body.Password)
		if err == nil {
			return f.pair(ctx, session, fam)
		}
		if !errors.Is(err, tenant.ErrNoRows) {
			return TokenPair{}, err
		}
		// The hash is another one by now. It may be of the same password, made
		// again by a log-in at the same time, so the new one decides.
		p.credential, err = tenant.One[credential](ctx, f.db.Global(), selectCredentialByKey, addr.Key)
		if err != nil && !errors.Is(err, tenant.ErrNoRows) {
			return TokenPair{}, err
		}
		if err := f.verify(ctx, &p, addr.Key, in.Body.Password); err != nil {
			return TokenPair{}, err
		}
	}
	return TokenPair{}, wrongCredentials()
}

// begin starts a session. ErrNoRows says that the hash of the proof is not the
// person's any more. The person's row is locked before the counters, as a reset
// does it.
func (f *Feature) begin(ctx context.Context, p proof, password string) (session id.ID, fam family, err error) {
	hash := p.Hash
	if p.outdated {
		if hash, err = f.hasher.Hash(ctx, password); err != nil {
			return session, fam, err
		}
	}
	session, fam = id.New(), family{User: p.ID, Nonce: newNonce(), Generation: 1}
	err = f.db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) (err error) {
		if p.outdated {
			if _, err := tenant.Value[id.ID](ctx, tx, changePassword, p.ID, p.Hash, hash); err != nil {
				return err
			}
		}
		fam.Expires, err = tenant.Value[time.Time](ctx, tx, insertSession, session, p.ID, fam.Nonce, api.UserAgent(ctx), api.SourceAddress(ctx), hash)
		if err != nil {
			return err
		}
		if err := p.throttles.succeed(ctx, tx); err != nil {
			return err
		}
		_, err = f.note(ctx, tx, factLogin, p.ID, "")
		return err
	})
	return session, fam, err
}

// pair makes the tokens of a generation.
func (f *Feature) pair(ctx context.Context, session id.ID, fam family) (TokenPair, error) {
	access, seconds, err := f.tokens.sign(ctx, fam.User, session, fam.Expires)
	if err != nil {
		return TokenPair{}, err
	}
	return TokenPair{
		AccessToken: access, TokenType: "bearer", ExpiresIn: seconds,
		RefreshToken: refreshToken(f.keys, session, fam.Generation, fam.Nonce),
	}, nil
}

func newNonce() []byte {
	b := make([]byte, 16)
	rand.Read(b)
	return b
}

type refreshInput struct {
	Body struct {
		RefreshToken string `json:"refresh_token" minLength:"1" maxLength:"200" pattern:"^[\\x21-\\x7e]+$" doc:"The newest refresh token of the session." example:"ghr_AZjB8nseezqdUj9LimocBwAAAAAAAAAB"`
	}
}

func (f *Feature) refresh(ctx context.Context, in *refreshInput) (TokenPair, error) {
	p, ok := parseRefresh(in.Body.RefreshToken)
	if !ok {
		return TokenPair{}, refreshRefused()
	}
	var fam family
	var v verdict
	err := f.db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) (err error) {
		fam, v, err = f.rotate(ctx, tx, p)
		return err
	})
	switch {
	case err != nil:
		return TokenPair{}, err
	case v == advance || v == repeat:
		return f.pair(ctx, p.session, fam)
	case v == reuse:
		f.log.WarnContext(ctx, "an old refresh token was used again; its session is revoked", "session_id", p.session, "user_id", fam.User)
	}
	return TokenPair{}, refreshRefused()
}

func (f *Feature) logout(ctx context.Context, tx *tenant.GlobalTx, _ *struct{}) (api.None, error) {
	c := api.CallerOf(ctx)
	n, err := tenant.Exec(ctx, tx, revokeSession, c.Session, c.User)
	if err != nil {
		return api.None{}, err
	}
	if n == 0 {
		return api.None{}, api.Unauthenticated()
	}
	_, err = f.note(ctx, tx, factLogout, c.User, "")
	return api.None{}, err
}
