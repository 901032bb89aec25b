package launch

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"time"

	"google.golang.org/grpc"

	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
)

// Command is the program of a plugin: either Binary or Path.
type Command struct {
	Binary []byte            // the ELF image that is executed: these bytes, never a file that could have changed
	Path   string            // or an interpreter, such as /usr/bin/python3
	Args   []string          // after the program's name
	Files  map[string][]byte // written to a fresh folder, read-only, that becomes the working directory
	Reads  []string          // more folders that the interpreter reads, such as a virtual environment
}

// Limits bound one plugin process and all its descendants. Zero values stand for
// the defaults that are named here.
type Limits struct {
	MemoryBytes int64         // 256 MiB; resident, all processes together
	Processes   int           // 64; threads count, where the kernel counts them for this plugin alone
	OpenFiles   int           // 256 per process
	FileBytes   int64         // 64 MiB per file
	FolderBytes int64         // 256 MiB; all temporary files together
	CPUPercent  int           // 100, which is one core, averaged over CPUWindow
	CPUWindow   time.Duration // 10 s
	Nice        int           // 5: how far the plugin stands back for others, up to 19
}

// Spec says what to start, and within which bounds.
type Spec struct {
	Name    string // for the process list, the log and errors: letters, digits, ".", "_", "-"
	Version string
	Command Command

	// Dir is the private folder of this process: sockets, files, temporary files.
	// It is made and removed by launch and must not exist. Sockets are in it, so
	// its path has at most 70 bytes; with UID, that account must be able to pass
	// through the folders above. "" is a folder of the system's temporary one.
	Dir string

	Host        pluginpb.HostServer // served to this process only; nil serves nothing
	HostOptions []grpc.ServerOption

	// UID is the account (and the group of the same number) that a host which is
	// root runs the plugin as. It should be the plugin's alone. 0 keeps the host's.
	UID    int
	Limits Limits

	// Confine is an executable that calls Main first thing, usually Self. "" starts
	// the plugin directly and unconfined.
	Confine string

	// Output is given each line that the plugin prints, without its end and
	// clipped to 4 KiB; stream is "stdout" or "stderr". It is called by one
	// goroutine at a time, not after Done, and must not keep line. A plugin that prints more than
	// 256 KiB/s in the long run, or than Output takes, waits.
	Output func(stream string, line []byte)

	Log          *slog.Logger
	StartTimeout time.Duration // 5 s
	TLS          bool          // mutual TLS with keys of this process, on top of the socket's rights
}

const (
	maxDir       = 70 // a socket's path has at most 107 bytes
	maxLine      = 4 << 10
	maxMessage   = 4 << 20
	maxFiles     = 20_000 // temporary ones
	startTimeout = 5 * time.Second
)

var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

func (s *Spec) complete() error {
	if !namePattern.MatchString(s.Name) {
		return fmt.Errorf("launch: %q is no name for a plugin", s.Name)
	}
	if (len(s.Command.Binary) == 0) == (s.Command.Path == "") {
		return errors.New("launch: a command is either a binary or the path of an interpreter")
	}
	if p := s.Command.Path; p != "" && !filepath.IsAbs(p) {
		return fmt.Errorf("launch: the interpreter %q is not an absolute path", p)
	}
	for name := range s.Command.Files {
		if !filepath.IsLocal(name) {
			return fmt.Errorf("launch: the file %q lies outside of the plugin's folder", name)
		}
	}
	if s.Output == nil {
		s.Output = func(string, []byte) {}
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	s.Limits.complete()
	orDefault(&s.StartTimeout, startTimeout)
	return nil
}

func (l *Limits) complete() {
	orDefault(&l.MemoryBytes, 256<<20)
	orDefault(&l.Processes, 64)
	orDefault(&l.OpenFiles, 256)
	orDefault(&l.FileBytes, 64<<20)
	orDefault(&l.FolderBytes, 256<<20)
	orDefault(&l.CPUPercent, 100)
	orDefault(&l.CPUWindow, 10*time.Second)
	orDefault(&l.Nice, 5)
}

func orDefault[T int | int64 | time.Duration](v *T, otherwise T) {
	if *v <= 0 {
		*v = otherwise
	}
}

// argv begins with the plugin's name, for the process list. An interpreter finds
// its libraries by its own.
func (s *Spec) argv() []string {
	return append([]string{cmp.Or(s.Command.Path, s.Name)}, s.Command.Args...)
}

// environment is all that the plugin gets to see, beside what the protocol of
// go-plugin adds.
func (s *Spec) environment(f *folder) []string {
	env := []string{
		"PATH=/usr/local/bin:/usr/bin:/bin",
		"LANG=C.UTF-8",
		"HOME=" + f.tmp,
		"TMPDIR=" + f.tmp,
		"PLUGIN_UNIX_SOCKET_DIR=" + f.run,
		pluginpb.HostSocketVariable + "=" + f.hostSocket,
		"GOMAXPROCS=2",
		fmt.Sprintf("GOMEMLIMIT=%d", s.Limits.MemoryBytes/4*3),
	}
	if s.Command.Path != "" {
		env = append(env,
			"PYTHONDONTWRITEBYTECODE=1", // its files are read-only
			"PYTHONUNBUFFERED=1")        // what it prints is for the log, line by line
	}
	return env
}
