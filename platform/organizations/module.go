package organizations

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/mail"
	"github.com/guildhall-dev/guildhall/internal/seal"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/module"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Deps is what the feature needs.
type Deps struct {
	DB        *tenant.DB
	Queue     *jobs.Queue
	Keys      *seal.Keyring // of the tokens of invitations
	Mail      mail.Sender
	PublicURL string // what the links in mails begin with
	Authority *authz.Authority
	Log       *slog.Logger
}

// Feature is organisations, their members and invitations.
type Feature struct {
	Deps
	tokens tokens
}

// New returns the feature.
func New(d Deps) *Feature { return &Feature{Deps: d, tokens: tokens{d.Keys}} }

// The permissions of the feature.
var (
	Read          = authz.Permission{Key: "organizations.read", Doc: "See the organisation.", From: authz.Guest}
	Write         = authz.Permission{Key: "organizations.write", Doc: "Change the organisation's name, slug and currency.", From: authz.Admin}
	Manage        = authz.Permission{Key: "organizations.manage", Doc: "Delete the organisation. Restoring it, and making and unmaking owners, takes the role owner.", From: authz.Owner}
	MembersRead   = authz.Permission{Key: "members.read", Doc: "See who belongs to the organisation.", From: authz.Guest}
	MembersManage = authz.Permission{Key: "members.manage", Doc: "Invite and remove people and change their roles.", From: authz.Admin}
)

// The events of the feature.
var (
	Created            = event.Define[Organization]("organization.created", "An organisation was made.")
	Updated            = event.Define[Organization]("organization.updated", "The organisation's own data changed.")
	Deleted            = event.Define[Organization]("organization.deleted", "The organisation was put into the bin.")
	Restored           = event.Define[Organization]("organization.restored", "The organisation was taken out of the bin.")
	MemberAdded        = event.Define[Member]("member.added", "Somebody became a member.")
	MemberChanged      = event.Define[Member]("member.role_changed", "A member got another role.")
	MemberRemoved      = event.Define[Member]("member.removed", "A member left or was removed.")
	InvitationCreated  = event.Define[Invitation]("invitation.created", "Somebody was invited.")
	InvitationResent   = event.Define[Invitation]("invitation.resent", "An invitation was sent again; the link before it is dead.")
	InvitationRevoked  = event.Define[Invitation]("invitation.revoked", "An invitation was revoked.")
	InvitationAccepted = event.Define[Invitation]("invitation.accepted", "An invitation was accepted.")
)

// AddMember makes a person a member without an invitation: for the
// demonstration and the command line.
func (f *Feature) AddMember(ctx context.Context, tx *tenant.Tx, user id.ID, role string) error {
	if _, err := tenant.Exec(ctx, tx, lockOrganization); err != nil {
		return err
	}
	switch n, err := tenant.Exec(ctx, tx, insertMember, tx.Scope().Organization, user, role); {
	case err != nil:
		return err
	case n == 0: // a member already
		return nil
	}
	m, err := tenant.One[Member](ctx, tx, selectMember, user)
	if err != nil {
		return fmt.Errorf("organizations.AddMember: %w", err)
	}
	return MemberAdded.Emit(ctx, tx, m)
}

// Module is the feature's table of contents.
func (f *Feature) Module() module.Module {
	return module.Module{
		Name:        "organizations",
		Doc:         "Organisations, their members and invitations.",
		Permissions: []authz.Permission{Read, Write, Manage, MembersRead, MembersManage},
		Operations:  func(r *api.Router) { f.operations(r); f.memberOperations(r); f.invitationOperations(r) },
		Events: []*event.Type{
			Created.Type, Updated.Type, Deleted.Type, Restored.Type, MemberAdded.Type, MemberChanged.Type, MemberRemoved.Type,
			InvitationCreated.Type, InvitationResent.Type, InvitationRevoked.Type, InvitationAccepted.Type,
		},
		Jobs: []jobs.Definition{
			jobs.Work(mailInvitation, f.sendInvitation),
			jobs.Work(purge, f.purgeOne),
			jobs.Clock("organizations.purge-due", purgeEvery, f.purgeDue),
			jobs.Clock("organizations.purge-sends", purgeEvery, f.purgeOldSends),
		},
	}
}

