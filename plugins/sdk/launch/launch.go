package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
)

// ErrStopped is why a process ended that Stop or Kill ended.
var ErrStopped = errors.New("stopped")

// ErrLimit is in the reason of a process that used more than it may.
var ErrLimit = errors.New("over a limit")

// ErrNotRun is in the reason of a start that failed before the plugin's own program
// ran: the machine's trouble, and not the plugin's.
var ErrNotRun = errors.New("not run")

// ErrSlow is in the reason of a start that took too long.
var ErrSlow = errors.New("too slow")

// kinded is an error with a kind for errors.Is that its text does not show.
type kinded struct {
	error
	kind error
}

func (k kinded) Is(err error) bool { return err == k.kind } //nolint:errorlint // what Is is for
func (k kinded) Unwrap() error     { return k.error }

func notRun(err error) error { return kinded{err, ErrNotRun} }

// limitError says which limit it was.
type limitError string

func (e limitError) Error() string     { return string(e) }
func (e limitError) Is(err error) bool { return err == ErrLimit } //nolint:errorlint // what Is is for

func overLimit(format string, args ...any) error { return limitError(fmt.Sprintf(format, args...)) }

// Usage is what a process and its descendants use.
type Usage struct {
	MemoryBytes int64   // resident; pages that several of them share count for each
	CPUSeconds  float64 // since the start
	Processes   int
}

// Process is one running plugin.
type Process struct {
	spec   Spec
	folder *folder
	host   *grpc.Server
	child  *child
	output *output
	client *plugin.Client
	conn   *grpc.ClientConn
	socket string // set by the handshake

	// What a plugin prints when it serves, which go-plugin's library sends over the
	// connection.
	stdout, stderr *lines

	done chan struct{}

	mu     sync.Mutex
	reason error // why it is to end, when the host decided that
	err    error // why it ended
	usage  Usage
}

// Start starts the plugin and returns when it answers. If it cannot, or ctx ends
// before, nothing is left of it.
func Start(ctx context.Context, spec Spec) (*Process, error) {
	if err := spec.complete(); err != nil {
		return nil, notRun(err)
	}
	p := &Process{spec: spec, done: make(chan struct{})}
	if err := p.start(ctx); err != nil {
		return nil, fmt.Errorf("launch.Start(%s %s): %w", spec.Name, spec.Version, err)
	}
	if missing := p.Missing(); len(missing) > 0 {
		spec.Log.WarnContext(ctx, "a plugin is less confined than it could be", "plugin", spec.Name, "missing", missing)
	}
	return p, nil
}

func (p *Process) start(ctx context.Context) (err error) {
	uid, dedicated := account(p.spec.UID)
	if p.folder, err = newFolder(&p.spec, uid, dedicated); err != nil {
		return notRun(err)
	}
	p.child = newChild(&p.spec, p.folder, uid, dedicated)
	if p.host, err = serveHost(&p.spec, p.folder, uid, dedicated); err != nil {
		p.folder.remove()
		return notRun(err)
	}
	p.output = newOutput(p.spec.Output)
	p.stdout, p.stderr = p.output.stream("stdout"), p.output.stream("stderr")
	p.client = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  handshake(),
		Plugins:          plugin.PluginSet{"connection": connection{}},
		RunnerFunc:       p.newRunner,
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: p.folder.path},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         p.spec.TLS,
		SkipHostEnv:      true,
		StartTimeout:     p.spec.StartTimeout + time.Minute, // ours ends first, and says why
		Logger:           hclog.NewNullLogger(),
		SyncStdout:       p.stdout,
		SyncStderr:       p.stderr,
		GRPCDialOptions: []grpc.DialOption{
			grpc.WithContextDialer(p.dial),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		},
	})
	ctx, cancel := context.WithTimeoutCause(ctx, p.spec.StartTimeout,
		kinded{fmt.Errorf("did not answer within %s of its start", p.spec.StartTimeout), ErrSlow})
	defer cancel()
	defer context.AfterFunc(ctx, func() { p.end(context.Cause(ctx)) })()
	if err = p.connect(ctx); err == nil {
		u := p.child.usage() // the watcher's first look was at something that had not begun
		p.mu.Lock()
		p.usage = u
		p.mu.Unlock()
		return nil
	}
	if !p.child.started() {
		p.output.end()
		p.host.Stop()
		p.client.Kill()
		p.folder.remove()
		return notRun(err)
	}
	select {
	case <-p.child.exited: // its status is the better reason
	case <-time.After(200 * time.Millisecond):
		p.end(err)
	}
	<-p.done
	if p.child.unconfined() {
		return notRun(p.Err())
	}
	return p.Err()
}

