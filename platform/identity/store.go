package identity

// The statements of the feature, by table. Every one is on a global table.

const userCols = `u.id, u.username, u.email, u.email_verified_at is not null as email_verified, u.pending_email,
	u.locale, u.time_zone, u.version, u.created_at`

const (
	insertUser = `insert into users (id, username, email, email_key, password_hash, email_verified_at)
		values ($1, $2, $3, $4, $5, case when $6::boolean then now() end)
		on conflict on constraint email_taken do nothing`
	// A person is read through the session, so that a revoked one reads nothing.
	selectMe = `select ` + userCols + ` from users u join sessions s on s.user_id = u.id
		where u.id = $1 and s.id = $2 and s.revoked_at is null and s.expires_at > now()`
	// The session is locked too: who waits for the person's row looks at both
	// again, as they are after the wait.
	lockMe     = selectMe + ` for update of u for share of s`
	updateUser = `update users u set username = $2, locale = $3, time_zone = $4, pending_email = $5, version = version + 1
		where u.id = $1 returning ` + userCols
	confirmAddress = `update users set email = $2, email_key = $3, email_verified_at = now(), version = version + 1,
		pending_email = case when pending_email = $2 then null else pending_email end
		where id = $1 and (email = $2 or pending_email = $2) returning id`
	lockPerson  = `select id, email, email_verified_at is not null as email_verified, pending_email from users where id = $1 for update`
	selectAlive = `select true from sessions where user_id = $1 and id = $2 and revoked_at is null and expires_at > now()`
	lockAlive   = selectAlive + ` for share`
	unlock      = `update users set password_hash = $2 where email_key = $1 returning id`
	setOperator = `update users set operator = true, version = version + 1 where email_key = $1 returning id`

	selectCredentialByKey = `select id, email, email_key, password_hash from users where email_key = $1`
	selectCredential      = `select u.id, u.email, u.email_key, u.password_hash from users u join sessions s on s.user_id = u.id
		where u.id = $1 and s.id = $2 and s.revoked_at is null and s.expires_at > now()`
	// The old hash makes sure that of two changes at once one is refused.
	changePassword = `update users set password_hash = $3 where id = $1 and password_hash = $2 returning id`
	// Asked of a row that is locked.
	selectProved = `select true from users where id = $1 and password_hash = $2`
	// What somebody with the old password asked for is not confirmed by the new one.
	withdrawAddress = `update users set pending_email = null, version = version + 1 where id = $1 and pending_email is not null`
	resetPassword   = `update users set password_hash = $2, version = version + (email_verified_at is null)::int,
		email_verified_at = coalesce(email_verified_at, now()) where id = $1 returning id`
)

const (
	// The hash $6 is the one that the password was held against. A change of it
	// that is under way is waited for, and one that comes after finds the session.
	insertSession = `insert into sessions (id, user_id, nonce, user_agent, source_address, expires_at)
		select $1, u.id, $3, $4, $5, now() + interval '90 days' from users u where u.id = $2 and u.password_hash = $6
		for share of u
		returning expires_at`
	// live: neither revoked nor over; graceful: its last rotation is so young
	// that the answer may have got lost.
	selectRefresh = `select user_id, nonce, generation, expires_at,
		revoked_at is null and expires_at > now() and rotated_at > now() - interval '30 days' as live,
		rotated_at > clock_timestamp() - interval '10 seconds' as graceful
		from sessions where id = $1`
	rotateSession = `update sessions set generation = generation + 1, rotated_at = clock_timestamp(), last_used_at = clock_timestamp()
		where id = $1 and generation = $2 and revoked_at is null`
	revokeSession       = `update sessions set revoked_at = now() where id = $1 and user_id = $2 and revoked_at is null`
	revokeOtherSessions = `update sessions set revoked_at = now() where user_id = $1 and id <> $2 and revoked_at is null`

	sessionCols = `s.id, s.id = $2 as current, s.user_agent, s.source_address, s.created_at, s.last_used_at, s.expires_at`
	sessionLive = `s.user_id = $1 and s.revoked_at is null and s.expires_at > now() and s.rotated_at > now() - interval '30 days'
		and exists (select from sessions c where c.id = $2 and c.user_id = $1 and c.revoked_at is null)`
	listSessions  = `select ` + sessionCols + ` from sessions s where ` + sessionLive + ` and ($3::uuid is null or s.id < $3) order by s.id desc offset $4 limit $5`
	countSessions = `select count(*) from sessions s where ` + sessionLive
)

const (
	lockSigningKeys   = `select pg_advisory_xact_lock(7301, 20)`
	selectSigningKeys = `select id, public_key, sealed_private_key, signs_until, verifies_until from signing_keys
		where verifies_until > $1 order by signs_until, id limit 100`
	insertSigningKey = `insert into signing_keys (id, public_key, sealed_private_key, created_at, signs_until, verifies_until)
		values ($1, $2, $3, $4, $5, $6)`
)

