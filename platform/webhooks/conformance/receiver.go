package conformance

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// receiver is the other side of one case: a listener that follows a script.
type receiver struct {
	url      string
	of       testCase
	profile  Profile
	listener net.Listener // nil until later opens it
	other    net.Listener // where redirects point
	http2    *http.Server
	reserved *os.File // bound, and not listened on
	done     chan struct{}

	elsewhere atomic.Int32

	mu          sync.Mutex
	changed     chan struct{} // closed and replaced at every change
	requests    []request
	connections int
	open        map[net.Conn]bool
	complaints  []string
	log         []string
}

// path has what a careless sender loses or doubles.
const path = "/hooks/a%2Fb?token=x%20y&empty="

func newReceiver(p Profile, c testCase) (*receiver, error) {
	r := &receiver{of: c, profile: p, changed: make(chan struct{}), done: make(chan struct{}), open: map[net.Conn]bool{}}
	var err error
	if r.other, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("conformance: %w", err)
	}
	go r.count()
	address := ""
	if c.closed {
		if address, err = r.reserve(); err != nil {
			return nil, err
		}
	} else {
		if r.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, fmt.Errorf("conformance: %w", err)
		}
		address = r.listener.Addr().String()
		r.serve()
	}
	scheme := "http://"
	if c.tls != nil || c.https {
		scheme = "https://"
	}
	if c.host != "" {
		_, port, _ := net.SplitHostPort(address)
		address = net.JoinHostPort(c.host, port)
	}
	r.url = scheme + address + path
	return r, nil
}

func (r *receiver) close() {
	close(r.done)
	r.other.Close()
	if r.http2 != nil {
		r.http2.Close()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listener != nil {
		r.listener.Close()
	}
	for c := range r.open {
		c.Close()
	}
}

// count notes who follows a redirect.
func (r *receiver) count() {
	for {
		c, err := r.other.Accept()
		if err != nil {
			return
		}
		r.elsewhere.Add(1)
		c.Close()
	}
}

// note changes the receiver's record and wakes who waits for that.
func (r *receiver) note(what string, change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	r.log = append(r.log, what)
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *receiver) complain(format string, args ...any) {
	r.note("a complaint", func() { r.complaints = append(r.complaints, fmt.Sprintf(format, args...)) })
}

// wait returns once the condition holds, or after limit.
func (r *receiver) wait(ctx context.Context, limit time.Duration, holds func() bool) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		r.mu.Lock()
		changed, now := r.changed, holds()
		r.mu.Unlock()
		if now {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// serve takes connections: raw ones by the script, or those of HTTP/2.
func (r *receiver) serve() {
	if r.of.http2 != nil {
		r.http2 = &http.Server{Handler: http.HandlerFunc(r.handle), TLSConfig: r.of.tls.Clone(), ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute}
		go r.http2.ServeTLS(r.listener, "", "")
		return
	}
	go func(l net.Listener) {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n := 0
			r.note("a connection", func() {
				n, r.open[c] = r.connections, true
				r.connections++
			})
			go r.talk(c, n)
		}
	}(r.listener)
}

// talk serves connection number n until its script ends it.
func (r *receiver) talk(c net.Conn, n int) {
	defer func() {
		c.Close()
		r.note("closed", func() { delete(r.open, c) })
	}()
	raw := c
	if len(r.of.connect) > 0 {
		meet := r.of.connect[min(n, len(r.of.connect)-1)]
		if meet != nil && !meet(&exchange{receiver: r, conn: c, raw: c, read: bufio.NewReader(c)}) {
			return
		}
	}
	if r.of.tls != nil {
		secure := tls.Server(c, r.of.tls)
		if err := secure.Handshake(); err != nil {
			return
		}
		c = secure
	}
	x := &exchange{receiver: r, conn: c, raw: raw, read: bufio.NewReader(c)}
	for {
		q, err := x.take()
		if err != nil {
			return
		}
		i := 0
		r.note("a request", func() {
			i = len(r.requests)
			r.requests = append(r.requests, q)
		})
		if !r.of.answers[min(i, len(r.of.answers)-1)](x) {
			return
		}
	}
}

// handle serves one request of HTTP/2.
func (r *receiver) handle(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	if req.ProtoMajor != 2 {
		r.complain("it spoke %s where HTTP/2 was offered", req.Proto)
	}
	i := 0
	r.note("a request", func() {
		i = len(r.requests)
		r.requests = append(r.requests, request{req.Method, req.RequestURI, req.Host, req.Header, body, time.Now()})
	})
	r.of.http2[min(i, len(r.of.http2)-1)](w, req)
}

// exchange is one connection from the receiver's end.
type exchange struct {
	*receiver
	conn net.Conn // speaks TLS where the case does
	raw  net.Conn
	read *bufio.Reader
}

// take reads one request to its end.
func (x *exchange) take() (request, error) {
	req, err := http.ReadRequest(x.read)
	if err != nil {
		return request{}, err
	}
	at := time.Now()
	if req.Header.Get("Expect") == "100-continue" {
		io.WriteString(x.conn, "HTTP/1.1 100 Continue\r\n\r\n")
	}
	body, err := io.ReadAll(req.Body)
	return request{req.Method, req.RequestURI, req.Host, req.Header, body, at}, err
}

// gone waits until the sender closes the connection, and complains where it
// holds on longer than its limit allows.
func (x *exchange) gone() {
	start := time.Now()
	x.conn.SetReadDeadline(start.Add(x.profile.Timeout + x.profile.Slack + 5*time.Second))
	_, err := io.Copy(io.Discard, x.read)
	if held := time.Since(start); held > x.profile.Timeout+x.profile.Slack {
		x.complain("it held the connection for %v, and its limit is %v (%v)", held, x.profile.Timeout, err)
	}
}

// reset ends the connection the hard way.
func (x *exchange) reset() {
	if c, ok := x.raw.(*net.TCPConn); ok {
		c.SetLinger(0)
	}
	x.raw.Close()
}
