package api_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/tenant/tenanttest"
)

type nameInput struct {
	Body struct {
		Name string `json:"name" maxLength:"100"`
	}
}

type named struct {
	Name string `json:"name"`
}

// What runs before a write holds no connection, is asked once, and cannot take
// back an answer that was given already.
func TestBeforeAWrite(t *testing.T) {
	t.Parallel()
	db, err := tenant.Open(t.Context(), tenant.Options{URL: tenanttest.New(t).AppURL, MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	catalogue, err := authz.NewCatalogue(nil)
	if err != nil {
		t.Fatal(err)
	}
	scope := tenant.ForSystem(id.New())
	scope.Actor = tenant.Actor{Kind: tenant.User, ID: id.New()}
	allowed := true
	r := api.NewRouter(&api.Kernel{DB: db, Catalogue: catalogue, Log: slog.New(slog.DiscardHandler), Identify: func(context.Context, api.Credentials) (*api.Caller, error) {
		if !allowed {
			return nil, api.Unauthenticated()
		}
		return &api.Caller{Scope: scope, Organization: scope.Organization}, nil
	}})
	open, asked, ran := true, 0, 0
	api.Write(r.Tagged("names"), api.Op{ID: "take-name", Route: "POST /names", Summary: "Take a name", Doc: "Takes a name.", AnyMember: true},
		func(_ context.Context, _ *tenant.Tx, in *nameInput) (named, error) {
			ran++
			return named{in.Body.Name}, nil
		},
		func(ctx context.Context, in *nameInput) error {
			asked++
			// The only connection of the pool is free.
			if _, err := tenant.Value[int](ctx, db.View(scope), `select 1`); err != nil {
				return err
			}
			if !open || in.Body.Name == "bad" {
				return fault.Invalidf("/name", "this name is not for you")
			}
			return nil
		})
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	send := func(name, key string, want int) {
		t.Helper()
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/names", strings.NewReader(`{"name":"`+name+`"}`))
		req.Header.Set("Authorization", "Bearer x")
		req.Header.Set("Content-Type", "application/json")
		if key != "" {
			req.Header.Set("Idempotency-Key", key)
		}
		rec := httptest.NewRecorder()
		r.Handler().ServeHTTP(rec, req)
		if rec.Code != want {
			t.Errorf("%s under key %q: status %d, want %d: %s", name, key, rec.Code, want, rec.Body)
		}
		if want == 422 && !strings.Contains(rec.Body.String(), `"/name"`) {
			t.Errorf("the refusal does not say where: %s", rec.Body)
		}
	}
	send("good", "k1", 201)
	send("bad", "k2", 422)
	send("bad", "", 422)
	if asked != 3 || ran != 1 {
		t.Fatalf("asked %d times, ran %d times", asked, ran)
	}
	open = false // the world outside has changed
	send("good", "k1", 201)
	send("good", "k3", 422)
	if ran != 1 {
		t.Fatalf("ran %d times", ran)
	}
	allowed = false
	send("good", "", 401)
	if asked != 5 {
		t.Fatalf("asked %d times: nobody's request got that far", asked)
	}
}
