package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/guildhall-dev/guildhall/plugins/sdk/launch"
	"github.com/guildhall-dev/guildhall/plugins/sdk/plugintest"
)

func pluginCheckCommand(s *shell) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "check BUNDLE",
		Short: "Run a plugin by itself and try what every plugin has to get right",
		Long: "Starts the plugin, confined as on an instance, with a host that denies the API and reaches nothing. Tries each point\n" +
			"of its manifest, with what is odd too, and what it does not have; how it starts and ends, what it prints, and the\n" +
			"memory that it uses. It needs no Guildhall. Settings are made of the defaults and examples of its schema.\n" +
			"Its program is run: check only what you would run. Before that, guildhall plugin verify looks without running.",
		Example: "  guildhall plugin check hello.ghplugin\n  guildhall plugin check hello.ghplugin --settings settings.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := fileArgument(cmd, args)
			if err != nil {
				return err
			}
			_, b, err := readBundle(path)
			if err != nil {
				return err
			}
			trial := plugintest.Trial{Confine: launch.Self}
			if file != "" {
				if trial.Settings, err = os.ReadFile(file); err != nil {
					return exitError{exitNotSent, err}
				}
				if bad := b.Manifest.CheckSettings(trial.Settings); len(bad) > 0 {
					return misused("%s does not fit the plugin's settings: %s %s", file, bad[0].Pointer, bad[0].Message)
				}
			}
			report := plugintest.Conform(cmd.Context(), b, trial)
			var said strings.Builder
			if err := report.Write(&said); err != nil {
				return err
			}
			if _, err := fmt.Fprint(s.out, plain(said.String())); err != nil {
				return err
			}
			if !report.OK() {
				return fmt.Errorf("%s is not as a plugin should be: see FAIL above", path)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "settings", "", "file of settings to try it with, a JSON object")
	return endsWith2(cmd)
}
