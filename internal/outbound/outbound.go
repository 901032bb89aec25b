// Package outbound is the one HTTP client for addresses that users give: webhook endpoints, identity providers, imports,
// link previews. Such an address must not reach what only this machine can reach. The guard therefore looks at the address
// that is about to be connected to, after the name was resolved, so neither odd spellings nor a name that changes its
// answer between the check and the call get past it.
//
// No redirect is followed, no proxy from the environment is used, and time and size are bounded whatever the other side
// does. A self-hoster may open chosen private ranges for the whole instance; tenants cannot.
package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

const (
	// DefaultTimeout bounds a call whose context has no deadline.
	DefaultTimeout = 15 * time.Second
	// MaxTimeout bounds every call, whatever its context says.
	MaxTimeout = 30 * time.Second
	// MaxBody is how many bytes of a response's body are kept where the call does not say.
	MaxBody = 64 << 10

	dialTimeout   = 5 * time.Second
	lookupTimeout = 5 * time.Second
	maxHeader     = 64 << 10

	// What is read beyond the kept part, only to have the connection back for the next call.
	drainBytes = 64 << 10
	drainTime  = 100 * time.Millisecond

	// A busy endpoint is called over up to a hundred connections, and each that is not kept costs the next call a handshake.
	idlePerHost = 100
	idleInAll   = 2000
)

// Options say what an instance's client may do. The zero value reaches public addresses only.
type Options struct {
	Allow     []netip.Prefix // ranges that may be reached although they are not public
	Resolver  *net.Resolver  // resolves names; nil means the system's
	UserAgent string         // sent where a request has none; "" means Guildhall
	Roots     *x509.CertPool // authorities whose certificates are trusted; nil means the system's
}

// Client makes guarded calls. It is safe for concurrent use and keeps connections open between calls.
type Client struct {
	guard     *ssrf.Guardian
	resolver  *net.Resolver
	transport *http.Transport
	userAgent string
}

// Response is a whole answer; nothing is left to close.
type Response struct {
	StatusCode int
	Header     http.Header
	Body       []byte        // at most as many bytes as the call keeps
	Truncated  bool          // the body was longer
	Elapsed    time.Duration // from the start of the call to the end of the body
}

// New returns a client.
func New(o Options) *Client {
	c := &Client{guard: newGuard(o.Allow), resolver: o.Resolver, userAgent: o.UserAgent}
	if c.resolver == nil {
		c.resolver = net.DefaultResolver
	}
	if c.userAgent == "" {
		c.userAgent = "Guildhall"
	}
	dialer := &net.Dialer{Timeout: dialTimeout, Resolver: c.resolver, Control: c.control}
	// No http.Client: it would follow redirects, and even where it is told not to, it fails on a Location that is no URL.
	c.transport = &http.Transport{
		Proxy:             nil, // a proxy would resolve names behind the guard
		DialContext:       dialer.DialContext,
		TLSClientConfig:   &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
		// A connection over which nothing comes back is found dead before every call of the next hour has waited on it.
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second},
		DisableCompression:     true, // what is kept is bounded anyway; do not unpack bombs for it
		TLSHandshakeTimeout:    dialTimeout,
		MaxIdleConns:           idleInAll,
		MaxIdleConnsPerHost:    idlePerHost,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: maxHeader,
	}
	return c
}

// CloseIdle closes the connections that no call is using.
func (c *Client) CloseIdle() { c.transport.CloseIdleConnections() }

// UserAgent is what is sent where a request has none.
func (c *Client) UserAgent() string { return c.userAgent }

// Do sends req and reads the answer, in the time that ctx leaves but never more than MaxTimeout; without a deadline in
// ctx, DefaultTimeout. Any status is an answer, redirects included. The error is a *BlockedError where the address may
// not be called, and else says what failed; a deadline that passed is context.DeadlineExceeded. Where the answer broke off
// in its body, what came of it is returned beside the error.
func (c *Client) Do(ctx context.Context, req *http.Request) (*Response, error) {
	return c.DoKeeping(ctx, req, MaxBody)
}

