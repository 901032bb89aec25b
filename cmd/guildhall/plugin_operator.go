package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/guildhall-dev/guildhall/platform/integrations"
	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
)

// onCatalogue runs fn with the operator's side of the catalogue. It makes no
// instance where there is none: a plugin's folder is not the place for one.
func (s *shell) onCatalogue(ctx context.Context, fn func(*integrations.Operator) error) error {
	cfg, err := s.config()
	if err != nil {
		return err
	}
	if _, err := os.Stat(cfg.DataDir); cfg.DatabaseURL == "" && errors.Is(err, os.ErrNotExist) {
		return misused("there is no instance in %s: set GUILDHALL_DATA_DIR to the data folder of yours, or GUILDHALL_DATABASE_URL to its database", cfg.DataDir)
	}
	return s.onInstance(ctx, role{serve: true, work: true}, func(a *app) error {
		return fn(integrations.NewOperator(a.workDB, a.features.points()))
	})
}

func pluginInstallCommand(s *shell) *cobra.Command {
	var trust bool
	cmd := &cobra.Command{
		Use: "install BUNDLE", Short: "Add a bundle to the catalogue of this instance",
		Long: "Adds a version of a plugin to the catalogue, from which organisations install it. Run it where the instance runs,\n" +
			"with its settings: it works on the instance's database.\n\n" +
			"The bundle has to be signed by somebody whom the instance trusts; see guildhall plugin trust. A version never changes.",
		Example: "  guildhall plugin install chat-1.2.0.ghplugin",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := fileArgument(cmd, args)
			if err != nil {
				return err
			}
			data, b, err := readBundle(path)
			if err != nil {
				return err
			}
			return s.onCatalogue(cmd.Context(), func(o *integrations.Operator) error {
				if trust && b.Signer != nil {
					if err := o.Trust(cmd.Context(), b.Signer, b.Manifest.Publisher); err != nil {
						return err
					}
				}
				if _, err := o.Install(cmd.Context(), data); err != nil {
					return fmt.Errorf("%s is not installed: %s", path, plain(err.Error()))
				}
				_, err := fmt.Fprintf(s.out, "%s %s is in the catalogue. Organisations install it with guildhall plugin enable %[1]s, or POST /v1/plugin-installations.\n", b.Manifest.ID, b.Manifest.Version)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&trust, "trust", false, "trust its signer too; for plugins of your own")
	return endsWith2(cmd)
}

func pluginTrustCommand(s *shell) *cobra.Command {
	var name string
	var end bool
	cmd := &cobra.Command{
		Use: "trust KEY", Short: "Let plugins of a signer in, or list who is let in",
		Long:    "KEY is a public key, ghpk_…, that guildhall plugin verify shows and that its publisher confirms. Without KEY it lists\nthe signers. What an operator lets in runs on this machine: trust whom you would give a program to run here.",
		Example: "  guildhall plugin trust ghpk_… --name \"Example Ltd\"\n  guildhall plugin trust ghpk_… --end",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return misused("name one key; see %s --help", cmd.CommandPath())
			}
			return s.onCatalogue(cmd.Context(), func(o *integrations.Operator) error {
				if len(args) == 0 {
					return listSigners(cmd.Context(), s.out, o)
				}
				key, err := bundle.ParsePublic(args[0])
				if err != nil {
					return exitError{exitNotSent, err}
				}
				if end {
					if err := o.Distrust(cmd.Context(), key); err != nil {
						return err
					}
					_, err = fmt.Fprintln(s.out, "What it signed does not run any more.")
					return err
				}
				if strings.TrimSpace(name) == "" {
					return misused("say whose key it is: --name \"Example Ltd\"")
				}
				if err := o.Trust(cmd.Context(), key, name); err != nil {
					return err
				}
				_, err = fmt.Fprintf(s.out, "Plugins signed by %s may be installed now.\n", plain(name))
				return err
			})
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "whose key it is")
	cmd.Flags().BoolVar(&end, "end", false, "trust it no more: what it signed stops running")
	return endsWith2(cmd)
}

func listSigners(ctx context.Context, out io.Writer, o *integrations.Operator) error {
	all, err := o.Signers(ctx)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		_, err = fmt.Fprintln(out, "Nobody is trusted yet, so no plugin can be installed. guildhall plugin trust KEY --name NAME lets a publisher in.")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, t := range all {
		fmt.Fprintf(w, "%s\t%s\n", t.PublicKey, plain(t.Name))
	}
	return w.Flush()
}

func pluginListCommand(s *shell) *cobra.Command {
	return endsWith2(&cobra.Command{
		Use: "list", Short: "List the catalogue of this instance",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return misused("%s takes no argument", cmd.CommandPath())
			}
			return s.onCatalogue(cmd.Context(), func(o *integrations.Operator) error {
				all, err := o.List(cmd.Context())
				if err != nil {
					return err
				}
				if len(all) == 0 {
					_, err = fmt.Fprintln(s.out, "The catalogue is empty. guildhall plugin install BUNDLE adds a plugin.")
					return err
				}
				w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
				fmt.Fprintln(w, "PLUGIN\tVERSION\tSIGNED BY\tORGANISATIONS\tNOTE")
				for _, e := range all {
					for _, v := range e.Versions {
						note := ""
						switch {
						case v.RevokedReason != nil:
							note = "revoked: " + *v.RevokedReason
						case v.SignerName == "":
							note = "does not run: its signer is not trusted"
						case v.Version == e.Version && e.Pinned:
							note = "pinned"
						case v.Version == e.Version:
							note = "current"
						}
						fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", e.ID, v.Version, plain(v.SignerName), e.Installations, plain(note))
					}
				}
				return w.Flush()
			})
		},
	})
}

