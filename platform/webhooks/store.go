package webhooks

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	selectEndpoints = `select ` + endpointCols + ` from webhook_endpoints
		where tenant_id = $1 and deleted_at is null and ($2::uuid is null or id > $2) order by id limit $3 offset $4`
	countEndpoints = `select count(*) from webhook_endpoints where tenant_id = $1 and deleted_at is null`
	selectEndpoint = `select ` + endpointCols + ` from webhook_endpoints where tenant_id = $1 and id = $2 and deleted_at is null`
	lockEndpoint   = `select ` + endpointCols + `, headers as sealed_headers from webhook_endpoints
		where tenant_id = $1 and id = $2 and deleted_at is null for no key update`

	// copyVersion keeps the settings that decide what becomes of an event.
	copyVersion = `(tenant_id, endpoint_id, version, event_types, filter, include_private, enabled, payload, envelope, schema_date)
			select $1, id, version, event_types, filter, include_private, enabled, payload, envelope, schema_date from e`

	// The counter's row serialises creations, so that the limit holds however
	// many come at once; without a row from it nothing is made.
	insertEndpoint = `with counted as (
		insert into webhook_counters as c (tenant_id, endpoints) values ($1, 1)
		on conflict (tenant_id) do update set endpoints = c.endpoints + 1 where c.endpoints < $2
		returning 1
	), e as (
		insert into webhook_endpoints (tenant_id, id, url, description, event_types, filter, headers, header_names, enabled, ordering,
			payload, envelope, signature, include_private, rate_limit, max_in_flight, timeout_seconds, retry_schedule, schema_date,
			disabled_reason, disabled_at, catch_up_since, created_by_kind, created_by_id)
		select $1, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25 from counted
		returning ` + endpointCols + `
	), s as (
		insert into webhook_settings ` + copyVersion + `
	), d as (
		insert into webhook_dispatch (tenant_id, endpoint_id) select $1, id from e
	), k as (
		insert into webhook_secrets (tenant_id, endpoint_id, id, secret) select $1, id, $26, $27 from e
	)
	select ` + endpointCols + ` from e`

	changeEndpoint = `with e as (
		update webhook_endpoints set url = $3, description = $4, event_types = $5, filter = $6, headers = $7, header_names = $8, enabled = $9,
			ordering = $10, payload = $11, envelope = $12, signature = $13, include_private = $14, rate_limit = $15, max_in_flight = $16,
			timeout_seconds = $17, retry_schedule = $18, schema_date = $19, disabled_reason = $20, disabled_at = $21, catch_up_since = $22,
			version = version + 1, updated_at = now()
		where tenant_id = $1 and id = $2 returning ` + endpointCols + `
	), s as (
		insert into webhook_settings ` + copyVersion + `
	)
	select ` + endpointCols + ` from e`

	// touchEndpoint gives an endpoint a new version, so that who is just sending
	// to it reads it again.
	touchEndpoint = `with e as (
		update webhook_endpoints set version = version + 1, updated_at = now() where tenant_id = $1 and id = $2 returning ` + endpointCols + `
	), s as (
		insert into webhook_settings ` + copyVersion + `
	)
	select ` + endpointCols + ` from e`

	disableEndpoint = `with e as (
		update webhook_endpoints set enabled = false, disabled_reason = $3, disabled_at = now(), catch_up_since = coalesce(catch_up_since, now()),
			version = version + 1, updated_at = now()
		where tenant_id = $1 and id = $2 and enabled and deleted_at is null returning ` + endpointCols + `
	), s as (
		insert into webhook_settings ` + copyVersion + `
	), d as (
		update webhook_dispatch set due_at = 'infinity' where tenant_id = $1 and endpoint_id in (select id from e)
	)
	select ` + endpointCols + ` from e`

	// Secrets and headers are of no more use, so they go at once.
	deleteEndpoint = `with e as (
		update webhook_endpoints set deleted_at = now(), headers = null, version = version + 1, updated_at = now()
		where tenant_id = $1 and id = $2 returning id
	), c as (
		update webhook_counters set endpoints = endpoints - 1 where tenant_id = $1
	), k as (
		delete from webhook_secrets where tenant_id = $1 and endpoint_id = $2
	)
	update webhook_dispatch set due_at = 'infinity' where tenant_id = $1 and endpoint_id in (select id from e)`

	holdDispatch = `update webhook_dispatch set due_at = 'infinity' where tenant_id = $1 and endpoint_id = $2`
	// What was learnt of an address that answered badly says nothing any more.
	forgetHealth = `update webhook_dispatch set window_started_at = null, window_delivered = 0, window_failed = 0,
		open_until = null, probe_seconds = 0, failing_since = null, retry_at = null, retry_seconds = 0 where tenant_id = $1 and endpoint_id = $2`

	selectSecret = `select s.id, s.secret from webhook_secrets s
		join webhook_endpoints e on e.tenant_id = s.tenant_id and e.id = s.endpoint_id
		where s.tenant_id = $1 and s.endpoint_id = $2 and s.expires_at is null and e.deleted_at is null`
	// Earlier ones end no later than the one that is replaced.
	expireSecrets = `with gone as (
		delete from webhook_secrets where tenant_id = $1 and endpoint_id = $2 and expires_at <= now()
	), ended as (
		update webhook_secrets set expires_at = least(coalesce(expires_at, 'infinity'), now() + make_interval(hours => $3))
		where tenant_id = $1 and endpoint_id = $2 and (expires_at is null or expires_at > now()) returning expires_at
	)
	select count(*) filter (where expires_at > now()) as unexpired, max(expires_at) as previous_expires_at from ended`
	insertSecret = `insert into webhook_secrets (tenant_id, endpoint_id, id, secret) values ($1, $2, $3, $4)`

	dropQueue = `delete from webhook_queue where tenant_id = $1 and endpoint_id = $2 and delivery_id in (
		select q.delivery_id from webhook_queue q where q.tenant_id = $1 and q.endpoint_id = $2 limit $3)`
	purgeEndpoints = `select purge_webhook_endpoints($1)`
)

