package seal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

const (
	place = "0198a/webhook_endpoints/secret/0198b"
	other = "0198c/webhook_endpoints/secret/0198b"
)

// racerDir names the folder in which a copy of the test binary opens a keyring, instead of running tests.
const racerDir = "SEAL_RACER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(racerDir); dir != "" {
		io.Copy(io.Discard, os.Stdin) // the start signal: all racers' inputs are closed at once
		k, err := Open(dir)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Print(hex.EncodeToString(k.Derive("race", 16)))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func open(t *testing.T, dir string) *Keyring {
	t.Helper()
	k, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSealAndOpen(t *testing.T) {
	t.Parallel()
	k := open(t, t.TempDir())
	for _, plaintext := range [][]byte{nil, []byte("x"), []byte("whsec_hunter2"), bytes.Repeat([]byte("long"), 1<<18)} {
		sealed, err := k.Seal(plaintext, place)
		if err != nil {
			t.Fatal(err)
		}
		if grown := len(sealed) - len(plaintext); grown > 150 {
			t.Errorf("%d bytes grew by %d", len(plaintext), grown)
		}
		if len(plaintext) > 4 && bytes.Contains(sealed, plaintext) {
			t.Error("the plaintext shows")
		}
		got, err := k.Open(sealed, place)
		if err != nil || !bytes.Equal(got, plaintext) {
			t.Errorf("Open: %v", err)
		}
	}
	one, err := k.Seal([]byte("same"), place)
	if err != nil {
		t.Fatal(err)
	}
	two, err := k.Seal([]byte("same"), place)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(one, two) {
		t.Error("sealing twice gives the same bytes")
	}
	if _, err := k.Seal([]byte("x"), ""); err == nil {
		t.Error("sealed without a place")
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	k, stranger := open(t, t.TempDir()), open(t, t.TempDir())
	sealed, err := k.Seal([]byte("whsec_hunter2"), place)
	if err != nil {
		t.Fatal(err)
	}
	withSecret, err := SealWith([]byte("idempotency key"), []byte("whsec_hunter2"), place)
	if err != nil {
		t.Fatal(err)
	}
	ways := map[string]struct {
		sealed []byte
		open   func([]byte, string) ([]byte, error)
	}{
		"keyring": {sealed, k.Open},
		"secret":  {withSecret, func(b []byte, aad string) ([]byte, error) { return OpenWith([]byte("idempotency key"), b, aad) }},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuse := func(what string, value []byte, aad string) {
				if _, err := way.open(value, aad); !errors.Is(err, ErrOpen) {
					t.Errorf("%s: %v", what, err)
				}
			}
			refuse("another place", way.sealed, other)
			refuse("no place", way.sealed, "")
			for n := range way.sealed {
				refuse(fmt.Sprintf("cut to %d", n), way.sealed[:n], place)
				bent := bytes.Clone(way.sealed)
				bent[n] ^= 1
				refuse(fmt.Sprintf("bent at %d", n), bent, place)
			}
			refuse("with a tail", append(bytes.Clone(way.sealed), 0), place)
			if _, err := way.open(way.sealed, place); err != nil {
				t.Errorf("the untouched value: %v", err)
			}
		})
	}
	if _, err := stranger.Open(sealed, place); !errors.Is(err, ErrOpen) {
		t.Errorf("another instance: %v", err)
	}
	if _, err := k.Open(withSecret, place); !errors.Is(err, ErrOpen) {
		t.Errorf("the other form: %v", err)
	}
	for _, secret := range []string{"", "idempotency kez"} {
		if _, err := OpenWith([]byte(secret), withSecret, place); !errors.Is(err, ErrOpen) {
			t.Errorf("secret %q: %v", secret, err)
		}
	}
	if _, err := SealWith(nil, []byte("x"), place); err == nil {
		t.Error("sealed with an empty secret")
	}
}

func TestSecondOpenReadsTheSameKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := open(t, dir)
	sealed, err := first.Seal([]byte("kept"), place)
	if err != nil {
		t.Fatal(err)
	}
	second := open(t, dir)
	if got, err := second.Open(sealed, place); err != nil || string(got) != "kept" {
		t.Errorf("Open = %q, %v", got, err)
	}
	if !bytes.Equal(first.Derive("p", 64), second.Derive("p", 64)) || !bytes.Equal(first.MAC("p", []byte("d")), second.MAC("p", []byte("d"))) {
		t.Error("derived keys differ between starts")
	}
	info, err := os.Stat(filepath.Join(dir, fileName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "keys", ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestDerivation(t *testing.T) {
	t.Parallel()
	k := open(t, t.TempDir())
	seen := map[string]string{}
	for name, value := range map[string][]byte{
		"derive a": k.Derive("a", 32), "derive b": k.Derive("b", 32),
		"mac a":       k.MAC("a"),
		"mac a empty": k.MAC("a", nil), "mac a/bc": k.MAC("x", []byte("a"), []byte("bc")), "mac ab/c": k.MAC("x", []byte("ab"), []byte("c")),
		"mac b": k.MAC("b"), "stranger": open(t, t.TempDir()).Derive("a", 32),
	} {
		if len(value) != 32 {
			t.Errorf("%s has %d bytes", name, len(value))
		}
		if before, ok := seen[string(value)]; ok {
			t.Errorf("%s equals %s", name, before)
		}
		seen[string(value)] = name
	}
	if got := len(k.Derive("long", 8160)); got != 8160 {
		t.Errorf("%d bytes", got)
	}
	for _, n := range []int{0, -1, 8161} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%d bytes were given", n)
				}
			}()
			k.Derive("x", n)
		}()
	}
}

func TestRefusesKeyFiles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		content string
		mode    os.FileMode
		want    string
	}{
		"world readable": {"", 0o644, "chmod 600"},
		"group writable": {"", 0o660, "chmod 600"},
		"empty":          {" ", 0o600, "restore it from a backup"},
		"other JSON":     {"{}", 0o600, "restore it from a backup"},
		"other text":     {"-----BEGIN", 0o600, "restore it from a backup"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			open(t, dir)
			path := filepath.Join(dir, fileName)
			if c.content != "" {
				if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Open: %v", err)
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
				t.Error("the file was replaced")
			}
		})
	}
	dir := t.TempDir()
	open(t, dir)
	if err := os.Chmod(filepath.Join(dir, fileName), 0o440); err != nil {
		t.Fatal(err)
	}
	open(t, dir) // a mounted secret, readable by the service's group
}

// A key added as primary seals from then on, and what older keys sealed still opens.
func TestRotation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	before := open(t, dir)
	sealed, err := before.Seal([]byte("old"), place)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, fileName)
	content, err := read(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := decode(content)
	if err != nil {
		t.Fatal(err)
	}
	manager := keyset.NewManagerFromHandle(f.wrap)
	id, err := manager.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	if err := manager.SetPrimary(id); err != nil {
		t.Fatal(err)
	}
	if f.wrap, err = manager.Handle(); err != nil {
		t.Fatal(err)
	}
	if content, err = encode(f); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	after := open(t, dir)
	if got, err := after.Open(sealed, place); err != nil || string(got) != "old" {
		t.Errorf("the old value: %q, %v", got, err)
	}
	fresh, err := after.Seal([]byte("new"), place)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := before.Open(fresh, place); !errors.Is(err, ErrOpen) {
		t.Errorf("the new value is not under the new key: %v", err)
	}
	if !bytes.Equal(before.Derive("p", 16), after.Derive("p", 16)) {
		t.Error("derived keys changed")
	}
}

func TestProcessesRacingOnFirstStartShareOneKey(t *testing.T) {
	t.Parallel()
	const rounds, racers = 3, 4
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for range rounds {
		dir := t.TempDir()
		signal, start, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		var outs [racers]bytes.Buffer
		var procs [racers]*exec.Cmd
		for i := range racers {
			procs[i] = exec.Command(self)
			procs[i].Env = append(os.Environ(), racerDir+"="+dir)
			procs[i].Stdin, procs[i].Stdout, procs[i].Stderr = signal, &outs[i], &outs[i]
			if err := procs[i].Start(); err != nil {
				t.Fatal(err)
			}
		}
		signal.Close()
		start.Close()
		for i := range racers {
			if err := procs[i].Wait(); err != nil {
				t.Errorf("racer %d: %v: %s", i, err, outs[i].String())
			}
		}
		want := hex.EncodeToString(open(t, dir).Derive("race", 16))
		for i := range racers {
			if outs[i].String() != want {
				t.Errorf("racer %d has key %s, the file %s", i, outs[i].String(), want)
			}
		}
	}
}
