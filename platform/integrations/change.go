package integrations

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/plugins"
	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
	"github.com/guildhall-dev/guildhall/tenant"
)

type updateInput struct {
	InstallationID id.ID       `path:"plugin_installation_id" ref:"plugin_installation" doc:"The installation."`
	IfMatch        api.IfMatch `header:"If-Match"`
	Body           struct {
		Status     api.Optional[string]   `json:"status" required:"false" enum:"active,suspended" doc:"active also ends a quarantine."`
		Settings   json.RawMessage        `json:"settings" required:"false" doc:"A merge patch of the settings: fields that it does not name stay, null takes one out."`
		Grants     api.Optional[[]string] `json:"grants" required:"false" maxItems:"500" minLength:"1" maxLength:"300" doc:"All of what you consent to; what is missing here is withdrawn."`
		AutoUpdate api.Optional[bool]     `json:"auto_update" required:"false"`
	}
}

// changed is the installation as a change would leave it.
func (f *Feature) changed(org id.ID, was row, m *bundle.Manifest, in *updateInput) (now row, settings json.RawMessage, err error) {
	now = was
	b := in.Body
	if b.Status.Present {
		now.Status, now.StatusReason = b.Status.Value, ""
	}
	b.AutoUpdate.Set(&now.AutoUpdate)
	b.Grants.Set(&now.Grants)
	settings, err = plugins.OpenSettings(f.Keys, org, was.ID, was.Settings, was.Secrets)
	if err != nil || len(b.Settings) == 0 {
		return now, settings, err
	}
	if settings, err = mergeSettings(settings, b.Settings); err != nil {
		return now, settings, err
	}
	if err := checkSettings(m, settings); err != nil {
		return now, settings, err
	}
	return now, settings, f.seal(org, &now, m, settings)
}

// keepsPrivate refuses to change what an installation does with private projects,
// which it sees and goes on to see, for a caller who may not join these: another
// host, another grant or another version could bring him what happens in them.
func keepsPrivate(ctx context.Context, grants []string, differs bool) error {
	if differs && slices.Contains(grants, bundle.AskPrivateProjects) && !api.Can(ctx, joinsPrivate) {
		return fault.Deniedf(joinsPrivate.Key)
	}
	return nil
}

// beforeUpdate lets the plugin look at new settings, and at the ones it has when
// it is to run again.
func (f *Feature) beforeUpdate(ctx context.Context, in *updateInput) error {
	if len(in.Body.Settings) == 0 && in.Body.Status.Value != statusActive {
		return nil
	}
	v := api.ViewOf(ctx)
	r, vs, err := f.look(ctx, v, selectInstallation, in.InstallationID)
	if err != nil {
		return err
	}
	version, m, err := vs.chosen(r.PluginVersion)
	if err != nil {
		return err
	}
	now, settings, err := f.changed(v.Scope().Organization, r, m, in)
	if err != nil {
		return err
	}
	if err := keepsPrivate(ctx, now.Grants, len(in.Body.Settings) > 0); err != nil {
		return err
	}
	return f.try(ctx, m, &plugins.Installation{Organization: v.Scope().Organization, ID: r.ID, PluginID: r.PluginID, Version: version.Version}, settings)
}

func (f *Feature) update(ctx context.Context, tx *tenant.Tx, in *updateInput) (PluginInstallation, error) {
	org := tx.Scope().Organization
	was, vs, err := f.look(ctx, tx, lockInstallation, in.InstallationID)
	if err != nil {
		return PluginInstallation{}, err
	}
	before, err := f.complete(ctx, org, was, vs)
	if err != nil {
		return PluginInstallation{}, err
	}
	if !in.IfMatch.Matches(was.Version) {
		return PluginInstallation{}, fault.StaleVersion(before)
	}
	v := vs.find(was.PluginVersion)
	if v == nil {
		return PluginInstallation{}, fault.Conflictf("plugin_version_revoked", "The installed version is not in the catalogue any more: upgrade to another one.")
	}
	m, err := v.manifest()
	if err != nil {
		return PluginInstallation{}, err
	}
	now, _, err := f.changed(org, was, m, in)
	if err != nil {
		return PluginInstallation{}, err
	}
	if in.Body.Grants.Present {
		if now.Grants, err = f.consent(ctx, m, now.Grants, was.Grants); err != nil {
			return PluginInstallation{}, err
		}
	}
	if err := keepsPrivate(ctx, now.Grants, len(in.Body.Settings) > 0 || !slices.Equal(now.Grants, was.Grants)); err != nil {
		return PluginInstallation{}, err
	}
	if now.Status == was.Status && now.AutoUpdate == was.AutoUpdate && len(in.Body.Settings) == 0 && slices.Equal(now.Grants, was.Grants) {
		return before, nil
	}
	if _, err := tenant.Value[int64](ctx, tx, nextEpoch); err != nil {
		return PluginInstallation{}, err
	}
	r, err := tenant.One[row](ctx, tx, updateInstallation, org, was.ID, now.Status, now.StatusReason, now.Grants, now.Settings, now.Secrets, now.AutoUpdate)
	if err != nil {
		return PluginInstallation{}, err
	}
	if err := f.follow(ctx, tx, r, m); err != nil {
		return PluginInstallation{}, err
	}
	if r.Status == statusActive && was.Status != statusActive {
		tx.Queue(wakeQueue, org, r.ID) // what happened meanwhile
	}
	after, err := f.complete(ctx, org, r, vs)
	if err != nil {
		return PluginInstallation{}, err
	}
	return after, Updated.EmitChange(ctx, tx, before, after)
}

