// Package config reads what an operator sets: GUILDHALL_* names from the environment, or the same names from a file. One
// struct states every name, its default and its words, so that start-up, --help and the documentation cannot
// disagree. A name nobody knows is refused, because a misspelt setting that is silently ignored is worse than no start.
package config

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/caarlos0/env/v11"
)

// Config is the configuration of one process. Every field works when absent: Load fills the defaults, and what it
// returns has been checked. Each field's `doc` tag is what operators read.
type Config struct {
	Addr             string   `env:"GUILDHALL_ADDR" envDefault:"127.0.0.1:8080" doc:"address to listen on, host:port; port 0 picks a free one"`
	PublicURL        string   `env:"GUILDHALL_PUBLIC_URL" default:"http://<addr>" doc:"address at which people and API clients reach this instance, without a path"`
	DataDir          string   `env:"GUILDHALL_DATA_DIR" envDefault:"./data" doc:"folder for the instance key, files, mail and the private Postgres"`
	DatabaseURL      string   `env:"GUILDHALL_DATABASE_URL" default:"(a private Postgres)" secret:"url" doc:"Postgres to use, postgres://user:password@host:5432/name; the login must be neither owner nor superuser"`
	DatabaseAdminURL string   `env:"GUILDHALL_DATABASE_ADMIN_URL" default:"(the database URL)" secret:"url" doc:"login that migrates the schema, if other than GUILDHALL_DATABASE_URL"`
	PostgresBin      string   `env:"GUILDHALL_POSTGRES_BIN" default:"(found)" doc:"folder that holds initdb and postgres for the private Postgres"`
	Demo             string   `env:"GUILDHALL_DEMO" default:"(on with the private Postgres)" doc:"fill an empty instance with a demonstration organisation: on or off"`
	RateLimit        string   `env:"GUILDHALL_RATE_LIMIT" envDefault:"on" doc:"limit requests per address, principal and organisation: on or off"`
	TrustedProxies   []string `env:"GUILDHALL_TRUSTED_PROXIES" default:"(none)" doc:"comma-separated addresses or CIDR ranges whose X-Forwarded-For is believed"`
	OutboundAllow    []string `env:"GUILDHALL_OUTBOUND_ALLOW" default:"(none)" doc:"comma-separated addresses or CIDR ranges that are not public but that webhooks and other outbound calls may reach"`
	PluginUID        string   `env:"GUILDHALL_PLUGIN_UID" envDefault:"70000" doc:"first of the account numbers that plugins run as where guildhall runs as root, 32 for each plugin; 0 runs them as root"`
	WebhookRetention string   `env:"GUILDHALL_WEBHOOK_RETENTION_DAYS" envDefault:"30" doc:"days for which deliveries of webhooks and what was answered are kept, 1 to 400"`
	SMTPURL          string   `env:"GUILDHALL_SMTP_URL" default:"(mail goes to a folder)" secret:"url" doc:"mail server, smtp://user:password@host:587?tls=mandatory (or opportunistic, none) or smtps://host"`
	MailFrom         string   `env:"GUILDHALL_MAIL_FROM" envDefault:"Guildhall <guildhall@localhost>" doc:"sender of the instance's mail"`
	LogFormat        string   `env:"GUILDHALL_LOG_FORMAT" default:"(text on a terminal, else json)" doc:"text or json"`
	LogLevel         string   `env:"GUILDHALL_LOG_LEVEL" envDefault:"info" doc:"debug, info, warn or error"`

	origin map[string]string // where each name that was set came from: "environment" or "file:line"
}

// Load reads file (none when it is ""), lays environ ("NAME=value", as of os.Environ) over it and checks the result. An
// empty value means the default. The error lists everything that is wrong, one line each, with what to write instead; it
// never repeats the value of a secret.
func Load(file string, environ []string) (Config, error) {
	s, problems, err := read(file, environ)
	if err != nil {
		return Config{}, err
	}
	c := Config{origin: map[string]string{}}
	values := map[string]string{}
	for name, set := range s {
		if set.value != "" {
			values[name], c.origin[name] = set.value, set.origin
		}
	}
	if err := env.ParseWithOptions(&c, env.Options{Environment: values}); err != nil {
		return Config{}, fmt.Errorf("config: %w", err)
	}
	problems = append(problems, c.check()...)
	if len(problems) > 0 {
		return Config{}, fmt.Errorf("config: %d to mend:\n%w", len(problems), errors.Join(problems...))
	}
	return c.WithAddr(c.Addr), nil
}

// DemoEnabled tells whether an empty instance is filled with the demonstration: as GUILDHALL_DEMO says, and else only
// where the database is the private one, which nobody else's data can be in.
func (c Config) DemoEnabled() bool {
	if c.Demo == "" {
		return c.DatabaseURL == ""
	}
	return c.Demo == "on"
}

// RateLimitEnabled tells whether requests are limited: true unless GUILDHALL_RATE_LIMIT is off.
func (c Config) RateLimitEnabled() bool { return c.RateLimit != "off" }

// WebhookRetentionDays is for how many days deliveries of webhooks are kept.
func (c Config) WebhookRetentionDays() int {
	days, _ := strconv.Atoi(c.WebhookRetention)
	return days
}

// FirstPluginUID is the first account number of the first plugin; 0 gives them none.
func (c Config) FirstPluginUID() int {
	n, _ := strconv.Atoi(c.PluginUID)
	return n
}

// WithAddr returns c listening on addr (host:port), with the public URL that follows from it unless another is set. The
// server calls it once a listener on port 0 knows its port; before that such a configuration has no public URL.
func (c Config) WithAddr(addr string) Config {
	if c.PublicURL == publicURL(c.Addr) {
		c.PublicURL = ""
	}
	c.Addr = addr
	if c.PublicURL == "" {
		c.PublicURL = publicURL(addr)
	}
	return c
}

func publicURL(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port == "0" {
		return ""
	}
	if host == "" || net.ParseIP(host).IsUnspecified() {
		host = "localhost" // a wildcard is no address to reach
	}
	return "http://" + net.JoinHostPort(host, port)
}
