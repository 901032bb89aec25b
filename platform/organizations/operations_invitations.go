package organizations

import (
	"context"
	"errors"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

type listInvitations struct {
	api.ListParams
	Status string `query:"status" enum:"pending,accepted,revoked,expired" doc:"Only those in this state."`
}

func (f *Feature) listInvitations(ctx context.Context, v tenant.View, in *listInvitations) (page.Page[Invitation], error) {
	var after *id.ID
	if _, err := in.Position(ctx, &after); err != nil {
		return page.Page[Invitation]{}, err
	}
	var rows []Invitation
	var total int64
	err := v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &rows, selectInvitations, in.Status, after, in.Limit+1, in.Offset())
		if in.WantTotal() {
			tenant.QueueValue(b, &total, countInvitations, in.Status)
		}
	})
	if err != nil {
		return page.Page[Invitation]{}, err
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(i Invitation) any { return i.ID })
	if in.WantTotal() {
		out.Total = &total
	}
	return out, err
}

type getInvitation struct {
	InvitationID id.ID `path:"invitation_id" ref:"invitation" doc:"The invitation."`
}

func (f *Feature) getInvitation(ctx context.Context, v tenant.View, in *getInvitation) (Invitation, error) {
	i, err := tenant.One[Invitation](ctx, v, selectInvitation, in.InvitationID)
	return i, tenant.NotFound(err, "invitation")
}

type createInvitation struct {
	Body struct {
		Email string `json:"email" minLength:"3" maxLength:"254" format:"email" example:"bob@example.com"`
		Role  string `json:"role" maxLength:"40" pattern:"^[a-z][a-z0-9_]*$" doc:"The key of a built-in or a custom role; you must hold all that it holds." example:"member"`
	}
}

func (f *Feature) invite(ctx context.Context, tx *tenant.Tx, in *createInvitation) (Invitation, error) {
	shown, key, err := parseAddress(in.Body.Email)
	if err != nil {
		return Invitation{}, err
	}
	if _, err := tenant.One[Organization](ctx, tx, lockOrganization); err != nil {
		return Invitation{}, tenant.NotFound(err, "organization")
	}
	if err := f.mayGive(ctx, tx, in.Body.Role); err != nil {
		return Invitation{}, err
	}
	member, err := tenant.Value[bool](ctx, tx, selectIsMember, key)
	if err != nil {
		return Invitation{}, err
	}
	if member {
		return Invitation{}, fault.Conflictf("already_member", "The person with this address belongs to the organisation.")
	}
	if _, err := tenant.Exec(ctx, tx, closeExpired, key); err != nil {
		return Invitation{}, err
	}
	s := tx.Scope()
	i, err := tenant.One[Invitation](ctx, tx, insertInvitation, s.Organization, id.New(), shown, key, in.Body.Role, newNonce(), s.User)
	if tenant.Constraint(err) == "invitation_pending" {
		return Invitation{}, fault.Conflictf("invitation_pending", "This address is already invited.").Because(err)
	}
	if err != nil {
		return Invitation{}, err
	}
	if err := f.send(ctx, tx, i.ID, key); err != nil {
		return Invitation{}, err
	}
	return i, InvitationCreated.Emit(ctx, tx, i)
}

type changeInvitation struct {
	InvitationID id.ID `path:"invitation_id" ref:"invitation" doc:"The invitation."`
}

func (f *Feature) revokeInvitation(ctx context.Context, tx *tenant.Tx, in *changeInvitation) (api.None, error) {
	i, err := tenant.One[Invitation](ctx, tx, revokeInvitation, in.InvitationID)
	if err != nil {
		return api.None{}, f.closed(ctx, tx, in.InvitationID, err)
	}
	return api.None{}, InvitationRevoked.Emit(ctx, tx, i)
}

func (f *Feature) resendInvitation(ctx context.Context, tx *tenant.Tx, in *changeInvitation) (Invitation, error) {
	if _, err := tenant.One[Organization](ctx, tx, lockOrganization); err != nil {
		return Invitation{}, tenant.NotFound(err, "organization")
	}
	i, err := tenant.One[Invitation](ctx, tx, renewInvitation, in.InvitationID, newNonce())
	if err != nil {
		return Invitation{}, f.closed(ctx, tx, in.InvitationID, err)
	}
	if err := f.mayGive(ctx, tx, i.Role); err != nil {
		return Invitation{}, err
	}
	_, key, err := parseAddress(i.Email)
	if err != nil {
		return Invitation{}, err
	}
	if err := f.send(ctx, tx, i.ID, key); err != nil {
		return Invitation{}, err
	}
	return i, InvitationResent.Emit(ctx, tx, i)
}

