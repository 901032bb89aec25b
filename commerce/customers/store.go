package customers

// In every statement $1 is the organisation.

const (
	keyCols = `k.id, k.name, k.allowed_origins, jsonb_build_object('type', k.created_by_kind, 'id', k.created_by_id) as created_by, k.version, k.created_at`

	selectDoor = `select k.version, k.allowed_origins from storefront_keys k join organizations o on o.tenant_id = k.tenant_id and o.deleted_at is null
		where k.tenant_id = $1 and k.id = $2 and k.revoked_at is null`

	insertKey = `insert into storefront_keys as k (tenant_id, id, name, allowed_origins, created_by_kind, created_by_id)
		values ($1, $2, $3, $4, $5, $6) returning ` + keyCols
	selectKey = `select ` + keyCols + ` from storefront_keys k where k.tenant_id = $1 and k.id = $2 and k.revoked_at is null`
	lockKey   = selectKey + ` for no key update`
	listKeys  = `select ` + keyCols + ` from storefront_keys k
		where k.tenant_id = $1 and k.revoked_at is null and ($2::uuid is null or k.id > $2) order by k.id limit $3 offset $4`
	countKeys = `select count(*) from storefront_keys k where k.tenant_id = $1 and k.revoked_at is null`
	updateKey = `update storefront_keys k set name = $3, allowed_origins = $4, version = k.version + 1
		where k.tenant_id = $1 and k.id = $2 returning ` + keyCols
	revokeKey = `update storefront_keys k set revoked_at = now(), version = k.version + 1
		where k.tenant_id = $1 and k.id = $2 and k.revoked_at is null returning ` + keyCols
)

// Customers. An anonymised one is there for orders alone.
const (
	customerCols = `c.id, c.email, c.email_verified_at is not null as email_verified, c.password_hash is not null as has_account, c.name, c.phone,
		c.customer_group, c.accepts_marketing, c.locale, c.note, c.tags, c.version, c.created_at, c.updated_at`
	one = ` from customers c where c.tenant_id = $1 and c.id = $2 and c.deleted_at is null`

	selectCustomer = `select ` + customerCols + one
	lockCustomer   = selectCustomer + ` for no key update`
	insertCustomer = `insert into customers as c (tenant_id, id, email, email_key, name, phone, customer_group, accepts_marketing, locale, note, tags)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) returning ` + customerCols
	// No row where the address is somebody's already; a registration that comes at
	// the same moment waits for the first to end.
	registerCustomer = `insert into customers as c (tenant_id, id, email, email_key, name, password_hash)
		values ($1, $2, $3, $4, $5, $6) on conflict (tenant_id, email_key) where deleted_at is null do nothing returning ` + customerCols
	updateCustomer = `update customers c set email = $3, email_key = $4, name = $5, phone = $6, customer_group = $7, accepts_marketing = $8,
			locale = $9, note = $10, tags = $11, email_verified_at = case when c.email_key = $4 then c.email_verified_at end,
			version = c.version + 1, updated_at = now()
		where c.tenant_id = $1 and c.id = $2 returning ` + customerCols
	anonymise = `update customers c set email = $3, email_key = $3, name = '', phone = '', password_hash = null, email_verified_at = null,
			customer_group = null, accepts_marketing = false, note = '', tags = '{}', deleted_at = now(), version = c.version + 1, updated_at = now()
		where c.tenant_id = $1 and c.id = $2 returning ` + customerCols
	deleteAddresses = `delete from customer_addresses where tenant_id = $1 and customer_id = $2`
	deleteSessions  = `delete from customer_sessions where tenant_id = $1 and customer_id = $2`
	deleteMails     = `delete from customer_mails where tenant_id = $1 and customer_id = $2`
)

// Lists of customers. $2 is a LIKE pattern or "", $3 a group or "", $4 and $5 the
// last row before or null, $6 rows, $7 rows to skip.
const (
	listed = ` from customers c where c.tenant_id = $1 and c.deleted_at is null
		and ($2 = '' or c.email_key like lower($2) or c.name ilike $2) and ($3 = '' or c.customer_group = $3)`

	countCustomers = `select count(*)` + listed

	list          = `select ` + customerCols + listed
	listOldest    = list + ` and ($4::text is null or c.id > $5::uuid) order by c.id limit $6 offset $7`
	listNewest    = list + ` and ($4::text is null or c.id < $5::uuid) order by c.id desc limit $6 offset $7`
	listEmail     = list + ` and ($4::text is null or $5::uuid is not null and c.email_key > $4) order by c.email_key limit $6 offset $7`
	listEmailDown = list + ` and ($4::text is null or $5::uuid is not null and c.email_key < $4) order by c.email_key desc limit $6 offset $7`
	listName      = list + ` and ($4::text is null or (c.name, c.id) > ($4, $5::uuid)) order by c.name, c.id limit $6 offset $7`
	listNameDown  = list + ` and ($4::text is null or (c.name, c.id) < ($4, $5::uuid)) order by c.name desc, c.id desc limit $6 offset $7`
)

