package sdk

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
)

// Log writes into Guildhall's log, with the plugin's name and the organisation.
// What a plugin prints goes there too, without knowing for whom it was.
func (c *Call) Log() *slog.Logger { return slog.New(&logHandler{c: c}) }

type logHandler struct {
	c      *Call
	prefix string // of groups: "a.b."
	fields map[string]string
}

// Enabled leaves the choice to Guildhall.
func (h *logHandler) Enabled(context.Context, slog.Level) bool { return true }

// Handle sends a record even when the request was given up meanwhile.
func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	fields := maps.Clone(h.fields)
	if fields == nil {
		fields = map[string]string{}
	}
	r.Attrs(func(a slog.Attr) bool { flatten(fields, h.prefix, a); return true })
	_, err := h.c.host.Log(h.c.granted(ctx), &pluginpb.LogRequest{Level: level(r.Level), Message: text(r.Message), Fields: fields})
	if err != nil {
		fmt.Fprintln(h.c.stderr, r.Level, r.Message, fields)
	}
	return err
}

// WithAttrs adds to every record.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	n := &logHandler{c: h.c, prefix: h.prefix, fields: maps.Clone(h.fields)}
	if n.fields == nil {
		n.fields = map[string]string{}
	}
	for _, a := range attrs {
		flatten(n.fields, h.prefix, a)
	}
	return n
}

// WithGroup puts a name before those of what follows.
func (h *logHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return &logHandler{c: h.c, prefix: h.prefix + name + ".", fields: h.fields}
}

func flatten(to map[string]string, prefix string, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() != slog.KindGroup {
		to[text(prefix+a.Key)] = text(v.String())
		return
	}
	if a.Key != "" {
		prefix += a.Key + "."
	}
	for _, inner := range v.Group() {
		flatten(to, prefix, inner)
	}
}

func level(l slog.Level) pluginpb.Level {
	switch {
	case l >= slog.LevelError:
		return pluginpb.Level_LEVEL_ERROR
	case l >= slog.LevelWarn:
		return pluginpb.Level_LEVEL_WARN
	case l >= slog.LevelInfo:
		return pluginpb.Level_LEVEL_INFO
	}
	return pluginpb.Level_LEVEL_DEBUG
}
