package plugins

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/plugins/sdk/launch"
)

// The states of a runner.
type state string

const (
	stopped  state = "stopped"
	starting state = "starting"
	running  state = "running"
	failed   state = "failed" // waits to be started again
)

const stopGrace = 5 * time.Second

// Restart says how processes are supervised that end without being told to.
// Zero values stand for the defaults that are named here.
type Restart struct {
	First  time.Duration // 1 s: the pause before the first restart; it doubles with each
	Last   time.Duration // 5 min: the longest pause
	Window time.Duration // 10 min: how long an end counts
	Most   int           // 5: so many ends within Window are a quarantine
	Ping   time.Duration // 10 s: between health checks, of which two in a row may not fail
	CPU    time.Duration // 10 s: over which a process's use of the processor is averaged
	Hear   time.Duration // 20 s: for the events that it is told of at once
}

func (r *Restart) complete() {
	for d, standard := range map[*time.Duration]time.Duration{
		&r.First: time.Second, &r.Last: 5 * time.Minute, &r.Window: 10 * time.Minute, &r.Ping: 10 * time.Second, &r.CPU: 10 * time.Second,
		&r.Hear: 20 * time.Second,
	} {
		if *d == 0 {
			*d = standard
		}
	}
	if r.Most == 0 {
		r.Most = 5
	}
}

// use is what an installation asked of one run of a process.
type use struct {
	calls int  // on their way
	cut   bool // a call was on its way when the process ended
	late  bool // a call was not answered in time
	last  time.Time
}

// runner supervises the process of one slot.
type runner struct {
	host *Host
	slot slot
	quit chan struct{}

	mu      sync.Mutex
	state   state
	ending  bool // quit is closed
	harsh   bool // calls on their way are not waited for
	reason  string
	since   time.Time
	proc    *launch.Process
	changed chan struct{} // closed and replaced with every change of state
	calls   int           // on their way
	used    time.Time
	uses    map[id.ID]*use // of proc
}

func newRunner(h *Host, s slot) *runner {
	now := time.Now()
	return &runner{host: h, slot: s, quit: make(chan struct{}), state: starting, since: now, used: now, changed: make(chan struct{}), uses: map[id.ID]*use{}}
}

// stop ends the process when the calls on their way are done. Nobody gets a
// lease any more.
func (r *runner) stop() { r.end(-1, false) }

// kill ends the process at once.
func (r *runner) kill() { r.end(-1, true) }

// retire is stop, if nobody used the process for so long.
func (r *runner) retire(idle time.Duration) bool { return r.end(idle, false) }

func (r *runner) end(idle time.Duration, harsh bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if idle >= 0 && (r.calls > 0 || time.Since(r.used) <= idle) {
		return false
	}
	if !r.ending {
		r.ending = true
		close(r.quit)
	}
	r.harsh = r.harsh || harsh
	return true
}

