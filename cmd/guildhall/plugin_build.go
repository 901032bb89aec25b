package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
)

func pluginBuildCommand(s *shell) *cobra.Command {
	var platforms []string
	cmd := &cobra.Command{
		Use:   "build [DIR]",
		Short: "Compile a plugin that is written in Go",
		Long: "Compiles the Go program in the folder for each platform, into the file that runtime.binaries of manifest.json has\n" +
			"for it: bin/linux_amd64/hello. It is static and without symbols, and the same sources make the same program.\n" +
			"A plugin that an interpreter runs needs no building. Programs in other languages you build yourself.",
		Example: "  guildhall plugin build\n" +
			"  guildhall plugin build hello --platforms linux_amd64,linux_arm64\n" +
			"  guildhall plugin build --platforms all        # all that the manifest names",
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := folderArgument(cmd, args)
			if err != nil {
				return err
			}
			m, err := readManifest(dir)
			if err != nil {
				return err
			}
			if m.Runtime.Interpreter != "" {
				_, err := fmt.Fprintf(s.out, "%s runs with %s: there is nothing to build\n", m.ID, m.Runtime.Interpreter)
				return err
			}
			if slices.Equal(platforms, []string{"all"}) {
				platforms = slices.Sorted(maps.Keys(m.Runtime.Binaries))
			}
			for _, platform := range platforms {
				if m.Runtime.Binaries[platform] == "" {
					return misused("manifest.json has no program for %s: add %q: \"bin/%[1]s/%[3]s\" to runtime.binaries, or name the platforms that it has (--platforms %[4]s)",
						platform, platform, m.ID, strings.Join(slices.Sorted(maps.Keys(m.Runtime.Binaries)), ","))
				}
			}
			for _, platform := range platforms {
				if err := s.compile(cmd.Context(), dir, platform, m); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&platforms, "platforms", []string{runtime.GOOS + "_" + runtime.GOARCH}, "what to build for: <os>_<arch>, several with commas, or all")
	return endsWith2(cmd)
}

// compile builds the Go program of a folder for one platform.
func (s *shell) compile(ctx context.Context, dir, platform string, m *bundle.Manifest) error {
	out := filepath.FromSlash(m.Runtime.Binaries[platform])
	goos, goarch, _ := strings.Cut(platform, "_")
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", out, ".")
	c.Dir = dir
	c.Env = append(slices.Clone(s.env), "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+goarch)
	c.Stdout, c.Stderr = s.err, s.err
	err := c.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return misused("the Go toolchain is not on the PATH; install Go, or build the plugin yourself and run guildhall plugin pack")
	case err != nil:
		return fmt.Errorf("building %s for %s failed (%w): what go said is above", m.ID, platform, err)
	}
	info, err := os.Stat(filepath.Join(dir, out))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "%s: %s\n", filepath.Join(dir, out), size(int(info.Size())))
	return err
}
