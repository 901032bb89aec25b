package webhooks

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/guildhall-dev/guildhall/internal/outbound"
	"github.com/guildhall-dev/guildhall/internal/outbound/outboundtest"
)

// everywhere is a receiver at every address of the test's own network. It notes
// the addresses that connections were made to.
type everywhere struct {
	answer http.HandlerFunc

	mu  sync.Mutex
	met []netip.Addr
}

func (e *everywhere) listen(t *testing.T, ports ...string) {
	for _, port := range ports {
		l, err := net.Listen("tcp", ":"+port)
		if err != nil {
			t.Fatal(err)
		}
		s := &httptest.Server{Listener: l, Config: &http.Server{Handler: e.answer, ConnState: func(c net.Conn, state http.ConnState) {
			if state == http.StateNew {
				e.mu.Lock()
				defer e.mu.Unlock()
				e.met = append(e.met, c.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap())
			}
		}}}
		s.Start()
		t.Cleanup(s.Close)
	}
}

// public are addresses that everybody may call; 93.184.216.34 stands for one's own server.
const public = "93.184.216.34"

// places are the addresses that names are bound to in turn.
func places() []string {
	return []string{"127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "169.254.169.254", "168.63.129.16", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
		"::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::7f00:1", "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2002:7f00:1::", "2001:0:7f00:1::"}
}

// No packet reaches a blocked address: in a network where every address
// answers, spellings, names that change their answer and redirects lead to
// public addresses or nowhere.
func TestHostileAddressesGetNoPacket(t *testing.T) {
	t.Parallel()
	ran := outboundtest.Alone(t, func() {
		var next string
		e := &everywhere{answer: func(w http.ResponseWriter, r *http.Request) {
			if next != "" {
				w.Header().Set("Location", next)
				w.WriteHeader(http.StatusTemporaryRedirect)
			}
		}}
		e.listen(t, "80", "443", "8443")
		names := &outboundtest.Names{}
		c := outbound.New(outbound.Options{Resolver: names.Resolver(t)})
		t.Cleanup(c.CloseIdle)
		h := &hostility{t: t, e: e, f: &Feature{Deps: Deps{Outbound: c}}, names: names}
		h.control()
		spelled := h.spellings()
		rebound := h.rebinding()
		redirected := 0
		for _, host := range outboundtest.Hosts() {
			next = "http://" + host + "/"
			h.sendsTo("http://"+public+"/", true)
			redirected++
		}
		h.counted()
		t.Logf("PROVED %s | %d spellings of URLs, %d look-ups of names that change their answer, %d redirects: 0 connections to blocked addresses, %d to public ones, and none uncounted", t.Name(), spelled, rebound, redirected, len(e.met))
	})
	if !ran {
		withoutANetwork(t)
	}
}

type hostility struct {
	t     *testing.T
	e     *everywhere
	f     *Feature
	names *outboundtest.Names
}

// sendsTo makes one attempt and holds what came of it against whether the
// receiver may have been reached.
func (h *hostility) sendsTo(url string, reached bool) outcome {
	h.t.Helper()
	o := h.f.post(h.t, url)
	if got := o.StatusCode != 0; got != reached {
		h.t.Errorf("%q: status %d, %s", url, o.StatusCode, o.Error)
	}
	return o
}

// control shows that the counting works: public addresses are reached and
// counted, and a client without the guard would reach blocked ones here.
func (h *hostility) control() {
	h.t.Helper()
	h.sendsTo("http://"+public+"/", true)
	h.sendsTo("http://[2606:4700::1111]:8443/", true)
	open := outbound.New(outbound.Options{Allow: []netip.Prefix{netip.MustParsePrefix("169.254.169.254/32")}})
	unguarded := &Feature{Deps: Deps{Outbound: open}}
	if o := unguarded.post(h.t, "http://169.254.169.254/"); !o.Delivered {
		h.t.Fatalf("the network does not lead here: %s", o.Error)
	}
	h.e.mu.Lock()
	defer h.e.mu.Unlock()
	if len(h.e.met) != 3 || h.e.met[2].String() != "169.254.169.254" {
		h.t.Fatalf("counted %v", h.e.met)
	}
	h.e.met = h.e.met[:2]
}

// spellings tries each hostile URL at saving and at sending.
func (h *hostility) spellings() (n int) {
	h.t.Helper()
	urls := outboundtest.URLs()
	for _, host := range outboundtest.Hosts() {
		urls = append(urls, "http://"+host+"/", "https://"+host+":8443/hook?x=1")
	}
	for _, raw := range urls {
		if err := h.f.Outbound.CheckURL(context.Background(), raw); err == nil {
			h.t.Errorf("CheckURL(%q) lets it pass", raw)
		}
		h.sendsTo(raw, false)
	}
	if len(urls) < 150 {
		h.t.Errorf("only %d URLs", len(urls))
	}
	return len(urls)
}

// rebinding tries names that are public when they are saved and change afterwards.
func (h *hostility) rebinding() (n int) {
	h.t.Helper()
	good := outboundtest.At(public)
	for i, place := range places() {
		bad, both := outboundtest.At(place), outboundtest.At(place, public)
		for j, answers := range [][]outboundtest.Answer{{good, bad}, {good, bad, good}, {bad}, {both}, {good, both, bad}} {
			name := fmt.Sprintf("rebind-%d-%d.test", i, j)
			h.names.Set(name, answers...)
			err := h.f.Outbound.CheckURL(context.Background(), "http://"+name+"/")
			if public := len(answers[0].Addrs) == 1 && answers[0].Addrs[0] == good.Addrs[0]; (err == nil) != public {
				h.t.Errorf("%s at saving: %v", place, err)
			}
			for range 4 {
				o := h.f.post(h.t, "http://"+name+"/")
				if strings.Contains(o.Error, place) {
					h.t.Errorf("the words tell what the name resolves to: %s", o.Error)
				}
				h.f.Outbound.CloseIdle() // so that each attempt looks the name up
				n++
			}
		}
	}
	return n
}

// counted holds what the receivers met against what the system counted.
func (h *hostility) counted() {
	h.t.Helper()
	h.e.mu.Lock()
	defer h.e.mu.Unlock()
	for _, a := range h.e.met {
		if a != netip.MustParseAddr(public) && a != netip.MustParseAddr("2606:4700::1111") {
			h.t.Errorf("a connection to %s", a)
		}
	}
	const unguarded = 1 // the control's
	if opened, err := outboundtest.Opened(); err != nil || opened != len(h.e.met)+unguarded {
		h.t.Errorf("%d connections were tried and %d arrived, %v", opened, len(h.e.met)+unguarded, err)
	}
}

// withoutANetwork is for systems that give no network away: only the addresses
// of this machine can be listened on.
func withoutANetwork(t *testing.T) {
	t.Helper()
	names := &outboundtest.Names{}
	c := outbound.New(outbound.Options{Resolver: names.Resolver(t)})
	t.Cleanup(c.CloseIdle)
	f := &Feature{Deps: Deps{Outbound: c}}
	var mu sync.Mutex
	met := 0
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ConnState = func(net.Conn, http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		met++
	}
	s.Start()
	t.Cleanup(s.Close)
	port := s.URL[strings.LastIndexByte(s.URL, ':'):]
	for _, host := range outboundtest.Hosts() {
		if o := f.post(t, "http://"+host+port+"/"); o.StatusCode != 0 {
			t.Errorf("%s: %+v", host, o)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if met != 0 {
		t.Errorf("%d connections", met)
	}
	t.Logf("PROVED %s | %d spellings of addresses: 0 connections to this machine", t.Name(), len(outboundtest.Hosts()))
}
