package identity

import (
	"context"
	"errors"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/mail"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

// orUnauthenticated turns a person who was not found through the session into
// the answer of a session that is over.
func orUnauthenticated(err error) error {
	if errors.Is(err, tenant.ErrNoRows) {
		return api.Unauthenticated()
	}
	return err
}

func (f *Feature) getMe(ctx context.Context, v tenant.GlobalView, _ *struct{}) (User, error) {
	c := api.CallerOf(ctx)
	u, err := tenant.One[User](ctx, v, selectMe, c.User, c.Session)
	return u.as(c.Role), orUnauthenticated(err)
}

// change is what PUT and PATCH may say.
type change struct {
	Username, Email, Locale, TimeZone api.Optional[string]
	CurrentPassword                   string
}

type replaceMe struct {
	IfMatch api.IfMatch `header:"If-Match"`
	Body    struct {
		Username        string `json:"username" minLength:"1" maxLength:"64" doc:"What others see. Not unique." example:"Ann"`
		Email           string `json:"email" format:"email" maxLength:"254" doc:"A new address counts once it is confirmed, and needs current_password; the present one withdraws it." example:"ann@example.com"`
		Locale          string `json:"locale" maxLength:"35" pattern:"^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$" doc:"Language tag (BCP 47)." example:"en"`
		TimeZone        string `json:"time_zone" maxLength:"64" pattern:"^[A-Za-z][A-Za-z0-9_+/-]*$" doc:"Name of the zone in the IANA database." example:"Europe/Berlin"`
		CurrentPassword string `json:"current_password" required:"false" maxLength:"128" format:"password" doc:"Needed for a new address." example:"correct horse battery staple"`
	}
}

func (f *Feature) replaceMe(ctx context.Context, in *replaceMe) (User, error) {
	b := in.Body
	return f.changeMe(ctx, in.IfMatch, change{
		Username: api.Some(b.Username), Email: api.Some(b.Email), Locale: api.Some(b.Locale), TimeZone: api.Some(b.TimeZone),
		CurrentPassword: b.CurrentPassword,
	})
}

type updateMe struct {
	IfMatch api.IfMatch `header:"If-Match"`
	Body    struct {
		Username        api.Optional[string] `json:"username" required:"false" minLength:"1" maxLength:"64" doc:"What others see. Not unique." example:"Ann"`
		Email           api.Optional[string] `json:"email" required:"false" format:"email" maxLength:"254" doc:"A new address counts once it is confirmed, and needs current_password; the present one withdraws it." example:"ann@example.com"`
		Locale          api.Optional[string] `json:"locale" required:"false" maxLength:"35" pattern:"^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$" doc:"Language tag (BCP 47)." example:"en"`
		TimeZone        api.Optional[string] `json:"time_zone" required:"false" maxLength:"64" pattern:"^[A-Za-z][A-Za-z0-9_+/-]*$" doc:"Name of the zone in the IANA database." example:"Europe/Berlin"`
		CurrentPassword string               `json:"current_password" required:"false" maxLength:"128" format:"password" doc:"Needed for a new address." example:"correct horse battery staple"`
	}
}

func (f *Feature) updateMe(ctx context.Context, in *updateMe) (User, error) {
	b := in.Body
	return f.changeMe(ctx, in.IfMatch, change{
		Username: b.Username, Email: b.Email, Locale: b.Locale, TimeZone: b.TimeZone, CurrentPassword: b.CurrentPassword,
	})
}

// apply writes the change to the row; asked is the address that needs a
// confirmation, if the change names one that the person does not have yet.
func (c change) apply(u *User) (asked *mail.Address, err error) {
	if c.Username.Present {
		if u.Username, err = cleanName(c.Username.Value); err != nil {
			return nil, err
		}
	}
	if c.TimeZone.Present {
		if err := checkTimeZone(c.TimeZone.Value); err != nil {
			return nil, err
		}
	}
	if c.Locale.Present {
		if err := checkLocale(c.Locale.Value); err != nil {
			return nil, err
		}
	}
	c.Locale.Set(&u.Locale)
	c.TimeZone.Set(&u.TimeZone)
	if !c.Email.Present {
		return nil, nil
	}
	addr, err := parseAddress(c.Email.Value)
	if err != nil {
		return nil, err
	}
	if addr.Shown == u.Email { // which withdraws the wish for another one
		u.PendingEmail = nil
		return nil, nil
	}
	u.PendingEmail = &addr.Shown
	return &addr, nil
}

// changeMe asks for the password outside the transaction that changes the row,
// which then applies the change to the row as it is.
func (f *Feature) changeMe(ctx context.Context, match api.IfMatch, c change) (User, error) {
	caller := api.CallerOf(ctx)
	me, err := tenant.One[User](ctx, f.db.Global(), selectMe, caller.User, caller.Session)
	if err != nil {
		return User{}, orUnauthenticated(err)
	}
	if !match.Matches(me.Version) {
		return User{}, fault.StaleVersion(me.as(caller.Role))
	}
	asked, err := c.apply(&me)
	if err != nil {
		return User{}, err
	}
	var p *proof
	if asked != nil {
		if p, err = f.proveMe(ctx, c.CurrentPassword); err != nil {
			return User{}, err
		}
	}
	var out User
	err = f.db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) error {
		row, err := tenant.One[User](ctx, tx, lockMe, caller.User, caller.Session)
		if err != nil {
			return orUnauthenticated(err)
		}
		if !match.Matches(row.Version) {
			return fault.StaleVersion(row.as(caller.Role))
		}
		before := row
		asked, err := c.apply(&row)
		if err != nil {
			return err
		}
		if out = row; row == before { // nothing to change, so the version stays
			return nil
		}
		if asked != nil && p != nil {
			if err := p.holds(ctx, tx); err != nil {
				return err
			}
		}
		if out, err = tenant.One[User](ctx, tx, updateUser, row.ID, row.Username, row.Locale, row.TimeZone, row.PendingEmail); err != nil || asked == nil {
			return err
		}
		if p == nil { // the address changed between the two reads
			return fault.StaleVersion(out.as(caller.Role))
		}
		if err := p.throttles.succeed(ctx, tx); err != nil {
			return err
		}
		return f.mailTo(ctx, tx, row.ID, confirmMail, asked.Shown)
	})
	if err != nil {
		return User{}, err
	}
	return out.as(caller.Role), nil
}

