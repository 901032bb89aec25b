package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/guildhall-dev/guildhall/internal/obs"
	"github.com/guildhall-dev/guildhall/migrations"
)

func migrateCommand(s *shell) *cobra.Command {
	cmd := &cobra.Command{Use: "migrate", Short: "Bring the database up, or see where it stands"}
	sub := func(use, short string, up bool) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) (err error) {
			cfg, err := s.config()
			if err != nil {
				return err
			}
			log := obs.New(s.err, cfg.LogFormat, cfg.LogLevel)
			d, err := openDatabase(c.Context(), cfg, log, func(what string) { fmt.Fprintln(s.err, "guildhall:", what) })
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, d.close()) }()
			if d.adminURL == "" {
				return errors.New("this log-in may not migrate: set GUILDHALL_DATABASE_ADMIN_URL to one that is a member of guildhall_owner")
			}
			var st migrations.Status
			if up {
				st, err = d.migrate(c.Context(), log)
			} else {
				st, err = migrations.ReadStatus(c.Context(), d.adminURL)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(s.out, "database %d, binary %d, River %d\n", st.Current, st.Latest, st.River)
			return err
		}}
	}
	cmd.AddCommand(sub("up", "Run the migrations that are missing", true), sub("status", "Print the versions of database and binary", false))
	return cmd
}
