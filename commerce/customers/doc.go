// Package customers knows who buys: the publishable keys of an organisation's
// shops, its customers, their log-ins and their address books.
//
// A customer belongs to one organisation and is never a member of it: the same
// address at two shops is two customers. Tokens of members and of customers are
// of different forms under different keys, so neither opens the other's door.
//
//	publishable key:  made ──> used by pages of its origins ──> revoked
//	customer:         registered, or entered by the shop ──> anonymised
//	                     └─ address: unconfirmed ──mailed token──> confirmed
//	session:          counter 1 ──refresh──> 2 ──refresh──> 3 …   idle 30 days or 90 days in all: over
//	                        ├─ 1 again within 10 s: the same 2   (an answer got lost)
//	                        └─ 1 again later: revoked            (two hold the token)
//
// A key says its organisation and its id and is no secret: who a shopper is,
// follows from the customer's token alone. Every statement compares the key, the
// session and the customer with what the call was let in on.
//
// Nothing here tells whether an address has an account: known and unknown
// addresses get the same answer after the same work, by mail goes what only the
// owner may know. An account that was not confirmed may log in; what is shown on
// the strength of its address alone must ask for email_verified.
package customers
