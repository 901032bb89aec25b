// Package webhooks sends the events of an organisation to the addresses that
// it names, and loses none: it starts from the event log, keeps what became of
// every event at every endpoint, and can send any of it again.
//
//	log ──listener──> delivery + queue row ──drain──> POST, attempt row
//
//	pending ──> delivered
//	   │  ▲ └─> failed ──(next attempt)──> delivered | exhausted
//	   │  └──── replay of any of them
//	filtered, paused: matched by the endpoint's types and not sent
//	no match: not stored; follows from the endpoint's versioned settings
//
// The listener runs in the organisation's order and writes deliveries and
// queue in one transaction. An endpoint that has something due stands in
// webhook_dispatch; River jobs claim endpoints there under a lease and drain one at a
// time, so that a slow endpoint holds its own drain and nobody else's.
//
// The wire is Standard Webhooks 1.0.
package webhooks
