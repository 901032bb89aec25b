package audit

import "github.com/guildhall-dev/guildhall/event"

// Conditions on a row of event_log as "e". They are plain text so that each
// statement stands whole in one constant.
const (
	// inSight: the viewer sees today the project it happened in and the one it
	// came from. project_sight knows the trash as well, so the end of a project
	// is still told to those who saw it.
	inSight = `(e.project_id is null or exists (
			select from project_sight s where s.tenant_id = e.tenant_id and s.project_id = e.project_id))
		and (e.previous_project_id is null or exists (
			select from project_sight s where s.tenant_id = e.tenant_id and s.project_id = e.previous_project_id))`

	// before: rows older than the id $2 in the days from $3 to $4. Ids carry
	// their time, so the order of ids is the order of days, and the planner
	// needs the days to leave partitions out.
	before = `e.tenant_id = $1 and e.id < $2 and e.day between $3 and $4`

	// eventCols are the columns of event.Cols once a subselect named them.
	eventCols = `l.id, l.type, l.occurred_at, l.tenant_id, l.sequence, l.subject, l.actor, l.schema_version`
)

// The feed. $2 last number read, $3 first number past the window, $4 and $5
// the days looked at, $6 subjects, $7 types, $8 subjects of types.
const (
	feedRows = `select ` + event.Cols + ` from event_log e
		where e.tenant_id = $1 and e.sequence > $2 and e.sequence < $3 and e.day between $4 and $5 and e.subject_type = any($6)
		and (cardinality($7::text[]) + cardinality($8::text[]) = 0 or e.type = any($7) or split_part(e.type, '.', 1) = any($8))
		and ` + inSight + `
		order by e.sequence limit $9`

	feedEnd = `select e.sequence, e.id from event_log e
		where e.tenant_id = $1 and e.sequence > $2 and e.sequence < $3 and e.day between $4 and $5
		order by e.sequence desc limit 1`

	feedNext = `select e.sequence, e.id from event_log e
		where e.tenant_id = $1 and e.sequence > $2 and e.day >= $3
		order by e.sequence limit 1`

	selectEvent = `select ` + event.Cols + ` from event_log e
		where e.tenant_id = $1 and e.day = $2 and e.id = $3 and e.sequence is not null and e.subject_type = any($4) and ` + inSight
)

// Activity. $5 subjects, then what it is about.
const (
	activityWhere = before + ` and e.public and e.subject_type = any($5) and ` + inSight

	organizationRows = `select ` + event.Cols + ` from event_log e where ` + activityWhere + ` order by e.id desc limit $6 offset $7`
	countActivity    = `select count(*) from event_log e where ` + activityWhere

	projectWhere = activityWhere + ` and e.project_id = $6
		and exists (select from project_access a where a.tenant_id = $1 and a.project_id = $6)`
	projectRows   = `select ` + event.Cols + ` from event_log e where ` + projectWhere + ` order by e.id desc limit $7 offset $8`
	countProject  = `select count(*) from event_log e where ` + projectWhere
	selectProject = `select a.project_id from project_access a where a.tenant_id = $1 and a.project_id = $2`

	// The events of one task are few, so they are all found by their subjects
	// first: told of the limit, the planner would walk the log instead.
	taskLog = `with log as materialized (
		select ` + event.Cols + ` from event_log e where ` + activityWhere + `
		and (e.subject_type = 'task' and e.subject_id = $6 or e.subject_type = 'comment' and e.subject_id = any(array(
			select c.id from comments c where c.tenant_id = $1 and c.task_id = $6)))
		and exists (select from tasks t join project_access a on a.tenant_id = t.tenant_id and a.project_id = t.project_id
			where t.tenant_id = $1 and t.id = $6 and t.deleted_at is null)
	) `
	taskRows   = taskLog + `select ` + eventCols + `, l.data, l.previous from log l order by l.id desc limit $7 offset $8`
	countTask  = taskLog + `select count(*) from log l`
	selectTask = `select t.id from tasks t join project_access a on a.tenant_id = t.tenant_id and a.project_id = t.project_id
		where t.tenant_id = $1 and t.id = $2 and t.deleted_at is null`
)

// The audit log. $5 types, $6 subjects of types, $7 actor, $8 subject,
// $9 operation, $10 address, $11 from, $12 to; null asks for nothing.
const (
	logWhere = before + `
		and (cardinality($5::text[]) + cardinality($6::text[]) = 0 or e.type = any($5) or split_part(e.type, '.', 1) = any($6))
		and ($7::uuid is null or e.actor_id = $7) and ($8::uuid is null or e.subject_id = $8)
		and ($9::text is null or e.operation = $9) and ($10::text is null or e.source_address = $10)
		and ($11::timestamptz is null or e.occurred_at >= $11) and ($12::timestamptz is null or e.occurred_at < $12)`

	logRows = `select ` + eventCols + `,
			case when l.told then l.data end as data, case when l.told then l.previous end as previous,
			not l.told as redacted, l.public, l.project_id, l.operation, l.request_id, l.source_address, l.occurrences
		from (
			select ` + event.Cols + `, ` + inSight + ` as told, e.public, e.project_id, e.operation, e.request_id, e.source_address, e.occurrences
			from event_log e where ` + logWhere + ` order by e.id desc limit $13 offset $14
		) l order by l.id desc`
	countLog = `select count(*) from event_log e where ` + logWhere
)

// The check of the numbers. $2 last number checked, $3 last number of this step.
const (
	selectNumbers = `select coalesce((select e.sequence from event_log e where e.tenant_id = $1 and e.sequence > 0 order by e.sequence limit 1), 1) as first,
		coalesce((select c.last_sequence from event_counters c where c.tenant_id = $1), 0) as last`

	checkNumbers = `select count(*) as events, count(distinct e.sequence) as numbers,
		count(*) filter (where not e.public or split_part(e.type, '.', 1) <> e.subject_type
			or (e.actor_id is null and e.actor_kind not in ('system', 'shopper'))
			or e.day <> (to_timestamp(('x' || substr(replace(e.id::text, '-', ''), 1, 12))::bit(48)::bigint / 1000.0) at time zone 'UTC')::date) as broken
		from event_log e where e.tenant_id = $1 and e.sequence > $2 and e.sequence <= $3`
)

// Upkeep of the instance.
const (
	ensurePartitions = `select ensure_event_partitions($1)`
	removePartitions = `select drop_event_partitions($1)`
	purgeStoredKeys  = `select purge_idempotency_keys($1)`
)