// A few links of a kind in an hour are enough for a person and too few to
// flood a mailbox.
const (
	mailTokenValues = `(id, user_id, purpose, email, nonce, expires_at)
		select $1, u.id, $3, coalesce($4, u.email), $5, now() + make_interval(secs => $6) from users u
		where (select count(*) from mail_tokens m where m.user_id = u.id and m.purpose = $3 and m.created_at > now() - interval '1 hour') < 5`
	insertMailTokenFor   = `insert into mail_tokens ` + mailTokenValues + ` and u.id = $2`
	insertMailTokenByKey = `insert into mail_tokens ` + mailTokenValues + ` and u.email_key = $2`
	mailTokenCols        = `id, user_id, purpose, email, nonce, created_at`
	mailTokenUsable      = ` from mail_tokens where id = $1 and used_at is null and expires_at > now()`
	selectMailToken      = `select ` + mailTokenCols + mailTokenUsable
	useMailToken         = `update mail_tokens set used_at = now() where id = $1 and used_at is null and expires_at > now() returning ` + mailTokenCols
	// What was mailed to an old address, or for an old password, is void.
	voidMailTokens = `update mail_tokens set used_at = now() where user_id = $1 and used_at is null and purpose in ('confirm', 'reset')`
)

const (
	// An attempt counts as a failure until it succeeds. From the $2-th one on,
	// each closes the door for twice as long, up to 15 minutes; a day of quiet
	// forgets. Nothing is returned while the door is closed.
	claimAttempt = `insert into login_throttles as t (subject, failures, last_failed_at, blocked_until) values ($1, 1, clock_timestamp(), 'epoch')
		on conflict (subject) do update set last_failed_at = clock_timestamp(),
			failures = case when t.last_failed_at < now() - interval '1 day' then 1 else t.failures + 1 end,
			blocked_until = case when t.last_failed_at < now() - interval '1 day' or t.failures + 1 < $2::int then 'epoch'
				else clock_timestamp() + least(interval '15 minutes', interval '1 second' * power(2, least(t.failures + 1 - $2, 20))) end
		where t.blocked_until <= clock_timestamp()
		returning failures`
	selectBlocked  = `select extract(epoch from blocked_until - clock_timestamp())::float8 from login_throttles where subject = $1`
	forgetFailures = `delete from login_throttles where subject = any($1::text[])`

	// Most attempts come from where the account was used a while ago.
	selectKnownSource = `select exists (select from login_sources where subject = $1 and last_login_at > now() - interval '90 days')`
	noteSource        = `insert into login_sources as s (subject, last_login_at) values ($1, now())
		on conflict (subject) do update set last_login_at = excluded.last_login_at where s.last_login_at < now() - interval '1 hour'`
	forgiveAttempt = `update login_throttles set failures = greatest(failures - 1, 0), blocked_until = 'epoch' where subject = $1`
)

const (
	// One row per fact, subject, address and minute.
	noteFact = `with seen as (
		update identity_log set occurrences = occurrences + 1
		where id = (select l.id from identity_log l where l.type = $2 and l.subject = $4 and l.source_address = $5
			and l.occurred_at > now() - interval '1 minute' order by l.occurred_at desc limit 1)
		returning id
	), made as (
		insert into identity_log (id, type, user_id, subject, source_address, request_id, occurred_at)
		select $1, $2, $3, $4, $5, $6, now() where not exists (select from seen)
		returning id
	)
	select id from seen union all select id from made`
	selectFact = `select user_id, source_address, request_id from identity_log where id = $1`
	// Twenty are enough for every person and bound the work of a guess.
	selectOrganizations = `select o.id from organizations_of($1) o where o.deleted_at is null limit 20`
)

// Each is run until it finds less than a batch.
const (
	purgeSessions = `delete from sessions where id in (select s.id from sessions s where s.expires_at < now()
		or s.rotated_at < now() - interval '30 days' or s.revoked_at < now() - interval '30 days' limit $1)`
	purgeMailTokens  = `delete from mail_tokens where id in (select t.id from mail_tokens t where t.expires_at < now() - interval '1 day' limit $1)`
	purgeThrottles   = `delete from login_throttles where subject in (select t.subject from login_throttles t where t.last_failed_at < now() - interval '1 day' limit $1)`
	purgeSources     = `delete from login_sources where subject in (select s.subject from login_sources s where s.last_login_at < now() - interval '90 days' limit $1)`
	purgeLog         = `delete from identity_log where id in (select l.id from identity_log l where l.occurred_at < now() - interval '400 days' limit $1)`
	purgeSigningKeys = `delete from signing_keys where id in (select k.id from signing_keys k where k.verifies_until < now() limit $1)`
)
