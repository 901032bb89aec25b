package outbound_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/guildhall-dev/guildhall/internal/outbound"
	"github.com/guildhall-dev/guildhall/internal/outbound/outboundtest"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// serve starts an HTTP server on loopback and a client that may reach it.
func serve(t *testing.T, h http.HandlerFunc) (*httptest.Server, *outbound.Client) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	c := outbound.New(outbound.Options{Allow: loopback})
	t.Cleanup(c.CloseIdle)
	return server, c
}

func get(t *testing.T, raw string) *http.Request {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestAllowListReachesLoopback(t *testing.T) {
	t.Parallel()
	server, c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Agent", r.UserAgent())
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, "%s %s", r.Method, body)
	})
	if err := c.CheckURL(context.Background(), server.URL); err != nil {
		t.Error(err)
	}
	req, err := http.NewRequest(http.MethodPost, server.URL, strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusAccepted || string(res.Body) != "POST hello" || res.Truncated || res.Header.Get("X-Agent") != "Guildhall" || res.Elapsed <= 0 {
		t.Errorf("%+v, body %q", res, res.Body)
	}
	// The name works too, although it may stand for ::1 as well, which is not allowed.
	named := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	if err := c.CheckURL(context.Background(), named); err != nil {
		t.Error(err)
	}
	if _, err := c.Do(context.Background(), get(t, named)); err != nil {
		t.Error(err)
	}
	var blocked *outbound.BlockedError
	for _, raw := range []string{"http://10.0.0.1/", "http://[::1]/", "http://0.0.0.0/"} {
		if err := c.CheckURL(context.Background(), raw); !errors.As(err, &blocked) {
			t.Errorf("%s: the list opens more than it says: %v", raw, err)
		}
	}
	if _, err := outbound.New(outbound.Options{}).Do(context.Background(), get(t, server.URL)); !errors.As(err, &blocked) {
		t.Errorf("without a list: %v", err)
	}
}

// A name that is public when it is saved and private when it is called gets no connection.
func TestRebinding(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	server, _ := serve(t, func(http.ResponseWriter, *http.Request) { calls.Add(1) })
	port := server.URL[strings.LastIndexByte(server.URL, ':'):]
	n := &outboundtest.Names{}
	n.Set("rebind.test", outboundtest.At("93.184.216.34"), outboundtest.At("127.0.0.1"))
	resolver := n.Resolver(t)
	c := outbound.New(outbound.Options{Resolver: resolver})
	if err := c.CheckURL(context.Background(), "http://rebind.test"+port); err != nil {
		t.Fatalf("at the time of saving: %v", err)
	}
	var blocked *outbound.BlockedError
	_, err := c.Do(context.Background(), get(t, "http://rebind.test"+port))
	if !errors.As(err, &blocked) || calls.Load() != 0 {
		t.Errorf("%v, %d calls", err, calls.Load())
	}
	if strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("the error tells what the name resolves to: %v", err)
	}
	// The same name reaches the server where the range is allowed: the guard made the difference.
	open := outbound.New(outbound.Options{Resolver: resolver, Allow: loopback})
	t.Cleanup(open.CloseIdle)
	if _, err := open.Do(context.Background(), get(t, "http://rebind.test"+port)); err != nil || calls.Load() != 1 {
		t.Errorf("%v, %d calls", err, calls.Load())
	}
}

func TestRedirectIsReturnedAsItIs(t *testing.T) {
	t.Parallel()
	var followed atomic.Bool
	server, c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/next" {
			followed.Store(true)
			return
		}
		http.Redirect(w, r, "/next", http.StatusTemporaryRedirect)
	})
	res, err := c.Do(context.Background(), get(t, server.URL))
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusTemporaryRedirect || res.Header.Get("Location") != "/next" || followed.Load() {
		t.Errorf("%+v, followed %v", res, followed.Load())
	}
}

