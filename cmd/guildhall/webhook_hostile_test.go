package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/guildhall-dev/guildhall/internal/outbound/outboundtest"
)

// Whatever leads inside is refused when it is saved, as a new endpoint and as a
// change of one, with the reason at the field, and nothing is connected to.
func TestHostileWebhookAddressesAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.person("owner").organization("Acme")
	var met atomic.Int32
	inside := httptest.NewUnstartedServer(http.NotFoundHandler())
	inside.Config.ConnState = func(net.Conn, http.ConnState) { met.Add(1) }
	inside.Start()
	t.Cleanup(inside.Close)
	port := inside.URL[strings.LastIndexByte(inside.URL, ':'):]

	good := owner.post("/v1/webhook-endpoints", m{"url": "https://93.184.216.34/hook"}).want(201).header("Location")
	n := 0
	for _, host := range outboundtest.Hosts() {
		url := "http://" + host + port + "/hook"
		if got := owner.post("/v1/webhook-endpoints", m{"url": url}).want(422).code("url_blocked"); got.str("errors.0.pointer") != "/url" || got.str("errors.0.message") == "" {
			t.Errorf("%s: %s", url, got.body)
		}
		owner.patch(good, m{"url": url}).want(422).code("url_blocked")
		n++
	}
	for _, url := range outboundtest.URLs() {
		if got := owner.post("/v1/webhook-endpoints", m{"url": url}); got.status < 400 || got.status >= 500 {
			t.Errorf("%q: %d %s", url, got.status, got.body)
		}
		n++
	}
	if got := owner.get("/v1/webhook-endpoints").want(200).len("data"); got != 1 || met.Load() != 0 {
		t.Errorf("%d endpoints, %d connections", got, met.Load())
	}
	proved(t, "%d hostile URLs: all refused when saved, 0 connections", n)
}
