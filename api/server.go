package api

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/obs"
)

// Handler is the whole HTTP surface: the chain that every request passes,
// around the operations.
func (r *Router) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		start := time.Now()
		reqID := requestID(req)
		ctx := context.WithValue(req.Context(), requestIDKey{}, reqID)
		ctx = context.WithValue(ctx, addressKey{}, r.clientAddress(req))
		ctx = obs.With(ctx, slog.String("request_id", reqID))
		req = req.WithContext(ctx)
		rec := &recorder{ResponseWriter: w}
		h := w.Header()
		h.Set("X-Request-Id", reqID)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		if strings.HasPrefix(req.URL.Path, "/v1/") {
			h.Set("Cache-Control", "no-store")
			h.Set("Vary", "Authorization, Guildhall-Organization")
		}
		shop := strings.HasPrefix(req.URL.Path, storefrontPrefix)
		if shop {
			h.Set("Vary", "Authorization, Origin, "+publishableKeyHeader)
		}
		defer func() {
			if v := recover(); v != nil {
				if v == http.ErrAbortHandler { //nolint:errorlint // the sentinel is compared as net/http does
					panic(v)
				}
				r.kernel.Log.ErrorContext(ctx, "panic", "panic", v, "stack", string(debug.Stack()))
				if rec.status == 0 {
					writeProblem(ctx, rec, fault.New(fault.Internal, "internal", ""))
				}
			}
			r.kernel.Log.DebugContext(ctx, "request", "method", req.Method, "path", req.URL.Path, "status", rec.status,
				"bytes", rec.bytes, "ms", time.Since(start).Milliseconds())
		}()
		if shop && req.Method == http.MethodOptions {
			preflight(rec)
			return
		}
		if handler, pattern := r.mux.Handler(req); pattern == "" {
			r.noRoute(rec, req, handler)
			return
		}
		r.mux.ServeHTTP(rec, req)
	})
}

// noRoute answers 404 and 405 as problems. The mux knows which it is.
func (r *Router) noRoute(w http.ResponseWriter, req *http.Request, muxAnswer http.Handler) {
	probe := &recorder{ResponseWriter: discard{http.Header{}}}
	muxAnswer.ServeHTTP(probe, req)
	if probe.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", probe.Header().Get("Allow"))
		p := newProblem(req.Context(), http.StatusMethodNotAllowed, "method_not_allowed", "This address knows the methods "+probe.Header().Get("Allow")+".")
		writeProblem(req.Context(), w, p)
		return
	}
	p := newProblem(req.Context(), http.StatusNotFound, "not_found", "There is nothing at this address. The reference is at /docs.")
	writeProblem(req.Context(), w, p)
}

type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (r *recorder) WriteHeader(code int) {
	if r.status == 0 {
		r.status = code
	}
	r.ResponseWriter.WriteHeader(code)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

var goodRequestID = regexp.MustCompile(`^[A-Za-z0-9_.:-]{8,100}$`)

// requestID takes the client's if it is harmless, so that both sides' logs meet.
func requestID(req *http.Request) string {
	if s := req.Header.Get("X-Request-Id"); goodRequestID.MatchString(s) {
		return s
	}
	return id.New().String()
}

// clientAddress believes X-Forwarded-For only as far as trusted proxies wrote it.
func (r *Router) clientAddress(req *http.Request) string {
	host, _, err := net.SplitHostPort(req.RemoteAddr)
	if err != nil {
		host = req.RemoteAddr
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	hops := strings.Split(strings.Join(req.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && r.trusted(addr); i-- {
		next, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		addr = next
	}
	return addr.Unmap().String()
}

func (r *Router) trusted(a netip.Addr) bool {
	for _, p := range r.kernel.TrustedProxies {
		if p.Contains(a.Unmap()) {
			return true
		}
	}
	return false
}
