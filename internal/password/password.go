// Package password hashes passwords with argon2id, a few at a time, and compares
// them. People and customers share one Hasher, since it bounds the memory of the
// process.
package password

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"github.com/guildhall-dev/guildhall/internal/fault"
)

// cost is what one argon2id hash takes.
type cost struct {
	memory  uint32 // KiB
	time    uint32
	threads uint8
}

// today is OWASP's floor. Hashes that cost less are made again at log-in.
var today = cost{memory: 19 * 1024, time: 2, threads: 1}

const (
	saltLen = 16
	hashLen = 32
	// hashWait is how long a caller waits for its turn to hash.
	hashWait = 10 * time.Second
)

// Hasher hashes a few passwords at a time: each takes 19 MiB, so that a crowd
// at the door must queue rather than fill the memory. It is safe for concurrent
// use.
type Hasher struct {
	slots chan struct{}
	decoy string
}

// New returns a hasher with turns of its own.
func New() *Hasher {
	salt, sum := make([]byte, saltLen), make([]byte, hashLen)
	rand.Read(salt)
	rand.Read(sum)
	return &Hasher{slots: make(chan struct{}, min(4, max(2, runtime.GOMAXPROCS(0)))), decoy: encodeHash(today, salt, sum)}
}

// Hash returns the encoded hash of a password under a fresh salt.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltLen)
	rand.Read(salt)
	sum, err := h.run(ctx, today, password, salt, hashLen)
	if err != nil {
		return "", err
	}
	return encodeHash(today, salt, sum), nil
}

// Verify compares; outdated says that the hash should be made again at today's
// cost. An empty encoded hash stands for a person who does not exist and takes
// the same time.
func (h *Hasher) Verify(ctx context.Context, encoded, password string) (ok, outdated bool, err error) {
	if encoded == "" {
		encoded = h.decoy
	}
	c, salt, want, err := decodeHash(encoded)
	if err != nil {
		return false, false, err
	}
	got, err := h.run(ctx, c, password, salt, uint32(len(want)))
	if err != nil {
		return false, false, err
	}
	outdated = c.memory < today.memory || c.time < today.time || c.threads != today.threads
	return subtle.ConstantTimeCompare(got, want) == 1, outdated, nil
}

// Decoy is a hash that no password matches.
func (h *Hasher) Decoy() string { return h.decoy }

// Hold takes all turns at hashing, so that who comes now has read the hash and
// waits; what it returns gives them back. It is for tests of what happens
// meanwhile.
func (h *Hasher) Hold() (release func()) {
	for range cap(h.slots) {
		h.slots <- struct{}{}
	}
	return func() {
		for range cap(h.slots) {
			<-h.slots
		}
	}
}

func (h *Hasher) run(ctx context.Context, c cost, password string, salt []byte, n uint32) ([]byte, error) {
	timer := time.NewTimer(hashWait)
	defer timer.Stop()
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
		busy := fault.New(fault.Unavailable, "unavailable", "Too many people are logging in right now. Try again shortly.")
		busy.RetryAfter = hashWait
		return nil, busy
	}
	defer func() { <-h.slots }()
	// Two keyboards may write one character in two ways.
	return argon2.IDKey([]byte(norm.NFKC.String(password)), salt, c.time, c.memory, c.threads, n), nil
}

// encodeHash writes the PHC string form, which carries the cost.
func encodeHash(c cost, salt, sum []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.memory, c.time, c.threads, b64.EncodeToString(salt), b64.EncodeToString(sum))
}

var errHash = errors.New("password: not an argon2id hash")

func decodeHash(s string) (c cost, salt, sum []byte, err error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return c, nil, nil, errHash
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &c.memory, &c.time, &c.threads); err != nil {
		return c, nil, nil, errHash
	}
	b64 := base64.RawStdEncoding
	if salt, err = b64.DecodeString(parts[4]); err != nil {
		return c, nil, nil, errHash
	}
	if sum, err = b64.DecodeString(parts[5]); err != nil {
		return c, nil, nil, errHash
	}
	if c.time < 1 || c.threads < 1 || c.memory < 8 || c.memory > 1<<20 || c.time > 100 || len(salt) < 8 || len(sum) < 16 || len(sum) > 128 {
		return c, nil, nil, errHash
	}
	return c, salt, sum, nil
}
