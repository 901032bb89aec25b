package identity

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/maypok86/otter/v2"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/id"
)

const (
	tokenType     = "at+jwt" // RFC 9068
	tokenAudience = "guildhall"
	tokenLife     = 15 * time.Minute
	tokenSkew     = time.Minute // between the clocks of replicas, for iat alone
	maxTokenLen   = 4096
)

// Tokens makes and verifies access tokens. It is safe for concurrent use.
type Tokens struct {
	keys   *keySet
	issuer string
	now    func() time.Time
	known  *otter.Cache[[sha256.Size]byte, verified]
}

// verified is what a good token says.
type verified struct {
	user, session id.ID
	expires       time.Time
}

type claims struct {
	jwt.Claims
	Session string `json:"sid"`
}

func newTokens(keys *keySet, issuer string, now func() time.Time) *Tokens {
	return &Tokens{keys: keys, issuer: issuer, now: now, known: otter.Must(&otter.Options[[sha256.Size]byte, verified]{
		MaximumSize: 50_000,
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[[sha256.Size]byte, verified]) time.Duration {
			return max(e.Value.expires.Sub(now()), time.Millisecond)
		}),
	})}
}

// sign returns an access token of the session and its life in seconds, which
// never outlasts the session's.
func (t *Tokens) sign(ctx context.Context, user, session id.ID, sessionExpires time.Time) (string, int, error) {
	signer, err := t.keys.signer(ctx)
	if err != nil {
		return "", 0, err
	}
	now := t.now()
	life := min(tokenLife, sessionExpires.Sub(now)).Truncate(time.Second)
	raw, err := jwt.Signed(signer).Claims(claims{
		Claims: jwt.Claims{
			Issuer: t.issuer, Subject: user.String(), Audience: jwt.Audience{tokenAudience},
			IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(life)),
		},
		Session: session.String(),
	}).Serialize()
	if err != nil {
		return "", 0, fmt.Errorf("identity: sign an access token: %w", err)
	}
	return raw, int(life / time.Second), nil
}

// Verify returns whose token it is, of which session, and when it expires. A
// token that is not ours or not valid any more is api.Unauthenticated; other
// errors are ours. Whether the session was revoked meanwhile is not asked
// here: the prologue of every statement does.
//
// A token that was good stays so until it expires, which the cache makes a
// matter of one hash; a bad one is never remembered.
func (t *Tokens) Verify(ctx context.Context, raw string) (user, session id.ID, expires time.Time, err error) {
	if len(raw) > maxTokenLen {
		return id.Nil, id.Nil, time.Time{}, api.Unauthenticated()
	}
	sum := sha256.Sum256([]byte(raw))
	v, hit := t.known.GetIfPresent(sum)
	if !hit {
		if v, err = t.check(ctx, raw); err != nil {
			return id.Nil, id.Nil, time.Time{}, err
		}
		t.known.Set(sum, v)
	}
	if !t.now().Before(v.expires) {
		return id.Nil, id.Nil, time.Time{}, api.Unauthenticated()
	}
	return v.user, v.session, v.expires, nil
}

// check verifies without the cache. The algorithm and the type are ours to
// choose, never the token's, and its key id only picks among our own keys.
func (t *Tokens) check(ctx context.Context, raw string) (v verified, err error) {
	parsed, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil || len(parsed.Headers) != 1 {
		return v, api.Unauthenticated()
	}
	header := parsed.Headers[0]
	if typ, _ := header.ExtraHeaders[jose.HeaderType].(string); typ != tokenType || header.KeyID == "" {
		return v, api.Unauthenticated()
	}
	key, err := t.keys.verifier(ctx, header.KeyID)
	if err != nil {
		return v, err
	}
	var c claims
	if key == nil || parsed.Claims(key, &c) != nil {
		return v, api.Unauthenticated()
	}
	expected := jwt.Expected{Issuer: t.issuer, AnyAudience: jwt.Audience{tokenAudience}, Time: t.now()}
	if c.Expiry == nil || c.IssuedAt == nil || c.ValidateWithLeeway(expected, tokenSkew) != nil {
		return v, api.Unauthenticated()
	}
	user, uerr := id.Parse(c.Subject)
	session, serr := id.Parse(c.Session)
	if uerr != nil || serr != nil || user.IsZero() || session.IsZero() {
		return v, api.Unauthenticated()
	}
	return verified{user: user, session: session, expires: c.Expiry.Time()}, nil
}
