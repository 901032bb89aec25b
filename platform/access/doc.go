// Package access says who calls and what they may do: it turns tokens and API
// keys into callers, keeps API keys and custom roles, and explains decisions.
//
//	Authorization: Bearer <access token>  ──verify──> person, session ─┐
//	Authorization: Bearer ghk_…           ──hash────> key, its creator ─┤
//	Guildhall-Organization: <id | slug>   ────────────────────────────> organisation, role, epoch
//	                                                                    └─casbin─> permissions
//
// Callers are kept in memory for a minute. That is safe because each statement
// compares what the caller was computed from (epoch of the organisation,
// version of the membership, session, key) with the database in the same
// message; a difference makes package api ask here again, past the cache.
//
// An API key:  live ──DELETE, or its creator leaves──> revoked
//
//	└──expires_at──> expired
//
// A key's rights are its list AND what its creator holds at the moment.
package access
