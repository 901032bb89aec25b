package identity

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/seal"
	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	keySigns = 30 * 24 * time.Hour
	// keyAhead is how long before its turn a key is made, and how long after it
	// a key verifies: every replica knows a key before it signs.
	keyAhead   = 24 * time.Hour
	keyReload  = 10 * time.Minute
	keyUnknown = time.Second // the least time between two looks for an unknown key
)

// signingKey is a row of signing_keys. Rows never change.
type signingKey struct {
	ID            string    `db:"id"`
	Public        []byte    `db:"public_key"`
	Sealed        []byte    `db:"sealed_private_key"`
	SignsUntil    time.Time `db:"signs_until"`
	VerifiesUntil time.Time `db:"verifies_until"`
}

// keyPlace binds the sealed half to its row.
func keyPlace(kid string) string { return "instance/signing_keys/sealed_private_key/" + kid }

// keySet is the signing keys, as this replica last read them.
type keySet struct {
	db      *tenant.DB
	keyring *seal.Keyring
	now     func() time.Time

	mu      sync.Mutex // held while reading or making keys
	current atomic.Pointer[keysRead]
}

// keysRead is immutable.
type keysRead struct {
	at     time.Time
	byID   map[string]signingKey
	list   []signingKey // by age, oldest first
	signer jose.Signer  // of the oldest key that still signs; nil when there is none
	until  time.Time    // when that key stops to sign
}

// verifier returns the public key for a key id, nil for one that is unknown or
// over. An unknown id makes it look at the table, at most once per second, so
// that made-up ids cost nothing.
func (s *keySet) verifier(ctx context.Context, kid string) (ed25519.PublicKey, error) {
	read := s.current.Load()
	var k signingKey
	var known bool
	if read != nil {
		k, known = read.byID[kid]
	}
	if !known {
		var err error
		if read, err = s.reread(ctx, keyUnknown); err != nil {
			return nil, err
		}
		k, known = read.byID[kid]
	}
	if !known || !s.now().Before(k.VerifiesUntil) {
		return nil, nil
	}
	return k.Public, nil
}

// signer returns what signs now, and makes the next key in time.
func (s *keySet) signer(ctx context.Context) (jose.Signer, error) {
	read, err := s.reread(ctx, keyReload)
	if err != nil {
		return nil, err
	}
	now := s.now()
	due := len(read.list) == 0 || !now.Add(keyAhead).Before(read.list[len(read.list)-1].SignsUntil)
	if !due && read.signer != nil && now.Before(read.until) {
		return read.signer, nil
	}
	if due {
		if err := s.rotate(ctx); err != nil {
			return nil, err
		}
	}
	if read, err = s.reread(ctx, 0); err != nil {
		return nil, err
	}
	if read.signer == nil {
		return nil, errors.New("identity: no signing key after making one")
	}
	return read.signer, nil
}

// reread reads the table if what is known is older than age.
func (s *keySet) reread(ctx context.Context, age time.Duration) (*keysRead, error) {
	start := s.now()
	if read := s.current.Load(); read != nil && age > 0 && start.Sub(read.at) < age {
		return read, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// Another caller may have read while this one waited.
	if read := s.current.Load(); read != nil && (read.at.After(start) || age > 0 && start.Sub(read.at) < age) {
		return read, nil
	}
	rows, err := tenant.List[signingKey](ctx, s.db.Global(), selectSigningKeys, start)
	if err != nil {
		return nil, fmt.Errorf("identity: read the signing keys: %w", err)
	}
	read := &keysRead{at: s.now(), byID: make(map[string]signingKey, len(rows)), list: rows}
	for _, k := range rows {
		read.byID[k.ID] = k
		if read.signer == nil && start.Before(k.SignsUntil) {
			if read.signer, err = s.open(k); err != nil {
				return nil, err
			}
			read.until = k.SignsUntil
		}
	}
	s.current.Store(read)
	return read, nil
}

func (s *keySet) open(k signingKey) (jose.Signer, error) {
	seed, err := s.keyring.Open(k.Sealed, keyPlace(k.ID))
	if err != nil {
		return nil, fmt.Errorf("identity: open signing key %s: do all replicas have the same instance key? %w", k.ID, err)
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: ed25519.NewKeyFromSeed(seed), KeyID: k.ID}},
		(&jose.SignerOptions{}).WithType(tokenType))
	if err != nil {
		return nil, fmt.Errorf("identity: signing key %s: %w", k.ID, err)
	}
	return signer, nil
}

// rotate makes a key that signs after the newest one, unless another replica
// was first.
func (s *keySet) rotate(ctx context.Context) error {
	err := s.db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) error {
		if _, err := tenant.Exec(ctx, tx, lockSigningKeys); err != nil {
			return err
		}
		now := s.now()
		rows, err := tenant.List[signingKey](ctx, tx, selectSigningKeys, now)
		if err != nil {
			return err
		}
		from := now
		if n := len(rows); n > 0 && rows[n-1].SignsUntil.After(now) {
			if from = rows[n-1].SignsUntil; from.After(now.Add(keyAhead)) {
				return nil
			}
		}
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		kid := id.NewRandom().String()
		sealed, err := s.keyring.Seal(private.Seed(), keyPlace(kid))
		if err != nil {
			return err
		}
		until := from.Add(keySigns)
		_, err = tenant.Exec(ctx, tx, insertSigningKey, kid, []byte(public), sealed, now, until, until.Add(keyAhead))
		return err
	})
	if err != nil {
		return fmt.Errorf("identity: make a signing key: %w", err)
	}
	return nil
}

// ServeHTTP answers with the public keys (RFC 7517), for those who verify
// access tokens themselves.
func (s *keySet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	read, err := s.reread(r.Context(), keyReload)
	if err != nil {
		http.Error(w, "the keys cannot be read right now", http.StatusServiceUnavailable)
		return
	}
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range read.list {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: ed25519.PublicKey(k.Public), KeyID: k.ID, Algorithm: string(jose.EdDSA), Use: "sig"})
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	_ = json.NewEncoder(w).Encode(set)
}
