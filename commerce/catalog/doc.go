// Package catalog is what an organisation sells: products with their variants,
// the tree of categories, prices, and what of it a shopper sees.
//
//	draft ──> active ──> archived     any to any; only active is sold, and
//	  ^─────────┴───────────┘         between publish_at and unpublish_at
//
// A variant is what can be put into a cart: one for each combination of the
// options that is sold, or a single one without options. A product changes as a
// whole: whoever changes it or one of its variants holds its row, decides on all
// of it, and gives it one new version.
package catalog
