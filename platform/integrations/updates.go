package integrations

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/plugins"
	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	selectInstallationsOf = `select tenant_id, id, plugin_version from plugin_installations_of($1, $2, $3)`
	selectPlugins         = `select id from plugins order by id`
	updatePage            = 200
)

type placed struct {
	Organization id.ID  `db:"tenant_id"`
	ID           id.ID  `db:"id"`
	Version      string `db:"plugin_version"`
}

// eachOf calls fn for every installation of a plugin. What fails for one of them
// is logged, and keeps it from no other; only errSkip ends it early.
func (f *Feature) eachOf(ctx context.Context, plugin string, fn func(placed) error) error {
	after := id.Nil
	for {
		rows, err := tenant.List[placed](ctx, f.DB.Global(), selectInstallationsOf, plugin, after, updatePage)
		if err != nil {
			return fmt.Errorf("integrations: installations of %s: %w", plugin, err)
		}
		for _, p := range rows {
			switch err := fn(p); {
			case ctx.Err() != nil:
				return ctx.Err()
			case errors.Is(err, errSkip):
				return err
			case err != nil:
				f.Log.ErrorContext(ctx, "an installation of a plugin could not be changed", "plugin", plugin, "organization_id", p.Organization.String(), "error", err)
			}
			after = p.Organization
		}
		if len(rows) < updatePage {
			return nil
		}
	}
}

// updateAll moves installations to the version that they are to have, where
// their organisation need not be asked.
func (f *Feature) updateAll(ctx context.Context, _ *tenant.DB) error {
	ids, err := tenant.Values[string](ctx, f.DB.Global(), selectPlugins)
	if err != nil {
		return err
	}
	for _, plugin := range ids {
		rows, err := tenant.List[versionRow](ctx, f.DB.Global(), selectVersionsOf, []string{plugin})
		if err != nil {
			return err
		}
		vs := versions(rows)
		t := vs.target()
		if t == nil || !t.runs() {
			continue
		}
		warm := false
		err = f.eachOf(ctx, plugin, func(p placed) error {
			if p.Version == t.Version {
				return nil
			}
			if !warm { // nobody is moved to what does not start
				if err := f.Host.Warm(ctx, plugin, t.Version); err != nil {
					f.Log.WarnContext(ctx, "a version of a plugin does not start, so nobody is moved to it", "plugin", plugin, "version", t.Version, "error", err)
					return errSkip
				}
				warm = true
			}
			return f.updateOne(ctx, p, vs)
		})
		if err != nil && !errors.Is(err, errSkip) {
			return err
		}
	}
	return nil
}

var errSkip = errors.New("integrations: not this plugin")

