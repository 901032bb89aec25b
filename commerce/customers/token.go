package customers

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/seal"
)

// Tokens are computed and stored nowhere. An access token is "ghct_" and
// base64url of organisation, customer, session (16 bytes each), end (8) and MAC
// (32); a refresh token is "ghcr_" and that of customer, session, counter (8) and
// MAC. Each kind has a purpose, and so a key, of its own.
const (
	accessPrefix  = "ghct_"
	accessBytes   = 3*16 + 8 + 32
	refreshPrefix = "ghcr_"
	refreshBytes  = 2*16 + 8 + 32

	accessLife = 15 * time.Minute
)

// login is what an access token says.
type login struct {
	organization, customer, session id.ID
	expires                         time.Time
}

func (l login) token(keys *seal.Keyring) string {
	b := slicesOf(l.organization, l.customer, l.session)
	b = binary.BigEndian.AppendUint64(b, uint64(l.expires.Unix()))
	return accessPrefix + base64.RawURLEncoding.EncodeToString(append(b, keys.MAC("customer access", b)...))
}

// readAccess believes a token whose MAC is right and whose time is not over.
// Whether the session was revoked meanwhile, the prologue of every statement
// asks.
func readAccess(keys *seal.Keyring, token string, now time.Time) (l login, ok bool) {
	b, ok := body(token, accessPrefix, accessBytes)
	if !ok || !hmac.Equal(b[accessBytes-32:], keys.MAC("customer access", b[:accessBytes-32])) {
		return login{}, false
	}
	l = login{id.ID(b[:16]), id.ID(b[16:32]), id.ID(b[32:48]), time.Unix(int64(binary.BigEndian.Uint64(b[48:56])), 0)}
	return l, now.Before(l.expires)
}

// presented is a refresh token that was read and not yet believed.
type presented struct {
	customer, session id.ID
	counter           int64
	mac               []byte
}

func refreshMAC(keys *seal.Keyring, organization, customer, session id.ID, counter int64, nonce []byte) []byte {
	return keys.MAC("customer refresh", slicesOf(organization, customer, session), binary.BigEndian.AppendUint64(nil, uint64(counter)), nonce)
}

func refreshToken(keys *seal.Keyring, organization, customer, session id.ID, counter int64, nonce []byte) string {
	b := binary.BigEndian.AppendUint64(slicesOf(customer, session), uint64(counter))
	b = append(b, refreshMAC(keys, organization, customer, session, counter, nonce)...)
	return refreshPrefix + base64.RawURLEncoding.EncodeToString(b)
}

func parseRefresh(token string) (p presented, ok bool) {
	b, ok := body(token, refreshPrefix, refreshBytes)
	if !ok {
		return p, false
	}
	p = presented{id.ID(b[:16]), id.ID(b[16:32]), int64(binary.BigEndian.Uint64(b[32:40])), b[40:]}
	return p, p.counter > 0
}

func body(token, prefix string, n int) ([]byte, bool) {
	rest, ok := strings.CutPrefix(token, prefix)
	if !ok || len(rest) != base64.RawURLEncoding.EncodedLen(n) {
		return nil, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	return b, err == nil && len(b) == n
}

func slicesOf(ids ...id.ID) (b []byte) {
	for _, v := range ids {
		b = append(b, v[:]...)
	}
	return b
}

// family is the session as a refresh sees it.
type family struct {
	Nonce    []byte    `db:"nonce"`
	Counter  int64     `db:"counter"`
	Expires  time.Time `db:"expires_at"`
	Live     bool      `db:"live"`
	Graceful bool      `db:"graceful"`
}

// verdict is what becomes of a token whose MAC is right.
type verdict int

const (
	refuse  verdict = iota // the session is over
	advance                // the current counter: rotate
	repeat                 // the one before, moments ago: the answer got lost
	reuse                  // an older one: somebody else has the token too
)

func (f family) judge(counter int64) verdict {
	switch {
	case !f.Live || counter > f.Counter:
		return refuse
	case counter == f.Counter:
		return advance
	case counter == f.Counter-1 && f.Graceful:
		return repeat
	}
	return reuse
}
