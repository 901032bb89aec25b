package identity

import (
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/seal"
)

func TestRefreshRaces(t *testing.T) {
	b := setup(t)
	_, token := b.person("ann@example.com")
	other := b.start() // the second replica
	for round := range 6 {
		var mu sync.Mutex
		successors := map[string]int{}
		var g errgroup.Group
		for i := range 50 {
			r := b.replica
			if i%2 == 1 {
				r = other
			}
			g.Go(func() error {
				a := r.call(t, "POST", "/v1/auth/refresh", "", m{"refresh_token": token})
				mu.Lock()
				defer mu.Unlock()
				if a.status != 200 {
					t.Errorf("round %d: %d %s", round, a.status, a.raw)
					return nil
				}
				successors[a.str("refresh_token")]++
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
		if len(successors) != 1 {
			t.Fatalf("round %d: %d successors", round, len(successors))
		}
		for next := range successors {
			if next == token {
				t.Fatal("the token did not change")
			}
			token = next
		}
	}
	if n := b.number(`select count(*) from sessions where revoked_at is null and generation = 7`); n != 1 {
		t.Error("the session is not where it should be")
	}
	if n := b.number(`select count(*) from identity_log where type = 'session.reused'`); n != 0 {
		t.Error("a false alarm")
	}
}

func TestReuseRevokesTheFamily(t *testing.T) {
	for name, late := range map[string]bool{"two generations back": false, "one generation back, too late": true} {
		t.Run(name, func(t *testing.T) {
			b := setup(t)
			access, first := b.person("ann@example.com")
			newest := b.post("/v1/auth/refresh", "", m{"refresh_token": first}).want(200)
			if late {
				b.exec(`update sessions set rotated_at = now() - interval '11 seconds'`)
			} else {
				newest = b.post("/v1/auth/refresh", "", m{"refresh_token": newest.str("refresh_token")}).want(200)
			}
			_, elsewhere := b.login("ann@example.com", goodPassword)
			// Any number of thieves, or of owners, at once.
			var g errgroup.Group
			for range 20 {
				g.Go(func() error {
					return b.call(t, "POST", "/v1/auth/refresh", "", m{"refresh_token": first}).is(401, "unauthenticated")
				})
			}
			if err := g.Wait(); err != nil {
				t.Error(err)
			}
			b.post("/v1/auth/refresh", "", m{"refresh_token": newest.str("refresh_token")}).want(401)
			for _, tok := range []string{access, newest.str("access_token")} {
				b.get("/v1/users/me", tok).want(401)
			}
			if n := b.number(`select count(*) from identity_log where type = 'session.reused' and user_id is not null`); n != 1 {
				t.Errorf("%d notes", n)
			}
			b.post("/v1/auth/refresh", "", m{"refresh_token": elsewhere}).want(200) // another family
		})
	}
}

func TestSessionsEnd(t *testing.T) {
	for name, sql := range map[string]string{
		"idle for 30 days": `update sessions set rotated_at = now() - interval '30 days 1 second'`,
		"after 90 days":    `update sessions set expires_at = now()`,
		"revoked":          `update sessions set revoked_at = now()`,
		"purged":           `delete from sessions`,
	} {
		t.Run(name, func(t *testing.T) {
			b := setup(t)
			_, token := b.person("ann@example.com")
			b.exec(sql)
			b.post("/v1/auth/refresh", "", m{"refresh_token": token}).want(401, "unauthenticated")
			if n := b.number(`select count(*) from identity_log where type = 'session.reused'`); n != 0 {
				t.Error("an end was taken for a theft")
			}
		})
	}
}

func TestAccessTokenNeverOutlastsItsSession(t *testing.T) {
	b := setup(t)
	_, token := b.person("ann@example.com")
	b.exec(`update sessions set expires_at = now() + interval '100 seconds'`)
	r := b.post("/v1/auth/refresh", "", m{"refresh_token": token}).want(200)
	if n := r.body["expires_in"].(float64); n > 100 || n < 60 {
		t.Errorf("expires in %v", n)
	}
}

func TestMadeUpRefreshTokensDoNothing(t *testing.T) {
	b := setup(t)
	_, token := b.person("ann@example.com")
	p, ok := parseRefresh(token)
	if !ok {
		t.Fatal("a good token does not parse")
	}
	foreign, err := seal.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	flip := []byte(token)
	flip[len(flip)-2] ^= 1
	for i, bad := range []string{
		"x", "ghr_", string(flip), token + "A", token[:len(token)-1], "ghr_" + token,
		refreshToken(b.keys, p.session, 1, []byte("another nonce")), refreshToken(foreign, p.session, 1, nil),
		refreshToken(b.keys, id.New(), 1, nil), refreshToken(b.keys, p.session, 2, nil),
	} {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			b.call(t, "POST", "/v1/auth/refresh", "", m{"refresh_token": bad}).want(401, "unauthenticated")
		})
	}
	b.post("/v1/auth/refresh", "", m{"refresh_token": token}).want(200)
}

func TestRefreshTokensReadBack(t *testing.T) {
	t.Parallel()
	keys, err := seal.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		session := id.New()
		generation := rapid.Int64Min(1).Draw(t, "generation")
		nonce := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "nonce")
		s := refreshToken(keys, session, generation, nonce)
		p, ok := parseRefresh(s)
		if !ok || p.session != session || p.generation != generation {
			t.Fatalf("%s reads back as %+v", s, p)
		}
		if s != refreshToken(keys, session, generation, nonce) {
			t.Fatal("not the same twice")
		}
	})
	rapid.Check(t, func(t *rapid.T) { parseRefresh(rapid.String().Draw(t, "token")) })
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		at, sent       int64
		live, graceful bool
		want           verdict
	}{
		{5, 5, true, true, advance}, {5, 5, true, false, advance}, {5, 4, true, true, repeat}, {5, 4, true, false, reuse},
		{5, 3, true, true, reuse}, {5, 1, true, false, reuse}, {5, 6, true, true, refuse}, {5, 5, false, true, refuse},
		{5, 4, false, true, refuse}, {5, 1, false, false, refuse}, {1, 1, true, true, advance},
	} {
		if got := (family{Generation: c.at, Live: c.live, Graceful: c.graceful}).judge(c.sent); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
