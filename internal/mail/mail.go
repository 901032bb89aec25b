// Package mail sends the instance's mail: through an SMTP server, or, where none is configured, into a folder, so that an
// instance out of the box loses no confirmation link. Senders refuse whatever could smuggle a header or a second
// recipient, and they tell failures that pass from failures that stay, so that the job which sends knows whether to retry.
package mail

import (
	"context"
	"errors"
	"fmt"
	netmail "net/mail"
	"slices"
	"strings"

	"github.com/google/uuid"
	gomail "github.com/wneessen/go-mail"
)

// Message is one mail to one person.
type Message struct {
	To      string            // one address, bare or as Name <address>
	Subject string            // one line
	Text    string            // plain text; this or HTML is required, both make an alternative
	HTML    string            // the same as HTML
	Headers map[string]string // further headers, such as List-Unsubscribe; not those that a sender sets itself
	ID      string            // makes the Message-ID: 1-64 of letters, digits, dot, hyphen, underscore; "" for a random one
}

// Sender sends mail. It is safe for concurrent use.
type Sender interface {
	// Send returns once the server or the folder has the message for good. On an error, Temporary tells whether sending
	// the same message later may succeed.
	Send(ctx context.Context, m Message) error
}

// New returns the sender for smtpURL, or, where that is "", one that writes files to dir. The URL is
// smtp://user:password@host:587?tls=mandatory, or smtps:// for TLS from the first byte. With smtp, tls is mandatory
// (STARTTLS or no mail), opportunistic or none; by default mandatory where the URL holds a password, else opportunistic.
// Whatever it is, a password is not sent in clear to another machine. From is an address, bare or as Name <address>.
func New(smtpURL, from, dir string) (Sender, error) {
	sender, err := parseAddress("from", from)
	if err != nil {
		return nil, fmt.Errorf("mail: New: %w", err)
	}
	if smtpURL == "" {
		if dir == "" {
			return nil, errors.New("mail: New: neither a server nor a folder")
		}
		return &folder{dir: dir, from: sender}, nil
	}
	s, err := newServer(smtpURL, sender)
	if err != nil {
		return nil, fmt.Errorf("mail: New: %w", err)
	}
	return s, nil
}

// permanent marks an error that sending again cannot cure.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Temporary tells whether err, from Send, may be gone later. Permanent are a message that cannot be sent as it is and a
// server's 5xx answer to its sender, recipient or content. All else is temporary, a refused log-in too: an operator
// mends that, and the mail of the meantime should still arrive.
func Temporary(err error) bool {
	var p permanent
	return err != nil && !errors.As(err, &p)
}

// compose builds the RFC 5322 message and returns its id. Its error is permanent.
func compose(m Message, from *netmail.Address) (msg *gomail.Msg, id string, err error) {
	if msg, id, err = build(m, from); err != nil {
		return nil, "", permanent{err}
	}
	return msg, id, nil
}

func build(m Message, from *netmail.Address) (*gomail.Msg, string, error) {
	to, err := parseAddress("to", m.To)
	if err != nil {
		return nil, "", err
	}
	if m.ID == "" {
		m.ID = uuid.NewString()
	}
	if !validID(m.ID) {
		return nil, "", fmt.Errorf("the id %q has other characters than letters, digits, dot, hyphen, underscore, or more than 64", m.ID)
	}
	if hasControl(m.Subject) {
		return nil, "", errors.New("the subject holds a line break or another control character")
	}
	if m.Text == "" && m.HTML == "" {
		return nil, "", errors.New("the message has no body")
	}
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	msg.SetAddrHeaderFromMailAddress(gomail.HeaderFrom, from)
	msg.SetAddrHeaderFromMailAddress(gomail.HeaderTo, to)
	msg.Subject(m.Subject)
	msg.SetDate()
	msg.SetMessageIDWithValue(m.ID + from.Address[strings.LastIndexByte(from.Address, '@'):])
	for name, value := range m.Headers {
		if err := checkHeader(name, value); err != nil {
			return nil, "", err
		}
		msg.SetGenHeader(gomail.Header(name), value)
	}
	switch {
	case m.HTML == "":
		msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	case m.Text == "":
		msg.SetBodyString(gomail.TypeTextHTML, m.HTML)
	default:
		msg.SetBodyString(gomail.TypeTextPlain, m.Text)
		msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	}
	return msg, m.ID, nil
}

// parseAddress accepts exactly one address.
func parseAddress(what, text string) (*netmail.Address, error) {
	if hasControl(text) {
		return nil, fmt.Errorf("the %s address holds a line break or another control character", what)
	}
	a, err := netmail.ParseAddress(text)
	if err != nil || hasControl(a.Address) || hasControl(a.Name) {
		return nil, fmt.Errorf("%q is not one %s address", text, what)
	}
	return a, nil
}

func checkHeader(name, value string) error {
	// What is not in this list of characters ends a name, or begins another header.
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }) {
		return fmt.Errorf("%q is not a header name", name)
	}
	lower := strings.ToLower(name)
	own := []string{"from", "to", "cc", "bcc", "sender", "subject", "date", "message-id", "mime-version", "return-path", "received"}
	if slices.Contains(own, lower) || strings.HasPrefix(lower, "content-") {
		return fmt.Errorf("the header %s is the sender's own", name)
	}
	if hasControl(value) {
		return fmt.Errorf("the header %s holds a line break or another control character", name)
	}
	return nil
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

func validID(id string) bool {
	outside := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != '_'
	}
	return len(id) <= 64 && !strings.ContainsFunc(id, outside) && !strings.HasPrefix(id, ".") && !strings.HasSuffix(id, ".") && !strings.Contains(id, "..")
}
