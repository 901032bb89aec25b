package plugins

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Installation is a plugin as an organisation runs it.
type Installation struct {
	Organization    id.ID           `db:"tenant_id"`
	ID              id.ID           `db:"id"`
	PluginID        string          `db:"plugin_id"`
	Version         string          `db:"plugin_version"`
	Previous        *string         `db:"previous_version"`
	UpgradedAt      time.Time       `db:"upgraded_at"`
	Grants          []string        `db:"grants"`
	Settings        json.RawMessage `db:"settings"`
	Secrets         []byte          `db:"secrets"`
	SettingsVersion int64           `db:"settings_version"`
	Epoch           int64           `db:"epoch"`
	RawManifest     json.RawMessage `db:"manifest"`

	manifest *bundle.Manifest
	granted  map[string]bool
	clear    []byte // the settings with their secrets
	trial    bool   // it is not installed yet, and is asked about its settings
	stopped  bool   // it does not run: its hooks that refuse on failure do, and that is all
}

const (
	installationCols = `i.tenant_id, i.id, i.plugin_id, i.plugin_version, i.previous_version, i.upgraded_at, i.grants, i.settings, i.secrets, i.settings_version, o.epoch, v.manifest`

	// A version that was revoked, or whose signer is not trusted any more, runs for
	// nobody. What was to be asked all the same is known of everything that people did
	// not suspend.
	selectActive = `select ` + installationCols + `, i.status = 'active' and v.revoked_at is null and s.public_key is not null as runs from organizations o
		join plugin_installations i on i.tenant_id = o.tenant_id and i.status <> 'suspended'
		left join plugin_versions v on v.plugin_id = i.plugin_id and v.version = i.plugin_version
		left join plugin_signers s on s.public_key = v.signer
		where o.tenant_id = $1 and o.deleted_at is null order by i.created_at, i.id`
	selectEpoch = `select epoch from organizations where tenant_id = $1`
)

// Manifest returns what the installed version says of itself.
func (i *Installation) Manifest() *bundle.Manifest { return i.manifest }

// Granted reports whether the organisation granted the ask with the key.
func (i *Installation) Granted(key string) bool { return i.granted[key] }

// describe fills in what the version says of itself and what was granted.
func (h *Host) describe(i *Installation) (err error) {
	i.granted = make(map[string]bool, len(i.Grants))
	for _, g := range i.Grants {
		i.granted[g] = true
	}
	i.manifest, err = h.manifestOf(i.PluginID, i.Version, i.RawManifest)
	i.RawManifest = nil
	return err
}

// complete fills in what does not stand in the row.
func (h *Host) complete(i *Installation) (err error) {
	if err := h.describe(i); err != nil {
		return err
	}
	i.clear, err = OpenSettings(h.Keys, i.Organization, i.ID, i.Settings, i.Secrets)
	return err
}

// manifestOf parses each manifest once.
func (h *Host) manifestOf(plugin, version string, raw []byte) (*bundle.Manifest, error) {
	k := sha256.Sum256(raw) // a version that was removed may come again with another one
	if m, ok := h.manifests.GetIfPresent(k); ok {
		return m, nil
	}
	m, err := bundle.ParseManifest(raw)
	if err != nil {
		return nil, fmt.Errorf("plugins: the manifest of %s %s: %w", plugin, version, err)
	}
	h.manifests.Set(k, m)
	return m, nil
}

// Sealer seals and opens what is stored of secrets.
type Sealer interface {
	Seal(plaintext []byte, aad string) ([]byte, error)
	Open(sealed []byte, aad string) ([]byte, error)
}

func settingsPlace(organization, installation id.ID) string {
	return fmt.Sprintf("plugin_installations/%s/%s/secrets", organization, installation)
}

// SealSettings takes the secret fields out of settings: it returns what is
// stored in clear and what is stored sealed, nil if there are none.
func SealSettings(k Sealer, organization, installation id.ID, settings json.RawMessage, secret []string) (open json.RawMessage, sealed []byte, err error) {
	fields, hidden := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	if err := json.Unmarshal(settings, &fields); err != nil {
		return nil, nil, err
	}
	for _, name := range secret {
		if v, ok := fields[name]; ok {
			hidden[name] = v
			delete(fields, name)
		}
	}
	if open, err = json.Marshal(fields); err != nil || len(hidden) == 0 {
		return open, nil, err
	}
	raw, err := json.Marshal(hidden)
	if err != nil {
		return nil, nil, err
	}
	sealed, err = k.Seal(raw, settingsPlace(organization, installation))
	return open, sealed, err
}

// OpenSettings puts settings together again.
func OpenSettings(k Sealer, organization, installation id.ID, open json.RawMessage, sealed []byte) (json.RawMessage, error) {
	if len(sealed) == 0 {
		return open, nil
	}
	raw, err := k.Open(sealed, settingsPlace(organization, installation))
	if err != nil {
		return nil, fmt.Errorf("plugins: the secrets of installation %s: %w", installation, err)
	}
	fields, hidden := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	if err := json.Unmarshal(open, &fields); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &hidden); err != nil {
		return nil, err
	}
	maps.Copy(fields, hidden)
	return json.Marshal(fields)
}

