package access

import (
	"crypto/rand"
	"crypto/sha256"
	"hash/crc32"
	"math/big"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
)

// APIKey is a key of an integration, without the key itself.
type APIKey struct {
	ID          id.ID      `db:"id" json:"id" ref:"api_key" doc:"Names the key in the API; not secret."`
	Name        string     `db:"name" json:"name" minLength:"1" maxLength:"100" doc:"What the key is for." example:"Warehouse sync"`
	Permissions []string   `db:"permissions" json:"permissions" maxItems:"256" doc:"The most that the key may do; what its creator may not do at the moment, it may not do either."`
	CreatedByID id.ID      `db:"created_by_id" json:"created_by_id" ref:"user" doc:"The person who made the key and whose private projects it sees."`
	ExpiresAt   *time.Time `db:"expires_at" json:"expires_at" doc:"When the key stops working; null for never."`
	LastUsedAt  *time.Time `db:"last_used_at" json:"last_used_at" doc:"When the key was last used, to the minute; null if never."`
	CreatedAt   time.Time  `db:"created_at" json:"created_at" doc:"When the key was made."`
}

// Location implements api.Located.
func (k APIKey) Location() string { return "/v1/api-keys/" + k.ID.String() }

// EventSubject implements event.Subjected.
func (k APIKey) EventSubject() event.Subject { return event.Subject{ID: k.ID} }

// NewAPIKey is the answer to making a key: the only time that the key is shown.
type NewAPIKey struct {
	APIKey
	Key string `json:"key" maxLength:"100" pattern:"^ghk_[0-9A-Za-z]{71}$" doc:"The key itself. It is stored nowhere and never shown again." example:"ghk_00bW2kPq7Lx0R9sT4uV6yZ1aB3cD5eF7gH9iJ1kL3mN5oP7qR9sT1uV3wX5yZ7aB9cD1eF2"`
}

// The form of a key: prefix, then the key's id and 32 random bytes as one
// number in base 62, then a CRC-32 of all before it. Scanners can tell a real
// key from look-alikes without asking anybody, and a double click selects all
// of it.
const (
	keyPrefix  = "ghk_"
	base62     = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	secretSize = 32
	bodyLength = 65 // 48 bytes in base 62
	sumLength  = 6
	keyLength  = len(keyPrefix) + bodyLength + sumLength
)

// newKey makes a key for the id and what is stored of it.
func newKey(key id.ID) (text string, hash []byte) {
	secret := make([]byte, secretSize)
	rand.Read(secret) // never fails: the process ends instead
	return formatKey(key, secret)
}

func formatKey(key id.ID, secret []byte) (text string, hash []byte) {
	body := new(big.Int).SetBytes(append(key[:], secret...))
	text = keyPrefix + pad(body.Text(62), bodyLength)
	text += checksum(text)
	return text, hashKey(text)
}

func hashKey(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

func checksum(s string) string {
	n := big.NewInt(int64(crc32.ChecksumIEEE([]byte(s))))
	return pad(n.Text(62), sumLength)
}

func pad(s string, n int) string { return strings.Repeat("0", n-len(s)) + s }

// parseKey returns the id in a well-formed key. It says nothing of whether the
// key exists.
func parseKey(text string) (id.ID, bool) {
	if len(text) != keyLength || !strings.HasPrefix(text, keyPrefix) {
		return id.Nil, false
	}
	body := text[len(keyPrefix) : len(keyPrefix)+bodyLength]
	if strings.Trim(body, base62) != "" || checksum(text[:keyLength-sumLength]) != text[keyLength-sumLength:] {
		return id.Nil, false
	}
	n, ok := new(big.Int).SetString(body, 62)
	if !ok || n.BitLen() > 8*(len(id.ID{})+secretSize) {
		return id.Nil, false
	}
	raw := n.FillBytes(make([]byte, len(id.ID{})+secretSize))
	return id.ID(raw[:len(id.ID{})]), true
}
