package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// ignoreFile lists what of an interpreted plugin's folder is not packed.
const ignoreFile = ".ghpluginignore"

// Pack makes the bundle of a plugin's folder, unsigned: manifest.json and the
// programs that it names. Of a plugin that an interpreter runs it takes
// everything except what .ghpluginignore names, dot files, and earlier bundles.
// The same files make the same bundle.
func Pack(dir string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, &Error{Kind: BadFolder, Problem: "the folder cannot be opened", Err: err}
	}
	defer root.Close()
	p := packer{root: root, files: map[string][]byte{}, seen: names{}}
	if err := p.add(manifestFile); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &Error{Kind: BadFolder, File: manifestFile, Problem: "is not in the folder " + dir, Do: "name a plugin's folder, or make one with guildhall plugin new"}
		}
		return nil, err
	}
	m, err := ParseManifest(p.files[manifestFile])
	if err != nil {
		return nil, &Error{Kind: BadManifest, File: manifestFile, Problem: "is not right", Err: err}
	}
	for platform, name := range m.Runtime.Binaries {
		err := p.add(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &Error{Kind: BadFolder, File: name, Problem: "is the program for " + platform + ", but not there", Do: "build it with guildhall plugin build --platforms " + platform + ", or take it out of runtime.binaries"}
		}
		if err != nil {
			return nil, err
		}
	}
	if m.Runtime.Interpreter != "" {
		if err := p.addAll(); err != nil {
			return nil, err
		}
	}
	if _, err := checkContents(p.files); err != nil {
		return nil, err
	}
	return p.pack(m)
}

// packer collects the files of a folder.
type packer struct {
	root  *os.Root
	files map[string][]byte
	seen  names
	size  int64
}

// add reads a file, which has to be one itself.
func (p *packer) add(name string) error {
	if why := p.seen.add(name); why != "" {
		return &Error{Kind: BadPath, File: name, Problem: "the name " + why, Do: "rename the file, or name it in " + ignoreFile}
	}
	info, err := p.root.Lstat(name)
	if err != nil {
		return &Error{Kind: BadFolder, File: name, Problem: "cannot be read", Err: err}
	}
	if !info.Mode().IsRegular() {
		return &Error{Kind: BadFolder, File: name, Problem: "is no plain file", Do: "put a copy in its place, or name it in " + ignoreFile}
	}
	f, err := p.root.Open(name)
	if err != nil {
		return &Error{Kind: BadFolder, File: name, Problem: "cannot be read", Err: err}
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, MaxUnpacked+1))
	if err != nil {
		return &Error{Kind: BadFolder, File: name, Problem: "cannot be read", Err: err}
	}
	if p.size += int64(len(content)); p.size > MaxUnpacked {
		return tooLarge(name, "with it the bundle has more than %d MiB", MaxUnpacked>>20)
	}
	if len(p.files) >= MaxFiles-2 {
		return tooLarge(name, "the bundle has more than %d files", MaxFiles-2)
	}
	if holdsPrivateKey(content) {
		return &Error{Kind: BadFolder, File: name, Problem: "has a private key in it, which everybody who gets the bundle could read", Do: "keep it outside of the folder, or name it in " + ignoreFile}
	}
	p.files[name] = content
	return nil
}

// addAll adds what the folder of an interpreted plugin has.
func (p *packer) addAll() error {
	skip, err := p.ignored()
	if err != nil {
		return err
	}
	return fs.WalkDir(p.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return &Error{Kind: BadFolder, File: name, Problem: "cannot be read", Err: err}
		}
		if name == "." || name == manifestFile {
			return nil
		}
		base := path.Base(name)
		switch {
		case strings.HasPrefix(base, "."), strings.HasSuffix(base, Extension) && !d.IsDir(), reserved(name), skip(name, d.IsDir()):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			return nil
		}
		return p.add(name)
	})
}

// ignored reads .ghpluginignore: a pattern of path.Match on each line, which
// means names at any depth, or from the top if it has a slash; with a slash at
// the end, folders only.
func (p *packer) ignored() (func(name string, dir bool) bool, error) {
	text, err := fs.ReadFile(p.root.FS(), ignoreFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{Kind: BadFolder, File: ignoreFile, Problem: "cannot be read", Err: err}
	}
	var patterns []string
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if _, err := path.Match(line, ""); err != nil || strings.HasPrefix(line, "!") || strings.Contains(line, "**") {
			return nil, &Error{Kind: BadFolder, File: ignoreFile, Problem: fmt.Sprintf("line %d, %q, is no pattern", i+1, clip(line)), Do: "write names with * ? and [a-z], one on each line"}
		}
		patterns = append(patterns, line)
	}
	return func(name string, dir bool) bool {
		for _, pattern := range patterns {
			rest, folders := strings.CutSuffix(pattern, "/")
			what := path.Base(name)
			if strings.Contains(rest, "/") {
				rest, what = strings.TrimPrefix(rest, "/"), name
			}
			if fits, err := path.Match(rest, what); err == nil && fits && (dir || !folders) {
				return true
			}
		}
		return false
	}, nil
}

// pack adds the hashes and writes the archive.
func (p *packer) pack(m *Manifest) ([]byte, error) {
	hashes := map[string]string{}
	for name, content := range p.files {
		hash := sha256.Sum256(content)
		hashes[name] = hex.EncodeToString(hash[:])
	}
	raw, err := json.MarshalIndent(hashes, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the hashes: %w", err)
	}
	p.files[hashesFile] = append(raw, '\n')
	return pack(p.files, m.programs())
}
