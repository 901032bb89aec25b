package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/guildhall-dev/guildhall/internal/config"
	"github.com/guildhall-dev/guildhall/internal/mail"
	"github.com/guildhall-dev/guildhall/internal/seal"
	"github.com/guildhall-dev/guildhall/openapi"
)

func openapiCommand(s *shell) *cobra.Command {
	var form string
	cmd := &cobra.Command{
		Use: "openapi", Short: "Print the OpenAPI document", Args: cobra.NoArgs,
		Long: "Print the OpenAPI document of this binary. It needs no database.",
		RunE: func(*cobra.Command, []string) error {
			a, err := newSpecimen()
			if err != nil {
				return err
			}
			var doc []byte
			switch form {
			case "3.1":
				doc, err = a.document()
			case "3.0":
				doc, err = a.document30()
			default:
				return fmt.Errorf("--version is 3.1 or 3.0, not %q", form)
			}
			if err != nil {
				return err
			}
			_, err = s.out.Write(doc)
			return err
		},
	}
	cmd.Flags().StringVar(&form, "version", "3.1", "version of OpenAPI: 3.1, or 3.0 (without webhooks) for older tools")
	return cmd
}

// newSpecimen puts the features together without a database, to ask them what
// they are. It cannot run.
func newSpecimen() (_ *app, err error) {
	dir, err := os.MkdirTemp("", "guildhall-openapi-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for throw-away keys: %w", err)
	}
	defer os.RemoveAll(dir)
	keys, err := seal.Open(dir)
	if err != nil {
		return nil, err
	}
	cfg, err := config.Load("", []string{"GUILDHALL_DATA_DIR=" + dir})
	if err != nil {
		return nil, err
	}
	sender, err := mail.New("", cfg.MailFrom, filepath.Join(dir, "mail"))
	if err != nil {
		return nil, err
	}
	a := &app{cfg: cfg, log: slog.New(slog.DiscardHandler)}
	if err := a.assemble(deps{Keys: keys, Mail: sender, PublicURL: cfg.PublicURL, Log: a.log}, options{}); err != nil {
		return nil, err
	}
	return a, nil
}

// document is the published OpenAPI 3.1 document.
func (a *app) document() ([]byte, error) {
	tags := make([]openapi.Tag, 0, len(a.features.modules))
	for _, m := range a.features.modules {
		tags = append(tags, openapi.Tag{Name: m.Name, Doc: m.Doc, Events: m.Events})
	}
	return openapi.Document(a.router, tags)
}

// document30 is the same for tools that read only 3.0.
func (a *app) document30() ([]byte, error) {
	doc, err := a.document()
	if err != nil {
		return nil, err
	}
	return openapi.Older(doc)
}
