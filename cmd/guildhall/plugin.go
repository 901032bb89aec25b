package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
)

func pluginCommand(s *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plugin",
		Short: "Make, sign, install and look at plugins",
		Long: "A plugin is a program of its own that extends Guildhall. It is handed on as a bundle, one .ghplugin file: its\n" +
			"manifest, its programs, the hash of each, and the signature of its publisher.\n\n" +
			"The status is 0 when all is well, 1 when a plugin or bundle is not right, and 2 when the command was not.",
		Example: "  guildhall plugin new hello && cd hello && make run\n" +
			"  guildhall plugin verify hello.ghplugin",
		Args: cobra.NoArgs,
	}
	cmd.AddCommand( // on the author's machine alone
		pluginNewCommand(s), pluginBuildCommand(s), pluginPackCommand(s), pluginSignCommand(s), pluginVerifyCommand(s), pluginKeyCommand(s),
		pluginCheckCommand(s),
	)
	cmd.AddCommand( // where the instance runs
		pluginInstallCommand(s), pluginTrustCommand(s), pluginListCommand(s), pluginRemoveCommand(s), pluginPinCommand(s), pluginRevokeCommand(s),
	)
	cmd.AddCommand(pluginEnableCommand(s)) // anywhere
	return cmd
}

// misused is an error in how a command was called.
func misused(format string, args ...any) error {
	return exitError{exitNotSent, fmt.Errorf(format, args...)}
}

// folderArgument is the one argument that may be left out.
func folderArgument(cmd *cobra.Command, args []string) (string, error) {
	switch len(args) {
	case 0:
		return ".", nil
	case 1:
		return args[0], nil
	}
	return "", misused("%s takes one folder, not %d; see %[1]s --help", cmd.CommandPath(), len(args))
}

// fileArgument is the one argument that has to be there.
func fileArgument(cmd *cobra.Command, args []string) (string, error) {
	if len(args) != 1 {
		return "", misused("name one file: %s; see %s --help", cmd.UseLine(), cmd.CommandPath())
	}
	return args[0], nil
}

// readManifest reads the manifest of a plugin's folder.
func readManifest(dir string) (*bundle.Manifest, error) {
	path := filepath.Join(dir, "manifest.json")
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, misused("%s is no folder of a plugin: it has no manifest.json; guildhall plugin new NAME makes one", dir)
	}
	if err != nil {
		return nil, err
	}
	m, err := bundle.ParseManifest(raw)
	if err != nil {
		return nil, fmt.Errorf("%s is not right: %w", path, err)
	}
	return m, nil
}

// readBundle reads a bundle's file and verifies it.
func readBundle(path string) ([]byte, *bundle.Bundle, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, misused("%w; guildhall plugin pack makes a bundle of a plugin's folder", err)
	}
	if info.IsDir() {
		return nil, nil, misused("%s is a folder; guildhall plugin pack %[1]s makes a bundle of it", path)
	}
	if info.Size() > bundle.MaxPacked {
		return nil, nil, fmt.Errorf("%s has %d bytes; a bundle has at most %d MiB", path, info.Size(), bundle.MaxPacked>>20)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, exitError{exitNotSent, err}
	}
	b, err := bundle.Read(data)
	if err != nil {
		return nil, nil, fmt.Errorf("%s is refused: %s", path, plain(err.Error()))
	}
	return data, b, nil
}

// replaceFile writes a file whole or not at all.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
	}
	return nil
}
