// Package obs sets up what an operator sees of a running process. Its logger adds to every record the attributes that the
// context carries (request, organisation, job), so that code deep below need not know them, and blanks the values of
// attributes whose name says that they are secret, so that one careless call does not put a token on disk.
package obs

import (
	"context"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
)

// Names of the attributes that are carried by a context. Use these with With, so that a search finds all of a request.
const (
	RequestID      = "request_id"
	OrganizationID = "organization_id"
	JobID          = "job_id"
)

const redacted = "[redacted]"

// New returns a logger that writes to w. Format is "text", "json", or "" for text where w is a terminal and json
// elsewhere. Level is "debug", "info", "warn" or "error". Another format counts as "" and another level as info: the
// configuration has refused them before, and a process without a log would be worse.
func New(w io.Writer, format, level string) *slog.Logger {
	least := slog.LevelInfo
	if err := least.UnmarshalText([]byte(level)); err != nil {
		least = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: least, ReplaceAttr: redact}
	if format == "text" || format != "json" && isTerminal(w) {
		return slog.New(handler{slog.NewTextHandler(w, options), nil})
	}
	return slog.New(handler{slog.NewJSONHandler(w, options), nil})
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

type carried struct{}

// With returns a context whose attributes are added to every record that is logged with it. An attribute replaces one of
// the same name that ctx already carries.
func With(ctx context.Context, attrs ...slog.Attr) context.Context {
	all := slices.Clone(Attrs(ctx)) // contexts branch: siblings must not share a backing array
	for _, a := range attrs {
		same := func(b slog.Attr) bool { return a.Key == b.Key }
		if i := slices.IndexFunc(all, same); i >= 0 {
			all[i] = a
		} else {
			all = append(all, a)
		}
	}
	return context.WithValue(ctx, carried{}, all)
}

// Attrs returns the attributes that ctx carries, oldest first. The slice must not be changed.
func Attrs(ctx context.Context) []slog.Attr {
	attrs, _ := ctx.Value(carried{}).([]slog.Attr)
	return attrs
}

// handler adds the attributes of the context at the top level, outside of any group: that is where searches look for
// them. slog's own handlers put everything after WithGroup inside it, so groups are kept here and applied per record.
type handler struct {
	next   slog.Handler
	groups []group
}

// group is one WithGroup or, without a name, one WithAttrs that came after a group.
type group struct {
	name  string
	attrs []slog.Attr
}

func (h handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	if len(h.groups) == 0 {
		return handler{h.next.WithAttrs(attrs), nil}
	}
	return handler{h.next, append(slices.Clone(h.groups), group{attrs: attrs})}
}

func (h handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return handler{h.next, append(slices.Clone(h.groups), group{name: name})}
}

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	attrs := Attrs(ctx)
	if len(h.groups) == 0 {
		if len(attrs) > 0 {
			r = r.Clone()
			r.AddAttrs(attrs...)
		}
		return h.next.Handle(ctx, r)
	}
	var inner []slog.Attr
	r.Attrs(func(a slog.Attr) bool { inner = append(inner, a); return true })
	for _, g := range slices.Backward(h.groups) {
		if g.name == "" {
			inner = append(slices.Clone(g.attrs), inner...)
		} else {
			inner = []slog.Attr{{Key: g.name, Value: slog.GroupValue(inner...)}}
		}
	}
	out := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	out.AddAttrs(inner...)
	out.AddAttrs(attrs...)
	return h.next.Handle(ctx, out)
}

// redact blanks secret values. It is called for every attribute that is no group, however deep, and for the members of
// groups; a group of a secret name is blanked through the names of the groups around a value.
func redact(groups []string, a slog.Attr) slog.Attr {
	if secret(a.Key) || slices.ContainsFunc(groups, secret) {
		return slog.String(a.Key, redacted)
	}
	return a
}

// secret tells whether the last word of an attribute's name is one of those for credentials: "key" and "api_key" are,
// "key_id" and "monkey" are not.
func secret(name string) bool {
	name = strings.ToLower(strings.ReplaceAll(name, "-", "_"))
	if i := strings.LastIndexByte(name, '_'); i >= 0 {
		name = name[i+1:]
	}
	switch name {
	case "password", "token", "secret", "authorization", "key", "cookie":
		return true
	}
	return false
}
