package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// folder is where listen keeps what outlives it, below the user's folder of
// settings: a signing secret for each API key, so that the application under
// development keeps its setting; how far it read, so that the next start need
// not read the log again; and how to reach each listen that runs.
type folder string

// folder finds it from the environment that the command was given.
func (s *shell) folder() (folder, error) {
	env := map[string]string{}
	for _, e := range s.env {
		if name, value, ok := strings.Cut(e, "="); ok {
			env[name] = value
		}
	}
	base := env["XDG_CONFIG_HOME"]
	switch {
	case filepath.IsAbs(base):
	case runtime.GOOS == "windows":
		base = env["AppData"]
	case runtime.GOOS == "darwin" && env["HOME"] != "":
		base = filepath.Join(env["HOME"], "Library", "Application Support")
	case env["HOME"] != "":
		base = filepath.Join(env["HOME"], ".config")
	}
	if !filepath.IsAbs(base) {
		return "", errors.New("there is no folder for settings: set XDG_CONFIG_HOME or HOME")
	}
	f := folder(filepath.Join(base, "guildhall", "listen"))
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return "", fmt.Errorf("make the folder for settings: %w", err)
	}
	return f, nil
}

// account names an API key of an instance without telling it.
func (r *remote) account() string {
	sum := sha256.Sum256([]byte(r.URL + "\n" + r.APIKey))
	return hex.EncodeToString(sum[:8])
}

// secretSize is the length of a signing secret in bytes, as the product makes
// them.
const secretSize = 32

// secret is the signing secret of the account, made at first use.
func (f folder) secret(account string) (string, error) {
	path := filepath.Join(string(f), account+".secret")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		raw := make([]byte, secretSize)
		rand.Read(raw) // never fails: the process ends instead
		if err = f.create(path, []byte(secretPrefix+base64.StdEncoding.EncodeToString(raw)+"\n")); err == nil {
			text, err = os.ReadFile(path) // another listen may have been faster
		}
	}
	if err != nil {
		return "", fmt.Errorf("the signing secret: %w", err)
	}
	secret := strings.TrimSpace(string(text))
	if _, err := openSecret(secret); err != nil {
		return "", fmt.Errorf("%s: %w; remove the file to have a new one", path, err)
	}
	return secret, nil
}

const secretPrefix = "whsec_"

// openSecret returns the bytes of a secret as it is written.
func openSecret(text string) ([]byte, error) {
	rest, ok := strings.CutPrefix(text, secretPrefix)
	raw, err := base64.StdEncoding.DecodeString(rest)
	if !ok || err != nil || len(raw) < 24 || len(raw) > 64 {
		return nil, errors.New("a secret is whsec_ and 24 to 64 bytes in base64")
	}
	return raw, nil
}

// create writes a whole file that only its owner reads, unless it is there.
func (f folder) create(path string, text []byte) error {
	temporary, err := f.temporary(text)
	if err != nil {
		return err
	}
	defer os.Remove(temporary)
	if err := os.Link(temporary, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// replace writes a whole file that only its owner reads.
func (f folder) replace(path string, text []byte) error {
	temporary, err := f.temporary(text)
	if err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return nil
}

func (f folder) temporary(text []byte) (string, error) {
	t, err := os.CreateTemp(string(f), ".new-*") // mode 0600
	if err != nil {
		return "", err
	}
	_, err = t.Write(text)
	if err = errors.Join(err, t.Close()); err != nil {
		return "", errors.Join(err, os.Remove(t.Name()))
	}
	return t.Name(), nil
}

// bookmark is a place in the feed: its cursor, and the number of the last
// event before it.
type bookmark struct {
	Cursor   string `json:"cursor"`
	Sequence int64  `json:"sequence"`
}

func (f folder) bookmarks(account string) string {
	return filepath.Join(string(f), account+".places")
}

// place is how far the feed of the types was read before. What cannot be read
// only costs time: the feed is read from its beginning.
func (f folder) place(account, types string) bookmark {
	var all map[string]bookmark
	text, err := os.ReadFile(f.bookmarks(account))
	if err != nil || json.Unmarshal(text, &all) != nil {
		return bookmark{}
	}
	return all[types]
}

// mark keeps how far the feed of the types was read.
func (f folder) mark(account, types string, b bookmark) error {
	all := map[string]bookmark{}
	if text, err := os.ReadFile(f.bookmarks(account)); err == nil && json.Unmarshal(text, &all) != nil || len(all) > 100 {
		all = map[string]bookmark{}
	}
	all[types] = b
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return f.replace(f.bookmarks(account), text)
}

// listener says how trigger reaches a listen that runs.
type listener struct {
	Account   string    `json:"account"`
	URL       string    `json:"url"`        // of the instance
	Control   string    `json:"control"`    // http://127.0.0.1:…
	Token     string    `json:"token"`      // to be sent as bearer
	ForwardTo string    `json:"forward_to"` // "" = it only prints
	Process   int       `json:"process"`
	Started   time.Time `json:"started"`
}

const listenerFiles = "listener-*.json"

// announce makes the listener known until the returned function is called.
func (f folder) announce(l listener) (withdraw func(), err error) {
	text, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	name := strings.Replace(listenerFiles, "*", rand.Text(), 1)
	path := filepath.Join(string(f), name)
	if err := f.replace(path, text); err != nil {
		return nil, fmt.Errorf("announce this listen: %w", err)
	}
	return func() { _ = os.Remove(path) }, nil // a file that stays is removed by the next trigger
}

// listeners are those that run. Files of others, which were killed, go.
func (f folder) listeners(ctx context.Context, client *http.Client) (running []listener) {
	paths, _ := filepath.Glob(filepath.Join(string(f), listenerFiles)) // the only error is a bad pattern
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it ended just now
		}
		var l listener
		if json.Unmarshal(text, &l) == nil && l.alive(ctx, client) {
			running = append(running, l)
		} else if ctx.Err() == nil {
			_ = os.Remove(path) // one that stays is looked at again next time
		}
	}
	return running
}
