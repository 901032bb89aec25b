package customers

import (
	"context"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/line"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

// of adds what follows from the organisation.
func (k StorefrontKey) of(organization id.ID) StorefrontKey {
	k.Key = formatKey(organization, k.ID)
	return k
}

type listKeysInput struct{ api.ListParams }

func (f *Feature) listKeys(ctx context.Context, v tenant.View, in *listKeysInput) (page.Page[StorefrontKey], error) {
	var none page.Page[StorefrontKey]
	var after *id.ID
	if _, err := in.Position(ctx, &after); err != nil {
		return none, err
	}
	var rows []StorefrontKey
	var total int64
	org := v.Scope().Organization
	err := v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &rows, listKeys, org, after, in.Limit+1, in.Offset())
		if in.WantTotal() {
			tenant.QueueValue(b, &total, countKeys, org)
		}
	})
	if err != nil {
		return none, err
	}
	for i := range rows {
		rows[i] = rows[i].of(org)
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(k StorefrontKey) any { return k.ID })
	if in.WantTotal() {
		out.Total = &total
	}
	return out, err
}

type createKeyInput struct {
	Body struct {
		Name           string   `json:"name" minLength:"1" maxLength:"100" pattern:"\\S" doc:"What the key is for." example:"Web shop"`
		AllowedOrigins []string `json:"allowed_origins" required:"false" nullable:"false" maxItems:"50" maxLength:"300" doc:"The origins whose pages may use the key, exactly; http://localhost:* leaves the port open. None: no page may." example:"[\"https://shop.example.com\"]"`
	}
}

func (f *Feature) createKey(ctx context.Context, tx *tenant.Tx, in *createKeyInput) (StorefrontKey, error) {
	name, err := line.Clean("/name", in.Body.Name, 100)
	if err != nil {
		return StorefrontKey{}, err
	}
	origins, err := cleanOrigins(in.Body.AllowedOrigins)
	if err != nil {
		return StorefrontKey{}, err
	}
	s := tx.Scope()
	k, err := tenant.One[StorefrontKey](ctx, tx, insertKey, s.Organization, id.New(), name, origins, string(s.Actor.Kind), orNull(s.Actor.ID))
	if err != nil {
		return StorefrontKey{}, err
	}
	k = k.of(s.Organization)
	return k, KeyCreated.Emit(ctx, tx, k)
}

func orNull(v id.ID) *id.ID {
	if v.IsZero() {
		return nil
	}
	return &v
}

type keyPath struct {
	KeyID id.ID `path:"storefront_key_id" ref:"storefront_key" doc:"The key's id, not the key."`
}

func (f *Feature) getKey(ctx context.Context, v tenant.View, in *keyPath) (StorefrontKey, error) {
	org := v.Scope().Organization
	k, err := tenant.One[StorefrontKey](ctx, v, selectKey, org, in.KeyID)
	return k.of(org), tenant.NotFound(err, "publishable key")
}

type updateKeyInput struct {
	KeyID   id.ID       `path:"storefront_key_id" ref:"storefront_key" doc:"The key's id, not the key."`
	IfMatch api.IfMatch `header:"If-Match"`
	Body    struct {
		Name           api.Optional[string]   `json:"name" required:"false" minLength:"1" maxLength:"100" pattern:"\\S" doc:"What the key is for." example:"Web shop"`
		AllowedOrigins api.Optional[[]string] `json:"allowed_origins" required:"false" nullable:"false" maxItems:"50" maxLength:"300" doc:"The origins whose pages may use the key." example:"[\"https://shop.example.com\"]"`
	}
}

func (f *Feature) updateKey(ctx context.Context, tx *tenant.Tx, in *updateKeyInput) (StorefrontKey, error) {
	org := tx.Scope().Organization
	before, err := tenant.One[StorefrontKey](ctx, tx, lockKey, org, in.KeyID)
	if err != nil {
		return before, tenant.NotFound(err, "publishable key")
	}
	if before = before.of(org); !in.IfMatch.Matches(before.Version) {
		return before, fault.StaleVersion(before)
	}
	k := before
	if in.Body.Name.Present {
		if k.Name, err = line.Clean("/name", in.Body.Name.Value, 100); err != nil {
			return k, err
		}
	}
	if in.Body.AllowedOrigins.Present {
		if k.AllowedOrigins, err = cleanOrigins(in.Body.AllowedOrigins.Value); err != nil {
			return k, err
		}
	}
	if same(before, k) {
		return before, nil
	}
	k, err = tenant.One[StorefrontKey](ctx, tx, updateKey, org, k.ID, k.Name, k.AllowedOrigins)
	if err != nil {
		return k, err
	}
	k = k.of(org)
	return k, KeyUpdated.EmitChange(ctx, tx, before, k)
}

func (f *Feature) revokeKey(ctx context.Context, tx *tenant.Tx, in *keyPath) (api.None, error) {
	org := tx.Scope().Organization
	k, err := tenant.One[StorefrontKey](ctx, tx, revokeKey, org, in.KeyID)
	if err != nil {
		return api.None{}, tenant.NotFound(err, "publishable key")
	}
	return api.None{}, KeyRevoked.Emit(ctx, tx, k.of(org))
}
