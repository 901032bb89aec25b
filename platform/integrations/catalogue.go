package integrations

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"golang.org/x/mod/semver"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Plugin is a plugin of the catalogue.
type Plugin struct {
	ID          string          `json:"id" maxLength:"40" example:"chat"`
	Name        string          `json:"name" maxLength:"100" example:"Chat"`
	Description string          `json:"description" maxLength:"1000" example:"Posts what happens to a chat."`
	Publisher   string          `json:"publisher" maxLength:"200" example:"Guildhall"`
	Homepage    string          `json:"homepage" maxLength:"2048" example:"https://guildhall.example.com/chat"`
	License     string          `json:"license" maxLength:"100" example:"Apache-2.0"`
	Version     string          `json:"version" maxLength:"100" example:"1.2.0" doc:"The version that an installation would get."`
	Pinned      bool            `json:"pinned" doc:"The operator chose the version for everybody."`
	Asks        []PluginAsk     `json:"asks" nullable:"false" maxItems:"500" doc:"What that version asks for."`
	Settings    json.RawMessage `json:"settings_schema" doc:"JSON Schema of its settings; a field with x-secret is never shown again."`
	Versions    []PluginVersion `json:"versions" nullable:"false" maxItems:"1000" doc:"All versions, the newest first."`
}

// PluginAsk is something that an organisation grants.
type PluginAsk struct {
	Key      string `json:"key" maxLength:"300" example:"tasks.read" doc:"What stands in grants."`
	Kind     string `json:"kind" enum:"permission,event,hook,host,host-setting,inbound,private_projects,provide,action,schedule" example:"permission"`
	Why      string `json:"why" maxLength:"1000" example:"To name the task in the message." doc:"In the words of the plugin's author."`
	Optional bool   `json:"optional" doc:"The plugin works without it."`
}

// PluginVersion is a version of a plugin.
type PluginVersion struct {
	Version       string      `json:"version" maxLength:"100" example:"1.2.0"`
	Signer        string      `json:"signer" maxLength:"200" example:"ghpk_hDH3p5ReWyYrQ6vC4LL2uW0f4h4F1N1m0oQzGmHkq0I" doc:"The public key that signed it."`
	SignerName    string      `json:"signer_name" maxLength:"200" example:"Guildhall" doc:"What the operator calls who holds the key; empty if it is not trusted any more, and the version does not run."`
	Size          int64       `json:"size" minimum:"0" example:"6000000" doc:"Of the bundle, in bytes."`
	RevokedReason *string     `json:"revoked_reason" maxLength:"1000" doc:"Why the operator revoked it, so that it never runs; null if not."`
	RevokedAt     *time.Time  `json:"revoked_at"`
	AddedAt       time.Time   `json:"added_at"`
	Asks          []PluginAsk `json:"asks" nullable:"false" maxItems:"500" doc:"What this version asks for."`
}

// versionRow is a version as the catalogue keeps it.
type versionRow struct {
	PluginID      string          `db:"plugin_id"`
	Version       string          `db:"version"`
	RawManifest   json.RawMessage `db:"manifest"`
	Signer        string          `db:"signer"`
	Size          int64           `db:"size"`
	AddedAt       time.Time       `db:"added_at"`
	RevokedAt     *time.Time      `db:"revoked_at"`
	RevokedReason *string         `db:"revoked_reason"`
	SignerName    *string         `db:"signer_name"`
	Pinned        *string         `db:"pinned_version"`
}

func (v versionRow) runs() bool { return v.RevokedAt == nil && v.SignerName != nil }

func (v versionRow) manifest() (*bundle.Manifest, error) { return bundle.ParseManifest(v.RawManifest) }

// versions are the rows of one plugin.
type versions []versionRow

// target is the version that installations are to have: the pinned one, else the
// newest that runs and is no pre-release; nil if there is none.
func (vs versions) target() *versionRow {
	var best *versionRow
	for i := range vs {
		v := &vs[i]
		if v.Pinned != nil && *v.Pinned == v.Version {
			return v
		}
		if !v.runs() || semver.Prerelease("v"+v.Version) != "" {
			continue
		}
		if best == nil || semver.Compare("v"+v.Version, "v"+best.Version) > 0 {
			best = v
		}
	}
	return best
}

