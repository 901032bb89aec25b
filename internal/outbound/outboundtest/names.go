package outboundtest

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// Answer is what the name server says to one look-up.
type Answer struct {
	Addrs []netip.Addr
	Fails bool // the server says that it failed
}

// At is the answer that names these addresses.
func At(addrs ...string) (a Answer) {
	for _, s := range addrs {
		a.Addrs = append(a.Addrs, netip.MustParseAddr(s))
	}
	return a
}

// Names is a name server in this process. A name that was not set does not exist.
type Names struct {
	mu      sync.Mutex
	answers map[question][]Answer // both kinds of question about a name go through the same answers
}

type question struct {
	name string
	kind uint16
}

// Set makes each look-up of name take the next of the answers; the last one
// stays. Without any, the name does not exist.
func (n *Names) Set(name string, answers ...Answer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.answers == nil {
		n.answers = map[question][]Answer{}
	}
	n.answers[question{name, typeA}], n.answers[question{name, typeAAAA}] = answers, answers
}

// Resolver starts serving n and returns a resolver that asks nobody else.
func (n *Names) Resolver(t testing.TB) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() {
		packet := make([]byte, 1500)
		for {
			size, from, err := server.ReadFrom(packet)
			if err != nil {
				return
			}
			if reply := n.reply(packet[:size]); reply != nil {
				server.WriteTo(reply, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

const (
	headerSize = 12
	typeA      = 1
	typeAAAA   = 28
)

// reply answers one question in the form of RFC 1035.
func (n *Names) reply(query []byte) []byte {
	const yes, failed, noName = 0x8180, 0x8182, 0x8183
	if len(query) < headerSize {
		return nil
	}
	var labels []string
	at := headerSize
	for at < len(query) && query[at] != 0 {
		end := min(at+1+int(query[at]), len(query))
		labels, at = append(labels, string(query[at+1:end])), end
	}
	if at+5 > len(query) {
		return nil
	}
	kind := binary.BigEndian.Uint16(query[at+1:])
	answer, exists := n.next(question{strings.ToLower(strings.Join(labels, ".")), kind})
	flags := uint16(yes)
	var found []netip.Addr
	switch {
	case !exists:
		flags = noName
	case answer.Fails:
		flags = failed
	default:
		for _, a := range answer.Addrs {
			if kind == typeA && a.Is4() || kind == typeAAAA && a.Is6() {
				found = append(found, a)
			}
		}
	}
	reply := append([]byte{}, query[:2]...)
	for _, v := range []uint16{flags, 1, uint16(len(found)), 0, 0} {
		reply = binary.BigEndian.AppendUint16(reply, v)
	}
	reply = append(reply, query[headerSize:at+5]...)
	for _, a := range found {
		reply = append(reply, 0xc0, headerSize) // the name of the question
		for _, v := range []uint16{kind, 1, 0, 0, uint16(len(a.AsSlice()))} {
			reply = binary.BigEndian.AppendUint16(reply, v)
		}
		reply = append(reply, a.AsSlice()...)
	}
	return reply
}

func (n *Names) next(q question) (Answer, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	left := n.answers[q]
	if len(left) == 0 {
		return Answer{}, false
	}
	if len(left) > 1 {
		n.answers[q] = left[1:]
	}
	return left[0], true
}
