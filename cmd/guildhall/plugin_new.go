package main

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"text/template"

	"github.com/spf13/cobra"

	"github.com/guildhall-dev/guildhall/plugins"
)

// scaffold are the files of a new plugin, as templates.
//
//go:embed scaffold
var scaffold embed.FS

func pluginNewCommand(s *shell) *cobra.Command {
	return endsWith2(&cobra.Command{
		Use:   "new NAME",
		Short: "Make the folder of a new plugin, in Go",
		Long: "Writes a plugin that works: a hook that refuses some tasks, a listener, a test, and a Makefile whose run target\n" +
			"builds, packs and signs it, and installs and enables it on your instance. The SDK lies in its folder sdk.\n" +
			"NAME becomes the plugin's id: 3 to 40 of a-z and _. A path is fine: its last part is the name.",
		Example: "  guildhall plugin new hello && cd hello && make run",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return misused("name the plugin: guildhall plugin new hello; see %s --help", cmd.CommandPath())
			}
			dir := filepath.Clean(args[0])
			files, err := newPlugin(filepath.Base(dir))
			if err != nil {
				return err
			}
			if err := writeFolder(dir, files); err != nil {
				return err
			}
			_, err = fmt.Fprintf(s.out, "%s is a plugin now. What comes next:\n\n  cd %[1]s\n  make test    try it by itself\n  make run     install and enable it on your Guildhall\n\nREADME.md tells the rest.\n", dir)
			return err
		},
	})
}

var pluginID = regexp.MustCompile(`^[a-z][a-z_]{1,38}[a-z]$`)

// newPlugin is the content of a new plugin's folder.
func newPlugin(id string) (map[string][]byte, error) {
	if !pluginID.MatchString(id) {
		return nil, misused("%q cannot be a plugin's name: it is 3 to 40 of a-z and _, with a letter at both ends", id)
	}
	program := "bin/" + runtime.GOOS + "_" + runtime.GOARCH + "/" + id
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	words := map[string]string{
		"ID": id, "Name": strings.ToUpper(id[:1]) + strings.ReplaceAll(id[1:], "_", " "),
		"Platform": runtime.GOOS + "_" + runtime.GOARCH, "Program": program, "SDK": plugins.SDKModule,
	}
	files, err := fillScaffold(words)
	if err != nil {
		return nil, err
	}
	if files["go.mod"], files["go.sum"], err = plugins.ModuleFiles(id, "sdk"); err != nil {
		return nil, err
	}
	sdk, err := plugins.SDKFiles()
	if err != nil {
		return nil, err
	}
	for name, content := range sdk {
		files["sdk/"+name] = content
	}
	return files, nil
}

func fillScaffold(words map[string]string) (map[string][]byte, error) {
	all, err := template.New("").Option("missingkey=error").ParseFS(scaffold, "scaffold/*.tmpl")
	if err != nil {
		return nil, fmt.Errorf("the templates of a plugin: %w", err)
	}
	out := map[string][]byte{}
	for _, t := range all.Templates() {
		name, ok := strings.CutSuffix(t.Name(), ".tmpl")
		if !ok {
			continue
		}
		var text bytes.Buffer
		if err := t.Execute(&text, words); err != nil {
			return nil, fmt.Errorf("the template of %s: %w", name, err)
		}
		if name == "gitignore" {
			name = ".gitignore"
		}
		out[name] = text.Bytes()
	}
	return out, nil
}

// writeFolder writes files into a folder that is new, or empty.
func writeFolder(dir string, files map[string][]byte) error {
	there, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) || len(there) > 0 {
		return misused("%s is there already: choose another name, or move it away first", dir)
	}
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