// find returns a version.
func (vs versions) find(version string) *versionRow {
	i := slices.IndexFunc(vs, func(v versionRow) bool { return v.Version == version })
	if i < 0 {
		return nil
	}
	return &vs[i]
}

// byPlugin groups rows.
func byPlugin(rows []versionRow) map[string]versions {
	out := map[string]versions{}
	for _, r := range rows {
		out[r.PluginID] = append(out[r.PluginID], r)
	}
	return out
}

// show is the plugin as the API shows it; false if no version of it can be
// installed and it is not asked for by name.
func (vs versions) show() (Plugin, bool, error) {
	v := vs.target()
	usable := v != nil && v.runs()
	if v == nil {
		v = &vs[len(vs)-1]
	}
	m, err := v.manifest()
	if err != nil {
		return Plugin{}, false, err
	}
	p := Plugin{
		ID: m.ID, Name: m.Name, Description: m.Description, Publisher: m.Publisher, Homepage: m.Homepage, License: m.License,
		Version: v.Version, Pinned: v.Pinned != nil, Asks: asksOf(m), Settings: m.Settings, Versions: []PluginVersion{},
	}
	if len(p.Settings) == 0 {
		p.Settings = json.RawMessage(`{"type":"object","additionalProperties":false}`)
	}
	for _, r := range vs {
		name := ""
		if r.SignerName != nil {
			name = *r.SignerName
		}
		of, err := r.manifest()
		if err != nil {
			return Plugin{}, false, err
		}
		p.Versions = append(p.Versions, PluginVersion{r.Version, r.Signer, name, r.Size, r.RevokedReason, r.RevokedAt, r.AddedAt, asksOf(of)})
	}
	slices.SortFunc(p.Versions, func(a, b PluginVersion) int { return -semver.Compare("v"+a.Version, "v"+b.Version) })
	return p, usable, nil
}

func asksOf(m *bundle.Manifest) []PluginAsk {
	out := []PluginAsk{}
	for _, a := range m.Asks() {
		out = append(out, PluginAsk(a))
	}
	return out
}

type listPlugins struct{ api.ListParams }

// listPlugins shows the catalogue. It is as large as what one operator let in,
// so it is read whole.
func (f *Feature) listPlugins(ctx context.Context, v tenant.View, in *listPlugins) (page.Page[Plugin], error) {
	var none page.Page[Plugin]
	var last string
	if _, err := in.Position(ctx, &last); err != nil {
		return none, err
	}
	rows, err := tenant.List[versionRow](ctx, v, selectCatalogue)
	if err != nil {
		return none, err
	}
	out := []Plugin{}
	for _, vs := range byPlugin(rows) {
		p, usable, err := vs.show()
		if err != nil {
			return none, err
		}
		if usable && p.ID > last {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b Plugin) int { return cmp.Compare(a.ID, b.ID) })
	total := int64(len(out))
	out = out[min(in.Offset(), len(out)):]
	page, err := api.Page(ctx, in.ListParams, out[:min(in.Limit+1, len(out))], func(p Plugin) any { return p.ID })
	if in.WantTotal() {
		page.Total = &total
	}
	return page, err
}

type pluginPath struct {
	PluginID string `path:"plugin_id" maxLength:"40" pattern:"^[a-z][a-z_]{1,38}[a-z]$" example:"chat" doc:"The plugin."`
}

func (f *Feature) getPlugin(ctx context.Context, v tenant.View, in *pluginPath) (Plugin, error) {
	vs, err := f.versionsOf(ctx, v, in.PluginID)
	if err != nil {
		return Plugin{}, err
	}
	p, _, err := vs.show()
	return p, err
}

func (f *Feature) versionsOf(ctx context.Context, q tenant.Querier, plugin string) (versions, error) {
	rows, err := tenant.List[versionRow](ctx, q, selectVersionsOf, []string{plugin})
	if err == nil && len(rows) == 0 {
		err = fault.NotFoundf("plugin")
	}
	return rows, err
}
