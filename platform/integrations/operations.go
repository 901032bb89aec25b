package integrations

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"

	"golang.org/x/mod/semver"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/plugins"
	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
	"github.com/guildhall-dev/guildhall/tenant"
)

// complete fills in what does not stand in the row.
func (f *Feature) complete(ctx context.Context, organization id.ID, r row, vs versions) (PluginInstallation, error) {
	i := r.PluginInstallation
	var err error
	if i.SecretsSet, err = f.sealed(organization, r); err != nil { // of a key that is gone, perhaps: what is there can still be replaced
		f.Log.ErrorContext(ctx, "the secrets of an installation cannot be opened", "installation_id", i.ID.String(), "error", err)
		i.SecretsSet = []string{}
	}
	slices.Sort(i.SecretsSet)
	v := vs.find(i.PluginVersion)
	if v == nil {
		return i, nil
	}
	t := vs.target()
	if t == nil || t.Version == i.PluginVersion || t.Pinned == nil && semver.Compare("v"+t.Version, "v"+i.PluginVersion) < 0 {
		return i, nil
	}
	next, err := t.manifest()
	if err != nil {
		return i, err
	}
	now, err := v.manifest()
	if err != nil {
		return i, err
	}
	i.Update = &PluginUpdate{Version: t.Version, NewGrants: missing(next, standing(now, next, i.Grants))}
	return i, nil
}

// sealed names the fields that are stored sealed.
func (f *Feature) sealed(organization id.ID, r row) ([]string, error) {
	raw, err := plugins.OpenSettings(f.Keys, organization, r.ID, json.RawMessage(`{}`), r.Secrets)
	if err != nil {
		return nil, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	return slices.AppendSeq([]string{}, maps.Keys(fields)), nil
}

// seal puts settings into the row as a version wants them stored. What was sealed
// stays so, also where the version does not call it a secret any more.
func (f *Feature) seal(organization id.ID, r *row, m *bundle.Manifest, settings json.RawMessage) error {
	secret, err := f.sealed(organization, *r)
	if err != nil {
		return err
	}
	r.Settings, r.Secrets, err = plugins.SealSettings(f.Keys, organization, r.ID, settings, append(secret, m.SecretFields()...))
	return err
}

type listInput struct{ api.ListParams }

func (f *Feature) listInstallations(ctx context.Context, v tenant.View, in *listInput) (page.Page[PluginInstallation], error) {
	var none page.Page[PluginInstallation]
	var last *id.ID
	if _, err := in.Position(ctx, &last); err != nil {
		return none, err
	}
	var rows []row
	var catalogue []versionRow
	var total int64
	org := v.Scope().Organization
	err := v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &rows, listInstallations, org, last, in.Limit+1, in.Offset())
		tenant.QueueList(b, &catalogue, selectCatalogue)
		if in.WantTotal() {
			tenant.QueueValue(b, &total, countInstallations, org)
		}
	})
	if err != nil {
		return none, err
	}
	all := byPlugin(catalogue)
	out := make([]PluginInstallation, len(rows))
	for n, r := range rows {
		if out[n], err = f.complete(ctx, org, r, all[r.PluginID]); err != nil {
			return none, err
		}
	}
	page, err := api.Page(ctx, in.ListParams, out, func(i PluginInstallation) any { return i.ID })
	if in.WantTotal() {
		page.Total = &total
	}
	return page, err
}

type installationPath struct {
	InstallationID id.ID `path:"plugin_installation_id" ref:"plugin_installation" doc:"The installation."`
}

func (f *Feature) get(ctx context.Context, v tenant.View, in *installationPath) (PluginInstallation, error) {
	r, vs, err := f.look(ctx, v, selectInstallation, in.InstallationID)
	if err != nil {
		return PluginInstallation{}, err
	}
	return f.complete(ctx, v.Scope().Organization, r, vs)
}

// look reads an installation and the versions of its plugin.
func (f *Feature) look(ctx context.Context, q interface {
	tenant.Querier
	Scope() tenant.Scope
}, sql string, installation id.ID) (row, versions, error) {
	r, err := tenant.One[row](ctx, q, sql, q.Scope().Organization, installation)
	if err != nil {
		return r, nil, tenant.NotFound(err, "plugin installation")
	}
	vs, err := tenant.List[versionRow](ctx, q, selectVersionsOf, []string{r.PluginID})
	return r, vs, err
}

type createInput struct {
	installation id.ID // the one that it gets, and with which it is tried out
	Body         struct {
		PluginID   string             `json:"plugin_id" maxLength:"40" pattern:"^[a-z][a-z_]{1,38}[a-z]$" example:"chat" doc:"A plugin of the catalogue."`
		Version    string             `json:"version" required:"false" maxLength:"100" example:"1.2.0" doc:"Left out: the one that the operator pinned, else the newest."`
		Grants     []string           `json:"grants" nullable:"false" maxItems:"500" minLength:"1" maxLength:"300" example:"[\"tasks.read\"]" doc:"Keys of what the version asks for."`
		Settings   json.RawMessage    `json:"settings" required:"false" doc:"An object that fits the version's settings_schema."`
		AutoUpdate api.Optional[bool] `json:"auto_update" required:"false" doc:"True when left out."`
	}
}

