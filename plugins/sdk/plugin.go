package sdk

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
)

// Plugin is what a plugin does. Keys are the names of the manifest. What is left
// out is answered with UNIMPLEMENTED. Handlers run concurrently.
type Plugin struct {
	// Hear is told of events that were committed: at least once, and those of one
	// subject in their order. After an error this event and those behind it come
	// again later; after a final one it is passed over.
	Hear func(ctx context.Context, c *Call, e Event) error

	Hooks     map[string]Hook // by hook: "task.will_create"
	Actions   map[string]func(ctx context.Context, c *Call, a *Action) (Result, error)
	Provides  map[string]Provider // by point and name: "notification.send/sms"
	Inbound   map[string]func(ctx context.Context, c *Call, r *Request) (*Response, error)
	Schedules map[string]func(ctx context.Context, c *Call, due time.Time) error
	Tasks     map[string]func(ctx context.Context, c *Call, t *Task) error

	// CheckSettings looks at settings before an organisation saves them, beyond
	// what the manifest's schema says. No complaints: they are good.
	CheckSettings func(ctx context.Context, c *Call) ([]SettingsError, error)
}

// Hook decides on one change before it happens. Its host calls can only read.
type Hook = func(ctx context.Context, c *Call, change Change) (Decision, error)

// Serve serves a plugin until Guildhall ends it. It is the last call of main.
// Started by hand, the program says what it is and exits with status 2. What
// handlers print reaches Guildhall's log over the connection; what is printed just
// before os.Exit may be lost.
func Serve(p Plugin) {
	if os.Getenv(pluginpb.CookieVariable) != pluginpb.CookieValue {
		fmt.Fprintf(os.Stderr, "%s is a plugin of Guildhall. Guildhall starts it; by hand there is nothing to do with it.\n"+
			"Pack it with \"guildhall plugin pack\" and install the bundle with \"guildhall plugin install\".\n", filepath.Base(os.Args[0]))
		os.Exit(2)
	}
	host := dialHost(os.Getenv(pluginpb.HostSocketVariable))
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion: pluginpb.ProtocolVersion, MagicCookieKey: pluginpb.CookieVariable, MagicCookieValue: pluginpb.CookieValue,
		},
		Plugins: plugin.PluginSet{"plugin": served{server: NewServer(p, host)}},
		GRPCServer: func(o []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(o, grpc.MaxRecvMsgSize(maxMessage))...)
		},
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: os.Stderr}),
	})
}

const maxMessage = 4 << 20

// served registers a server with go-plugin.
type served struct {
	plugin.NetRPCUnsupportedPlugin
	server pluginpb.PluginServer
}

func (s served) GRPCServer(_ *plugin.GRPCBroker, g *grpc.Server) error {
	pluginpb.RegisterPluginServer(g, s.server)
	return nil
}

func (s served) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return pluginpb.NewPluginClient(c), nil
}
