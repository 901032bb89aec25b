package seal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf"
)

// fileName is the instance key's place inside the data folder.
const fileName = "keys/instance.key"

// keyFile is the content of the instance key: two tink keysets. Keys that wrap may be added, with a new primary, and old
// values still open. The key that derives must stay, for what was derived from it (cursors, tokens) cannot be derived
// again from another.
type keyFile struct{ wrap, derive *keyset.Handle }

// stored is keyFile in JSON; each part is a keyset in tink's own JSON form, so tink's tools can edit it.
type stored struct {
	Wrap   json.RawMessage `json:"wrap"`
	Derive json.RawMessage `json:"derive"`
}

// Open reads the instance key dataDir/keys/instance.key. On the first start it makes the key, readable by its owner
// alone; where several processes start at once, all end with the same one. It refuses a file that others can read or that
// the group can write, and it never replaces a file that it cannot understand: the sealed values would be lost with it.
// All replicas of an instance need the same file.
func Open(dataDir string) (*Keyring, error) {
	path := filepath.Join(dataDir, fileName)
	content, err := read(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = create(path); err != nil {
			return nil, fmt.Errorf("seal: make the instance key: %w", err)
		}
		content, err = read(path) // maybe another process's, if it was first
	}
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	f, err := decode(content)
	if err != nil {
		return nil, fmt.Errorf("seal: %s is not an instance key; restore it from a backup: %w", path, err)
	}
	k, err := newKeyring(f)
	if err != nil {
		return nil, fmt.Errorf("seal: %s: %w", path, err)
	}
	return k, nil
}

func read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o027 != 0 {
		return nil, fmt.Errorf("%s has mode %04o, so others can read or change it; run chmod 600 on it", path, mode)
	}
	return os.ReadFile(path)
}

// create writes a new key to path unless there is one. The file appears whole or not at all: it is written and synced
// under another name, then linked, which fails where the name is taken.
func create(path string) error {
	content, err := generate()
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".instance-*.tmp") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(content)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a new name in dir survive a loss of power.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func generate() ([]byte, error) {
	// Extended nonces: one key may wrap any number of data keys without counting them.
	wrap, err := keyset.NewHandle(aead.XChaCha20Poly1305KeyTemplate())
	if err != nil {
		return nil, err
	}
	derive, err := keyset.NewHandle(prf.HKDFSHA256PRFKeyTemplate())
	if err != nil {
		return nil, err
	}
	return encode(keyFile{wrap, derive})
}

func encode(f keyFile) ([]byte, error) {
	var wrap, derive bytes.Buffer
	if err := insecurecleartextkeyset.Write(f.wrap, keyset.NewJSONWriter(&wrap)); err != nil {
		return nil, err
	}
	if err := insecurecleartextkeyset.Write(f.derive, keyset.NewJSONWriter(&derive)); err != nil {
		return nil, err
	}
	return json.MarshalIndent(stored{wrap.Bytes(), derive.Bytes()}, "", "  ")
}

func decode(content []byte) (keyFile, error) {
	var s stored
	if err := json.Unmarshal(content, &s); err != nil {
		return keyFile{}, err
	}
	wrap, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(s.Wrap)))
	if err != nil {
		return keyFile{}, fmt.Errorf("wrapping keys: %w", err)
	}
	derive, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(s.Derive)))
	if err != nil {
		return keyFile{}, fmt.Errorf("derivation keys: %w", err)
	}
	return keyFile{wrap, derive}, nil
}
