package access

import (
	"log/slog"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/module"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Deps is what the feature needs.
type Deps struct {
	DB        *tenant.DB
	Authority *authz.Authority
	Log       *slog.Logger
}

// Feature is roles, API keys and the explanation of decisions.
type Feature struct{ Deps }

// New returns the feature.
func New(d Deps) *Feature { return &Feature{d} }

// The permissions of the feature.
var (
	RolesRead   = authz.Permission{Key: "roles.read", Doc: "See roles and why somebody may do something.", From: authz.Member}
	RolesManage = authz.Permission{Key: "roles.manage", Doc: "Make, change and delete custom roles.", From: authz.Admin}
	KeysRead    = authz.Permission{Key: "api_keys.read", Doc: "See one's own API keys, without the keys themselves.", From: authz.Member}
	KeysWrite   = authz.Permission{Key: "api_keys.write", Doc: "Make and revoke one's own API keys.", From: authz.Member}
	KeysManage  = authz.Permission{Key: "api_keys.manage", Doc: "See and revoke everybody's API keys.", From: authz.Admin}
)

// The events of the feature.
var (
	RoleCreated = event.Define[Role]("role.created", "A custom role was made.")
	RoleUpdated = event.Define[Role]("role.updated", "A custom role was changed; its holders' rights changed at once.")
	RoleDeleted = event.Define[Role]("role.deleted", "A custom role that nobody had was deleted.")
	KeyCreated  = event.DefineInternal[APIKey]("api_key.created", "An API key was made.")
	KeyRevoked  = event.DefineInternal[APIKey]("api_key.revoked", "An API key was revoked, or its creator left.")
)

// Module is the feature's table of contents.
func (f *Feature) Module() module.Module {
	return module.Module{
		Name:        "access",
		Doc:         "Roles and their permissions, API keys, and why somebody may or may not do something.",
		Permissions: []authz.Permission{RolesRead, RolesManage, KeysRead, KeysWrite, KeysManage},
		Operations:  func(r *api.Router) { f.roleOperations(r); f.keyOperations(r) },
		Events:      []*event.Type{RoleCreated.Type, RoleUpdated.Type, RoleDeleted.Type, KeyCreated.Type, KeyRevoked.Type},
		Listeners:   []event.Listener{{Name: "access.keys-of-removed", Types: []string{"member.removed"}, Hear: f.hearRemoved}},
	}
}

func (f *Feature) roleOperations(r *api.Router) {
	api.Read(r, api.Op{
		ID: "list-permissions", Route: "GET /permissions", Summary: "List the permissions", AnyMember: true,
		Doc: "Lists the catalogue of permissions and which roles of the organisation hold each. Every member may read it: it says what roles can do, not who has them.",
	}, f.listPermissions)
	api.Read(r, api.Op{
		ID: "list-roles", Route: "GET /roles", Summary: "List the roles", Can: RolesRead,
		Doc: "Lists the built-in roles from most to least, then the custom roles of the organisation by key.",
	}, f.listRoles)
	api.Write(r, api.Op{
		ID: "create-role", Route: "POST /roles", Summary: "Make a custom role", Can: RolesManage, Emits: api.Events(RoleCreated.Type),
		Doc:    "Makes a role of permissions from the catalogue. A permission that you do not hold yourself is refused.",
		Errors: []string{"409 role_key_taken", "409 role_limit"},
	}, f.createRole)
	api.Read(r, api.Op{
		ID: "get-role", Route: "GET /roles/{role_id}", Summary: "Read a custom role", Can: RolesRead,
		Doc: "Answers with one custom role. The built-in roles have no id; the list shows them.",
	}, f.getRole)
	api.Write(r, api.Op{
		ID: "update-role", Route: "PATCH /roles/{role_id}", Summary: "Change a custom role", Can: RolesManage, Emits: api.Events(RoleUpdated.Type),
		Doc: "Changes the named fields. The new rights count at once for everybody who has the role. A role that holds, or would hold, a permission that you do not hold is refused. Who becomes a guest by it is taken off tasks, and as the owner off projects, that he does not see any more.",
	}, f.updateRole)
	api.Write(r, api.Op{
		ID: "delete-role", Route: "DELETE /roles/{role_id}", Summary: "Delete a custom role", Can: RolesManage, Emits: api.Events(RoleDeleted.Type),
		Doc:    "Deletes a role that no member and no open invitation has. You must hold all that it holds.",
		Errors: []string{"409 role_in_use"},
	}, f.deleteRole)
	api.Read(r, api.Op{
		ID: "explain-access", Route: "GET /access/explain", Summary: "Explain why somebody may do something", Can: RolesRead,
		Doc:    "Says whether a member's role holds a permission, and which rule gives it. What a person may see within projects is decided by their membership there.",
		Errors: []string{"404 not_found"},
	}, f.explainAccess)
}

func (f *Feature) keyOperations(r *api.Router) {
	api.Read(r, api.Op{
		ID: "list-api-keys", Route: "GET /api-keys", Summary: "List the API keys", Can: KeysRead,
		Doc: "Lists the keys that were not revoked, oldest first: your own, or everybody's with api_keys.manage.",
	}, f.listKeys)
	api.Write(r, api.Op{
		ID: "create-api-key", Route: "POST /api-keys", Summary: "Make an API key", Can: KeysWrite, Emits: api.Events(KeyCreated.Type), Secret: true,
		Doc: "Makes a key for this organisation and shows it once. Its rights are its permissions and, at every moment, only those that you hold yourself.",
	}, f.createKey)
	api.Read(r, api.Op{
		ID: "get-api-key", Route: "GET /api-keys/{api_key_id}", Summary: "Read an API key", Can: KeysRead,
		Doc: "Answers with what is known of a key; never with the key itself.",
	}, f.getKey)
	api.Write(r, api.Op{
		ID: "revoke-api-key", Route: "DELETE /api-keys/{api_key_id}", Summary: "Revoke an API key", Can: KeysWrite, Emits: api.Events(KeyRevoked.Type),
		Doc: "Revokes a key at once, on every replica. Others' keys need api_keys.manage.",
	}, f.revokeKey)
}
