package bundle

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// domain keeps a signature of a bundle from being one of anything else.
const domain = "guildhall plugin bundle v1\n"

const algorithm = "ed25519"

type signature struct {
	Algorithm string `json:"algorithm"`
	PublicKey string `json:"public_key"`
	Signature string `json:"signature"`
}

// Sign returns the bundle with a signature of the key, in place of any that it
// had. A bundle that Read refuses is not signed.
func Sign(data []byte, key ed25519.PrivateKey) ([]byte, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, &Error{Kind: BadKey, Problem: "this is no Ed25519 key", Do: "make one with guildhall plugin key new"}
	}
	b, err := Read(data)
	if err != nil {
		return nil, err
	}
	files, err := unpack(data)
	if err != nil {
		return nil, err
	}
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return nil, &Error{Kind: BadKey, Problem: "this is no Ed25519 key"}
	}
	raw, err := json.MarshalIndent(signature{
		Algorithm: algorithm,
		PublicKey: FormatPublic(public),
		Signature: base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, append([]byte(domain), files[hashesFile]...))),
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the signature: %w", err)
	}
	files[signatureFile] = append(raw, '\n')
	return pack(files, b.Manifest.programs())
}

// programs are the files that are executed.
func (m *Manifest) programs() map[string]bool {
	out := map[string]bool{}
	for _, name := range m.Runtime.Binaries {
		out[name] = true
	}
	return out
}

// checkSignature returns the key that signed the hashes.
func checkSignature(raw, hashes []byte) (ed25519.PublicKey, error) {
	bad := func(problem string) error {
		return &Error{Kind: BadSignature, File: signatureFile, Problem: problem, Do: "the bundle was changed after it was signed: fetch it again from its publisher"}
	}
	if wrong := wellFormed(raw); wrong != nil {
		return nil, bad(wrong[0].Message)
	}
	var all map[string]string
	if err := json.Unmarshal(raw, &all); err != nil || len(all) != 3 {
		return nil, bad("has not exactly algorithm, public_key and signature")
	}
	if all["algorithm"] != algorithm {
		return nil, bad("is of an algorithm other than " + algorithm)
	}
	key, err := ParsePublic(all["public_key"])
	if err != nil || FormatPublic(key) != all["public_key"] {
		return nil, bad("has no valid public_key")
	}
	sig, err := base64.RawURLEncoding.Strict().DecodeString(all["signature"])
	if err != nil || !ed25519.Verify(key, append([]byte(domain), hashes...), sig) {
		return nil, bad("does not belong to these files")
	}
	return key, nil
}
