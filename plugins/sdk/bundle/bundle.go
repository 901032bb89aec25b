// Package bundle is the file in which a plugin is handed on, and the manifest
// in it.
//
// A bundle (.ghplugin) is a tar.gz with manifest.json, the files of the plugin,
// hashes.json, which has the SHA-256 of each of these, and, if it is signed,
// signature.json: an Ed25519 signature over the bytes of hashes.json. So
// whoever trusts the key trusts each byte of the manifest and the programs.
//
// Read verifies everything in memory before it hands out anything: what was
// hashed is what is run. A bundle is somebody else's file; nothing in it can
// make Read write to the disk, reach the network, or use more memory than the
// limits say. Whether the signer is one to trust is for the caller to decide.
package bundle

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Bundle is a plugin as it was handed on, verified.
type Bundle struct {
	Manifest *Manifest
	Files    map[string][]byte // all but hashes.json and signature.json
	SHA256   [sha256.Size]byte // of the file
	Signer   ed25519.PublicKey // nil: unsigned
}

// Read verifies a bundle. Its errors are *Error.
func Read(data []byte) (*Bundle, error) {
	files, err := unpack(data)
	if err != nil {
		return nil, err
	}
	b := &Bundle{Files: files, SHA256: sha256.Sum256(data)}
	hashes, ok := files[hashesFile]
	if !ok {
		return nil, &Error{Kind: BadHashes, File: hashesFile, Problem: "is missing", Do: "make the bundle with guildhall plugin pack"}
	}
	delete(files, hashesFile)
	if signature, signed := files[signatureFile]; signed {
		if b.Signer, err = checkSignature(signature, hashes); err != nil {
			return nil, err
		}
		delete(files, signatureFile)
	}
	if err := checkHashes(hashes, files); err != nil {
		return nil, err
	}
	if b.Manifest, err = checkContents(files); err != nil {
		return nil, err
	}
	return b, nil
}

// checkHashes holds the files against hashes.json, both ways.
func checkHashes(raw []byte, files map[string][]byte) error {
	bad := func(file, problem string) error {
		return &Error{Kind: BadHashes, File: file, Problem: problem, Do: "the bundle was changed after it was packed: fetch it again from its publisher"}
	}
	if wrong := wellFormed(raw); wrong != nil {
		return bad(hashesFile, wrong[0].Message)
	}
	var listed map[string]string
	if err := json.Unmarshal(raw, &listed); err != nil {
		return bad(hashesFile, "is not an object of hashes")
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		want, ok := listed[name]
		if !ok {
			return bad(name, "is not in hashes.json")
		}
		if hash := sha256.Sum256(files[name]); hex.EncodeToString(hash[:]) != want {
			return bad(name, "has another hash than hashes.json says")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		if _, ok := files[name]; !ok {
			return bad(clip(name), "is in hashes.json, but not in the bundle")
		}
	}
	return nil
}

// checkContents reads the manifest and holds the files against it.
func checkContents(files map[string][]byte) (*Manifest, error) {
	raw, ok := files[manifestFile]
	if !ok {
		return nil, &Error{Kind: BadManifest, File: manifestFile, Problem: "is missing", Do: "put it into the plugin's folder and pack again"}
	}
	m, err := ParseManifest(raw)
	if err != nil {
		return nil, &Error{Kind: BadManifest, File: manifestFile, Problem: "is not right", Err: err}
	}
	if main := m.Runtime.Main; main != "" {
		if _, ok := files[main]; !ok {
			return nil, &Error{Kind: BadManifest, File: main, Problem: "is the main file, but not there", Do: "write it, or name another one in runtime.main"}
		}
	}
	for _, platform := range slices.Sorted(maps.Keys(m.Runtime.Binaries)) {
		name := m.Runtime.Binaries[platform]
		content, ok := files[name]
		if !ok {
			return nil, &Error{Kind: BadManifest, File: name, Problem: "is the program for " + platform + ", but not there", Do: "build it (guildhall plugin build --platforms " + platform + "), or take it out of runtime.binaries"}
		}
		if !programOf(platform, content) {
			return nil, &Error{Kind: BadBinary, File: name, Problem: "is no program for " + platform, Do: "build it with guildhall plugin build --platforms " + platform}
		}
	}
	return m, nil
}

// Executable returns the program for a platform.
func (b *Bundle) Executable(goos, goarch string) ([]byte, error) {
	r := b.Manifest.Runtime
	if r.Interpreter != "" {
		return nil, &Error{Kind: NoBinary, File: r.Main, Problem: "has no program of its own", Do: "run it with " + r.Interpreter}
	}
	platform := goos + "_" + goarch
	if name, ok := r.Binaries[platform]; ok {
		return b.Files[name], nil
	}
	return nil, &Error{Kind: NoBinary, Problem: fmt.Sprintf("the bundle has no program for %s, only for %s", platform, strings.Join(slices.Sorted(maps.Keys(r.Binaries)), ", ")),
		Do: "ask the publisher for one"}
}

// IsKind reports whether err is an *Error of the kind.
func IsKind(err error, kind Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == kind
}
