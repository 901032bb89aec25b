// Package audit reads the organisation's event log: as the pull feed, as the
// activity of a task, a project or the organisation, and as the audit log of
// administrators. It writes nothing of its own; it looks after the log's
// partitions and checks on request that no number is missing.
//
//	event_log ──numbered, in order──────> GET /events        what integrations poll
//	          ──public, newest first────> GET /…/activity    what people see
//	          ──everything, filtered────> GET /audit-log     what administrators ask
//
// Who sees an event: whoever may read its kind of subject (tasks.read for
// "task") and sees today the project it happened in and, if it was moved, the
// one it came from. Events of a project in the trash stay visible to those who
// saw the project; once it is purged nobody is shown them but the audit log,
// which then holds no data. The audit log shows an administrator that something
// happened in a private project he is not in, but not what.
//
// The log is partitioned by day and ids carry their time, so every statement
// bounds the days: a reader at the end of the log touches two partitions
// however long the log is.
package audit
