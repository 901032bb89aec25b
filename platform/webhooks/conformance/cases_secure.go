package conformance

import (
	"crypto/tls"
	"net/http"
	"time"
)

// secure is a case whose receiver speaks TLS.
func secure(c testCase, config *tls.Config) testCase {
	c.tls = config
	return c
}

// unsafe is a case in which no request may be sent at all, and the attempt is
// made again all the same.
func unsafe(name string, config *tls.Config) testCase {
	return testCase{name: name, connections: 2, tls: config, answers: []answer{ok}}
}

func tlsCases(p Profile) []testCase {
	stranger := newAuthority("Nobody's Authority")
	issuer := stranger
	if p.Authority != nil {
		issuer = p.Authority // so that nothing but the flaw is wrong
	}
	now := time.Now()
	day := 24 * time.Hour
	good := certificate{ips: []string{"127.0.0.1"}, from: now.Add(-day), until: now.Add(day)}
	with := func(change func(*certificate)) certificate { c := good; change(&c); return c }
	old := issuer.config(good)
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	plain := testCase{name: "no TLS where the URL says https", connections: 2, https: true, answers: []answer{ok},
		connect: []func(*exchange) bool{halfMeet(failLine + "\r\n")}}
	out := []testCase{
		unsafe("a certificate signed by itself", stranger.selfSigned(good)),
		unsafe("a certificate of an authority that nobody knows", stranger.config(good)),
		unsafe("a certificate for another address", issuer.config(with(func(c *certificate) { c.ips = []string{"127.0.0.2"} }))),
		unsafe("a certificate for a name", issuer.config(with(func(c *certificate) { c.ips, c.names = nil, []string{"example.com"} }))),
		unsafe("a certificate that has expired", issuer.config(with(func(c *certificate) { c.until = now.Add(-time.Hour) }))),
		unsafe("a certificate that is not valid yet", issuer.config(with(func(c *certificate) { c.from = now.Add(time.Hour) }))),
		unsafe("a version of TLS that is broken", old),
		plain,
		{name: "a handshake that is reset", connections: 2, https: true, answers: []answer{ok}, connect: []func(*exchange) bool{func(x *exchange) bool { x.reset(); return false }}},
		{name: "a handshake that never answers", connections: 2, https: true, answers: []answer{ok}, connect: []func(*exchange) bool{halfMeet("")}},
		{name: "a handshake of nonsense", connections: 2, https: true, answers: []answer{ok}, connect: []func(*exchange) bool{halfMeet("\x16\x03\x03\x00\x05hello")}},
		{name: "TLS where the URL says http", connections: 2, answers: []answer{ok}, connect: []func(*exchange) bool{halfMeet("\x15\x03\x01\x00\x02\x02\x0a")}},
	}
	if p.Authority == nil {
		return out
	}
	mutual := issuer.config(good)
	mutual.ClientAuth, mutual.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12
	modern := issuer.config(good)
	modern.MinVersion = tls.VersionTLS13
	return append(out,
		unsafe("a receiver that wants a certificate of the sender", mutual),
		unsafe("a certificate for clients", issuer.config(with(func(c *certificate) { c.client = true }))),
		secure(delivered("TLS", ok), issuer.config(good)),
		secure(delivered("TLS 1.3", ok), modern),
		secure(failed("a failure over TLS", status(500)), issuer.config(good)),
		secure(failed("a reset over TLS", crash("")), issuer.config(good)),
		secure(failed("a body over TLS that is cut without a word", crash(okLine+"Content-Length: 100\r\n\r\nabc")), issuer.config(good)),
		secure(failed("a receiver over TLS that says nothing", hang("")), issuer.config(good)),
	)
}

// halfMeet says this before any request, and waits for the sender to leave.
func halfMeet(s string) func(*exchange) bool {
	return func(x *exchange) bool {
		send(x, s)
		x.gone()
		return false
	}
}

func http2Cases(p Profile) []testCase {
	if p.Authority == nil {
		return nil
	}
	now := time.Now()
	config := p.Authority.config(certificate{ips: []string{"127.0.0.1"}, from: now.Add(-time.Hour), until: now.Add(time.Hour)})
	config.NextProtos = []string{"h2", "http/1.1"}
	over := func(name string, attempts int, handlers ...http.HandlerFunc) testCase {
		return testCase{name: "HTTP/2: " + name, attempts: attempts, tls: config, http2: handlers}
	}
	say := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	stop := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.Write([]byte("abc"))
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	return []testCase{
		over("a delivery", 1, say(204)),
		over("a failure", 2, say(500), say(200)),
		over("a redirect", 2, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", 307) }, say(200)),
		over("410", 1, say(410), say(200)),
		over("a stream that is reset", 2, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, say(200)),
		over("a body that is reset", 2, stop, say(200)),
		over("no answer", 2, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, say(200)),
		over("a body that never ends", 2, func(w http.ResponseWriter, r *http.Request) {
			w.Write([]byte("abc"))
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, say(200)),
		over("a connection that goes away", 2, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "close")
			w.WriteHeader(503)
		}, say(200)),
	}
}
