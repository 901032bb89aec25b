// Package integrations is the side of plugins that people see: the operator's
// catalogue, what an organisation installed and consented to, the actions that
// plugins offer, and the addresses at which foreign services reach them. What
// runs plugins is package plugins.
//
//	catalogue     plugin ── version (bundle, signer, revoked?) ── pin
//	installation  active <──> suspended
//	              active ──5 failures in 10 min──> quarantined ──an admin──> active
//
// An organisation grants what a version asks for, by name; what the manifest
// calls optional it may withhold. A newer version that asks for no more than
// what was granted replaces the older one by itself; one that asks for more
// waits for an admin, and the older one runs on. Every change of an installation
// moves the organisation's policy epoch, so it counts with the next statement on
// every replica.
package integrations
