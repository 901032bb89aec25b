package launch

import (
	"context"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

// The handshake, the same for every plugin in every language.
const (
	CookieVariable     = "GUILDHALL_PLUGIN" // tells a plugin that Guildhall started it
	CookieValue        = "guildhall.plugin.v1"
	ProtocolVersion    = 1
	HostSocketVariable = "GUILDHALL_HOST_SOCKET" // where the Host is served
)

func handshake() plugin.HandshakeConfig {
	return plugin.HandshakeConfig{
		ProtocolVersion: ProtocolVersion, MagicCookieKey: CookieVariable, MagicCookieValue: CookieValue,
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