type upgradeInput struct {
	InstallationID id.ID       `path:"plugin_installation_id" ref:"plugin_installation" doc:"The installation."`
	IfMatch        api.IfMatch `header:"If-Match"`
	Body           struct {
		Version  string          `json:"version" required:"false" maxLength:"100" example:"1.3.0" doc:"Any version of the catalogue; left out: the one that the operator pinned, else the newest."`
		Grants   []string        `json:"grants" required:"false" nullable:"false" maxItems:"500" minLength:"1" maxLength:"300" doc:"What you consent to beyond what is granted."`
		Settings json.RawMessage `json:"settings" required:"false" doc:"A merge patch of the settings, where the version needs other ones."`
	}
}

// upgraded is what a move to the version needs: consent and settings that fit.
func (f *Feature) upgraded(ctx context.Context, org id.ID, r row, vs versions, in *upgradeInput) (grants []string, settings json.RawMessage, m *bundle.Manifest, err error) {
	if _, m, err = vs.chosen(in.Body.Version); err != nil {
		return nil, nil, nil, err
	}
	asked := map[string]bool{}
	for _, a := range m.Asks() {
		asked[a.Key] = true
	}
	// What the version does not ask for any more is not granted any more.
	grants = slices.DeleteFunc(slices.Clone(r.Grants), func(g string) bool { return !asked[g] })
	if v := vs.find(r.PluginVersion); v != nil {
		now, err := v.manifest()
		if err != nil {
			return nil, nil, nil, err
		}
		grants = standing(now, m, grants)
	}
	for _, g := range in.Body.Grants {
		if !slices.Contains(grants, g) {
			grants = append(grants, g)
		}
	}
	if grants, err = f.consent(ctx, m, grants, r.Grants); err != nil {
		return nil, nil, nil, err
	}
	if err := keepsPrivate(ctx, grants, m.Version != r.PluginVersion || len(in.Body.Settings) > 0 || !slices.Equal(grants, r.Grants)); err != nil {
		return nil, nil, nil, err
	}
	if settings, err = plugins.OpenSettings(f.Keys, org, r.ID, r.Settings, r.Secrets); err != nil {
		return nil, nil, nil, err
	}
	if len(in.Body.Settings) > 0 {
		if settings, err = mergeSettings(settings, in.Body.Settings); err != nil {
			return nil, nil, nil, err
		}
	}
	return grants, settings, m, checkSettings(m, settings)
}

func (f *Feature) beforeUpgrade(ctx context.Context, in *upgradeInput) error {
	v := api.ViewOf(ctx)
	org := v.Scope().Organization
	r, vs, err := f.look(ctx, v, selectInstallation, in.InstallationID)
	if err != nil {
		return err
	}
	_, settings, m, err := f.upgraded(ctx, org, r, vs, in)
	if err != nil {
		return err
	}
	in.Body.Version = m.Version // the one that was tried is the one that is taken
	return f.try(ctx, m, &plugins.Installation{Organization: org, ID: r.ID, PluginID: r.PluginID, Version: m.Version}, settings)
}

func (f *Feature) upgrade(ctx context.Context, tx *tenant.Tx, in *upgradeInput) (PluginInstallation, error) {
	org := tx.Scope().Organization
	was, vs, err := f.look(ctx, tx, lockInstallation, in.InstallationID)
	if err != nil {
		return PluginInstallation{}, err
	}
	before, err := f.complete(ctx, org, was, vs)
	if err != nil {
		return PluginInstallation{}, err
	}
	if !in.IfMatch.Matches(was.Version) {
		return PluginInstallation{}, fault.StaleVersion(before)
	}
	grants, settings, m, err := f.upgraded(ctx, org, was, vs, in)
	if err != nil {
		return PluginInstallation{}, err
	}
	if m.Version == was.PluginVersion && len(in.Body.Settings) == 0 && slices.Equal(grants, was.Grants) {
		return before, nil
	}
	previous := &was.PluginVersion
	if m.Version == was.PluginVersion {
		previous = was.PreviousVersion
	}
	was.Grants = grants
	r, err := f.move(ctx, tx, was, m, previous, settings, was.AutoUpdate, "")
	if err != nil {
		return PluginInstallation{}, err
	}
	after, err := f.complete(ctx, org, r, vs)
	if err != nil {
		return PluginInstallation{}, err
	}
	return after, Updated.EmitChange(ctx, tx, before, after)
}

// move gives an installation, which is locked, another version, with settings that
// fit it; its grants are those of was, and previous is what it can be returned to.
func (f *Feature) move(ctx context.Context, tx *tenant.Tx, was row, m *bundle.Manifest, previous *string, settings json.RawMessage, auto bool, reason string) (row, error) {
	org := tx.Scope().Organization
	if err := f.seal(org, &was, m, settings); err != nil {
		return row{}, err
	}
	if _, err := tenant.Value[int64](ctx, tx, nextEpoch); err != nil {
		return row{}, err
	}
	r, err := tenant.One[row](ctx, tx, moveInstallation, org, was.ID, m.Version, previous, was.Grants, auto, reason, was.Settings, was.Secrets)
	if err != nil {
		return row{}, err
	}
	return r, f.follow(ctx, tx, r, m)
}