// proveMe asks the signed-in person for their password again. A wrong one is
// 422 rather than 401: it is the input that is wrong, not the session.
func (f *Feature) proveMe(ctx context.Context, password string) (*proof, error) {
	c := api.CallerOf(ctx)
	if password == "" {
		return nil, fault.Invalidf("/current_password", "your current password is needed for this change")
	}
	who, err := tenant.One[credential](ctx, f.db.Global(), selectCredential, c.User, c.Session)
	if err != nil {
		return nil, orUnauthenticated(err)
	}
	p, err := f.prove(ctx, who.EmailKey, password, func(*tenant.GlobalTx) (credential, error) { return who, nil })
	if fl := fault.As(err); fl != nil && fl.Code == "invalid_credentials" {
		return nil, fault.Invalidf("/current_password", "this is not your current password")
	}
	if err != nil {
		return nil, err
	}
	return &p, nil
}

// holds refuses what another password has overtaken. The person's row is
// locked.
func (p *proof) holds(ctx context.Context, tx *tenant.GlobalTx) error {
	_, err := tenant.Value[bool](ctx, tx, selectProved, p.ID, p.Hash)
	if errors.Is(err, tenant.ErrNoRows) {
		return passwordChanged()
	}
	return err
}

func passwordChanged() error {
	return fault.Conflictf("password_changed", "The password was changed by somebody else just now. Try again with the new one.")
}

type changePasswordInput struct {
	Body struct {
		CurrentPassword string `json:"current_password" minLength:"1" maxLength:"128" format:"password" doc:"The password until now." example:"correct horse battery staple"`
		Password        string `json:"password" minLength:"8" maxLength:"128" format:"password" doc:"8 to 128 characters; 15 or more are advised." example:"another long sentence to remember"`
	}
}

func (f *Feature) changePassword(ctx context.Context, in *changePasswordInput) (api.None, error) {
	c := api.CallerOf(ctx)
	p, err := f.proveMe(ctx, in.Body.CurrentPassword)
	if err != nil {
		return api.None{}, err
	}
	hash, err := f.hasher.Hash(ctx, in.Body.Password)
	if err != nil {
		return api.None{}, err
	}
	return api.None{}, f.db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) error {
		n, err := tenant.Exec(ctx, tx, changePassword, p.ID, p.Hash, hash)
		if err != nil {
			return err
		}
		// Asked after the wait for the person's row. A session that was ended
		// meanwhile changes nothing any more.
		if err := alive(ctx, tx, lockAlive); err != nil {
			return err
		}
		if n == 0 {
			return passwordChanged()
		}
		if err := p.throttles.succeed(ctx, tx); err != nil {
			return err
		}
		return f.afterPassword(ctx, tx, p.ID, c.Session, factPasswordChanged)
	})
}

