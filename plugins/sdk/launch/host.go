package launch

import (
	"log/slog"
	"net"
	"os"

	"google.golang.org/grpc"

	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
)

// serveHost serves the Host on the folder's socket. There is no TLS: the socket
// is reachable for the plugin's account only, and the kernel tells who connects.
func serveHost(s *Spec, f *folder, uid int, dedicated bool) (*grpc.Server, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: f.hostSocket})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(f.hostSocket, 0o600); err != nil {
		return nil, err
	}
	if dedicated {
		if err := os.Chown(f.hostSocket, uid, uid); err != nil {
			return nil, err
		}
	}
	server := grpc.NewServer(append([]grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxConcurrentStreams(256),
	}, s.HostOptions...)...)
	if s.Host != nil {
		pluginpb.RegisterHostServer(server, s.Host)
	}
	go func() { _ = server.Serve(&ownListener{UnixListener: l, uid: uid, log: s.Log.With("plugin", s.Name)}) }()
	return server, nil
}

// ownListener hangs up on other accounts.
type ownListener struct {
	*net.UnixListener
	uid int
	log *slog.Logger
}

func (l *ownListener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		who, err := peer(c)
		if err == nil && who == l.uid {
			return c, nil
		}
		l.log.Warn("another account dialled a plugin's host socket", "account", who, "error", err)
		_ = c.Close()
	}
}
