// Command runtests runs a command, such as "go test ./...", with one throw-away PostgreSQL for all of it.
//
//	go run ./internal/runtests -- go test ./...
//
// The server lives in memory where there is room, because tests clone a database each and a clone is several times
// faster there. The command finds it by TEST_DATABASE_URL, the address of a superuser; when that is set already, as in
// a pipeline that brings its own server, nothing is started. GUILDHALL_POSTGRES_BIN names other binaries.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/guildhall-dev/guildhall/internal/pgembed"
)

const urlVariable = "TEST_DATABASE_URL"

func main() {
	code, err := run(os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "runtests:", err)
	}
	os.Exit(code)
}

// run answers the command's exit code, 125 when the command could not be started.
func run(args, env []string, in io.Reader, out, errOut io.Writer) (int, error) {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return 125, errors.New("usage: runtests -- command [argument ...]")
	}
	// From here on a signal ends the command, and the command's end is what ends us.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	if lookup(env, urlVariable) == "" {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		server, err := pgembed.StartTemp(ctx, pgembed.Config{Bin: lookup(env, "GUILDHALL_POSTGRES_BIN")})
		if err != nil {
			return 125, err
		}
		defer stop(server)
		env = append(slices.Clone(env), urlVariable+"="+server.URL("postgres"))
	}
	return passThrough(args, env, signals, in, out, errOut)
}

// lookup is the variable's value in the environment, "" when it is not set.
func lookup(env []string, name string) string {
	for _, e := range slices.Backward(env) { // the last one counts, as in os/exec
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

// passThrough runs the command and hands every signal on to it.
func passThrough(args, env []string, signals <-chan os.Signal, in io.Reader, out, errOut io.Writer) (int, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, errOut
	if err := cmd.Start(); err != nil {
		return 125, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s) // it may have ended by now
		case err := <-ended:
			return exitCode(cmd.ProcessState, err)
		}
	}
}

// exitCode follows the shell: a command killed by signal n counts as 128+n.
func exitCode(state *os.ProcessState, err error) (int, error) {
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return 125, err
	}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return state.ExitCode(), nil
}

func stop(server *pgembed.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if err := server.Stop(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "runtests:", err)
	}
}
