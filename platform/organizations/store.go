package organizations

const (
	organizationCols = `o.tenant_id as id, o.slug, o.name, o.default_currency, o.version, o.created_at, o.deleted_at`

	insertOrganization = `with o as (
		insert into organizations (tenant_id, slug, name, default_currency) values ($1, $2, $3, $4)
		on conflict (slug) do nothing
		returning tenant_id, slug, name, default_currency, version, created_at, deleted_at
	), m as (
		insert into members (tenant_id, user_id, role) select o.tenant_id, $5, 'owner' from o returning role
	)
	select ` + organizationCols + `, m.role from o, m`
	// One at a time joins or makes organisations, so the count is exact.
	lockPerson = `select pg_advisory_xact_lock(hashtextextended('organizations of ' || $1::uuid, 7301))`
	countAll   = `select count(*) from organizations_of($1) o`
	selectOwn  = `select o.id, o.slug, o.name, o.default_currency, o.version, o.created_at, o.deleted_at, o.role from organizations_of($1) o
		where (o.deleted_at is not null) = $2 and ($3::timestamptz is null or (o.created_at, o.id) > ($3, $4::uuid))
		order by o.created_at, o.id limit $5 offset $6`
	countOwn           = `select count(*) from organizations_of($1) o where (o.deleted_at is not null) = $2`
	selectOrganization = `select ` + organizationCols + `, m.role from organizations o
		join members m on m.tenant_id = o.tenant_id and m.user_id = $1`
	lockOrganization = `select ` + organizationCols + ` from organizations o where o.deleted_at is null for no key update`
	// The epoch moves with the slug, so that nobody goes on under the old one.
	updateOrganization = `update organizations o set name = $1, slug = $2, default_currency = $3, version = o.version + 1,
		epoch = o.epoch + case when o.slug = $2 then 0 else 1 end
		where o.deleted_at is null returning ` + organizationCols
	deleteOrganization = `update organizations o set deleted_at = now(), version = o.version + 1, epoch = o.epoch + 1
		where o.deleted_at is null returning ` + organizationCols
	selectBinned        = `select o.role, o.deleted_at is not null as binned from organizations_of($1) o where o.id = $2`
	restoreOrganization = `update organizations o set deleted_at = null, version = o.version + 1, epoch = o.epoch + 1
		where o.deleted_at > now() - interval '30 days' returning ` + organizationCols
)

const (
	memberCols = `m.user_id, u.username, u.email, m.role, m.version, m.created_at as joined_at`

	// inSight: $1 says whether the viewer $2 sees everybody. Guests see
	// themselves and who was added to a project that they see.
	inSight = `($1 or m.user_id = $2 or exists (
			select from project_members p join project_access a on a.tenant_id = p.tenant_id and a.project_id = p.project_id
			where p.tenant_id = m.tenant_id and p.user_id = m.user_id))`

	membersWhere = inSight + ` and ($3 = '' or m.role = $3)
			and ($4 = '' or position(lower($4) in lower(u.username)) > 0 or position(lower($4) in lower(u.email)) > 0)`

	selectMembers = `select ` + memberCols + ` from members m join users u on u.id = m.user_id
		where ` + membersWhere + ` and ($5::timestamptz is null or (m.created_at, m.user_id) > ($5, $6::uuid))
		order by m.created_at, m.user_id limit $7 offset $8`
	countMembers  = `select count(*) from members m join users u on u.id = m.user_id where ` + membersWhere
	selectInSight = `select ` + memberCols + ` from members m join users u on u.id = m.user_id where ` + inSight + ` and m.user_id = $3`
	selectMember  = `select ` + memberCols + ` from members m join users u on u.id = m.user_id where m.user_id = $1`
	// A person who comes back starts above every version that ever was, so that
	// no caller computed from the old membership passes for the new one.
	insertMember = `insert into members (tenant_id, user_id, role, version)
		select o.tenant_id, $2, $3, o.removed_version + 1 from organizations o where o.tenant_id = $1
		on conflict (tenant_id, user_id) do nothing`
	noteRemoved = `update organizations set removed_version = greatest(removed_version, $1)`
	// Both leave the last owner alone; the organisation's row is locked by then,
	// so the count is exact.
	updateMember = `update members m set role = $2, version = m.version + 1
		where m.user_id = $1 and (m.role <> 'owner' or $2 = 'owner' or (select count(*) from members o where o.role = 'owner') > 1)`
	deleteMember = `delete from members m
		where m.user_id = $1 and (m.role <> 'owner' or (select count(*) from members o where o.role = 'owner') > 1)`
	selectCustomRole = `select permissions, guest from roles where key = $1`
)

const (
	invitationCols = `i.id, i.email, i.role, i.invited_by_id, i.created_at, i.expires_at, i.accepted_at, i.revoked_at,
		case when i.accepted_at is not null then 'accepted' when i.revoked_at is not null then 'revoked'
			when i.expires_at <= now() then 'expired' else 'pending' end as status`

	invitationNames = `i.id, i.email, i.role, i.invited_by_id, i.created_at, i.expires_at, i.accepted_at, i.revoked_at, i.status`

	selectInvitations = `select ` + invitationNames + ` from (select ` + invitationCols + ` from invitations i) i
		where ($1 = '' or i.status = $1) and ($2::uuid is null or i.id < $2) order by i.id desc limit $3 offset $4`
	countInvitations = `select count(*) from (select ` + invitationCols + ` from invitations i) i where ($1 = '' or i.status = $1)`
	selectInvitation = `select ` + invitationCols + ` from invitations i where i.id = $1`
	insertInvitation = `insert into invitations as i (tenant_id, id, email, email_key, role, nonce, invited_by_id, expires_at)
		values ($1, $2, $3, $4, $5, $6, $7, now() + interval '7 days') returning ` + invitationCols
	selectIsMember = `select exists (select from members m join users u on u.id = m.user_id where u.email_key = $1)`
	// One that expired makes room for the next to the same address.
	closeExpired = `update invitations set revoked_at = now()
		where email_key = $1 and accepted_at is null and revoked_at is null and expires_at <= now()`
	revokeInvitation = `update invitations i set revoked_at = now()
		where i.id = $1 and i.accepted_at is null and i.revoked_at is null returning ` + invitationCols
	renewInvitation = `update invitations i set nonce = $2, expires_at = now() + interval '7 days'
		where i.id = $1 and i.accepted_at is null and i.revoked_at is null returning ` + invitationCols
	lockInvitation = `select i.nonce, i.accepted_by_id, u.email_key = i.email_key as same_person
		from invitations i join users u on u.id = $2 where i.id = $1 for update of i`
	acceptInvitation = `update invitations i set accepted_at = now(), accepted_by_id = $2
		where i.id = $1 and i.accepted_at is null and i.revoked_at is null and i.expires_at > now() returning ` + invitationCols
	selectForMail = `select i.email, i.role, i.nonce, i.expires_at, o.name as organization, coalesce(u.username, 'Somebody') as inviter
		from invitations i join organizations o on o.tenant_id = i.tenant_id and o.deleted_at is null
		left join users u on u.id = i.invited_by_id
		where i.id = $1 and i.accepted_at is null and i.revoked_at is null and i.expires_at > now()`
)

const (
	selectToPurge = `select o from organizations_to_purge() o`
	selectIsDue   = `select exists (select from organizations o where o.deleted_at < now() - interval '31 days')`
	purgeSome     = `select purge_organization($1)`
)
