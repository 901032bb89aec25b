package integrations

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/plugins"
	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	selectTrusted   = `select exists (select from plugin_signers where public_key = $1)`
	insertSigner    = `insert into plugin_signers (public_key, name) values ($1, $2) on conflict (public_key) do update set name = excluded.name`
	deleteSigner    = `delete from plugin_signers where public_key = $1`
	listSigners     = `select public_key, name from plugin_signers order by name, public_key`
	insertPlugin    = `insert into plugins (id) values ($1) on conflict (id) do nothing`
	insertVersion   = `insert into plugin_versions (plugin_id, version, manifest, sha256, signer, size) values ($1, $2, $3, $4, $5, $6) on conflict do nothing`
	selectInstalled = `select sha256 from plugin_versions where plugin_id = $1 and version = $2`
	selectSigners   = `select distinct signer from plugin_versions where plugin_id = $1`
	insertBundle    = `insert into plugin_bundles (plugin_id, version, bundle) values ($1, $2, $3)`
	deleteVersion   = `delete from plugin_versions where plugin_id = $1 and version = $2`
	deletePlugin    = `delete from plugins p where p.id = $1 and not exists (select from plugin_versions v where v.plugin_id = p.id)`
	updatePin       = `update plugins p set pinned_version = $2 where p.id = $1 and ($2::text is null or exists (select from plugin_versions v where v.plugin_id = p.id and v.version = $2))`
	updateRevoked   = `update plugin_versions set revoked_at = now(), revoked_reason = $3 where plugin_id = $1 and version = $2 and revoked_at is null`
	countUsesOf     = `select coalesce(sum(u.n), 0)::bigint from (select count(*) as n from plugin_installations_of($1, '00000000-0000-0000-0000-000000000000', 1000000) i where $2 = '' or i.plugin_version = $2) u`
)

// Operator is what the instance's operator may do to the catalogue. It stands on
// the log-in of the workers, since serve may only read it.
type Operator struct {
	db     *tenant.DB
	points []*plugins.Point
}

// NewOperator returns the operator's side; points are those of all features.
func NewOperator(db *tenant.DB, points []*plugins.Point) *Operator { return &Operator{db, points} }

// Signer is somebody whose plugins run here.
type Signer struct {
	PublicKey string `db:"public_key"`
	Name      string `db:"name"`
}

// Trust lets plugins of a signer in.
func (o *Operator) Trust(ctx context.Context, key ed25519.PublicKey, name string) error {
	return o.write(ctx, insertSigner, bundle.FormatPublic(key), name)
}

// Distrust ends that: what the signer signed does not run any more.
func (o *Operator) Distrust(ctx context.Context, key ed25519.PublicKey) error {
	return o.write(ctx, deleteSigner, bundle.FormatPublic(key))
}

// Signers lists who is trusted.
func (o *Operator) Signers(ctx context.Context) ([]Signer, error) {
	return tenant.List[Signer](ctx, o.db.Global(), listSigners)
}

// Trusted reports whether a signer is.
func (o *Operator) Trusted(ctx context.Context, key ed25519.PublicKey) (bool, error) {
	return tenant.Value[bool](ctx, o.db.Global(), selectTrusted, bundle.FormatPublic(key))
}

func (o *Operator) write(ctx context.Context, sql string, args ...any) error {
	return o.db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) error {
		_, err := tenant.Exec(ctx, tx, sql, args...)
		return err
	})
}

// Install adds a bundle to the catalogue. The same bytes again change nothing; a
// version never changes.
func (o *Operator) Install(ctx context.Context, raw []byte) (*bundle.Bundle, error) {
	b, err := bundle.Read(raw)
	if err != nil {
		return nil, err
	}
	m := b.Manifest
	if b.Signer == nil {
		return nil, errors.New("the bundle is not signed: guildhall plugin sign BUNDLE --key FILE")
	}
	if err := o.knows(m); err != nil {
		return nil, err
	}
	manifest, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	signer := bundle.FormatPublic(b.Signer)
	return b, o.db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) error {
		trusted, err := tenant.Value[bool](ctx, tx, selectTrusted, signer)
		if err != nil {
			return err
		}
		if !trusted {
			return fmt.Errorf("its signer %s is not trusted here: check with its publisher that the key is theirs, then guildhall plugin trust %s --name NAME", signer, signer)
		}
		// Another signer could replace what organisations consented to by something
		// of his own.
		others, err := tenant.Values[string](ctx, tx, selectSigners, m.ID)
		if err != nil {
			return err
		}
		if len(others) > 0 && !slices.Contains(others, signer) {
			return fmt.Errorf("the versions of %s that are here are signed by another key, %s: remove them first, if the plugin really changed hands", m.ID, others[0])
		}
		if _, err := tenant.Exec(ctx, tx, insertPlugin, m.ID); err != nil {
			return err
		}
		n, err := tenant.Exec(ctx, tx, insertVersion, m.ID, m.Version, json.RawMessage(manifest), b.SHA256[:], signer, int64(len(raw)))
		if err != nil {
			return err
		}
		if n == 0 {
			sum, err := tenant.Value[[]byte](ctx, tx, selectInstalled, m.ID, m.Version)
			if err == nil && !slices.Equal(sum, b.SHA256[:]) {
				err = fmt.Errorf("version %s of %s is here already, with other contents: a version never changes; raise it in manifest.json", m.Version, m.ID)
			}
			return err
		}
		_, err = tenant.Exec(ctx, tx, insertBundle, m.ID, m.Version, raw)
		return err
	})
}