// chosen is the version that a request is about, with what it says of itself.
func (vs versions) chosen(version string) (*versionRow, *bundle.Manifest, error) {
	v := vs.target()
	if version != "" {
		if v = vs.find(version); v == nil {
			return nil, nil, fault.Invalidf("/version", "the catalogue has no such version of this plugin")
		}
	}
	switch {
	case v == nil:
		return nil, nil, fault.Conflictf("plugin_version_revoked", "No version of this plugin may run here.")
	case v.RevokedReason != nil:
		return nil, nil, fault.Conflictf("plugin_version_revoked", "The operator revoked this version: %s", *v.RevokedReason)
	case v.SignerName == nil:
		return nil, nil, fault.Conflictf("plugin_version_revoked", "The signer of this version is not trusted here any more.")
	}
	m, err := v.manifest()
	return v, m, err
}

// consent holds grants against what a version asks for and what the caller may
// give away.
func (f *Feature) consent(ctx context.Context, m *bundle.Manifest, grants, had []string) ([]string, error) {
	asks := map[string]bundle.Ask{}
	for _, a := range m.Asks() {
		asks[a.Key] = a
	}
	var out []string
	for n, g := range grants {
		at := fmt.Sprintf("/grants/%d", n)
		a, asked := asks[g]
		switch {
		case !asked:
			return nil, fault.Invalidf(at, "this version does not ask for %s", g)
		case slices.Contains(out, g):
			return nil, fault.Invalidf(at, "%s stands twice in the list", g)
		case slices.Contains(had, g): // granted before
		case a.Kind == bundle.AskPermission && !f.Authority.Catalogue().Known(g):
			return nil, fault.Invalidf(at, "there is no permission %s here; the plugin may need a newer Guildhall", g)
		case a.Kind == bundle.AskPermission && !plugins.Grantable(g):
			return nil, fault.Invalidf(at, "the permission %s cannot be granted to a plugin", g)
		case a.Kind == bundle.AskPermission && !api.Can(ctx, authz.Permission{Key: g}):
			return nil, fault.Invalidf(at, "you do not hold %s yourself, so you cannot grant it", g)
		case a.Kind == bundle.AskPrivateProjects && !api.Can(ctx, joinsPrivate):
			return nil, fault.Deniedf(joinsPrivate.Key)
		}
		out = append(out, g)
	}
	if lack := missing(m, out); len(lack) > 0 {
		return nil, fault.Invalidf("/grants", "this version also needs %s; it cannot run without", lack[0]).With("missing", lack)
	}
	sort.Strings(out)
	return out, nil
}

func checkSettings(m *bundle.Manifest, settings json.RawMessage) error {
	bad := m.CheckSettings(settings)
	if len(bad) == 0 {
		return nil
	}
	f := fault.Invalidf("/settings"+bad[0].Pointer, "%s", bad[0].Message)
	f.Fields = nil
	for _, b := range bad {
		f.Fields = append(f.Fields, fault.Field{Pointer: "/settings" + b.Pointer, Message: b.Message})
	}
	return f
}

// try starts a version and lets it look at the settings, before anything is
// written.
func (f *Feature) try(ctx context.Context, m *bundle.Manifest, i *plugins.Installation, settings json.RawMessage) error {
	if err := f.Host.Warm(ctx, m.ID, m.Version); err != nil {
		return fault.Conflictf("plugin_does_not_start", "Version %s of %s does not start here: %s. Nothing was changed.", m.Version, m.ID, err.Error()).Because(err)
	}
	bad, err := f.Host.CheckSettings(ctx, i, m.Version, settings)
	if err != nil {
		return fault.Conflictf("plugin_does_not_start", "Version %s of %s starts, but does not answer: %s. Nothing was changed.", m.Version, m.ID, err.Error()).Because(err)
	}
	if len(bad) > 0 {
		out := fault.Invalidf(bad[0].Pointer, "%s", bad[0].Message)
		out.Fields = bad
		return out
	}
	return nil
}

func (f *Feature) beforeCreate(ctx context.Context, in *createInput) error {
	v := api.ViewOf(ctx)
	vs, err := f.versionsOf(ctx, v, in.Body.PluginID)
	if fault.Is(err, fault.NotFound) {
		return fault.Invalidf("/plugin_id", "the catalogue has no such plugin; GET /v1/plugins lists what can be installed")
	}
	if err != nil {
		return err
	}
	_, m, err := vs.chosen(in.Body.Version)
	if err != nil {
		return err
	}
	in.Body.Version = m.Version
	if len(in.Body.Settings) == 0 {
		in.Body.Settings = json.RawMessage(`{}`)
	}
	if in.Body.Grants, err = f.consent(ctx, m, in.Body.Grants, nil); err != nil {
		return err
	}
	if err := checkSettings(m, in.Body.Settings); err != nil {
		return err
	}
	in.installation = id.New()
	return f.try(ctx, m, &plugins.Installation{Organization: v.Scope().Organization, ID: in.installation, PluginID: m.ID}, in.Body.Settings)
}