func TestBodyIsCapped(t *testing.T) {
	t.Parallel()
	server, c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/exact":
			w.Write(bytes.Repeat([]byte("x"), outbound.MaxBody))
		case "/endless":
			for {
				if _, err := w.Write(bytes.Repeat([]byte("x"), 4096)); err != nil {
					return
				}
			}
		}
	})
	for path, truncated := range map[string]bool{"/exact": false, "/endless": true} {
		res, err := c.Do(context.Background(), get(t, server.URL+path))
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Body) != outbound.MaxBody || res.Truncated != truncated {
			t.Errorf("%s: %d bytes, truncated %v", path, len(res.Body), res.Truncated)
		}
	}
	if body, truncated, err := outbound.ReadLimited(strings.NewReader(""), 3); err != nil || truncated || len(body) != 0 {
		t.Errorf("ReadLimited: %q, %v, %v", body, truncated, err)
	}
	if _, _, err := outbound.ReadLimited(io.MultiReader(strings.NewReader("a"), badReader{}), 3); err == nil {
		t.Error("a broken body is no body")
	}
}

type badReader struct{}

func (badReader) Read([]byte) (int, error) { return 0, errors.New("broken") }

func TestTimeouts(t *testing.T) {
	t.Parallel()
	server, c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			w.WriteHeader(http.StatusOK)
			http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	})
	for _, path := range []string{"/headers", "/body"} {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		_, err := c.Do(ctx, get(t, server.URL+path))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", path, err)
		}
		cancel()
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Do(ctx, get(t, server.URL)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestErrorsKeepTheURLSecret(t *testing.T) {
	t.Parallel()
	server, c := serve(t, func(_ http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
	_, err := c.Do(context.Background(), get(t, server.URL+"/hunter2?token=hunter2"))
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Do: %v", err)
	}
	if err := c.CheckURL(context.Background(), "http://exa mple/hunter2"); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("CheckURL: %v", err)
	}
}

func TestHeaderInjectionIsRefused(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	server, c := serve(t, func(http.ResponseWriter, *http.Request) { calls.Add(1) })
	for name, change := range map[string]func(*http.Request){
		"line break":    func(r *http.Request) { r.Header["X-A"] = []string{"a\r\nX-B: b"} },
		"line feed":     func(r *http.Request) { r.Header["X-A"] = []string{"a\nb"} },
		"NUL":           func(r *http.Request) { r.Header["X-A"] = []string{"a\x00"} },
		"second value":  func(r *http.Request) { r.Header["X-A"] = []string{"a", "b\r"} },
		"name":          func(r *http.Request) { r.Header["X-A\r\nX-B"] = []string{"b"} },
		"name colon":    func(r *http.Request) { r.Header["X-A: b"] = []string{"b"} },
		"empty name":    func(r *http.Request) { r.Header[""] = []string{"b"} },
		"another Host":  func(r *http.Request) { r.Host = "metadata.internal" },
		"broken method": func(r *http.Request) { r.Method = "GET / HTTP/1.1\r\nX: y\r\n" },
	} {
		req := get(t, server.URL)
		change(req)
		if _, err := c.Do(context.Background(), req); err == nil || calls.Load() != 0 {
			t.Errorf("%s: %v, %d calls", name, err, calls.Load())
		}
	}
	req := get(t, server.URL)
	req.Header.Set("X-A", "tab\tand ü are fine")
	if _, err := c.Do(context.Background(), req); err != nil {
		t.Error(err)
	}
}

func TestRequestIsLeftAlone(t *testing.T) {
	t.Parallel()
	server, c := serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.UserAgent()) })
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	bare := &http.Request{Method: http.MethodGet, URL: u}
	if _, err := c.Do(context.Background(), bare); err != nil || bare.Header != nil {
		t.Errorf("%v, headers %v", err, bare.Header)
	}
	own := get(t, server.URL)
	own.Header.Set("User-Agent", "Mine")
	if res, err := c.Do(context.Background(), own); err != nil || string(res.Body) != "Mine" {
		t.Errorf("%v, %q", err, res.Body)
	}
}

// A certificate that nobody vouches for is refused: there is no switch to turn that off.
func TestCertificateIsChecked(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains about us, rightly
	server.StartTLS()
	t.Cleanup(server.Close)
	var unknown *tls.CertificateVerificationError
	_, err := outbound.New(outbound.Options{Allow: loopback}).Do(context.Background(), get(t, server.URL))
	if !errors.As(err, &unknown) {
		t.Errorf("Do: %v", err)
	}
}
