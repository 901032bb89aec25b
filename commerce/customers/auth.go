package customers

import (
	"context"
	"crypto/hmac"
	"errors"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/mail"
	"github.com/guildhall-dev/guildhall/internal/throttle"
	"github.com/guildhall-dev/guildhall/tenant"
)

// CustomerTokens are what a log-in and a refresh answer with.
type CustomerTokens struct {
	AccessToken  string `json:"access_token" maxLength:"200" pattern:"^ghct_[A-Za-z0-9_-]+$" doc:"Send it as Authorization: Bearer, beside the publishable key." example:"ghct_AZjB8nseezqdUj9LimocBwAAAAAAAAAB"`
	TokenType    string `json:"token_type" enum:"bearer" doc:"Always bearer." example:"bearer"`
	ExpiresIn    int    `json:"expires_in" minimum:"0" maximum:"900" doc:"Seconds until the access token expires." example:"900"`
	RefreshToken string `json:"refresh_token" maxLength:"200" pattern:"^ghcr_[A-Za-z0-9_-]+$" doc:"Exchanges once for the next pair. Keep it as safe as a password." example:"ghcr_AZjB8nseezqdUj9LimocBwAAAAAAAAAB"`
}

// ShopMessage is an answer in words.
type ShopMessage struct {
	Message string `json:"message" maxLength:"500" doc:"What happened, for people." example:"Look into your mailbox."`
}

type registerInput struct {
	Body struct {
		Email       string `json:"email" format:"email" maxLength:"254" doc:"A token to confirm it is mailed there." example:"ann@example.com"`
		Password    string `json:"password" minLength:"8" maxLength:"128" format:"password" doc:"8 to 128 characters; 15 or more are advised." example:"correct horse battery staple"`
		Name        string `json:"name" required:"false" maxLength:"200" doc:"The name." example:"Ann Example"`
		RedirectURL string `json:"redirect_url" required:"false" maxLength:"1000" doc:"The shop's page for the mailed link, on one of the key's allowed_origins; it gets #token=…. Without it the mail holds the token itself." example:"https://shop.example.com/confirm"`
	}
}

// evenAnswer is longer than what the work for a known and an unknown address
// differs by.
const evenAnswer = 100 * time.Millisecond

