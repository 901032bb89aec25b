package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/obs"
	"github.com/guildhall-dev/guildhall/internal/pgembed"
	"github.com/guildhall-dev/guildhall/migrations"
)

func adminCommand(s *shell) *cobra.Command {
	cmd := &cobra.Command{Use: "admin", Short: "Say who operates this instance"}
	cmd.AddCommand(&cobra.Command{
		Use: "grant EMAIL", Short: "Make a registered person an operator of the instance", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.onInstance(c.Context(), role{serve: true}, func(a *app) error {
				if err := a.features.identity.SetOperator(c.Context(), args[0]); err != nil {
					return explainGrant(args[0], err)
				}
				_, err := fmt.Fprintln(s.out, args[0], "is an operator of this instance now")
				return err
			})
		},
	})
	return cmd
}

// onInstance runs fn with the features on the instance's database, whether or not
// the instance runs.
func (s *shell) onInstance(ctx context.Context, r role, fn func(*app) error) (err error) {
	cfg, err := s.config()
	if err != nil {
		return err
	}
	log := obs.New(s.err, cfg.LogFormat, "warn")
	d, err := openDatabase(ctx, cfg, log, func(what string) { fmt.Fprintln(s.err, "guildhall:", what) })
	if errors.Is(err, pgembed.ErrInUse) {
		d, err = beside(cfg.DataDir)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if d.private != nil {
		_, err = d.migrate(ctx, log)
	} else {
		err = migrations.Check(ctx, d.appURL)
	}
	if err != nil {
		return err
	}
	a, err := newApp(ctx, cfg, d, r, log, options{maxConns: 2})
	if err != nil {
		return err
	}
	defer a.close()
	return fn(a)
}

// beside reaches the private Postgres that a running guildhall holds.
func beside(dataDir string) (*database, error) {
	url, err := pgembed.Running(dataDir, "guildhall")
	if err != nil {
		return nil, err
	}
	d := &database{adminURL: url}
	return d, d.derive()
}

func explainGrant(email string, err error) error {
	var f *fault.Error
	switch {
	case !errors.As(err, &f):
		return fmt.Errorf("make %s an operator: %w", email, err)
	case f.Kind == fault.NotFound:
		return fmt.Errorf("nobody has registered with the address %s: let the person register first", email)
	case f.Kind == fault.Invalid:
		return fmt.Errorf("%q is not an e-mail address; write the one that the person registered with", email)
	default:
		return fmt.Errorf("make %s an operator: %w", email, err)
	}
}