// DoKeeping is Do for a caller who keeps limit bytes of the body. What is beyond is not waited for.
func (c *Client) DoKeeping(ctx context.Context, req *http.Request, limit int) (*Response, error) {
	start := time.Now()
	if _, err := c.checkHost(req.URL); err != nil {
		return nil, err
	}
	if err := checkHeaders(req); err != nil {
		return nil, err
	}
	ctx, cancel := bound(ctx)
	defer cancel()
	req = req.WithContext(ctx)
	if _, set := req.Header["User-Agent"]; !set {
		header := http.Header{"User-Agent": {c.userAgent}}
		maps.Copy(header, req.Header) // the caller's own stays as it is
		req.Header = header
	}
	res, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, callError(req, err)
	}
	defer res.Body.Close()
	answer := &Response{StatusCode: res.StatusCode, Header: res.Header}
	if res.StatusCode != http.StatusSwitchingProtocols { // after which no body comes, and no end either
		answer.Body, answer.Truncated, err = ReadLimited(res.Body, limit)
	}
	answer.Elapsed = time.Since(start)
	if err != nil {
		return answer, callError(req, err)
	}
	if answer.Truncated {
		drain(res.Body, cancel)
	}
	return answer, nil
}

// drain reads what little is left, so that the connection can be used again; much, or what is slow to come, costs the
// connection instead.
func drain(body io.Reader, stop func()) {
	timer := time.AfterFunc(drainTime, stop)
	defer timer.Stop()
	io.CopyN(io.Discard, body, drainBytes) // a failure shows at the next call
}

// CheckURL tells at the time of saving whether Do could call raw: http or https, a host, a port that exists, no credentials or fragment, and no resolved
// address that is blocked. The error is a *BlockedError with words for the user, or ctx's own. A name that cannot be
// resolved now passes, for it may exist later; Do checks again.
func (c *Client) CheckURL(ctx context.Context, raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return &BlockedError{Reason: "it is not a URL"} // the parser's own words repeat all of raw
	}
	literal, err := c.checkHost(u)
	if err != nil || literal {
		return err
	}
	lookup, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	addrs, err := c.resolver.LookupNetIP(lookup, "ip", u.Hostname())
	if err != nil {
		return ctx.Err()
	}
	for _, a := range addrs {
		if err := c.checkAddr(u.Hostname(), a); err != nil {
			return err
		}
	}
	return nil
}

// ReadLimited reads at most limit bytes of r and tells whether more would have come. What comes after is not read, so an
// endless body ends here. With an error comes what was read before it.
func ReadLimited(r io.Reader, limit int) (body []byte, truncated bool, err error) {
	body, err = io.ReadAll(io.LimitReader(r, int64(limit)+1))
	truncated = len(body) > limit
	if truncated {
		body = body[:limit:limit]
	}
	if err != nil {
		return body, truncated, fmt.Errorf("outbound: read the body: %w", err)
	}
	return body, truncated, nil
}

func bound(ctx context.Context) (context.Context, context.CancelFunc) {
	switch deadline, ok := ctx.Deadline(); {
	case !ok:
		return context.WithTimeout(ctx, DefaultTimeout)
	case time.Until(deadline) > MaxTimeout:
		return context.WithTimeout(ctx, MaxTimeout)
	}
	return context.WithCancel(ctx)
}

// checkHeaders refuses what would let a value from a user end one header and begin another, or name another host than the
// one that was checked.
func checkHeaders(req *http.Request) error {
	if req.Host != "" && req.Host != req.URL.Host {
		return fmt.Errorf("outbound: the Host header %q differs from the URL's host", req.Host)
	}
	for name, values := range req.Header {
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }) {
			return fmt.Errorf("outbound: %q is not a header name", name)
		}
		for _, v := range values {
			if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
				return fmt.Errorf("outbound: the header %s holds a control character", name) // its value may be secret
			}
		}
	}
	return nil
}

// callError names the host and not the whole URL, which may hold a secret in its path or query.
func callError(req *http.Request, err error) error {
	var blocked *BlockedError
	if errors.As(err, &blocked) {
		return &BlockedError{Host: req.URL.Hostname(), Reason: blocked.Reason, Addr: blocked.Addr}
	}
	return fmt.Errorf("outbound: %s %s: %w", req.Method, req.URL.Host, err)
}

// control is called by the dialer for each resolved address, before the connection is made.
func (c *Client) control(network, address string, raw syscall.RawConn) error {
	err := c.guard.Safe(network, address, raw)
	if err == nil {
		return nil
	}
	blocked := &BlockedError{Reason: notPublic}
	if ap, err := netip.ParseAddrPort(address); err == nil {
		blocked.Addr = ap.Addr()
	}
	return blocked
}
