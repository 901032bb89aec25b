// Package seal encrypts the secrets that the database holds (webhook secrets, provider credentials, second factors), so
// that a stolen dump is worth nothing without the instance key beside it.
//
//	instance key (a file) ──wraps──> data key (fresh for each value) ──encrypts──> value
//
// A sealed value carries its own wrapped data key, so that a new instance key means to wrap small keys again and not to
// encrypt again what they hold. Each value is bound to the place where it is stored: moved to another row, another column
// or another tenant, it cannot be opened.
package seal

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/prf"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// ErrOpen says that a sealed value cannot be opened: it was damaged, cut, moved to another place, or sealed under a key
// that this instance does not have. Which of these it is cannot be told.
var ErrOpen = errors.New("seal: the value is damaged, misplaced or sealed under another key")

// The first byte of everything sealed says how, so that another way can be introduced beside the old ones.
const (
	formEnvelope byte = 1 // tink envelope: wrapped AES256-GCM data key, then the ciphertext
	formSecret   byte = 2 // salt, then XChaCha20-Poly1305 under a key derived from a caller's secret
)

// Keyring holds the instance's keys. It is safe for concurrent use.
type Keyring struct {
	envelope tink.AEAD
	derive   *prf.Set
}

// Seal encrypts plaintext under a fresh data key. The associated data names the place where the result is stored, as
// "tenant/table/column/row"; Open needs the same words. The result is about 110 bytes longer than plaintext.
func (k *Keyring) Seal(plaintext []byte, aad string) ([]byte, error) {
	if aad == "" {
		return nil, errors.New("seal: Seal without associated data")
	}
	sealed, err := k.envelope.Encrypt(plaintext, []byte(aad))
	if err != nil {
		return nil, fmt.Errorf("seal: Seal(%q): %w", aad, err)
	}
	return append([]byte{formEnvelope}, sealed...), nil
}

// Open returns what was sealed for the place aad. Its error is ErrOpen, wrapped with aad.
func (k *Keyring) Open(sealed []byte, aad string) ([]byte, error) {
	if aad == "" || len(sealed) == 0 || sealed[0] != formEnvelope {
		return nil, fmt.Errorf("seal: Open(%q): %w", aad, ErrOpen)
	}
	plaintext, err := k.envelope.Decrypt(sealed[1:], []byte(aad))
	if err != nil {
		return nil, fmt.Errorf("seal: Open(%q): %w", aad, ErrOpen)
	}
	return plaintext, nil
}

// MAC returns the 32-byte HMAC-SHA256 of data under a key that belongs to purpose alone: for signed cursors and for
// single-use tokens that are computed and not stored. ("a", "bc") and ("ab", "c") give different results. Compare with
// hmac.Equal.
func (k *Keyring) MAC(purpose string, data ...[]byte) []byte {
	m := hmac.New(sha256.New, k.compute("mac", purpose, sha256.Size))
	for _, d := range data {
		m.Write(binary.BigEndian.AppendUint64(nil, uint64(len(d))))
		m.Write(d)
	}
	return m.Sum(nil)
}

// Derive returns n bytes of key material for purpose, the same on every start. It panics where n is not in 1..8160, the
// most that HKDF-SHA256 gives.
func (k *Keyring) Derive(purpose string, n int) []byte {
	return k.compute("derive", purpose, n)
}

func (k *Keyring) compute(use, purpose string, n int) []byte {
	if n < 1 || n > 255*sha256.Size {
		panic(fmt.Sprintf("seal: %d bytes asked for %s", n, purpose))
	}
	out, err := k.derive.ComputePrimaryPRF([]byte("guildhall/"+use+"/"+purpose), uint32(n))
	if err != nil {
		panic(fmt.Sprintf("seal: derive for %s: %v", purpose, err)) // unreachable: the length was checked
	}
	return out
}

func newKeyring(f keyFile) (*Keyring, error) {
	wrap, err := aead.New(f.wrap)
	if err != nil {
		return nil, fmt.Errorf("wrapping keys: %w", err)
	}
	derive, err := prf.NewPRFSet(f.derive)
	if err != nil {
		return nil, fmt.Errorf("derivation keys: %w", err)
	}
	return &Keyring{aead.NewKMSEnvelopeAEAD2(aead.AES256GCMKeyTemplate(), wrap), derive}, nil
}
