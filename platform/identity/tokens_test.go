package identity

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/sync/errgroup"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
)

const testIssuer = "https://guildhall.example.com"

func TestVerify(t *testing.T) {
	b := setup(t)
	ctx := context.Background()
	user, session := id.New(), id.New()
	raw, seconds, err := b.f.tokens.sign(ctx, user, session, b.now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // cold and warm
		u, s, expires, err := b.f.Tokens().Verify(ctx, raw)
		if err != nil || u != user || s != session || seconds != 900 || time.Until(expires).Round(time.Minute) != 15*time.Minute {
			t.Fatalf("%v %v %v %v", u, s, expires, err)
		}
	}
	if _, _, _, err := b.start().f.Tokens().Verify(ctx, raw); err != nil {
		t.Errorf("another replica: %v", err)
	}
	b.ahead.Store(int64(15*time.Minute + time.Second))
	for range 2 {
		if _, _, _, err := b.f.Tokens().Verify(ctx, raw); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("an expired token: %v", err)
		}
	}
	b.ahead.Store(0)
}

func (r *replica) get(t *testing.T, path, token string) *reply {
	return r.call(t, "GET", path, token, nil)
}

// forge signs claims as the caller likes.
func forge(t *testing.T, key jose.SigningKey, typ string, c any, header map[jose.HeaderKey]any) string {
	t.Helper()
	opts := &jose.SignerOptions{ExtraHeaders: header}
	if typ != "" {
		opts = opts.WithType(jose.ContentType(typ))
	}
	signer, err := jose.NewSigner(key, opts)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jwt.Signed(signer).Claims(c).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestForgedTokensAreRefused(t *testing.T) {
	b := setup(t)
	ctx := context.Background()
	good, _, err := b.f.tokens.sign(ctx, id.New(), id.New(), b.now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	row := b.f.tokens.keys.current.Load().list[0]
	seed, err := b.keys.Open(row.Sealed, keyPlace(row.ID))
	if err != nil {
		t.Fatal(err)
	}
	ours := jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: ed25519.NewKeyFromSeed(seed), KeyID: row.ID}}
	noKid := jose.SigningKey{Algorithm: jose.EdDSA, Key: ed25519.NewKeyFromSeed(seed)}
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	theirs := jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: stranger, KeyID: row.ID}}
	secret := jose.SigningKey{Algorithm: jose.HS256, Key: jose.JSONWebKey{Key: append([]byte{}, row.Public...), KeyID: row.ID}}
	now := time.Now()
	base := func(change func(map[string]any)) map[string]any {
		c := map[string]any{
			"iss": testIssuer, "aud": "guildhall", "sub": id.New().String(), "sid": id.New().String(),
			"iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		}
		if change != nil {
			change(c)
		}
		return c
	}
	set := func(k string, v any) map[string]any { return base(func(c map[string]any) { c[k] = v }) }
	without := func(k string) map[string]any { return base(func(c map[string]any) { delete(c, k) }) }
	if _, _, _, err := b.f.tokens.Verify(ctx, forge(t, ours, tokenType, base(nil), nil)); err != nil {
		t.Fatalf("the forger's own measure: %v", err)
	}
	parts := strings.Split(good, ".")
	b64 := base64.RawURLEncoding.EncodeToString
	embedded := jose.JSONWebKey{Key: stranger.Public(), KeyID: row.ID}
	for name, raw := range map[string]string{
		"nothing": "", "words": "not a token", "dots": "..", "long": strings.Repeat("a", 1<<16),
		"no signature":     parts[0] + "." + parts[1] + ".",
		"alg none":         b64([]byte(`{"alg":"none","typ":"at+jwt","kid":"`+row.ID+`"}`)) + "." + parts[1] + ".",
		"another payload":  parts[0] + "." + b64([]byte(`{"sub":"x"}`)) + "." + parts[2],
		"public as secret": forge(t, secret, tokenType, base(nil), nil),
		"another key":      forge(t, theirs, tokenType, base(nil), nil),
		"key in header":    forge(t, theirs, tokenType, base(nil), map[jose.HeaderKey]any{"jwk": embedded}),
		"address of keys":  forge(t, theirs, tokenType, base(nil), map[jose.HeaderKey]any{"jku": "https://evil.example/jwks.json"}),
		"no type":          forge(t, ours, "", base(nil), nil),
		"another type":     forge(t, ours, "JWT", base(nil), nil),
		"no kid":           forge(t, noKid, tokenType, base(nil), nil),
		"another issuer":   forge(t, ours, tokenType, set("iss", "https://evil.example"), nil),
		"no issuer":        forge(t, ours, tokenType, without("iss"), nil),
		"another audience": forge(t, ours, tokenType, set("aud", "webhooks"), nil),
		"no audience":      forge(t, ours, tokenType, without("aud"), nil),
		"expired":          forge(t, ours, tokenType, set("exp", now.Add(-time.Second).Unix()), nil),
		"no expiry":        forge(t, ours, tokenType, without("exp"), nil),
		"of tomorrow":      forge(t, ours, tokenType, set("iat", now.Add(time.Hour).Unix()), nil),
		"no time":          forge(t, ours, tokenType, without("iat"), nil),
		"no person":        forge(t, ours, tokenType, without("sub"), nil),
		"no session":       forge(t, ours, tokenType, without("sid"), nil),
		"nil person":       forge(t, ours, tokenType, set("sub", id.Nil.String()), nil),
		"numeric person":   forge(t, ours, tokenType, set("sub", 7), nil),
	} {
		if _, _, _, err := b.f.tokens.Verify(ctx, raw); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeysRotate(t *testing.T) {
	b := setup(t)
	ctx := context.Background()
	other := b.start()
	sign := func(f *Feature) (string, error) {
		raw, _, err := f.tokens.sign(ctx, id.New(), id.New(), b.now().Add(time.Hour))
		return raw, err
	}
	// Both replicas find that there is no key, at once and many times over.
	var g errgroup.Group
	for i := range 20 {
		f := b.f
		if i%2 == 0 {
			f = other.f
		}
		g.Go(func() error { _, err := sign(f); return err })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := b.number(`select count(*) from signing_keys`); n != 1 {
		t.Fatalf("%d keys", n)
	}
	// A day before its end the next one is made, and published before it signs.
	b.ahead.Store(int64(keySigns - keyAhead + time.Minute))
	old, err := sign(b.f)
	if err != nil {
		t.Fatal(err)
	}
	keys := other.get(t, "/.well-known/jwks.json", "").want(200)
	if n := len(keys.body["keys"].([]any)); n != 2 || strings.Contains(keys.raw, `"d"`) {
		t.Fatalf("published: %s", keys.raw)
	}
	if keyOf(t, old) != b.f.tokens.keys.current.Load().list[0].ID {
		t.Error("the new key signs too early")
	}
	b.ahead.Store(int64(keySigns - time.Minute))
	last, err := sign(b.f)
	if err != nil {
		t.Fatal(err)
	}
	b.ahead.Store(int64(keySigns + time.Minute))
	next, err := sign(other.f)
	if err != nil {
		t.Fatal(err)
	}
	if keyOf(t, next) == keyOf(t, last) {
		t.Error("a key signs for longer than 30 days")
	}
	for name, f := range map[string]*Feature{"first": b.f, "second": other.f, "fresh": b.start().f} {
		for _, raw := range []string{last, next} {
			if _, _, _, err := f.tokens.Verify(ctx, raw); err != nil {
				t.Errorf("%s replica: %v", name, err)
			}
		}
	}
	b.ahead.Store(int64(keySigns + keyAhead + 10*time.Minute))
	if _, err := sign(b.f); err != nil {
		t.Fatal(err)
	}
	if key, err := b.f.tokens.keys.verifier(ctx, keyOf(t, last)); key != nil || err != nil {
		t.Errorf("a key verifies after its day: %v", err)
	}
	if n := b.number(`select count(*) from signing_keys`); n != 2 {
		t.Errorf("%d keys", n)
	}
}

func keyOf(t *testing.T, raw string) string {
	t.Helper()
	p, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	return p.Headers[0].KeyID
}

func TestUnknownKeysAreLookedForOnceASecond(t *testing.T) {
	b := setup(t)
	ctx := context.Background()
	keys := b.f.tokens.keys
	stop := time.Now()
	keys.now = func() time.Time { return stop }
	if _, err := keys.signer(ctx); err != nil {
		t.Fatal(err)
	}
	at := keys.current.Load()
	for range 100 {
		if k, err := keys.verifier(ctx, "made up"); k != nil || err != nil {
			t.Fatal(err)
		}
	}
	if keys.current.Load() != at {
		t.Error("made-up key ids reach the database")
	}
	stop = stop.Add(keyUnknown)
	if _, err := keys.verifier(ctx, "made up"); err != nil {
		t.Fatal(err)
	}
	if keys.current.Load() == at {
		t.Error("a new key of another replica is never found")
	}
}

func TestSealedKeyIsBoundToItsRow(t *testing.T) {
	b := setup(t)
	ctx := context.Background()
	if _, err := b.f.tokens.keys.signer(ctx); err != nil {
		t.Fatal(err)
	}
	b.exec(`update signing_keys set id = 'moved'`)
	if _, err := b.start().f.tokens.keys.signer(ctx); err == nil {
		t.Error("a private key opens in another row")
	}
	if n := b.number(`select count(*) from signing_keys where length(sealed_private_key) < 64`); n != 0 {
		t.Error("a private key lies in clear")
	}
}

func TestCommandLine(t *testing.T) {
	b := setup(t)
	ctx := context.Background()
	user, err := b.f.CreateUser(ctx, b.app, "Ann", "Ann@example.com", goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	access, _ := b.login("ann@example.com", goodPassword)
	if r := b.get("/v1/users/me", access).want(200); r.str("id") != user.String() || r.body["email_verified"] != true {
		t.Errorf("me: %s", r.raw)
	}
	if _, err := b.f.CreateUser(ctx, b.app, "Ann", "ann@example.com", goodPassword); fault.As(err) == nil || fault.As(err).Code != "email_taken" {
		t.Errorf("a second account: %v", err)
	}
	if err := b.f.SetOperator(ctx, "ANN@example.com"); err != nil {
		t.Fatal(err)
	}
	if n := b.number(`select count(*) from users where operator`); n != 1 {
		t.Error("not an operator")
	}
	if err := b.f.SetOperator(ctx, "nobody@example.com"); !fault.Is(err, fault.NotFound) {
		t.Errorf("an operator who does not exist: %v", err)
	}
}

func BenchmarkVerifyWarm(b *testing.B) {
	ctx := context.Background()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	keys := &keySet{now: time.Now}
	keys.current.Store(&keysRead{byID: map[string]signingKey{"k": {ID: "k", Public: private.Public().(ed25519.PublicKey), VerifiesUntil: time.Now().Add(time.Hour)}}})
	tokens := newTokens(keys, testIssuer, time.Now)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: private, KeyID: "k"}}, (&jose.SignerOptions{}).WithType(tokenType))
	if err != nil {
		b.Fatal(err)
	}
	raw, err := jwt.Signed(signer).Claims(claims{Claims: jwt.Claims{
		Issuer: testIssuer, Subject: id.New().String(), Audience: jwt.Audience{tokenAudience},
		IssuedAt: jwt.NewNumericDate(time.Now()), Expiry: jwt.NewNumericDate(time.Now().Add(tokenLife)),
	}, Session: id.New().String()}).Serialize()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, _, err := tokens.Verify(ctx, raw); err != nil {
			b.Fatal(err)
		}
	}
}
