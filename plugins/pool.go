package plugins

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/plugins/sdk/launch"
	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
	"github.com/guildhall-dev/guildhall/tenant"
)

// key names a version of a plugin.
type key struct{ plugin, version string }

func (k key) String() string { return k.plugin + " " + k.version }

// slot is a place for a process: of a version for all organisations, for one
// installation that is kept apart from the others, or for trials: checks of the
// settings of what is not installed yet, whose harm is put down to nobody and has
// to reach nobody.
type slot struct {
	key
	apart id.ID
	trial bool
}

// pool runs one process for each version that organisations use, and some for
// installations that are kept apart; see blame.go.
type pool struct {
	host    *Host
	mu      sync.Mutex
	runners map[slot]*runner
	past    map[key]*history
	closed  bool
	running context.Context // ends when the pool closes
	cancel  context.CancelFunc
	done    sync.WaitGroup
}

func newPool(h *Host) *pool {
	p := &pool{host: h, runners: map[slot]*runner{}, past: map[key]*history{}}
	p.running, p.cancel = context.WithCancel(context.Background())
	return p
}

// want returns the runner of a slot, and starts it if there is none; nil when
// the pool is closed.
func (p *pool) want(s slot) *runner {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.runners[s]
	if r == nil && !p.closed {
		r = newRunner(p.host, s)
		p.runners[s] = r
		p.done.Go(r.run)
	}
	return r
}

func (p *pool) has(s slot) *runner {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.runners[s]
}

// forget lets the next who wants it start the process anew.
func (p *pool) forget(r *runner) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runners[r.slot] == r {
		delete(p.runners, r.slot)
	}
}

// later runs fn beside the calls; close waits for it.
func (p *pool) later(fn func(ctx context.Context)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.done.Go(func() {
		ctx, cancel := context.WithTimeout(p.running, time.Minute)
		defer cancel()
		fn(ctx)
	})
}

// lease is a running process that stays for as long as the lease.
type lease struct {
	slot
	client pluginpb.PluginClient
	use    *use
	runner *runner
	proc   *launch.Process
}

func (l *lease) done() { l.runner.release(l.use) }

// ended says why the process is gone, "" while it runs. A call learns of the end
// a moment before the process is known to be gone.
func (l *lease) ended() string {
	select {
	case <-l.proc.Done():
	case <-time.After(100 * time.Millisecond):
		return ""
	}
	if err := l.proc.Err(); err != nil {
		return plain(launch.Ending(err), 300)
	}
	return ""
}

// errGone is why a runner leases no more: it has made room.
var errGone = errors.New("it has been stopped")

// shiftTime is how long after an upgrade the version before may serve on.
const shiftTime = time.Minute

// lease waits for the process of the installation's version. While that one
// starts, right after an upgrade, the version before serves on.
func (p *pool) lease(ctx context.Context, i *Installation) (*lease, error) {
	for {
		r := p.want(p.placeOf(i))
		if r == nil {
			return nil, errGone
		}
		if l := r.take(i.ID); l != nil {
			return l, nil
		}
		if i.Previous != nil && time.Since(i.UpgradedAt) < shiftTime {
			if before := p.has(p.slotOf(key{i.PluginID, *i.Previous}, i.ID)); before != nil {
				if l := before.take(i.ID); l != nil {
					return l, nil
				}
			}
		}
		l, err := r.wait(ctx, i.ID)
		if !errors.Is(err, errGone) {
			return l, err
		}
	}
}

func (p *pool) placeOf(i *Installation) slot {
	k := key{i.PluginID, i.Version}
	if i.trial {
		return slot{key: k, trial: true}
	}
	return p.slotOf(k, i.ID)
}

// warm waits until the process answers in which an installation's calls would go.
func (p *pool) warm(ctx context.Context, i *Installation) error {
	l, err := p.lease(ctx, i)
	if err != nil {
		return err
	}
	defer l.done()
	return l.proc.Ping(ctx)
}

