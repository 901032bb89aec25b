// Package inbound takes the webhooks of foreign services: it verifies who sent
// them, keeps each once, and turns it into an event that automations, plugins
// and an organisation's own webhooks can use like any other.
//
//	POST /v1/inbound/{source} ──signature──> message + inbound_message.received, in one transaction ──> 201
//	                                └─────> 401, the same for unknown, disabled and wrong
//	the same id of the sender again ───────> 200 with the first one's id, no second event
//
// A source is one sender. Its kind says how it signs: Standard Webhooks, Stripe,
// GitHub, or an HMAC whose header and form the source describes. The answer
// tells a stranger nothing about a source, neither by its words nor by its
// time: each request costs one look-up, two opened secrets and two MACs over
// the body, whether there is such a source or not.
//
// A sender that gets no 2xx sends again, so nothing is acknowledged before it
// is committed.
package inbound
