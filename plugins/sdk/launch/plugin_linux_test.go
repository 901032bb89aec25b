package launch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
)

// behave is the test binary as a plugin: what the arguments say at the start, and
// then what actions say.
func behave(args []string) {
	switch strings.Join(args, " ") {
	case "exit":
		fmt.Fprintln(os.Stderr, "no configuration found")
		os.Exit(3)
	case "silent":
		select {}
	case "chatty":
		fmt.Println("good morning")
	case "elsewhere":
		fmt.Println("1|1|tcp|127.0.0.1:1|grpc|")
		select {}
	case "child": // of a fork bomb
		select {}
	}
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{ProtocolVersion: pluginpb.ProtocolVersion, MagicCookieKey: pluginpb.CookieVariable, MagicCookieValue: pluginpb.CookieValue},
		Plugins:         plugin.PluginSet{"plugin": &testPlugin{}},
		GRPCServer:      plugin.DefaultGRPCServer,
		Logger:          hclog.NewNullLogger(),
	})
}

type testPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	pluginpb.UnimplementedPluginServer
}

func (p *testPlugin) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	pluginpb.RegisterPluginServer(s, p)
	return nil
}

func (p *testPlugin) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.ErrUnsupported
}

func (p *testPlugin) Decide(context.Context, *pluginpb.DecideRequest) (*pluginpb.DecideResponse, error) {
	return &pluginpb.DecideResponse{}, nil
}

func (p *testPlugin) Act(ctx context.Context, r *pluginpb.ActRequest) (*pluginpb.ActResponse, error) {
	in := string(r.GetInput())
	said := func(err error) (*pluginpb.ActResponse, error) {
		if err != nil {
			return &pluginpb.ActResponse{Refusal: err.Error()}, nil
		}
		return &pluginpb.ActResponse{Message: "done"}, nil
	}
	switch r.GetAction() {
	case "echo":
		return &pluginpb.ActResponse{Output: r.GetInput()}, nil
	case "hang":
		select {}
	case "exit":
		os.Exit(4)
	case "panic":
		go func() { panic("boom") }()
		select {}
	case "eat":
		var hold [][]byte
		for {
			hold = append(hold, bytes.Repeat([]byte{1}, 16<<20))
		}
	case "spin":
		for {
		}
	case "print":
		line := bytes.Repeat([]byte("x"), 99)
		for range 100 << 20 / 100 {
			fmt.Printf("%s\n", line)
		}
		return said(nil)
	case "say":
		fmt.Fprintln(os.Stderr, in)
		return said(nil)
	case "fork":
		return said(bomb())
	case "environment":
		return &pluginpb.ActResponse{Output: []byte(strings.Join(os.Environ(), "\n"))}, nil
	case "read":
		b, err := os.ReadFile(in)
		if err != nil {
			return said(err)
		}
		return &pluginpb.ActResponse{Output: b}, nil
	case "write":
		return said(os.WriteFile(in, []byte("here"), 0o600))
	case "fill": // its temporary folder, with many files that are small enough
		for n := range 64 {
			if err := os.WriteFile(fmt.Sprintf("%s/%d", os.TempDir(), n), bytes.Repeat([]byte{1}, 1<<20), 0o600); err != nil {
				return said(err)
			}
		}
		select {}
	case "hide":
		if err := os.Mkdir(os.TempDir()+"/d", 0o300); err != nil {
			return said(err)
		}
		select {}
	case "crowd": // of connections to the host
		return crowd()
	case "descriptors":
		return descriptors()
	case "dial":
		network, address, _ := strings.Cut(in, " ")
		var d net.Dialer
		c, err := d.DialContext(ctx, network, address)
		if err == nil {
			_ = c.Close()
		}
		return said(err)
	case "account":
		return &pluginpb.ActResponse{Output: fmt.Appendf(nil, "%d %d", os.Getuid(), os.Getgid())}, nil
	case "host":
		return host(ctx)
	}
	return nil, errors.ErrUnsupported
}

// bomb starts processes until it may not, each in a session of its own.
func bomb() error {
	for n := 0; ; n++ {
		c := exec.Command("/proc/self/exe", "child")
		c.Env, c.SysProcAttr = os.Environ(), ownSession()
		if err := c.Start(); err != nil {
			return fmt.Errorf("after %d: %w", n, err)
		}
	}
}

// crowd tells how many connections the host keeps open.
func crowd() (*pluginpb.ActResponse, error) {
	var open atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		c, err := net.Dial("unix", os.Getenv(pluginpb.HostSocketVariable))
		if err != nil {
			return nil, err
		}
		defer c.Close()
		wg.Go(func() {
			_ = c.SetReadDeadline(time.Now().Add(time.Second))
			for b := make([]byte, 1000); ; {
				if _, err := c.Read(b); errors.Is(err, os.ErrDeadlineExceeded) {
					open.Add(1)
					return
				} else if err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return &pluginpb.ActResponse{Output: fmt.Append(nil, open.Load())}, nil
}

func host(ctx context.Context) (*pluginpb.ActResponse, error) {
	c, err := grpc.NewClient("unix:"+os.Getenv(pluginpb.HostSocketVariable), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	v, err := pluginpb.NewHostClient(c).GetValue(ctx, &pluginpb.GetValueRequest{Key: "colour"})
	if err != nil {
		return nil, err
	}
	return &pluginpb.ActResponse{Output: v.GetValue()}, nil
}

// descriptors lists what could have been inherited: files, and a pipe as the first.
func descriptors() (*pluginpb.ActResponse, error) {
	var found []string
	for fd := 3; fd < 64; fd++ {
		var s syscall.Stat_t
		if syscall.Fstat(fd, &s) != nil {
			continue
		}
		if t := s.Mode & syscall.S_IFMT; t == syscall.S_IFREG || t == syscall.S_IFDIR || t == syscall.S_IFIFO && fd == 3 {
			found = append(found, fmt.Sprint(fd))
		}
	}
	return &pluginpb.ActResponse{Output: []byte(strings.Join(found, " "))}, nil
}
