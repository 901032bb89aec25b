package plugins

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// The sources of the SDK, so that a plugin can be written without fetching
// Guildhall. sdk.mod and sdk.sum are go.mod and go.sum of the SDK where it is a
// module of its own; `make generate` writes them after those of Guildhall.
//
//go:embed sdk sdk.mod sdk.sum
var sdkFiles embed.FS

// SDKModule is the module path of the SDK.
const SDKModule = "github.com/guildhall-dev/guildhall/plugins/sdk"

// SDKFiles are the files of the SDK as a module of its own: its path in the
// module, and its content.
func SDKFiles() (map[string][]byte, error) {
	out := map[string][]byte{}
	err := fs.WalkDir(sdkFiles, "sdk", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "testdata":
			return fs.SkipDir
		case d.IsDir(), strings.HasSuffix(name, "_test.go"):
			return nil
		}
		out[strings.TrimPrefix(name, "sdk/")], err = sdkFiles.ReadFile(name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("the sources of the SDK: %w", err)
	}
	for file, name := range map[string]string{"go.mod": "sdk.mod", "go.sum": "sdk.sum"} {
		if out[file], err = sdkFiles.ReadFile(name); err != nil {
			return nil, fmt.Errorf("the module of the SDK: %w", err)
		}
	}
	return out, nil
}

// What a plugin in Python needs besides its own code, as the example has it.
//
//go:embed examples/wordguard/guildhall_plugin.py examples/wordguard/guildhall/plugin/v1/*.py
var pythonFiles embed.FS

// PythonFiles are the files that a plugin in Python has beside its own.
func PythonFiles() (map[string][]byte, error) {
	const top = "examples/wordguard"
	out := map[string][]byte{}
	err := fs.WalkDir(pythonFiles, top, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out[strings.TrimPrefix(name, top+"/")], err = pythonFiles.ReadFile(name)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("the helper for plugins in Python: %w", err)
	}
	return out, nil
}

// ModuleFiles are go.mod and go.sum of a module that uses the SDK, which lies in
// the folder below it.
func ModuleFiles(module, folder string) (mod, sum []byte, err error) {
	sdk, err := SDKFiles()
	if err != nil {
		return nil, nil, err
	}
	mod, err = moduleUsing(string(sdk["go.mod"]), module, folder)
	return mod, sdk["go.sum"], err
}

// moduleUsing is the go.mod of a module that uses the SDK, whose go.mod is
// given.
func moduleUsing(sdk, module, folder string) ([]byte, error) {
	head, requirements, ok := strings.Cut(sdk, "\nrequire (\n")
	_, version, found := strings.Cut(head, "\ngo ")
	if !ok || !found {
		return nil, errors.New("sdk.mod is not as make generate writes it")
	}
	return fmt.Appendf(nil, "module %s\n\ngo %s\nrequire %s v0.0.0\n\nrequire (\n%s\nreplace %[3]s => ./%[5]s\n",
		module, version, SDKModule, indirect(requirements), path.Clean(folder)), nil
}

// indirect marks requirements as what the SDK needs, not the module itself.
func indirect(requirements string) string {
	lines := strings.SplitAfter(requirements, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "\t") && !strings.Contains(line, "//") {
			lines[i] = strings.TrimSuffix(line, "\n") + " // indirect\n"
		}
	}
	return strings.Join(lines, "")
}
