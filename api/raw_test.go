package api

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

type rawInput struct{ RawBody []byte }

type jsonInput struct {
	Body struct {
		Name string `json:"name" maxLength:"10"`
	}
}

type echo struct {
	Body   string `json:"body"`
	Header string `json:"header"`
}

// rawRouter has one operation that takes any bytes and one beside it that
// takes JSON.
func rawRouter(t *testing.T) *Router {
	t.Helper()
	r := NewRouter(&Kernel{Log: slog.New(slog.DiscardHandler)}).Tagged("raw")
	Call(r, Op{ID: "take-raw", Route: "POST /raw", Summary: "s", Doc: "d", Access: Public, MaxBody: 100}, func(ctx context.Context, in *rawInput) (echo, error) {
		return echo{fmt.Sprintf("%x", in.RawBody), RequestHeader(ctx, "X-Any")}, nil
	})
	Call(r, Op{ID: "take-json", Route: "POST /json", Summary: "s", Doc: "d", Access: Public}, func(_ context.Context, in *jsonInput) (echo, error) {
		return echo{Body: in.Body.Name}, nil
	})
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRawBodyIsTakenAsItWasSent(t *testing.T) {
	t.Parallel()
	h := rawRouter(t).Handler()
	send := func(path, contentType string, body []byte) (int, string) {
		req := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
		req.Header.Set("X-Any", "seen")
		if contentType != "" {
			req.Header.Set("Content-Type", contentType)
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		return rec.Code, rec.Body.String()
	}
	for _, contentType := range []string{"", "application/json", "application/x-www-form-urlencoded", "text/plain; charset=latin1", "nonsense"} {
		for _, body := range []string{"", "{", "null", `{"a":1,"a":2}`, "\x00\xff", `{"name":"a\u0000"}`, strings.Repeat("x", 100)} {
			status, got := send("/v1/raw", contentType, []byte(body))
			if want := fmt.Sprintf(`{"body":"%x","header":"seen"}`, body); status != http.StatusCreated || strings.TrimSpace(got) != want {
				t.Errorf("%q as %q: %d %s, want %s", body, contentType, status, got, want)
			}
			if status, got := send("/v1/json", contentType, []byte(body)); status < 400 || status >= 500 {
				t.Errorf("the operation beside it takes %q as %q: %d %s", body, contentType, status, got)
			}
		}
	}
	if status, got := send("/v1/raw", "", bytes.Repeat([]byte("x"), 101)); status != http.StatusRequestEntityTooLarge || !strings.Contains(got, `"too_large"`) {
		t.Errorf("a byte too much: %d %s", status, got)
	}
}

func TestRawBodyIsDocumented(t *testing.T) {
	t.Parallel()
	body := rawRouter(t).OpenAPI().Paths["/v1/raw"].Post.RequestBody
	if body.Required || len(body.Content) != 2 || body.Content["application/json"] == nil || *body.Content["application/octet-stream"].Schema.MaxLength != 100 {
		t.Errorf("the body is documented as %+v", body)
	}
}