// Address books. $2 is the customer.
const (
	addressCols = `a.id, a.address, a.is_default, a.version, a.created_at, a.updated_at`

	existsCustomer = `select c.id` + one
	holdCustomer   = existsCustomer + ` for no key update`
	listAddresses  = `select ` + addressCols + ` from customer_addresses a
		where a.tenant_id = $1 and a.customer_id = $2 and ($3::uuid is null or a.id > $3) order by a.id limit $4 offset $5`
	countAddresses = `select count(*) from customer_addresses a where a.tenant_id = $1 and a.customer_id = $2`
	selectAddress  = `select ` + addressCols + ` from customer_addresses a where a.tenant_id = $1 and a.customer_id = $2 and a.id = $3`
	insertAddress  = `insert into customer_addresses as a (tenant_id, customer_id, id, address, is_default) values ($1, $2, $3, $4, $5) returning ` + addressCols
	updateAddress  = `update customer_addresses a set address = $4, is_default = $5, version = a.version + 1, updated_at = now()
		where a.tenant_id = $1 and a.customer_id = $2 and a.id = $3 returning ` + addressCols
	deleteAddress = `delete from customer_addresses a where a.tenant_id = $1 and a.customer_id = $2 and a.id = $3`
	// Before another one becomes it.
	clearDefault = `update customer_addresses a set is_default = false, version = a.version + 1, updated_at = now()
		where a.tenant_id = $1 and a.customer_id = $2 and a.id <> $3 and a.is_default`
)

// Log-ins.
const (
	selectCredential = `select c.id, c.password_hash from customers c where c.tenant_id = $1 and c.email_key = $2 and c.deleted_at is null`

	selectLive = `select s.id from customer_sessions s
		join customers c on c.tenant_id = s.tenant_id and c.id = s.customer_id and c.deleted_at is null
		where s.tenant_id = $1 and s.customer_id = $2 and s.id = $3 and s.revoked_at is null and s.expires_at > now()`

	// The password must still be the one that was held against the hash: another
	// may have come meanwhile. Who waits here for such a change finds that out.
	lockCredential = `select c.id from customers c where c.tenant_id = $1 and c.id = $2 and c.password_hash = $3 and c.deleted_at is null for no key update`
	insertSession  = `insert into customer_sessions (tenant_id, customer_id, id, nonce, source, expires_at)
		values ($1, $2, $3, $4, $5, now() + interval '90 days') returning expires_at`
	selectFamily = `select s.nonce, s.counter, s.expires_at, s.refreshed_at > now() - interval '10 seconds' as graceful,
			s.revoked_at is null and s.expires_at > now() and s.refreshed_at > now() - interval '30 days' as live
		from customer_sessions s join customers c on c.tenant_id = s.tenant_id and c.id = s.customer_id and c.deleted_at is null
		where s.tenant_id = $1 and s.customer_id = $2 and s.id = $3`
	rotateSession = `update customer_sessions set counter = counter + 1, refreshed_at = now()
		where tenant_id = $1 and customer_id = $2 and id = $3 and counter = $4 and revoked_at is null`
	revokeSession  = `update customer_sessions set revoked_at = now() where tenant_id = $1 and customer_id = $2 and id = $3 and revoked_at is null`
	revokeSessions = `update customer_sessions set revoked_at = now() where tenant_id = $1 and customer_id = $2 and revoked_at is null`

	setPassword = `update customers c set password_hash = $3 where c.tenant_id = $1 and c.id = $2`
	// Who reads the mail at the address owns the account.
	resetPassword = `update customers c set password_hash = $3, email_verified_at = coalesce(c.email_verified_at, now()), version = c.version + 1, updated_at = now()
		where c.tenant_id = $1 and c.id = $2 returning ` + customerCols
	confirmEmail = `update customers c set email_verified_at = now(), version = c.version + 1, updated_at = now()
		where c.tenant_id = $1 and c.id = $2 returning ` + customerCols
)

