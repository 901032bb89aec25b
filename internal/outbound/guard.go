package outbound

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"code.dny.dev/ssrf"
)

const (
	notPublic = "its address is not public"
	maxURL    = 2048
)

// BlockedError says that an address may not be called. Its text is fit for the user who gave the address: it does not tell
// what a name resolves to inside this network.
type BlockedError struct {
	Host   string     // as in the URL; "" where there is none
	Reason string     // completes "the URL is not allowed: …"
	Addr   netip.Addr // the address that was refused, for the operator's log; invalid where none was looked at
}

func (e *BlockedError) Error() string {
	if e.Host == "" {
		return "outbound: the URL is not allowed: " + e.Reason
	}
	return fmt.Sprintf("outbound: the URL of host %q is not allowed: %s", e.Host, e.Reason)
}

// newGuard blocks every special-purpose range of the IANA registries, on any port, save for allow.
func newGuard(allow []netip.Prefix) *ssrf.Guardian {
	var v4, v6 []netip.Prefix
	for _, p := range allow {
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	return ssrf.New(
		ssrf.WithAnyPort(),
		ssrf.WithAllowedV4Prefixes(v4...),
		ssrf.WithAllowedV6Prefixes(v6...),
		// Azure's host agent answers here from inside, though the address is public by number.
		ssrf.WithDeniedV4Prefixes(netip.MustParsePrefix("168.63.129.16/32")),
	)
}

// checkHost refuses what can be judged by the URL alone. Literal is true where the host is an address, or a name that by
// definition means this machine, so that there is nothing to resolve.
func (c *Client) checkHost(u *url.URL) (literal bool, err error) {
	host := u.Hostname()
	refuse := func(reason string) (bool, error) { return false, &BlockedError{Host: host, Reason: reason} }
	switch {
	case !slices.Contains([]string{"http", "https"}, u.Scheme):
		return refuse("write http:// or https://")
	case host == "":
		return refuse("it has no host")
	case u.User != nil:
		return refuse("it holds a user name or password")
	case !possiblePort(u.Port()):
		return refuse("its port is not one from 1 to 65535")
	case u.Fragment != "":
		return refuse("it has a part after #, which is never sent")
	case len(u.String()) > maxURL:
		return refuse(fmt.Sprintf("it is longer than %d characters", maxURL))
	case strings.ContainsFunc(host, func(r rune) bool { return r >= 0x7f }):
		// Among these are digits and dots that become an address when the name is normalised.
		return refuse("write a name with letters beyond ASCII in its xn-- form")
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return true, c.checkAddr(host, a)
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	last := name[strings.LastIndexByte(name, '.')+1:]
	switch {
	case name == "":
		return refuse("it has no host")
	case strings.HasPrefix(name, "."), strings.HasSuffix(name, "."), strings.Contains(name, ".."):
		return refuse("its host is not a name")
	case numeric(last):
		// 2130706433, 0x7f.1, 0177.0.0.1: some resolvers read these as addresses, and no name ends in a number.
		return refuse("write the address as four decimal numbers")
	case last == "localhost":
		return true, c.checkAddr(host, netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	}
	return false, nil
}

// possiblePort tells whether a port can be connected to; "" is the scheme's.
func possiblePort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

// numeric tells whether a name's last label is one that inet_aton would take for a part of an address.
func numeric(label string) bool {
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return label != "" && strings.Trim(label, "0123456789") == ""
}

func (c *Client) checkAddr(host string, a netip.Addr) error {
	if err := c.guard.SafeAddr(a.Unmap()); err != nil {
		return &BlockedError{Host: host, Reason: notPublic, Addr: a}
	}
	return nil
}
