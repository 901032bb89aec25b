package bundle

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
)

const (
	publicPrefix = "ghpk_"
	privateType  = "PRIVATE KEY"
	publicType   = "PUBLIC KEY"
	mostKey      = 16 << 10
)

// GenerateKey makes a key to sign with.
func GenerateKey() (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return key, nil
}

// FormatPrivate is the key as a file has it: PKCS#8 in PEM.
func FormatPrivate(key ed25519.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("write the key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: privateType, Bytes: der}), nil
}

// LoadPrivateKey reads a key file that nobody but its owner may read.
func LoadPrivateKey(path string) (ed25519.PrivateKey, error) {
	bad := func(problem, do string, err error) error {
		return &Error{Kind: BadKey, File: path, Problem: problem, Do: do, Err: err}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, bad("cannot be read", "make a key with guildhall plugin key new FILE", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, bad("cannot be read", "", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, bad("can be read by others than its owner", "chmod 600 it, and make a new key if it may have been copied", nil)
	}
	text, err := io.ReadAll(io.LimitReader(f, mostKey))
	if err != nil {
		return nil, bad("cannot be read", "", err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != privateType {
		return nil, bad("is no private key (PKCS#8 in PEM)", "name the file that guildhall plugin key new wrote", nil)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, bad("is no Ed25519 key", "make one with guildhall plugin key new FILE", err)
	}
	return key, nil
}

// FormatPublic is a public key as people pass it on: ghpk_ and 43 characters.
func FormatPublic(key ed25519.PublicKey) string {
	return publicPrefix + base64.RawURLEncoding.EncodeToString(key)
}

// FormatPublicPEM is a public key as other tools read it: PKIX in PEM.
func FormatPublicPEM(key ed25519.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("write the key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: publicType, Bytes: der}), nil
}

// ParsePublic reads a public key in either form.
func ParsePublic(text string) (ed25519.PublicKey, error) {
	bad := &Error{Kind: BadKey, Problem: "this is no public key of a publisher", Do: "it looks like ghpk_ and 43 characters; guildhall plugin verify prints the one that signed a bundle"}
	text = strings.TrimSpace(text)
	if encoded, ok := strings.CutPrefix(text, publicPrefix); ok {
		key, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
		if err != nil || len(key) != ed25519.PublicKeySize || strings.ContainsAny(encoded, "\r\n") {
			return nil, bad
		}
		return key, nil
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != publicType {
		return nil, bad
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	key, ok := parsed.(ed25519.PublicKey)
	if err != nil || !ok {
		return nil, bad
	}
	return key, nil
}

// holdsPrivateKey reports whether a file has a private key in it.
func holdsPrivateKey(content []byte) bool {
	return bytes.Contains(content, []byte("-----BEGIN ")) && bytes.Contains(content, []byte("PRIVATE KEY-----\nM"))
}
