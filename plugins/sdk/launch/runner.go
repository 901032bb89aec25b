package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin/runner"
)

// processRunner lets go-plugin negotiate with a process that launch starts: it
// gives it the handshake and nothing else of what the program prints.
type processRunner struct {
	p       *Process
	env     []string
	shake   *io.PipeReader
	shakeTo *io.PipeWriter
}

func (p *Process) newRunner(_ hclog.Logger, cmd *exec.Cmd, _ string) (runner.Runner, error) {
	r := &processRunner{p: p, env: p.spec.environment(p.folder)}
	for _, v := range cmd.Env {
		if !strings.HasPrefix(v, "PLUGIN_UNIX_SOCKET_DIR=") { // go-plugin's own folder, which the plugin could not write
			r.env = append(r.env, v)
		}
	}
	r.shake, r.shakeTo = io.Pipe()
	return r, nil
}

func (r *processRunner) Start(context.Context) error     { return r.p.run(r.env, r.shakeTo) }
func (r *processRunner) Wait(context.Context) error      { <-r.p.child.exited; return nil }
func (r *processRunner) Stdout() io.ReadCloser           { return r.shake }
func (r *processRunner) Stderr() io.ReadCloser           { return io.NopCloser(strings.NewReader("")) }
func (r *processRunner) Name() string                    { return r.p.spec.Name }
func (r *processRunner) ID() string                      { return strconv.Itoa(r.p.child.pid) }
func (r *processRunner) Diagnose(context.Context) string { return "" }

// Kill leaves the killing to Process, which knows the reason.
func (r *processRunner) Kill(context.Context) error { return nil }

// PluginToHost takes a socket in the plugin's own folder and nothing else: a
// plugin must not choose what the host dials.
func (r *processRunner) PluginToHost(network, address string) (string, string, error) {
	if network != "unix" {
		return "", "", fmt.Errorf("it listens on %s and not on a Unix socket", network)
	}
	if !filepath.IsAbs(address) {
		address = filepath.Join(r.p.folder.files, address)
	}
	if address = filepath.Clean(address); filepath.Dir(address) != r.p.folder.run {
		return "", "", errors.New("its socket is not in PLUGIN_UNIX_SOCKET_DIR")
	}
	r.p.socket = address
	return network, address, nil
}

func (r *processRunner) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// dial connects to the plugin's socket, and hangs up on anybody else's that the
// name leads to.
func (p *Process) dial(ctx context.Context, _ string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", p.socket)
	if err != nil {
		return nil, err
	}
	if who, err := peer(c.(*net.UnixConn)); err != nil || who != p.child.uid {
		_ = c.Close()
		return nil, fmt.Errorf("the plugin's socket belongs to account %d: %w", who, errors.Join(err, net.ErrClosed))
	}
	return c, nil
}
