package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/mail"
	"github.com/guildhall-dev/guildhall/internal/password"
	"github.com/guildhall-dev/guildhall/internal/seal"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/module"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Deps is what the feature stands on.
type Deps struct {
	DB        *tenant.DB
	Queue     *jobs.Queue
	Keys      *seal.Keyring
	Mail      mail.Sender
	PublicURL string           // without a trailing slash; also the issuer of access tokens
	Passwords *password.Hasher // nil for one of its own
	Log       *slog.Logger
	Now       func() time.Time // of access tokens and signing keys; nil = time.Now
}

// Feature is people and their log-ins.
type Feature struct {
	db        *tenant.DB
	queue     *jobs.Queue
	keys      *seal.Keyring
	mail      mail.Sender
	publicURL string
	log       *slog.Logger
	hasher    *password.Hasher
	tokens    *Tokens
	post      *post
}

// New returns the feature. It touches neither the database nor the keys.
func New(d Deps) (*Feature, error) {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Passwords == nil {
		d.Passwords = password.New()
	}
	p, err := newPost()
	if err != nil {
		return nil, err
	}
	url := strings.TrimSuffix(d.PublicURL, "/")
	keys := &keySet{db: d.DB, keyring: d.Keys, now: d.Now}
	return &Feature{
		db: d.DB, queue: d.Queue, keys: d.Keys, mail: d.Mail, publicURL: url, log: d.Log,
		hasher: d.Passwords, tokens: newTokens(keys, url, d.Now), post: p,
	}, nil
}

// Tokens returns what verifies access tokens.
func (f *Feature) Tokens() *Tokens { return f.tokens }

// CreateUser makes a person whose address counts as confirmed, without a mail:
// for the demonstration and the command line. The error is email_taken where
// the address has an account.
func (f *Feature) CreateUser(ctx context.Context, db *tenant.DB, username, email, password string) (id.ID, error) {
	name, err := cleanName(username)
	if err != nil {
		return id.Nil, err
	}
	addr, err := parseAddress(email)
	if err != nil {
		return id.Nil, err
	}
	hash, err := f.hasher.Hash(ctx, password)
	if err != nil {
		return id.Nil, err
	}
	user := id.New()
	err = db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) error {
		n, err := tenant.Exec(ctx, tx, insertUser, user, name, addr.Shown, addr.Key, hash, true)
		if err == nil && n == 0 {
			return fault.Conflictf("email_taken", "There is an account for that address already.")
		}
		return err
	})
	if err != nil {
		return id.Nil, fmt.Errorf("identity.CreateUser: %w", err)
	}
	return user, nil
}

// Unlock gives the person with the address a new password: for a demonstration
// whose first start was cut before it could show one.
func (f *Feature) Unlock(ctx context.Context, email, password string) (id.ID, error) {
	addr, err := parseAddress(email)
	if err != nil {
		return id.Nil, err
	}
	hash, err := f.hasher.Hash(ctx, password)
	if err != nil {
		return id.Nil, err
	}
	var user id.ID
	err = f.db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) (err error) {
		user, err = tenant.Value[id.ID](ctx, tx, unlock, addr.Key, hash)
		return err
	})
	if err != nil {
		return id.Nil, fmt.Errorf("identity.Unlock: %w", err)
	}
	return user, nil
}

// SetOperator makes the person with the address an operator of the instance.
func (f *Feature) SetOperator(ctx context.Context, email string) error {
	addr, err := parseAddress(email)
	if err != nil {
		return err
	}
	err = f.db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) error {
		_, err := tenant.Value[id.ID](ctx, tx, setOperator, addr.Key)
		return err
	})
	if errors.Is(err, tenant.ErrNoRows) {
		return fault.NotFoundf("user")
	}
	return err
}

// Module is the feature's table of contents.
func (f *Feature) Module() module.Module {
	return module.Module{
		Name: "identity",
		Doc:  "People: registration, log-in, sessions and the own account.",
		Operations: func(r *api.Router) {
			f.authOperations(r)
			f.accountOperations(r)
			r.Handle("GET /.well-known/jwks.json", f.tokens.keys)
		},
		Jobs: []jobs.Definition{
			jobs.Work(sendMail, f.deliver),
			jobs.Work(denied, recordDenied),
			jobs.Clock("identity.purge", time.Hour, purge),
		},
	}
}

