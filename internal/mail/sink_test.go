package mail

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// sink is a mail server in this process. Its fields are set before start; afterwards it keeps what it got.
type sink struct {
	onMail, onRcpt, onData error         // answers instead of 250
	hang                   chan struct{} // when set, closed once a message's data has begun; then no answer follows
	dropAfterData          bool          // the connection breaks right after the message was accepted
	implicitTLS, startTLS  bool
	password               string // when set, AUTH PLAIN is offered and required

	mu   sync.Mutex
	got  []delivery
	seen *x509.CertPool // trusts the sink's certificate
}

type delivery struct{ from, to, data string }

// start serves on loopback and returns host:port.
func (s *sink) start(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &session{sink: s, conn: c}, nil
	}))
	server.Domain, server.AllowInsecureAuth, server.ErrorLog = "localhost", true, log.New(io.Discard, "", 0)
	if s.implicitTLS || s.startTLS {
		web := httptest.NewTLSServer(nil) // has a certificate for 127.0.0.1
		web.Close()
		s.seen = x509.NewCertPool()
		s.seen.AddCert(web.Certificate())
		config := &tls.Config{Certificates: web.TLS.Certificates}
		if s.implicitTLS {
			listener = tls.NewListener(listener, config)
		} else {
			server.TLSConfig = config
		}
	}
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(listener) }()
	t.Cleanup(func() {
		listener.Close() // Serve may not have seen the listener yet; then Close of the server would leave it open
		server.Close()
		<-done
	})
	return listener.Addr().String()
}

func (s *sink) deliveries() []delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got
}

type session struct {
	sink   *sink
	conn   *smtp.Conn
	authed bool
	now    delivery
}

func (s *session) AuthMechanisms() []string {
	if s.sink.password == "" {
		return nil
	}
	return []string{sasl.Plain}
}

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "mailer" || password != s.sink.password {
			return smtp.ErrAuthFailed
		}
		s.authed = true
		return nil
	}), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if s.sink.password != "" && !s.authed {
		return smtp.ErrAuthRequired
	}
	s.now = delivery{from: from}
	return s.sink.onMail
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if s.sink.onRcpt != nil {
		return s.sink.onRcpt
	}
	if s.now.to != "" {
		return errors.New("a second recipient")
	}
	s.now.to = to
	return nil
}

func (s *session) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if s.sink.hang != nil {
		close(s.sink.hang)
		_, err := s.conn.Conn().Read(make([]byte, 1)) // until the client has gone
		return err
	}
	if s.sink.onData != nil {
		return s.sink.onData
	}
	s.now.data = string(data)
	s.sink.mu.Lock()
	s.sink.got = append(s.sink.got, s.now)
	s.sink.mu.Unlock()
	return nil
}

func (s *session) Reset() {
	if s.sink.dropAfterData && s.now.data != "" {
		s.conn.Conn().Close()
	}
}

func (s *session) Logout() error { return nil }
