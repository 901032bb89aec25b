// Package identity knows people: how they register, log in, stay logged in and
// prove an address. It owns the tables users, sessions, signing_keys,
// mail_tokens, login_throttles, login_sources and identity_log, none of which belongs to an
// organisation.
//
// A log-in is a session. Its access tokens are JWTs that live for 15 minutes
// and are verified without the database; its refresh token is computed, not
// stored: (session, generation) under a MAC.
//
//	log in ──> generation 1 ──refresh──> 2 ──refresh──> 3 …   idle 30 days or 90 days in all: over
//	                              │
//	                              ├─ 1 again within 10 s: the same 2   (an answer got lost)
//	                              └─ 1 again later: revoked            (two hold the family)
//
// Nothing here tells whether an address has an account: known and unknown
// addresses get the same answer after the same work, by mail goes what only
// the owner may know. A failed log-in counts before the password is looked at,
// so any number of guesses at once are still that many guesses.
//
//	address:  unverified ──link──> verified;  change: pending ──link──> verified
//	link:     mail_tokens row ──job──> mail ──once, before it expires──> used
package identity