func pluginRemoveCommand(s *shell) *cobra.Command {
	return endsWith2(&cobra.Command{
		Use: "remove PLUGIN [VERSION]", Short: "Take a version, or all of a plugin, out of the catalogue",
		Long: "What organisations have installed is not removed: revoke it, to stop it at once.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return misused("name a plugin, and a version unless all are meant; see %s --help", cmd.CommandPath())
			}
			return s.onCatalogue(cmd.Context(), func(o *integrations.Operator) error {
				if err := o.Remove(cmd.Context(), args[0], strings.Join(args[1:], "")); err != nil {
					return err
				}
				_, err := fmt.Fprintln(s.out, strings.Join(args, " "), "is out of the catalogue")
				return err
			})
		},
	})
}

func pluginPinCommand(s *shell) *cobra.Command {
	return endsWith2(&cobra.Command{
		Use: "pin PLUGIN [VERSION]", Short: "Make one version that for every organisation, or let go of it",
		Long: "Every installation moves to the pinned version within a minute, older or newer, unless it asks for more than the\n" +
			"organisation granted. Without VERSION the plugin follows its newest version again.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return misused("name a plugin and a version; see %s --help", cmd.CommandPath())
			}
			return s.onCatalogue(cmd.Context(), func(o *integrations.Operator) error {
				if err := o.Pin(cmd.Context(), args[0], strings.Join(args[1:], "")); err != nil {
					return err
				}
				if len(args) == 1 {
					_, err := fmt.Fprintln(s.out, args[0], "follows its newest version")
					return err
				}
				_, err := fmt.Fprintf(s.out, "%s is pinned to %s\n", args[0], args[1])
				return err
			})
		},
	})
}

func pluginRevokeCommand(s *shell) *cobra.Command {
	var why string
	cmd := &cobra.Command{
		Use: "revoke PLUGIN VERSION", Short: "Keep a version from ever running again",
		Long: "It stops within seconds for every organisation, and cannot be installed. This is final: a mended plugin is a new version.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 || strings.TrimSpace(why) == "" {
				return misused("name a plugin and a version, and say why with --why; see %s --help", cmd.CommandPath())
			}
			return s.onCatalogue(cmd.Context(), func(o *integrations.Operator) error {
				if err := o.Revoke(cmd.Context(), args[0], args[1], why); err != nil {
					return err
				}
				_, err := fmt.Fprintf(s.out, "%s %s is revoked\n", args[0], args[1])
				return err
			})
		},
	}
	cmd.Flags().StringVar(&why, "why", "", "the reason, which organisations are shown")
	return endsWith2(cmd)
}
