package main

import (
	"encoding/json"

	"github.com/spf13/cobra"
)

func openapiCommand(s *shell) *cobra.Command {
	return &cobra.Command{Use: "openapi", Short: "Print the OpenAPI document", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		return nil
	}}
}

// document is the published OpenAPI 3.1 document.
func (a *app) document() ([]byte, error) { return json.MarshalIndent(a.router.OpenAPI(), "", "  ") }

// document30 is the same for tools that read only 3.0.
func (a *app) document30() ([]byte, error) { return a.router.OpenAPI().Downgrade() }