// knows refuses a plugin that extends what is not here: it would be installed
// and never asked.
func (o *Operator) knows(m *bundle.Manifest) error {
	known := func(name string, kind plugins.Kind) bool {
		return slices.ContainsFunc(o.points, func(p *plugins.Point) bool { return p.Name == name && p.Kind == kind })
	}
	for _, h := range m.Hooks {
		if !known(h.Hook, plugins.KindHook) {
			return fmt.Errorf("the plugin wants to be asked at %s, which this Guildhall does not have; it may need a newer one", h.Hook)
		}
	}
	for _, p := range m.Provides {
		if !known(p.Point, plugins.KindService) {
			return fmt.Errorf("the plugin provides %s, which this Guildhall does not have; it may need a newer one", p.Point)
		}
	}
	return nil
}

// Pin makes a version the one for everybody; "" lets go of it.
func (o *Operator) Pin(ctx context.Context, plugin, version string) error {
	var pin *string
	if version != "" {
		pin = &version
	}
	return o.one(ctx, plugin, version, updatePin, plugin, pin)
}

// Revoke keeps a version from ever running again.
func (o *Operator) Revoke(ctx context.Context, plugin, version, why string) error {
	return o.one(ctx, plugin, version, updateRevoked, plugin, version, why)
}

func (o *Operator) one(ctx context.Context, plugin, version, sql string, args ...any) error {
	return o.db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) error {
		n, err := tenant.Exec(ctx, tx, sql, args...)
		if err == nil && n == 0 {
			err = fault.NotFoundf(fmt.Sprintf("version %q of the plugin %q, or nothing is left to do", version, plugin))
		}
		return err
	})
}

// Remove takes a version, or with "" the whole plugin, out of the catalogue,
// unless organisations have it.
func (o *Operator) Remove(ctx context.Context, plugin, version string) error {
	return o.db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) error {
		uses, err := tenant.Value[int64](ctx, tx, countUsesOf, plugin, version)
		if err != nil {
			return err
		}
		if uses > 0 {
			return fmt.Errorf("%d organisations have it installed: revoke it to stop it, or wait until they removed it", uses)
		}
		rows, err := tenant.List[versionRow](ctx, tx, selectVersionsOf, []string{plugin})
		if err != nil {
			return err
		}
		gone := 0
		for _, v := range rows {
			if version != "" && v.Version != version {
				continue
			}
			if _, err := tenant.Exec(ctx, tx, deleteVersion, plugin, v.Version); err != nil {
				return err
			}
			gone++
		}
		if gone == 0 {
			return fault.NotFoundf(fmt.Sprintf("version %q of the plugin %q", version, plugin))
		}
		_, err = tenant.Exec(ctx, tx, deletePlugin, plugin)
		return err
	})
}

// Entry is a plugin of the catalogue and how many organisations have it.
type Entry struct {
	Plugin
	Installations int64
}

// List lists the catalogue.
func (o *Operator) List(ctx context.Context) ([]Entry, error) {
	rows, err := tenant.List[versionRow](ctx, o.db.Global(), selectCatalogue)
	if err != nil {
		return nil, err
	}
	var out []Entry
	for id, vs := range byPlugin(rows) {
		p, _, err := vs.show()
		if err != nil {
			return nil, err
		}
		n, err := tenant.Value[int64](ctx, o.db.Global(), countUsesOf, id, "")
		if err != nil {
			return nil, err
		}
		out = append(out, Entry{p, n})
	}
	slices.SortFunc(out, func(a, b Entry) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}
