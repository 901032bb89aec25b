package webhooks

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	selectTarget = `select ` + endpointCols + `, headers as sealed_headers,
		coalesce((select jsonb_agg(jsonb_build_object('id', s.id, 'sealed', encode(s.secret, 'base64')) order by s.id desc) from webhook_secrets s
			where s.tenant_id = $1 and s.endpoint_id = $2 and (s.expires_at is null or s.expires_at > now())), '[]') as sealed_secrets,
		case when signature = 'v1' then '[]' else
			coalesce((select jsonb_agg(jsonb_build_object('id', k.id, 'sealed', encode(k.seed, 'base64')) order by k.id desc) from webhook_keys k
			where k.tenant_id = $1 and (k.expires_at is null or k.expires_at > now())), '[]') end as sealed_keys
		from webhook_endpoints where tenant_id = $1 and id = $2 and deleted_at is null`

	disableEndpoint = `with e as (
			update webhook_endpoints set enabled = false, disabled_reason = $3, disabled_at = now(), catch_up_since = coalesce(catch_up_since, now()),
				version = version + 1, updated_at = now()
			where tenant_id = $1 and id = $2 and enabled and deleted_at is null
			returning *
		), s as (
			insert into webhook_settings (tenant_id, endpoint_id, version, event_types, filter, include_private, enabled, payload, envelope, schema_date)
			select tenant_id, id, version, event_types, filter, include_private, enabled, payload, envelope, schema_date from e
		), d as (
			update webhook_dispatch set due_at = 'infinity' where tenant_id = $1 and endpoint_id in (select id from e)
		)
		select ` + endpointCols + ` from e`
)

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

// disable ends sending to an endpoint for the reason "gone" or "failing",
// unless it was disabled already.
func (f *Feature) disable(ctx context.Context, tx *tenant.Tx, endpoint id.ID, reason string) error {
	rows, err := tenant.List[Endpoint](ctx, tx, disableEndpoint, tx.Scope().Organization, endpoint, reason)
	if err != nil || len(rows) == 0 {
		return err
	}
	return EndpointDisabled.Emit(ctx, tx, rows[0])
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
