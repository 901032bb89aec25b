package bundle

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func signatureOver(t testing.TB, key ed25519.PrivateKey, text string) string {
	t.Helper()
	raw, err := json.Marshal(signature{algorithm, FormatPublic(key.Public().(ed25519.PublicKey)), base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(text)))})
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestKeys(t *testing.T) {
	t.Parallel()
	key, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	text, err := FormatPrivate(key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := LoadPrivateKey(path)
	if err != nil || !got.Equal(key) {
		t.Errorf("the key reads as another one, %v", err)
	}
	public := key.Public().(ed25519.PublicKey)
	inPEM, err := FormatPublicPEM(public)
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{FormatPublic(public), " " + FormatPublic(public) + "\n", string(inPEM)} {
		if got, err := ParsePublic(form); err != nil || !got.Equal(public) {
			t.Errorf("%q: %v", form, err)
		}
	}
	for _, bad := range []string{"", "ghpk_", "ghpk_AAAA", FormatPublic(public) + "A", FormatPublic(public)[5:], string(text), "ghpk_" + strings.Repeat("*", 43)} {
		if got, err := ParsePublic(bad); got != nil || !IsKind(err, BadKey) {
			t.Errorf("%q passes as a public key: %v", bad, err)
		}
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadPrivateKey(path); !IsKind(err, BadKey) || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that all can read: %v", err)
	}
	if _, err := LoadPrivateKey(path + ".no"); !IsKind(err, BadKey) || !strings.Contains(err.Error(), "guildhall plugin key new") {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(path+".pub", inPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadPrivateKey(path + ".pub"); !IsKind(err, BadKey) {
		t.Errorf("a public key: %v", err)
	}
}