// afterPassword ends what the old password had opened, apart from the session
// to keep: sessions, links, and a new address that waits, for which another link
// could be asked. It tells the person.
func (f *Feature) afterPassword(ctx context.Context, tx *tenant.GlobalTx, user, keep id.ID, fact string) error {
	if _, err := tenant.Exec(ctx, tx, revokeOtherSessions, user, keep); err != nil {
		return err
	}
	if _, err := tenant.Exec(ctx, tx, withdrawAddress, user); err != nil {
		return err
	}
	if _, err := tenant.Exec(ctx, tx, voidMailTokens, user); err != nil {
		return err
	}
	if _, err := f.note(ctx, tx, fact, user, ""); err != nil {
		return err
	}
	return f.mailTo(ctx, tx, user, passwordMail, "")
}

// Session is a log-in that still lives.
type Session struct {
	ID            id.ID     `db:"id" json:"id" doc:"The session's id."`
	Current       bool      `db:"current" json:"current" doc:"Whether it is the one that asks."`
	UserAgent     string    `db:"user_agent" json:"user_agent" maxLength:"200" doc:"What the client called itself at log-in." example:"curl/8.5.0"`
	SourceAddress string    `db:"source_address" json:"source_address" maxLength:"64" doc:"Where the log-in came from." example:"192.0.2.7"`
	CreatedAt     time.Time `db:"created_at" json:"created_at" doc:"When the person logged in."`
	LastUsedAt    time.Time `db:"last_used_at" json:"last_used_at" doc:"When it was last refreshed."`
	ExpiresAt     time.Time `db:"expires_at" json:"expires_at" doc:"When it ends at the latest."`
}

type listSessionsInput struct{ api.ListParams }

func (f *Feature) listSessions(ctx context.Context, v tenant.GlobalView, in *listSessionsInput) (page.Page[Session], error) {
	c := api.CallerOf(ctx)
	var after id.ID
	var from *id.ID
	if ok, err := in.Position(ctx, &after); err != nil {
		return page.Page[Session]{}, err
	} else if ok {
		from = &after
	}
	rows, err := tenant.List[Session](ctx, v, listSessions, c.User, c.Session, from, in.Offset(), in.Limit+1)
	if err != nil {
		return page.Page[Session]{}, err
	}
	if len(rows) == 0 && from == nil && in.Page <= 1 { // its own session is not there: it is over
		return page.Page[Session]{}, api.Unauthenticated()
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(s Session) any { return s.ID })
	if err == nil && in.WantTotal() {
		var n int64
		n, err = tenant.Value[int64](ctx, v, countSessions, c.User, c.Session)
		out.Total = &n
	}
	return out, err
}

type sessionInput struct {
	Session id.ID `path:"session_id" ref:"session" doc:"The session to end."`
}

func (f *Feature) revokeSession(ctx context.Context, tx *tenant.GlobalTx, in *sessionInput) (api.None, error) {
	c := api.CallerOf(ctx)
	if err := alive(ctx, tx, selectAlive); err != nil {
		return api.None{}, err
	}
	n, err := tenant.Exec(ctx, tx, revokeSession, in.Session, c.User)
	if err != nil {
		return api.None{}, err
	}
	if n == 0 {
		return api.None{}, fault.NotFoundf("session")
	}
	_, err = f.note(ctx, tx, factLogout, c.User, "")
	return api.None{}, err
}

func (f *Feature) revokeOtherSessions(ctx context.Context, tx *tenant.GlobalTx, _ *struct{}) (api.None, error) {
	c := api.CallerOf(ctx)
	if err := alive(ctx, tx, selectAlive); err != nil {
		return api.None{}, err
	}
	if _, err := tenant.Exec(ctx, tx, revokeOtherSessions, c.User, c.Session); err != nil {
		return api.None{}, err
	}
	_, err := f.note(ctx, tx, factLogout, c.User, "")
	return api.None{}, err
}

// alive refuses a caller whose session is over. Operations of organisations
// have the prologue for it; these have none.
func alive(ctx context.Context, q tenant.Querier, sql string) error {
	c := api.CallerOf(ctx)
	_, err := tenant.Value[bool](ctx, q, sql, c.User, c.Session)
	return orUnauthenticated(err)
}
