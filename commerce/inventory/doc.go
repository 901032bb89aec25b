// Package inventory is what is in stock, where it lies, what of it is promised,
// and how it came to be so.
//
//	goods arrive ──movement──> on_hand ──reserve, for an order──> reserved
//	                              ^                                  │
//	                              │          release, expiry: free again
//	                              └──restock── shipped <──ship───────┘
//
// A level is one variant at one location: on_hand is the sum of its movements,
// reserved the sum of its reservations. What may still be promised is on_hand +
// backorder_limit + shortfall - reserved, and the check insufficient_stock keeps
// that from falling below zero. A shortfall is what was promised and then not
// found by a count; it shrinks as reservations end and goods arrive.
//
// Whoever changes levels locks the reservations of the order first, then all
// levels in the order of (variant, location), in one statement, and decides on
// what he finds under the lock. So nobody oversells, and nobody waits in a
// circle.
package inventory
