package mail

import (
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	netmail "net/mail"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

const from = "Guildhall <post@guildhall.example>"

func sender(t *testing.T, smtpURL, dir string, s *sink) Sender {
	t.Helper()
	out, err := New(smtpURL, from, dir)
	if err != nil {
		t.Fatal(err)
	}
	if srv, ok := out.(*server); ok && s != nil {
		srv.roots = s.seen
	}
	return out
}

func hello() Message {
	return Message{To: "Zoë <zoe@example.com>", Subject: "Grüße & a link", Text: "Hello Zoë,\n.\nhttps://example.com/" + strings.Repeat("x", 200) + "\n", HTML: "<p>Hello Zoë</p>",
		Headers: map[string]string{"List-Unsubscribe": "<https://example.com/u>"}, ID: "0198a-b"}
}

// checkHello parses raw as any mail program would and compares it with hello.
func checkHello(t *testing.T, raw string) {
	t.Helper()
	msg, err := netmail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	var words mime.WordDecoder
	subject, err := words.DecodeHeader(msg.Header.Get("Subject"))
	if err != nil || subject != hello().Subject {
		t.Errorf("Subject: %q, %v", subject, err)
	}
	to, err := msg.Header.AddressList("To")
	if err != nil || len(to) != 1 || to[0].Name != "Zoë" || to[0].Address != "zoe@example.com" {
		t.Errorf("To: %v, %v", to, err)
	}
	if by, err := msg.Header.AddressList("From"); err != nil || by[0].Address != "post@guildhall.example" {
		t.Errorf("From: %v, %v", by, err)
	}
	if _, err := msg.Header.Date(); err != nil {
		t.Errorf("Date: %v", err)
	}
	for name, want := range map[string]string{"Message-ID": "<0198a-b@guildhall.example>", "List-Unsubscribe": "<https://example.com/u>", "Mime-Version": "1.0"} {
		if got := msg.Header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	kind, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("%s, %v", kind, err)
	}
	parts := multipart.NewReader(msg.Body, params["boundary"])
	for _, want := range []string{hello().Text, hello().HTML} {
		part, err := parts.NextRawPart()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(quotedprintable.NewReader(part))
		if got := strings.ReplaceAll(string(body), "\r\n", "\n"); err != nil || strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("part %q, %v", got, err)
		}
	}
	for line := range strings.Lines(raw) {
		if len(line) > 1000 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
}

func TestFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "mail")
	s := sender(t, "", dir, nil)
	if err := s.Send(context.Background(), hello()); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	if name := files[0].Name(); !regexp.MustCompile(`^\d{8}T\d{6}\.\d{3}Z-0198a-b\.eml$`).MatchString(name) {
		t.Errorf("name %s", name)
	}
	if info, err := files[0].Info(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, files[0].Name()))
	if err != nil {
		t.Fatal(err)
	}
	checkHello(t, string(raw))

	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Send(cancelled, hello()); !errors.Is(err, context.Canceled) || !Temporary(err) {
		t.Errorf("cancelled: %v", err)
	}
	blocked := sender(t, "", filepath.Join(dir, files[0].Name(), "below a file"), nil)
	if err := blocked.Send(context.Background(), hello()); err == nil || !Temporary(err) {
		t.Errorf("a folder that cannot be made: %v", err)
	}
}

// Messages without an id of their own, written at once, do not replace each other.
func TestFolderKeepsAll(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := sender(t, "", dir, nil)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := s.Send(context.Background(), Message{To: "a@example.com", Subject: "s", Text: "t"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if all, err := os.ReadDir(dir); err != nil || len(all) != 20 {
		t.Errorf("%d files, %v", len(all), err)
	}
}

func TestServer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sink *sink
		url  string // %: the sink's address
	}{
		"plain":                         {&sink{}, "smtp://%"},
		"none":                          {&sink{startTLS: true}, "smtp://%?tls=none"},
		"starttls":                      {&sink{startTLS: true}, "smtp://%?tls=mandatory"},
		"starttls with a password":      {&sink{startTLS: true, password: "p w:/@"}, "smtp://mailer:p%20w%3A%2F%40@%"},
		"opportunistic":                 {&sink{startTLS: true}, "smtp://%?tls=opportunistic"},
		"smtps with a password":         {&sink{implicitTLS: true, password: "pw"}, "smtps://mailer:pw@%"},
		"password in clear to loopback": {&sink{password: "pw"}, "smtp://mailer:pw@%?tls=none"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := c.sink.start(t)
			i := strings.LastIndex(c.url, "%")
			if strings.HasSuffix(c.url, "%") || strings.Contains(c.url, "%?") {
				c.url = c.url[:i] + address + c.url[i+1:]
			}
			s := sender(t, c.url, "", c.sink)
			if err := s.Send(context.Background(), hello()); err != nil {
				t.Fatal(err)
			}
			got := c.sink.deliveries()
			if len(got) != 1 || got[0].from != "post@guildhall.example" || got[0].to != "zoe@example.com" {
				t.Fatalf("%+v", got)
			}
			checkHello(t, got[0].data)
		})
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	full := &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 2, 2}, Message: "mailbox full"}
	gone := &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such person"}
	for name, c := range map[string]struct {
		sink      *sink
		query     string
		user      string
		temporary bool
		want      string
	}{
		"sender later":        {sink: &sink{onMail: full}, temporary: true, want: "mailbox full"},
		"sender never":        {sink: &sink{onMail: gone}, want: "no such person"},
		"recipient later":     {sink: &sink{onRcpt: full}, temporary: true, want: "mailbox full"},
		"recipient never":     {sink: &sink{onRcpt: gone}, want: "no such person"},
		"content later":       {sink: &sink{onData: full}, temporary: true, want: "mailbox full"},
		"content never":       {sink: &sink{onData: gone}, want: "no such person"},
		"no STARTTLS":         {sink: &sink{}, query: "?tls=mandatory", temporary: true, want: "STARTTLS"},
		"password, no TLS":    {sink: &sink{password: "pw"}, user: "mailer:pw@", temporary: true, want: "STARTTLS"},
		"wrong password":      {sink: &sink{password: "pw"}, user: "mailer:hunter2@", query: "?tls=none", temporary: true, want: "535"},
		"unknown certificate": {sink: &sink{startTLS: true}, query: "?tls=mandatory", temporary: true, want: "certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sender(t, "smtp://"+c.user+c.sink.start(t)+c.query, "", nil)
			err := s.Send(context.Background(), hello())
			if err == nil || Temporary(err) != c.temporary || !strings.Contains(err.Error(), c.want) {
				t.Errorf("temporary %v: %v", Temporary(err), err)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error tells the password: %v", err)
			}
			if n := len(c.sink.deliveries()); n != 0 {
				t.Errorf("%d delivered", n)
			}
		})
	}
	if Temporary(nil) {
		t.Error("no error is temporary")
	}
}

