package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
)

// listenFlags are what listen is asked for.
type listenFlags struct {
	forwardTo string
	events    []string
	secret    string
	after     string
	json      bool
}

func listenCommand(s *shell) *cobra.Command {
	var f listenFlags
	cmd := &cobra.Command{
		Use:   "listen",
		Short: "Print an organisation's events as they happen, and forward them to an application on this machine",
		Long: "Follows the events of the organisation that the API key belongs to, prints a line for each, and forwards each\n" +
			"to an address of yours as a webhook endpoint would get it: the same headers, body and signature. So a receiver is\n" +
			"developed without a public address. It reads the feed and changes nothing.\n\n" +
			"GUILDHALL_URL and GUILDHALL_API_KEY name the instance and the key. The key needs events.read, and the right to read\n" +
			"what the events are about (tasks.read for task.*): others it does not see.\n\n" +
			"The signing secret is printed at start. It is made once for each key and kept below the folder of your settings,\n" +
			"so the application's setting stays valid. A forward that fails is tried three times more, after 1, 3 and 9 seconds,\n" +
			"while later events go on. Ctrl-C ends it.",
		Example: "  export GUILDHALL_URL=http://127.0.0.1:8080 GUILDHALL_API_KEY=ghk_…\n" +
			"  guildhall listen --forward-to http://127.0.0.1:3000/hook --events 'task.*'\n" +
			"  guildhall listen --events task.created,comment.created\n" +
			"  guildhall listen --after 1041 --print-json | jq .subject\n" +
			"  guildhall trigger task.created        # in another terminal: send an example",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return exitError{exitNotSent, fmt.Errorf("listen takes flags only, not %q; see guildhall listen --help", args[0])}
			}
			l, err := s.newListen(f)
			if err != nil {
				return exitError{exitNotSent, err}
			}
			return l.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&f.forwardTo, "forward-to", "", "address of your application, such as http://127.0.0.1:3000/hook; without it, events are only printed")
	cmd.Flags().StringSliceVar(&f.events, "events", nil, "types of events, such as task.* or task.created,comment.created (default all)")
	cmd.Flags().StringVar(&f.secret, "secret", "", "sign with this whsec_… instead of the secret that is kept for the key")
	cmd.Flags().StringVar(&f.after, "after", "now", "begin after the event with this sequence; 0 is the beginning of the log")
	cmd.Flags().BoolVar(&f.json, "print-json", false, "print each event as a line of JSON; the lines for people go to standard error")
	return endsWith2(cmd)
}

// listen is one run of the command.
type listen struct {
	remote  *remote
	folder  folder
	from    position
	secret  string
	feed    *feed
	forward *forwarder
	paper   *paper
	last    int64 // number of the last event that was forwarded
}

func (s *shell) newListen(f listenFlags) (*listen, error) {
	r, err := s.remote()
	if err != nil {
		return nil, err
	}
	l := &listen{remote: r, paper: newPaper(s.out, s.err, f.json, s.env)}
	if l.from, err = parsePosition(f.after); err != nil {
		return nil, err
	}
	if err := checkForwardTo(f.forwardTo); err != nil {
		return nil, err
	}
	if l.folder, err = s.folder(); err != nil {
		return nil, err
	}
	secret, err := l.folder.signingSecret(r, f.secret)
	if err != nil {
		return nil, err
	}
	l.secret = secretPrefix + base64.StdEncoding.EncodeToString(secret)
	l.feed = &feed{remote: r, types: joinTypes(f.events), say: l.paper.say}
	l.forward = newForwarder(f.forwardTo, secret, r.URL, l.paper.event)
	return l, nil
}

// signingSecret is the raw secret that was given, or else the one kept for the
// key.
func (f folder) signingSecret(r *remote, given string) (raw []byte, err error) {
	if given == "" {
		if given, err = f.secret(r.account()); err != nil {
			return nil, err
		}
	}
	return openSecret(given)
}

func checkForwardTo(to string) error {
	if to == "" {
		return nil
	}
	u, err := url.Parse(to)
	if err != nil || !slices.Contains([]string{"http", "https"}, u.Scheme) || u.Hostname() == "" {
		return fmt.Errorf("--forward-to is an address such as http://127.0.0.1:3000/hook, not %q", to)
	}
	return nil
}

