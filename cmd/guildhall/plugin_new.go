package main

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"maps"
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
	var interpreter string
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Make the folder of a new plugin, in Go or Python",
		Long: "Writes a plugin that works: a hook that refuses some tasks, a listener, a test, and a Makefile whose run target\n" +
			"builds, packs and signs it, and installs and enables it on your instance. The SDK lies in its folder sdk.\n" +
			"With --interpreter python3 the same in Python.\n" +
			"NAME becomes the plugin's id: 3 to 40 of a-z and _. A path is fine: its last part is the name.",
		Example: "  guildhall plugin new hello && cd hello && make run\n  guildhall plugin new --interpreter python3 hello",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return misused("name the plugin: guildhall plugin new hello; see %s --help", cmd.CommandPath())
			}
			dir := filepath.Clean(args[0])
			files, err := newPlugin(filepath.Base(dir), interpreter)
			if err != nil {
				return err
			}
			if err := writeFolder(dir, files); err != nil {
				return err
			}
			_, err = fmt.Fprintf(s.out, "%s is a plugin now. What comes next:\n\n  cd %[1]s\n  make test    try it by itself\n  make run     install and enable it on your Guildhall\n\nREADME.md tells the rest.\n", dir)
			return err
		},
	}
	cmd.Flags().StringVar(&interpreter, "interpreter", "", "python3 for a plugin in Python")
	return endsWith2(cmd)
}

var pluginID = regexp.MustCompile(`^[a-z][a-z_]{1,38}[a-z]$`)

// newPlugin is the content of a new plugin's folder: in Go, or for an
// interpreter.
func newPlugin(id, interpreter string) (map[string][]byte, error) {
	if !pluginID.MatchString(id) {
		return nil, misused("%q cannot be a plugin's name: it is 3 to 40 of a-z and _, with a letter at both ends", id)
	}
	words := map[string]string{"ID": id, "Name": strings.ToUpper(id[:1]) + strings.ReplaceAll(id[1:], "_", " ")}
	switch interpreter {
	case "":
		return newInGo(id, words)
	case "python3":
		return filled("scaffold/python", words, plugins.PythonFiles)
	}
	return nil, misused("a new plugin is in Go, or has --interpreter python3; others you set up by yourself")
}

func newInGo(id string, words map[string]string) (map[string][]byte, error) {
	words["Platform"], words["SDK"] = runtime.GOOS+"_"+runtime.GOARCH, plugins.SDKModule
	words["Program"] = "bin/" + words["Platform"] + "/" + id
	if runtime.GOOS == "windows" {
		words["Program"] += ".exe"
	}
	return filled("scaffold", words, func() (map[string][]byte, error) {
		sdk, err := plugins.SDKFiles()
		if err != nil {
			return nil, err
		}
		out := map[string][]byte{}
		for name, content := range sdk {
			out["sdk/"+name] = content
		}
		out["go.mod"], out["go.sum"], err = plugins.ModuleFiles(id, "sdk")
		return out, err
	})
}

// filled are the templates of a folder, filled in, and further files.
func filled(folder string, words map[string]string, further func() (map[string][]byte, error)) (map[string][]byte, error) {
	out, err := fillScaffold(folder, words)
	if err != nil {
		return nil, err
	}
	more, err := further()
	maps.Copy(out, more)
	return out, err
}

func fillScaffold(folder string, words map[string]string) (map[string][]byte, error) {
	all, err := template.New("").Option("missingkey=error").ParseFS(scaffold, folder+"/*.tmpl")
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
		if name == "gitignore" || name == "ghpluginignore" {
			name = "." + name
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