// evenly waits until the even time is over, so that the time of an answer does
// not tell which work was done. It holds no connection meanwhile.
func evenly(ctx context.Context, since time.Time) error {
	timer := time.NewTimer(time.Until(since.Add(evenAnswer)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// register does the same work and gives the same answer whether the address is
// known or not. Only its owner learns which it was.
func (f *Feature) register(ctx context.Context, in *registerInput) (ShopMessage, error) {
	addr, err := mail.ParseBare("/email", in.Body.Email)
	if err != nil {
		return ShopMessage{}, err
	}
	name, err := cleanName(in.Body.Name)
	if err != nil {
		return ShopMessage{}, err
	}
	if err := checkRedirect(ctx, in.Body.RedirectURL); err != nil {
		return ShopMessage{}, err
	}
	hash, err := f.passwords.Hash(ctx, in.Body.Password)
	if err != nil {
		return ShopMessage{}, err
	}
	start := time.Now()
	err = f.db.Write(ctx, api.CallerOf(ctx).Scope, func(tx *tenant.Tx) error {
		c, err := tenant.One[Customer](ctx, tx, registerCustomer, tx.Scope().Organization, id.New(), addr.Shown, addr.Key, name, hash)
		switch {
		case errors.Is(err, tenant.ErrNoRows):
			return f.mailTo(ctx, tx, addr.Key, knownMail, in.Body.RedirectURL)
		case err != nil:
			return err
		}
		if err := Created.Emit(ctx, tx, c); err != nil {
			return err
		}
		return f.mailTo(ctx, tx, addr.Key, confirmMail, in.Body.RedirectURL)
	})
	if err != nil {
		return ShopMessage{}, err
	}
	return ShopMessage{"We have sent a mail to that address. You can log in at once."}, evenly(ctx, start)
}

// credential is what a password is held against.
type credential struct {
	ID   id.ID   `db:"id"`
	Hash *string `db:"password_hash"`
}

func wrongCredentials() error {
	return fault.New(fault.Unauthenticated, "invalid_credentials", "The e-mail address or the password is wrong.")
}

type loginInput struct {
	Body struct {
		Email    string `json:"email" format:"email" maxLength:"254" doc:"The address of the account." example:"ann@example.com"`
		Password string `json:"password" minLength:"1" maxLength:"128" format:"password" doc:"The password." example:"correct horse battery staple"`
	}
}

// login counts the attempt before it looks at the password: guesses sent at once
// cannot overtake the count. What succeeds takes it back.
func (f *Feature) login(ctx context.Context, in *loginInput) (CustomerTokens, error) {
	addr, err := mail.ParseBare("/email", in.Body.Email)
	if err != nil {
		return CustomerTokens{}, err
	}
	scope := api.CallerOf(ctx).Scope
	doors := f.throttlesOf(scope.Organization, addr.Key, scope.SourceAddress)
	var who credential
	err = f.db.Write(ctx, scope, func(tx *tenant.Tx) error {
		if err := claim(ctx, tx, addr.Key, doors); err != nil {
			return err
		}
		var err error
		who, err = find(ctx, tx, scope.Organization, addr.Key)
		return err
	})
	if err != nil {
		return CustomerTokens{}, err
	}
	for range 3 {
		hash := ""
		if who.Hash != nil {
			hash = *who.Hash
		}
		ok, outdated, err := f.passwords.Verify(ctx, hash, in.Body.Password)
		if err != nil {
			return CustomerTokens{}, err
		}
		if !ok {
			return CustomerTokens{}, f.denied(ctx, scope, who.ID)
		}
		tokens, err := f.begin(ctx, scope, who.ID, hash, in.Body.Password, outdated, doors)
		if !errors.Is(err, tenant.ErrNoRows) {
			return tokens, err
		}
		// Another password, or another hash of it, came meanwhile.
		if who, err = find(ctx, f.db.View(scope), scope.Organization, addr.Key); err != nil {
			return CustomerTokens{}, err
		}
	}
	return CustomerTokens{}, wrongCredentials()
}

// find returns nobody, rather than an error, for an unknown address.
func find(ctx context.Context, q tenant.Querier, organization id.ID, emailKey string) (credential, error) {
	c, err := tenant.One[credential](ctx, q, selectCredential, organization, emailKey)
	if errors.Is(err, tenant.ErrNoRows) {
		return credential{}, nil
	}
	return c, err
}

// denied notes a failed log-in, of somebody or nobody.
func (f *Feature) denied(ctx context.Context, scope tenant.Scope, customer id.ID) error {
	ctx = context.WithoutCancel(ctx) // who hangs up after a guess has guessed all the same
	if err := event.Record(ctx, f.db, scope, event.Fact{Type: "customer.login_denied", Subject: customer, Data: map[string]any{}}); err != nil {
		return err
	}
	return wrongCredentials()
}

// begin opens a session, if the password that was right is still the customer's.
func (f *Feature) begin(ctx context.Context, scope tenant.Scope, customer id.ID, hash, password string, outdated bool, doors throttle.Subjects) (CustomerTokens, error) {
	fresh := hash
	if outdated {
		var err error
		if fresh, err = f.passwords.Hash(ctx, password); err != nil {
			return CustomerTokens{}, err
		}
	}
	session, fam := id.New(), family{Nonce: newNonce(), Counter: 1}
	err := f.db.Write(ctx, scope, func(tx *tenant.Tx) (err error) {
		org := scope.Organization
		if _, err := tenant.Value[id.ID](ctx, tx, lockCredential, org, customer, hash); err != nil {
			return err
		}
		if fresh != hash {
			if _, err := tenant.Exec(ctx, tx, setPassword, org, customer, fresh); err != nil {
				return err
			}
		}
		if fam.Expires, err = tenant.Value[time.Time](ctx, tx, insertSession, org, customer, session, fam.Nonce, doors.Known); err != nil {
			return err
		}
		if _, err := tenant.Exec(ctx, tx, purgeSessions, org); err != nil {
			return err
		}
		if err := succeed(ctx, tx, doors); err != nil {
			return err
		}
		return loggedIn.Emit(ctx, tx, fact{ID: customer, SessionID: &session})
	})
	if err != nil {
		return CustomerTokens{}, err
	}
	return f.pair(scope.Organization, customer, session, fam), nil
}

// pair makes the tokens of a counter.
func (f *Feature) pair(organization, customer, session id.ID, fam family) CustomerTokens {
	now := f.now()
	life := min(accessLife, fam.Expires.Sub(now)).Truncate(time.Second)
	return CustomerTokens{
		AccessToken: login{organization, customer, session, now.Add(life)}.token(f.keys),
		TokenType:   "bearer", ExpiresIn: int(life / time.Second),
		RefreshToken: refreshToken(f.keys, organization, customer, session, fam.Counter, fam.Nonce),
	}
}

type refreshInput struct {
	Body struct {
		RefreshToken string `json:"refresh_token" minLength:"1" maxLength:"200" pattern:"^[\\x21-\\x7e]+$" doc:"The newest refresh token of the session." example:"ghcr_AZjB8nseezqdUj9LimocBwAAAAAAAAAB"`
	}
}

func refreshRefused() error {
	return fault.New(fault.Unauthenticated, "unauthenticated", "The refresh token is not valid, or not any more. Log in again.")
}

func (f *Feature) refresh(ctx context.Context, in *refreshInput) (CustomerTokens, error) {
	p, ok := parseRefresh(in.Body.RefreshToken)
	if !ok {
		return CustomerTokens{}, refreshRefused()
	}
	scope := api.CallerOf(ctx).Scope
	var fam family
	var v verdict
	err := f.db.Write(ctx, scope, func(tx *tenant.Tx) (err error) {
		fam, v, err = f.rotate(ctx, tx, p)
		return err
	})
	switch {
	case err != nil:
		return CustomerTokens{}, err
	case v == advance || v == repeat:
		return f.pair(scope.Organization, p.customer, p.session, fam), nil
	case v == reuse:
		f.log.WarnContext(ctx, "an old refresh token of a customer was used again; its session is revoked", "session_id", p.session, "customer_id", p.customer)
	}
	return CustomerTokens{}, refreshRefused()
}

// rotate answers a refresh token with its successor's counter. Of any number of
// calls at once one advances the counter; the others find that it did, moments
// ago, and repeat its answer. On reuse it revokes the session, which must be
// committed: that is why it returns a verdict and not an error.
func (f *Feature) rotate(ctx context.Context, tx *tenant.Tx, p presented) (family, verdict, error) {
	org := tx.Scope().Organization
	for range 3 {
		fam, err := tenant.One[family](ctx, tx, selectFamily, org, p.customer, p.session)
		if errors.Is(err, tenant.ErrNoRows) {
			return fam, refuse, nil
		}
		if err != nil {
			return fam, refuse, err
		}
		if !hmac.Equal(p.mac, refreshMAC(f.keys, org, p.customer, p.session, p.counter, fam.Nonce)) {
			return fam, refuse, nil
		}
		switch v := fam.judge(p.counter); v {
		case advance:
			n, err := tenant.Exec(ctx, tx, rotateSession, org, p.customer, p.session, p.counter)
			if err != nil {
				return fam, refuse, err
			}
			if n == 1 {
				fam.Counter++
				return fam, advance, nil
			}
			// Another call was first: look again.
		case reuse:
			if _, err := tenant.Exec(ctx, tx, revokeSession, org, p.customer, p.session); err != nil {
				return fam, reuse, err
			}
			return fam, reuse, tokenReused.Emit(ctx, tx, fact{ID: p.customer, SessionID: &p.session})
		default:
			return fam, v, nil
		}
	}
	return family{}, refuse, errors.New("customers: a refresh token kept changing")
}

func (f *Feature) logout(ctx context.Context, tx *tenant.Tx, _ *struct{}) (api.None, error) {
	c := api.CallerOf(ctx)
	_, err := tenant.Exec(ctx, tx, revokeSession, c.Organization, c.Customer, c.Session)
	return api.None{}, err
}

type confirmEmailInput struct {
	Body struct {
		Token string `json:"token" minLength:"1" maxLength:"200" pattern:"^[\\x21-\\x7e]+$" doc:"The mailed token: what follows #token=." example:"AZjB8nseezqdUj9LimocBwAAAAAAAAAB"`
	}
}

func (f *Feature) confirmEmail(ctx context.Context, tx *tenant.Tx, in *confirmEmailInput) (ShopMessage, error) {
	org := tx.Scope().Organization
	done := ShopMessage{"The address is confirmed."}
	m, err := f.readMail(ctx, tx, useMail, org, in.Body.Token, confirmMail)
	if err != nil {
		return done, err
	}
	before, err := tenant.One[Customer](ctx, tx, lockCustomer, org, m.Customer)
	switch {
	case errors.Is(err, tenant.ErrNoRows), err == nil && before.Email != m.Email:
		return done, tokenRefused() // deleted, or given another address, at this moment
	case err != nil || before.EmailVerified:
		return done, err
	}
	c, err := tenant.One[Customer](ctx, tx, confirmEmail, org, m.Customer)
	if err != nil {
		return done, err
	}
	return done, Updated.EmitChange(ctx, tx, before, c)
}

type forgotPasswordInput struct {
	Body struct {
		Email       string `json:"email" format:"email" maxLength:"254" doc:"The address of the account." example:"ann@example.com"`
		RedirectURL string `json:"redirect_url" required:"false" maxLength:"1000" doc:"The shop's page for the mailed link, on one of the key's allowed_origins; it gets #token=…. Without it the mail holds the token itself." example:"https://shop.example.com/new-password"`
	}
}

// forgotPassword runs the same statements for a known and an unknown address;
// for the latter the insert finds nobody and the job no mail. What is left of a
// difference, one row, the even time of the answer hides.
func (f *Feature) forgotPassword(ctx context.Context, in *forgotPasswordInput) (ShopMessage, error) {
	start := time.Now()
	addr, err := mail.ParseBare("/email", in.Body.Email)
	if err != nil {
		return ShopMessage{}, err
	}
	if err := checkRedirect(ctx, in.Body.RedirectURL); err != nil {
		return ShopMessage{}, err
	}
	err = f.db.Write(ctx, api.CallerOf(ctx).Scope, func(tx *tenant.Tx) error {
		return f.mailTo(ctx, tx, addr.Key, resetMail, in.Body.RedirectURL)
	})
	if err != nil {
		return ShopMessage{}, err
	}
	return ShopMessage{"If there is an account for that address, we have sent a mail to it."}, evenly(ctx, start)
}

type resetPasswordInput struct {
	Body struct {
		Token    string `json:"token" minLength:"1" maxLength:"200" pattern:"^[\\x21-\\x7e]+$" doc:"The mailed token: what follows #token=." example:"AZjB8nseezqdUj9LimocBwAAAAAAAAAB"`
		Password string `json:"password" minLength:"8" maxLength:"128" format:"password" doc:"8 to 128 characters; 15 or more are advised." example:"another long sentence to remember"`
	}
}

// resetPassword sets a new password. Who reads the mailbox owns the account, so
// the address is confirmed by it, every session ends and the door opens again.
func (f *Feature) resetPassword(ctx context.Context, in *resetPasswordInput) (ShopMessage, error) {
	scope := api.CallerOf(ctx).Scope
	org := scope.Organization
	// Only who holds a good token gets a password hashed.
	if _, err := f.readMail(ctx, f.db.View(scope), selectMail, org, in.Body.Token, resetMail); err != nil {
		return ShopMessage{}, err
	}
	hash, err := f.passwords.Hash(ctx, in.Body.Password)
	if err != nil {
		return ShopMessage{}, err
	}
	err = f.db.Write(ctx, scope, func(tx *tenant.Tx) error {
		m, err := f.readMail(ctx, tx, useMail, org, in.Body.Token, resetMail)
		if err != nil {
			return err
		}
		return f.setPassword(ctx, tx, m, hash)
	})
	if err != nil {
		return ShopMessage{}, err
	}
	return ShopMessage{"The password is changed. Log in with the new one."}, nil
}

// setPassword changes the password and ends what the old one had opened.
func (f *Feature) setPassword(ctx context.Context, tx *tenant.Tx, m message, hash string) error {
	org := tx.Scope().Organization
	before, err := tenant.One[Customer](ctx, tx, lockCustomer, org, m.Customer)
	switch {
	case errors.Is(err, tenant.ErrNoRows), err == nil && before.Email != m.Email:
		return tokenRefused()
	case err != nil:
		return err
	}
	c, err := tenant.One[Customer](ctx, tx, resetPassword, org, m.Customer, hash)
	if err != nil {
		return err
	}
	for _, sql := range []string{revokeSessions, voidMails} {
		if _, err := tenant.Exec(ctx, tx, sql, org, c.ID); err != nil {
			return err
		}
	}
	key := emailKey(c)
	doors := f.throttlesOf(org, key, tx.Scope().SourceAddress)
	if _, err := tenant.Exec(ctx, tx, forgetFailures, org, []string{doors.Account, doors.Pair}); err != nil {
		return err
	}
	if !before.EmailVerified || !before.HasAccount {
		if err := Updated.EmitChange(ctx, tx, before, c); err != nil {
			return err
		}
	}
	if err := passwordChanged.Emit(ctx, tx, fact{ID: c.ID}); err != nil {
		return err
	}
	return f.mailTo(ctx, tx, key, passwordMail, "")
}