// active is what runs in an organisation at an epoch.
type active struct {
	epoch int64
	all   []*Installation
	hooks map[string][]subscriber
}

// subscriber is an installation that is asked at a hook.
type subscriber struct {
	*Installation
	hook bundle.Hook
}

func (s subscriber) allowsOnFailure() bool { return s.hook.OnFailure == bundle.OnFailureAllow }

// activeIn returns what runs in the organisation, at least as new as the epoch:
// every change of an installation moves it, and every transaction of a caller
// checks it.
func (h *Host) activeIn(ctx context.Context, organization id.ID, epoch int64) (*active, error) {
	if a, ok := h.actives.GetIfPresent(organization); ok && a.epoch >= epoch {
		return a, nil
	}
	return h.load(ctx, organization)
}

// found is an installation that people did not suspend, and whether it runs.
type found struct {
	Installation
	Runs bool `db:"runs"`
}

// vetoes are the hooks at which nothing may go on without the plugin's word: what
// they guard stays shut when it does not run, until people suspend or remove it.
// The grants tell of them too, where the version is not there to say it.
func (i *Installation) vetoes() (out []bundle.Hook) {
	if i.manifest != nil {
		for _, hook := range i.manifest.Hooks {
			if hook.OnFailure == bundle.OnFailureRefuse && i.Granted(bundle.AskHook+":"+hook.Hook) {
				out = append(out, hook)
			}
		}
		return out
	}
	for _, g := range i.Grants {
		name, refuses := strings.CutSuffix(g, ":refuse")
		if name, hook := strings.CutPrefix(name, bundle.AskHook+":"); refuses && hook {
			out = append(out, bundle.Hook{Hook: name, OnFailure: bundle.OnFailureRefuse})
		}
	}
	return out
}

func (h *Host) load(ctx context.Context, organization id.ID) (*active, error) {
	var rows []found
	var epoch int64
	known := h.catalogued.Load()
	err := h.DB.View(tenant.ForSystem(organization)).Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueValue(b, &epoch, selectEpoch, organization)
		tenant.QueueList(b, &rows, selectActive, organization)
	})
	if err != nil {
		return nil, fmt.Errorf("plugins: what runs in %s: %w", organization, err)
	}
	a := &active{epoch: epoch, hooks: map[string][]subscriber{}}
	for n := range rows {
		i := &rows[n].Installation
		err := h.complete(i)
		if rows[n].Runs && err != nil {
			h.Log.ErrorContext(ctx, "an installation cannot run", "installation_id", i.ID.String(), "error", err)
		}
		if !rows[n].Runs || err != nil {
			i.stopped = true
			for _, hook := range i.vetoes() {
				a.hooks[hook.Hook] = append(a.hooks[hook.Hook], subscriber{i, hook})
			}
			continue
		}
		a.all = append(a.all, i)
		h.pool.want(slot{key: key{i.PluginID, i.Version}})
		for _, hook := range i.manifest.Hooks {
			if i.Granted(bundle.AskHook + ":" + hook.Hook) {
				a.hooks[hook.Hook] = append(a.hooks[hook.Hook], subscriber{i, hook})
			}
		}
	}
	if h.catalogued.Load() == known {
		h.actives.Set(organization, a)
	}
	return a, nil
}

// find returns an installation of the set.
func (a *active) find(installation id.ID) *Installation {
	n := slices.IndexFunc(a.all, func(i *Installation) bool { return i.ID == installation })
	if n < 0 {
		return nil
	}
	return a.all[n]
}

// subscribers are asked at a hook about what the present caller does. A plugin
// is not asked about its own calls.
func (h *Host) subscribers(ctx context.Context, hook string) ([]subscriber, error) {
	c := api.CallerOf(ctx)
	if c == nil || c.Organization.IsZero() {
		return nil, nil
	}
	var epoch int64
	if c.Scope.Check != nil {
		epoch = c.Scope.Check.Epoch
	}
	a, err := h.activeIn(ctx, c.Organization, epoch)
	if err != nil {
		return nil, err
	}
	subs := a.hooks[hook]
	if c.Scope.Actor.Kind != tenant.Plugin || len(subs) == 0 {
		return subs, nil
	}
	return slices.DeleteFunc(slices.Clone(subs), func(s subscriber) bool { return s.ID == c.Scope.Actor.ID }), nil
}

// Installed returns an installation that runs, nil if there is none with the id.
func (h *Host) Installed(ctx context.Context, organization, installation id.ID) (*Installation, error) {
	a, err := h.load(ctx, organization)
	if err != nil {
		return nil, err
	}
	return a.find(installation), nil
}

// Running lists what runs in the organisation, in the order of installation.
func (h *Host) Running(ctx context.Context, organization id.ID) ([]*Installation, error) {
	a, err := h.load(ctx, organization)
	if err != nil {
		return nil, err
	}
	return a.all, nil
}

// plain makes a line of what a plugin wrote for people.
func plain(s string, most int) string {
	s = strings.ToValidUTF8(s, "")
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	s = strings.TrimSpace(s)
	if r := []rune(s); len(r) > most {
		s = string(r[:most-1]) + "…"
	}
	return s
}
