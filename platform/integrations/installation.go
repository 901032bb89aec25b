package integrations

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
)

// The states of an installation.
const (
	statusActive      = "active"
	statusQuarantined = "quarantined" // and suspended, which only people set
)

// PluginInstallation is a plugin in an organisation.
type PluginInstallation struct {
	ID              id.ID           `db:"id" json:"id" ref:"plugin_installation"`
	PluginID        string          `db:"plugin_id" json:"plugin_id" maxLength:"40" example:"chat"`
	PluginVersion   string          `db:"plugin_version" json:"plugin_version" maxLength:"100" example:"1.2.0"`
	PreviousVersion *string         `db:"previous_version" json:"previous_version" maxLength:"100" example:"1.1.0" doc:"The one before the last upgrade; null if there was none, or it was rolled back."`
	Status          string          `db:"status" json:"status" enum:"active,suspended,quarantined" example:"active"`
	StatusReason    string          `db:"status_reason" json:"status_reason" maxLength:"1000" doc:"Why it was quarantined or rolled back."`
	Grants          []string        `db:"grants" json:"grants" nullable:"false" maxItems:"500" maxLength:"300" example:"[\"tasks.read\",\"event:task.*\"]" doc:"What the organisation consented to, exactly."`
	Settings        json.RawMessage `db:"settings" json:"settings" doc:"An object; without its secret fields."`
	SecretsSet      []string        `db:"-" json:"secrets_set" nullable:"false" maxItems:"100" maxLength:"100" doc:"Which secret fields have a value."`
	AutoUpdate      bool            `db:"auto_update" json:"auto_update" doc:"Newer versions that ask for no more than what is granted replace this one by themselves."`
	Update          *PluginUpdate   `db:"-" json:"update" doc:"The version that it could be moved to; null if there is none."`
	Version         int64           `db:"version" json:"version" minimum:"1" maximum:"9007199254740991" example:"1" doc:"Counts the changes of the installation; also its ETag."`
	UpgradedAt      time.Time       `db:"upgraded_at" json:"upgraded_at"`
	CreatedAt       time.Time       `db:"created_at" json:"created_at"`
	UpdatedAt       time.Time       `db:"updated_at" json:"updated_at"`
}

// PluginUpdate is a version that an installation could be moved to.
type PluginUpdate struct {
	Version   string   `json:"version" maxLength:"100" example:"1.3.0"`
	NewGrants []string `json:"new_grants" nullable:"false" maxItems:"500" maxLength:"300" doc:"What it needs beyond what is granted; empty if nothing."`
}

// RowVersion implements the ETag.
func (i PluginInstallation) RowVersion() int64 { return i.Version }

// Location is the installation's path.
func (i PluginInstallation) Location() string { return "/v1/plugin-installations/" + i.ID.String() }

// EventSubject implements event.Subjected.
func (i PluginInstallation) EventSubject() event.Subject { return event.Subject{ID: i.ID} }

// The events of installations.
var (
	Created     = event.Define[PluginInstallation]("plugin_installation.created", "A plugin was installed.")
	Updated     = event.Define[PluginInstallation]("plugin_installation.updated", "A plugin was configured, suspended, resumed or moved to another version.")
	Quarantined = event.Define[PluginInstallation]("plugin_installation.quarantined", "A plugin was stopped because it failed too often; status_reason says how.")
	RolledBack  = event.Define[PluginInstallation]("plugin_installation.rolled_back", "A plugin was returned to the version before, because the new one failed; status_reason says how.")
	Deleted     = event.Define[PluginInstallation]("plugin_installation.deleted", "A plugin was removed.")
)

// row is an installation with what is not shown of it.
type row struct {
	PluginInstallation
	Secrets []byte `db:"secrets"`
}

// standing are the grants that hold for another version too. The key of a schedule
// says nothing of how often it runs: where that is more often, it is asked for anew.
func standing(was, next *bundle.Manifest, grants []string) []string {
	every := map[string]time.Duration{}
	for _, s := range was.Schedules {
		every[bundle.AskSchedule+":"+s.Name] = s.Period()
	}
	out := slices.Clone(grants)
	for _, s := range next.Schedules {
		key := bundle.AskSchedule + ":" + s.Name
		if before, had := every[key]; had && s.Period() < before {
			out = slices.DeleteFunc(out, func(g string) bool { return g == key })
		}
	}
	return out
}

// missing are the asks of a version that are neither granted nor optional.
func missing(m *bundle.Manifest, grants []string) []string {
	out := []string{}
	for _, a := range m.Asks() {
		if !a.Optional && !slices.Contains(grants, a.Key) {
			out = append(out, a.Key)
		}
	}
	return out
}
