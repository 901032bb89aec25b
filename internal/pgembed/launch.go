package pgembed

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// options are the server's arguments. What keeps the server private comes last and therefore always wins.
func (c *cluster) options() []string {
	set := map[string]string{
		"shared_buffers":  "128MB",
		"max_connections": "100",
		"jit":             "off",
		"timezone":        "UTC",
		"log_timezone":    "UTC",
		"lc_messages":     "C",
		"log_checkpoints": "off",
		"log_line_prefix": "%m [%p] ",
	}
	if c.ephemeral {
		maps.Copy(set, map[string]string{
			"max_connections":    "200",
			"fsync":              "off",
			"synchronous_commit": "off",
			"full_page_writes":   "off",
			"wal_level":          "minimal",
			"max_wal_senders":    "0",
			"autovacuum":         "off",
		})
	}
	maps.Copy(set, c.settings)
	args := []string{"-D", c.dir}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		args = append(args, "-c", name+"="+set[name])
	}
	return append(args,
		"-c", "listen_addresses=",
		"-c", "port="+strconv.Itoa(port),
		"-c", "unix_socket_directories="+c.socketDir,
		"-c", "unix_socket_permissions=0700",
		"-c", "logging_collector=off",
		"-c", "log_destination=stderr",
	)
}

// launch starts the server and waits until it answers on the URL. Backends of a killed server can hold shared memory
// for a moment longer; then it tries again instead of touching what is theirs.
func (c *cluster) launch(ctx context.Context, url string) (*child, error) {
	deadline := time.Now().Add(10 * time.Second)
	for {
		child, err := c.spawn("postgres", syscall.SIGINT, c.options()...)
		if err != nil {
			return nil, err
		}
		err = c.ready(ctx, child, url)
		if err == nil {
			return child, nil
		}
		child.signal(syscall.SIGQUIT)
		<-child.exited
		if ctx.Err() != nil || time.Now().After(deadline) || !strings.Contains(err.Error(), "is still in use") {
			return nil, err
		}
	}
}

// ready waits for the server's own word that it is up, then asks it something.
func (c *cluster) ready(ctx context.Context, child *child, url string) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-child.exited:
			return fmt.Errorf("postgres did not start (%s)%s", child.state(), logTail(c.logFile, child.logStart))
		case <-ctx.Done():
			return fmt.Errorf("wait for postgres: %w%s", ctx.Err(), logTail(c.logFile, child.logStart))
		case <-tick.C:
		}
		if s, err := readStatus(c.dir); err == nil && s.pid == child.pid() && s.ready {
			break
		}
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect to the started postgres: %w%s", err, logTail(c.logFile, child.logStart))
	}
	_, err = conn.Exec(ctx, "select 1")
	if err = errors.Join(err, conn.Close(ctx)); err != nil {
		return fmt.Errorf("query the started postgres: %w", err)
	}
	return nil
}

// status is what a server writes about itself into postmaster.pid.
type status struct {
	pid   int
	ready bool
}

func readStatus(dir string) (status, error) {
	data, err := os.ReadFile(filepath.Join(dir, "postmaster.pid"))
	if err != nil {
		return status{}, err
	}
	lines := strings.Split(string(data), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil {
		return status{}, fmt.Errorf("postmaster.pid: %w", err)
	}
	return status{pid: pid, ready: len(lines) > 7 && strings.TrimSpace(lines[7]) == "ready"}, nil
}
