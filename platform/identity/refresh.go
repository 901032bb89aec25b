package identity

import (
	"context"
	"crypto/hmac"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/seal"
	"github.com/guildhall-dev/guildhall/tenant"
)

// A refresh token is "ghr_" and base64url of session (16 bytes), generation
// (8) and MAC (32). It is computed and stored nowhere, so the successor of a
// generation is the same however often it is asked for.
const (
	refreshPrefix = "ghr_"
	refreshBytes  = 16 + 8 + 32
)

func refreshMAC(keys *seal.Keyring, session id.ID, generation int64, nonce []byte) []byte {
	return keys.MAC("refresh", session[:], binary.BigEndian.AppendUint64(nil, uint64(generation)), nonce)
}

func refreshToken(keys *seal.Keyring, session id.ID, generation int64, nonce []byte) string {
	b := make([]byte, 0, refreshBytes)
	b = append(b, session[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(generation))
	b = append(b, refreshMAC(keys, session, generation, nonce)...)
	return refreshPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// presented is a refresh token that was read and not yet believed.
type presented struct {
	session    id.ID
	generation int64
	mac        []byte
}

func parseRefresh(s string) (p presented, ok bool) {
	rest, ok := strings.CutPrefix(s, refreshPrefix)
	b, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if !ok || err != nil || len(b) != refreshBytes {
		return p, false
	}
	p.session = id.ID(b[:16])
	p.generation = int64(binary.BigEndian.Uint64(b[16:24]))
	p.mac = b[24:]
	return p, p.generation > 0
}

// family is the session as a refresh sees it.
type family struct {
	User       id.ID     `db:"user_id"`
	Nonce      []byte    `db:"nonce"`
	Generation int64     `db:"generation"`
	Expires    time.Time `db:"expires_at"`
	Live       bool      `db:"live"`
	Graceful   bool      `db:"graceful"`
}

// verdict is what becomes of a token whose MAC is right.
type verdict int

const (
	refuse  verdict = iota // the session is over
	advance                // the current generation: rotate
	repeat                 // the one before, moments ago: the answer got lost
	reuse                  // an older one: somebody else has the family too
)

func (f family) judge(generation int64) verdict {
	switch {
	case !f.Live || generation > f.Generation:
		return refuse
	case generation == f.Generation:
		return advance
	case generation == f.Generation-1 && f.Graceful:
		return repeat
	}
	return reuse
}

func refreshRefused() error {
	return fault.New(fault.Unauthenticated, "unauthenticated", "The refresh token is not valid, or not any more. Log in again.")
}

// rotate answers a refresh token with its successor's generation. Of any
// number of calls at once one advances the generation; the others find that it
// did, moments ago, and repeat its answer. On reuse it revokes the session,
// which must be committed: that is why it returns a verdict and not an error.
func (f *Feature) rotate(ctx context.Context, tx *tenant.GlobalTx, p presented) (family, verdict, error) {
	for range 3 {
		fam, err := tenant.One[family](ctx, tx, selectRefresh, p.session)
		if errors.Is(err, tenant.ErrNoRows) {
			return fam, refuse, nil
		}
		if err != nil {
			return fam, refuse, err
		}
		if !hmac.Equal(p.mac, refreshMAC(f.keys, p.session, p.generation, fam.Nonce)) {
			return fam, refuse, nil
		}
		switch v := fam.judge(p.generation); v {
		case advance:
			n, err := tenant.Exec(ctx, tx, rotateSession, p.session, p.generation)
			if err != nil {
				return fam, refuse, err
			}
			if n == 1 {
				fam.Generation++
				return fam, advance, nil
			}
			// Another call was first: look again.
		case reuse:
			if _, err := tenant.Exec(ctx, tx, revokeSession, p.session, fam.User); err != nil {
				return fam, reuse, err
			}
			_, err := f.note(ctx, tx, factReused, fam.User, "")
			return fam, reuse, err
		default:
			return fam, v, nil
		}
	}
	return family{}, refuse, errors.New("identity: a refresh token kept changing")
}
