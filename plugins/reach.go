package plugins

import (
	"encoding/json"
	"log/slog"
	"net/url"
	"strings"

	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
)

// levels are the log's of the contract's.
var levels = map[pluginpb.Level]slog.Level{
	pluginpb.Level_LEVEL_DEBUG: slog.LevelDebug, pluginpb.Level_LEVEL_INFO: slog.LevelInfo,
	pluginpb.Level_LEVEL_WARN: slog.LevelWarn, pluginpb.Level_LEVEL_ERROR: slog.LevelError,
}

// setting is a string of the settings, "/url".
func (i *Installation) setting(pointer string) string {
	var fields map[string]any
	if json.Unmarshal(i.clear, &fields) != nil {
		return ""
	}
	s, _ := fields[strings.TrimPrefix(pointer, "/")].(string)
	return s
}

// hostMatches holds a granted host, "hooks.example.com", "*.example.com" or
// either with a port, against an address. Without a port the grant is for the
// standard ports.
func hostMatches(granted string, u *url.URL) bool {
	name, port, hasPort := strings.Cut(granted, ":")
	host := strings.ToLower(u.Hostname())
	if hasPort && port != portOf(u) || !hasPort && u.Port() != "" && u.Port() != standardPort(u.Scheme) {
		return false
	}
	if parent, ok := strings.CutPrefix(name, "*"); ok { // ".example.com"
		return strings.HasSuffix(host, parent) && len(host) > len(parent)
	}
	return host == name
}

// sameHost reports whether the address in a setting has the same scheme, host
// and port as u.
func sameHost(setting string, u *url.URL) bool {
	s, err := url.Parse(setting)
	return err == nil && s.Host != "" && s.Scheme == u.Scheme && strings.EqualFold(s.Hostname(), u.Hostname()) && portOf(s) == portOf(u)
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return standardPort(u.Scheme)
}

func standardPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}
