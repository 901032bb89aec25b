package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// program is the least that passes for one of linux_amd64.
func program() []byte {
	b := make([]byte, 64)
	copy(b, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint16(b[18:], 62)
	return b
}

const small = `{"id":"hello","version":"1.0.0","api":"1","name":"Hello","description":"Greets.","publisher":"Acme",
"runtime":{"binaries":{"linux_amd64":"bin/hello"}}}`

const python = `{"id":"word_guard","version":"1.0.0","api":"1","name":"Guard","description":"Guards.","publisher":"Acme",
"runtime":{"interpreter":"python3","main":"main.py","tls":"none"}}`

// folder writes files into a new folder.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func packed(t testing.TB, files map[string]string) []byte {
	t.Helper()
	data, err := Pack(folder(t, files))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func smallBundle(t testing.TB) []byte {
	t.Helper()
	return packed(t, map[string]string{manifestFile: small, "bin/hello": string(program())})
}

// testKey is the same in every run.
func testKey(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func signed(t testing.TB, data []byte, key ed25519.PrivateKey) []byte {
	t.Helper()
	out, err := Sign(data, key)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// entry is one of a hostile archive.
type entry struct {
	tar.Header
	content string
}

func file(name, content string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Format: tar.FormatUSTAR}, content}
}

// archive writes entries as they are.
func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var plain bytes.Buffer
	w := tar.NewWriter(&plain)
	for _, e := range entries {
		if e.Size == 0 {
			e.Size = int64(len(e.content))
		}
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return zipped(t, plain.Bytes())
}

func zipped(t testing.TB, plain []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func unzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// withHashes adds the hashes.json that fits the entries.
func withHashes(t testing.TB, entries ...entry) []entry {
	t.Helper()
	hashes := map[string]string{}
	for _, e := range entries {
		hash := sha256.Sum256([]byte(e.content))
		hashes[e.Name] = hex.EncodeToString(hash[:])
	}
	raw, err := json.Marshal(hashes)
	if err != nil {
		t.Fatal(err)
	}
	return append([]entry{file(hashesFile, string(raw))}, entries...)
}
