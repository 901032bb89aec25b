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

const (
	keyCols = `id, name, permissions, created_by_id, expires_at, last_used_at, created_at`

	selectKeys = `select ` + keyCols + ` from api_keys
		where revoked_at is null and ($1 or created_by_id = $2) and ($3::uuid is null or id > $3)
		order by tenant_id, id limit $4 offset $5`
	countKeys = `select count(*) from api_keys where revoked_at is null and ($1 or created_by_id = $2)`
	selectKey = `select ` + keyCols + ` from api_keys where id = $1 and revoked_at is null and ($2 or created_by_id = $3)`
	insertKey = `insert into api_keys (tenant_id, id, name, secret_hash, permissions, created_by_id, expires_at)
		values ($1, $2, $3, $4, $5, $6, $7) returning ` + keyCols
	updateKeyRevoked = `update api_keys set revoked_at = now()
		where id = $1 and revoked_at is null and ($2 or created_by_id = $3) returning ` + keyCols
	updateKeysRevoked = `update api_keys set revoked_at = now()
		where created_by_id = $1 and created_at <= $2 and revoked_at is null returning ` + keyCols
)

const (
	roleCols = `id, key, name, description, permissions, guest, false as builtin, version, created_at`

	selectRoles = `select ` + roleCols + ` from roles order by key limit 1000`
	selectRole  = `select ` + roleCols + ` from roles where id = $1`
	lockRole    = `select ` + roleCols + ` from roles where id = $1 for update`
	insertRole  = `insert into roles (tenant_id, id, key, name, description, permissions, guest)
		select $1, $2, $3, $4, $5, $6, $7 where (select count(*) from roles) < $8 returning ` + roleCols
	updateRole = `update roles set name = $2, description = $3, permissions = $4, guest = $5, version = version + 1
		where id = $1 returning ` + roleCols
	deleteRoleRow = `delete from roles r where r.id = $1
		and not exists (select from members m where m.tenant_id = r.tenant_id and m.role = r.key)
		and not exists (select from invitations i where i.tenant_id = r.tenant_id and i.role = r.key
			and i.accepted_at is null and i.revoked_at is null and i.expires_at > now())`

	selectRoleOf   = `select role from members where user_id = $1`
	countNextEpoch = `select next_policy_epoch()`
)

// nextEpoch makes every replica ask anew what roles may do. It comes first in
// a change of roles: the row lock it takes puts such changes, and those of who
// holds which role, one after the other.
func nextEpoch(ctx context.Context, tx *tenant.Tx) error {
	_, err := tenant.Value[int64](ctx, tx, countNextEpoch)
	return err
}