func (p *pool) health(k key, of id.ID) Health {
	r := p.has(p.slotOf(k, of))
	if r == nil {
		return Health{State: string(stopped)}
	}
	h := r.health()
	h.Restarts = p.ends(k, of)
	return h
}

// keys are the versions that have processes.
func (p *pool) keys() map[key]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := map[key]bool{}
	for s := range p.runners {
		all[s.key] = true
	}
	return all
}

// settle starts what is used, stops what is not used any more, and kills what
// may not run any more. What is not used any more stays until all that is used of
// the plugin runs: who was moved to a version that still starts here is served by
// the one before.
func (p *pool) settle(used, banned map[key]bool) {
	for k := range used {
		p.want(slot{key: k})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	awaited := map[string]bool{}
	for k := range used {
		if r := p.runners[slot{key: k}]; r == nil || !r.runs() {
			awaited[k.plugin] = true
		}
	}
	for s, r := range p.runners {
		keep := !s.trial && (awaited[s.plugin] && !used[s.key] || used[s.key] && (s.apart.IsZero() || p.isApart(s)))
		switch {
		case banned[s.key]:
			r.kill()
		case keep || !r.retire(p.host.Drain):
			continue
		}
		delete(p.runners, s)
	}
}

// drop stops the process of an installation that is kept apart.
func (p *pool) drop(s slot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.runners[s]; r != nil && !s.apart.IsZero() {
		r.stop()
		delete(p.runners, s)
	}
}

// close stops all processes, letting running calls finish.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.cancel()
	for _, r := range p.runners {
		r.stop()
	}
	p.mu.Unlock()
	p.done.Wait()
}

const (
	selectInUse = `select u.plugin_id, u.plugin_version, v.sha256 from plugins_in_use() u
		join plugin_versions v on v.plugin_id = u.plugin_id and v.version = u.plugin_version and v.revoked_at is null
		join plugin_signers s on s.public_key = v.signer`
	// The versions that may run: not revoked, and of a signer who is trusted.
	selectRunnable = `select v.plugin_id, v.version as plugin_version, v.sha256 from plugin_versions v join plugin_signers s on s.public_key = v.signer
		where v.revoked_at is null order by v.plugin_id, v.version`
)

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

// Settle starts the processes of the versions that organisations use, stops
// those that have been of no use for a while, and kills those that the operator
// lets run no more.
func (h *Host) Settle(ctx context.Context) error {
	rows, err := tenant.List[versionRow](ctx, h.DB.Global(), selectInUse)
	if err != nil {
		return fmt.Errorf("plugins.Settle: %w", err)
	}
	used := map[key]bool{}
	for _, r := range rows {
		used[key{r.Plugin, r.Version}] = true
	}
	if rows, err = tenant.List[versionRow](ctx, h.DB.Global(), selectRunnable); err != nil {
		return fmt.Errorf("plugins.Settle: %w", err)
	}
	runnable, sum := map[key]bool{}, sha256.New()
	for _, r := range rows {
		runnable[key{r.Plugin, r.Version}] = true
		fmt.Fprintf(sum, "%s %s %x\n", r.Plugin, r.Version, r.SHA256)
	}
	banned := h.pool.keys()
	maps.DeleteFunc(banned, func(k key, _ bool) bool { return runnable[k] })
	h.pool.settle(used, banned)
	// What the operator does to the catalogue moves no organisation's epoch: whatever
	// may run now and could not before, or the other way round, what was known of
	// them is read anew.
	now := [sha256.Size]byte(sum.Sum(nil))
	if before := h.catalogued.Load(); before == nil || *before != now {
		h.catalogued.Store(&now)
		h.actives.InvalidateAll()
	}
	return nil
}

type versionRow struct {
	Plugin  string `db:"plugin_id"`
	Version string `db:"plugin_version"`
	SHA256  []byte `db:"sha256"`
}

// Close stops all processes.
func (h *Host) Close() { h.pool.close() }
