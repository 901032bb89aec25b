package config

import (
	"fmt"
	"io"
	"net/url"
	"reflect"
	"strings"
)

// Entry describes one setting to an operator.
type Entry struct {
	Name    string // the environment name, which is also the name in a file
	Default string // the value when absent; in parentheses where the default is a behaviour and not a value
	Doc     string // one line, lower case, without a full stop
}

// Reference lists every setting in the order in which people read about them.
func Reference() []Entry {
	t := reflect.TypeFor[Config]()
	var out []Entry
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		name, ok := tag.Lookup("env")
		if !ok {
			continue
		}
		standard, ok := tag.Lookup("envDefault")
		if !ok {
			standard = tag.Get("default")
		}
		out = append(out, Entry{Name: name, Default: standard, Doc: tag.Get("doc")})
	}
	return out
}

// Print writes the configuration in force, one NAME=value a line in the form a file may hold, each with a comment that
// says where the value came from: default, environment, or the file's line. Passwords inside URLs are masked.
func (c Config) Print(w io.Writer) error {
	v, t := reflect.ValueOf(c), reflect.TypeFor[Config]()
	var lines, origins []string
	width := 0
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		name, ok := tag.Lookup("env")
		if !ok {
			continue
		}
		value := ""
		switch f := v.Field(i).Interface().(type) {
		case string:
			value = f
		case []string:
			value = strings.Join(f, ",")
		}
		if name == "GUILDHALL_DEMO" {
			value = map[bool]string{true: "on", false: "off"}[c.DemoEnabled()]
		}
		if tag.Get("secret") != "" {
			value = maskURL(value)
		}
		origin := c.origin[name]
		if origin == "" {
			origin = "default"
			if value == "" {
				origin += " " + tag.Get("default")
			}
		}
		line := name + "=" + value
		lines, origins, width = append(lines, line), append(origins, origin), max(width, len(line))
	}
	for i, line := range lines {
		if _, err := fmt.Fprintf(w, "%-*s  # %s\n", width, line, origins[i]); err != nil {
			return fmt.Errorf("config: print: %w", err)
		}
	}
	return nil
}

// maskURL hides the password of a URL, in the authority and in the query, where Postgres also accepts it.
func maskURL(raw string) string {
	if raw == "" {
		return ""
	}
	u, err := url.Parse(raw)
	if err != nil {
		return "xxxxx"
	}
	q, masked := u.Query(), false
	for key := range q {
		if k := strings.ToLower(key); strings.Contains(k, "pass") || strings.Contains(k, "secret") || strings.Contains(k, "token") {
			q.Set(key, "xxxxx")
			masked = true
		}
	}
	if masked {
		u.RawQuery = q.Encode()
	}
	return u.Redacted()
}
