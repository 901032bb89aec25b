// Package launch starts one plugin process, confines it and speaks to it.
//
// A Process is one run of one version of a plugin. Start makes a private folder
// for it, serves the Host on a socket in there, starts the program and returns
// when it answers; Done is closed when it ended, and Err says why in words for
// an operator. Nothing is restarted here: that is the supervisor's business.
//
//	Start ──► running ──┬─► exited by itself, or killed from outside
//	                    ├─► over a limit: killed with all its descendants
//	                    └─► Stop or Kill: ErrStopped
//
// What holds a plugin in place on Linux, from the outside in:
//
//   - process, network and IPC namespaces of its own: nothing to connect to, and
//     the end of its first process is the end of all of them;
//   - an account of its own, where the host is root and Spec.UID says which;
//   - Landlock: it reads the system's libraries and its own files, writes only
//     its own temporary folder, and opens no TCP connection;
//   - rlimits for memory, processes, open files and file sizes; a low priority;
//   - a watcher, four times a second, for what rlimits do not count: the memory
//     and the processor time of all its processes together; and every other
//     second for its temporary files.
//
// What a kernel, a container or an account without rights does not let the host
// set up is left out, logged once at the start and listed by Process.Missing.
//
// What stays open, in any case: files without a name (memfd_create, deleted while
// open) are bounded per file and by the number of open files, not in sum; the kernel's own surface, since there is no
// system call filter. On a host that is not root and may not make user
// namespaces, the plugin has the host's own account: Landlock alone keeps it from
// the host's files and memory, and a process that leaves its session and its
// parent (a double fork with setsid) outlives Kill. Without Landlock either,
// such a plugin can do whatever the host can do. On systems other than Linux
// nothing is confined.
package launch