func (f *Feature) authOperations(r *api.Router) {
	api.Call(r, api.Op{
		ID: "register", Route: "POST /auth/register", Access: api.Public, Secret: true,
		Summary: "Register a person",
		Doc: "Makes an account and mails a link to confirm the address; log-in works before that. " +
			"The answer is the same where the address has an account already: its owner gets a mail instead.",
	}, f.register)
	api.Call(r, api.Op{
		ID: "login", Route: "POST /auth/login", Access: api.Public, Secret: true, Status: 200,
		Errors:  []string{"401 invalid_credentials", "429 rate_limited"},
		Summary: "Log in",
		Doc: "Opens a session and answers with its first pair of tokens. Failed attempts slow down further ones from the same address, " +
			"and very many of them everywhere but where the person logged in before: see Retry-After.",
	}, f.login)
	api.Call(r, api.Op{
		ID: "refresh-session", Route: "POST /auth/refresh", Access: api.Public, Secret: true, Status: 200,
		Errors:  []string{"401 unauthenticated"},
		Summary: "Refresh the tokens of a session",
		Doc: "Exchanges a refresh token for the next pair. Sent again within 10 seconds it answers with the same successor, " +
			"for answers get lost; later than that, two must hold it, and the session is revoked.",
	}, f.refresh)
	api.Global(r, api.Op{
		ID: "logout", Route: "POST /auth/logout", Access: api.SignedIn, Status: 204,
		Summary: "Log out", Doc: "Ends the session of the access token, which stops to work at once, everywhere.",
	}, f.logout)
	api.Call(r, api.Op{
		ID: "request-password-reset", Route: "POST /auth/password-reset", Access: api.Public, Secret: true, Status: 200,
		Summary: "Ask for a new password",
		Doc:     "Mails a link that works once, within one hour, if the address has an account. The answer does not tell whether it has.",
	}, f.askReset)
	api.Call(r, api.Op{
		ID: "confirm-password-reset", Route: "POST /auth/password-reset/confirm", Access: api.Public, Secret: true, Status: 200,
		Errors:  []string{"422 token_invalid"},
		Summary: "Set a new password with a mailed token",
		Doc:     "Sets the password, confirms the address, withdraws a new one that waits and ends every session of the person.",
	}, f.reset)
	api.Global(r, api.Op{
		ID: "confirm-email", Route: "POST /auth/confirm-email", Access: api.Public, Secret: true, Status: 200,
		Errors:  []string{"409 email_taken", "422 token_invalid"},
		Summary: "Confirm an e-mail address with a mailed token",
		Doc:     "Confirms the address, or makes a new one count. A link works once, within three days.",
	}, f.confirmEmail)
	api.Global(r, api.Op{
		ID: "resend-email-confirmation", Route: "POST /auth/confirm-email/resend", Access: api.SignedIn, Status: 200,
		Summary: "Mail the confirmation link again",
		Doc:     "Goes to the address that waits for its confirmation. Five mails an hour are sent at most.",
	}, f.resendConfirmation)
}

func (f *Feature) accountOperations(r *api.Router) {
	api.GlobalRead(r, api.Op{
		ID: "get-me", Route: "GET /users/me", Access: api.SignedIn,
		Summary: "Read the own account",
		Doc:     "The person that the access token belongs to. With Guildhall-Organization, role is the person's role there.",
	}, f.getMe)
	api.Call(r, api.Op{
		ID: "replace-me", Route: "PUT /users/me", Access: api.SignedIn, Secret: true,
		Errors:  []string{"409 password_changed", "412 version_conflict", "429 rate_limited"},
		Summary: "Replace the own account",
		Doc:     "Sets every field that a person may change. A new address waits for its confirmation and needs current_password.",
	}, f.replaceMe)
	api.Call(r, api.Op{
		ID: "update-me", Route: "PATCH /users/me", Access: api.SignedIn, Secret: true,
		Errors:  []string{"409 password_changed", "412 version_conflict", "429 rate_limited"},
		Summary: "Change the own account",
		Doc:     "Sets the named fields only. A new address waits for its confirmation and needs current_password.",
	}, f.updateMe)
	api.Call(r, api.Op{
		ID: "change-password", Route: "POST /users/me/password", Access: api.SignedIn, Secret: true, Status: 204,
		Errors:  []string{"409 password_changed", "429 rate_limited"},
		Summary: "Change the own password",
		Doc:     "Needs the current one. Every other session ends, a new e-mail address that waits is withdrawn, and a mail tells the person.",
	}, f.changePassword)
	api.GlobalRead(r, api.Op{
		ID: "list-sessions", Route: "GET /users/me/sessions", Access: api.SignedIn,
		Summary: "List the own sessions", Doc: "The log-ins that still live, newest first.",
	}, f.listSessions)
	api.Global(r, api.Op{
		ID: "revoke-session", Route: "DELETE /users/me/sessions/{session_id}", Access: api.SignedIn,
		Errors:  []string{"404 not_found"},
		Summary: "End one of the own sessions", Doc: "Its tokens stop to work at once, everywhere.",
	}, f.revokeSession)
	api.Global(r, api.Op{
		ID: "revoke-other-sessions", Route: "DELETE /users/me/sessions", Access: api.SignedIn,
		Summary: "End every other session of one's own", Doc: "Logs out every device but the one that asks.",
	}, f.revokeOtherSessions)
}
