package config_test

import (
	"strings"
	"testing"

	"github.com/guildhall-dev/guildhall/internal/config"
)

func TestRemote(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "GUILDHALL_URL=https://guildhall.example.com/base/\nGUILDHALL_API_KEY=ghk_fromthefile\nGUILDHALL_ADDR=127.0.0.1:9000\n")
	r, err := config.LoadRemote(file, []string{"GUILDHALL_API_KEY=ghk_fromtheenvironment"})
	if err != nil || r.URL != "https://guildhall.example.com/base" || r.APIKey != "ghk_fromtheenvironment" {
		t.Errorf("%+v, %v", r, err)
	}
	c, err := config.Load(file, []string{"GUILDHALL_URL=http://127.0.0.1:1"})
	if err != nil || c.Addr != "127.0.0.1:9000" {
		t.Errorf("the server has to pass over the names of its clients: %+v, %v", c, err)
	}
}

func TestRemoteRefusals(t *testing.T) {
	t.Parallel()
	const goodURL, goodKey = "GUILDHALL_URL=http://127.0.0.1:8080", "GUILDHALL_API_KEY=ghk_hunter2"
	for name, c := range map[string]struct {
		environ []string
		want    string
	}{
		"nothing":        {nil, "GUILDHALL_URL is not set"},
		"no key":         {[]string{goodURL}, "GUILDHALL_API_KEY is not set"},
		"no scheme":      {[]string{"GUILDHALL_URL=guildhall.example.com", goodKey}, "GUILDHALL_URL cannot be used"},
		"another scheme": {[]string{"GUILDHALL_URL=ftp://g.example", goodKey}, "GUILDHALL_URL cannot be used"},
		"a password":     {[]string{"GUILDHALL_URL=http://a:hunter2@g.example", goodKey}, "GUILDHALL_URL cannot be used"},
		"another token":  {[]string{goodURL, "GUILDHALL_API_KEY=hunter2"}, "GUILDHALL_API_KEY is no API key"},
		"a broken key":   {[]string{goodURL, "GUILDHALL_API_KEY=ghk_hunter2\r\nX: y"}, "GUILDHALL_API_KEY is no API key"},
		"a misspelling":  {[]string{goodURL, goodKey, "GUILDHALL_API_KEYS=x"}, "did you mean GUILDHALL_API_KEY?"},
	} {
		_, err := config.LoadRemote("", c.environ)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
