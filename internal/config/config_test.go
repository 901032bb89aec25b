package config_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/guildhall-dev/guildhall/internal/config"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// writeFile puts text into a settings file of its own. Errors name it by its path, so the tests strip the folder.
func writeFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "guildhall.env")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (run with -update to accept):\n%s", path, got)
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	c, err := config.Load("", []string{"PATH=/bin", "HOME=/nowhere"})
	if err != nil {
		t.Fatal(err)
	}
	if c.WebhookRetentionDays() != 30 {
		t.Errorf("deliveries are kept for %d days", c.WebhookRetentionDays())
	}
	if c.Addr != "127.0.0.1:8080" || c.PublicURL != "http://127.0.0.1:8080" || c.DataDir != "./data" {
		t.Errorf("defaults: %+v", c)
	}
	if !c.DemoEnabled() || !c.RateLimitEnabled() {
		t.Error("a private Postgres has the demonstration and limits on")
	}
	var out bytes.Buffer
	if err := c.Print(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "defaults.txt", out.String())
}

func TestPrintMasksSecretsAndTellsOrigins(t *testing.T) {
	t.Parallel()
	file := writeFile(t, strings.Join([]string{
		"# the instance of the north",
		"",
		"GUILDHALL_ADDR = \"0.0.0.0:9000\"  # behind the proxy",
		"GUILDHALL_DATABASE_URL='postgres://app:hunter2@db:5432/guildhall?sslmode=require'",
		"GUILDHALL_DATABASE_ADMIN_URL=postgres://owner@db/guildhall?password=hunter3&sslmode=require",
		"GUILDHALL_SMTP_URL=smtp://mailer:hunter4@mail:587?tls=mandatory",
		"GUILDHALL_LOG_LEVEL=debug",
		"GUILDHALL_RATE_LIMIT=on   # overridden below",
	}, "\n"))
	c, err := config.Load(file, []string{
		"GUILDHALL_RATE_LIMIT=FALSE", "GUILDHALL_LOG_LEVEL=",
		"GUILDHALL_TRUSTED_PROXIES= 10.1.2.3/8, 192.0.2.7 ,", "GUILDHALL_OUTBOUND_ALLOW=fd00::/8",
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.DemoEnabled() || c.RateLimitEnabled() || c.LogLevel != "info" {
		t.Errorf("the environment overrides the file, also with nothing: %+v", c)
	}
	var out bytes.Buffer
	if err := c.Print(&out); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "hunter") {
		t.Error("a password is printed")
	}
	golden(t, "set.txt", strings.ReplaceAll(out.String(), filepath.Dir(file)+"/", ""))
}

// What is printed can be put into a file and means the same again.
func TestPrintIsAFile(t *testing.T) {
	t.Parallel()
	first, err := config.Load("", []string{"GUILDHALL_ADDR=[::1]:7000", "GUILDHALL_MAIL_FROM=Post <post@example.com>", "GUILDHALL_TRUSTED_PROXIES=10.0.0.0/8,::1"})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := first.Print(&out); err != nil {
		t.Fatal(err)
	}
	second, err := config.Load(writeFile(t, out.String()), nil)
	if err != nil {
		t.Fatal(err)
	}
	if second.Addr != first.Addr || second.MailFrom != first.MailFrom || second.PublicURL != first.PublicURL ||
		strings.Join(second.TrustedProxies, ",") != "10.0.0.0/8,::1/128" || !second.DemoEnabled() {
		t.Errorf("read back: %+v", second)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	const dbURL = "GUILDHALL_DATABASE_URL=postgres://app:x@db/g"
	for name, c := range map[string]struct {
		file    string
		environ []string
		want    []string // each a part of the error
	}{
		"unknown in the environment": {environ: []string{"GUILDHALL_ADRR=:1"}, want: []string{`environment: no setting is called "GUILDHALL_ADRR"; did you mean GUILDHALL_ADDR?`}},
		"unknown in the file":        {file: "# one\n\nGUILDHALL_RATELIMIT=off", want: []string{`guildhall.env:3: no setting is called "GUILDHALL_RATELIMIT"; did you mean GUILDHALL_RATE_LIMIT?`}},
		"foreign name in the file":   {file: "PORT=1", want: []string{`guildhall.env:1: no setting is called "PORT"`}},
		"not a line":                 {file: "GUILDHALL_ADDR", want: []string{"guildhall.env:1: not a setting; write NAME=value"}},
		"open quote":                 {file: `GUILDHALL_ADDR=":1`, want: []string{"guildhall.env:1: GUILDHALL_ADDR: the value's quote is never closed"}},
		"text after the quote":       {file: `GUILDHALL_ADDR=":1" x`, want: []string{"text follows the closing quote"}},
		"twice":                      {file: "GUILDHALL_DEMO=on\nGUILDHALL_DEMO=off", want: []string{"guildhall.env:2: GUILDHALL_DEMO is set already at", "guildhall.env:1"}},
		"addr without port":          {environ: []string{"GUILDHALL_ADDR=localhost"}, want: []string{`environment: GUILDHALL_ADDR is "localhost"; write host:port`}},
		"addr with a huge port":      {environ: []string{"GUILDHALL_ADDR=:70000"}, want: []string{"GUILDHALL_ADDR"}},
		"bad in the file":            {file: "GUILDHALL_LOG_FORMAT=xml", want: []string{`guildhall.env:1: GUILDHALL_LOG_FORMAT is "xml"; write text or json`}},
		"level":                      {environ: []string{"GUILDHALL_LOG_LEVEL=loud"}, want: []string{"write debug, info, warn or error"}},
		"switch":                     {environ: []string{"GUILDHALL_DEMO=perhaps"}, want: []string{`GUILDHALL_DEMO is "perhaps"; write on or off`}},
		"public URL with a path":     {environ: []string{"GUILDHALL_PUBLIC_URL=https://a.example/app"}, want: []string{"GUILDHALL_PUBLIC_URL cannot be used"}},
		"public URL without scheme":  {environ: []string{"GUILDHALL_PUBLIC_URL=a.example"}, want: []string{"GUILDHALL_PUBLIC_URL cannot be used"}},
		"database scheme":            {environ: []string{"GUILDHALL_DATABASE_URL=mysql://app:hunter2@db/g"}, want: []string{"GUILDHALL_DATABASE_URL cannot be used; write postgres://"}},
		"database escape":            {environ: []string{"GUILDHALL_DATABASE_URL=postgres://app:hunter2%zz@db/g"}, want: []string{"with %XX for special characters"}},
		"admin alone":                {environ: []string{"GUILDHALL_DATABASE_ADMIN_URL=postgres://o:hunter2@db/g"}, want: []string{"set both, or neither"}},
		"mail server":                {environ: []string{"GUILDHALL_SMTP_URL=smtp://u:hunter2@mail?tls=maybe"}, want: []string{"GUILDHALL_SMTP_URL cannot be used"}},
		"mail from":                  {environ: []string{"GUILDHALL_MAIL_FROM=nobody"}, want: []string{`GUILDHALL_MAIL_FROM is "nobody"; write an address`}},
		"range":                      {environ: []string{"GUILDHALL_OUTBOUND_ALLOW=10.0.0.0/33"}, want: []string{`GUILDHALL_OUTBOUND_ALLOW holds "10.0.0.0/33"; write addresses or ranges`}},
		"days out of range":          {environ: []string{"GUILDHALL_WEBHOOK_RETENTION_DAYS=401"}, want: []string{`GUILDHALL_WEBHOOK_RETENTION_DAYS is "401"; write a number of days from 1 to 400`}},
		"days in words":              {environ: []string{"GUILDHALL_WEBHOOK_RETENTION_DAYS=30d"}, want: []string{`GUILDHALL_WEBHOOK_RETENTION_DAYS is "30d"`}},
		"all at once": {file: "GUILDHALL_LOG_LEVEL=9", environ: []string{"GUILDHALL_DEMOO=1", dbURL, "GUILDHALL_TRUSTED_PROXIES=proxy"},
			want: []string{"config: 3 to mend", "GUILDHALL_LOG_LEVEL", "did you mean GUILDHALL_DEMO?", "GUILDHALL_TRUSTED_PROXIES"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := ""
			if c.file != "" {
				file = writeFile(t, c.file)
			}
			_, err := config.Load(file, c.environ)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in:\n%v", part, err)
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error repeats a secret: %v", err)
			}
		})
	}
}

func TestMissingFile(t *testing.T) {
	t.Parallel()
	if _, err := config.Load(filepath.Join(t.TempDir(), "none.env"), nil); err == nil || !strings.Contains(err.Error(), "none.env") {
		t.Errorf("a file that is named must exist: %v", err)
	}
}

func TestForeignNamesPass(t *testing.T) {
	t.Parallel()
	_, err := config.Load("", []string{
		"GUILDHALL_SERVICE_HOST=10.0.0.1", "GUILDHALL_SERVICE_PORT_HTTP=80", "GUILDHALL_PORT=tcp://10.0.0.1:80",
		"GUILDHALL_PORT_80_TCP_ADDR=10.0.0.1", "GUILDHALL_TEST_DATABASE_URL=x",
	})
	if err != nil {
		t.Error(err)
	}
}

func TestWithAddr(t *testing.T) {
	t.Parallel()
	c, err := config.Load("", []string{"GUILDHALL_ADDR=127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if c.PublicURL != "" {
		t.Errorf("port 0 has no public URL, got %q", c.PublicURL)
	}
	if got := c.WithAddr("127.0.0.1:4711").PublicURL; got != "http://127.0.0.1:4711" {
		t.Errorf("PublicURL = %q", got)
	}
	if got := c.WithAddr("[::]:80").PublicURL; got != "http://localhost:80" {
		t.Errorf("PublicURL = %q", got)
	}
	c, err = config.Load("", []string{"GUILDHALL_ADDR=:0", "GUILDHALL_PUBLIC_URL=https://g.example/"})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.WithAddr("127.0.0.1:4711").PublicURL; got != "https://g.example" {
		t.Errorf("PublicURL = %q", got)
	}
}

func TestDemo(t *testing.T) {
	t.Parallel()
	const db = "GUILDHALL_DATABASE_URL=postgres:///g?host=/run/postgresql"
	for _, c := range []struct {
		environ []string
		want    bool
	}{
		{nil, true}, {[]string{db}, false}, {[]string{"GUILDHALL_DEMO=off"}, false}, {[]string{db, "GUILDHALL_DEMO=true"}, true},
	} {
		got, err := config.Load("", c.environ)
		if err != nil {
			t.Fatal(err)
		}
		if got.DemoEnabled() != c.want {
			t.Errorf("%v: DemoEnabled = %v", c.environ, got.DemoEnabled())
		}
	}
}

func TestReferenceIsComplete(t *testing.T) {
	t.Parallel()
	for _, e := range config.Reference() {
		if !strings.HasPrefix(e.Name, "GUILDHALL_") || e.Doc == "" || e.Default == "" || strings.HasSuffix(e.Doc, ".") {
			t.Errorf("entry: %+v", e)
		}
	}
}
