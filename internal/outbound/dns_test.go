package outbound_test

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// names is a name server in this process: each look-up of a name takes the next of its answers, and the last one stays.
// A name it does not have does not exist.
type names struct {
	mu      sync.Mutex
	answers map[string][]netip.Addr
}

// resolver starts serving n and returns a resolver that asks nobody else.
func (n *names) resolver(t *testing.T) *net.Resolver {
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

// reply answers one question in the form of RFC 1035.
func (n *names) reply(query []byte) []byte {
	const header, flagsYes, flagsNoName = 12, 0x8180, 0x8183
	if len(query) < header {
		return nil
	}
	var labels []string
	at := header
	for at < len(query) && query[at] != 0 {
		end := at + 1 + int(query[at])
		labels, at = append(labels, string(query[at+1:end])), end
	}
	question := query[header : at+5]
	kind := binary.BigEndian.Uint16(query[at+1:])
	addr, exists := n.next(strings.ToLower(strings.Join(labels, ".")), kind == 1)

	reply := append([]byte{}, query[:2]...)
	var data []byte
	flags, count := uint16(flagsYes), uint16(0)
	switch {
	case !exists:
		flags = flagsNoName
	case kind == 1 && addr.Is4(), kind == 28 && addr.Is6():
		data, count = addr.AsSlice(), 1
	}
	for _, v := range []uint16{flags, 1, count, 0, 0} {
		reply = binary.BigEndian.AppendUint16(reply, v)
	}
	reply = append(reply, question...)
	if count == 1 {
		reply = append(reply, 0xc0, header) // the name of the question
		for _, v := range []uint16{kind, 1, 0, 0, uint16(len(data))} {
			reply = binary.BigEndian.AppendUint16(reply, v)
		}
		reply = append(reply, data...)
	}
	return reply
}

func (n *names) next(name string, advance bool) (netip.Addr, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	left := n.answers[name]
	if len(left) == 0 {
		return netip.Addr{}, false
	}
	if advance && len(left) > 1 {
		n.answers[name] = left[1:]
	}
	return left[0], true
}
