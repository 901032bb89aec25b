// Package organizations keeps the tenants: who belongs to an organisation and
// with which role, how people are invited, and how an organisation ends.
//
//	organisation:  live ──DELETE──> in the bin ──31 days──> purged
//	                 ^──restore, 30 days──┘
//
//	invitation:    pending ──accept, once──> accepted
//	                  │ ^────resend────┐
//	                  ├──7 days──> expired
//	                  └──DELETE──> revoked
//
// Every change of who holds which role first locks the organisation's row. So
// two owners who leave at the same moment come one after the other, and the
// second finds that nobody would be left. What a change takes away counts at
// once: the statements of every replica compare the version of the membership
// and the epoch of the organisation with what their caller was computed from.
package organizations
