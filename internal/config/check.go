package config

import (
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// check normalises what has several spellings (switches, ranges, a trailing slash) and returns what cannot be used.
func (c *Config) check() (problems []error) {
	bad := func(name, format string, args ...any) {
		where := c.origin[name]
		if where == "" {
			where = "default"
		}
		problems = append(problems, fmt.Errorf("%s: %s %s", where, name, fmt.Sprintf(format, args...)))
	}
	if !listenable(c.Addr) {
		bad("GUILDHALL_ADDR", "is %q; write host:port, for example 127.0.0.1:8080", c.Addr)
	}
	c.checkURLs(bad)
	for name, field := range map[string]*string{"GUILDHALL_DEMO": &c.Demo, "GUILDHALL_RATE_LIMIT": &c.RateLimit} {
		switch strings.ToLower(*field) {
		case "on", "true", "yes", "1":
			*field = "on"
		case "off", "false", "no", "0":
			*field = "off"
		case "":
		default:
			bad(name, "is %q; write on or off", *field)
		}
	}
	c.LogFormat, c.LogLevel = strings.ToLower(c.LogFormat), strings.ToLower(c.LogLevel)
	if !slices.Contains([]string{"", "text", "json"}, c.LogFormat) {
		bad("GUILDHALL_LOG_FORMAT", "is %q; write text or json", c.LogFormat)
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel) {
		bad("GUILDHALL_LOG_LEVEL", "is %q; write debug, info, warn or error", c.LogLevel)
	}
	if n := c.FirstPluginUID(); n != 0 && (n < 1000 || n > 2_000_000_000) || c.PluginUID != strconv.Itoa(n) {
		bad("GUILDHALL_PLUGIN_UID", "is %q; write a number from 1000 to 2000000000, or 0", c.PluginUID)
	}
	// The log of events, from which a delivery could be made again, is kept for 400 days.
	if days := c.WebhookRetentionDays(); days < 1 || days > 400 || c.WebhookRetention != strconv.Itoa(days) {
		bad("GUILDHALL_WEBHOOK_RETENTION_DAYS", "is %q; write a number of days from 1 to 400", c.WebhookRetention)
	}
	if _, err := mail.ParseAddress(c.MailFrom); err != nil {
		bad("GUILDHALL_MAIL_FROM", "is %q; write an address, for example Guildhall <guildhall@example.com>", c.MailFrom)
	}
	for name, field := range map[string]*[]string{"GUILDHALL_TRUSTED_PROXIES": &c.TrustedProxies, "GUILDHALL_OUTBOUND_ALLOW": &c.OutboundAllow} {
		ranges, err := Prefixes(*field)
		if err != nil {
			bad(name, "%v", err)
			continue
		}
		*field = nil
		for _, p := range ranges {
			*field = append(*field, p.String())
		}
	}
	slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return problems
}

func (c *Config) checkURLs(bad func(name, format string, args ...any)) {
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		if err != nil || !slices.Contains([]string{"http", "https"}, u.Scheme) || u.Hostname() == "" || u.User != nil ||
			strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
			bad("GUILDHALL_PUBLIC_URL", "cannot be used; write http or https and a host without a path, for example https://guildhall.example.com")
		} else {
			c.PublicURL = u.Scheme + "://" + u.Host
		}
	}
	// The words for a secret never hold its value: start-up errors end up in logs.
	databases := map[string]string{"GUILDHALL_DATABASE_URL": c.DatabaseURL, "GUILDHALL_DATABASE_ADMIN_URL": c.DatabaseAdminURL}
	for name, value := range databases {
		if value == "" {
			continue
		}
		u, err := url.Parse(value)
		if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Host == "" && u.Query().Get("host") == "" {
			bad(name, "cannot be used; write postgres://user:password@host:5432/name, with %%XX for special characters in the password")
		}
	}
	if c.DatabaseAdminURL != "" && c.DatabaseURL == "" {
		bad("GUILDHALL_DATABASE_ADMIN_URL", "is set without GUILDHALL_DATABASE_URL; set both, or neither for a private Postgres")
	}
	if c.SMTPURL == "" {
		return
	}
	u, err := url.Parse(c.SMTPURL)
	if err != nil || u.Scheme != "smtp" && u.Scheme != "smtps" || u.Hostname() == "" ||
		!slices.Contains([]string{"", "opportunistic", "mandatory", "none"}, u.Query().Get("tls")) {
		bad("GUILDHALL_SMTP_URL", "cannot be used; write smtp://user:password@host:587?tls=mandatory (or opportunistic, none) or smtps://user:password@host")
	}
}

func listenable(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// Prefixes parses CIDR ranges. A bare address is the range of that one address; an address written with host bits
// (10.1.2.3/8) is the range around it; empty entries are skipped.
func Prefixes(cidrs []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range cidrs {
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a, addrErr := netip.ParseAddr(text)
			if addrErr != nil || a.Zone() != "" {
				return nil, fmt.Errorf("holds %q; write addresses or ranges such as 10.0.0.0/8, separated by commas", text)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		out = append(out, p.Masked())
	}
	return out, nil
}