func (f *Feature) create(ctx context.Context, tx *tenant.Tx, in *createInput) (PluginInstallation, error) {
	b, s := in.Body, tx.Scope()
	vs, err := f.versionsOf(ctx, tx, b.PluginID)
	if err != nil {
		return PluginInstallation{}, err
	}
	_, m, err := vs.chosen(b.Version) // it may have been revoked while it started
	if err != nil {
		return PluginInstallation{}, err
	}
	auto, installation := true, in.installation
	b.AutoUpdate.Set(&auto)
	open, sealed, err := plugins.SealSettings(f.Keys, s.Organization, installation, b.Settings, m.SecretFields())
	if err != nil {
		return PluginInstallation{}, err
	}
	if _, err := tenant.Value[int64](ctx, tx, nextEpoch); err != nil {
		return PluginInstallation{}, err
	}
	var by *id.ID
	if !s.Actor.ID.IsZero() {
		by = &s.Actor.ID
	}
	r, err := tenant.One[row](ctx, tx, insertInstallation, s.Organization, installation, m.ID, m.Version, b.Grants, open, sealed, auto, string(s.Actor.Kind), by)
	if err != nil {
		if tenant.Constraint(err) == "plugin_already_installed" {
			err = fault.Conflictf("plugin_already_installed", "The organisation has this plugin already. Upgrade or configure that installation.")
		}
		return PluginInstallation{}, err
	}
	if err := f.follow(ctx, tx, r, m); err != nil {
		return PluginInstallation{}, err
	}
	i, err := f.complete(ctx, s.Organization, r, vs)
	if err != nil {
		return PluginInstallation{}, err
	}
	return i, Created.Emit(ctx, tx, i)
}

// follow brings what follows from an installation into line with it: its
// schedules, and whether the organisation's log is heard at all.
func (f *Feature) follow(ctx context.Context, tx *tenant.Tx, r row, m *bundle.Manifest) error {
	names, every := []string{}, []int32{}
	for _, s := range m.Schedules {
		if slices.Contains(r.Grants, bundle.AskSchedule+":"+s.Name) {
			names, every = append(names, s.Name), append(every, int32(s.Period().Seconds()))
		}
	}
	org := tx.Scope().Organization
	if _, err := tenant.Exec(ctx, tx, dropSchedules, org, r.ID, names); err != nil {
		return err
	}
	if _, err := tenant.Exec(ctx, tx, keepSchedules, org, r.ID, names, every); err != nil {
		return err
	}
	return invite(ctx, tx)
}

func invite(ctx context.Context, tx *tenant.Tx) error {
	hears, err := tenant.Value[bool](ctx, tx, selectListens, tx.Scope().Organization)
	if err != nil {
		return err
	}
	return event.Invite(ctx, tx, plugins.ListenerName, hears)
}

func (f *Feature) delete(ctx context.Context, tx *tenant.Tx, in *installationMatch) (api.None, error) {
	was, vs, err := f.look(ctx, tx, lockInstallation, in.InstallationID)
	if err != nil {
		return api.None{}, err
	}
	i, err := f.complete(ctx, tx.Scope().Organization, was, vs)
	if err != nil {
		return api.None{}, err
	}
	if !in.IfMatch.Matches(i.Version) {
		return api.None{}, fault.StaleVersion(i)
	}
	if _, err := tenant.Value[int64](ctx, tx, nextEpoch); err != nil {
		return api.None{}, err
	}
	if _, err := tenant.One[row](ctx, tx, deleteInstallation, tx.Scope().Organization, i.ID); err != nil {
		return api.None{}, err
	}
	if err := invite(ctx, tx); err != nil {
		return api.None{}, err
	}
	return api.None{}, Deleted.Emit(ctx, tx, i)
}

type installationMatch struct {
	InstallationID id.ID       `path:"plugin_installation_id" ref:"plugin_installation" doc:"The installation."`
	IfMatch        api.IfMatch `header:"If-Match"`
}

// mergeSettings is a merge patch (RFC 7396) of top-level fields.
func mergeSettings(settings, patch json.RawMessage) (json.RawMessage, error) {
	fields, changes := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	if err := json.Unmarshal(settings, &fields); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(patch, &changes); err != nil {
		return nil, fault.Invalidf("/settings", "expected an object")
	}
	for name, v := range changes {
		if bytes.Equal(v, []byte("null")) {
			delete(fields, name)
		} else {
			fields[name] = v
		}
	}
	return json.Marshal(fields)
}