func (r *runner) set(s state, proc *launch.Process, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state, r.proc, r.reason, r.since = s, proc, reason, time.Now()
	if s == starting {
		r.uses = map[id.ID]*use{}
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

// take leases the process if it runs.
func (r *runner) take(of id.ID) *lease {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != running || r.ending {
		return nil
	}
	u := r.uses[of]
	if u == nil {
		u = &use{}
		r.uses[of] = u
	}
	u.calls++
	r.calls++
	u.last = time.Now()
	r.used = u.last
	return &lease{slot: r.slot, client: r.proc.Plugin(), use: u, runner: r, proc: r.proc}
}

func (r *runner) runs() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state == running && !r.ending
}

func (r *runner) release(u *use) {
	r.mu.Lock()
	defer r.mu.Unlock()
	u.calls--
	r.calls--
	u.last = time.Now()
	r.used = u.last
}

// failed notes how a call went wrong, for the question who is behind the end of
// the process.
func (l *lease) failed(c codes.Code) {
	l.runner.mu.Lock()
	defer l.runner.mu.Unlock()
	l.use.cut = l.use.cut || c == codes.Unavailable
	l.use.late = l.use.late || c == codes.DeadlineExceeded
}

// Why a call was not made: these say nothing of how the version answers.
var (
	errDown     = errors.New("it does not run") // between two starts
	errStarting = errors.New("it is still starting")
)

// uncalled reports whether the plugin was not even asked.
func uncalled(err error) bool {
	return errors.Is(err, errDown) || errors.Is(err, errStarting) || errors.Is(err, errHere) || errors.Is(err, errGone)
}

// wait waits for a start that is on its way; one that failed is an error at once.
func (r *runner) wait(ctx context.Context, of id.ID) (*lease, error) {
	for {
		if l := r.take(of); l != nil {
			return l, nil
		}
		r.mu.Lock()
		s, reason, changed, gone := r.state, r.reason, r.changed, r.ending || r.state == stopped
		r.used = time.Now() // whoever waits wants it to stay
		r.mu.Unlock()
		switch {
		case gone:
			return nil, errGone
		case s == failed:
			return nil, fmt.Errorf("%w: %s", errDown, reason)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", errStarting, ctx.Err())
		case <-r.quit:
		case <-changed:
		}
	}
}

func (r *runner) health() Health {
	r.mu.Lock()
	proc := r.proc
	since := r.since
	h := Health{State: string(r.state), Reason: plain(r.reason, 1000), Since: &since}
	r.mu.Unlock()
	if proc != nil {
		u := proc.Usage()
		h.MemoryBytes, h.CPUSeconds = u.MemoryBytes, u.CPUSeconds
	}
	return h
}

// run starts the process again and again until it is told to stop.
func (r *runner) run() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-r.quit
		cancel()
	}()
	last := func() { r.set(stopped, nil, "") }
	defer func() { last() }()
	log := r.host.Log.With("plugin", r.slot.plugin, "version", r.slot.version)
	for delay := r.host.Restart.First; ; {
		r.set(starting, nil, "")
		began := time.Now()
		proc, err := r.host.start(ctx, r.slot)
		if err == nil {
			r.set(running, proc, "")
			log.InfoContext(ctx, "plugin started", "ms", time.Since(began).Milliseconds())
			err = r.watch(ctx, proc)
		}
		if ctx.Err() != nil {
			return
		}
		if r.slot.trial {
			last = func() { r.set(failed, nil, launch.Ending(err)) }
			r.host.pool.forget(r)
			log.WarnContext(ctx, "plugin ended while it was tried out", "error", err)
			return
		}
		if time.Since(began) > r.host.Restart.Window {
			delay = r.host.Restart.First
		}
		log.WarnContext(ctx, "plugin ended and will be started again", "in", delay.String(), "error", err)
		r.fail(ctx, err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay):
		}
		delay = min(2*delay, r.host.Restart.Last)
	}
}

// errSilent is why a process was killed that did not answer.
var errSilent = errors.New("it did not answer two health checks")

// watch returns when the process ended, or does not answer twice in a row; nil
// if the runner was told to stop.
func (r *runner) watch(ctx context.Context, proc *launch.Process) error {
	tick := time.NewTicker(r.host.Restart.Ping)
	defer tick.Stop()
	silent := 0
	for {
		select {
		case <-ctx.Done():
			r.drain(proc)
			return nil
		case <-proc.Done():
			return proc.Err()
		case <-tick.C:
		}
		asked, cancel := context.WithTimeout(ctx, r.host.Restart.Ping/2)
		err := proc.Ping(asked)
		cancel()
		if err == nil || ctx.Err() != nil {
			silent = 0
			continue
		}
		if silent++; silent == 2 {
			proc.Kill()
			return fmt.Errorf("%w: %w", errSilent, err)
		}
	}
}

// drain waits for the calls on their way, which end with their deadlines, and
// stops the process.
func (r *runner) drain(proc *launch.Process) {
	r.set(stopped, proc, "")
	ctx, cancel := context.WithTimeout(context.Background(), r.host.Drain)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		r.mu.Lock()
		n, harsh := r.calls, r.harsh
		r.mu.Unlock()
		if harsh {
			proc.Kill()
			return
		}
		if n == 0 || ctx.Err() != nil {
			proc.Stop(stopGrace)
			return
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}
