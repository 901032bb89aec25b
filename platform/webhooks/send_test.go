package webhooks

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/guildhall-dev/guildhall/internal/outbound"
	"github.com/guildhall-dev/guildhall/internal/outbound/outboundtest"
)

// posting is a feature that may reach this machine, with names of its own.
func posting(t *testing.T, names *outboundtest.Names, roots *x509.CertPool) *Feature {
	t.Helper()
	c := outbound.New(outbound.Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Resolver: names.Resolver(t), Roots: roots, UserAgent: "Guildhall/test"})
	t.Cleanup(c.CloseIdle)
	return &Feature{Deps: Deps{Outbound: c}}
}

func (f *Feature) post(t *testing.T, url string, change ...func(*target)) outcome {
	t.Helper()
	to := target{Endpoint: Endpoint{URL: url, TimeoutSeconds: 1, Signature: "v1"}, Secrets: [][]byte{[]byte("secret")}}
	for _, c := range change {
		c(&to)
	}
	m, err := to.compose(happened(), publicURL)
	if err != nil {
		t.Fatal(err)
	}
	return f.send(context.Background(), to, m, 3)
}

func receiving(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// raw answers every connection's first request with these bytes, and then does what after says.
func raw(t *testing.T, answer string, after func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.Read(make([]byte, 64<<10))
				io.WriteString(c, answer)
				if after != nil {
					after(c)
				}
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

func TestSendTellsWhatWasSentAndAnswered(t *testing.T) {
	t.Parallel()
	s := receiving(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Answer", "yes")
		w.WriteHeader(http.StatusAccepted)
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %v %s", r.Method, r.UserAgent(), r.Header.Get("X-Token"), r.Header["Idempotency-Key"], body[:5])
	})
	o := posting(t, &outboundtest.Names{}, nil).post(t, s.URL, func(to *target) { to.Header = map[string]string{"x-token": "hunter2"} })
	if !o.Delivered || o.StatusCode != 202 || o.Error != "" || o.Gone || o.SlowDown || o.RetryAfter != 0 || o.Truncated || o.Started.IsZero() || o.Duration <= 0 {
		t.Errorf("%+v", o)
	}
	if got := string(o.ResponseBody); got != `POST Guildhall/test hunter2 [] {"id"` || o.ResponseHeader.Get("X-Answer") != "yes" {
		t.Errorf("%s, %v", got, o.ResponseHeader)
	}
	if h := o.RequestHeader; h.Get("X-Token") != "***" || h.Get("User-Agent") != "Guildhall/test" || h.Get("webhook-attempt") != "3" || h["Idempotency-Key"] != nil || strings.Contains(fmt.Sprint(h), "hunter2") {
		t.Errorf("shown: %v", h)
	}
}

func TestSendJudgesStatuses(t *testing.T) {
	t.Parallel()
	s := receiving(t, func(w http.ResponseWriter, r *http.Request) {
		var code int
		fmt.Sscanf(r.URL.Path, "/%d", &code)
		for name, values := range r.URL.Query() {
			w.Header().Set(name, values[0])
		}
		w.WriteHeader(code)
	})
	f := posting(t, &outboundtest.Names{}, nil)
	for path, want := range map[string]struct {
		delivered, gone, slow bool
		after                 time.Duration
		words                 string
	}{
		"/200":                          {delivered: true},
		"/299?Retry-After=5":            {delivered: true},
		"/204":                          {delivered: true},
		"/500":                          {words: "the receiver answered 500 Internal Server Error"},
		"/520":                          {words: "the receiver answered 520"},
		"/404?Retry-After=7":            {after: 7 * time.Second, words: "the receiver answered 404 Not Found"},
		"/410?Retry-After=7":            {gone: true, words: "the receiver answered 410 Gone: it wants no more"},
		"/429?Retry-After=7":            {slow: true, after: 7 * time.Second, words: "the receiver answered 429 Too Many Requests"},
		"/502":                          {slow: true, words: "the receiver answered 502 Bad Gateway"},
		"/503?Retry-After=9999999":      {slow: true, after: 24 * time.Hour, words: "the receiver answered 503 Service Unavailable"},
		"/504?Retry-After=-1":           {slow: true, words: "the receiver answered 504 Gateway Timeout"},
		"/302?Location=https://a.test/": {words: "the receiver answered 302 Found: redirects are not followed, and this one points to https://a.test/"},
		"/308":                          {words: "the receiver answered 308 Permanent Redirect"},
	} {
		o := f.post(t, s.URL+path)
		if o.Delivered != want.delivered || o.Gone != want.gone || o.SlowDown != want.slow || o.RetryAfter != want.after || o.Error != want.words {
			t.Errorf("%s: %+v", path, o)
		}
	}
	o := f.post(t, s.URL+"/307?Location="+strings.Repeat("x", 1500))
	if len(o.Error) > 600 || !strings.HasSuffix(o.Error, "…") {
		t.Errorf("%d bytes: %s", len(o.Error), o.Error)
	}
}

func TestSendTellsInWordsWhatFailed(t *testing.T) {
	t.Parallel()
	names := &outboundtest.Names{}
	names.Set("failing.test", outboundtest.Answer{Fails: true})
	names.Set("inside.test", outboundtest.At("10.0.0.1"))
	f := posting(t, names, nil)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	hold := func(c net.Conn) { io.Copy(io.Discard, c) }
	reset := func(c net.Conn) { c.(*net.TCPConn).SetLinger(0) }
	secure := func(url string) string { return strings.Replace(url, "http://", "https://", 1) }
	for _, c := range []struct {
		url, words string
		slow       bool
	}{
		{"http://nowhere.test/", "the name nowhere.test does not exist", false},
		{"http://failing.test/", "the name failing.test could not be resolved: its name servers failed", false},
		{"http://inside.test/", "inside.test may not be called: its address is not public", false},
		{"http://169.254.169.254/", "169.254.169.254 may not be called: its address is not public", false},
		{"http://" + closed.Addr().String(), "the connection was refused: nothing listens at " + closed.Addr().String(), false},
		{raw(t, "", hold), "no answer came within 1s", true},
		{raw(t, "HTTP/1.1 200 OK\r\nX-A:", hold), "the headers of the answer did not end within 1s", true},
		{raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", hold), "the body of the answer did not end within 1s", true},
		{secure(raw(t, "", hold)), "the TLS handshake with HOST took too long", true},
		{raw(t, "", nil), "the connection was closed before an answer came", false},
		{raw(t, "", reset), "the connection was reset before an answer came", false},
		{raw(t, "HTTP/1.1 200 OK\r\nX-A: b\r\n", nil), "the connection was closed amid the headers of the answer", false},
		{raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", nil), "the connection was closed before the answer's body was complete", false},
		{raw(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", nil), "the body of the answer is malformed", false},
		{raw(t, "220 mail ESMTP\r\n\r\n", nil), "the answer is not HTTP that can be understood", false},
		{raw(t, "HTTP/1.1 200 OK\r\nX-A: "+strings.Repeat("b", 1<<20)+"\r\n\r\n", nil), "the headers of the answer are too long", false},
		{secure(raw(t, "HTTP/1.1 400 Bad Request\r\n\r\n", nil)), "HOST does not speak TLS: the URL begins with https", false},
		{secure(raw(t, "SSH-2.0-x\r\n", nil)), "HOST does not speak TLS: the URL begins with https", false},
		{secure(raw(t, "", nil)), "the connection was closed before it was established", false},
		{"http://127.0.0.1:99999/", "", false},
		{"http://[::1", "the endpoint's URL is not a URL", false},
	} {
		o := f.post(t, c.url)
		words := strings.ReplaceAll(o.Error, strings.TrimPrefix(c.url, "https://"), "HOST")
		if o.Delivered || o.Error == "" || c.words != "" && words != c.words || o.SlowDown != c.slow || o.RequestHeader == nil {
			t.Errorf("%s: %q, want %q; %+v", c.url, words, c.words, o)
		}
	}
	if o := f.post(t, raw(t, "HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\nabc", nil)); o.StatusCode != 500 || string(o.ResponseBody) != "abc" || o.Delivered {
		t.Errorf("what came before it broke off is kept: %+v", o)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	to := target{Endpoint: Endpoint{URL: raw(t, "", hold), TimeoutSeconds: 1}}
	if o := f.send(ended, to, message{}, 1); o.Error != "the attempt was broken off by the sender" || o.SlowDown {
		t.Errorf("%+v", o)
	}
}

func TestSendTellsWhatIsWrongWithACertificate(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	old := httptest.NewUnstartedServer(http.NotFoundHandler())
	old.Config.ErrorLog, old.TLS = s.Config.ErrorLog, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	old.StartTLS()
	t.Cleanup(old.Close)
	names := &outboundtest.Names{}
	names.Set("another.test", outboundtest.At("127.0.0.1"))
	trusted := x509.NewCertPool()
	trusted.AddCert(s.Certificate())
	port := s.URL[strings.LastIndexByte(s.URL, ':'):]
	if o := posting(t, names, trusted).post(t, "https://another.test"+port); o.Error != "the certificate of another.test is not for that name" {
		t.Errorf("another name: %s", o.Error)
	}
	if o := posting(t, names, nil).post(t, s.URL); !strings.HasPrefix(o.Error, "the certificate of 127.0.0.1 is signed by an authority that is not known") {
		t.Errorf("unknown: %s", o.Error)
	}
	if o := posting(t, names, trusted).post(t, old.URL); !strings.Contains(o.Error, "TLS") || strings.Contains(o.Error, "tls:") {
		t.Errorf("old: %s", o.Error)
	}
	now := time.Now()
	f := failure{host: "a.test:443", name: "a.test"}
	for want, c := range map[string]*x509.Certificate{
		"the certificate of a.test expired on 2001-02-03T04:05:06Z":                                     {NotAfter: time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)},
		"the certificate of a.test is valid only from " + now.Add(time.Hour).UTC().Format(time.RFC3339): {NotBefore: now.Add(time.Hour), NotAfter: now.Add(2 * time.Hour)},
	} {
		if got := f.words(fmt.Errorf("outbound: %w", x509.CertificateInvalidError{Cert: c, Reason: x509.Expired})); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// Of a long answer the first 16 KiB are kept; where what is left is small, the
// connection is used again, and where it is not, nobody waits for it.
func TestSendKeepsSixteenKibibytes(t *testing.T) {
	t.Parallel()
	var connections atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var n int
		fmt.Sscanf(r.URL.Path, "/%d", &n)
		w.Write(bytes.Repeat([]byte("x"), n))
		if r.URL.Query().Has("hang") {
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	f := posting(t, &outboundtest.Names{}, nil)
	for path, truncated := range map[string]bool{"/0": false, "/16384": false, "/16385": true, "/60000": true} {
		before := connections.Load()
		for range 3 {
			o := f.post(t, s.URL+path)
			if !o.Delivered || o.Truncated != truncated || len(o.ResponseBody) > 16384 {
				t.Fatalf("%s: %d bytes, truncated %v, %s", path, len(o.ResponseBody), o.Truncated, o.Error)
			}
		}
		if n := connections.Load() - before; n > 1 {
			t.Errorf("%s: %d connections for three attempts", path, n)
		}
	}
	for _, path := range []string{"/10000000", "/20000?hang"} {
		if o := f.post(t, s.URL+path); !o.Delivered || !o.Truncated || len(o.ResponseBody) != 16384 || o.Duration > time.Second {
			t.Errorf("%s: %d bytes in %v, %s", path, len(o.ResponseBody), o.Duration, o.Error)
		}
	}
}

// A hundred attempts at a time need a hundred connections, and they are kept.
func TestSendKeepsAHundredConnections(t *testing.T) {
	t.Parallel()
	var gate sync.WaitGroup
	s := receiving(t, func(http.ResponseWriter, *http.Request) {
		gate.Done()
		gate.Wait()
	})
	f := posting(t, &outboundtest.Names{}, nil)
	var fresh atomic.Int32
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if !i.Reused {
			fresh.Add(1)
		}
	}})
	for range 3 {
		gate.Add(100)
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if o := f.send(ctx, target{Endpoint: Endpoint{URL: s.URL, TimeoutSeconds: 30}}, message{Body: []byte("{}")}, 1); !o.Delivered {
					t.Error(o.Error)
				}
			})
		}
		all.Wait()
	}
	if n := fresh.Load(); n > 110 {
		t.Errorf("%d connections for three times a hundred attempts", n)
	}
}

// What a receiver says is kept in Postgres, whatever it is.
func TestSendKeepsAnswersThatFit(t *testing.T) {
	t.Parallel()
	f := posting(t, &outboundtest.Names{}, nil)
	o := f.post(t, raw(t, "HTTP/1.1 302 \xff\xfe\r\nLocation: \xff\xfehttp://x\r\nX-Long: "+strings.Repeat("y", 30000)+"\r\nX-Short: z\r\nContent-Length: 0\r\n\r\n", nil))
	if o.StatusCode != 302 || o.Error != strings.ToValidUTF8(o.Error, "") || o.ResponseHeader.Get("X-Short") != "z" || o.ResponseHeader.Get("X-Long") != "" {
		t.Errorf("%+v", o)
	}
	if got := plain("a\x00b" + strings.Repeat("é", 400)); strings.Contains(got, "\x00") || len(got) > 510 || got != strings.ToValidUTF8(got, "") {
		t.Errorf("%q", got)
	}
}
