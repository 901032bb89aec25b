package outboundtest

// Hosts are spellings, fit for a URL, of places that only this machine, its
// network or its cloud can reach, and of addresses that nobody may be sent to.
func Hosts() (all []string) {
	for _, group := range [][]string{thisMachine(), otherNumbers(), nearby(), reserved(), six(), fourInSix(), notASCII(), noNames()} {
		all = append(all, group...)
	}
	return all
}

func thisMachine() []string {
	return []string{
		"127.0.0.1", "127.0.0.2", "127.1.2.3", "127.127.127.127", "127.255.255.254", "127.255.255.255", "0.0.0.0", "0.1.2.3", "0.255.255.255",
		"localhost", "LOCALHOST", "localhost.", "foo.localhost", "a.b.LocalHost.", "127.0.0.1.localhost",
		"[::]", "[::1]", "[::0001]", "[0:0:0:0:0:0:0:1]", "[0000:0000:0000:0000:0000:0000:0000:0001]", "[0::1]", "[::1%25lo]", "[::%25eth0]",
	}
}

// otherNumbers are what inet_aton and its kin take for addresses.
func otherNumbers() []string {
	return []string{
		"2130706433", "0x7f000001", "0X7F000001", "0x7F.0.0.1", "0x7f.0x0.0x0.0x1", "017700000001", "0177.0.0.1", "0177.0.0.01", "127.1", "127.0.1", "127.65535", "0x7f.1",
		"00000127.0.0.1", "127.000.000.001", "127.0.0.1.", "127.0.0.0x1", "0", "00", "0.0", "0.0.0", "0x0", "0x", "4294967295", "0xffffffff",
		"2852039166", "0xa9fea9fe", "0xa9.0xfe.0xa9.0xfe", "0251.0376.0251.0376", "169.254.43518", "169.16689662", "025177524776",
		"3232235777", "3232235521", "192.168.257", "0300.0250.1", "167772161", "0xa.1", "10.1", "012.0.0.1", "10.0.0.010", "0x0a000001", "172.1048577", "172.16.1", "100.4194305",
		"1.2.3.4.5", "256.256.256.256", "127.0.0.256", "999.1", "18446744073709551617",
	}
}

// nearby is private, shared and link-local, and where clouds keep credentials.
func nearby() []string {
	return []string{
		"10.0.0.1", "10.10.10.10", "10.255.255.255", "172.16.0.1", "172.20.10.1", "172.31.255.254", "192.168.0.1", "192.168.1.254", "192.168.255.255",
		"100.64.0.1", "100.65.1.1", "100.127.255.254", "100.100.100.200", "169.254.0.1", "169.254.169.254", "169.254.170.2", "169.254.255.255", "168.63.129.16",
	}
}

// reserved is for documentation, benchmarks, protocols, groups and the future.
func reserved() []string {
	return []string{
		"192.0.0.1", "192.0.0.8", "192.0.0.170", "192.0.0.192", "192.0.2.1", "192.0.2.255", "198.51.100.1", "203.0.113.1", "198.18.0.1", "198.19.255.255", "192.88.99.1",
		"224.0.0.1", "233.252.0.1", "239.255.255.255", "240.0.0.1", "250.1.1.1", "255.255.255.254", "255.255.255.255",
	}
}

func six() []string {
	return []string{
		"[fe80::1]", "[fe80::1%25eth0]", "[fe80::a9fe:a9fe]", "[fe90::1]", "[febf::1]", "[fc00::1]", "[fcff::1]", "[fd00::1]", "[fd00:ec2::254]", "[fd12:3456:789a::1]", "[fdff::1]", "[fec0::1]", "[feff::1]",
		"[ff00::1]", "[ff01::1]", "[ff02::1]", "[ff05::1:3]", "[ff0e::1]", "[2001:db8::1]", "[2001:db8:ffff::1]", "[3fff::1]", "[100::1]", "[2001:2::1]", "[2001:10::1]", "[2001:20::1]", "[5f00::1]",
		"[::2]", "[1::1]", "[200::1]", "[4000::1]", "[8000::1]", "[e000::1]",
	}
}

