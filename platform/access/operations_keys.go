package access

import (
	"context"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/line"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

type listKeys struct{ api.ListParams }

// listKeys shows everybody's keys to who may manage them, else one's own.
func (f *Feature) listKeys(ctx context.Context, v tenant.View, in *listKeys) (page.Page[APIKey], error) {
	var after *id.ID
	if _, err := in.Position(ctx, &after); err != nil {
		return page.Page[APIKey]{}, err
	}
	var rows []APIKey
	var total int64
	everyone, own := api.Can(ctx, KeysManage), v.Scope().User
	err := v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &rows, selectKeys, everyone, own, after, in.Limit+1, in.Offset())
		if in.WantTotal() {
			tenant.QueueValue(b, &total, countKeys, everyone, own)
		}
	})
	if err != nil {
		return page.Page[APIKey]{}, err
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(k APIKey) any { return k.ID })
	if in.WantTotal() {
		out.Total = &total
	}
	return out, err
}

type getKey struct {
	KeyID id.ID `path:"api_key_id" ref:"api_key" doc:"The key's id, not the key."`
}

func (f *Feature) getKey(ctx context.Context, v tenant.View, in *getKey) (APIKey, error) {
	k, err := tenant.One[APIKey](ctx, v, selectKey, in.KeyID, api.Can(ctx, KeysManage), v.Scope().User)
	return k, tenant.NotFound(err, "API key")
}

type createKey struct {
	Body struct {
		Name        string     `json:"name" minLength:"1" maxLength:"100" pattern:"\\S" doc:"What the key is for." example:"Warehouse sync"`
		Permissions []string   `json:"permissions" minItems:"1" maxItems:"256" maxLength:"100" doc:"Keys of the catalogue; you must hold each yourself." example:"[\"tasks.read\",\"tasks.write\"]"`
		ExpiresAt   *time.Time `json:"expires_at" required:"false" doc:"When the key stops working; absent or null for never." example:"2030-01-01T00:00:00Z"`
	}
}

func (f *Feature) createKey(ctx context.Context, tx *tenant.Tx, in *createKey) (NewAPIKey, error) {
	caller, c := api.CallerOf(ctx), f.Authority.Catalogue()
	if caller.Scope.Actor.Kind != tenant.User {
		// Else a leaked key could outlive its revocation in its offspring.
		return NewAPIKey{}, fault.New(fault.Denied, "permission_denied", "An API key cannot make another: it needs a person's log-in.").With("permission", "caller:person")
	}
	for i, p := range in.Body.Permissions {
		if c.Known(p) && !c.Has(caller.Permissions, authz.Permission{Key: p}) {
			return NewAPIKey{}, fault.Invalidf(pointerAt(i), "you do not hold %s yourself, so a key of yours cannot", p)
		}
	}
	perms, err := checkKnown(c, in.Body.Permissions)
	if err != nil {
		return NewAPIKey{}, err
	}
	name, err := line.Clean("/name", in.Body.Name, maxName)
	if err != nil {
		return NewAPIKey{}, err
	}
	if at := in.Body.ExpiresAt; at != nil && !at.After(tx.Now()) {
		return NewAPIKey{}, fault.Invalidf("/expires_at", "expected a time in the future")
	}
	keyID := id.New()
	text, hash := newKey(keyID)
	k, err := tenant.One[APIKey](ctx, tx, insertKey, tx.Scope().Organization, keyID, name, hash, perms, caller.User, in.Body.ExpiresAt)
	if err != nil {
		return NewAPIKey{}, err
	}
	return NewAPIKey{APIKey: k, Key: text}, KeyCreated.Emit(ctx, tx, k)
}

type revokeKey struct {
	KeyID id.ID `path:"api_key_id" ref:"api_key" doc:"The key's id, not the key."`
}

func (f *Feature) revokeKey(ctx context.Context, tx *tenant.Tx, in *revokeKey) (api.None, error) {
	k, err := tenant.One[APIKey](ctx, tx, updateKeyRevoked, in.KeyID, api.Can(ctx, KeysManage), tx.Scope().User)
	if err != nil {
		return api.None{}, tenant.NotFound(err, "API key")
	}
	return api.None{}, KeyRevoked.Emit(ctx, tx, k)
}

// hearRemoved revokes the keys of those who left. They were dead from that
// moment, since a key needs its creator's membership; this keeps them dead if
// the person ever comes back.
func (f *Feature) hearRemoved(ctx context.Context, tx *tenant.Tx, events []event.Event) error {
	for _, e := range events {
		if e.Subject.ID == nil {
			continue
		}
		keys, err := tenant.List[APIKey](ctx, tx, updateKeysRevoked, *e.Subject.ID, e.Timestamp)
		if err != nil {
			return err
		}
		for _, k := range keys {
			if err := KeyRevoked.Emit(ctx, tx, k); err != nil {
				return err
			}
		}
	}
	return nil
}
