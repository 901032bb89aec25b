package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

func pluginEnableCommand(s *shell) *cobra.Command {
	var version, settings string
	var yes bool
	cmd := &cobra.Command{
		Use: "enable PLUGIN", Short: "Install a plugin in an organisation, or move it to another version",
		Long: "Shows what the plugin asks for and, with --yes, grants it. It is a client of an instance and reads GUILDHALL_URL and\n" +
			"GUILDHALL_API_KEY; the key needs plugins.read, plugins.manage and each permission that it grants.",
		Example: "  guildhall plugin enable chat --yes --settings '{\"url\": \"https://chat.example.com/hooks/x\"}'",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return misused("name one plugin; GET /v1/plugins lists what the instance has")
			}
			if settings != "" && !json.Valid([]byte(settings)) {
				return misused("--settings is no JSON")
			}
			r, err := s.remote()
			if err != nil {
				return exitError{exitNotSent, err}
			}
			return s.enablePlugin(cmd.Context(), r, args[0], version, settings, yes)
		},
	}
	cmd.Flags().StringVar(&version, "version", "", "the version; without it the one that is current")
	cmd.Flags().StringVar(&settings, "settings", "", "its settings, a JSON object")
	cmd.Flags().BoolVar(&yes, "yes", false, "grant all that it asks for")
	return endsWith2(cmd)
}

type remotePlugin struct {
	Name     string      `json:"name"`
	Version  string      `json:"version"`
	Asks     []remoteAsk `json:"asks"`
	Versions []struct {
		Version string      `json:"version"`
		Asks    []remoteAsk `json:"asks"`
	} `json:"versions"`
}

type remoteAsk struct {
	Key      string `json:"key"`
	Why      string `json:"why"`
	Optional bool   `json:"optional"`
}

// at is the plugin in one of its versions; false if it has no such version.
func (p remotePlugin) at(version string) (remotePlugin, bool) {
	for _, v := range p.Versions {
		if v.Version == version {
			p.Version, p.Asks = v.Version, v.Asks
			return p, true
		}
	}
	return p, false
}

type remoteInstallation struct {
	ID            string `json:"id"`
	PluginID      string `json:"plugin_id"`
	PluginVersion string `json:"plugin_version"`
	Update        *struct {
		Version   string   `json:"version"`
		NewGrants []string `json:"new_grants"`
	} `json:"update"`
}

func (s *shell) enablePlugin(ctx context.Context, r *remote, plugin, version, settings string, yes bool) error {
	var p remotePlugin
	err := r.call(ctx, http.MethodGet, "/v1/plugins/"+plugin, nil, &p)
	var no *problem
	if errors.As(err, &no) && no.status == http.StatusNotFound {
		return fmt.Errorf("the instance has no plugin %s: its operator adds one with guildhall plugin install", plain(plugin))
	}
	if err != nil {
		return err
	}
	version = cmp.Or(version, p.Version) // the one that is shown is the one that is taken
	p, there := p.at(version)
	if !there {
		return fmt.Errorf("the instance has no version %s of the plugin %s", plain(version), plain(plugin))
	}
	fmt.Fprintf(s.out, "%s %s asks for:\n", plain(p.Name), plain(p.Version))
	grants := []string{}
	for _, a := range p.Asks {
		note := a.Why
		if a.Optional {
			note = strings.TrimSpace("optional; " + note)
		}
		fmt.Fprintf(s.out, "  %-32s %s\n", plain(a.Key), plain(note))
		grants = append(grants, a.Key)
	}
	if !yes {
		_, err := fmt.Fprintln(s.out, "Nothing was changed. Say --yes to grant it.")
		return err
	}
	body := map[string]any{"grants": grants, "version": version}
	if settings != "" {
		body["settings"] = json.RawMessage(settings)
	}
	here, err := installedAs(ctx, r, plugin)
	if err != nil {
		return err
	}
	var out remoteInstallation
	if here != nil {
		err = r.call(ctx, http.MethodPost, "/v1/plugin-installations/"+here.ID+"/upgrade", body, &out)
	} else {
		body["plugin_id"] = plugin
		err = r.call(ctx, http.MethodPost, "/v1/plugin-installations", body, &out)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "%s %s runs in the organisation as %s\n", plain(plugin), plain(out.PluginVersion), plain(out.ID))
	return err
}

// installedAs is the organisation's installation of a plugin, nil if it has none.
func installedAs(ctx context.Context, r *remote, plugin string) (*remoteInstallation, error) {
	cursor := ""
	for {
		var list struct {
			Data       []remoteInstallation `json:"data"`
			NextCursor *string              `json:"next_cursor"`
		}
		if err := r.call(ctx, http.MethodGet, "/v1/plugin-installations?limit=200"+cursor, nil, &list); err != nil {
			return nil, err
		}
		for _, i := range list.Data {
			if i.PluginID == plugin {
				return &i, nil
			}
		}
		if list.NextCursor == nil {
			return nil, nil
		}
		cursor = "&cursor=" + *list.NextCursor
	}
}