func (f *Feature) updateOne(ctx context.Context, p placed, vs versions) error {
	return f.DB.Write(ctx, system(p.Organization, "plugins.update"), func(tx *tenant.Tx) error {
		was, err := tenant.One[row](ctx, tx, lockInstallation, p.Organization, p.ID)
		if errors.Is(err, tenant.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		before, err := f.complete(ctx, p.Organization, was, vs)
		t := vs.target()
		if err != nil || before.Update == nil || len(before.Update.NewGrants) > 0 || !was.AutoUpdate && (t.Pinned == nil || was.StatusReason != "") {
			return err // also where it was rolled back, until somebody looked at it
		}
		m, err := t.manifest()
		if err != nil {
			return err
		}
		settings, err := plugins.OpenSettings(f.Keys, p.Organization, p.ID, was.Settings, was.Secrets)
		if err != nil {
			return err
		}
		if len(m.CheckSettings(settings)) > 0 {
			return nil // an admin has to configure it
		}
		r, err := f.move(ctx, tx, was, m, &was.PluginVersion, settings, was.AutoUpdate, "")
		if err != nil {
			return err
		}
		after, err := f.complete(ctx, p.Organization, r, vs)
		if err != nil {
			return err
		}
		return Updated.EmitChange(ctx, tx, before, after)
	})
}

func system(organization id.ID, operation string) tenant.Scope {
	s := tenant.ForSystem(organization)
	s.Operation = operation
	return s
}

// settle changes an installation that runs a version, as the host's reports ask,
// and tells of it.
func (f *Feature) settle(ctx context.Context, organization, installation id.ID, version, operation string, tell event.Of[PluginInstallation],
	change func(tx *tenant.Tx, was row, vs versions) (row, error)) error {
	return f.DB.Write(ctx, system(organization, operation), func(tx *tenant.Tx) error {
		was, vs, err := f.look(ctx, tx, lockInstallation, installation)
		if err != nil || was.PluginVersion != version || was.Status != statusActive {
			if fault.Is(err, fault.NotFound) {
				err = nil
			}
			return err // somebody was faster
		}
		r, err := change(tx, was, vs)
		if err != nil {
			return err
		}
		after, err := f.complete(ctx, organization, r, vs)
		if err != nil {
			return err
		}
		return tell.Emit(ctx, tx, after)
	})
}

// Quarantine implements plugins.Reports. What fails shortly after an upgrade goes
// back to the version before instead, if that one runs.
func (f *Feature) Quarantine(ctx context.Context, organization, installation id.ID, version, reason string) error {
	was, err := tenant.One[row](ctx, f.DB.View(system(organization, "plugins.quarantine")), selectInstallation, organization, installation)
	if errors.Is(err, tenant.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if p := was.PreviousVersion; p != nil && was.PluginVersion == version && time.Since(was.UpgradedAt) < plugins.BudgetTime && f.Host.Warm(ctx, was.PluginID, *p) == nil {
		if err := f.RollBack(ctx, organization, installation, version, "version "+version+" "+reason); !errors.Is(err, plugins.ErrNoReturn) {
			return err
		}
	}
	return f.settle(ctx, organization, installation, version, "plugins.quarantine", Quarantined, func(tx *tenant.Tx, was row, _ versions) (row, error) {
		if _, err := tenant.Value[int64](ctx, tx, nextEpoch); err != nil {
			return row{}, err
		}
		return tenant.One[row](ctx, tx, updateInstallation, organization, was.ID, statusQuarantined, clip(reason, 1000), was.Grants, was.Settings, was.Secrets, was.AutoUpdate)
	})
}

// QuarantineAll implements plugins.Reports.
func (f *Feature) QuarantineAll(ctx context.Context, plugin, version, reason string) error {
	return f.eachOf(ctx, plugin, func(p placed) error {
		if p.Version != version {
			return nil
		}
		return f.Quarantine(ctx, p.Organization, p.ID, version, reason)
	})
}

// RollBack implements plugins.Reports. Without a version to return to, it fails.
func (f *Feature) RollBack(ctx context.Context, organization, installation id.ID, version, reason string) error {
	return f.settle(ctx, organization, installation, version, "plugins.roll_back", RolledBack, func(tx *tenant.Tx, was row, vs versions) (row, error) {
		if was.PreviousVersion == nil {
			return row{}, plugins.ErrNoReturn
		}
		v := vs.find(*was.PreviousVersion)
		if v == nil || !v.runs() {
			return row{}, plugins.ErrNoReturn
		}
		m, err := v.manifest()
		if err != nil {
			return row{}, err
		}
		if len(missing(m, was.Grants)) > 0 {
			return row{}, plugins.ErrNoReturn // what it needs was not granted any more
		}
		settings, err := plugins.OpenSettings(f.Keys, organization, was.ID, was.Settings, was.Secrets)
		if err != nil {
			return row{}, err
		}
		if len(m.CheckSettings(settings)) > 0 {
			return row{}, plugins.ErrNoReturn // it was configured for the newer one
		}
		// There is no way forth and back: the version that failed is not one to
		// return to.
		return f.move(ctx, tx, was, m, nil, settings, false, clip(reason, 1000))
	})
}