func TestServerAway(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	if err := sender(t, "smtp://"+address, "", nil).Send(context.Background(), hello()); err == nil || !Temporary(err) {
		t.Errorf("Send: %v", err)
	}
}

// A message that the server has accepted counts as sent, however the connection ends.
func TestAcceptedIsSent(t *testing.T) {
	t.Parallel()
	k := &sink{dropAfterData: true}
	if err := sender(t, "smtp://"+k.start(t), "", nil).Send(context.Background(), hello()); err != nil {
		t.Error(err)
	}
	if n := len(k.deliveries()); n != 1 {
		t.Errorf("%d delivered", n)
	}
}

func TestCancelEndsASilentServer(t *testing.T) {
	t.Parallel()
	k := &sink{hang: make(chan struct{})}
	s := sender(t, "smtp://"+k.start(t), "", nil)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-k.hang; cancel() }()
	start := time.Now()
	if err := s.Send(ctx, hello()); !errors.Is(err, context.Canceled) || !Temporary(err) {
		t.Errorf("Send: %v", err)
	}
	if took := time.Since(start); took > stepTimeout/2 {
		t.Errorf("the time-out ended it, after %v", took)
	}
}

func TestMessagesThatAreRefused(t *testing.T) {
	t.Parallel()
	k := &sink{}
	folderDir := t.TempDir()
	senders := []Sender{sender(t, "smtp://"+k.start(t), "", nil), sender(t, "", folderDir, nil)}
	for name, change := range map[string]func(*Message){
		"line break in to":      func(m *Message) { m.To = "a@example.com\r\nBcc: b@example.com" },
		"line break in name":    func(m *Message) { m.To = "\"a\nb\" <a@example.com>" },
		"encoded line break":    func(m *Message) { m.To = "=?utf-8?q?a=0d=0aBcc:_b@example.com?= <a@example.com>" },
		"two recipients":        func(m *Message) { m.To = "a@example.com, b@example.com" },
		"no recipient":          func(m *Message) { m.To = "" },
		"no domain":             func(m *Message) { m.To = "a" },
		"line break in subject": func(m *Message) { m.Subject = "a\r\nBcc: b@example.com" },
		"NUL in subject":        func(m *Message) { m.Subject = "a\x00" },
		"line break in header":  func(m *Message) { m.Headers = map[string]string{"X-A": "a\nBcc: b@example.com"} },
		"line break in name of": func(m *Message) { m.Headers = map[string]string{"X-A: a\r\nBcc": "b@example.com"} },
		"Bcc":                   func(m *Message) { m.Headers = map[string]string{"bcc": "b@example.com"} },
		"Content-Type":          func(m *Message) { m.Headers = map[string]string{"Content-Type": "text/html"} },
		"no body":               func(m *Message) { m.Text, m.HTML = "", "" },
		"path in id":            func(m *Message) { m.ID = "../../etc/passwd" },
		"dots in id":            func(m *Message) { m.ID = ".." },
		"long id":               func(m *Message) { m.ID = strings.Repeat("x", 65) },
	} {
		m := hello()
		change(&m)
		for _, s := range senders {
			if err := s.Send(context.Background(), m); err == nil || Temporary(err) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	left, err := os.ReadDir(folderDir)
	if n := len(k.deliveries()); n != 0 || err != nil || len(left) != 0 {
		t.Errorf("%d delivered, files %v, %v", n, left, err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ url, from, dir string }{
		{"", from, ""}, {"", "nobody", "d"}, {"", "a@example.com\nBcc: b@example.com", "d"},
		{"http://u:hunter2@mail", from, ""}, {"smtp://", from, ""}, {"smtp://u:hunter2@mail:99999", from, ""},
		{"smtp://u:hunter2@mail?tls=maybe", from, ""}, {"smtp://u:hunter2%zz@mail", from, ""},
	} {
		if _, err := New(c.url, c.from, c.dir); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("New(%q, %q, %q): %v", c.url, c.from, c.dir, err)
		}
	}
	for raw, want := range map[string]string{"smtp://mail": "587", "smtps://mail": "465", "smtp://[::1]:26": "26"} {
		s, err := New(raw, from, "")
		if err != nil || s.(*server).port != want {
			t.Errorf("New(%q): %v, %v", raw, s, err)
		}
	}
}
