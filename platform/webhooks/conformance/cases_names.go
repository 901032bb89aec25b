package conformance

import (
	"strings"

	"github.com/guildhall-dev/guildhall/internal/outbound/outboundtest"
)

// nameCases need a name server that the sender asks.
func nameCases(p Profile) (out []testCase) {
	if p.Names == nil {
		return nil
	}
	here := outboundtest.At("127.0.0.1")
	add := func(name, host string, first ...outboundtest.Answer) {
		c := delivered(name, ok)
		c.host = host
		known := strings.ToLower(strings.TrimSuffix(host, "."))
		p.Names.Set(known, first...)
		if len(first) == 0 || len(first[0].Addrs) == 0 {
			c.hidden = true
			c.later = func(*receiver) error { p.Names.Set(known, here); return nil }
		}
		out = append(out, c)
	}
	add("a name", "fine.test", here)
	add("a name in capitals with a dot behind it", "Capitals.TEST.", here)
	add("a name that does not exist yet", "not-yet.test")
	add("a name whose server fails", "failing.test", outboundtest.Answer{Fails: true})
	add("a name without an address", "empty.test", outboundtest.Answer{})
	return out
}