// lockedEndpoint is an endpoint for a change.
type lockedEndpoint struct {
	Endpoint
	SealedHeaders []byte `db:"sealed_headers"`
}

// lockForChange locks in the order in which drains do, so that neither waits
// for the other.
func lockForChange(ctx context.Context, tx *tenant.Tx, endpoint id.ID) (lockedEndpoint, error) {
	if _, err := tenant.Exec(ctx, tx, lockDispatch, tx.Scope().Organization, endpoint); err != nil {
		return lockedEndpoint{}, err
	}
	l, err := tenant.One[lockedEndpoint](ctx, tx, lockEndpoint, tx.Scope().Organization, endpoint)
	return l, tenant.NotFound(err, "webhook endpoint")
}

func insert(ctx context.Context, tx *tenant.Tx, e Endpoint, headers []byte, secret id.ID, sealed []byte) (Endpoint, error) {
	s := tx.Scope()
	var by *id.ID
	if !s.Actor.ID.IsZero() {
		by = &s.Actor.ID
	}
	return tenant.One[Endpoint](ctx, tx, insertEndpoint, s.Organization, endpointsMost, e.ID, e.URL, e.Description, e.EventTypes, e.Filter,
		headers, e.Headers, e.Enabled, e.Ordering, e.Payload, e.Envelope, e.Signature, e.IncludePrivate, e.RateLimit, e.MaxInFlight,
		e.TimeoutSeconds, e.RetrySchedule, e.SchemaDate, e.DisabledReason, e.DisabledAt, e.CatchUpSince, string(s.Actor.Kind), by, secret, sealed)
}

func storeChange(ctx context.Context, tx *tenant.Tx, e Endpoint, headers []byte) (Endpoint, error) {
	return tenant.One[Endpoint](ctx, tx, changeEndpoint, tx.Scope().Organization, e.ID, e.URL, e.Description, e.EventTypes, e.Filter,
		headers, e.Headers, e.Enabled, e.Ordering, e.Payload, e.Envelope, e.Signature, e.IncludePrivate, e.RateLimit, e.MaxInFlight,
		e.TimeoutSeconds, e.RetrySchedule, e.SchemaDate, e.DisabledReason, e.DisabledAt, e.CatchUpSince)
}

func (f *Feature) sealHeaders(org, endpoint id.ID, headers map[string]string) ([]byte, error) {
	if len(headers) == 0 {
		return nil, nil
	}
	raw, err := json.Marshal(headers)
	if err != nil {
		return nil, fmt.Errorf("webhooks: encode headers: %w", err)
	}
	return f.Keys.Seal(raw, placeOfHeaders(org, endpoint))
}

func (f *Feature) openHeaders(org, endpoint id.ID, sealed []byte) (map[string]string, error) {
	headers := map[string]string{}
	if sealed == nil {
		return headers, nil
	}
	raw, err := f.Keys.Open(sealed, placeOfHeaders(org, endpoint))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &headers); err != nil {
		return nil, fmt.Errorf("webhooks: decode headers: %w", err)
	}
	return headers, nil
}
