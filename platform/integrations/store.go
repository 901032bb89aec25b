package integrations

const (
	installationCols = `id, plugin_id, plugin_version, previous_version, status, status_reason, grants, settings, auto_update, version, upgraded_at, created_at, updated_at`
	rowCols          = installationCols + `, secrets`

	listInstallations = `select ` + rowCols + ` from plugin_installations
		where tenant_id = $1 and ($2::uuid is null or id < $2) order by id desc limit $3 offset $4`
	countInstallations = `select count(*) from plugin_installations where tenant_id = $1`
	selectInstallation = `select ` + rowCols + ` from plugin_installations where tenant_id = $1 and id = $2`
	lockInstallation   = selectInstallation + ` for no key update`
	insertInstallation = `insert into plugin_installations (tenant_id, id, plugin_id, plugin_version, grants, settings, secrets, auto_update, installed_by_kind, installed_by_id)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) returning ` + rowCols
	updateInstallation = `update plugin_installations set status = $3, status_reason = $4, grants = $5, settings = $6, secrets = $7, auto_update = $8,
			settings_version = settings_version + case when settings is distinct from $6 or secrets is distinct from $7 then 1 else 0 end,
			version = version + 1, updated_at = now()
		where tenant_id = $1 and id = $2 returning ` + rowCols
	moveInstallation = `update plugin_installations set plugin_version = $3, previous_version = $4, grants = $5, auto_update = $6,
			status_reason = case when status = 'active' then $7 else status_reason end,
			settings = $8, secrets = $9, settings_version = settings_version + case when settings is distinct from $8 or secrets is distinct from $9 then 1 else 0 end,
			upgraded_at = case when plugin_version = $3 then upgraded_at else now() end, version = version + 1, updated_at = now()
		where tenant_id = $1 and id = $2 returning ` + rowCols
	deleteInstallation = `delete from plugin_installations where tenant_id = $1 and id = $2 returning ` + rowCols

	nextEpoch = `select next_policy_epoch()`

	// What follows from an installation and its version.
	dropSchedules = `delete from plugin_schedules where tenant_id = $1 and installation_id = $2 and name <> all($3::text[])`
	keepSchedules = `insert into plugin_schedules as s (tenant_id, installation_id, name, every_seconds, next_at)
		select $1, $2, u.name, u.every_seconds, now() + make_interval(secs => u.every_seconds) from unnest($3::text[], $4::integer[]) as u (name, every_seconds)
		on conflict on constraint plugin_schedules_pkey do update set every_seconds = excluded.every_seconds, next_at = least(s.next_at, excluded.next_at)`
	wakeQueue     = `update plugin_dispatch set due_at = now(), rest_until = null where tenant_id = $1 and installation_id = $2`
	selectListens = `select exists (select from plugin_installations i where i.tenant_id = $1 and exists (select from unnest(i.grants) g where g like 'event:%'))`

	listQueued = `select q.position, q.event_id, q.event_type, q.attempts, case when q.failed_at is null then q.due_at end as due_at, q.failed_at, q.error
		from plugin_queue q where q.tenant_id = $1 and q.installation_id = $2 and ($3::bigint is null or q.position > $3) order by q.position limit $4 offset $5`
	countQueued = `select count(*) from plugin_queue where tenant_id = $1 and installation_id = $2`
	retryQueued = `update plugin_queue set failed_at = null, due_at = now(), attempts = 0 where tenant_id = $1 and installation_id = $2 and failed_at is not null`
)

// The catalogue. It belongs to no organisation.
const (
	versionCols = `v.plugin_id, v.version, v.manifest, v.signer, v.size, v.added_at, v.revoked_at, v.revoked_reason, s.name as signer_name, p.pinned_version`
	fromVersion = ` from plugin_versions v join plugins p on p.id = v.plugin_id left join plugin_signers s on s.public_key = v.signer`

	selectCatalogue  = `select ` + versionCols + fromVersion + ` order by v.plugin_id, v.added_at`
	selectVersionsOf = `select ` + versionCols + fromVersion + ` where v.plugin_id = any($1::text[]) order by v.plugin_id, v.added_at`
)
