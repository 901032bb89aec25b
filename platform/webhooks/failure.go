package webhooks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/guildhall-dev/guildhall/internal/outbound"
)

// failure is an attempt without a whole answer, and turns the transport's
// error into words for whoever runs the receiver.
type failure struct {
	host, name string // "example.com:8443" and "example.com"
	at         phase
	limit      time.Duration
}

func (f failure) words(err error) string {
	var blocked *outbound.BlockedError
	if errors.As(err, &blocked) {
		return fmt.Sprintf("%s may not be called: %s", f.name, blocked.Reason)
	}
	if errors.Is(err, context.Canceled) {
		return "the attempt was broken off by the sender"
	}
	for _, in := range []func(error) string{f.resolve, f.certificate, f.timeout, f.connection, f.answer} {
		if words := in(err); words != "" {
			return words
		}
	}
	return fmt.Sprintf("%s could not be called", f.host)
}

func (f failure) resolve(err error) string {
	var dns *net.DNSError
	switch {
	case !errors.As(err, &dns):
		return ""
	case dns.IsNotFound:
		return fmt.Sprintf("the name %s does not exist", f.name)
	case dns.IsTimeout:
		return fmt.Sprintf("the name servers of %s did not answer in time", f.name)
	}
	return fmt.Sprintf("the name %s could not be resolved: its name servers failed", f.name)
}

func (f failure) certificate(err error) string {
	var (
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		unknown x509.UnknownAuthorityError
		any     *tls.CertificateVerificationError
		alert   tls.AlertError
		record  tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &name):
		return fmt.Sprintf("the certificate of %s is not for that name", f.name)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil && time.Now().Before(invalid.Cert.NotBefore):
		return fmt.Sprintf("the certificate of %s is valid only from %s", f.name, invalid.Cert.NotBefore.UTC().Format(time.RFC3339))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil:
		return fmt.Sprintf("the certificate of %s expired on %s", f.name, invalid.Cert.NotAfter.UTC().Format(time.RFC3339))
	case errors.As(err, &unknown):
		return fmt.Sprintf("the certificate of %s is signed by an authority that is not known; a chain without its intermediate certificates looks like this too", f.name)
	case errors.As(err, &any), errors.As(err, &invalid):
		return fmt.Sprintf("the certificate of %s is not valid", f.name)
	case errors.As(err, &alert):
		return fmt.Sprintf("%s refused the TLS handshake: %s", f.host, strings.TrimPrefix(alert.Error(), "tls: "))
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &record):
		return fmt.Sprintf("%s does not speak TLS: the URL begins with https", f.host)
	case f.at == securing && strings.Contains(err.Error(), "tls: "):
		return fmt.Sprintf("%s offers no TLS that is safe: version 1.2 is the least", f.host)
	}
	return ""
}

func (f failure) timeout(err error) string {
	if !timedOut(err) {
		return ""
	}
	switch f.at {
	case starting, resolving:
		return fmt.Sprintf("the name %s was not resolved in time", f.name)
	case connecting:
		return fmt.Sprintf("no connection to %s came about in time", f.host)
	case securing:
		return fmt.Sprintf("the TLS handshake with %s took too long", f.host)
	case writing:
		return fmt.Sprintf("%s did not take the request within %s", f.host, f.limit)
	case waiting:
		return fmt.Sprintf("no answer came within %s", f.limit)
	case readingHeaders:
		return fmt.Sprintf("the headers of the answer did not end within %s", f.limit)
	}
	return fmt.Sprintf("the body of the answer did not end within %s", f.limit)
}

func (f failure) connection(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("the connection was refused: nothing listens at %s", f.host)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return fmt.Sprintf("there is no way to %s through the network", f.host)
	}
	how := ""
	switch {
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		how = "reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		how = "closed"
	default:
		return ""
	}
	switch {
	case f.at <= securing:
		return fmt.Sprintf("the connection was %s before it was established", how)
	case f.at < readingHeaders:
		return fmt.Sprintf("the connection was %s before an answer came", how)
	case f.at == readingHeaders:
		return fmt.Sprintf("the connection was %s amid the headers of the answer", how)
	}
	return fmt.Sprintf("the connection was %s before the answer's body was complete", how)
}

// answer is for what came back and is not HTTP. The transport has no types
// for these.
func (f failure) answer(err error) string {
	switch {
	case strings.Contains(err.Error(), "response headers exceeded"):
		return "the headers of the answer are too long"
	case f.at >= readingBody:
		return "the body of the answer is malformed"
	case f.at >= writing:
		return "the answer is not HTTP that can be understood"
	}
	return ""
}
