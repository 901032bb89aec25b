package launch

import (
	"context"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
)

func handshake() plugin.HandshakeConfig {
	return plugin.HandshakeConfig{
		ProtocolVersion: pluginpb.ProtocolVersion, MagicCookieKey: pluginpb.CookieVariable, MagicCookieValue: pluginpb.CookieValue,
	}
}

// connection is the "plugin" that go-plugin dispenses: the connection itself.
type connection struct {
	plugin.NetRPCUnsupportedPlugin
}

func (connection) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error { return nil }

func (connection) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return c, nil
}
