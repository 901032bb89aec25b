package obs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/guildhall-dev/guildhall/internal/obs"
)

// setup returns a logger that writes JSON, and a func that reads the one record written so far.
func setup(t *testing.T) (*slog.Logger, func() map[string]any) {
	t.Helper()
	var out bytes.Buffer
	log := obs.New(&out, "json", "debug")
	return log, func() map[string]any {
		t.Helper()
		record := map[string]any{}
		if err := json.Unmarshal(out.Bytes(), &record); err != nil {
			t.Fatalf("%v in %q", err, out.String())
		}
		return record
	}
}

func TestFormats(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ format, level, want string }{
		{"text", "", "level=INFO msg=hello n=1"},
		{"json", "info", `"level":"INFO","msg":"hello","n":1}`},
		{"", "info", `"msg":"hello"`}, // a buffer is no terminal
		{"text", "warn", ""},
		{"xml", "loud", `"msg":"hello"`},
	} {
		var out bytes.Buffer
		log := obs.New(&out, c.format, c.level)
		log.Info("hello", "n", 1)
		if !strings.Contains(out.String(), c.want) || c.want == "" && out.Len() > 0 {
			t.Errorf("%q, %q wrote %q", c.format, c.level, out.String())
		}
	}
}

func TestFileIsJSON(t *testing.T) {
	t.Parallel()
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	log := obs.New(f, "", "")
	log.Info("hello")
	text, err := os.ReadFile(f.Name())
	if err != nil || !json.Valid(text) {
		t.Errorf("%v, wrote %q", err, text)
	}
}

func TestContextAttributes(t *testing.T) {
	t.Parallel()
	log, read := setup(t)
	ctx := obs.With(context.Background(), slog.String(obs.RequestID, "r1"), slog.String(obs.JobID, "j1"))
	ctx = obs.With(ctx, slog.String(obs.OrganizationID, "o1"), slog.String(obs.JobID, "j2"))
	log.With("part", "api").InfoContext(ctx, "hello", "n", 1)
	got := read()
	for key, want := range map[string]any{"request_id": "r1", "organization_id": "o1", "job_id": "j2", "part": "api", "n": 1.0} {
		if got[key] != want {
			t.Errorf("%s = %v, want %v", key, got[key], want)
		}
	}
}

func TestBranchesDoNotMix(t *testing.T) {
	t.Parallel()
	root := obs.With(context.Background(), slog.Int("a", 1), slog.Int("b", 1), slog.Int("c", 1))
	one, two := obs.With(root, slog.String("d", "one")), obs.With(root, slog.String("d", "two"), slog.Int("a", 2))
	if got := obs.Attrs(one)[3].Value.String(); got != "one" {
		t.Errorf("a sibling overwrote it: %s", got)
	}
	if obs.Attrs(root)[0].Value.Int64() != 1 || obs.Attrs(two)[0].Value.Int64() != 2 || len(obs.Attrs(root)) != 3 {
		t.Error("a child changed its parent")
	}
	if obs.Attrs(context.Background()) != nil {
		t.Error("an empty context carries nothing")
	}
}

// Inside groups the context's attributes stay at the top level.
func TestGroups(t *testing.T) {
	t.Parallel()
	log, read := setup(t)
	ctx := obs.With(context.Background(), slog.String(obs.RequestID, "r1"))
	log.With("x", 1).WithGroup("http").With("method", "GET", "token", "hunter2").WithGroup("reply").InfoContext(ctx, "hello", "status", 200)
	got, err := json.Marshal(read())
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"http":{"method":"GET","reply":{"status":200},"token":"[redacted]"}`, `"request_id":"r1"`, `"x":1`} {
		if !strings.Contains(string(got), part) {
			t.Errorf("%s is not in %s", part, got)
		}
	}
}

type login struct{ name, password string }

func (l login) LogValue() slog.Value {
	return slog.GroupValue(slog.String("name", l.name), slog.String("password", l.password))
}

func TestRedaction(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	for name, attr := range map[string]slog.Attr{
		"password":  slog.String("password", secret),
		"upper":     slog.String("Authorization", "Bearer "+secret),
		"snake":     slog.String("refresh_token", secret),
		"dash":      slog.String("Set-Cookie", secret),
		"key":       slog.Any("key", []byte(secret)),
		"any":       slog.Any("client_secret", struct{ V string }{secret}),
		"nested":    slog.Group("outer", slog.Group("inner", slog.String("api-key", secret))),
		"group":     slog.Group("secret", slog.String("value", secret)),
		"LogValuer": slog.Any("login", login{"ann", secret}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, format := range []string{"json", "text"} {
				for way, write := range map[string]func(*slog.Logger){
					"record":  func(l *slog.Logger) { l.LogAttrs(context.Background(), slog.LevelInfo, "m", attr) },
					"with":    func(l *slog.Logger) { l.With(attr).Info("m") },
					"grouped": func(l *slog.Logger) { l.WithGroup("g").With(attr).Info("m") },
					"context": func(l *slog.Logger) { l.InfoContext(obs.With(context.Background(), attr), "m") },
				} {
					var out bytes.Buffer
					log := obs.New(&out, format, "")
					write(log)
					if strings.Contains(out.String(), secret) || !strings.Contains(out.String(), "[redacted]") {
						t.Errorf("%s, %s: %s", format, way, out.String())
					}
				}
			}
		})
	}
	log, read := setup(t)
	log.Info("m", "key_id", "k1", "monkey", "m1", "tokens", 3)
	if got := read(); got["key_id"] != "k1" || got["monkey"] != "m1" || got["tokens"] != 3.0 {
		t.Errorf("too much is blanked: %v", got)
	}
}
