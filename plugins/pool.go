package plugins

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/plugins/sdk/launch"
	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
	"github.com/guildhall-dev/guildhall/tenant"
)

// key names a version of a plugin: one process in each replica.
type key struct{ plugin, version string }

func (k key) String() string { return k.plugin + " " + k.version }

// pool runs one process for each version that organisations use.
type pool struct {
	host    *Host
	mu      sync.Mutex
	runners map[key]*runner
	closed  bool
	done    sync.WaitGroup
}

func newPool(h *Host) *pool { return &pool{host: h, runners: map[key]*runner{}} }

// want returns the runner of a version, and starts it if there is none.
func (p *pool) want(k key) *runner {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.runners[k]
	if r == nil {
		r = newRunner(p.host, k)
		p.runners[k] = r
		if !p.closed {
			p.done.Go(r.run)
		}
	}
	return r
}

func (p *pool) has(k key) *runner {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.runners[k]
}

// lease is a running process that stays for as long as the lease.
type lease struct {
	key    key
	client pluginpb.PluginClient
	of     id.ID
	runner *runner
	proc   *launch.Process
}

func (l *lease) done() { l.runner.release(l.of) }

// ended says why the process is gone, "" while it runs. A call learns of the end
// a moment before the process is known to be gone.
func (l *lease) ended() string {
	select {
	case <-l.proc.Done():
	case <-time.After(100 * time.Millisecond):
		return ""
	}
	if err := l.proc.Err(); err != nil {
		return plain(err.Error(), 300)
	}
	return ""
}

// lease waits for the process of the installation's version. While that one
// starts, right after an upgrade, the version before serves on.
func (p *pool) lease(ctx context.Context, i *Installation) (*lease, error) {
	r := p.want(key{i.PluginID, i.Version})
	if l := r.take(i.ID); l != nil {
		return l, nil
	}
	if i.Previous != nil {
		if before := p.has(key{i.PluginID, *i.Previous}); before != nil {
			if l := before.take(i.ID); l != nil {
				return l, nil
			}
		}
	}
	return r.wait(ctx, i.ID)
}

func (p *pool) warm(ctx context.Context, k key) error {
	l, err := p.want(k).wait(ctx, id.Nil)
	if err != nil {
		return err
	}
	defer l.done()
	return l.proc.Ping(ctx)
}

func (p *pool) health(k key) Health {
	r := p.has(k)
	if r == nil {
		return Health{State: string(stopped)}
	}
	return r.health()
}

// settle starts what is used and stops what is not used any more.
func (p *pool) settle(used map[key]bool) {
	for k := range used {
		p.want(k)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, r := range p.runners {
		if !used[k] && r.idle(p.host.Drain) {
			delete(p.runners, k)
			r.stop()
		}
	}
}

// close stops all processes, letting running calls finish.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for _, r := range p.runners {
		r.stop()
	}
	p.mu.Unlock()
	p.done.Wait()
}

const selectInUse = `select plugin_id, plugin_version, installations from plugins_in_use()`

