package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Remote is how the commands that are a client of an instance reach it. Its two names may stand beside those of the
// server, which ignores them: a developer has both in one environment.
type Remote struct {
	URL    string // of the instance, without a slash at the end
	APIKey string // ghk_…
}

const (
	remoteURL = "GUILDHALL_URL"
	remoteKey = "GUILDHALL_API_KEY"
)

// LoadRemote reads the two names from file and environ as Load reads the others. Both must be set. The error says what
// to write, and never repeats the key.
func LoadRemote(file string, environ []string) (Remote, error) {
	s, problems, err := read(file, environ)
	if err != nil {
		return Remote{}, err
	}
	r := Remote{URL: s[remoteURL].value, APIKey: s[remoteKey].value}
	switch u, err := url.Parse(r.URL); {
	case r.URL == "":
		problems = append(problems, errors.New(remoteURL+" is not set; write the address of the instance, for example http://127.0.0.1:8080"))
	case err != nil || !slices.Contains([]string{"http", "https"}, u.Scheme) || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		problems = append(problems, errors.New(remoteURL+" cannot be used; write http or https and a host, for example https://guildhall.example.com"))
	default:
		r.URL = strings.TrimRight(u.String(), "/")
	}
	switch {
	case r.APIKey == "":
		problems = append(problems, errors.New(remoteKey+" is not set; write an API key of the organisation (POST /v1/api-keys makes one)"))
	case !strings.HasPrefix(r.APIKey, "ghk_") || strings.ContainsFunc(r.APIKey, func(c rune) bool { return c <= ' ' || c > '~' }):
		problems = append(problems, errors.New(remoteKey+" is no API key; a key begins with ghk_"))
	}
	if len(problems) > 0 {
		return Remote{}, fmt.Errorf("config: %d to mend:\n%w", len(problems), errors.Join(problems...))
	}
	return r, nil
}
