package tenant

import (
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// The prologues set the transaction's scope and report whether the caller's
// authorisation still holds. set_config stands first in the target list and
// the checks are sub-selects, which Postgres evaluates in order and on demand;
// were the order ever another, the checks would meet a table without a tenant
// and raise an error, so the prologue fails closed.
const (
	prologueSet = `select set_config('app.tenant_id', $1, true), set_config('app.user_id', $2, true),
	set_config('app.open_role', $3, true), set_config('transaction_read_only', $4, true), now(), `

	// $5 epoch, $6 member version, $7 session, $8 user
	prologueUser = prologueSet + `coalesce((
		select o.epoch = $5 and m.version = $6
		from organizations o
		join members m on m.tenant_id = o.tenant_id and m.user_id = $8::uuid
		where o.tenant_id = $1::uuid and o.deleted_at is null
	) and (select s.revoked_at is null from sessions s where s.id = $7), false)`

	// $5 epoch, $6 version of the creator's membership, $7 key, $8 creator
	prologueKey = prologueSet + `coalesce((
		select o.epoch = $5 and m.version = $6 and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
		from organizations o
		join members m on m.tenant_id = o.tenant_id and m.user_id = $8::uuid
		join api_keys k on k.tenant_id = o.tenant_id and k.id = $7
		where o.tenant_id = $1::uuid and o.deleted_at is null
	), false)`

	// $5 epoch, $6 installation; every change of an installation moves the epoch
	// too, so the second look is the net below.
	prologuePlugin = prologueSet + `coalesce((
		select o.epoch = $5
		from organizations o
		join plugin_installations i on i.tenant_id = o.tenant_id and i.id = $6 and i.status = 'active'
		where o.tenant_id = $1::uuid and o.deleted_at is null
	), false)`

	// $5 publishable key, $6 its version
	prologueShopper = prologueSet + `coalesce((
		select k.revoked_at is null and k.version = $6
		from organizations o
		join storefront_keys k on k.tenant_id = o.tenant_id and k.id = $5
		where o.tenant_id = $1::uuid and o.deleted_at is null
	), false)`

	// $5 publishable key, $6 its version, $7 session, $8 customer
	prologueCustomer = prologueSet + `coalesce((
		select k.revoked_at is null and k.version = $6 and s.revoked_at is null and s.expires_at > now()
		from organizations o
		join storefront_keys k on k.tenant_id = o.tenant_id and k.id = $5
		join customers c on c.tenant_id = o.tenant_id and c.id = $8 and c.deleted_at is null
		join customer_sessions s on s.tenant_id = o.tenant_id and s.customer_id = c.id and s.id = $7
		where o.tenant_id = $1::uuid and o.deleted_at is null
	), false)`

	prologueSystem = prologueSet + `true`
)

func queuePrologue(b *pgx.Batch, s Scope, readOnly bool) {
	mode := "off"
	if readOnly {
		mode = "on"
	}
	org := s.Organization.String()
	switch c := s.Check; {
	case c == nil:
		b.Queue(prologueSystem, org, s.viewer(), s.OpenRole, mode)
	case !c.Plugin.IsZero():
		b.Queue(prologuePlugin, org, s.viewer(), s.OpenRole, mode, c.Epoch, c.Plugin)
	case !c.Storefront.IsZero() && s.Actor.Kind == Customer:
		b.Queue(prologueCustomer, org, s.viewer(), s.OpenRole, mode, c.Storefront, c.StorefrontVersion, c.Session, s.Actor.ID)
	case !c.Storefront.IsZero():
		b.Queue(prologueShopper, org, s.viewer(), s.OpenRole, mode, c.Storefront, c.StorefrontVersion)
	case !c.Key.IsZero():
		b.Queue(prologueKey, org, s.viewer(), s.OpenRole, mode, c.Epoch, c.MemberVersion, c.Key, s.User)
	default:
		b.Queue(prologueUser, org, s.viewer(), s.OpenRole, mode, c.Epoch, c.MemberVersion, c.Session, s.User)
	}
}

// readPrologue returns the transaction's time, or ErrStale.
func readPrologue(br pgx.BatchResults) (time.Time, error) {
	var now time.Time
	var current bool
	if err := br.QueryRow().Scan(nil, nil, nil, nil, &now, &current); err != nil {
		return now, fmt.Errorf("tenant prologue: %w", err)
	}
	if !current {
		return now, ErrStale
	}
	return now, nil
}