func (f *Feature) operations(r *api.Router) {
	api.Global(r, api.Op{
		ID: "create-organization", Route: "POST /organizations", Summary: "Make an organisation", Access: api.SignedIn,
		Doc:   "Makes an organisation with you as its owner. The same token works in it at once. A person belongs to 200 organisations at most.",
		Emits: api.Events(Created.Type, MemberAdded.Type), Errors: []string{"409 organization_limit", "409 organization_slug_taken"},
	}, f.create)
	api.GlobalRead(r, api.Op{
		ID: "list-organizations", Route: "GET /organizations", Summary: "List your organisations", Access: api.SignedIn,
		Doc: "Lists the organisations that you belong to, oldest first, each with your role.",
	}, f.list)
	api.Read(r, api.Op{
		ID: "get-organization", Route: "GET /organization", Summary: "Read the organisation", Can: Read,
		Doc: "Answers with the organisation that the request names, and your role in it.",
	}, f.get)
	api.Write(r, api.Op{
		ID: "update-organization", Route: "PATCH /organization", Summary: "Change the organisation", Can: Write, Emits: api.Events(Updated.Type),
		Doc: "Changes the named fields.", Errors: []string{"409 organization_slug_taken"},
	}, f.update)
	api.Write(r, api.Op{
		ID: "delete-organization", Route: "DELETE /organization", Summary: "Delete the organisation", Can: Manage, Emits: api.Events(Deleted.Type),
		Doc: "Puts the organisation into the bin: nobody can use it from this moment. An owner can restore it for 30 days; then all that it holds is deleted for good.",
	}, f.remove)
	api.Global(r, api.Op{
		ID: "restore-organization", Route: "POST /organizations/{organization_id}/restore", Summary: "Restore a deleted organisation",
		Access: api.SignedIn, Status: 200, Emits: api.Events(Restored.Type),
		Doc:    "Takes an organisation out of the bin, as one of its owners; no other role can.",
		Errors: []string{"409 organization_not_deleted", "409 organization_restore_over"},
	}, f.restore)
}

func (f *Feature) memberOperations(r *api.Router) {
	api.Read(r, api.Op{
		ID: "list-members", Route: "GET /members", Summary: "List the members", Can: MembersRead,
		Doc: "Lists who belongs to the organisation, in the order in which they joined. Guests see themselves and the people of the projects they were added to.",
	}, f.listMembers)
	api.Read(r, api.Op{
		ID: "get-member", Route: "GET /members/{user_id}", Summary: "Read a member", Can: MembersRead,
		Doc: "Answers with one member; for guests, one of those that the list shows.",
	}, f.getMember)
	api.Write(r, api.Op{
		ID: "update-member", Route: "PATCH /members/{user_id}", Summary: "Change a member's role", Can: MembersManage, Emits: api.Events(MemberChanged.Type),
		Doc:    "Gives a member another role, which counts at once. Who becomes a guest is taken off tasks, and as the owner off projects, that he does not see any more. You must hold all that the old and the new role hold; only owners make and unmake owners.",
		Errors: []string{"409 last_owner"},
	}, f.updateMember)
	api.Write(r, api.Op{
		ID: "remove-member", Route: "DELETE /members/{user_id}", Summary: "Remove a member, or leave", AnyMember: true, Emits: api.Events(MemberRemoved.Type),
		Doc:    "Ends a membership at once, and revokes the person's API keys. Everybody may leave; removing others needs members.manage and all that their role holds.",
		Errors: []string{"409 last_owner"},
	}, f.removeMember)
}

func (f *Feature) invitationOperations(r *api.Router) {
	api.Read(r, api.Op{
		ID: "list-invitations", Route: "GET /invitations", Summary: "List the invitations", Can: MembersManage,
		Doc: "Lists invitations, newest first.",
	}, f.listInvitations)
	api.Write(r, api.Op{
		ID: "create-invitation", Route: "POST /invitations", Summary: "Invite somebody", Can: MembersManage, Emits: api.Events(InvitationCreated.Type),
		Doc: "Mails an invitation that can be accepted once within seven days, by the person with that address. You must hold all that the role holds. " +
			"An address gets 5 invitations an hour at most from an organisation; a person sends 100 a day, or 20 while his own address is not confirmed, an organisation 300.",
		Errors: []string{"409 already_member", "409 invitation_pending", "429 rate_limited"},
	}, f.invite)
	api.Read(r, api.Op{
		ID: "get-invitation", Route: "GET /invitations/{invitation_id}", Summary: "Read an invitation", Can: MembersManage,
		Doc: "Answers with one invitation.",
	}, f.getInvitation)
	api.Write(r, api.Op{
		ID: "revoke-invitation", Route: "DELETE /invitations/{invitation_id}", Summary: "Revoke an invitation", Can: MembersManage, Emits: api.Events(InvitationRevoked.Type),
		Doc: "Revokes an invitation that was not accepted.", Errors: []string{"409 invitation_used", "409 invitation_revoked"},
	}, f.revokeInvitation)
	api.Write(r, api.Op{
		ID: "resend-invitation", Route: "POST /invitations/{invitation_id}/resend", Summary: "Send an invitation again", Can: MembersManage, Status: 200,
		Doc:   "Mails a new link, good for another seven days; the one before is dead. You must hold all that the role holds. It counts as an invitation sent.",
		Emits: api.Events(InvitationResent.Type), Errors: []string{"409 invitation_used", "409 invitation_revoked", "429 rate_limited"},
	}, f.resendInvitation)
	api.Global(r, api.Op{
		ID: "accept-invitation", Route: "POST /invitations/accept", Summary: "Accept an invitation", Access: api.SignedIn, Status: 200, Secret: true,
		Doc:   "Makes you a member of the organisation that invited you. Your address must be the one that the invitation was sent to. Repeating it answers the same.",
		Emits: api.Events(InvitationAccepted.Type, MemberAdded.Type),
		Errors: []string{
			"403 invitation_for_another", "404 not_found", "409 invitation_used", "409 invitation_revoked", "409 invitation_expired", "409 organization_limit",
		},
	}, f.accept)
}
