package bundle

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestPackOfAnInterpretedPlugin(t *testing.T) {
	t.Parallel()
	data := packed(t, map[string]string{
		manifestFile: python, "main.py": "print()", "lib/words.py": "", "README.md": "#",
		ignoreFile:  "# what is not needed\n*.pyc\ntests/\n/dev/*.txt\nnotes\n",
		".git/HEAD": "x", "lib/.env": "TOKEN=1", "word_guard.ghplugin": "old", "lib/words.pyc": "", "tests/test_x.py": "",
		"dev/a.txt": "", "dev/b.py": "", "lib/dev/a.txt": "", "notes/x": "", hashesFile: "{}", signatureFile: "{}",
	})
	b, err := Read(data)
	if err != nil {
		t.Fatal(err)
	}
	want := "README.md dev/b.py lib/dev/a.txt lib/words.py main.py manifest.json"
	if got := strings.Join(slices.Sorted(maps.Keys(b.Files)), " "); got != want {
		t.Errorf("the bundle has %s, want %s", got, want)
	}
	if _, err := b.Executable("linux", "amd64"); !IsKind(err, NoBinary) || !strings.Contains(err.Error(), "python3") {
		t.Errorf("its program: %v", err)
	}
}

func TestPackOfProgramsTakesNothingElse(t *testing.T) {
	t.Parallel()
	b, err := Read(packed(t, map[string]string{manifestFile: small, "bin/hello": string(program()), "main.go": "package main", "key.pem": "secret"}))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(slices.Sorted(maps.Keys(b.Files)), " "); got != "bin/hello manifest.json" {
		t.Errorf("the bundle has %s", got)
	}
}

func TestPackSaysWhatToDo(t *testing.T) {
	t.Parallel()
	key, err := FormatPrivate(testKey(1))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		files map[string]string
		kind  Kind
		says  string
	}{
		{map[string]string{"x": ""}, BadFolder, "guildhall plugin new"},
		{map[string]string{manifestFile: small}, BadFolder, "guildhall plugin build --platforms linux_amd64"},
		{map[string]string{manifestFile: small, "bin/hello": "#!/bin/sh"}, BadBinary, "guildhall plugin build --platforms linux_amd64"},
		{map[string]string{manifestFile: "{", "bin/hello": ""}, BadManifest, "is not JSON: line 1"},
		{map[string]string{manifestFile: python}, BadManifest, "main file"},
		{map[string]string{manifestFile: python, "main.py": "", "dev.pem": string(key)}, BadFolder, "private key"},
		{map[string]string{manifestFile: python, "main.py": "", "ä.py": ""}, BadPath, ignoreFile},
		{map[string]string{manifestFile: python, "main.py": "", ignoreFile: "!x"}, BadFolder, "line 1"},
		{map[string]string{manifestFile: python, "main.py": "", ignoreFile: "a\n[x"}, BadFolder, "line 2"},
		{map[string]string{manifestFile: python, "main.py": "", "a.py": "", "A.py": ""}, BadPath, "case of letters"},
	} {
		_, err := Pack(folder(t, c.files))
		if !IsKind(err, c.kind) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: %v; want %s, %q", slices.Sorted(maps.Keys(c.files)), err, c.kind, c.says)
		}
	}
	dir := folder(t, map[string]string{manifestFile: python, "main.py": ""})
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "x")); err != nil {
		t.Fatal(err)
	}
	if _, err := Pack(dir); !IsKind(err, BadFolder) || !strings.Contains(err.Error(), "no plain file") {
		t.Errorf("a link: %v", err)
	}
	if _, err := Pack(filepath.Join(dir, "nowhere")); !IsKind(err, BadFolder) {
		t.Errorf("no folder: %v", err)
	}
}
