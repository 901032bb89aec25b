package access

import (
	"context"
	"time"

	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// personRow is a person with a live session, and one of up to two organisations
// that the choice leaves: two say that there are several.
type personRow struct {
	Operator      bool    `db:"operator"`
	Organization  *id.ID  `db:"id"`
	Role          *string `db:"role"`
	Epoch         *int64  `db:"epoch"`
	MemberVersion *int64  `db:"member_version"`
}

const selectPerson = `select u.operator, o.id, o.role, o.epoch, o.member_version
from sessions s
join users u on u.id = s.user_id
left join lateral organizations_of(u.id) o on o.deleted_at is null
	and ($3::uuid is null or o.id = $3) and ($4::text is null or o.slug = $4)
where s.id = $2 and s.user_id = $1 and s.revoked_at is null and s.expires_at > now()
limit 2`

// keyRow is a live key with its organisation and its creator's membership.
type keyRow struct {
	Organization  id.ID      `db:"tenant_id"`
	Slug          string     `db:"slug"`
	Hash          []byte     `db:"secret_hash"`
	Permissions   []string   `db:"permissions"`
	CreatedByID   id.ID      `db:"created_by_id"`
	ExpiresAt     *time.Time `db:"expires_at"`
	Role          string     `db:"role"`
	Epoch         int64      `db:"epoch"`
	MemberVersion int64      `db:"member_version"`
	Note          bool       `db:"note"` // the last use on record is old
}

const selectKeyByID = `select k.tenant_id, k.slug, k.secret_hash, k.permissions, k.created_by_id, k.expires_at, k.role, k.epoch, k.member_version,
	coalesce(k.last_used_at < now() - interval '1 minute', true) as note
from api_key_by_id($1) k`

const updateLastUse = `update api_keys set last_used_at = now()
where tenant_id = $1 and id = $2 and (last_used_at is null or last_used_at < now() - interval '1 minute')`

const selectPolicies = `select key, permissions, guest from roles order by key limit 1000`

type policyRow struct {
	Key         string   `db:"key"`
	Permissions []string `db:"permissions"`
	Guest       bool     `db:"guest"`
}

// LoadRoles returns the loader of custom roles that package authz asks.
func LoadRoles(db *tenant.DB) authz.Loader {
	return func(ctx context.Context, organization id.ID) ([]authz.Role, error) {
		rows, err := tenant.List[policyRow](ctx, db.View(tenant.ForSystem(organization)), selectPolicies)
		if err != nil {
			return nil, err
		}
		roles := make([]authz.Role, len(rows))
		for i, r := range rows {
			roles[i] = authz.Role(r)
		}
		return roles, nil
	}
}
