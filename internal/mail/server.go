package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"net/url"
	"strconv"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// stepTimeout bounds the connection and each exchange with the server.
const stepTimeout = 15 * time.Second

// server sends through SMTP, one connection a message: mail is rare, and a connection kept open is one to find broken.
type server struct {
	host, port     string
	user, password string
	implicitTLS    bool
	policy         gomail.TLSPolicy
	from           *netmail.Address
	roots          *x509.CertPool // nil means the system's
}

// newServer reads the URL. Its errors do not repeat it, for it may hold a password.
func newServer(raw string, from *netmail.Address) (*server, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" {
		return nil, errors.New("the SMTP URL is no URL; write smtp://user:password@host:587")
	}
	s := &server{host: u.Hostname(), port: u.Port(), from: from, policy: gomail.TLSOpportunistic}
	if u.User != nil {
		s.user = u.User.Username()
		s.password, _ = u.User.Password()
		s.policy = gomail.TLSMandatory
	}
	standard := "587"
	switch u.Scheme {
	case "smtp":
	case "smtps":
		standard, s.implicitTLS = "465", true
	default:
		return nil, errors.New("the SMTP URL begins with neither smtp:// nor smtps://")
	}
	if s.port == "" {
		s.port = standard
	}
	if _, err := strconv.ParseUint(s.port, 10, 16); err != nil {
		return nil, errors.New("the SMTP URL's port is no number up to 65535")
	}
	switch u.Query().Get("tls") {
	case "":
	case "mandatory":
		s.policy = gomail.TLSMandatory
	case "opportunistic":
		s.policy = gomail.TLSOpportunistic
	case "none":
		s.policy = gomail.NoTLS
	default:
		return nil, errors.New("the SMTP URL's tls is none of mandatory, opportunistic, none")
	}
	return s, nil
}

func (s *server) Send(ctx context.Context, m Message) error {
	msg, _, err := compose(m, s.from)
	if err != nil {
		return fmt.Errorf("mail: send: %w", err)
	}
	// go-mail looks at the context while it connects only; closing the connection ends the rest.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client, err := s.client(func(dialing context.Context, _, _ string) (net.Conn, error) {
		conn, err := s.dial(dialing)
		if err == nil {
			context.AfterFunc(ctx, func() { conn.Close() })
		}
		return conn, err
	})
	if err != nil {
		return fmt.Errorf("mail: send: %w", err)
	}
	err = client.DialAndSendWithContext(ctx, msg)
	switch {
	case err == nil, msg.IsDelivered(): // the server has it: a farewell that fails must not send it twice
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("mail: send through %s: %w", s.host, ctx.Err())
	case refused(err):
		err = permanent{err}
	}
	return fmt.Errorf("mail: send through %s: %w", s.host, err)
}

// refused tells whether the server said no for good to this message, or the message could not be put to it.
func refused(err error) bool {
	var sending *gomail.SendError
	if !errors.As(err, &sending) {
		return false
	}
	switch sending.Reason {
	case gomail.ErrGetSender, gomail.ErrGetRcpts, gomail.ErrNoUnencoded:
		return true
	}
	return sending.ErrorCode() >= 500
}

// client makes go-mail's client for one message: it changes itself while it negotiates, so it is not shared.
func (s *server) client(dial gomail.DialContextFunc) (*gomail.Client, error) {
	port, err := strconv.Atoi(s.port)
	if err != nil {
		return nil, err
	}
	options := []gomail.Option{
		gomail.WithPort(port), gomail.WithTimeout(stepTimeout), gomail.WithDialContextFunc(dial), gomail.WithoutNoop(),
		gomail.WithTLSPolicy(s.policy), gomail.WithTLSConfig(s.tls()),
	}
	if s.implicitTLS {
		options = append(options, gomail.WithSSL())
	}
	if s.user != "" {
		options = append(options, gomail.WithUsername(s.user), gomail.WithPassword(s.password), gomail.WithOpportunisticSMTPAuth(
			gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthSCRAMSHA1, gomail.SMTPAuthPlain, gomail.SMTPAuthLogin))
	}
	return gomail.NewClient(s.host, options...)
}

func (s *server) dial(ctx context.Context) (net.Conn, error) {
	address := net.JoinHostPort(s.host, s.port)
	if s.implicitTLS {
		return (&tls.Dialer{Config: s.tls()}).DialContext(ctx, "tcp", address)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", address)
}

func (s *server) tls() *tls.Config {
	return &tls.Config{ServerName: s.host, RootCAs: s.roots, MinVersion: tls.VersionTLS12}
}
