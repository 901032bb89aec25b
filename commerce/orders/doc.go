// Package orders is what was agreed: orders with their lines, the ledger of
// money, parcels, refunds, and the one way from a cart to an order.
//
//	cart ──complete──► draft ──paid or authorized──► placed ──paid, delivered──► completed
//	         │           │ ▲                           │
//	         │        declined: completed again        └──cancel, while nothing is shipped──► cancelled
//	         └──the provider needs no call──────────────► placed
//
// Few states are stored. What is paid follows from order_payments, what is sent
// from the parcels, by one pure function each (rules.go); both answers are
// stored in the transaction that changes the ledger, and Check proves that they
// agree.
//
// Money and goods are guarded by constraints, not by looking first:
//
//   - order_cart_taken: one cart is one order, however often it is completed.
//   - refund_exceeds_captured: what is given back, or promised, is never above
//     what came in.
//   - fulfilment_exceeds_ordered: no line is packed twice.
//   - insufficient_stock, of the feature that keeps the stock.
//
// A payment at a provider is never asked for inside a transaction. Before it the
// order is a draft with its stock reserved, and a job is due; after it a second
// transaction records what the provider said. Whoever comes next, the shopper,
// a webhook or the job, goes on from what is stored (checkout.go).
package orders
