package inbound

const (
	sourceCols = `id, name, kind, hmac, tolerance_seconds, enabled, secret_set_at, version, created_at, updated_at`

	selectSource = `select ` + sourceCols + ` from inbound_sources where tenant_id = $1 and id = $2`
	lockSource   = selectSource + ` for no key update`
	listSources  = `select ` + sourceCols + ` from inbound_sources
		where tenant_id = $1 and ($2::uuid is null or id < $2) order by id desc limit $3 offset $4`
	countSources = `select count(*) from inbound_sources where tenant_id = $1`
	insertSource = `insert into inbound_sources (tenant_id, id, name, kind, hmac, tolerance_seconds, enabled, secret_set_at)
		values ($1, $2, $3, $4, $5, $6, $7, case when $8::boolean then now() end) returning ` + sourceCols
	updateSource = `update inbound_sources set name = $3, hmac = $4, tolerance_seconds = $5, enabled = $6, version = version + 1, updated_at = now()
		where tenant_id = $1 and id = $2 returning ` + sourceCols
	deleteSource = `delete from inbound_sources where tenant_id = $1 and id = $2`
	noteSecret   = `update inbound_sources set secret_set_at = now(), version = version + 1, updated_at = now()
		where tenant_id = $1 and id = $2 returning ` + sourceCols
)

// Secrets. The source's row is locked meanwhile, so there is one current secret
// and at most one that ends.
const (
	insertSecret   = `insert into inbound_secrets (tenant_id, source_id, id, secret) values ($1, $2, $3, $4)`
	dropPrevious   = `delete from inbound_secrets where tenant_id = $1 and source_id = $2 and (expires_at is not null or $3::integer = 0)`
	retireSecret   = `update inbound_secrets set expires_at = now() + make_interval(hours => $3) where tenant_id = $1 and source_id = $2 returning expires_at`
	selectBySource = `select now() as now, s.tenant_id, s.id, s.kind, s.hmac, s.tolerance_seconds, s.enabled, s.secret_ids, s.secrets
		from (values (1)) as always (one) left join inbound_source_by_id($1) s on true`
)

const (
	messageCols = `id, source_id, source_name, kind, external_id, type, content_type, payload_encoding, size, received_at`

	// A source that was disabled or removed meanwhile gives no row, like a repeat.
	insertMessage = `insert into inbound_messages (tenant_id, id, source_id, source_name, kind, external_id, type, content_type, payload_encoding, payload, size)
		select s.tenant_id, $3, s.id, s.name, s.kind, $4, $5, $6, $7, $8, $9 from inbound_sources s
		where s.tenant_id = $1 and s.id = $2 and s.enabled
		on conflict on constraint inbound_message_external_id do nothing
		returning ` + messageCols + `, payload`
	selectRepeated = `select m.id from inbound_messages m join inbound_sources s on s.tenant_id = m.tenant_id and s.id = m.source_id and s.enabled
		where m.tenant_id = $1 and m.source_id = $2 and m.external_id = $3`

	selectMessage = `select ` + messageCols + `, payload from inbound_messages where tenant_id = $1 and id = $2`
	listMessages  = `select ` + messageCols + ` from inbound_messages
		where tenant_id = $1 and ($2::uuid is null or source_id = $2) and ($3::text is null or type = $3) and ($4::uuid is null or id >= $4)
		and ($5::uuid is null or id < $5) order by id desc limit $6 offset $7`
	countMessages = `select count(*) from inbound_messages
		where tenant_id = $1 and ($2::uuid is null or source_id = $2) and ($3::text is null or type = $3) and ($4::uuid is null or id >= $4)`

	purgeMessages = `select purge_inbound_messages($1, $2)`
)
