// Package tasks is the work itself: what is to be done, by whom, until when and
// in which order.
//
//	POST /projects/{id}/tasks ──► live ──DELETE──► trash ──30 days──► gone
//	                               ▲                 │
//	                               └────restore──────┘
//
// The state of a live task is one of its project's workflow states; a state
// belongs to a group (backlog, unstarted, started, completed, cancelled), and
// completed_at follows the group.
//
// Three things carry concurrency, and none of them checks before it acts:
//
//   - Numbers and places at the end come from the project's counter row, so any
//     number of creates at once get distinct ones. A place between two tasks is
//     a string key with a random end (rank.go). What takes many places at once
//     holds the counter row alone, and what takes all of them (rebalance.go) does
//     so in batches between which the order holds.
//   - A change is one update on condition of the version that it was computed
//     from; if somebody was faster, it is computed again on the newer row.
//   - Each row knows in which version each of its fields last changed, so two
//     people who edit different fields of one task both succeed.
package tasks
