package webhooks

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

const selectTarget = `select ` + endpointCols + `, headers as sealed_headers,
		coalesce((select jsonb_agg(jsonb_build_object('id', s.id, 'sealed', encode(s.secret, 'base64')) order by s.id desc) from webhook_secrets s
			where s.tenant_id = $1 and s.endpoint_id = $2 and (s.expires_at is null or s.expires_at > now())), '[]') as sealed_secrets,
		case when signature = 'v1' then '[]' else
			coalesce((select jsonb_agg(jsonb_build_object('id', k.id, 'sealed', encode(k.seed, 'base64')) order by k.id desc) from webhook_keys k
			where k.tenant_id = $1 and (k.expires_at is null or k.expires_at > now())), '[]') end as sealed_keys
		from webhook_endpoints where tenant_id = $1 and id = $2 and deleted_at is null
		and exists (select from organizations o where o.tenant_id = $1 and o.deleted_at is null)`

// sealed is a secret as the database holds it.
type sealed struct {
	ID     id.ID  `json:"id"`
	Sealed []byte `json:"sealed"`
}

type sealedTarget struct {
	Endpoint
	SealedHeaders []byte   `db:"sealed_headers"`
	SealedSecrets []sealed `db:"sealed_secrets"`
	SealedKeys    []sealed `db:"sealed_keys"`
}

// loadTarget reads an endpoint with everything that sending to it needs, in
// one round trip; tenant.ErrNoRows where it was deleted.
func (f *Feature) loadTarget(ctx context.Context, q tenant.Querier, org, endpoint id.ID) (target, error) {
	row, err := tenant.One[sealedTarget](ctx, q, selectTarget, org, endpoint)
	if err != nil {
		return target{}, err
	}
	t := target{Endpoint: row.Endpoint, Organization: org, Header: map[string]string{}}
	if row.SealedHeaders != nil {
		raw, err := f.Deps.Keys.Open(row.SealedHeaders, placeOfHeaders(org, endpoint))
		if err == nil {
			err = json.Unmarshal(raw, &t.Header)
		}
		if err != nil {
			return target{}, fmt.Errorf("webhooks: the headers of endpoint %s: %w", endpoint, err)
		}
	}
	for _, s := range row.SealedSecrets {
		raw, err := f.Deps.Keys.Open(s.Sealed, placeOfSecret(org, endpoint, s.ID))
		if err != nil {
			return target{}, fmt.Errorf("webhooks: a secret of endpoint %s: %w", endpoint, err)
		}
		t.Secrets = append(t.Secrets, raw)
	}
	for _, s := range row.SealedKeys {
		seed, err := f.Deps.Keys.Open(s.Sealed, placeOfKey(org, s.ID))
		if err != nil {
			return target{}, fmt.Errorf("webhooks: a key of organisation %s: %w", org, err)
		}
		t.Keys = append(t.Keys, ed25519.NewKeyFromSeed(seed))
	}
	return t, nil
}

func placeOfHeaders(org, endpoint id.ID) string {
	return fmt.Sprintf("%s/webhook_endpoints/headers/%s", org, endpoint)
}

func placeOfSecret(org, endpoint, secret id.ID) string {
	return fmt.Sprintf("%s/webhook_secrets/secret/%s/%s", org, endpoint, secret)
}

func placeOfKey(org, key id.ID) string {
	return fmt.Sprintf("%s/webhook_keys/seed/%s", org, key)
}