func (p *Process) connect(ctx context.Context) error {
	protocol, err := p.client.Client()
	if err != nil {
		return err
	}
	raw, err := protocol.Dispense("connection")
	if err != nil {
		return err
	}
	p.conn = raw.(*grpc.ClientConn)
	return p.Ping(ctx)
}

// run is called by go-plugin, through the runner.
func (p *Process) run(env []string, shake *io.PipeWriter) error {
	outR, outW, err := os.Pipe()
	if err != nil {
		return err
	}
	errR, errW, err := os.Pipe()
	if err != nil {
		return errors.Join(err, outR.Close(), outW.Close())
	}
	err = p.child.start(env, outW, errW)
	_, _ = outW.Close(), errW.Close()
	if err != nil {
		return errors.Join(err, outR.Close(), errR.Close())
	}
	var pumps sync.WaitGroup
	pumps.Go(func() { pumpStdout(outR, p.output.stream("stdout"), shake) })
	pumps.Go(func() { pumpStderr(errR, p.output.stream("stderr")) })
	go p.watch()
	go p.watchFolder()
	p.mu.Lock()
	late := p.reason != nil
	p.mu.Unlock()
	if late {
		p.child.killAll()
	}
	go func() {
		<-p.child.exited
		p.child.killAll()
		p.output.end()
		last := time.AfterFunc(time.Second, func() { _, _ = outR.Close(), errR.Close() })
		pumps.Wait()
		last.Stop()
		_, _ = outR.Close(), errR.Close()
		p.finish()
	}()
	return nil
}

// finish clears up behind a process that ended.
func (p *Process) finish() {
	p.host.Stop() // nobody is left to answer
	p.client.Kill()
	p.stdout.flush()
	p.stderr.flush()
	p.output.close()
	p.folder.remove()
	p.mu.Lock()
	p.err = p.reason
	if p.err == nil {
		p.err = p.verdict()
	}
	p.mu.Unlock()
	close(p.done)
}

// Plugin is the connection. Every call needs a deadline: a plugin may hang.
func (p *Process) Plugin() pluginpb.PluginClient { return pluginpb.NewPluginClient(p.conn) }

// Ping asks whether the plugin serves.
func (p *Process) Ping(ctx context.Context) error {
	a, err := grpc_health_v1.NewHealthClient(p.conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: plugin.GRPCServiceName})
	if err != nil {
		return fmt.Errorf("does not answer the health check: %w", err)
	}
	if a.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("says of its health: %s", a.GetStatus())
	}
	return nil
}

// Done is closed when the process and its descendants ended and their folder is
// gone.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says why the process ended: "exited with status 3", "exceeded its memory of
// 256 MiB". It is ErrStopped after Stop and Kill, and nil before Done.
func (p *Process) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Usage is what it used at the last look, a quarter of a second ago at most.
func (p *Process) Usage() Usage {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.usage
}

// PID is the process id, as the host sees it.
func (p *Process) PID() int { return p.child.pid }

// Missing lists what the system did not let the host set up.
func (p *Process) Missing() []string { return p.child.missing }

// end has all of it killed, for the first reason that is given.
func (p *Process) end(reason error) {
	p.mu.Lock()
	if p.reason == nil {
		p.reason = reason
	}
	p.mu.Unlock()
	p.child.killAll()
}