// closed says why an invitation could not be changed.
func (f *Feature) closed(ctx context.Context, tx *tenant.Tx, invitation id.ID, cause error) error {
	if !errors.Is(cause, tenant.ErrNoRows) {
		return cause
	}
	i, err := tenant.One[Invitation](ctx, tx, selectInvitation, invitation)
	if err != nil {
		return tenant.NotFound(err, "invitation")
	}
	return notPending(i)
}

func notPending(i Invitation) error {
	switch i.Status {
	case accepted:
		return fault.Conflictf("invitation_used", "This invitation was accepted.")
	case revoked:
		return fault.Conflictf("invitation_revoked", "This invitation was revoked. Ask for a new one.")
	}
	return fault.Conflictf("invitation_expired", "This invitation has expired. Ask to have it sent again.")
}

type acceptInvitationInput struct {
	Body struct {
		Token string `json:"token" minLength:"1" maxLength:"200" pattern:"^[A-Za-z0-9_-]+$" doc:"The token in the mail." example:"AZjB8nsefDqdUj9Lim4cBw"`
	}
}

// accept proves the token, then enters the organisation that it names. Until
// it is proven, every answer is the same.
func (f *Feature) accept(ctx context.Context, g *tenant.GlobalTx, in *acceptInvitationInput) (OwnOrganization, error) {
	unknown := fault.NotFoundf("invitation")
	c, ok := parseToken(in.Body.Token)
	if !ok {
		return OwnOrganization{}, unknown
	}
	s := scopeIn(ctx, c.organization)
	tx, err := g.Enter(ctx, s)
	if err != nil {
		return OwnOrganization{}, err
	}
	if _, err := tenant.One[Organization](ctx, tx, lockOrganization); err != nil {
		return OwnOrganization{}, tenant.NotFound(err, "invitation")
	}
	type locked struct {
		Nonce      []byte `db:"nonce"`
		AcceptedBy *id.ID `db:"accepted_by_id"`
		SamePerson bool   `db:"same_person"`
	}
	l, err := tenant.One[locked](ctx, tx, lockInvitation, c.invitation, s.User)
	switch {
	case err != nil:
		return OwnOrganization{}, tenant.NotFound(err, "invitation")
	case !f.tokens.proves(c, l.Nonce):
		return OwnOrganization{}, unknown
	case !l.SamePerson:
		return OwnOrganization{}, fault.New(fault.Denied, "invitation_for_another",
			"This invitation was sent to another address. Log in as the person with that address.")
	}
	if l.AcceptedBy == nil {
		if err := f.admit(ctx, tx, c.invitation); err != nil {
			return OwnOrganization{}, err
		}
	}
	o, err := tenant.One[OwnOrganization](ctx, tx, selectOrganization, s.User)
	if errors.Is(err, tenant.ErrNoRows) { // accepted once, removed since
		return OwnOrganization{}, fault.Conflictf("invitation_used", "This invitation was accepted. Ask for a new one.")
	}
	return o, err
}

// admit uses up the invitation and makes the caller a member. One who is a
// member already keeps the role they have.
func (f *Feature) admit(ctx context.Context, tx *tenant.Tx, invitation id.ID) error {
	s := tx.Scope()
	i, err := tenant.One[Invitation](ctx, tx, acceptInvitation, invitation, s.User)
	if err != nil {
		return f.closed(ctx, tx, invitation, err)
	}
	n, err := tenant.Exec(ctx, tx, insertMember, s.Organization, s.User, i.Role)
	if err != nil {
		return err
	}
	if err := InvitationAccepted.Emit(ctx, tx, i); err != nil || n == 0 {
		return err
	}
	if err := roomFor(ctx, tx, s.User, 0); err != nil {
		return err
	}
	m, err := tenant.One[Member](ctx, tx, selectMember, s.User)
	if err != nil {
		return err
	}
	return MemberAdded.Emit(ctx, tx, m)
}
