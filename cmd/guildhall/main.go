// Command guildhall is the whole product: server, workers, migrations and the
// operator's tools in one binary.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/guildhall-dev/guildhall/internal/config"
	"github.com/guildhall-dev/guildhall/plugins/sdk/launch"
)

// version is set by the linker.
var version = "dev"

func main() {
	launch.Main() // returns, unless this process is to become a plugin
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "guildhall:", err)
		os.Exit(exitCode(err))
	}
}

// run is main without the process: tests call it too.
func run(ctx context.Context, args, env []string, out, errOut io.Writer) error {
	cmd := rootCommand(&shell{env: env, out: out, err: errOut})
	cmd.SetArgs(args)
	cmd.SetOut(out)
	cmd.SetErr(errOut)
	return cmd.ExecuteContext(ctx)
}

// shell is what the commands have of the world.
type shell struct {
	env  []string
	out  io.Writer
	err  io.Writer
	file string // --config
}

// config loads the configuration; commands call it, so --help needs none.
func (s *shell) config() (config.Config, error) { return config.Load(s.file, s.env) }

func rootCommand(s *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "guildhall",
		Short: "Run an organisation's work and trade on one platform",
		Long: "Guildhall is a multi-tenant platform for work (projects, tasks, comments) and trade, in one binary.\n" +
			"It needs nothing but itself: without GUILDHALL_DATABASE_URL it runs a private Postgres in its data folder.\n\n" +
			"Configuration comes from the environment, or from a file of NAME=value lines given with --config:\n\n" + configReference(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
	}
	cmd.PersistentFlags().StringVar(&s.file, "config", "", "file of GUILDHALL_NAME=value lines; the environment wins over it")
	cmd.AddCommand(
		roleCommand(s, "all", "Run the server and the workers (the usual way)"),
		roleCommand(s, "serve", "Run only the HTTP server, as one of several replicas"),
		roleCommand(s, "work", "Run only the workers: jobs, event relay, schedules"),
		migrateCommand(s), openapiCommand(s), demoCommand(s), versionCommand(s),
		adminCommand(s), doctorCommand(s), listenCommand(s), triggerCommand(s), pluginCommand(s),
	)
	return cmd
}

func configReference() string {
	text := ""
	for _, e := range config.Reference() {
		text += fmt.Sprintf("  %-30s %s (default %s)\n", e.Name, e.Doc, e.Default)
	}
	return text
}

func versionCommand(s *shell) *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		_, err := fmt.Fprintln(s.out, "guildhall", version)
		return err
	}}
}