// Mails. A few of a kind in an hour are enough for a customer and too few to
// flood a mailbox.
const (
	// One after the other, each counting the mails of those before: in a statement
	// of its own, since a count that waited for a lock would not look again.
	lockRecipient = `select from customers c where c.tenant_id = $1 and c.email_key = $2 and c.deleted_at is null for no key update`

	insertMail = `insert into customer_mails (tenant_id, id, customer_id, purpose, email, nonce, redirect_url, expires_at)
		select $1, $2, c.id, $4, c.email, $5, $6, now() + make_interval(secs => $7) from customers c
		where c.tenant_id = $1 and c.email_key = $3 and c.deleted_at is null and (select count(*) from customer_mails m
			where m.tenant_id = c.tenant_id and m.customer_id = c.id and m.purpose = $4 and m.created_at > now() - interval '1 hour') < 5`
	mailCols   = `m.id, m.customer_id, m.purpose, m.email, m.nonce, m.redirect_url`
	mailUsable = ` m.tenant_id = $1 and m.id = $2 and m.used_at is null and m.expires_at > now()
		and exists (select from customers c where c.tenant_id = m.tenant_id and c.id = m.customer_id and c.email = m.email and c.deleted_at is null)`
	selectMail = `select ` + mailCols + ` from customer_mails m where` + mailUsable
	useMail    = `update customer_mails m set used_at = now() where` + mailUsable + ` returning ` + mailCols
	voidMails  = `update customer_mails set used_at = now() where tenant_id = $1 and customer_id = $2 and used_at is null and purpose in ('confirm', 'reset')`
	selectShop = `select o.name from organizations o where o.tenant_id = $1`
)

// Throttles; see platform/identity, which counts people in the same way.
const (
	// An attempt counts as a failure until it succeeds. From the $3-th one on, each
	// closes the door for twice as long, up to 15 minutes; a day of quiet forgets.
	// Nothing is returned while the door is closed.
	claimAttempt = `insert into customer_throttles as t (tenant_id, subject, failures, last_failed_at, blocked_until) values ($1, $2, 1, clock_timestamp(), 'epoch')
		on conflict (tenant_id, subject) do update set last_failed_at = clock_timestamp(),
			failures = case when t.last_failed_at < now() - interval '1 day' then 1 else t.failures + 1 end,
			blocked_until = case when t.last_failed_at < now() - interval '1 day' or t.failures + 1 < $3::int then 'epoch'
				else clock_timestamp() + least(interval '15 minutes', interval '1 second' * power(2, least(t.failures + 1 - $3, 20))) end
		where t.blocked_until <= clock_timestamp()
		returning failures`
	selectBlocked  = `select extract(epoch from blocked_until - clock_timestamp())::float8 from customer_throttles where tenant_id = $1 and subject = $2`
	forgetFailures = `delete from customer_throttles where tenant_id = $1 and subject = any($2::text[])`
	forgiveAttempt = `update customer_throttles set failures = greatest(failures - 1, 0), blocked_until = 'epoch' where tenant_id = $1 and subject = $2`

	// $2 the address, $3 the source: whether the customer logged in from there.
	selectKnownSource = `select exists (select from customer_sessions s join customers c on c.tenant_id = s.tenant_id and c.id = s.customer_id
		where c.tenant_id = $1 and c.email_key = $2 and c.deleted_at is null and s.source = $3 and s.created_at > now() - interval '90 days')`
)

// What is over goes a little at a time, with what comes. What another takes away
// at the moment is left to it.
const (
	purgeSessions = `delete from customer_sessions d using (select s.customer_id, s.id from customer_sessions s
			where s.tenant_id = $1 and s.refreshed_at < now() - interval '90 days' order by s.refreshed_at limit 20 for update skip locked) old
		where d.tenant_id = $1 and d.customer_id = old.customer_id and d.id = old.id`
	purgeMails = `delete from customer_mails d using (select m.id from customer_mails m
			where m.tenant_id = $1 and m.expires_at < now() - interval '1 day' order by m.expires_at limit 20 for update skip locked) old
		where d.tenant_id = $1 and d.id = old.id`
	purgeThrottles = `delete from customer_throttles d using (select t.subject from customer_throttles t
			where t.tenant_id = $1 and t.last_failed_at < now() - interval '1 day' order by t.last_failed_at limit 20 for update skip locked) old
		where d.tenant_id = $1 and d.subject = old.subject`
)
