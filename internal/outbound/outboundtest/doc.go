// Package outboundtest holds what everybody who calls out is tested with: a
// name server that can change its mind, and spellings of addresses that must
// not be reached.
package outboundtest
