package launch

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

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
	err = os.Chmod(f.hostSocket, 0o600)
	if err == nil && dedicated {
		err = os.Chown(f.hostSocket, uid, uid)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	server := grpc.NewServer(append([]grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxConcurrentStreams(256), grpc.MaxHeaderListSize(maxHeaders), grpc.ConnectionTimeout(5 * time.Second),
	}, s.HostOptions...)...)
	if s.Host != nil {
		pluginpb.RegisterHostServer(server, s.Host)
	}
	go func() {
		_ = server.Serve(&ownListener{UnixListener: l, uid: uid, room: make(chan struct{}, maxConnections), log: s.Log.With("plugin", s.Name)})
	}()
	return server, nil
}

// What a process may take of the host's memory before anybody looks at what it
// sends.
const (
	maxConnections = 4
	maxHeaders     = 16 << 10
)

// ownListener hangs up on other accounts, and on more connections than there is
// room for.
type ownListener struct {
	*net.UnixListener
	uid  int
	room chan struct{}
	log  *slog.Logger
	told sync.Once
}

// counted gives its room back when it is closed.
type counted struct {
	net.Conn
	leave func()
}

func (c *counted) Close() error {
	c.leave()
	return c.Conn.Close()
}

func (l *ownListener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		who, err := peer(c)
		if err == nil && who == l.uid {
			select {
			case l.room <- struct{}{}:
				return &counted{c, sync.OnceFunc(func() { <-l.room })}, nil
			default:
			}
			l.told.Do(func() {
				l.log.Warn("a plugin dials the host too often, so it is hung up on", "connections", maxConnections)
			})
			_ = c.Close()
			continue
		}
		l.log.Warn("another account dialled a plugin's host socket", "account", who, "error", err)
		_ = c.Close()
	}
}
