package main

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
)

func pluginKeyCommand(s *shell) *cobra.Command {
	cmd := &cobra.Command{Use: "key", Short: "Make a key to sign bundles with", Args: cobra.NoArgs}
	cmd.AddCommand(endsWith2(&cobra.Command{
		Use:   "new FILE",
		Short: "Write a new private key into a file, and print its public key",
		Long: "The file is for you alone: whoever has it can publish in your name. The public key is for everybody: operators\n" +
			"of instances trust it, with guildhall plugin trust.",
		Example: "  guildhall plugin key new ~/.config/guildhall/acme.pem",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := fileArgument(cmd, args)
			if err != nil {
				return err
			}
			key, err := bundle.GenerateKey()
			if err != nil {
				return err
			}
			text, err := bundle.FormatPrivate(key)
			if err != nil {
				return err
			}
			if err := writeNew(path, text); err != nil {
				return exitError{exitNotSent, err}
			}
			public, ok := key.Public().(ed25519.PublicKey)
			if !ok {
				return errors.New("the key has no public one")
			}
			_, err = fmt.Fprintln(s.out, bundle.FormatPublic(public))
			return err
		},
	}))
	return cmd
}

// writeNew writes a file that only its owner can read, and that is not there
// yet.
func writeNew(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s is there already, and a key that is lost cannot be had again: name another file, or move it away first", path)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}
