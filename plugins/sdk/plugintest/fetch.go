package plugintest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
)

const mostFetched = 1 << 20

// Fetch sends a request to a test server.
func (s *server) Fetch(ctx context.Context, in *pluginpb.FetchRequest) (*pluginpb.FetchResponse, error) {
	g, err := s.grant(ctx, "fetch "+in.GetUrl())
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(in.GetUrl())
	if err != nil || u.Host == "" {
		return nil, status.Error(codes.InvalidArgument, "url is not an address")
	}
	if g.readOnly && in.GetMethod() != http.MethodGet && in.GetMethod() != http.MethodHead {
		return nil, g.deny("fetch "+u.Host, onlyReads)
	}
	if !g.reaches(u) {
		return nil, g.deny("fetch "+u.Host, "the organisation did not grant requests to "+u.Host)
	}
	if in.GetTimeoutSeconds() < 0 || in.GetTimeoutSeconds() > 30 {
		return nil, status.Error(codes.InvalidArgument, "timeout_seconds is 1 to 30")
	}
	if len(in.GetBody()) > mostFetched {
		return nil, status.Error(codes.InvalidArgument, "a body has at most 1 MiB")
	}
	if g.offline {
		return nil, status.Error(codes.Unavailable, "this is a conformance run: nothing can be reached")
	}
	wait := 10 * time.Second
	if in.GetTimeoutSeconds() > 0 {
		wait = time.Duration(in.GetTimeoutSeconds()) * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, in.GetMethod(), in.GetUrl(), bytes.NewReader(in.GetBody()))
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "method or url is not one of a request")
	}
	r.Header = fromHeaders(in.GetHeaders())
	a, out, err := g.send(r)
	if errors.Is(err, errNotLoopback) {
		s.p.t.Errorf("plugintest: the plugin calls %s, which is no test server: name one in Options.Hosts", u.Host)
	}
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fetches = append(g.fetches, Exchange{in.GetMethod(), in.GetUrl(), fromHeaders(in.GetHeaders()), in.GetBody(), a.StatusCode, out.GetBody(), a.Header})
	return out, nil
}

// send sends a request to the server that stands for its host.
func (g *grant) send(r *http.Request) (*http.Response, *pluginpb.FetchResponse, error) {
	if instead := g.hosts[r.URL.Host]; instead != "" {
		u, err := url.Parse(instead)
		if err != nil {
			return nil, nil, err
		}
		r.Host = r.URL.Host
		r.URL.Scheme, r.URL.Host = u.Scheme, u.Host
	}
	client := &http.Client{
		Transport: &http.Transport{
			DialContext:       (&net.Dialer{Control: onlyLoopback}).DialContext,
			DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	a, err := client.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer a.Body.Close()
	body, more, err := readUpTo(a.Body, mostFetched)
	if err != nil {
		return nil, nil, err
	}
	return a, &pluginpb.FetchResponse{Status: int32(a.StatusCode), Headers: toHeaders(a.Header), Body: body, Truncated: more}, nil
}

var errNotLoopback = errors.New("plugintest reaches test servers on loopback addresses only")

func onlyLoopback(_, address string, _ syscall.RawConn) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil || !net.ParseIP(host).IsLoopback() {
		return fmt.Errorf("%s: %w", address, errNotLoopback)
	}
	return nil
}

// reaches reports whether the organisation granted requests to the host of an
// address: by its name, or as the host of an address in its settings.
func (g *grant) reaches(u *url.URL) bool {
	if u.Scheme != "https" && u.Scheme != "http" {
		return false
	}
	for _, h := range g.p.manifest.Hosts {
		switch {
		case h.Host != "" && g.has(bundle.AskHost+":"+h.Host) && hostMatches(h.Host, u):
			return true
		case h.Setting != "" && g.has(bundle.AskHostSetting+":"+h.Setting) && sameHost(g.setting(h.Setting), u):
			return true
		}
	}
	return false
}

// hostMatches holds a granted host, "hooks.example.com", "*.example.com" or
// either with a port, against an address. Without a port the grant is for the
// standard ports.
func hostMatches(granted string, u *url.URL) bool {
	name, port, hasPort := strings.Cut(granted, ":")
	host := strings.ToLower(u.Hostname())
	if hasPort && port != portOf(u) || !hasPort && u.Port() != "" && u.Port() != standardPort(u.Scheme) {
		return false
	}
	if parent, ok := strings.CutPrefix(name, "*"); ok { // ".example.com"
		return strings.HasSuffix(host, parent) && len(host) > len(parent)
	}
	return host == name
}

func sameHost(setting string, u *url.URL) bool {
	s, err := url.Parse(setting)
	return err == nil && s.Host != "" && s.Scheme == u.Scheme && strings.EqualFold(s.Hostname(), u.Hostname()) && portOf(s) == portOf(u)
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return standardPort(u.Scheme)
}

func standardPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}