// fourInSix are addresses of IPv4 within those of IPv6: mapped, compatible,
// translated, NAT64 with both prefixes, 6to4 and Teredo.
func fourInSix() []string {
	return []string{
		"[::ffff:127.0.0.1]", "[::FFFF:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "[::ffff:c0a8:101]", "[::ffff:100.64.0.1]", "[::ffff:169.254.169.254]", "[0:0:0:0:0:ffff:a9fe:a9fe]",
		"[::ffff:0.0.0.0]", "[::ffff:0:0]", "[::ffff:255.255.255.255]", "[::ffff:224.0.0.1]", "[::ffff:168.63.129.16]", "[::ffff:127.0.0.1%25lo]",
		"[::127.0.0.1]", "[::7f00:1]", "[::10.0.0.1]", "[::a9fe:a9fe]", "[::ffff:0:127.0.0.1]", "[::ffff:0:a9fe:a9fe]",
		"[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b::169.254.169.254]", "[64:ff9b::10.0.0.1]", "[64:ff9b::192.168.0.1]", "[64:ff9b:1::a00:1]", "[64:ff9b:1::169.254.169.254]", "[64:ff9b:1:ffff::1]",
		"[2002:7f00:1::]", "[2002:a9fe:a9fe::1]", "[2002:c0a8:101::1]", "[2002:a00:1::]", "[2002:ac10:1::1]", "[2002:6440:1::]",
		"[2001:0:7f00:1::]", "[2001::1]", "[2001:0:ce49:7601:e866:efff:62c3:fffe]",
	}
}

// notASCII is what normalises to an address or to localhost.
func notASCII() []string {
	return []string{
		"①②⑦.⓪.⓪.①", "１２７.0.0.1", "𝟏𝟐𝟕.𝟎.𝟎.𝟏", "१२७.०.०.१", "127。0。0。1", "127.0.0。1", "169｡254｡169｡254", "127．0．0．1",
		"ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "locａlhost", "lo\u00adcalhost", "localhost\u200b", "ｌｏｃａｌｈｏｓｔ", "l\u043ecalhost",
	}
}

// noNames are no names at all; what a resolver makes of them is anybody's guess.
func noNames() []string {
	return []string{"127.0.0.1..", "localhost..", ".", "..", ".127.0.0.1", "a..localhost", "127..1"}
}

// URLs are hostile as a whole: in their scheme, their form, or the way in which
// they hide the host.
func URLs() []string {
	return []string{
		"", "example.com", "//example.com/", "/etc/passwd", "http:", "http:example.com", "http:127.0.0.1/", "http:/127.0.0.1/", "http:///127.0.0.1/", "http://", "https:///x", "http://:80/", "http://./",
		"ftp://example.com/", "ftps://127.0.0.1/", "file:///etc/passwd", "file://127.0.0.1/etc/passwd", "gopher://example.com/", "gopher://127.0.0.1:6379/_FLUSHALL", "dict://127.0.0.1:11211/stats", "ldap://127.0.0.1/", "tftp://127.0.0.1/x",
		"ws://127.0.0.1/", "wss://example.com/", "javascript:alert(1)", "data:text/plain,x", "jar:http://127.0.0.1!/", "unix:///var/run/docker.sock", "http+unix://%2Fvar%2Frun%2Fdocker.sock/v1/info", "ssh://git@example.com/",
		"http://user@example.com/", "http://user:password@example.com/", "http://example.com:80@127.0.0.1/", "http://example.com@127.0.0.1/", "http://a:b@169.254.169.254/", "http://127.0.0.1@example.com/", "http://@127.0.0.1/",
		"http://127.0.0.1#@example.com/", "http://127.0.0.1?@example.com/", "http://127.0.0.1;@example.com/", "http://127.0.0.1\\@example.com/", "http:\\\\127.0.0.1\\", "http://127.0.0.1\\.example.com/",
		"http://exa mple.com/", " http://127.0.0.1/", "http://127.0.0.1 /", "\thttp://127.0.0.1/", "http://127.0.0.1\t/", "http://example.com\r\nX: y/", "http://127.0.0.1\x00.example.com/", "http://example.com/\n",
		"http://%31%32%37.0.0.1/", "http://%6c%6f%63%61%6c%68%6f%73%74/", "http://127%2e0%2e0%2e1/", "http://127.0.0.1%2f@example.com/", "http://localhost%00.example.com/", "http://127.0.0.1%09/", "http://%5b%3a%3a1%5d/",
		"http://[::1", "http://[::1]x/", "http://::1/", "http://[127.0.0.1]/", "http://[::ffff:127.0.0.1", "http://[localhost]/", "http://[::1]:80:80/", "http://127.0.0.1:80:80/", "http://127.0.0.1:/", "http://127.0.0.1:x/", "http://127.0.0.1:99999/",
		"HTTP://LOCALHOST/", "hTtPs://127.1/", "http://2130706433:80/", "http://[::ffff:7f00:1]:22/", "http://127.0.0.1:25/%0D%0AHELO%20x", "http://169.254.169.254/latest/meta-data/iam/security-credentials/", "http://[fd00:ec2::254]/latest/meta-data/",
	}
}
