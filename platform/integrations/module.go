package integrations

import (
	"context"
	"log/slog"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/seal"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/module"
	"github.com/guildhall-dev/guildhall/plugins"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Deps is what the feature stands on.
type Deps struct {
	DB        *tenant.DB
	Host      *plugins.Host
	Keys      *seal.Keyring
	PublicURL string
	Authority *authz.Authority
	Log       *slog.Logger
}

// Feature is the feature.
type Feature struct{ Deps }

// New returns the feature.
func New(d Deps) *Feature { return &Feature{d} }

// The permissions of the feature.
var (
	mayRead   = authz.Permission{Key: "plugins.read", Doc: "See the catalogue of plugins and which are installed.", From: authz.Member}
	mayRun    = authz.Permission{Key: "plugins.write", Doc: "Run the actions that plugins offer.", From: authz.Member}
	mayManage = authz.Permission{Key: "plugins.manage", Doc: "Install, configure, suspend, upgrade and remove plugins.", From: authz.Admin}

	// joinsPrivate is the right to join private projects, which the feature of
	// projects defines.
	joinsPrivate = authz.Permission{Key: "projects.manage"}
)

// Module is the feature's table of contents.
func (f *Feature) Module() module.Module {
	return module.Module{
		Name:        "plugins",
		Doc:         "Plugins: the catalogue, what the organisation installed and granted, their actions and addresses.",
		Permissions: []authz.Permission{mayRead, mayRun, mayManage},
		Operations: func(r *api.Router) {
			f.catalogueOperations(r)
			f.installationOperations(r)
			f.useOperations(r)
		},
		Events:    api.Events(Created.Type, Updated.Type, Quarantined.Type, RolledBack.Type, Deleted.Type, plugins.Happened.Type),
		Listeners: []event.Listener{f.Host.Listener()},
		Jobs:      append(f.Host.Jobs(), jobs.Clock("plugins.update", time.Minute, f.updateAll)),
		Points:    []*plugins.Point{SendNotification.Point},
		Start:     f.Host.Run,
	}
}

func (f *Feature) catalogueOperations(r *api.Router) {
	api.Read(r, api.Op{
		ID: "list-plugins", Route: "GET /plugins", Can: mayRead, Summary: "List the plugins that can be installed",
		Doc: "The operator's catalogue, by id: each plugin in the version that an installation would get, with all that it asks for.",
	}, f.listPlugins)
	api.Read(r, api.Op{
		ID: "get-plugin", Route: "GET /plugins/{plugin_id}", Can: mayRead, Summary: "Get a plugin of the catalogue",
		Doc: "One plugin with all its versions, the newest first.",
	}, f.getPlugin)
}

func (f *Feature) installationOperations(r *api.Router) {
	api.Read(r, api.Op{
		ID: "list-plugin-installations", Route: "GET /plugin-installations", Can: mayRead, Summary: "List the installed plugins",
		Doc: "Newest first. Secret settings are never shown.",
	}, f.listInstallations)
	api.Write(r, api.Op{
		ID: "create-plugin-installation", Route: "POST /plugin-installations", Can: mayManage, Secret: true, Summary: "Install a plugin",
		Doc: "grants names what you consent to, out of what the version asks for; everything that is not optional has to be granted. You can grant a permission " +
			"only if you hold it. Without a version it is the one that the operator pinned, else the newest. The plugin is started, and looks at its settings, before it is installed.",
		Emits: api.Events(Created.Type), Errors: []string{"409 plugin_already_installed", "409 plugin_version_revoked", "409 plugin_does_not_start"},
	}, f.create, f.beforeCreate)
	api.Read(r, api.Op{
		ID: "get-plugin-installation", Route: "GET /plugin-installations/{plugin_installation_id}", Can: mayRead, Summary: "Get an installed plugin",
		Doc: "One installation; update says whether there is a newer version and what it asks for beyond what is granted.",
	}, f.get)
	api.Write(r, api.Op{
		ID: "update-plugin-installation", Route: "PATCH /plugin-installations/{plugin_installation_id}", Can: mayManage, Secret: true, Summary: "Configure, suspend or resume a plugin",
		Doc: "settings is a merge patch: a secret that it does not name stays as it is, null takes a field out. While a plugin is suspended it is not asked and not called, and events " +
			"wait for it for up to 30 days. Setting status to active ends a quarantine too.",
		Emits: api.Events(Updated.Type), Errors: []string{"409 plugin_version_revoked", "409 plugin_does_not_start"},
	}, f.update, f.beforeUpdate)
	api.Write(r, api.Op{
		ID: "upgrade-plugin-installation", Route: "POST /plugin-installations/{plugin_installation_id}/upgrade", Can: mayManage, Secret: true, Status: 200, Summary: "Move a plugin to another version",
		Doc:   "grants adds consent to what the version asks for beyond what was granted. The new version is started and checked before anything moves; calls that are on their way end on the old one.",
		Emits: api.Events(Updated.Type), Errors: []string{"409 plugin_version_revoked", "409 plugin_does_not_start"},
	}, f.upgrade, f.beforeUpgrade)
	api.Write(r, api.Op{
		ID: "delete-plugin-installation", Route: "DELETE /plugin-installations/{plugin_installation_id}", Can: mayManage, Summary: "Remove a plugin",
		Doc: "With its settings, values, secrets and schedules, and the events that wait for it.", Emits: api.Events(Deleted.Type),
	}, f.delete)
	api.Read(r, api.Op{
		ID: "get-plugin-installation-health", Route: "GET /plugin-installations/{plugin_installation_id}/health", Can: mayRead, Summary: "See how a plugin fares",
		Doc: "The state of its process with the reason, what it uses, and its calls by point, as the replica that answers sees them.",
	}, f.health)
	api.Read(r, api.Op{
		ID: "list-plugin-events", Route: "GET /plugin-installations/{plugin_installation_id}/events", Can: mayManage, Summary: "List the events that wait for a plugin",
		Doc: "Events that the plugin has not heard to the end, oldest first; failed_at says that it is not tried again by itself.",
	}, f.listQueued)
	api.Write(r, api.Op{
		ID: "retry-plugin-events", Route: "POST /plugin-installations/{plugin_installation_id}/events/retry", Can: mayManage, Status: 200, Summary: "Try again what a plugin could not hear",
		Doc: "Everything that failed becomes due at once, in its order.",
	}, f.retryQueued)
}

func (f *Feature) useOperations(r *api.Router) {
	api.Read(r, api.Op{
		ID: "list-plugin-actions", Route: "GET /plugin-actions", Can: mayRun, Summary: "List the actions that plugins offer",
		Doc: "Of the plugins that run in the organisation, those that the caller may run.",
	}, f.listActions)
	api.Call(r, api.Op{
		ID: "run-plugin-action", Route: "POST /plugin-installations/{plugin_installation_id}/actions/{action}", Can: mayRun, Status: 200, Summary: "Run an action of a plugin",
		Doc:    "input fits the action's schema. It is run once, by the plugin, within 25 seconds. The audit log tells that it was run, and by whom; what it changes is the plugin's doing.",
		Errors: []string{"422 plugin_refused", "503 plugin_unavailable"},
	}, f.runAction)
	api.Read(r, api.Op{
		ID: "list-notification-channels", Route: "GET /notification-channels", Can: mayRead, Summary: "List the notification channels that plugins provide",
		Doc: "Such as SMS or chat.",
	}, f.listChannels)
	api.Call(r, api.Op{
		ID: "send-test-notification", Route: "POST /plugin-installations/{plugin_installation_id}/channels/{channel}/test", Can: mayManage, Status: 200, Summary: "Send a test notification",
		Doc:    "Sends a message through a channel that the plugin provides, to try its settings.",
		Errors: []string{"422 plugin_refused", "503 plugin_unavailable"},
	}, f.testChannel)
	api.Call(r, api.Op{
		ID: "deliver-to-plugin", Route: "POST /plugin-installations/{plugin_installation_id}/inbound/{inbound}", Access: api.Public, MaxBody: maxInbound, Status: 200,
		Summary: "Deliver a foreign service's request to a plugin",
		Doc: "For foreign services. The plugin verifies who sent it, and its answer is the answer, of any status and type. An address that no plugin serves is 404, and one whose plugin " +
			"does not answer is 503: send it again later.",
		Errors: []string{"404 not_found", "503 plugin_unavailable"},
	}, f.receive)
}

// organizationOf finds the organisation of an installation that a public
// address names; nil if there is none.
func (f *Feature) organizationOf(ctx context.Context, installation id.ID) (*id.ID, error) {
	return tenant.Value[*id.ID](ctx, f.DB.Global(), selectOrganization, installation)
}

const selectOrganization = `select plugin_installation_by_id($1)`