// Run keeps the processes of the versions that organisations use running until
// ctx ends. They run on for the requests and jobs that are on their way; Close
// stops them.
func (h *Host) Run(ctx context.Context) error {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		if err := h.Settle(ctx); err != nil && ctx.Err() == nil {
			h.Log.WarnContext(ctx, "could not look which plugins are in use; will look again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Settle starts the processes of the versions that organisations use, and stops
// those that have been of no use for a while.
func (h *Host) Settle(ctx context.Context) error {
	type inUse struct {
		Plugin        string `db:"plugin_id"`
		Version       string `db:"plugin_version"`
		Installations int64  `db:"installations"`
	}
	rows, err := tenant.List[inUse](ctx, h.DB.Global(), selectInUse)
	if err != nil {
		return fmt.Errorf("plugins.Settle: %w", err)
	}
	used := map[key]bool{}
	for _, r := range rows {
		used[key{r.Plugin, r.Version}] = true
	}
	h.pool.settle(used)
	return nil
}

// Close stops all processes.
func (h *Host) Close() { h.pool.close() }

// The states of a runner.
type state string

const (
	stopped  state = "stopped"
	starting state = "starting"
	running  state = "running"
	failed   state = "failed" // waits to be started again
)

const (
	pingEvery   = 10 * time.Second
	firstDelay  = time.Second
	lastDelay   = 5 * time.Minute
	failureTime = 10 * time.Minute
	mostFailed  = 5 // within failureTime
	stopGrace   = 5 * time.Second
)

// failure is one end of a process that was not asked for.
type failure struct {
	at     time.Time
	blamed []id.ID // the installations whose calls were on their way; nobody: all
}

// runner supervises the process of one version.
type runner struct {
	host *Host
	key  key
	quit chan struct{}
	once sync.Once

	mu       sync.Mutex
	state    state
	reason   string
	since    time.Time
	proc     *launch.Process
	changed  chan struct{} // closed and replaced with every change of state
	calls    map[id.ID]int
	used     time.Time
	failures []failure
}

func newRunner(h *Host, k key) *runner {
	now := time.Now()
	return &runner{host: h, key: k, quit: make(chan struct{}), state: starting, since: now, used: now, changed: make(chan struct{}), calls: map[id.ID]int{}}
}

func (r *runner) stop() { r.once.Do(func() { close(r.quit) }) }

func (r *runner) set(s state, proc *launch.Process, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state, r.proc, r.reason, r.since = s, proc, reason, time.Now()
	close(r.changed)
	r.changed = make(chan struct{})
}

// take leases the process if it runs.
func (r *runner) take(of id.ID) *lease {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != running {
		return nil
	}
	r.calls[of]++
	r.used = time.Now()
	return &lease{key: r.key, client: r.proc.Plugin(), of: of, runner: r, proc: r.proc}
}

func (r *runner) release(of id.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.calls[of]--; r.calls[of] <= 0 {
		delete(r.calls, of)
	}
	r.used = time.Now()
}

// wait waits for a start that is on its way; one that failed is an error at once.
func (r *runner) wait(ctx context.Context, of id.ID) (*lease, error) {
	for {
		if l := r.take(of); l != nil {
			return l, nil
		}
		r.mu.Lock()
		s, reason, changed := r.state, r.reason, r.changed
		r.mu.Unlock()
		switch s {
		case failed:
			return nil, fmt.Errorf("it does not run: %s", reason)
		case stopped:
			return nil, errors.New("it has been stopped")
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("it is still starting: %w", ctx.Err())
		case <-r.quit:
			return nil, errors.New("it has been stopped")
		case <-changed:
		}
	}
}

func (r *runner) idle(grace time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.calls) == 0 && time.Since(r.used) > grace
}

func (r *runner) health() Health {
	r.mu.Lock()
	proc := r.proc
	since := r.since
	h := Health{State: string(r.state), Reason: plain(r.reason, 1000), Since: &since, Restarts: len(r.failures)}
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
	defer r.set(stopped, nil, "")
	for delay := firstDelay; ; {
		r.set(starting, nil, "")
		began := time.Now()
		proc, err := r.host.start(ctx, r.key)
		if err == nil {
			r.set(running, proc, "")
			r.host.Log.InfoContext(ctx, "plugin started", "plugin", r.key.plugin, "version", r.key.version, "ms", time.Since(began).Milliseconds())
			err = r.watch(ctx, proc)
		}
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > failureTime {
			delay = firstDelay
		}
		r.failed(ctx, err)
		r.host.Log.WarnContext(ctx, "plugin ended and will be started again", "plugin", r.key.plugin, "version", r.key.version, "in", delay.String(), "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay):
		}
		delay = min(2*delay, lastDelay)
	}
}

// watch returns when the process ended, or does not answer twice in a row; nil
// if the runner was told to stop.
func (r *runner) watch(ctx context.Context, proc *launch.Process) error {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	silent := 0
	for {
		select {
		case <-ctx.Done():
			r.set(stopped, proc, "")
			r.drain()
			proc.Stop(stopGrace)
			return nil
		case <-proc.Done():
			return proc.Err()
		case <-tick.C:
		}
		asked, cancel := context.WithTimeout(ctx, pingEvery/2)
		err := proc.Ping(asked)
		cancel()
		if err == nil || ctx.Err() != nil {
			silent = 0
			continue
		}
		if silent++; silent == 2 {
			proc.Kill()
			return fmt.Errorf("it did not answer two health checks: %w", err)
		}
	}
}

// drain waits for the calls on their way, which end with their deadlines.
func (r *runner) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), r.host.Drain)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		r.mu.Lock()
		n := len(r.calls)
		r.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// failed notes a failure, and whom it hurt. Who was hurt too often is
// quarantined; the others go on with the next start.
func (r *runner) failed(ctx context.Context, err error) {
	reason := "it ended"
	if err != nil {
		reason = err.Error()
	}
	now := time.Now()
	r.mu.Lock()
	r.failures = slices.DeleteFunc(r.failures, func(f failure) bool { return now.Sub(f.at) > failureTime })
	blamed := slices.Collect(maps.Keys(r.calls))
	blamed = slices.DeleteFunc(blamed, func(i id.ID) bool { return i.IsZero() })
	r.failures = append(r.failures, failure{now, blamed})
	count, everybody := map[id.ID]int{}, 0
	for _, f := range r.failures {
		if len(f.blamed) == 0 {
			everybody++
		}
		for _, i := range f.blamed {
			count[i]++
		}
	}
	r.mu.Unlock()
	r.set(failed, nil, reason)

	words := fmt.Sprintf("its process ended %d times in %d minutes, last: %s", mostFailed, int(failureTime.Minutes()), plain(reason, 300))
	if everybody >= mostFailed {
		if err := r.host.reports.QuarantineAll(ctx, r.key.plugin, r.key.version, words); err != nil {
			r.host.Log.ErrorContext(ctx, "a plugin could not be quarantined", "plugin", r.key.plugin, "error", err)
		}
		r.forget(id.Nil)
		return
	}
	for i, n := range count {
		if n+everybody < mostFailed {
			continue
		}
		if err := r.host.quarantine(ctx, i, r.key.version, words); err != nil {
			r.host.Log.ErrorContext(ctx, "an installation could not be quarantined", "installation_id", i.String(), "error", err)
			continue
		}
		r.forget(i)
	}
}

// forget takes an installation, or with nil everybody, out of the failures.
func (r *runner) forget(i id.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i.IsZero() {
		r.failures = nil
		return
	}
	r.failures = slices.DeleteFunc(r.failures, func(f failure) bool { return slices.Equal(f.blamed, []id.ID{i}) })
}

const selectOrganization = `select plugin_installation_by_id($1)`

func (h *Host) quarantine(ctx context.Context, installation id.ID, version, reason string) error {
	org, err := tenant.Value[*id.ID](ctx, h.DB.Global(), selectOrganization, installation)
	if err != nil || org == nil {
		return err
	}
	return h.reports.Quarantine(ctx, *org, installation, version, reason)
}
