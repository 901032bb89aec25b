// Package tenant is the only door to the database. A function that touches an
// organisation's data takes a View (reads) or a *Tx (writes), so the compiler
// proves that there is an organisation, and row-level security in Postgres is
// the net below: without a tenant every tenant table raises an error.
//
// Every statement is preceded, in the same message, by a prologue that sets
// the organisation and the viewer for the transaction and compares the
// organisation's policy epoch, the membership's version and the session with
// what the caller was authorised on. A difference is ErrStale: package api
// then authorises afresh and repeats the call once. So a revoked session, key
// or role counts at once on every replica, without polling.
//
//	read:  [ prologue | statement ]                  one round trip, one implicit transaction
//	write: [ begin | prologue | idempotency key ]    one message
//	       statements of the handler
//	       [ events | stored reply | commit ]        one message
//
// Only this package begins and commits. GlobalView and GlobalTx are the door
// to the few tables that belong to no organisation (people, sessions, keys of
// the instance); under them tenant tables stay shut.
package tenant
