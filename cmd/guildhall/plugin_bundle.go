package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
)

func pluginPackCommand(s *shell) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "pack [DIR]",
		Short: "Make a bundle of a plugin's folder",
		Long: "Checks manifest.json and writes it, with the programs that it names, into a bundle. Of a plugin that an\n" +
			"interpreter runs it takes the whole folder, except dot files, earlier bundles and what .ghpluginignore names.\n" +
			"The same files make the same bundle, byte for byte.",
		Example: "  guildhall plugin pack\n  guildhall plugin pack hello --out dist/hello-1.0.0.ghplugin",
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := folderArgument(cmd, args)
			if err != nil {
				return err
			}
			m, err := readManifest(dir)
			if err != nil {
				return err
			}
			data, err := bundle.Pack(dir)
			if err != nil {
				return err
			}
			if out == "" {
				out = filepath.Join(dir, m.ID+bundle.Extension)
			}
			if err := replaceFile(out, data); err != nil {
				return err
			}
			_, err = fmt.Fprintf(s.out, "%s: %s %s, %s, unsigned (guildhall plugin sign %[1]s --key FILE)\n", out, m.ID, m.Version, size(len(data)))
			return err
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "the file to write (default DIR/<id>.ghplugin)")
	return endsWith2(cmd)
}

func pluginSignCommand(s *shell) *cobra.Command {
	var key string
	cmd := &cobra.Command{
		Use:   "sign BUNDLE",
		Short: "Sign a bundle",
		Long: "Writes your signature into the bundle, in place of any that it had. An instance runs bundles of the publishers\n" +
			"that its operator trusts; guildhall plugin key new makes a key.",
		Example: "  guildhall plugin sign hello.ghplugin --key ~/.config/guildhall/acme.pem",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := fileArgument(cmd, args)
			if err != nil {
				return err
			}
			if key == "" {
				return misused("--key names the file of your private key; guildhall plugin key new FILE makes one")
			}
			private, err := bundle.LoadPrivateKey(key)
			if err != nil {
				return exitError{exitNotSent, err}
			}
			data, _, err := readBundle(path)
			if err != nil {
				return err
			}
			signed, err := bundle.Sign(data, private)
			if err != nil {
				return err
			}
			if err := replaceFile(path, signed); err != nil {
				return err
			}
			b, err := bundle.Read(signed)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(s.out, "%s: %s %s, signed by %s\n", path, b.Manifest.ID, b.Manifest.Version, bundle.FormatPublic(b.Signer))
			return err
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "file of the private key")
	return endsWith2(cmd)
}

func pluginVerifyCommand(s *shell) *cobra.Command {
	var signer string
	cmd := &cobra.Command{
		Use:   "verify BUNDLE",
		Short: "Check a bundle, and print what it is, who signed it and what it asks for",
		Long: "Checks every file of the bundle against its hash, the hashes against the signature, and the manifest. Nothing of\n" +
			"it is run. With --signer it has to be signed by that key.",
		Example: "  guildhall plugin verify hello.ghplugin\n" +
			"  guildhall plugin verify hello.ghplugin --signer ghpk_… && guildhall plugin install hello.ghplugin",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := fileArgument(cmd, args)
			if err != nil {
				return err
			}
			var want ed25519.PublicKey
			if signer != "" {
				if want, err = bundle.ParsePublic(signer); err != nil {
					return misused("--signer: %w", err)
				}
			}
			_, b, err := readBundle(path)
			if err != nil {
				return err
			}
			if err := describeBundle(s.out, b); err != nil || want == nil || b.Signer.Equal(want) {
				return err
			}
			if b.Signer == nil {
				return fmt.Errorf("%s is not signed; it should be by %s", path, signer)
			}
			return fmt.Errorf("%s is signed by %s, not by %s; ask its publisher which key is theirs", path, bundle.FormatPublic(b.Signer), signer)
		},
	}
	cmd.Flags().StringVar(&signer, "signer", "", "the public key (ghpk_…) that has to have signed it")
	return endsWith2(cmd)
}

// describeBundle writes what a bundle is and asks for.
func describeBundle(out io.Writer, b *bundle.Bundle) error {
	m := b.Manifest
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(what, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", what, plain(fmt.Sprintf(format, args...)))
	}
	row("plugin", "%s %s (API %s)", m.ID, m.Version, m.API)
	row("name", "%s, by %s", m.Name, m.Publisher)
	row("", "%s", m.Description)
	if m.Homepage != "" {
		row("homepage", "%s", m.Homepage)
	}
	if m.License != "" {
		row("licence", "%s", m.License)
	}
	if m.Runtime.Interpreter != "" {
		row("runs", "%s with %s", m.Runtime.Main, m.Runtime.Interpreter)
	} else {
		row("runs on", "%s", strings.Join(slices.Sorted(maps.Keys(m.Runtime.Binaries)), ", "))
	}
	row("limits", "%d MiB, %d processes, %d %% of a core", m.Limits.MemoryMB, m.Limits.Processes, m.Limits.CPUPercent)
	row("files", "%d, SHA-256 of the bundle %x", len(b.Files), b.SHA256[:sha256.Size])
	if b.Signer == nil {
		row("signed by", "nobody")
	} else {
		row("signed by", "%s", bundle.FormatPublic(b.Signer))
	}
	asks := m.Asks()
	if len(asks) == 0 {
		row("asks for", "nothing")
	}
	for i, a := range asks {
		what, why := "", a.Key
		if i == 0 {
			what = "asks for"
		}
		if a.Optional {
			why += " (optional)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", what, plain(why), plain(a.Why))
	}
	return w.Flush()
}

// size is a number of bytes as people read it.
func size(n int) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}