// run listens until ctx ends, which is no error.
func (l *listen) run(ctx context.Context) error {
	account := l.remote.account()
	what := "all events"
	if l.feed.types != "" {
		what = l.feed.types
	}
	l.paper.say("Listening to %s of %s.", what, l.remote.URL)
	if err := l.checkTypes(ctx); err != nil {
		return l.ended(ctx, err)
	}
	first, err := l.feed.skip(ctx, l.from, l.folder.place(account, l.feed.types))
	if err != nil {
		return l.ended(ctx, err)
	}
	if l.last = l.feed.read; len(first) > 0 {
		l.last = l.from.after
	}
	stop, err := serveControl(l.folder, listener{Account: account, URL: l.remote.URL, ForwardTo: l.forward.to}, l.example)
	if err != nil {
		return exitError{exitNotSent, err}
	}
	defer stop()
	if l.forward.to != "" {
		l.paper.say("Forwarding to %s, signed with %s", l.forward.to, l.secret)
	}
	l.paper.say("Ready. Ctrl-C ends it.")
	err = l.follow(ctx, first)
	l.forward.finish()
	if failed := l.folder.mark(account, l.feed.types, bookmark{l.feed.cursor, l.feed.read}); failed != nil {
		l.paper.say("How far it read could not be kept: %v", failed)
	}
	if l.forward.to != "" {
		l.paper.say("%d forwarded, %d failed. --after %d goes on from here.", l.forward.arrived.Load(), l.forward.failed.Load(), l.last)
	}
	return l.ended(ctx, err)
}

// checkTypes refuses a type that no event has: the feed would only be silent.
// An instance that does not answer now is waited for later.
func (l *listen) checkTypes(ctx context.Context) error {
	if l.feed.types == "" {
		return nil
	}
	known, err := l.remote.eventTypes(ctx)
	if err != nil {
		return nil
	}
	for _, name := range strings.Split(l.feed.types, ",") {
		prefix, all := strings.CutSuffix(name, "*")
		if !slices.ContainsFunc(known, func(t eventType) bool { return t.Type == name || all && strings.HasPrefix(t.Type, prefix) }) {
			return fmt.Errorf("no event has the type %s; guildhall trigger --list lists them", name)
		}
	}
	return nil
}

// follow forwards the events that were read and those that come.
func (l *listen) follow(ctx context.Context, events []liveEvent) error {
	for {
		for _, e := range events {
			l.paper.json(e)
			if err := l.forward.forward(ctx, e); err != nil {
				return err
			}
			l.last = e.number()
		}
		wait := pollEvery
		if len(events) > 0 {
			wait = 0
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
		var err error
		if events, err = l.feed.next(ctx); err != nil {
			return err
		}
	}
}

// example forwards what trigger hands over, once.
func (l *listen) example(ctx context.Context, e liveEvent) attempt {
	e.example = true
	l.paper.json(e)
	if l.forward.to == "" {
		l.paper.event(e, "", true)
		return attempt{}
	}
	a := l.forward.once(ctx, e, 1)
	l.paper.event(e, a.String(), a.delivered())
	return a
}

func (l *listen) ended(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return exitError{exitNotSent, err}
}

// paper is what listen writes on: a line for each event, and remarks.
type paper struct {
	mu       sync.Mutex
	out, err io.Writer
	asJSON   bool
	colour   bool
}

func newPaper(out, err io.Writer, asJSON bool, env []string) *paper {
	p := &paper{out: out, err: err, asJSON: asJSON}
	lines := p.lines()
	file, ok := lines.(*os.File)
	if ok && !slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "NO_COLOR=") && e != "NO_COLOR=" || e == "TERM=dumb" }) {
		info, err := file.Stat()
		p.colour = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

// lines is where the line of an event goes.
func (p *paper) lines() io.Writer {
	if p.asJSON {
		return p.err
	}
	return p.out
}

// say writes a remark.
func (p *paper) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.err, "guildhall: "+format+"\n", args...)
}

// event writes the line of an event: when, number, what happened to what, and
// what became of it.
func (p *paper) event(e liveEvent, note string, good bool) {
	number, subject, about := "example", e.Subject.Type, e.Timestamp.Local().Format(time.TimeOnly)
	if e.Sequence != nil {
		number = fmt.Sprint(*e.Sequence)
	}
	if e.Subject.ID != nil {
		subject += " " + e.Subject.ID.String()
	}
	line := fmt.Sprintf("%s %7s  %-26s %s", about, number, plain(e.Type), plain(subject))
	if note != "" {
		note = "-> " + note
		if p.colour {
			shade := map[bool]string{true: "\x1b[32m", false: "\x1b[31m"}[good]
			note = shade + note + "\x1b[0m"
		}
		line += "  " + note
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintln(p.lines(), line)
}

// json writes the event itself, if asked to.
func (p *paper) json(e liveEvent) {
	if p.asJSON {
		p.mu.Lock()
		defer p.mu.Unlock()
		fmt.Fprintf(p.out, "%s\n", e.raw)
	}
}
