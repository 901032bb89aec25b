package seal

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/tink"
)

const (
	saltSize = 32
	keySize  = 32
)

// SealWith encrypts plaintext under a key derived from a secret that the caller holds and the instance does not keep, for
// example an Idempotency-Key: only who sends the secret again can read the value. The secret is not stretched, so it must
// be too long to guess where that matters. The associated data is as for Keyring.Seal.
func SealWith(secret, plaintext []byte, aad string) ([]byte, error) {
	if len(secret) == 0 || aad == "" {
		return nil, errors.New("seal: SealWith without a secret or associated data")
	}
	salt := make([]byte, saltSize)
	rand.Read(salt) // never fails: the process ends instead
	a, err := secretAEAD(secret, salt)
	if err != nil {
		return nil, fmt.Errorf("seal: SealWith(%q): %w", aad, err)
	}
	sealed, err := a.Encrypt(plaintext, []byte(aad))
	if err != nil {
		return nil, fmt.Errorf("seal: SealWith(%q): %w", aad, err)
	}
	return append(append([]byte{formSecret}, salt...), sealed...), nil
}

// OpenWith returns what SealWith sealed with the same secret for the same place. Its error is ErrOpen, wrapped with aad.
func OpenWith(secret, sealed []byte, aad string) ([]byte, error) {
	if len(secret) == 0 || aad == "" || len(sealed) < 1+saltSize || sealed[0] != formSecret {
		return nil, fmt.Errorf("seal: OpenWith(%q): %w", aad, ErrOpen)
	}
	a, err := secretAEAD(secret, sealed[1:1+saltSize])
	if err != nil {
		return nil, fmt.Errorf("seal: OpenWith(%q): %w", aad, err)
	}
	plaintext, err := a.Decrypt(sealed[1+saltSize:], []byte(aad))
	if err != nil {
		return nil, fmt.Errorf("seal: OpenWith(%q): %w", aad, ErrOpen)
	}
	return plaintext, nil
}

func secretAEAD(secret, salt []byte) (tink.AEAD, error) {
	key, err := hkdf.Key(sha256.New, secret, salt, "guildhall/seal with a secret", keySize)
	if err != nil {
		return nil, err
	}
	return subtle.NewXChaCha20Poly1305(key)
}
