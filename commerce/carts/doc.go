// Package carts is what somebody may come to buy.
//
//	POST carts ──► open ──complete──► closed, with an order
//	                │ ▲
//	                └─┘ lines, addresses, shipping, codes: each change prices it anew
//
// A cart is a quote: the price that was last shown is stored with it, and
// completing it compares that with the price of the moment. A guest's cart is
// opened by its id, which is random; once a customer owns it, it is there for
// that customer alone.
package carts
