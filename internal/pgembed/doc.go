// Package pgembed runs a private PostgreSQL server as a child process, so that the product and its tests need
// nothing but the binary and the folder it was told to use.
//
// It differs from "start a database and hope" in what happens on the bad days:
//
//   - The server listens on a Unix socket only, in a folder that nobody else may enter. There is no port to clash
//     with and nothing to expose.
//   - It never runs as root: it switches to the user postgres (else nobody) when that user can reach the files, and
//     otherwise runs inside a user namespace where root is called nobody.
//   - One data folder has one server. The kernel holds the lock, so that a killed process leaves none behind, and the
//     locks of PostgreSQL itself are repaired only after it was proved that no server uses the folder.
//   - When this process dies, however it dies, the server shuts down (Linux; elsewhere the next start stops it).
//   - A cluster lives in a folder named by its major version, is created beside it and renamed, and is never deleted.
//     Binaries of another major version are refused instead of being given an empty cluster.
//
// The life of a server:
//
//	Start: lock ── Find ── choose account ── create or check the cluster ── repair ── launch ── ready
//	                                                                                            │
//	                     unlock, remove the socket folder ── Done closed ── exit ── Stop or crash
//
// The role postgres made here is a superuser and passes by row level security: use it to create the roles that the
// product works as, and for nothing else.
package pgembed
