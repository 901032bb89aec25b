package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/guildhall-dev/guildhall/internal/config"
)

func doctorCommand(s *shell) *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Check what Guildhall needs, and say how to mend what it lacks",
		Long: "Checks the configuration, the data folder, Postgres and what is in it, the instance key, mail and addresses.\n" +
			"It changes nothing, and works whether Guildhall runs or not. It fails when something is wrong that has to be mended;\n" +
			"a line that begins with warn is worth a thought.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
			defer cancel()
			d := &doctor{out: s.out}
			if d.configuration(s) {
				d.folder()
				d.postgres(ctx)
				d.key()
				d.mail(ctx)
				d.address(ctx)
				d.publicURL()
			}
			if d.err != nil {
				return d.err
			}
			if d.failed > 0 {
				return fmt.Errorf("%d of %d checks failed", d.failed, d.checks)
			}
			return nil
		},
	}
}

// doctor examines one configuration and writes what it finds.
type doctor struct {
	cfg    config.Config
	out    io.Writer
	checks int
	failed int
	err    error // of writing

	// signs says that the database holds keys of tokens, sealed under the
	// instance key: some process had it.
	signs bool
}

func (d *doctor) ok(check, format string, args ...any) { d.say("ok", check, "", format, args...) }

func (d *doctor) warn(check, fix, format string, args ...any) {
	d.say("warn", check, fix, format, args...)
}

func (d *doctor) fail(check, fix, format string, args ...any) {
	d.failed++
	d.say("fail", check, fix, format, args...)
}

func (d *doctor) say(level, check, fix, format string, args ...any) {
	d.checks++
	text := fmt.Sprintf("%-4s  %-14s  %s\n", level, check, fmt.Sprintf(format, args...))
	if fix != "" {
		text += fmt.Sprintf("%22sfix: %s\n", "", fix)
	}
	_, err := io.WriteString(d.out, indent(text))
	d.err = errors.Join(d.err, err)
}

// indent keeps an error of several lines under its check.
func indent(text string) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, l := range lines[1:] {
		if !strings.HasPrefix(l, "                      ") {
			lines[i+1] = strings.Repeat(" ", 22) + l
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

func (d *doctor) configuration(s *shell) bool {
	cfg, err := s.config()
	if err != nil {
		d.fail("configuration", "mend what is named above; guildhall --help lists every setting", "%v", err)
		return false
	}
	d.cfg = cfg
	from := "the environment"
	if s.file != "" {
		from = s.file + " and the environment"
	}
	d.ok("configuration", "every name in %s is known", from)
	return true
}
